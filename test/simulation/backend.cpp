#include "backend.hpp"

#include <algorithm>
#include <array>
#include <ctime>

namespace offline_post::simulation {

namespace {

// One message in so many is refused by any backend, one is not found by any.
constexpr std::uint64_t kPoison = 41;
constexpr std::uint64_t kUnknown = 53;
// And one makes it stumble, each time.
constexpr std::uint64_t kStumble = 37;

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

bool IsPoison(std::uint64_t message, PathMood path) {
  return message % kPoison == 0 || (path == PathMood::kPicky && message % 2 == 0);
}

bool IsUnknown(std::uint64_t message, const BackendHabits& habits) {
  return message % kUnknown == 0 && !habits.knows_all;
}

bool IsStumble(std::uint64_t message, const BackendHabits& habits) {
  return message % kStumble == 0 && !habits.knows_all;
}

// One event's result, as a status to write and what is meant by it.
std::string Say(Random& random, const BackendHabits& habits, bool poison, bool unknown,
                bool stumble, Said& said) {
  const auto status = [&said](OutcomeClass kind, int number) {
    said = {kind, number, false};
    return std::to_string(number);
  };
  if (poison) {
    if (random.Percent(50)) return status(OutcomeClass::kRefused, random.Percent(50) ? 422 : 410);
    said = {OutcomeClass::kRefused, 200, false};
    return "\"refused\"";
  }
  if (unknown) return status(OutcomeClass::kMisconfigured, 404);
  if (stumble) return status(OutcomeClass::kTrouble, 500);
  if (!habits.moody || random.Percent(85)) return random.Percent(50) ? "\"accepted\"" : "201";
  if (random.Percent(50)) return status(OutcomeClass::kTrouble, random.Percent(50) ? 503 : 429);
  said = {OutcomeClass::kTrouble, 200, random.Percent(20)};
  return random.Percent(70) ? "\"retry\"" : "\"perhaps\"";
}

// What it says of each event.
void WriteResults(Random& random, const BackendHabits& habits, PathMood path, const Batch& batch,
                  Fate& fate) {
  std::string text = "{\"results\":[";
  std::size_t chatter = habits.moody ? random.Below(400) : 0;
  if (habits.moody && random.Percent(3)) chatter += batch.kept / batch.ids.size();  // too much
  for (std::size_t i = 0; i < batch.ids.size(); ++i) {
    Said& said = fate.said.emplace_back();
    const std::string status =
        Say(random, habits, IsPoison(batch.messages[i], path), IsUnknown(batch.messages[i], habits),
            IsStumble(batch.messages[i], habits), said);
    if (status == "201" && random.Percent(30)) continue;  // whom it does not name it has accepted
    const std::string head = "{\"id\":\"" + batch.ids[i] + "\",\"status\":";
    if (random.Percent(10)) text += head + "\"retry\"},";  // taken back at once
    text += head + status + ",\"error\":\"" + std::string(chatter, 'e') + "\"},";
  }
  text += R"({"id":"msg_of_somebody_else","status":"refused"}]})";
  fate.answer.status = 200;
  if (text.size() > batch.kept) {  // whom we had not come to when we stopped reading
    for (std::size_t i = 0; i < batch.ids.size(); ++i) {
      const std::size_t last = text.rfind("\"" + batch.ids[i] + "\"");
      if (last == std::string::npos || text.find('}', last) >= batch.kept)
        fate.said[i] = {OutcomeClass::kTrouble, 200, fate.said[i].received};
    }
    text.resize(batch.kept);
    fate.answer.cut = true;
  } else if (habits.moody && random.PerMille(30)) {
    text.resize(static_cast<std::size_t>(random.Between(12, static_cast<Millis>(text.size()) - 1)));
    fate.said.clear();
    fate.unreadable = true;
  }
  fate.answer.body = text;
}

}  // namespace

RetryAfter MakeRetryAfter(Random& random, bool odd, Millis unix_now_ms) {
  switch (random.Int(0, odd ? 6 : 1)) {
    case 0: {
      const Millis seconds = random.Spread(1, 4'000);
      if (odd && random.Percent(50)) {  // rounded up
        return {std::to_string(seconds - 1) + "." + std::to_string(random.Int(1, 9)),
                seconds * 1'000};
      }
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
      const char* const malformed[] = {"soon", "-5", "1.5.2", "+7", ",", "12 minutes", "2-", ""};
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
  } else if (IsPoison(message, path)) {
    fate.answer.status = random.Pick(kRefusals);
  } else if (IsUnknown(message, habits)) {
    fate.answer.status = 404;
  } else if (IsStumble(message, habits)) {
    fate.answer.status = 500;
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

Fate DecideBatch(Random& random, const BackendHabits& habits, HostMood host, PathMood path,
                 const Batch& batch, Millis timeout_ms) {
  constexpr std::uint64_t kHarmless = 1;
  constexpr int kRefusals[] = {400, 414, 415, 422};
  const char* const idle_words[] = {"", "OK", "{}", "[]", "{\"results\":7}", "<p>thanks</p>"};
  Fate fate = Decide(random, habits, host, path, kHarmless, timeout_ms);
  const bool good = fate.answer.failure.empty() && fate.answer.status / 100 == 2;
  if (!good) return fate;
  if (random.Percent(habits.results)) {
    fate.retry_after = random.Percent(10);
    WriteResults(random, habits, path, batch, fate);
    return fate;
  }
  const auto any = [&batch](const auto& is) {
    return std::any_of(batch.messages.begin(), batch.messages.end(), is);
  };
  fate.received = false;
  if (any([&](std::uint64_t message) { return IsPoison(message, path); })) {
    fate.answer.status = random.Pick(kRefusals);
  } else if (batch.messages.size() > 1 && batch.bytes > habits.body_limit) {
    fate.answer.status = 413;
  } else if (any([&](std::uint64_t message) { return IsUnknown(message, habits); })) {
    fate.answer.status = 404;
  } else if (any([&](std::uint64_t message) { return IsStumble(message, habits); })) {
    fate.answer.status = 500;
  } else {
    fate.received = true;
    fate.answer.body = random.Pick(idle_words);
  }
  return fate;
}

}  // namespace offline_post::simulation
