// TurnWatch: how long the service thread has worked at a stretch, from one wait for news to the
// next: in that time nobody's message is read and nobody's commit is confirmed.
//
// Threads: Begin and End the service thread's; LongestUs any.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace offline_post {

class TurnWatch {
 public:
  using Clock = std::chrono::steady_clock;

  void Begin() { begin_ = Clock::now(); }
  void End() {
    const Clock::time_point now = Clock::now();
    if (now - minute_ >= std::chrono::minutes(1)) {
      minute_ = now;
      before_us_ = longest_us_.load();
      longest_us_ = 0;
    }
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(now - begin_).count();
    longest_us_ = std::max(longest_us_.load(), static_cast<std::uint64_t>(took));
  }

  // The longest stretch of the current minute and the one before (microseconds).
  std::uint64_t LongestUs() const { return std::max(longest_us_.load(), before_us_.load()); }

 private:
  Clock::time_point begin_ = Clock::now();
  Clock::time_point minute_ = begin_;
  std::atomic<std::uint64_t> longest_us_{0};
  std::atomic<std::uint64_t> before_us_{0};
};

}  // namespace offline_post
