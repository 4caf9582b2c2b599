// What a call's end does to the call's offer, and the order that the presence modules keep between
// them.
#include <algorithm>
#include <utility>

#include "book.hpp"
#include "engine/shared_order.hpp"

namespace offline_post::simulation {

void Book::WithdrawOne(std::size_t number) {
  Entry& entry = entries_[number];
  entry.may_cancel = true;
  entry.withdrawn_for_sure = entry.withdrawn && entry.withdrawn_for_sure;
  entry.withdrawn = true;
  entry.withdrawn_at = clock_.now;
  unsure_.push_back(number);
}

// Whatever is pending of its topic is withdrawn; and it ends with an offer that waits, unless
// something of the topic is in flight.
void Book::EnterEnd(Entry& end) {
  TopicSeen& topic = topics_[{end.endpoint, end.event->topic}];
  std::vector<std::size_t> earlier;
  bool offers = false;
  bool out = false;  // one of the topic's is in flight
  for (std::size_t i = 0; i + 1 < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.endpoint != end.endpoint || entry.event->topic != end.event->topic) continue;
    if (entry.place != Place::kPending) {
      // The engine does not hear which ones a ruined file has cost.
      topic.unsure = topic.unsure || (entry.place == Place::kLost && i + 1 == topic.newest);
      continue;
    }
    earlier.push_back(i);
    out = out || entry.flight;
    topic.unsure = topic.unsure || (entry.replayed && !entry.withdrawn);
    offers = offers || (!EndsCall(*entry.event) && !entry.withdrawn && !entry.superseded);
  }
  if (topic.unsure) end.may_cancel = true;
  if (topic.unsure || (!out && !offers)) {
    // At most another end waits, which may be withdrawn or not.
    for (const std::size_t i : earlier) entries_[i].may_cancel = true;
    return;
  }
  for (const std::size_t i : earlier) WithdrawOne(i);
  // Of what an earlier run has left the engine does not know whether it waits.
  if (!out && topic.known) WithdrawOne(NumberOf(end));
}

void Book::EnterShared(Entry& entry, bool free) {
  entry.free = free;
  entry.put_off = false;
  if (SharesOrder(sites_.at(entry.endpoint).key))
    shared_[entry.recipient][entry.sequence] = NumberOf(entry);
}

void Book::LeaveShared(const Entry& entry) {
  const auto lane = shared_.find(entry.recipient);
  if (lane == shared_.end() || lane->second.erase(entry.sequence) == 0) return;
  if (lane->second.empty()) return;
  const std::size_t number = lane->second.begin()->second;
  Entry& first = entries_[number];
  first.woken = clock_.now;
  if (first.put_off && !first.free) woken_.push_back(number);
}

void Book::ForgetShared(EndpointId id) {
  for (auto& [lane, pending] : shared_) {
    for (const auto& [sequence, number] : pending) {
      if (entries_[number].endpoint == id) entries_[number].free = true;
    }
  }
}

void Book::CheckOrder(const Entry& entry) const {
  const auto lane = shared_.find(entry.recipient);
  if (entry.free || lane == shared_.end() || !lane->second.contains(entry.sequence)) return;
  for (const auto& [sequence, number] : lane->second) {
    if (sequence == entry.sequence) return;
    const Entry& earlier = entries_[number];
    const Site& site = sites_.at(earlier.endpoint);
    const bool away = !site.config && clock_.now >= site.removed + Engine::kReturnMs;
    if (!earlier.free && !away) Fail(Say(entry) + " overtakes its sibling's " + Say(earlier));
  }
}

bool Book::WaitsForSibling(const Entry& entry) const {
  if (entry.undisposed || !SharesOrder(sites_.at(entry.endpoint).key)) return false;
  if (lost_ == clock_.now) return true;  // the engine is about to be told
  const auto lane = shared_.find(entry.recipient);
  return lane != shared_.end() && !lane->second.empty() &&
         lane->second.begin()->first < entry.sequence;
}

const Entry* Book::Forgotten(EndpointId id, Millis until) {
  std::erase_if(woken_, [this](std::size_t i) {
    return entries_[i].place != Place::kPending || !entries_[i].put_off;
  });
  for (const std::size_t i : woken_) {
    if (entries_[i].endpoint == id && entries_[i].woken < until) return &entries_[i];
  }
  return nullptr;
}

}  // namespace offline_post::simulation
