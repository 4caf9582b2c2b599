#include "http/origin.hpp"

#include "http/proxy.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {
Result<Origin> Parse(const std::string& url) { return ParseOrigin(url); }
}  // namespace

TEST_CASE("an origin is scheme, host and port, whatever else the URL says") {
  Result<Origin> origin = Parse("http://user:pass@Backend.Example:8080/push?key=secret#x");
  REQUIRE(origin.ok());
  CHECK(OriginText(origin.value()) == "http://backend.example:8080");
  CHECK(OriginText(Parse("https://backend/").value()) == "https://backend:443");
  CHECK(OriginText(Parse("HTTP://backend").value()) == "http://backend:80");
  CHECK(OriginText(Parse("http://[::1]:81/").value()) == "http://[::1]:81");
}

TEST_CASE("a host beyond ASCII is refused in favour of punycode, however it is written") {
  for (const char* host :
       {"b\xc3\xbc"
        "cher.test",
        "b%C3%BCcher.test", "b%c3%bccher.test", "\xe4\xbe\x8b.test", "%FF.test"}) {
    INFO(host);
    Result<Origin> origin = Parse("http://" + std::string(host) + "/");
    REQUIRE_FALSE(origin.ok());
    CHECK(origin.error().text.find("punycode (xn--") != std::string::npos);
    Result<Proxy> proxy = ParseProxy("http://" + std::string(host) + ":3128");
    REQUIRE_FALSE(proxy.ok());
    CHECK(proxy.error().text.find("proxy names a host") == 0);
  }
  CHECK(Parse("http://xn--bcher-kva.test/").ok());
  CHECK(Parse("http://%62ackend.test/").value().host == "backend.test");
}

TEST_CASE("what is no http or https URL is refused without repeating it") {
  for (const char* url :
       {"", "backend", "/push", "ftp://backend/", "file:///etc/passwd", "http://",
        "http:// backend/", "http://backend:notaport/", "http://backend:99999/", "javascript:1"}) {
    INFO(url);
    Result<Origin> origin = Parse(url);
    REQUIRE_FALSE(origin.ok());
    CHECK(origin.error().kind == Error::Kind::kInvalid);
    CHECK(origin.error().text.find("post_url") == 0);
  }
  CHECK(Parse("ftp://secret-host/").error().text.find("secret") == std::string::npos);
}

}  // namespace offline_post
