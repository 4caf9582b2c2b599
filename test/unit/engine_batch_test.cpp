// The engine's batches: what leaves together and when, and what an answer means for each event.
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

TEST_CASE("batch: a full one leaves at once, the others when their time has come") {
  BatchEngine f;
  f.WarmUp();
  f.AcceptAll({"a", "b", "c"});
  CHECK(f.out().empty());
  CHECK(f.engine.NextTurnMs() == f.clock.MonotonicMs() + BatchEngine::kDelayMs);
  f.Accept("d");
  CHECK(f.out() == Ids{"a b c d"});
  CHECK(f.stats().in_flight == 4);
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
  f.Accept("e");
  f.Advance(60);
  f.Accept("f");
  CHECK(f.engine.NextTurnMs() == f.clock.MonotonicMs() + 40);
  f.Advance(39);
  CHECK(f.out().size() == 1);
  f.Advance(1);
  CHECK(f.out() == Ids{"a b c d", "e f"});
  f.Answer(200);
  f.Answer(200);
  CHECK(f.stats().delivered == 14);
  CHECK(f.stats().in_flight == 0);
  CHECK(f.stats().attempts == 14);
}

TEST_CASE("batch: of each recipient one event at a time, in order") {
  BatchEngine f;
  f.WarmUp();
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  f.Accept("nurse", "4");
  f.Advance(BatchEngine::kDelayMs);
  CHECK(f.out() == Ids{"juliet nurse"});
  CHECK(f.transport.sent[0].event_ids == Ids{"msg_juliet_1", "msg_nurse_4"});
  f.Answer(200);
  CHECK(f.transport.sent.at(0).event_ids == Ids{"msg_juliet_2"});  // its time is over
  f.Answer(200);
  CHECK(f.transport.sent.at(0).event_ids == Ids{"msg_juliet_3"});
  f.Answer(200);
  CHECK(f.stats().delivered == 12);
}

TEST_CASE("batch: a request counts once, whatever it carries") {
  BatchEngine f(2, 2);
  f.WarmUp();
  f.AcceptAll({"a", "b", "c", "d", "e", "f"});
  CHECK(f.out() == Ids{"a b", "c d"});
  f.Answer(200);
  CHECK(f.out() == Ids{"c d", "e f"});
  f.Answer(200);
  f.Answer(200);
  CHECK(f.stats().delivered == 14);
}

