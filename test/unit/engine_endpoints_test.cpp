// The engine and its endpoints: reloads, removals, and origins with their trouble.
#include <memory>
#include <string>

#include "support/engine_fixture.hpp"

namespace offline_post {

using test::ConfiguredEngine;

TEST_CASE("blame for a configuration that was replaced meanwhile hits nobody") {
  for (const int status : {410, 401}) {
    ConfiguredEngine f;
    f.Accept("juliet");
    f.Configure(1, test::MakeEndpoint("other"), f.ledger);
    f.Answer(status);
    CHECK(f.stats().state == EndpointState::kHealthy);
    REQUIRE(f.transport.sent.size() == 1);
    CHECK(f.transport.sent[0].endpoint->post_url == "http://other/push");
    f.Answer(200);
    CHECK(f.stats().delivered == 1);
  }
}

TEST_CASE("an origin's limit follows the endpoints that come and go") {
  ConfiguredEngine f(64);
  const auto other = test::MakeEndpoint("backend", 2);
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  f.engine.Remove(1);
  CHECK(f.engine.ConnectionLimit() == 2);
  for (int i = 0; i < 10; ++i) {
    const auto event = test::MakeEvent("nurse" + std::to_string(i));
    other_ledger->Reserve(EventBytes(*event));
    f.engine.Accept(2, event);
  }
  f.Turn();
  CHECK(f.transport.sent.size() == 2);
}

TEST_CASE("requests that end one after another in 410 have nothing claimed in vain") {
  ConfiguredEngine f;
  for (int i = 0; i < 20; ++i) f.Accept("user" + std::to_string(i));
  f.Accept("user0");
  f.Accept("user0");  // waits in the outbox: two of a recipient are claimed at a time
  const std::size_t in_flight = f.transport.sent.size();
  REQUIRE(in_flight > 5);
  const int before = f.outbox.claims;
  for (std::size_t i = 0; i < in_flight; ++i) f.Answer(410);
  CHECK(f.outbox.claims == before);
  CHECK(f.stats().pending == 22);
}

TEST_CASE("410 pauses the endpoint, loses nothing, and a reload resumes") {
  ConfiguredEngine f;
  f.Accept("juliet", "1");
  f.Answer(410);
  f.Accept("nurse", "2");
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().state == EndpointState::kPaused);
  CHECK(f.stats().pending == 2);
  CHECK(f.engine.Idle(1));
  REQUIRE(f.notices.Waiting().size() == 1);
  CHECK(f.notices.Waiting()[0].level == Notice::Level::kError);
  f.Configure(1, f.endpoint, f.ledger);
  CHECK(f.transport.sent.size() == 2);
  CHECK(f.sent_body(0).find("body=1") != std::string::npos);
  f.Answer(200);
  f.Answer(200);
  CHECK(f.stats().delivered == 2);
  CHECK(f.stats().state == EndpointState::kHealthy);
}

TEST_CASE("an open breaker holds back what waits, without burning its attempts") {
  ConfiguredEngine f;
  for (int i = 0; i < 200; ++i) f.Accept("user" + std::to_string(i));
  CHECK(f.transport.sent.size() == 64);
  while (!f.transport.sent.empty()) f.Answer(0, "", "connection refused");
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(f.stats().attempts == 68);  // four more left before the fifth failure
  for (int probe = 1; probe <= 3; ++probe) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    CHECK(f.transport.sent.size() == 1);
    CHECK(f.stats().state == EndpointState::kProbing);
    f.Answer(0, "", "connection refused");
  }
  CHECK(f.stats().attempts == 71);
  while (f.transport.sent.empty()) f.AdvanceToNext();
  f.Answer(200);
  CHECK(f.stats().state == EndpointState::kHealthy);
  CHECK(f.transport.sent.size() == 2);  // the ramp begins
  while (f.stats().delivered < 200) {
    if (f.transport.sent.empty()) f.AdvanceToNext();
    CHECK(f.transport.sent.size() <= 64);
    f.Answer(200);
  }
  CHECK(f.stats().pending == 0);
}

TEST_CASE("a reload gives what is queued its new URL and token") {
  ConfiguredEngine f;
  f.Accept("juliet");
  f.Answer(503);
  const auto changed = test::MakeEndpoint("other");
  changed->auth_token = "new";
  f.Configure(1, changed, f.ledger);
  f.AdvanceToNext();
  REQUIRE(f.transport.sent.size() == 1);
  CHECK(f.transport.sent[0].endpoint->post_url == "http://other/push");
  CHECK(f.sent_body(0).find("access_token=new") != std::string::npos);
  f.Answer(200);
}

TEST_CASE("a reload within an origin keeps its breaker and its count in flight") {
  ConfiguredEngine f(2);
  for (int i = 0; i < 4; ++i) f.Accept("user" + std::to_string(i));
  f.Configure(1, f.endpoint, f.ledger);
  CHECK(f.transport.sent.size() == 2);
  for (int i = 0; i < 4; ++i) f.Answer(200);
  CHECK(f.stats().delivered == 4);
}

TEST_CASE("endpoints of one origin share its breaker and take turns") {
  ConfiguredEngine f(2);
  const auto other = test::MakeEndpoint("backend", 1);
  other->key.vhost = "example.net";
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  CHECK(f.engine.ConnectionLimit() == 2);
  for (int i = 0; i < 3; ++i) f.Accept("user" + std::to_string(i));
  const auto event = test::MakeEvent("nurse");
  other_ledger->Reserve(EventBytes(*event));
  f.engine.Accept(2, event);
  f.Turn();
  CHECK(f.transport.sent.size() == 2);
  f.Answer(200);
  CHECK(f.sent_body(1).find("to=nurse") != std::string::npos);
  while (!f.transport.sent.empty()) f.Answer(500);
  CHECK(other_ledger->Snapshot().in_flight == 0);
  test::CheckLaw(other_ledger->Snapshot());
}

