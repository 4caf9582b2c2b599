// What an operator asks of the engine: to try now, to send a test, and why it is as it is.
#include "support/engine_fixture.hpp"

namespace offline_post {

using test::BareEngine;
using test::MakeEvent;

namespace {

Observed Seen(const BareEngine& f) {
  return f.ledger->seen().Snapshot(f.clock.MonotonicMs(), f.clock.UnixMs());
}

}  // namespace

TEST_CASE("what waits for a retry is tried at once when an operator says so, all of it") {
  BareEngine f;
  f.endpoint->schedule.waits_ms = {3'600'000};
  f.endpoint->max_connections = 2'000;
  f.Configure();
  constexpr int kWaiting = 1'200;  // more than two slices
  for (int i = 0; i < kWaiting; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(i % 2 == 0 ? 503 : 200);  // no breaker opens
  }
  CHECK(f.transport.sent.empty());
  f.engine.Hasten(1);
  f.Turn();
  f.Settle(50);  // slices have pauses between them
  CHECK(f.transport.sent.size() == kWaiting / 2);
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.stats().delivered == kWaiting);
}

TEST_CASE("a test is sent through pause and breaker, and counts nowhere") {
  BareEngine f;
  f.Configure();
  f.engine.Pause(1);
  int status = 0;
  Millis took = -1;
  f.engine.Test(1, MakeEvent("juliet", "a test"), [&](const Outcome& outcome, Millis took_ms) {
    status = outcome.status;
    took = took_ms;
  });
  REQUIRE(f.transport.sent.size() == 1);
  CHECK(f.sent_text() == "a%20test");
  f.clock.Advance(7);
  f.Answer(503);
  CHECK(status == 503);
  CHECK(took == 7);
  CHECK(f.stats().accepted == 0);
  CHECK(f.stats().attempts == 0);
  CHECK(Seen(f).outcomes.empty());
  f.engine.Test(4'711, MakeEvent("juliet"), [](const Outcome&, Millis) { FAIL("nobody's"); });
  CHECK(f.transport.sent.empty());
}

TEST_CASE("the engine says why an endpoint is in its state, and how much may be in flight") {
  BareEngine f;
  f.endpoint->max_connections = 8;
  f.Configure();
  CHECK(Seen(f).why.empty());
  CHECK(Seen(f).concurrency == 8);
  CHECK(Seen(f).max_connections == 8);
  for (int i = 0; i < 6; ++i) f.Accept("user" + std::to_string(i));
  for (int i = 0; i < 6; ++i) f.Answer(503);
  CHECK(Seen(f).state == EndpointState::kBroken);
  CHECK(Seen(f).why == "HTTP 503");
  CHECK(Seen(f).concurrency == 0);
  CHECK(Seen(f).attempts[static_cast<std::size_t>(OutcomeClass::kTrouble)] == 6);
  f.engine.Pause(1);
  CHECK(Seen(f).why == "paused by the operator");
  f.engine.Resume(1);
  f.Settle(2'000);  // the retry's wait
  f.Answer(200);    // the probe
  CHECK(Seen(f).state == EndpointState::kHealthy);
  CHECK(Seen(f).why.empty());
  CHECK(Seen(f).outcomes.front().kind == OutcomeClass::kDelivered);
}

}  // namespace offline_post
