// RateLimiter: how many events per minute one sender may cause and one recipient may get: a token
// bucket each, which holds a minute's worth. Memory is fixed: where more are busy at a time than
// there are places, the one nearest to its full bucket is forgotten.
//
// Threads: any; a call takes one lock and allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "model/clock.hpp"
#include "model/endpoint.hpp"

namespace offline_post {

class RateLimiter {
 public:
  static constexpr std::size_t kPlaces = 32'768;  // per kind of limit

  explicit RateLimiter(const RateLimits& limits);

  // Whether an event between these two (keys of bare addresses; 0: unknown, not limited) is within
  // both rates; if so, it is counted. Where events collapse instead, an empty bucket stays empty as
  // long as more come: what leaves then has a pace of its own.
  bool Admit(std::uint64_t sender, std::uint64_t recipient, Millis now_ms);

  const RateLimits& limits() const { return limits_; }

 private:
  // A bucket is one point in time: when it will be full again. It is empty while that is a minute
  // ahead. (The generic cell rate algorithm.)
  using Micros = std::int64_t;
  struct Bucket {
    std::uint64_t key = 0;  // 0: free
    Micros full_at = 0;
  };
  static constexpr std::size_t kWays = 8;
  using Set = std::array<Bucket, kWays>;

  struct Table {
    explicit Table(std::uint64_t per_minute);
    // Null: not limited.
    Bucket* Find(std::uint64_t key, Micros now);
    bool IsEmpty(const Bucket* bucket, Micros now) const;
    void Take(Bucket* bucket, Micros now) const;

    Micros per_event = 0;  // 0: no limit
    std::vector<Set> sets;
  };

  const RateLimits limits_;
  std::mutex mutex_;
  Table senders_;  // guarded by mutex_
  Table recipients_;
};

}  // namespace offline_post
