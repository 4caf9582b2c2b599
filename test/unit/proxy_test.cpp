#include "http/proxy.hpp"

#include "http/origin.hpp"
#include "support/values.hpp"

namespace offline_post {

TEST_CASE("a proxy is an address for logs, and credentials apart from it") {
  Proxy proxy = ParseProxy("http://us%65r:p%40ss%3a@Proxy.example:3128").value();
  CHECK(proxy.address == "http://Proxy.example:3128");
  CHECK_FALSE(proxy.tls);
  CHECK(proxy.user == "user");
  CHECK(proxy.password == "p@ss:");
  proxy = ParseProxy("https://proxy.example/").value();
  CHECK(proxy.address == "https://proxy.example:443");
  CHECK(proxy.tls);
  CHECK(proxy.user.empty());
  CHECK(ParseProxy("http://proxy").value().address == "http://proxy:80");
  CHECK(ParseProxy("http://[::1]:81").value().address == "http://[::1]:81");
}

TEST_CASE("what is no proxy is refused without repeating it") {
  for (const char* url :
       {"", "proxy", "proxy:3128", "socks5://secret:secret@proxy", "http://secret:secret@",
        "http://secret:secret@proxy/path", "http://secret:secret@proxy?x",
        "http://secret:secret@proxy#x", "http://secret:secret@proxy:port",
        "http://secret%3Asecret:x@proxy", "http://secret%0d%0a:x@proxy", "http://secret:%00@proxy",
        "http:// secret"}) {
    INFO(url);
    Result<Proxy> proxy = ParseProxy(url);
    REQUIRE_FALSE(proxy.ok());
    CHECK(proxy.error().text.find("proxy") == 0);
    CHECK(proxy.error().text.find("secret") == std::string::npos);
  }
}

TEST_CASE("an origin is divided from others by what its connections are made with") {
  const auto origin = [](const std::string& url, bool verify, const std::string& proxy,
                         HttpVersion version) {
    TlsFiles files;
    files.verify = verify;
    Result<Origin> made = ReadOrigin(url, files, proxy, version);
    return made.ok() ? std::optional(made.value()) : std::nullopt;
  };
  const auto kAuto = HttpVersion::kAuto;
  // Without TLS its settings divide nothing.
  CHECK(origin("http://b/", true, "", kAuto) == origin("http://b/x", false, "", HttpVersion::k1));
  CHECK(origin("https://b/", true, "", kAuto) != origin("https://b/", false, "", kAuto));
  CHECK(origin("https://b/", true, "", kAuto) != origin("https://b/", true, "", HttpVersion::k1));
  CHECK(origin("http://b/", true, "http://p", kAuto) != origin("http://b/", true, "", kAuto));
  CHECK(origin("http://b/", true, "https://p", kAuto) !=
        origin("http://b/", false, "https://p", kAuto));
  CHECK_FALSE(origin("http://b/", true, "", HttpVersion::k2).has_value());
  CHECK_FALSE(origin("https://b/", true, "p", kAuto).has_value());
  const auto secret = origin("https://b/", true, "http://user:secret@p", kAuto);
  REQUIRE(secret.has_value());
  CHECK(OriginText(*secret) == "https://b:443");
}

}  // namespace offline_post
