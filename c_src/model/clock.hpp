// Time, as the engine sees it. The engine never asks the operating system, so that a test can drive
// it.
#pragma once

#include <cstdint>

namespace offline_post {

// Milliseconds: a point in time or a span, as the name says.
using Millis = std::int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; its zero means nothing. For intervals and due times.
  virtual Millis MonotonicMs() const = 0;
  // Since 1970-01-01 UTC; may jump both ways. For what is stored, sent or compared with a date.
  virtual Millis UnixMs() const = 0;
};

}  // namespace offline_post
