// A service without a spool, and what its tests ask of it.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "service/service.hpp"
#include "support/system_clock.hpp"
#include "support/values.hpp"

namespace offline_post::test {

inline const EndpointKeyView kKey{"example.org", "mod_offline_post"};

inline EndpointConfig Config(const std::string& url, EndpointKeyView key = kKey) {
  EndpointConfig config;
  config.key = {std::string(key.vhost), std::string(key.module)};
  config.post_url = url;
  config.auth_token = "secret";
  config.timeout_ms = 5'000;
  return config;
}

inline std::shared_ptr<Event> To(const std::string& user, const std::string& body = "hello") {
  return MakeEvent(user, body);
}

// Polls a condition; false at the deadline.
template <typename Condition>
bool Eventually(Condition condition, Millis deadline_ms = 20'000) {
  const RealClock clock;
  const Millis deadline = clock.MonotonicMs() + deadline_ms;
  while (!condition()) {
    if (clock.MonotonicMs() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

struct ServiceFixture {
  std::mutex mutex;
  std::vector<Notice> notices;  // guarded by mutex
  Service service{[this](const std::vector<Notice>& lines) {
    const std::lock_guard lock(mutex);
    notices.insert(notices.end(), lines.begin(), lines.end());
    return true;
  }};

  ~ServiceFixture() {
    if (const auto stats = service.GetStats(kKey)) CheckLaw(*stats);
  }

  Stats stats(EndpointKeyView key = kKey) { return service.GetStats(key).value(); }

  bool Noticed(const std::string& part) {
    const std::lock_guard lock(mutex);
    return std::any_of(notices.begin(), notices.end(), [&part](const Notice& notice) {
      return notice.line.find(part) != std::string::npos;
    });
  }

  // Removes an endpoint and waits; what was left pending.
  std::uint64_t Remove(Millis timeout_ms, EndpointKeyView key = kKey) {
    std::condition_variable done;
    std::optional<std::uint64_t> left;
    REQUIRE(service.Remove(key, timeout_ms, [&](std::uint64_t pending) {
      const std::lock_guard lock(mutex);
      left = pending;
      done.notify_one();
    }));
    std::unique_lock lock(mutex);
    REQUIRE(done.wait_for(lock, std::chrono::seconds(20), [&left] { return left.has_value(); }));
    return *left;
  }
};

}  // namespace offline_post::test
