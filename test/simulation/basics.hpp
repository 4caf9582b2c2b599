// What every part of the simulated world shares: its time, and its two ways to end.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "model/clock.hpp"

namespace offline_post::simulation {

// A promise was broken: the history fails.
struct Violation {
  std::string text;
};

[[noreturn]] inline void Fail(std::string text) { throw Violation{std::move(text)}; }

// The simulated process dies here and now.
struct Crash {};

// Dies at the n-th command that the engine gives to a port: in the midst of whatever it does.
class Fuse {
 public:
  void Set(std::uint64_t commands) { left_ = commands; }
  void Burn() {
    ++burnt_;
    if (left_ > 0 && --left_ == 0) throw Crash{};
  }
  // Commands so far: what the engine does shows here.
  std::uint64_t burnt() const { return burnt_; }

 private:
  std::uint64_t left_ = 0;
  std::uint64_t burnt_ = 0;
};

// Three times: the world's own, which the checks use; the engine's monotonic one, which begins anew
// with each run; and the wall clock, which may jump.
class SimClock final : public Clock {
 public:
  Millis now = 0;
  Millis monotonic_offset = 1'000;
  Millis wall_offset = 1'700'000'000'000;

  Millis MonotonicMs() const override { return now + monotonic_offset; }
  Millis UnixMs() const override { return now + wall_offset; }
  Millis FromMonotonic(Millis monotonic) const { return monotonic - monotonic_offset; }
};

// Defects that are switched on in the simulated parts, to show that the checks see them.
struct Switches {
  bool claim_before_commit = false;  // the outbox hands out what it has not committed
  bool lose_twin = false;            // a delete is committed without its counter
  bool lose_tail = false;            // a crash takes some committed rows along
  bool claim_past_waiting = false;   // a waiting retry does not hold back its recipient
  bool ignore_hasten = false;        // who waits goes on waiting
};

}  // namespace offline_post::simulation
