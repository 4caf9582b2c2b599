#include "engine/observations.hpp"

namespace offline_post {

namespace {

constexpr Millis kMinuteMs = 60'000;

std::uint64_t Micros(Millis ms) {
  return static_cast<std::uint64_t>(std::max<Millis>(0, ms)) * 1'000;
}

// Probes come and go while the trouble stays.
bool IsInTrouble(EndpointState state) {
  return state == EndpointState::kBroken || state == EndpointState::kProbing;
}

}  // namespace

void Observations::SetState(EndpointState state, std::string_view why, Millis unix_ms) {
  const std::lock_guard lock(mutex_);
  const bool same = state == seen_.state || (IsInTrouble(state) && IsInTrouble(seen_.state));
  if (!same || seen_.since_unix_ms == 0) seen_.since_unix_ms = unix_ms;
  seen_.state = state;
  seen_.why = why;
}

void Observations::SetConcurrency(int now, int most) {
  const std::lock_guard lock(mutex_);
  seen_.concurrency = now;
  seen_.max_connections = most;
}

void Observations::Accepted(Millis accepted_ms, Millis unix_ms) {
  const std::lock_guard lock(mutex_);
  ++MinuteOf(unix_ms).accepted;
  AddPending(accepted_ms, 1);
}

void Observations::Replayed(Millis accepted_ms, std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  if (count > 0) AddPending(accepted_ms, count);
}

void Observations::AddPending(Millis accepted_ms, std::uint64_t count) {
  Age& age = ages_[accepted_ms / kMinuteMs];
  if (age.pending == 0) age.first_ms = accepted_ms;
  age.pending += count;
}

void Observations::Settled(Millis accepted_ms, std::uint64_t left) {
  const std::lock_guard lock(mutex_);
  if (left == 0) {
    ages_.clear();
    return;
  }
  const auto age = ages_.find(accepted_ms / kMinuteMs);
  if (age == ages_.end()) return;  // of an earlier run
  if (--age->second.pending == 0) ages_.erase(age);
}

void Observations::ForgetPending() {
  const std::lock_guard lock(mutex_);
  ages_.clear();
}

void Observations::RequestEnded(const std::vector<Delivery>& deliveries,
                                const std::vector<offline_post::Outcome>& outcomes, Millis took_ms,
                                Millis now_ms, Millis unix_ms) {
  const std::uint64_t us = Micros(took_ms);
  const std::lock_guard lock(mutex_);
  Observed::Minute& minute = MinuteOf(unix_ms);
  ++minute.requests;
  minute.latency_sum_us += us;
  minute.latency_max_us = std::max(minute.latency_max_us, us);
  seen_.attempt_us.Add(us);
  for (std::size_t i = 0; i < std::min(deliveries.size(), outcomes.size()); ++i) {
    const Delivery& delivery = deliveries[i];
    const offline_post::Outcome& outcome = outcomes[i];
    ++seen_.attempts[static_cast<std::size_t>(outcome.kind)];
    if (outcome.kind == OutcomeClass::kDelivered) {
      ++minute.delivered;
      seen_.delivery_us.Add(Micros(now_ms - delivery.accepted_ms));
    } else {
      ++minute.failed;
    }
    if (ring_.size() < kOutcomes) ring_.emplace_back();
    Observed::Outcome& one = ring_[next_];  // its strings keep their memory
    next_ = (next_ + 1) % kOutcomes;
    one.unix_ms = unix_ms;
    one.event_id = delivery.event->id;
    one.kind = outcome.kind;
    one.status = outcome.status;
    one.reason = outcome.reason;
    one.attempt = delivery.attempts + 1;
    one.us = us;
  }
}

// The minutes are in order also where the clock is set back: then the last one counts on.
Observed::Minute& Observations::MinuteOf(Millis unix_ms) {
  const std::int64_t minute = unix_ms / kMinuteMs;
  // But one that was far ahead was wrong.
  if (!minutes_.empty() && minutes_.back().minute > minute + static_cast<std::int64_t>(kMinutes)) {
    minutes_.clear();
  }
  if (minutes_.empty() || minutes_.back().minute < minute) {
    minutes_.emplace_back().minute = minute;
    if (minutes_.size() > kMinutes) minutes_.pop_front();
  }
  return minutes_.back();
}

Observed Observations::Snapshot(Millis now_ms, Millis unix_ms) const {
  const std::lock_guard lock(mutex_);
  Observed observed = seen_;
  const std::int64_t now = unix_ms / kMinuteMs;
  for (const Observed::Minute& minute : minutes_) {
    if (minute.minute > now - static_cast<std::int64_t>(kMinutes))
      observed.minutes.push_back(minute);
  }
  for (std::size_t i = 1; i <= ring_.size(); ++i) {
    observed.outcomes.push_back(ring_[(next_ + ring_.size() - i) % ring_.size()]);
  }
  if (!ages_.empty()) observed.oldest_unix_ms = unix_ms - (now_ms - ages_.begin()->second.first_ms);
  return observed;
}

}  // namespace offline_post
