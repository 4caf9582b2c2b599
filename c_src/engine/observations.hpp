// Observations: what was lately seen of an endpoint, for whoever looks after it: why it is in its
// state, how long attempts and deliveries took, the last hour by minutes, the last outcomes. Beside
// the law, which the Ledger keeps; forgotten with the process. Bounded, and without a message's
// text or a token.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/clock.hpp"
#include "model/delivery.hpp"
#include "model/endpoint.hpp"
#include "model/outcome.hpp"

namespace offline_post {

enum class EndpointState {
  kHealthy,
  kProbing,  // had trouble; one request is out to see whether it passed
  kBroken,   // has trouble; nothing is sent until the next probe
  kPaused,   // answered 410 Gone, or by the operator
  kStopped,  // not configured (any more)
};

// Upper bounds of a histogram's buckets, in microseconds, ascending.
using Bounds = std::span<const std::uint64_t>;
inline constexpr std::array<std::uint64_t, 15> kAttemptBoundsUs{
    1'000,   2'000,     5'000,     10'000,    20'000,     50'000,     100'000,   200'000,
    500'000, 1'000'000, 2'000'000, 5'000'000, 10'000'000, 30'000'000, 60'000'000};
inline constexpr std::array<std::uint64_t, 16> kDeliveryBoundsUs{
    5'000,         10'000,        20'000,         50'000,        100'000,    500'000,
    1'000'000,     5'000'000,     10'000'000,     30'000'000,    60'000'000, 300'000'000,
    1'800'000'000, 3'600'000'000, 21'600'000'000, 86'400'000'000};
inline constexpr std::array<std::uint64_t, 13> kCommitBoundsUs{
    100,    200,    500,     1'000,   2'000,     5'000,    10'000,
    20'000, 50'000, 100'000, 500'000, 1'000'000, 5'000'000};

class Histogram {
 public:
  explicit Histogram(Bounds bounds) : bounds_(bounds), counts_(bounds.size() + 1) {}
  void Add(std::uint64_t us) {
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), us) - bounds_.begin();
    ++counts_[static_cast<std::size_t>(bucket)];
    sum_us_ += us;
  }
  Bounds bounds() const { return bounds_; }
  // One more than bounds: the last is of what is above all. Not cumulative.
  const std::vector<std::uint64_t>& counts() const { return counts_; }
  std::uint64_t sum_us() const { return sum_us_; }

 private:
  Bounds bounds_;
  std::vector<std::uint64_t> counts_;
  std::uint64_t sum_us_ = 0;
};

struct Observed {
  struct Minute {
    std::int64_t minute = 0;  // Unix time / 60
    std::uint64_t accepted = 0;
    std::uint64_t delivered = 0;
    std::uint64_t failed = 0;  // attempts of deliveries
    std::uint64_t requests = 0;
    std::uint64_t latency_sum_us = 0;  // of the requests
    std::uint64_t latency_max_us = 0;
  };
  struct Outcome {
    Millis unix_ms = 0;
    std::string event_id;
    OutcomeClass kind = OutcomeClass::kDelivered;
    int status = 0;
    std::string reason;
    int attempt = 1;
    std::uint64_t us = 0;
  };

  EndpointState state = EndpointState::kStopped;
  Millis since_unix_ms = 0;  // in trouble or out of it; 0: nothing is known
  std::string why;           // one line; empty where all is well
  Millis oldest_unix_ms = 0;
  int concurrency = 0;  // requests that may be in flight now
  int max_connections = 0;
  QueueLimits limits;
  std::array<std::uint64_t, 5> attempts{};  // that ended, by OutcomeClass
  Histogram attempt_us{kAttemptBoundsUs};
  Histogram delivery_us{kDeliveryBoundsUs};
  std::vector<Minute> minutes;    // the oldest first
  std::vector<Outcome> outcomes;  // the newest first
};

class Observations {
 public:
  static constexpr std::size_t kMinutes = 60;
  static constexpr std::size_t kOutcomes = 50;

  void SetState(EndpointState state, std::string_view why, Millis unix_ms);
  void SetConcurrency(int now, int most);

  void Accepted(Millis accepted_ms, Millis unix_ms);
  // Dead letters that are pending again.
  void Replayed(Millis accepted_ms, std::uint64_t count);
  // An accepted one is pending no more. `left`: others that are.
  void Settled(Millis accepted_ms, std::uint64_t left);
  // All that was pending belonged to another outbox.
  void ForgetPending();
  // A request with these deliveries has ended, each as its outcome says.
  void RequestEnded(const std::vector<Delivery>& deliveries,
                    const std::vector<offline_post::Outcome>& outcomes, Millis took_ms,
                    Millis now_ms, Millis unix_ms);

  // As of now; times on the wall clock are made with both.
  Observed Snapshot(Millis now_ms, Millis unix_ms) const;

 private:
  Observed::Minute& MinuteOf(Millis unix_ms);
  void AddPending(Millis accepted_ms, std::uint64_t count);

  mutable std::mutex mutex_;
  Observed seen_;  // guarded by mutex_, as all below; its minutes and outcomes are the following
  std::deque<Observed::Minute> minutes_;
  std::vector<Observed::Outcome> ring_;
  std::size_t next_ = 0;  // in the ring
  // How many of those accepted in this run are pending, by the minute (of the monotonic clock): to
  // know the oldest without a list of all. The first of each, in ms.
  struct Age {
    Millis first_ms = 0;
    std::uint64_t pending = 0;
  };
  std::map<Millis, Age> ages_;
};

}  // namespace offline_post
