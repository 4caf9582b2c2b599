// What the service withdraws, limits and formats besides: withdrawals, rates, the presence form.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/http_server.hpp"
#include "support/service_fixture.hpp"

namespace offline_post {

namespace {

using test::Config;
using test::Eventually;
using test::HttpRequest;
using test::HttpServer;
using test::kKey;
using test::To;
using Fixture = test::ServiceFixture;

Withdrawal All(const std::string& user, Final how = Final::kCancelled) {
  return {RecipientKey(user, "example.org"), 0, how};
}

}  // namespace

TEST_CASE("a withdrawal takes its turn behind what the same thread has submitted") {
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(test::DeadUrl())).has_value());
  f.service.Pause(kKey);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&f, t] {
      const std::string user = "u" + std::to_string(t);
      for (int i = 0; i < 250; ++i) {
        f.service.Submit(kKey, To(user, std::to_string(i)));
        if (i % 50 == 48) f.service.Withdraw(kKey, All(user));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(Eventually([&f] { return f.stats().cancelled == 4 * 249; }));
  CHECK(f.stats().pending == 4);
}

TEST_CASE("nothing is withdrawn where no endpoint is configured") {
  Fixture f;
  CHECK_FALSE(f.service.Withdraw(kKey, All("juliet")));
  REQUIRE_FALSE(f.service.Configure(Config(test::DeadUrl())).has_value());
  CHECK(f.service.Withdraw(kKey, All("juliet")));
  f.Remove(0);
  CHECK_FALSE(f.service.Withdraw(kKey, All("juliet")));
}

TEST_CASE("what a rate limit drops is counted outside of the law") {
  Fixture f;
  EndpointConfig config = Config(test::DeadUrl());
  config.rates = {0, 3, false};
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  for (int i = 0; i < 3; ++i) CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kAccepted);
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kLimited);
  REQUIRE_FALSE(f.service.Configure(config).has_value());  // leaves the buckets alone
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kLimited);
  CHECK(f.service.Submit(kKey, To("nurse")) == Admission::kAccepted);
  CHECK(f.stats().limited == 2);
  CHECK(f.stats().accepted == 4);
  CHECK(f.stats().rejected == 0);
  config.rates.recipient = 60;
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kAccepted);
  config.rates = {};
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  for (int i = 0; i < 100; ++i) CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kAccepted);
  f.Remove(0);
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kStopped);
}

TEST_CASE("a room is no sender with a rate: what it says comes to many") {
  Fixture f;
  EndpointConfig config = Config(test::DeadUrl());
  config.rates = {1, 0, false};
  std::vector<std::string> uses;
  REQUIRE_FALSE(f.service.Configure(config, &uses).has_value());
  // Though no request uses it.
  CHECK(uses == std::vector<std::string>{"body", "room"});
  for (const char* member : {"juliet", "nurse", "paris"}) {
    const auto event = To(member);
    event->attributes = {{"trigger", "groupchat"}, {"room", "verona@rooms.example.org"}};
    CHECK(f.service.Submit(kKey, event) == Admission::kAccepted);
  }
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kAccepted);
  CHECK(f.service.Submit(kKey, To("nurse")) == Admission::kLimited);
}

TEST_CASE("beyond a rate a conversation gives way to the rate's own topic, and a call is dropped") {
  Fixture f;
  EndpointConfig config = Config(test::DeadUrl());
  config.rates = {0, 1, true};
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  const auto about = [](const std::string& kind) {
    auto event = To("juliet");
    event->kind = kind;
    event->topic = 42;
    return event;
  };
  const auto within = about("call");
  CHECK(f.service.Submit(kKey, within) == Admission::kAccepted);
  CHECK(within->topic == 42);
  const auto beyond = about("text");
  CHECK(f.service.Submit(kKey, beyond) == Admission::kAccepted);
  CHECK(beyond->topic == RateTopic(*beyond));
  CHECK(f.service.Submit(kKey, about("call")) == Admission::kLimited);
}

TEST_CASE("a sender's rate covers all of his recipients, and none where he is not named") {
  Fixture f;
  EndpointConfig config = Config(test::DeadUrl());
  config.rates = {2, 0, false};
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kAccepted);
  CHECK(f.service.Submit(kKey, To("nurse")) == Admission::kAccepted);
  CHECK(f.service.Submit(kKey, To("paris")) == Admission::kLimited);
  for (int i = 0; i < 5; ++i) {
    const auto event = To("paris");
    event->from = {};
    CHECK(f.service.Submit(kKey, event) == Admission::kAccepted);
  }
}

TEST_CASE("beyond a rate events collapse") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  EndpointConfig config = Config(server.url());
  config.rates = {0, 1, true};
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  // The first is within the rate, the second the first of those beyond, the rest wait a minute.
  for (int i = 0; i < 10; ++i) {
    CHECK(f.service.Submit(kKey, To("juliet", std::to_string(i))) == Admission::kAccepted);
    REQUIRE(Eventually([&f, i] {
      const Stats stats = f.stats();
      return i < 2 ? stats.delivered == static_cast<std::uint64_t>(i) + 1
                   : stats.cancelled == static_cast<std::uint64_t>(i) - 2;
    }));
  }
  CHECK(f.stats().pending == 1);
  CHECK(f.stats().limited == 0);
}

TEST_CASE("the presence form carries whose presence it is and the token, and no more") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  EndpointConfig config = Config(server.url());
  config.recipe.presence = true;
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  REQUIRE(f.service.Submit(kKey, To("juliet", "")) == Admission::kAccepted);
  REQUIRE(Eventually([&f] { return f.stats().delivered == 1; }));
  CHECK(server.requests().at(0).body == "jabber_id=juliet&access_token=secret");
}

TEST_CASE("attributes that no disk could keep are mended before the event is counted") {
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(test::DeadUrl())).has_value());
  const auto event = To("juliet");
  event->attributes = {{"nick", "a\xff"}};
  REQUIRE(f.service.Submit(kKey, event) == Admission::kAccepted);
  CHECK(event->attributes.at(0).value == "a\xef\xbf\xbd");
  CHECK(f.stats().pending_bytes == EventBytes(*event));
}

}  // namespace offline_post
