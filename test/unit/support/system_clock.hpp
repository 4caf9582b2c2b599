// The operating system's time, for tests with real sockets and threads.
#pragma once

#include <chrono>

#include "model/clock.hpp"

namespace offline_post::test {

class RealClock final : public Clock {
 public:
  Millis MonotonicMs() const override { return Count(std::chrono::steady_clock::now()); }
  Millis UnixMs() const override { return Count(std::chrono::system_clock::now()); }

 private:
  template <typename TimePoint>
  static Millis Count(TimePoint now) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  }
};

}  // namespace offline_post::test