TEST_CASE("one message that fails again and again holds nobody else back") {
  for (const int status : {500, 404}) {
    ConfiguredEngine f;
    f.Accept("juliet");
    for (int i = 0; i < 8; ++i) {
      f.Answer(status);
      CHECK(f.stats().state == EndpointState::kHealthy);
      while (f.transport.sent.empty()) f.AdvanceToNext();
    }
    f.Accept("nurse");
    CHECK(f.transport.sent.size() == 2);
  }
}

TEST_CASE("a wrong token holds its own endpoint back, not its neighbour at the same origin") {
  ConfiguredEngine f(8);
  const auto other = test::MakeEndpoint("backend", 8);
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  for (int i = 0; i < 100; ++i) f.Accept("user" + std::to_string(i));
  while (!f.transport.sent.empty()) f.Answer(401);
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(f.stats().attempts == 12);  // 8 at once, and 4 more before the fifth failure
  CHECK(other_ledger->Snapshot().state == EndpointState::kHealthy);
  for (int i = 0; i < 20; ++i) {
    const auto event = test::MakeEvent("nurse" + std::to_string(i));
    other_ledger->Reserve(EventBytes(*event));
    f.engine.Accept(2, event);
    f.Turn();
    f.Answer(200);
  }
  CHECK(other_ledger->Snapshot().delivered == 20);
  while (f.transport.sent.empty()) f.AdvanceToNext();
  CHECK(f.transport.sent.size() == 1);  // the probe
  f.Answer(200);
  CHECK(f.stats().state == EndpointState::kHealthy);
  while (f.stats().pending > 0) {
    if (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(200);
  }
  CHECK(f.stats().delivered == 100);
}

TEST_CASE("endpoints of different origins do not share trouble") {
  ConfiguredEngine f;
  const auto other = test::MakeEndpoint("elsewhere");
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  for (int i = 0; i < 8; ++i) f.Accept("user" + std::to_string(i));
  while (!f.transport.sent.empty()) f.Answer(500);
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(other_ledger->Snapshot().state == EndpointState::kHealthy);
}

TEST_CASE("a removed endpoint gives up what is in flight and keeps what is pending") {
  ConfiguredEngine f(1);
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  f.engine.Remove(1);
  CHECK(f.transport.cancelled.size() == 1);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().pending == 3);
  CHECK(f.stats().in_flight == 0);
  CHECK(f.stats().state == EndpointState::kStopped);
  f.Advance(1'000);
  CHECK(f.transport.sent.empty());

  f.Configure(1, f.endpoint, f.ledger);
  for (const char* body : {"1", "2", "3"}) {
    REQUIRE(f.transport.sent.size() == 1);
    CHECK(f.sent_body(0).find(std::string("body=") + body) != std::string::npos);
    f.Answer(200);
  }
}

TEST_CASE("what a removed endpoint left ages to dead") {
  ConfiguredEngine f;
  for (int i = 0; i < 3'000; ++i) f.Accept("user" + std::to_string(i % 100));
  f.engine.Remove(1);
  f.Turn();
  REQUIRE(f.engine.NextTurnMs().has_value());
  f.Advance(f.endpoint->schedule.max_age_ms - 1);
  CHECK(f.stats().dead == 0);
  f.Advance(1);
  CHECK(f.stats().pending < 3'000);
  CHECK(f.stats().pending >= 3'000 - Engine::kSlice);
  while (f.stats().pending > 0) f.AdvanceToNext();
  CHECK(f.stats().dead + f.stats().purged == 3'000);
  CHECK(f.Dead().back().note.reason == "endpoint removed");
}

TEST_CASE("a probe that is given up at another origin than its endpoint's is no probe there") {
  ConfiguredEngine f;
  const auto mate = test::MakeEndpoint();  // of the first origin
  mate->key.vhost = "mate.org";
  const auto ledger = std::make_shared<Ledger>();
  f.Configure(2, mate, ledger);
  for (int i = 0; i < 5; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(503);
  }
  while (f.transport.sent.empty()) f.AdvanceToNext();
  CHECK(ledger->Snapshot().state == EndpointState::kProbing);
  f.Configure(1, test::MakeEndpoint("other"), f.ledger);  // its probe is still out
  CHECK(ledger->Snapshot().state == EndpointState::kProbing);
  f.engine.Remove(1);
  CHECK(ledger->Snapshot().state == EndpointState::kBroken);
}

TEST_CASE("a reload that shortens the interval counts for what waits already") {
  test::BareEngine f;
  f.endpoint->collapse_interval_ms = 3'600'000;
  f.Configure();
  for (const char* body : {"1", "2"}) {
    auto event = test::MakeEvent("juliet", body);
    event->topic = TopicKey(RecipientKey(*event), "from:romeo");
    f.Accept(event);
    if (body[0] == '1') f.Answer(200);
  }
  REQUIRE(f.transport.sent.empty());
  const auto sooner = std::make_shared<Endpoint>(*f.endpoint);
  SECTION("at its end") {
    sooner->collapse_interval_ms = 10'000;
    f.Configure(1, sooner, f.ledger);
    CHECK(f.transport.sent.empty());
    f.Advance(9'999);
    CHECK(f.transport.sent.empty());
    f.Advance(1);
  }
  SECTION("at once, if there is none") {
    sooner->collapse_interval_ms = 0;
    f.Configure(1, sooner, f.ledger);
  }
  CHECK(f.sent_text() == "2");
}

}  // namespace offline_post
