// The engine's batches that are refused: whose fault it is, and what becomes of the others.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "support/batch_fixture.hpp"

namespace offline_post {

using test::BatchEngine;

namespace {
using Ids = std::vector<std::string>;
}  // namespace

TEST_CASE("batch: a poisoned event is found, and dead alone") {
  for (const char* poison : {"a", "d", "h"}) {
    BatchEngine f(8);
    f.WarmUp();
    f.AcceptAll({"a", "b", "c", "d", "e", "f", "g", "h"});
    CHECK(f.AnswerAll({poison}) == 7);  // 8, 4, 4, 2, 2, 1, 1
    CHECK(f.stats().dead == 1);
    CHECK(f.stats().delivered == 15);
    const auto dead = f.Dead();
    REQUIRE(dead.size() == 1);
    CHECK(dead[0].delivery.event->to.user == poison);
    CHECK(dead[0].delivery.attempts == 1);
    CHECK(dead[0].note.reason == "HTTP 422");
    for (const auto& [delivery, how] : f.outbox.finished) CHECK(delivery.attempts == 1);
    CHECK(f.stats().state == EndpointState::kHealthy);
  }
}

TEST_CASE("batch: halves leave in order and before what is new") {
  BatchEngine f(4, 1);
  f.AcceptAll({"a", "b", "c", "d", "e", "f", "g", "h"});
  CHECK(f.out() == Ids{"a b c d"});
  f.Answer(413);
  CHECK(f.out() == Ids{"a b"});
  CHECK(f.stats().in_flight == 2);
  CHECK(f.stats().retries == 4);
  f.Answer(413);
  CHECK(f.out() == Ids{"a"});
  f.Answer(200);
  CHECK(f.out() == Ids{"b"});
  f.Answer(413);
  CHECK(f.stats().dead == 1);
  CHECK(f.out() == Ids{"c d"});
  f.Answer(200);
  CHECK(f.out() == Ids{"e f g h"});
  f.Answer(200);
  CHECK(f.stats().delivered == 7);
}

TEST_CASE("batch: halves that wait outlive whatever happens to the endpoint") {
  BatchEngine f(4, 1);
  f.AcceptAll({"a", "b", "c", "d"});
  f.Accept("a", "next");
  f.Answer(400);
  REQUIRE(f.out() == Ids{"a b"});  // and c d wait
  CHECK_FALSE(f.engine.Idle(1));
  SECTION("a removal: they come back in order") {
    f.engine.Remove(1);
    CHECK(f.stats().in_flight == 0);
    CHECK(f.stats().pending == 5);
    CHECK(f.engine.Idle(1));
    f.Configure();
    f.Settle(BatchEngine::kDelayMs);
    CHECK(f.out() == Ids{"a b c d"});
    CHECK(f.AnswerAll({}) == 2);
    CHECK(f.stats().delivered == 5);
  }
  SECTION("another configuration: they are a batch again") {
    auto other = std::make_shared<Endpoint>(*f.endpoint);
    other->batch.max_events = 100;
    f.Configure(1, other, f.ledger);
    f.Advance(BatchEngine::kDelayMs);
    f.Answer(422);  // to the replaced one
    f.Advance(BatchEngine::kDelayMs);
    CHECK(f.stats().dead == 0);
    CHECK(f.out() == Ids{"a b c d"});
    CHECK(f.AnswerAll({}) == 2);
    CHECK(f.stats().delivered == 5);
  }
  SECTION("a configuration without batches") {
    auto other = std::make_shared<Endpoint>(*f.endpoint);
    other->batch = {};
    f.Configure(1, other, f.ledger);
    while (!f.transport.sent.empty()) {
      CHECK(f.transport.sent.front().deliveries.size() <= 2);
      f.Answer(200);
    }
    CHECK(f.stats().delivered == 5);
  }
  SECTION("a pause") {
    f.engine.Pause(1);
    f.Answer(400);
    CHECK(f.out().empty());
    CHECK(f.engine.Idle(1));
    CHECK(f.stats().in_flight == 0);
    CHECK_FALSE(f.engine.NextTurnMs().has_value());
    f.engine.Resume(1);
    f.Turn();
    CHECK(f.out() == Ids{"a"});
    CHECK(f.AnswerAll({"d"}) == 6);
    CHECK(f.stats().delivered == 4);
    CHECK(f.stats().dead == 1);
  }
  SECTION("410") {
    f.Answer(410);
    CHECK(f.stats().state == EndpointState::kPaused);
    CHECK(f.out().empty());
    f.engine.Resume(1);
    f.Turn();
    CHECK(f.out() == Ids{"c d"});
    f.Answer(200);
    f.Settle(BatchEngine::kDelayMs);
    CHECK(f.out() == Ids{"a b"});
    CHECK(f.AnswerAll({}) == 2);
    CHECK(f.stats().delivered == 5);
  }
  SECTION("a withdrawal, of those who wait and of those who are out") {
    for (const char* user : {"c", "b"}) {
      f.engine.Withdraw(1, {RecipientKey(user, "example.org"), 0, Final::kCancelled});
    }
    f.Turn();
    CHECK(f.stats().cancelled == 1);
    f.Answer(400);
    CHECK(f.stats().cancelled == 2);
    CHECK(f.out() == Ids{"a"});
    f.Answer(200);
    CHECK(f.out() == Ids{"d"});
    f.Answer(200);
    CHECK(f.AnswerAll({}) == 1);  // a's next
    CHECK(f.stats().delivered == 3);
    CHECK(f.stats().cancelled == 2);
  }
  SECTION("trouble: the others go on") {
    f.Answer(503);
    CHECK(f.out() == Ids{"c d"});
    f.Answer(200);
    CHECK(f.stats().pending == 3);
    f.Settle(2'000);
    CHECK(f.AnswerAll({}) > 0);
    f.Settle(2'000);
    f.AnswerAll({});
    CHECK(f.stats().delivered == 5);
  }
}

TEST_CASE("batch: a half that a later one of its topic speaks for does not leave") {
  BatchEngine f(2, 1);
  const auto event = [](const std::string& to, const std::string& body) {
    auto made = test::MakeEvent(to, body);
    made->topic = TopicKey(RecipientKey(*made), "talk");
    return made;
  };
  f.Accept(event("a", "1"));
  f.Accept(event("b", "1"));
  f.Answer(400);
  REQUIRE(f.transport.sent.at(0).event_ids == Ids{"msg_a_1"});  // and b's waits
  f.Accept(event("b", "2"));
  f.Answer(200);
  f.Settle(BatchEngine::kDelayMs);
  REQUIRE(f.transport.sent.size() == 1);
  CHECK(f.transport.sent[0].event_ids == Ids{"msg_b_2"});
  f.Answer(200);
  CHECK(f.stats().delivered == 2);
  CHECK(f.stats().cancelled == 1);
  CHECK(f.outbox.finished.back().first.stands_for == 2);
}

TEST_CASE("batch: a probe carries one event, also of a half that waits") {
  BatchEngine f(4, 1);
  f.AcceptAll({"a", "b", "c", "d", "e", "f", "g", "h"});
  f.Answer(400);
  REQUIRE(f.out() == Ids{"a b"});
  auto other = test::MakeEndpoint();  // another endpoint of the origin opens the breaker
  const auto ledger = std::make_shared<Ledger>();
  other->max_connections = 8;
  f.Configure(2, other, ledger);
  f.Answer(200);
  for (int i = 0; i < 8 && f.stats().state == EndpointState::kHealthy; ++i) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(503);
    const auto event = test::MakeEvent("other" + std::to_string(i));
    ledger->Reserve(EventBytes(*event));
    f.engine.Accept(2, event);
    f.Turn();
  }
  REQUIRE(f.stats().state == EndpointState::kBroken);
  for (int i = 0; i < 5; ++i) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    REQUIRE(f.transport.sent.size() == 1);
    CHECK(f.transport.sent[0].deliveries.size() == 1);
    f.Answer(503);
  }
  f.engine.Remove(2);
}

TEST_CASE("batch: who is refused as unknown goes alone, and nobody is dead for another's fault") {
  BatchEngine f(4, 1);
  f.AcceptAll({"a", "b", "c", "unknown"});
  f.Answer(404);
  for (int i = 0; i < 200 && f.stats().pending > 0; ++i) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    const Request& request = f.transport.sent.front();
    const bool unknown = request.body.find("msg_unknown_") != std::string::npos;
    if (request.body.find("msg_other") == std::string::npos) CHECK(request.deliveries.size() == 1);
    f.Answer(unknown ? 404 : 200);
    if (f.stats().pending < 4) f.Accept("other" + std::to_string(i));  // others succeed meanwhile
    if (f.stats().dead > 0) break;
  }
  const auto dead = f.Dead();
  REQUIRE(dead.size() == 1);
  CHECK(dead[0].delivery.event->to.user == "unknown");
  CHECK(dead[0].delivery.attempts == Engine::kMisconfiguredAttempts);
  f.Settle(BatchEngine::kDelayMs);
  while (!f.transport.sent.empty()) f.Answer(200);
}

}  // namespace offline_post
