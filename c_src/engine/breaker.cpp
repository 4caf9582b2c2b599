#include "engine/breaker.hpp"

#include <algorithm>

#include "engine/backoff.hpp"

namespace offline_post {

void Breaker::SetLimit(int limit) {
  // A ramp that had reached the old limit goes on at the new one.
  allowed_ = allowed_ == limit_ ? limit : std::min(allowed_, limit);
  limit_ = limit;
}

bool Breaker::MaySend(Millis now_ms, int in_flight) const {
  switch (state_) {
    case State::kClosed:
      return in_flight < allowed_;
    case State::kOpen:
      return now_ms >= probe_at_ms_;
    case State::kProbing:
      return false;
  }
  return false;
}

int Breaker::Allowed() const {
  switch (state_) {
    case State::kClosed:
      return allowed_;
    case State::kOpen:
      return 0;
    case State::kProbing:
      return 1;
  }
  return 0;
}

bool Breaker::OnSend() {
  if (state_ != State::kOpen) return false;
  state_ = State::kProbing;
  return true;
}

bool Breaker::OnAlive() {
  troubles_ = 0;
  if (state_ == State::kClosed) {
    // One more per answer doubles the concurrency with every round trip.
    allowed_ = std::min(limit_, allowed_ + 1);
    return false;
  }
  state_ = State::kClosed;
  failed_probes_ = 0;
  allowed_ = std::min(limit_, 2);
  return true;
}

bool Breaker::OnTrouble(Millis now_ms, bool probe, std::optional<Millis> retry_after_ms,
                        double unit) {
  ++troubles_;
  bool opens = false;
  if (state_ == State::kClosed) {
    if (troubles_ < kTroublesToOpen) return false;
    opens = true;
  } else if (!probe) {
    return false;  // left before the breaker opened: no news
  }
  state_ = State::kOpen;
  failed_probes_ = opens ? 1 : failed_probes_ + 1;
  const Millis wait = ExponentialBackoff(kFirstProbeMs, kLongestProbeMs, failed_probes_, unit);
  probe_at_ms_ = now_ms + std::max(wait, retry_after_ms.value_or(0));
  return opens;
}

void Breaker::OnCancelled(bool probe) {
  if (probe && state_ == State::kProbing) state_ = State::kOpen;
}

void Breaker::Hasten(Millis now_ms) {
  failed_probes_ = 0;
  probe_at_ms_ = std::min(probe_at_ms_, now_ms);
}

}  // namespace offline_post
