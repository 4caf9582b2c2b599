// Randomness for ids and jitter: from the operating system, seldom.
#pragma once

#include <cstdint>
#include <random>

namespace offline_post {

inline std::uint64_t RandomBits() {
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

}  // namespace offline_post
