// How long to wait after a failure.
#pragma once

#include <optional>

#include "model/clock.hpp"
#include "model/endpoint.hpp"

namespace offline_post {

// first, 2 x first, 4 x first, ... never over `longest`; spread over 75 % to 125 % by `unit` in [0,
// 1), so that what failed together does not come back together. `failures` >= 1.
Millis ExponentialBackoff(Millis first_ms, Millis longest_ms, int failures, double unit);

// No wait is longer, whatever a receiver asks for.
Millis LongestWait(const RetrySchedule& schedule);

// The wait before the next attempt: the schedule's, spread over 75 % to 125 %, or longer if the
// receiver asked for it (Retry-After), never over the longest. `failures` >= 1.
Millis RetryDelay(const RetrySchedule& schedule, int failures, std::optional<Millis> retry_after_ms,
                  double unit);

}  // namespace offline_post
