#include "payload/answer.hpp"
#include "payload/percent.hpp"
#include "payload/recipe.hpp"
#include "payload/request_builder.hpp"
#include "payload/retry_after.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {

std::string PercentEncoded(std::string_view text) {
  std::string out;
  AppendPercentEncoded(text, out);
  return out;
}

std::string Decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      out.push_back(static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16)));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

Request OneDeliveryRequest() {
  Request request;
  request.deliveries = {7};
  return request;
}

std::string BodyOf(const std::shared_ptr<Event>& event, const std::shared_ptr<Endpoint>& endpoint) {
  Delivery delivery = test::MakeDelivery(9, "nobody");
  delivery.event = event;
  return BuildRequest(3, endpoint, {delivery}, 0).body;
}

OutcomeClass ClassOf(int status) { return ClassifyStatus(status); }

}  // namespace

TEST_CASE("percent-encoding keeps the unreserved characters and escapes all else") {
  CHECK(PercentEncoded("AZaz09-._~") == "AZaz09-._~");
  CHECK(PercentEncoded(" &=+%\r\n\t") == "%20%26%3D%2B%25%0D%0A%09");
  CHECK(PercentEncoded("\xF0\x9F\x98\x80") == "%F0%9F%98%80");
  CHECK(PercentEncoded(std::string_view("\0\xff", 2)) == "%00%FF");
  CHECK(PercentEncoded("").empty());
}

TEST_CASE("any bytes survive percent-encoding and decoding") {
  std::string all;
  for (int round = 0; round < 256; ++round) {
    for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  }
  CHECK(Decoded(PercentEncoded(all)) == all);
}

TEST_CASE("the form body is the original's, byte for byte") {
  const auto event = test::MakeEvent("juliet", "hi & bye=50%+\n");
  CHECK(BodyOf(event, test::MakeEndpoint()) ==
        "to=juliet&from=romeo&body=hi%20%26%20bye%3D50%25%2B%0A&access_token=secret");
}

TEST_CASE("a hostile local part cannot forge a field") {
  CHECK(BodyOf(test::MakeEvent("a&to=x"), test::MakeEndpoint()) ==
        "to=a%26to%3Dx&from=romeo&body=hello&access_token=secret");
}

TEST_CASE("the presence body is the original's, byte for byte") {
  const auto endpoint = test::MakeEndpoint();
  RecipeConfig presence;
  presence.presence = true;
  endpoint->recipe = CompileRecipe(presence).value();
  CHECK(BodyOf(test::MakeEvent("a&b@c"), endpoint) == "jabber_id=a%26b%40c&access_token=secret");
}

TEST_CASE("a presence's fields may have its time") {
  const auto endpoint = test::MakeEndpoint();
  RecipeConfig presence;
  presence.presence = true;
  presence.token = true;
  presence.fields.emplace();
  for (const char* name : {"to.user", "timestamp", "timestamp.unix", "token"})
    presence.fields->push_back({name, FieldValue{"{{" + std::string(name) + "}}"}});
  endpoint->recipe = CompileRecipe(presence).value();
  CHECK(BodyOf(test::MakeEvent("juliet"), endpoint) ==
        "to.user=juliet&timestamp=2023-11-14T22%3A13%3A20.000Z&timestamp.unix=1700000000"
        "&token=secret");
}

TEST_CASE("an event without a text has an empty body") {
  CHECK(BodyOf(test::MakeEvent("juliet", ""), test::MakeEndpoint()) ==
        "to=juliet&from=romeo&body=&access_token=secret");
}

TEST_CASE("an empty token is an empty field") {
  const auto endpoint = test::MakeEndpoint();
  endpoint->auth_token.clear();
  CHECK(BodyOf(test::MakeEvent("juliet"), endpoint) ==
        "to=juliet&from=romeo&body=hello&access_token=");
}

TEST_CASE("a request carries the event's id, the content type and an agent") {
  const Delivery delivery = test::MakeDelivery(9, "juliet");
  const Request request = BuildRequest(3, test::MakeEndpoint(), {delivery}, 0);
  CHECK(request.id == 3);
  CHECK(request.deliveries == std::vector<Sequence>{9});
  CHECK(request.headers ==
        std::vector<std::string>{"Content-Type: application/x-www-form-urlencoded",
                                 "webhook-id: " + delivery.event->id,
                                 "User-Agent: mod_offline_post/" OFFLINE_POST_VERSION});
}

