#include "engine/topics.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace offline_post {

bool Topics::Topic::InFlight(Sequence sequence) const {
  return std::ranges::find(in_flight, sequence, &Flight::sequence) != in_flight.end();
}

Topics::Place Topics::Accept(std::uint64_t topic, Sequence sequence, Sequence withdrawn,
                             Sequence counted) {
  Topic& known = topics_[topic];
  const bool waits = known.newest > withdrawn && !known.InFlight(known.newest);
  Place place;
  const bool overtakes = std::ranges::any_of(known.in_flight, &Flight::alone);
  place.supersedes = waits || overtakes || (incomplete_ && !known.complete);
  place.stands_for = waits ? known.count + 1 : 1;
  place.earlier = waits ? known.newest : 0;
  known.counted_until = waits ? known.newest : std::max(counted, withdrawn);
  known.newest = sequence;
  known.count = place.stands_for;
  known.complete = true;
  if (topics_.size() > kMax) Forget();
  return place;
}

// First those of which nothing is left but the time of the last one; of each kind the oldest.
void Topics::Forget() {
  const auto rank = [](const Topic& topic) {
    const bool pending = topic.newest > 0 || !topic.in_flight.empty();
    return std::pair(pending, std::max(topic.newest, topic.last_sent));
  };
  std::vector<std::pair<bool, Sequence>> ranks;
  ranks.reserve(topics_.size());
  for (const auto& [key, topic] : topics_) ranks.push_back(rank(topic));
  const auto middle = ranks.begin() + static_cast<std::ptrdiff_t>(ranks.size() / 2);
  std::nth_element(ranks.begin(), middle, ranks.end());
  if (std::any_of(ranks.begin(), middle, [](const auto& forgotten) { return forgotten.first; })) {
    incomplete_ = true;
  }
  std::erase_if(topics_, [first_kept = *middle, rank](const auto& topic) {
    return rank(topic.second) < first_kept;
  });
}

Topics::Offer Topics::OfferOf(std::uint64_t topic, Sequence withdrawn) const {
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return incomplete_ ? Offer::kMixed : Offer::kNone;
  const Topic& known = found->second;
  if (!known.in_flight.empty() || (incomplete_ && !known.complete)) return Offer::kMixed;
  return known.newest > withdrawn ? Offer::kWaits : Offer::kNone;
}

bool Topics::IsSuperseded(std::uint64_t topic, Sequence sequence) const {
  const auto found = topics_.find(topic);
  return found != topics_.end() && found->second.newest > sequence;
}

void Topics::CountWaiting(const Delivery& superseded) {
  const auto found = topics_.find(superseded.event->topic);
  if (found == topics_.end() || superseded.sequence <= found->second.counted_until) return;
  CountInFlight(superseded);
}

void Topics::CountInFlight(const Delivery& superseded) {
  const auto found = topics_.find(superseded.event->topic);
  if (found == topics_.end() || found->second.newest <= superseded.sequence) return;
  found->second.count += superseded.stands_for;
}

std::uint32_t Topics::StandsFor(const Delivery& delivery) const {
  const auto found = topics_.find(delivery.event->topic);
  const bool newest = found != topics_.end() && found->second.newest == delivery.sequence;
  return newest ? std::max(found->second.count, delivery.stands_for) : delivery.stands_for;
}

Millis Topics::EarliestMs(const Delivery& delivery, Millis interval_ms) const {
  const auto found = topics_.find(delivery.event->topic);
  if (found == topics_.end() || found->second.last_sent == 0 ||
      found->second.last_sent == delivery.sequence) {
    return 0;
  }
  return found->second.sent_ms + interval_ms;
}

void Topics::Sent(const Delivery& delivery, Millis now_ms) {
  Topic& topic = topics_[delivery.event->topic];
  if (!topic.InFlight(delivery.sequence))
    topic.in_flight.push_back({delivery.sequence, IsOutOfOrder(delivery)});
  topic.last_sent = delivery.sequence;
  topic.sent_ms = now_ms;
  if (topics_.size() > kMax) Forget();
}

void Topics::Landed(const Delivery& delivery) {
  const auto found = topics_.find(delivery.event->topic);
  if (found == topics_.end()) return;
  Topic& topic = found->second;
  std::erase_if(topic.in_flight,
                [&delivery](const Flight& flight) { return flight.sequence == delivery.sequence; });
  // The later one that has overtaken it has ended: unless this one ends, too, it is the newest.
  if (topic.newest != 0 || EndsCall(*delivery.event)) return;
  topic.newest = delivery.sequence;
  topic.count = delivery.stands_for;
}

void Topics::Waits(const Delivery& delivery, Wait what) {
  const auto found = topics_.find(delivery.event->topic);
  if (found != topics_.end()) found->second.waiting = {what, delivery.recipient};
}

void Topics::Claimed(const Delivery& delivery) {
  const auto found = topics_.find(delivery.event->topic);
  if (found == topics_.end()) return;
  std::optional<Waiting>& waiting = found->second.waiting;
  if (waiting && waiting->lane == delivery.recipient) waiting.reset();
}

std::optional<Topics::Waiting> Topics::WaitingOf(std::uint64_t topic) const {
  const auto found = topics_.find(topic);
  return found == topics_.end() ? std::nullopt : found->second.waiting;
}

std::vector<std::uint64_t> Topics::LanesOf(Wait what) const {
  std::vector<std::uint64_t> lanes;
  for (const auto& [key, topic] : topics_)
    if (topic.waiting && topic.waiting->what == what) lanes.push_back(topic.waiting->lane);
  return lanes;
}

void Topics::Ended(const Delivery& delivery, bool keeps_interval) {
  const auto found = topics_.find(delivery.event->topic);
  if (found == topics_.end()) return;
  Topic& topic = found->second;
  if (topic.newest == delivery.sequence) topic.newest = 0;
  if (topic.newest == 0 && topic.in_flight.empty() && (!keeps_interval || topic.last_sent == 0)) {
    topics_.erase(found);
  }
}

void Topics::NothingPending(bool keeps_interval) {
  incomplete_ = false;
  if (!std::exchange(lost_, false)) return;
  std::erase_if(topics_, [keeps_interval](const auto& topic) {
    return !keeps_interval || topic.second.last_sent == 0;
  });
  for (auto& [key, topic] : topics_) {
    topic.newest = 0;
    topic.waiting.reset();
  }
}

}  // namespace offline_post