TEST_CASE("batch: what does not fit into the body stays in front") {
  BatchEngine f(100);
  auto small = std::make_shared<Endpoint>(*f.endpoint);
  small->batch.max_bytes = 1'000;
  f.Configure(1, small, f.ledger);
  f.WarmUp();
  for (const char* to : {"a", "b", "c", "d", "e"}) f.Accept(to, std::string(200, 'x'));
  f.Advance(BatchEngine::kDelayMs);
  Ids seen;
  for (const Request& request : f.transport.sent) {
    CHECK(request.body.size() <= 1'000);
    CHECK(request.event_ids.size() < 5);
    CHECK_FALSE(request.event_ids.empty());
    seen.insert(seen.end(), request.event_ids.begin(), request.event_ids.end());
  }
  REQUIRE(seen.size() == 5);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  CHECK(f.stats().in_flight == 5);
  while (!f.transport.sent.empty()) f.Answer(200);
  f.Accept("giant", std::string(5'000, 'x'));  // alone it goes all the same
  f.Advance(BatchEngine::kDelayMs);
  CHECK(f.out() == Ids{"giant"});
  f.Answer(200);
  CHECK(f.stats().delivered == 14);
}

TEST_CASE("batch: who has waited long enough waits a moment more for a Claim under way") {
  BatchEngine f(100);
  f.Accept("a");
  const auto b = test::MakeEvent("b");
  REQUIRE(f.ledger->Reserve(EventBytes(*b)) == Admission::kAccepted);
  f.engine.Accept(1, b);
  f.engine.Turn();  // the outbox is not asked for its answer
  f.clock.Advance(BatchEngine::kDelayMs);
  f.engine.Turn();
  CHECK(f.transport.sent.empty());
  CHECK(f.engine.NextTurnMs() == f.clock.MonotonicMs() + Engine::kFillingMs);
  SECTION("it comes") {
    f.Turn();
    CHECK(f.out() == Ids{"a b"});
  }
  SECTION("it does not come") {
    f.clock.Advance(Engine::kFillingMs - 1);
    f.engine.Turn();
    CHECK(f.transport.sent.empty());
    f.clock.Advance(1);
    f.engine.Turn();
    CHECK(f.out() == Ids{"a"});
  }
}

TEST_CASE("batch: before a removal nobody waits for company, and after it everybody does again") {
  BatchEngine f;
  f.Accept("a");
  CHECK(f.out().empty());
  f.engine.Drain(1);
  CHECK(f.engine.NextTurnMs() == 0);
  f.Turn();
  CHECK(f.out() == Ids{"a"});
  f.Answer(200);
  f.Configure();
  f.Accept("b");
  CHECK(f.out().empty());
}

TEST_CASE("batch: who has failed twice leaves alone, for it may be what fails the others") {
  BatchEngine f;
  f.AcceptAll({"a", "b", "c", "d"});
  constexpr Millis kAllAreDue = 60'000;
  for (int attempt = 1; attempt <= Engine::kAttemptsInCompany; ++attempt) {
    CHECK(f.out() == Ids{"a b c d"});
    f.Answer(500);
    f.Advance(kAllAreDue);
  }
  CHECK(f.out() == Ids{"a", "b", "c", "d"});
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.stats().delivered == 4);
}

TEST_CASE("batch: trouble of single events in a 2xx is theirs alone") {
  BatchEngine f(4, 1);
  const std::string retries =
      BatchEngine::Result("a", "\"retry\"") + "," + BatchEngine::Result("b", "503") + "," +
      BatchEngine::Result("c", "\"what?\"") + "," + BatchEngine::Result("d", "\"retry\"");
  f.AcceptAll({"a", "b", "c", "d"});
  for (int i = 0; i < 20; ++i) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    f.AnswerResults(retries);
    REQUIRE(f.stats().state == EndpointState::kHealthy);
  }
  f.Accept("e");
  f.Advance(BatchEngine::kDelayMs);
  while (!f.transport.sent.empty()) f.AnswerResults(BatchEngine::Result("z", "503"));
  CHECK(f.stats().delivered >= 1);
  while (f.stats().pending > 0) {
    f.AnswerAll({});
    if (f.stats().pending > 0) f.AdvanceToNext();
  }
  CHECK(f.stats().delivered == 5);
  CHECK(f.stats().dead == 0);
}

TEST_CASE("batch: each event of a 2xx ends as was said of it") {
  BatchEngine f(4, 1);
  f.AcceptAll({"a", "b", "c", "d"});
  f.AnswerResults(BatchEngine::Result("a", "\"accepted\"") + "," +
                  BatchEngine::Result("b", "\"refused\"") + "," + BatchEngine::Result("c", "410"));
  CHECK(f.stats().delivered == 2);
  CHECK(f.stats().dead == 2);
  CHECK(f.stats().state == EndpointState::kHealthy);
  const auto dead = f.Dead();
  REQUIRE(dead.size() == 2);
  CHECK(dead[0].note.reason == "refused by the receiver");
  CHECK(dead[1].note.reason == "HTTP 410 in results");
}

TEST_CASE("batch: a receiver that writes broken results has trouble") {
  BatchEngine f(4, 1);
  for (int i = 0; i < 5; ++i) f.Accept("user" + std::to_string(i));
  offline_post::Answer broken;
  broken.status = 200;
  broken.body = "{\"results\":[";
  while (f.stats().state == EndpointState::kHealthy) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(broken);
    REQUIRE(f.stats().delivered == 0);
  }
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(f.stats().dead == 0);
}

TEST_CASE("batch: endpoints that share an origin take turns by requests") {
  BatchEngine f(2, 1);
  auto other = test::MakeEndpoint("backend", 1);
  other->key.vhost = "other.org";
  const auto ledger = std::make_shared<Ledger>();
  f.Configure(2, other, ledger);
  for (int i = 0; i < 4; ++i) {
    const auto event = test::MakeEvent("nurse" + std::to_string(i));
    ledger->Reserve(EventBytes(*event));
    f.engine.Accept(2, event);
    f.Accept("a" + std::to_string(i));
    f.Accept("b" + std::to_string(i));
  }
  std::string turns;
  while (!f.transport.sent.empty()) {
    turns += f.transport.sent.front().endpoint->key.vhost == "other.org" ? 'o' : 'b';
    f.Answer(200);
  }
  CHECK(turns == "obobobob");
}

TEST_CASE("batch: many lanes of a window fill many requests at once") {
  BatchEngine f(100, 64);
  for (int i = 0; i < 64; ++i) {  // the ramp
    f.Accept("warm" + std::to_string(i));
    f.Advance(BatchEngine::kDelayMs);
    f.Answer(200);
  }
  for (int i = 0; i < 10'000; ++i) {
    const auto event = test::MakeEvent("user" + std::to_string(i));
    REQUIRE(f.ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    f.engine.Accept(1, event);
  }
  f.Turn();
  CHECK(f.transport.sent.size() >= 40);
  for (const Request& request : f.transport.sent) CHECK(request.deliveries.size() == 100);
  int requests = 0;
  for (; f.stats().pending > 0; ++requests) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(200);
  }
  CHECK(requests == 100);
}

}  // namespace offline_post
