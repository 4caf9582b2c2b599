// The book's fourth part: what may leave together and when, and whose fault a refusal is.
#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "book.hpp"

namespace offline_post::simulation {

namespace {

// No event makes more bytes of a batch.
constexpr std::size_t kLongestEvent = 1'500;

}  // namespace

void Book::CheckBatch(const Request& request, const std::vector<Entry*>& carried,
                      const Site& site) {
  const Entry& first = *carried.front();
  const BatchLimits& limits = site.config->batch;
  const std::size_t count = carried.size();
  if (request.event_ids.empty() && limits.max_events > 1) Fail(Say(first) + " is in no batch");
  if (count > limits.max_events) Fail(Say(first) + " is in a batch of " + std::to_string(count));
  if (count > 1 && request.body.size() > limits.max_bytes)
    Fail(Say(first) + " is in a batch of " + std::to_string(request.body.size()) + " bytes");
  const bool probe = site.origin->breaker.open() || site.gate.open();
  if (count > 1 && probe) Fail(Say(first) + " is not alone in a probe");
  std::set<std::uint64_t> recipients;
  Millis oldest = clock_.now;
  for (const Entry* entry : carried) {
    if (entry->recipient != 0 && !recipients.insert(entry->recipient).second)
      Fail(Say(*entry) + " is in a batch with another one to its recipient");
    const bool apart = entry->blamed || entry->attempts >= Engine::kAttemptsInCompany;
    if (count > 1 && apart) Fail(Say(*entry) + " may be to blame, and is not alone");
    if (entry->half_of != first.half_of)
      Fail(Say(*entry) + " leaves with one that was not refused with it");
    if (entry->half_of != 0 && count > entry->most)
      Fail(Say(*entry) + " was refused, and leaves with " + std::to_string(count) + " again");
    oldest = std::min(oldest, entry->accepted);
  }
  if (first.half_of != 0 || limits.max_events == 1) return;
  const bool half_waits = std::any_of(site.halves.begin(), site.halves.end(), [&](std::size_t i) {
    return !entries_[i].withdrawn && !entries_[i].superseded;
  });
  if (half_waits) Fail(Say(first) + " leaves before what was refused");
  const bool full =
      count == limits.max_events || request.body.size() + kLongestEvent > limits.max_bytes;
  const bool alone = count == 1 && (first.blamed || first.attempts >= Engine::kAttemptsInCompany);
  if (!full && !alone && !probe && clock_.now < oldest + limits.max_delay_ms) {
    Fail(Say(first) + " leaves in a batch of " + std::to_string(count) + " after " +
         std::to_string(clock_.now - oldest) + " ms");
  }
}

// Refused as a whole: nobody is to blame yet.
void Book::Halve(const Request& request, const std::vector<Entry*>& carried, Site& site) {
  for (Entry* entry : carried) {
    entry->half_of = request.id;
    entry->most = (carried.size() + 1) / 2;
    site.halves.insert(NumberOf(*entry));
  }
}

// They are like all others again.
void Book::Unhalve(Site& site) {
  for (const std::size_t i : site.halves) {
    entries_[i].half_of = 0;
    entries_[i].most = 0;
  }
  site.halves.clear();
}

Millis Book::LatestSend(const Site& site) const {
  Millis latest = std::numeric_limits<Millis>::max();
  std::map<std::uint64_t, const Entry*> fronts;
  for (const std::size_t i : site.held) {
    const Entry& entry = entries_[i];
    if (site.config->batch.max_events == 1 || entry.half_of != 0) return clock_.now;
    const Entry*& front = fronts[entry.recipient];
    if (front == nullptr || entry.sequence < front->sequence) front = &entry;
  }
  if (fronts.size() >= site.config->batch.max_events) return clock_.now;
  for (const auto& [recipient, front] : fronts)
    latest = std::min(latest, front->accepted + site.config->batch.max_delay_ms);
  return std::max(latest, clock_.now);
}

}  // namespace offline_post::simulation
