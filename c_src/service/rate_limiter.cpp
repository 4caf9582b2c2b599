#include "service/rate_limiter.hpp"

#include <algorithm>

namespace offline_post {

namespace {

constexpr std::int64_t kMinute = 60'000'000;  // us

// The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): every bit of the key depends on all bits
// of both.
std::uint64_t Mix(std::uint64_t key, std::uint64_t salt) {
  std::uint64_t mixed = key + salt * 0x9e3779b97f4a7c15U;
  mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
  return std::max<std::uint64_t>(1, mixed ^ (mixed >> 31U));
}

}  // namespace

bool RateLimiter::Admit(const RateLimits& limits, std::uint64_t salt, std::uint64_t sender,
                        std::uint64_t recipient, Millis now_ms) {
  const Micros now = now_ms * 1'000;
  const std::lock_guard lock(mutex_);
  const Side from = Find(senders_, limits.sender, salt, sender, now);
  const Side to = Find(recipients_, limits.recipient, salt, recipient, now);
  const bool too_many_from = from.IsEmpty(now);
  const bool too_many_to = to.IsEmpty(now);
  if (!too_many_from && !too_many_to) {
    from.Take(now);
    to.Take(now);
    return true;
  }
  if (limits.collapse && too_many_from) from.bucket->full_at = now + kMinute;
  if (limits.collapse && too_many_to) to.bucket->full_at = now + kMinute;
  return false;
}

RateLimiter::Side RateLimiter::Find(Table& table, std::uint64_t per_minute, std::uint64_t salt,
                                    std::uint64_t key, Micros now) {
  if (per_minute == 0 || key == 0) return {};
  if (table.empty()) table.resize(kPlaces / kWays);
  const auto rate = static_cast<Micros>(std::min<std::uint64_t>(per_minute, kMinute));
  const std::uint64_t mixed = Mix(key, salt);
  Set& set = table[mixed % table.size()];
  Bucket* place = set.data();
  for (Bucket& bucket : set) {
    if (bucket.key == mixed) return {&bucket, kMinute / rate};
    if (bucket.full_at < place->full_at) place = &bucket;
  }
  *place = {mixed, now};
  return {place, kMinute / rate};
}

bool RateLimiter::Side::IsEmpty(Micros now) const {
  return bucket != nullptr && std::max(bucket->full_at, now) + per_event > now + kMinute;
}

void RateLimiter::Side::Take(Micros now) const {
  if (bucket != nullptr) bucket->full_at = std::max(bucket->full_at, now) + per_event;
}

}  // namespace offline_post
