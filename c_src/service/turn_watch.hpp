// TurnWatch: how long the service thread has worked at a stretch, from one wait for news to the
// next: in that time no new message is read and no commit is confirmed.
//
// Threads: Begin and End the service thread's; the others any.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace offline_post {

class TurnWatch {
 public:
  using Clock = std::chrono::steady_clock;

  void Begin() {
    begin_ = Clock::now();
    cpu_begin_us_ = CpuUs();
  }
  void End() {
    const Clock::time_point now = Clock::now();
    if (now - minute_ >= std::chrono::minutes(1)) {
      minute_ = now;
      before_us_ = longest_us_.exchange(0);
    }
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(now - begin_).count();
    longest_us_ = std::max(longest_us_.load(), static_cast<std::uint64_t>(took));
    longest_cpu_us_ = std::max(longest_cpu_us_.load(), CpuUs() - cpu_begin_us_);
  }

  // The longest stretch of the current minute and the one before (microseconds).
  std::uint64_t LongestUs() const { return std::max(longest_us_.load(), before_us_.load()); }
  // The most CPU time of a stretch since the start (microseconds): what other processes take from
  // this one is left out.
  std::uint64_t LongestCpuUs() const { return longest_cpu_us_; }

 private:
  static std::uint64_t CpuUs() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
           static_cast<std::uint64_t>(time.tv_nsec) / 1'000;
  }

  Clock::time_point begin_ = Clock::now();
  Clock::time_point minute_ = begin_;
  std::uint64_t cpu_begin_us_ = 0;
  std::atomic<std::uint64_t> longest_us_{0};
  std::atomic<std::uint64_t> before_us_{0};
  std::atomic<std::uint64_t> longest_cpu_us_{0};
};

}  // namespace offline_post
