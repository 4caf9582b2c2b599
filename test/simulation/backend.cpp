#include "backend.hpp"

#include <algorithm>
#include <array>
#include <ctime>

namespace offline_post::simulation {

namespace {

// One message in so many is refused by any backend, one is not found by any.
constexpr std::uint64_t kPoison = 41;
constexpr std::uint64_t kUnknown = 53;

// RFC 9110, section 5.6.7: the preferred form and the two obsolete ones.
std::string HttpDate(Millis unix_ms, int form) {
  constexpr std::array<const char*, 3> kForms = {
      "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
  const auto seconds = static_cast<std::time_t>(unix_ms / 1'000);
  std::tm time{};
  gmtime_r(&seconds, &time);
  std::array<char, 64> text{};
  // NOLINTNEXTLINE: the format is one of three
  std::strftime(text.data(), text.size(), kForms.at(static_cast<std::size_t>(form)), &time);
  return text.data();
}

}  // namespace

RetryAfter MakeRetryAfter(Random& random, bool odd, Millis unix_now_ms) {
  switch (random.Int(0, odd ? 6 : 1)) {
    case 0: {
      const Millis seconds = random.Spread(1, 4'000);
      return {std::to_string(seconds), seconds * 1'000};
    }
    case 1: {
      const Millis date = (unix_now_ms / 1'000 + random.Spread(1, 4'000)) * 1'000;
      return {HttpDate(date, random.Int(0, 2)), date - unix_now_ms};
    }
    case 2:
      return {HttpDate(unix_now_ms - random.Spread(1'000, 900'000'000), 0), 0};  // in the past
    case 3:
      return {"99999999999999999999", 365LL * 24 * 3'600'000};
    case 4:
      return {"  0 ", 0};
    case 5: {
      const char* const malformed[] = {"soon", "-5", "1.5", "+7", ",", "12 minutes", "2-", ""};
      return {random.Pick(malformed), 0};
    }
    default: {
      const Millis date = (unix_now_ms / 1'000 + 20'000'000) * 1'000;  // most of a year
      return {HttpDate(date, 0), date - unix_now_ms};
    }
  }
}

Fate Decide(Random& random, const BackendHabits& habits, HostMood host, PathMood path,
            std::uint64_t message, Millis timeout_ms) {
  constexpr int kErrors[] = {500, 502, 503, 503, 504, 429, 429, 408, 425, 599, 100, 999};
  constexpr int kWrong[] = {301, 302, 307, 308, 401, 403, 404, 405, 406, 409, 451, 499};
  constexpr int kRefusals[] = {400, 413, 414, 415, 422};
  constexpr int kGood[] = {200, 200, 200, 201, 202, 204, 299};
  Fate fate;
  fate.latency = random.Between(0, habits.latency_ms);
  const auto fail = [&fate](const char* failure) { fate.answer.failure = failure; };
  if (host == HostMood::kFlaky) {
    host = static_cast<HostMood>(random.Int(0, static_cast<int>(HostMood::kFlaky) - 1));
  }
  if (host == HostMood::kDown) {
    fail("Failed to connect: connection refused");
    return fate;
  }
  if (host == HostMood::kBlackHole) {
    fail("Operation timed out");
    fate.latency = timeout_ms;
    fate.received = random.Percent(20);
    return fate;
  }
  if (host == HostMood::kErrors) {
    fate.answer.status = random.Pick(kErrors);
    fate.retry_after = random.Percent(40);
    return fate;
  }
  if (host == HostMood::kSlow) fate.latency = random.Between(0, timeout_ms * 3 / 2);
  if (path == PathMood::kWrong) {
    fate.answer.status = random.Pick(kWrong);
    fate.retry_after = random.Percent(10);
  } else if (path == PathMood::kGone) {
    fate.answer.status = 410;
  } else if (message % kPoison == 0 || (path == PathMood::kPicky && message % 2 == 0)) {
    fate.answer.status = random.Pick(kRefusals);
  } else if (message % kUnknown == 0 && !habits.knows_all) {
    fate.answer.status = 404;
  } else {
    fate.answer.status = random.Pick(kGood);
    fate.received = true;
  }
  if (fate.latency >= timeout_ms) {
    fate.latency = timeout_ms;
    fail("Operation timed out");
  } else if (random.PerMille(habits.loses_answers)) {
    fail("Recv failure: Connection reset by peer");
  }
  return fate;
}

}  // namespace offline_post::simulation
