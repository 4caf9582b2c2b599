#include "http/origin.hpp"

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
