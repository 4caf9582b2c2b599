#include "engine/backoff.hpp"

#include <algorithm>

namespace offline_post {

Millis ExponentialBackoff(Millis first_ms, Millis longest_ms, int failures, double unit) {
  Millis wait = std::min(first_ms, longest_ms);
  for (int i = 1; i < failures && wait < longest_ms; ++i) wait = std::min(wait * 2, longest_ms);
  const double spread = 0.75 + 0.5 * unit;
  return std::min(longest_ms, static_cast<Millis>(static_cast<double>(wait) * spread));
}

Millis RetryDelay(const RetrySchedule& schedule, int failures, std::optional<Millis> retry_after_ms,
                  double unit) {
  const Millis own = ExponentialBackoff(schedule.first_ms, schedule.longest_ms, failures, unit);
  return std::min(schedule.longest_ms, std::max(own, retry_after_ms.value_or(0)));
}

}  // namespace offline_post
