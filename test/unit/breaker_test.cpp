#include "engine/breaker.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {

Breaker OpenedAt(Millis now) {
  Breaker breaker;
  breaker.SetLimit(8);
  for (int i = 1; i < Breaker::kTroublesToOpen; ++i) {
    CHECK_FALSE(breaker.OnTrouble(now, false, std::nullopt, 0.5));
  }
  CHECK(breaker.OnTrouble(now, false, std::nullopt, 0.5));
  return breaker;
}

}  // namespace

TEST_CASE("a closed breaker lets as many pass as the limit says") {
  Breaker breaker;
  breaker.SetLimit(3);
  CHECK(breaker.MaySend(0, 2));
  CHECK_FALSE(breaker.MaySend(0, 3));
  breaker.SetLimit(5);
  CHECK(breaker.MaySend(0, 4));
  breaker.SetLimit(2);
  CHECK_FALSE(breaker.MaySend(0, 2));
}

TEST_CASE("only trouble without any success in between opens a breaker") {
  Breaker breaker;
  breaker.SetLimit(8);
  for (int round = 0; round < 10; ++round) {
    for (int i = 1; i < Breaker::kTroublesToOpen; ++i)
      breaker.OnTrouble(0, false, std::nullopt, 0.5);
    CHECK_FALSE(breaker.OnAlive());
  }
  CHECK(breaker.state() == Breaker::State::kClosed);
}

TEST_CASE("an open breaker lets one probe pass at a time, backing off") {
  Breaker breaker = OpenedAt(0);
  CHECK_FALSE(breaker.MaySend(999, 0));
  CHECK(breaker.MaySend(1'000, 0));
  CHECK(breaker.OnSend());
  CHECK(breaker.state() == Breaker::State::kProbing);
  CHECK_FALSE(breaker.MaySend(1'000, 1));

  CHECK_FALSE(breaker.OnTrouble(1'000, true, std::nullopt, 0.5));
  CHECK_FALSE(breaker.MaySend(2'999, 0));
  CHECK(breaker.MaySend(3'000, 0));

  Millis now = 3'000;
  for (int i = 0; i < 20; ++i) {
    CHECK(breaker.OnSend());
    breaker.OnTrouble(now, true, std::nullopt, 0.5);
    now = breaker.probe_at_ms();
  }
  CHECK(breaker.OnSend());
  breaker.OnTrouble(0, true, std::nullopt, 0.5);
  CHECK(breaker.probe_at_ms() == Breaker::kLongestProbeMs);
}

TEST_CASE("requests that left before a breaker opened do not move its probe") {
  Breaker breaker = OpenedAt(0);
  const Millis probe_at = breaker.probe_at_ms();
  CHECK_FALSE(breaker.OnTrouble(900, false, std::nullopt, 0.5));
  CHECK(breaker.probe_at_ms() == probe_at);
}

TEST_CASE("Retry-After moves the probe") {
  Breaker breaker = OpenedAt(0);
  breaker.OnSend();
  breaker.OnTrouble(0, true, 30'000, 0.5);
  CHECK(breaker.probe_at_ms() == 30'000);
}

TEST_CASE("after a probe passed, concurrency ramps up to the limit") {
  Breaker breaker = OpenedAt(0);
  breaker.OnSend();
  CHECK(breaker.OnAlive());
  CHECK(breaker.state() == Breaker::State::kClosed);
  CHECK(breaker.MaySend(1'000, 1));
  CHECK_FALSE(breaker.MaySend(1'000, 2));
  breaker.OnAlive();
  breaker.OnAlive();
  CHECK(breaker.MaySend(1'000, 3));
  CHECK_FALSE(breaker.MaySend(1'000, 4));
  for (int i = 0; i < 100; ++i) breaker.OnAlive();
  CHECK(breaker.MaySend(1'000, 7));
  CHECK_FALSE(breaker.MaySend(1'000, 8));
}

TEST_CASE("a probe that was given up lets another pass") {
  Breaker breaker = OpenedAt(0);
  breaker.OnSend();
  breaker.OnCancelled(true);
  CHECK(breaker.MaySend(1'000, 0));
}

TEST_CASE("a reload probes at once") {
  Breaker breaker = OpenedAt(0);
  breaker.Hasten(10);
  CHECK(breaker.MaySend(10, 0));
}

}  // namespace offline_post