TEST_CASE("every status has its class") {
  for (const int status : {200, 201, 202, 204, 299})
    CHECK(ClassOf(status) == OutcomeClass::kDelivered);
  for (const int status : {400, 413, 414, 415, 422})
    CHECK(ClassOf(status) == OutcomeClass::kRefused);
  CHECK(ClassOf(410) == OutcomeClass::kGone);
  for (const int status : {300, 301, 302, 307, 308, 401, 403, 404, 405, 406, 409, 418, 451, 499}) {
    CHECK(ClassOf(status) == OutcomeClass::kMisconfigured);
  }
  for (const int status : {0, 100, 199, 408, 425, 429, 500, 502, 503, 504, 599, 600, 999, -1}) {
    CHECK(ClassOf(status) == OutcomeClass::kTrouble);
  }
}

TEST_CASE("an answer becomes one outcome per delivery") {
  Request request = OneDeliveryRequest();
  request.deliveries = {7, 8};
  Answer answer;
  answer.status = 503;
  answer.retry_after = "3";
  answer.body = "busy";
  const std::vector<Outcome> outcomes = ReadAnswer(request, answer, 0);
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].sequence == 7);
  CHECK(outcomes[1].sequence == 8);
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.kind == OutcomeClass::kTrouble);
    CHECK(outcome.status == 503);
    CHECK(outcome.reason == "HTTP 503");
    CHECK(outcome.retry_after_ms == 3'000);
    CHECK(outcome.answer == "busy");
  }
}

TEST_CASE("an exchange that failed is trouble even if a good status came first") {
  Answer answer;
  answer.status = 200;
  answer.failure = "transfer closed with 5 bytes remaining to read";
  const Outcome outcome = ReadAnswer(OneDeliveryRequest(), answer, 0).front();
  CHECK(outcome.kind == OutcomeClass::kTrouble);
  CHECK(outcome.status == 0);
  CHECK(outcome.reason == answer.failure);
}

TEST_CASE("Retry-After is read in both of its forms") {
  const Millis now = 784'111'777'000;  // Sun, 06 Nov 1994 08:49:37 GMT
  CHECK(ParseRetryAfter("120", now) == 120'000);
  CHECK(ParseRetryAfter(" 0 ", now) == 0);
  // What several senders write, rounded up.
  for (const char* text : {"3.2", "3.0001", "4", "4.0", "4.", "3.2s", "4s", "4 s", "4 seconds"}) {
    INFO(text);
    CHECK(ParseRetryAfter(text, now) == 4'000);
  }
  CHECK(ParseRetryAfter(".5", now) == 1'000);
  CHECK(ParseRetryAfter("0.0", now) == 0);
  for (const char* text : {"3.2.1", ".", "3,2", "-3.2", "1e3", "3.2x", "3 4", "0x3", "s"}) {
    INFO(text);
    CHECK_FALSE(ParseRetryAfter(text, now).has_value());
  }
  CHECK(ParseRetryAfter("Sun, 06 Nov 1994 08:50:37 GMT", now) == 60'000);
  CHECK(ParseRetryAfter("Sunday, 06-Nov-94 08:49:47 GMT", now) == 10'000);
  CHECK(ParseRetryAfter("Sun Nov  6 08:49:38 1994", now) == 1'000);
}

TEST_CASE("Retry-After in the past is now, absurd is long, nonsense is absent") {
  const Millis now = 784'111'777'000;
  CHECK(ParseRetryAfter("Sun, 06 Nov 1994 08:49:36 GMT", now) == 0);
  CHECK(ParseRetryAfter("Thu, 01 Jan 1970 00:00:01 GMT", now) == 0);
  CHECK(ParseRetryAfter("99999999999999999999999999", now) > 300LL * 24 * 3'600'000);
  CHECK(ParseRetryAfter("Fri, 31 Dec 9999 23:59:59 GMT", now) > 300LL * 24 * 3'600'000);
  CHECK(ParseRetryAfter("Sun Nov  6 08:49:37 1994608868", now) == 365LL * 24 * 3'600'000);
  for (const char* nonsense :
       {"", " ", "soon", "-5", "+5", "12 apples", "Sun, 99 Foo 1994", "0x10"}) {
    INFO(nonsense);
    CHECK(ParseRetryAfter(nonsense, now) == std::nullopt);
  }
}

}  // namespace offline_post
