// Random: all chance of one history, from its seed. The same on every machine, unlike the standard
// library's distributions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "model/clock.hpp"

namespace offline_post::simulation {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // SplitMix64, https://prng.di.unimi.it/splitmix64.c
  std::uint64_t Next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  // In [0, n); n >= 1.
  std::uint64_t Below(std::uint64_t n) { return Next() % n; }
  int Int(int low, int high) {
    return low + static_cast<int>(Below(static_cast<std::uint64_t>(high - low) + 1));
  }
  Millis Between(Millis low, Millis high) {
    return low + static_cast<Millis>(Below(static_cast<std::uint64_t>(high - low) + 1));
  }
  // Small and large values alike: each doubling between low (>= 1) and high is as likely.
  Millis Spread(Millis low, Millis high) {
    int doublings = 0;
    while ((low << (doublings + 1)) <= high) ++doublings;
    const Millis base = low << Int(0, doublings);
    return std::min(high, base + Between(0, base));
  }
  bool Percent(int percent) { return Int(0, 99) < percent; }
  bool PerMille(int per_mille) { return Int(0, 999) < per_mille; }
  template <typename T, std::size_t N>
  T Pick(const T (&of)[N]) {
    return of[Below(N)];
  }

 private:
  std::uint64_t state_;
};

}  // namespace offline_post::simulation
