// Retry-After, as a receiver writes it: the first byte chooses the time of day, the rest is the
// header's value.
#include <algorithm>
#include <array>
#include <string>

#include "payload/retry_after.hpp"
#include "require.hpp"

using offline_post::Millis;
using offline_post::fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  constexpr std::array<Millis, 4> kNows = {0, 1'700'000'000'000, -86'400'000, 253'402'300'799'000};
  if (size == 0) return 0;
  const Millis now = kNows[*data % kNows.size()];
  const std::string_view value(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto wait = offline_post::ParseRetryAfter(value, now);
  constexpr Millis kYear = 365LL * 86'400'000;
  if (wait) Require(*wait >= 0 && *wait <= kYear, "a wait is between nothing and a year");
  const bool number = !value.empty() && std::all_of(value.begin(), value.end(),
                                                    [](char c) { return c >= '0' && c <= '9'; });
  if (number) {
    // No stoll: it may not fit.
    const std::size_t first = std::min(value.find_first_not_of('0'), value.size());
    const std::string_view digits = value.substr(first);
    const Millis seconds =
        digits.size() > 9 ? kYear : std::stoll("0" + std::string(digits)) * 1'000;
    Require(wait == std::min(seconds, kYear), "seconds are seconds");
  }
  return 0;
}
