// RateLimiter: how many events per minute one sender may cause and one recipient may get, for all
// endpoints of a node: a token bucket each, which holds a minute's worth. Memory is fixed: where
// more are busy at a time than there are places, the one nearest to its full bucket is forgotten.
//
// Threads: any; a call takes one lock, and allocates nothing but for the first of its kind.
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
  // Per kind of limit: 1 MiB.
  static constexpr std::size_t kPlaces = 65'536;

  // Whether an event between these two (keys of bare addresses; 0: unknown, not limited) is within
  // both rates; if so, it is counted. Where events collapse instead, an empty bucket stays empty as
  // long as more come: what leaves then has a pace of its own. `salt` keeps the buckets of one
  // endpoint apart from those of another: with a new one all are full.
  bool Admit(const RateLimits& limits, std::uint64_t salt, std::uint64_t sender,
             std::uint64_t recipient, Millis now_ms);

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
  using Table = std::vector<Set>;

  // One side of an event; without a bucket it is not limited.
  struct Side {
    Bucket* bucket = nullptr;
    Micros per_event = 0;
    bool IsEmpty(Micros now) const;
    void Take(Micros now) const;
  };
  static Side Find(Table& table, std::uint64_t per_minute, std::uint64_t salt, std::uint64_t key,
                   Micros now);

  std::mutex mutex_;
  Table senders_;  // guarded by mutex_
  Table recipients_;
};

}  // namespace offline_post
