#include "engine/backoff.hpp"

#include <algorithm>
#include <cstddef>

namespace offline_post {

namespace {

Millis Spread(Millis wait_ms, double unit) {
  return static_cast<Millis>(static_cast<double>(wait_ms) * (0.75 + 0.5 * unit));
}

}  // namespace

Millis ExponentialBackoff(Millis first_ms, Millis longest_ms, int failures, double unit) {
  Millis wait = std::min(first_ms, longest_ms);
  for (int i = 1; i < failures && wait < longest_ms; ++i) wait = std::min(wait * 2, longest_ms);
  return std::min(longest_ms, Spread(wait, unit));
}

Millis LongestWait(const RetrySchedule& schedule) {
  return *std::max_element(schedule.waits_ms.begin(), schedule.waits_ms.end());
}

Millis RetryDelay(const RetrySchedule& schedule, int failures, std::optional<Millis> retry_after_ms,
                  double unit) {
  const std::size_t last = schedule.waits_ms.size() - 1;
  const Millis own =
      Spread(schedule.waits_ms[std::min(last, static_cast<std::size_t>(failures - 1))], unit);
  return std::min(LongestWait(schedule), std::max(own, retry_after_ms.value_or(0)));
}

}  // namespace offline_post
