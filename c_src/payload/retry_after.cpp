#include "payload/retry_after.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <string>

#include "model/ascii.hpp"

namespace offline_post {

namespace {

constexpr Millis kLongestMs = 365LL * 24 * 3'600'000;

}  // namespace

std::optional<Millis> ParseRetryAfter(std::string_view value, Millis unix_now_ms) {
  value = Trimmed(value, " \t");
  if (value.empty()) return std::nullopt;
  if (std::all_of(value.begin(), value.end(), IsDigit)) {
    Millis seconds = 0;
    for (const char c : value) {
      seconds = std::min(seconds * 10 + (c - '0'), kLongestMs / 1'000);
    }
    return seconds * 1'000;
  }
  // A date starts with the day's name; curl's parser alone would also read "2" or "-5" as some day.
  if (IsDigit(value.front()) || value.front() == '-' || value.front() == '+') return std::nullopt;
  const time_t date = curl_getdate(std::string(value).c_str(), nullptr);
  if (date < 0) return std::nullopt;
  // A year may have many digits.
  const Millis latest = (std::max<Millis>(unix_now_ms, 0) + kLongestMs) / 1'000 + 1;
  const Millis wait = std::min<Millis>(date, latest) * 1'000 - unix_now_ms;
  return std::clamp<Millis>(wait, 0, kLongestMs);
}

}  // namespace offline_post
