// Breaker: how many requests an origin may have in flight now. Trouble without any success in
// between opens it; then one probe at a time, backing off; when one passes, concurrency ramps up
// again.
#pragma once

#include <optional>

#include "model/clock.hpp"

namespace offline_post {

class Breaker {
 public:
  static constexpr int kTroublesToOpen = 5;
  static constexpr Millis kFirstProbeMs = 1'000;
  static constexpr Millis kLongestProbeMs = 60'000;

  enum class State { kClosed, kOpen, kProbing };

  // `limit` >= 1: the largest number of requests in flight.
  void SetLimit(int limit);

  // May one more be sent, with `in_flight` out?
  bool MaySend(Millis now_ms, int in_flight) const;
  // A request leaves. True: it is the probe; say so when its end is reported.
  bool OnSend();

  // The origin answered, and not with trouble. True: this closed the breaker.
  bool OnAlive();
  // No answer, or trouble. `retry_after_ms` as the receiver asked, already bounded; `unit` in [0,
  // 1) spreads the probes of many nodes. True: this opened the breaker.
  bool OnTrouble(Millis now_ms, bool probe, std::optional<Millis> retry_after_ms, double unit);
  // A request was given up by us: it says nothing about the origin.
  void OnCancelled(bool probe);
  // Somebody changed something: probe at once.
  void Hasten(Millis now_ms);

  State state() const { return state_; }
  // How many may be in flight now.
  int Allowed() const;
  // When an open breaker lets the next probe pass.
  Millis probe_at_ms() const { return probe_at_ms_; }

 private:
  State state_ = State::kClosed;
  int limit_ = 1;
  int allowed_ = 1;   // the ramp, while closed
  int troubles_ = 0;  // without an answer in between
  int failed_probes_ = 0;
  Millis probe_at_ms_ = 0;
};

}  // namespace offline_post
