#include "engine/backoff.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {
constexpr double kMiddle = 0.5;  // a spread of exactly 1
}

TEST_CASE("the wait doubles up to the longest") {
  const RetrySchedule schedule;
  CHECK(RetryDelay(schedule, 1, std::nullopt, kMiddle) == 1'000);
  CHECK(RetryDelay(schedule, 2, std::nullopt, kMiddle) == 2'000);
  CHECK(RetryDelay(schedule, 5, std::nullopt, kMiddle) == 16'000);
  CHECK(RetryDelay(schedule, 11, std::nullopt, kMiddle) == 600'000);
  CHECK(RetryDelay(schedule, 2'000'000'000, std::nullopt, kMiddle) == 600'000);
}

TEST_CASE("jitter spreads a wait over three to five quarters, never over the longest") {
  const RetrySchedule schedule;
  CHECK(RetryDelay(schedule, 3, std::nullopt, 0.0) == 3'000);
  CHECK(RetryDelay(schedule, 3, std::nullopt, 0.999) == 4'998);
  CHECK(RetryDelay(schedule, 30, std::nullopt, 0.999) == 600'000);
}

TEST_CASE("Retry-After lengthens a wait, never shortens it, and is bounded") {
  const RetrySchedule schedule;
  CHECK(RetryDelay(schedule, 1, 30'000, kMiddle) == 30'000);
  CHECK(RetryDelay(schedule, 5, 1'000, kMiddle) == 16'000);
  CHECK(RetryDelay(schedule, 1, 3'600'000, kMiddle) == 600'000);
}

}  // namespace offline_post
