#include "payload/retry_after.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <string>

#include "model/ascii.hpp"

namespace offline_post {

namespace {

constexpr Millis kLongestMs = 365LL * 24 * 3'600'000;

// Several senders write a fraction, and some the unit. Rounded up: no attempt is too early.
std::optional<Millis> ParseSeconds(std::string_view value) {
  std::size_t end = 0;
  Millis seconds = 0;
  while (end < value.size() && IsDigit(value[end])) {
    seconds = std::min(seconds * 10 + (value[end] - '0'), kLongestMs / 1'000);
    ++end;
  }
  bool digits = end > 0;
  if (end < value.size() && value[end] == '.') {
    bool more = false;
    for (++end; end < value.size() && IsDigit(value[end]); ++end) {
      digits = true;
      more = more || value[end] != '0';
    }
    if (more) seconds = std::min(seconds + 1, kLongestMs / 1'000);
  }
  std::string_view unit = value.substr(end);
  if (digits && unit.starts_with(' ')) unit.remove_prefix(1);
  if (!digits || !(unit.empty() || unit == "s" || unit == "sec" || unit == "seconds"))
    return std::nullopt;
  return seconds;
}

}  // namespace

std::optional<Millis> ParseRetryAfter(std::string_view value, Millis unix_now_ms) {
  value = Trimmed(value, " \t");
  if (value.empty()) return std::nullopt;
  if (const std::optional<Millis> seconds = ParseSeconds(value)) return *seconds * 1'000;
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
