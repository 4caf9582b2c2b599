#include "service/rate_limiter.hpp"

#include <algorithm>

namespace offline_post {

namespace {

constexpr std::int64_t kMinute = 60'000'000;  // us

}  // namespace

RateLimiter::RateLimiter(const RateLimits& limits)
    : limits_(limits), senders_(limits.sender), recipients_(limits.recipient) {}

bool RateLimiter::Admit(std::uint64_t sender, std::uint64_t recipient, Millis now_ms) {
  const Micros now = now_ms * 1'000;
  const std::lock_guard lock(mutex_);
  Bucket* from = senders_.Find(sender, now);
  Bucket* to = recipients_.Find(recipient, now);
  const bool too_many_from = senders_.IsEmpty(from, now);
  const bool too_many_to = recipients_.IsEmpty(to, now);
  if (!too_many_from && !too_many_to) {
    senders_.Take(from, now);
    recipients_.Take(to, now);
    return true;
  }
  if (limits_.collapse && too_many_from) from->full_at = now + kMinute;
  if (limits_.collapse && too_many_to) to->full_at = now + kMinute;
  return false;
}

RateLimiter::Table::Table(std::uint64_t per_minute)
    : per_event(per_minute == 0
                    ? 0
                    : std::max<Micros>(1, kMinute / static_cast<Micros>(std::min<std::uint64_t>(
                                                        per_minute, kMinute)))),
      sets(per_minute == 0 ? 0 : kPlaces / kWays) {}

RateLimiter::Bucket* RateLimiter::Table::Find(std::uint64_t key, Micros now) {
  if (per_event == 0 || key == 0) return nullptr;
  // The key's low bits are as good as any: it is a hash.
  Set& set = sets[key % sets.size()];
  Bucket* place = set.data();
  for (Bucket& bucket : set) {
    if (bucket.key == key) return &bucket;
    if (bucket.full_at < place->full_at) place = &bucket;
  }
  *place = {key, now};
  return place;
}

bool RateLimiter::Table::IsEmpty(const Bucket* bucket, Micros now) const {
  return bucket != nullptr && std::max(bucket->full_at, now) + per_event > now + kMinute;
}

void RateLimiter::Table::Take(Bucket* bucket, Micros now) const {
  if (bucket != nullptr) bucket->full_at = std::max(bucket->full_at, now) + per_event;
}

}  // namespace offline_post
