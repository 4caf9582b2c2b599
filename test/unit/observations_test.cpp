#include "engine/observations.hpp"

#include "support/engine_fixture.hpp"

namespace offline_post {

namespace {

constexpr Millis kNow = 5'000'000;
constexpr Millis kUnix = 1'700'000'000'000;

Outcome Said(OutcomeClass kind, int status) {
  Outcome outcome;
  outcome.kind = kind;
  outcome.status = status;
  outcome.reason = "HTTP " + std::to_string(status);
  return outcome;
}

Delivery AcceptedAt(Millis ms, const std::string& to = "juliet") {
  Delivery delivery = test::MakeDelivery(1, to);
  delivery.accepted_ms = ms;
  return delivery;
}

}  // namespace

TEST_CASE("a histogram's bucket includes its bound, and the last is of what is above all") {
  Histogram histogram(kAttemptBoundsUs);
  for (const std::uint64_t us : {0U, 1'000U, 1'001U, 60'000'000U, 60'000'001U}) histogram.Add(us);
  REQUIRE(histogram.counts().size() == kAttemptBoundsUs.size() + 1);
  CHECK(histogram.counts()[0] == 2);
  CHECK(histogram.counts()[1] == 1);
  CHECK(histogram.counts()[kAttemptBoundsUs.size() - 1] == 1);
  CHECK(histogram.counts().back() == 1);
  CHECK(histogram.sum_us() == 120'002'002U);
}

TEST_CASE("a request's end is seen by class, by minute, with its time and its outcomes") {
  Observations seen;
  seen.Accepted(kNow - 2'000, kUnix);
  seen.RequestEnded({AcceptedAt(kNow - 2'000), AcceptedAt(kNow)},
                    {Said(OutcomeClass::kDelivered, 200), Said(OutcomeClass::kTrouble, 503)}, 30,
                    kNow, kUnix);
  const Observed observed = seen.Snapshot(kNow, kUnix);
  CHECK(observed.attempts == std::array<std::uint64_t, 5>{1, 0, 0, 0, 1});
  CHECK(observed.attempt_us.sum_us() == 30'000);
  CHECK(observed.delivery_us.sum_us() == 2'000'000);
  REQUIRE(observed.minutes.size() == 1);
  CHECK(observed.minutes[0].minute == kUnix / 60'000);
  CHECK(observed.minutes[0].accepted == 1);
  CHECK(observed.minutes[0].delivered == 1);
  CHECK(observed.minutes[0].failed == 1);
  CHECK(observed.minutes[0].requests == 1);
  CHECK(observed.minutes[0].latency_max_us == 30'000);
  REQUIRE(observed.outcomes.size() == 2);
  CHECK(observed.outcomes[0].status == 503);  // the newest first
  CHECK(observed.outcomes[0].attempt == 1);
  CHECK(observed.outcomes[1].reason == "HTTP 200");
}

TEST_CASE("of outcomes and minutes the latest are kept, also when a clock is set back") {
  Observations seen;
  for (int i = 0; i < 100; ++i) {
    seen.RequestEnded({AcceptedAt(kNow)}, {Said(OutcomeClass::kTrouble, 500 + i)}, 1, kNow,
                      kUnix + i * 60'000LL);
  }
  seen.RequestEnded({AcceptedAt(kNow)}, {Said(OutcomeClass::kTrouble, 700)}, 1, kNow,
                    kUnix + 69 * 60'000LL);
  const Observed observed = seen.Snapshot(kNow, kUnix + 99 * 60'000LL);
  REQUIRE(observed.outcomes.size() == Observations::kOutcomes);
  CHECK(observed.outcomes[0].status == 700);
  CHECK(observed.outcomes[49].status == 551);
  REQUIRE(observed.minutes.size() == Observations::kMinutes);
  CHECK(observed.minutes.back().requests == 2);
  CHECK(seen.Snapshot(kNow, kUnix + 200 * 60'000LL).minutes.empty());
  seen.Accepted(kNow, kUnix);  // an hour and more before: that clock was wrong
  CHECK(seen.Snapshot(kNow, kUnix).minutes.size() == 1);
}

TEST_CASE("the oldest that waits is known to the minute, and nothing is once nothing waits") {
  Observations seen;
  seen.Accepted(kNow, kUnix);
  seen.Accepted(kNow + 1, kUnix);
  seen.Accepted(kNow + 120'000, kUnix);
  CHECK(seen.Snapshot(kNow + 120'000, kUnix + 120'000).oldest_unix_ms == kUnix);
  seen.Settled(kNow, 2);
  CHECK(seen.Snapshot(kNow + 120'000, kUnix + 120'000).oldest_unix_ms == kUnix);
  seen.Settled(kNow + 1, 1);
  CHECK(seen.Snapshot(kNow + 120'000, kUnix + 120'000).oldest_unix_ms == kUnix + 120'000);
  seen.Settled(1, 1);  // of an earlier run
  seen.Settled(kNow + 120'000, 0);
  CHECK(seen.Snapshot(kNow, kUnix).oldest_unix_ms == 0);
}

TEST_CASE("probes come and go, but the trouble's beginning stays") {
  Observations seen;
  seen.SetState(EndpointState::kHealthy, "", kUnix);
  seen.SetState(EndpointState::kBroken, "HTTP 503", kUnix + 1);
  seen.SetState(EndpointState::kProbing, "HTTP 503", kUnix + 2);
  seen.SetState(EndpointState::kBroken, "HTTP 500", kUnix + 3);
  Observed observed = seen.Snapshot(kNow, kUnix + 4);
  CHECK(observed.since_unix_ms == kUnix + 1);
  CHECK(observed.why == "HTTP 500");
  seen.SetState(EndpointState::kHealthy, "", kUnix + 5);
  observed = seen.Snapshot(kNow, kUnix + 6);
  CHECK(observed.since_unix_ms == kUnix + 5);
  CHECK(observed.why.empty());
}

}  // namespace offline_post
