#include <algorithm>

#include "support/recipes.hpp"

namespace offline_post {

namespace {

using test::ConfigOf;
using test::Contains;
using test::HeaderOf;
using Headers = std::vector<std::pair<std::string, std::string>>;

Request With(Headers headers, const Delivery& delivery = test::FullDelivery(),
             const std::string& token = "secret") {
  RecipeConfig config = ConfigOf(Format::kForm);
  config.headers = std::move(headers);
  return test::RequestOf(config, delivery, token);
}

Delivery WithNick(std::string nick) {
  Delivery delivery = test::BareDelivery();
  auto event = std::make_shared<Event>(*delivery.event);
  event->attributes = {{"nick", std::move(nick)}};
  delivery.event = event;
  return delivery;
}

std::string HeaderError(const std::string& name, const std::string& value) {
  return CheckHeaders({{name, value}}).value_or(Error{Error::Kind::kInvalid, ""}).text;
}

}  // namespace

TEST_CASE("headers are added in their order") {
  const Request request = With({{"X-To", "{{to.bare}}"}, {"Logged-Out", "logged-out"}});
  REQUIRE(request.headers.size() == 5);
  CHECK(request.headers[3] == "X-To: juliet@capulet.example");
  CHECK(request.headers[4] == "Logged-Out: logged-out");
}

TEST_CASE("a header of ours is replaced, however it is spelt") {
  const Request request = With(
      {{"content-TYPE", "text/{{kind}}"}, {"user-agent", "me"}, {"AUTHORIZATION", "k {{token}}"}});
  CHECK(request.headers == std::vector<std::string>{"webhook-id: msg_1", "content-TYPE: text/text",
                                                    "user-agent: me", "AUTHORIZATION: k secret"});
}

TEST_CASE("content_type replaces the format's, and a header both") {
  RecipeConfig config = ConfigOf(Format::kJson);
  config.content_type = "application/cloudevents+json";
  CHECK(HeaderOf(test::RequestOf(config), "Content-Type") == "application/cloudevents+json");
  config.headers = {{"Content-Type", "text/x"}};
  CHECK(HeaderOf(test::RequestOf(config), "Content-Type") == "text/x");
  config.content_type = "text/plain\r\nX: y";
  CHECK(Contains(test::ErrorOf(config), "content_type: "));
}

TEST_CASE("a header without a value is not sent") {
  CHECK(With({{"X-Nick", " {{nick}} "}}, WithNick("")).headers.size() == 3);
  CHECK(With({{"X-Nick", "{{nick}}"}}, WithNick(" \r\n ")).headers.size() == 3);
  // What curl would send in its place.
  const Request request = With({{"Content-Type", "{{nick}}"}}, WithNick(""));
  CHECK(std::count(request.headers.begin(), request.headers.end(), "Content-Type:") == 1);
}

TEST_CASE("no value leaves its header") {
  CHECK(HeaderOf(With({{"X-Nick", "<{{nick}}>"}}, WithNick("a\r\nX-Evil: 1\n\n\x7f\tb")),
                 "X-Nick") == "<a  X-Evil: 1    b>");
  CHECK(HeaderOf(With({{"X-Nick", "{{nick}}"}}, WithNick(std::string("a\0b\r\n", 5))), "X-Nick") ==
        "a b");
  CHECK(HeaderOf(With({{"X-Nick", "{{nick}}"}}, WithNick("J\xc3\xa9r\xc3\xb4me\xff")), "X-Nick") ==
        "J\xc3\xa9r\xc3\xb4me\xff");
  for (int byte = 0; byte < 256; ++byte) {
    const Request request =
        With({{"X-Nick", "a{{nick}}b"}}, WithNick(std::string(3, static_cast<char>(byte))));
    const std::string& line = request.headers.back();
    CHECK(std::none_of(line.begin(), line.end(),
                       [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }));
    CHECK(line.size() == std::string("X-Nick: a...b").size());
  }
}

TEST_CASE("a header's value is cut at a character, a token never") {
  const Request request =
      With({{"X-Long", "n={{nick}};{{token}}"}, {"X-Two", "{{nick}}{{nick}}"}},
           WithNick("x" + std::string(65'536, '\xc3')), std::string(5'000, 't'));
  const std::string value = HeaderOf(request, "X-Long");
  CHECK(value.substr(value.size() - 5'001) == ";" + std::string(5'000, 't'));
  std::string text = "x";
  while (text.size() < 65'536) text += "\xe2\x82\xac";
  const std::string cut = HeaderOf(With({{"X-Long", "n={{nick}}!"}}, WithNick(text)), "X-Long");
  CHECK(cut == "n=" + text.substr(0, 1 + 3 * 1'364) + "!");
  CHECK(HeaderOf(With({{"X-Two", "{{nick}}{{nick}}"}}, WithNick(text)), "X-Two").size() <= 4'096);
}

TEST_CASE("headers that are HTTP's own, or a signature's, are refused") {
  for (const char* name :
       {"Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "TE",
        "Trailer", "Upgrade", "Keep-Alive", "Proxy-Authorization", "PROXY-Connection",
        "Content-Encoding", "webhook-id", "Webhook-Signature", "webhook-x"}) {
    INFO(name);
    CHECK(Contains(HeaderError(name, "x"), name));
  }
  for (const char* name : {"Hosts", "X-Host", "Tea", "Webhook", "Prefer", "Accept", "Date"}) {
    INFO(name);
    CHECK(HeaderError(name, "x").empty());
  }
}

TEST_CASE("a header that could split is refused") {
  for (const char* name :
       {"", "a b", "a:", "a\r\nb", "a\n", "\xc3\xa9", "a(b)", "a/b", "{{to}}", "a\""}) {
    INFO(name);
    CHECK(Contains(HeaderError(name, "x"), "headers: "));
  }
  CHECK(Contains(HeaderError(std::string("a\0b", 3), "x"), "headers: a?b: "));
  for (const std::string& value : {std::string("a\r\nb"), std::string("a\nb"), std::string("a\tb"),
                                   std::string("a\0b", 3), std::string("\x7f")}) {
    CHECK(HeaderError("X-A", value) ==
          "headers: X-A: a header's value is one line, without control characters");
  }
  const std::string error = HeaderError("X-Key", "hunter2 {{tu}}");
  CHECK(Contains(error, "headers: X-Key: {{tu}} is not known"));
  CHECK_FALSE(Contains(error, "hunter2"));
  CHECK(CheckHeaders({{"X-A", "1"}, {"x-a", "2"}})->text == "headers: x-a: it is there twice");
}

TEST_CASE("a token goes where auth says") {
  const auto authorization = [](Auth auth, const std::string& token) {
    RecipeConfig config = ConfigOf(Format::kJson);
    config.auth = auth;
    const Request request = test::RequestOf(config, test::BareDelivery(), token);
    CHECK(Contains(request.body, "access_token") == (auth == Auth::kBody && !token.empty()));
    return HeaderOf(request, "Authorization");
  };
  CHECK(authorization(Auth::kBody, "t").empty());
  CHECK(authorization(Auth::kBearer, "t") == "Bearer t");
  CHECK(authorization(Auth::kHeader, "t") == "t");
  // RFC 7617, section 2, and what is such a value already.
  CHECK(authorization(Auth::kBasic, "Aladdin:open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  CHECK(authorization(Auth::kBasic, "QWxhZGRpbjpvcGVuIHNlc2FtZQ==") ==
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  CHECK(authorization(Auth::kBearer, "a\r\nX: b") == "Bearer a  X: b");
  for (const Auth auth : {Auth::kBody, Auth::kBearer, Auth::kBasic, Auth::kHeader}) {
    CHECK(authorization(auth, "").empty());
  }
}

TEST_CASE("an Authorization of the operator's own and auth are one too many") {
  RecipeConfig config = ConfigOf(Format::kForm);
  config.headers = {{"authorization", "Key {{token}}"}};
  CHECK(test::ErrorOf(config).empty());
  for (const Auth auth : {Auth::kBearer, Auth::kBasic, Auth::kHeader}) {
    config.auth = auth;
    CHECK(Contains(test::ErrorOf(config), "Authorization"));
  }
}

TEST_CASE("traceparent: one trace for all attempts of an event, each with a span of its own") {
  RecipeConfig config;
  config.post_url = "https://backend.example/";
  config.traceparent = true;
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->recipe = CompileRecipe(config).value();
  Delivery delivery = test::MakeDelivery(1, "juliet");
  const auto parent = [&] {
    return test::HeaderOf(BuildRequest(1, endpoint, {delivery}, 1'700'000'000'000), "traceparent");
  };
  const std::string first = parent();
  REQUIRE(first.size() == 55);  // W3C Trace Context, section 3.2
  CHECK(first.substr(0, 3) == "00-");
  CHECK(first.substr(52) == "-01");
  CHECK(first.find_first_not_of("0123456789abcdef-") == std::string::npos);
  CHECK(first.substr(3, 32) != std::string(32, '0'));
  CHECK(parent() == first);
  ++delivery.attempts;
  CHECK(parent().substr(0, 36) == first.substr(0, 36));
  CHECK(parent().substr(36, 16) != first.substr(36, 16));
  delivery = test::MakeDelivery(2, "juliet");
  CHECK(parent().substr(3, 32) != first.substr(3, 32));
}

}  // namespace offline_post
