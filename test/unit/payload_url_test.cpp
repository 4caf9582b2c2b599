#include "http/origin.hpp"
#include "support/recipes.hpp"

namespace offline_post {

namespace {

std::string Url(const std::string& url, const Delivery& delivery = test::FullDelivery()) {
  RecipeConfig config = test::ConfigOf(Format::kForm);
  config.post_url = url;
  return test::RequestOf(config, delivery).url;
}

std::string With(const std::string& url, const std::string& user) {
  Delivery delivery = test::BareDelivery();
  auto event = std::make_shared<Event>(*delivery.event);
  event->to.user = user;
  delivery.event = event;
  return Url(url, delivery);
}

std::string UrlError(const std::string& url) {
  return CheckUrl(url).value_or(Error{Error::Kind::kInvalid, ""}).text;
}

}  // namespace

TEST_CASE("a URL without templates is the endpoint's own") {
  CHECK(Url("https://user:pw@h:8443/a/../b?c=d#e").empty());
}

TEST_CASE("values stand in a URL's path and query") {
  CHECK(Url("https://u:p@h:8443/v1/{{to.user}}/{{nick}}?k={{token}}&t={{timestamp}}#f") ==
        "https://u:p@h:8443/v1/juliet/Romeo%20M.?k=secret&t=2023-11-14T22%3A13%3A20.123Z#f");
  CHECK(Url("http://h?to={{ to.bare }}") == "http://h?to=juliet%40capulet.example");
  CHECK(Url("http://h/a%20b/{x}/{{nick|body}}") == "http://h/a%20b/{x}/Romeo%20M.");
}

// libcurl takes one to three slashes, and what is behind them for the server's name.
TEST_CASE("templates need a URL whose server is plain to see") {
  for (const char* url :
       {"http:/{{to.user}}", "http:///h{{to.user}}/x", "h/{{nick}}", "{{nick}}"}) {
    INFO(url);
    CHECK_FALSE(UrlError(url).empty());
  }
}

TEST_CASE("a URL has no blanks but within braces") {
  CHECK(UrlError("http://h/{{ nick }}").empty());
  for (const char* url : {"http://h/{{nick}} ", "http://h/a b", "http://h/a\nb?c={{nick}}"}) {
    INFO(url);
    CHECK(UrlError(url).find("percent-encoded") != std::string::npos);
  }
}

TEST_CASE("no value leaves its place in a URL") {
  CHECK(With("http://h/{{to.user}}/x", "a/b?c#d&e=f%20 \r\n@:") ==
        "http://h/a%2Fb%3Fc%23d%26e%3Df%2520%20%0D%0A%40%3A/x");
  CHECK(With("http://h/?a={{to.user}}", std::string("\0\xff", 2)) == "http://h/?a=%00%FF");
  CHECK(With("http://h/{{to.user}}", std::string(65'536, '/')).size() == 9 + 3 * 65'536);
}

TEST_CASE("no value climbs out of its path") {
  CHECK(With("http://h/a/{{to.user}}/b", "..") == "http://h/a/%252E%252E/b");
  CHECK(With("http://h/a/{{to.user}}", ".") == "http://h/a/%252E");
  CHECK(With("http://h/a/{{to.user}}?x={{to.user}}", "..") == "http://h/a/%252E%252E?x=..");
  CHECK(With("http://h/a/.{{to.user}}/b", ".") == "http://h/a/%252E%252E/b");
  CHECK(With("http://h/a/%2e{{to.user}}/b", ".") == "http://h/a/%252E%252E/b");
  CHECK(With("http://h/a/{{to.user}}/b", "...") == "http://h/a/.../b");
  CHECK(With("http://h/a/{{to.user}}/b", "..x") == "http://h/a/..x/b");
  CHECK(With("http://h/a/{{to.user}}/b", "%2e%2e") == "http://h/a/%252e%252e/b");
  CHECK(With("http://h/a/{{to.user}}/b", "") == "http://h/a//b");
}

TEST_CASE("a template where it would choose the server is refused") {
  for (const char* url : {"{{to.user}}", "{{host}}://h/", "http://{{host}}/", "http://h{{host}}/x",
                          "http://h:{{count}}/", "http://{{to.user}}:p@h/", "http://{{host}}",
                          "http://h/x#{{to.user}}", "//{{host}}/"}) {
    INFO(url);
    CHECK(test::Contains(UrlError(url), "post_url: "));
  }
  CHECK(UrlError("http://h/{{to.user}}?{{host}}#x").empty());
  const std::string error = UrlError("https://u:hunter2@h/hunter2?key=hunter2&x={{tu}}");
  CHECK(test::Contains(error, "{{tu}} is not known"));
  CHECK_FALSE(test::Contains(error, "hunter2"));
}

TEST_CASE("a URL's origin can be told without its templates") {
  CHECK(WithoutTemplates("http://h/{{ to.user }}/{{a|b}}?{{x}}") == "http://h/x/x?x");
  CHECK(WithoutTemplates("http://h/{a}/}}") == "http://h/{a}/}}");
  CHECK(WithoutTemplates("http://h/{{a") == "http://h/{{a");
  CHECK(ParseOrigin(WithoutTemplates("http://h:81/{{ to.user }}?a={{ body | nick }}")).ok());
}

}  // namespace offline_post
