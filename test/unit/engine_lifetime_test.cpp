// Kinds with a lifetime of their own: nothing of them is sent later than that, attempted or not.
#include <memory>
#include <string>

#include "support/batch_fixture.hpp"
#include "support/engine_fixture.hpp"
#include "support/spool.hpp"

namespace offline_post {

using test::BareEngine;
using test::BatchEngine;
using test::ConfiguredEngine;

namespace {

constexpr Millis kMinute = 60'000;

std::shared_ptr<Event> Call(const std::string& to, const std::string& body = "call") {
  auto event = test::MakeEvent(to, body);
  event->kind = "call";
  return event;
}

void Limit(BareEngine& f) {
  f.endpoint->schedule.max_ages = {{"call", kMinute}};
  f.Configure();
}

void BreakOrigin(BareEngine& f) {
  for (int i = 0; i < 5; ++i) f.Accept("other" + std::to_string(i));
  while (!f.transport.sent.empty()) f.Answer(503);
  REQUIRE(f.stats().state == EndpointState::kBroken);
}

}  // namespace

TEST_CASE("a call that waits out an outage is expired, never the probe, and its followers go") {
  ConfiguredEngine f(1);
  Limit(f);
  BreakOrigin(f);
  f.Accept(Call("juliet", "late"));
  f.Accept("juliet", "after");
  f.Accept(Call("nurse", "late"));
  f.clock.Advance(60 * kMinute);
  for (f.Turn(); f.stats().pending > 0; f.Turn()) {
    if (f.transport.sent.empty()) f.AdvanceToNext();
    if (f.transport.sent.empty()) continue;
    CHECK_FALSE(test::Has(f.sent_body(0), "late"));
    f.Answer(200);
  }
  CHECK(f.stats().delivered == 6);
  CHECK(f.stats().dead == 2);
  for (const DeadLetter& letter : f.Dead({"", "expired"})) {
    CHECK(letter.note.reason == "expired: 3600 s old, a call is not sent after its max_age");
    CHECK(letter.note.status == 0);
    CHECK(letter.delivery.attempts == 0);
  }
  CHECK(f.Dead({"", "expired"}).size() == 2);
}

TEST_CASE("a call is sent up to the end of its lifetime") {
  for (const Millis beyond : {0, 1}) {
    ConfiguredEngine f(1);
    Limit(f);
    f.Accept("nurse");
    f.Accept(Call("juliet"));
    f.clock.Advance(kMinute + beyond);
    f.Answer(200);
    CHECK(f.transport.sent.size() == (beyond == 0 ? 1 : 0));
    CHECK(f.stats().dead == (beyond == 0 ? 0 : 1));
  }
}

TEST_CASE("a call whose next attempt would come after its lifetime is dead at once") {
  ConfiguredEngine f;
  Limit(f);
  f.Accept(Call("juliet"));
  f.Accept("nurse");
  f.Answer(503, "61");
  CHECK(f.Dead().at(0).note.reason == "expired, at last HTTP 503");
  CHECK(f.Dead().at(0).delivery.attempts == 1);
  f.Answer(503, "61");
  CHECK(f.stats().dead == 1);
  CHECK(f.stats().pending == 1);  // another kind has all its time
}

TEST_CASE("a call that waits for its retry in an outage is dead after its lifetime") {
  ConfiguredEngine f;
  Limit(f);
  f.Accept(Call("juliet"));
  f.Answer(503);
  for (int i = 0; i < 3; ++i) {
    f.AdvanceToNext();
    while (!f.transport.sent.empty()) f.Answer(503);
  }
  f.Advance(2 * kMinute);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().dead == 1);
  CHECK(f.Dead().at(0).delivery.attempts > 1);
}

TEST_CASE("in a batch the others leave without what has expired") {
  BatchEngine f(8, 1);
  Limit(f);
  f.WarmUp();
  SECTION("waiting for company") {
    f.endpoint->batch.max_delay_ms = 2 * kMinute;
    f.Configure();
    f.Accept(Call("juliet"));
    f.clock.Advance(kMinute + 1);
    f.Accept("nurse");
    f.Advance(2 * kMinute);
    CHECK(f.out() == std::vector<std::string>{"nurse"});
  }
  SECTION("a half of a refused batch") {
    f.Accept(Call("juliet"));
    f.Accept("nurse");
    f.Advance(BatchEngine::kDelayMs);
    REQUIRE(f.out() == std::vector<std::string>{"juliet nurse"});
    f.clock.Advance(kMinute);
    f.Answer(413);
    CHECK(f.out() == std::vector<std::string>{"nurse"});
  }
  f.Answer(200);
  CHECK(f.stats().dead == 1);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("a replayed call has its whole lifetime again") {
  ConfiguredEngine f(1);
  Limit(f);
  f.Accept("nurse");
  f.Accept(Call("juliet"));
  f.clock.Advance(2 * kMinute);
  f.Answer(200);
  REQUIRE(f.stats().dead == 1);
  f.engine.ReplayDead(1, {}, [](std::uint64_t) {});
  f.Settle();
  REQUIRE(f.transport.sent.size() == 1);
  f.Answer(200);
  CHECK(f.stats().dead == 0);
}

TEST_CASE("a reload gives what waits another lifetime, or none") {
  ConfiguredEngine f(1);
  f.Accept("nurse");
  f.Accept(Call("juliet"));
  Limit(f);
  f.clock.Advance(2 * kMinute);
  SECTION("as it was") {}
  SECTION("longer") { f.endpoint->schedule.max_ages = {{"call", 3 * kMinute}}; }
  SECTION("none") { f.endpoint->schedule.max_ages = {}; }
  const bool leaves = LifetimeOf(f.endpoint->schedule, "call") != kMinute;
  f.Configure();
  f.Answer(200);
  CHECK(f.transport.sent.size() == (leaves ? 1 : 0));
  CHECK(f.stats().dead == (leaves ? 0 : 1));
}

TEST_CASE("a call that an earlier run has left is expired by its age, without an attempt") {
  test::Spool spool;
  const auto endpoint = test::MakeEndpoint();
  endpoint->schedule.max_ages = {{"call", kMinute}};
  const auto run = [&](const std::shared_ptr<Event>& event) {
    spool.Open();
    const auto ledger = std::make_shared<Ledger>();
    test::FakeTransport transport;
    Engine engine(*spool.outbox, transport, spool.clock, spool.notices, 42);
    for (const StoredEndpoint& stored : spool.outbox->Stored()) {
      ledger->Restore(stored);
      engine.Restore(stored, ledger);
    }
    ledger->Open(endpoint->limits);
    if (event) {
      engine.Configure(1, endpoint, ledger);
      ledger->Reserve(EventBytes(*event));
      engine.Accept(1, event);
      engine.Pause(1);
    } else {
      engine.Configure(1, endpoint, ledger);
      engine.Resume(1);
    }
    do {
      engine.Turn();
    } while (spool.outbox->Poll(engine));
    CHECK(transport.sent.empty());
    test::CheckLaw(ledger->Snapshot());
    return ledger->Snapshot();
  };
  CHECK(run(Call("juliet")).pending == 1);
  spool.outbox.reset();
  spool.clock.unix_ms += kMinute + 1;  // while nobody ran
  const Stats stats = run(nullptr);
  CHECK(stats.dead == 1);
  CHECK(stats.attempts == 0);
}

}  // namespace offline_post
