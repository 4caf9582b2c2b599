#include "engine/shared_order.hpp"

#include <algorithm>
#include <iterator>

namespace offline_post {

bool SharedOrder::Add(const StoredLane& delivery, bool waits) {
  if (pending_.size() >= kMax) return false;
  pending_[{delivery.lane, delivery.sequence}] = {delivery.endpoint, waits};
  return true;
}

std::optional<EndpointId> SharedOrder::Before(std::uint64_t lane, Sequence sequence) const {
  if (!pending_.contains({lane, sequence})) return std::nullopt;
  const auto first = pending_.lower_bound({lane, 0});
  if (first->first.second == sequence) return std::nullopt;
  return first->second.endpoint;
}

void SharedOrder::Waits(std::uint64_t lane, Sequence sequence) {
  const auto found = pending_.find({lane, sequence});
  if (found != pending_.end()) found->second.waits = true;
}

std::optional<SharedOrder::Next> SharedOrder::Remove(std::uint64_t lane, Sequence sequence) {
  const auto found = pending_.find({lane, sequence});
  if (found == pending_.end()) return std::nullopt;
  const bool first = IsFirst(found);
  pending_.erase(found);
  return first ? Wake(lane) : std::nullopt;
}

bool SharedOrder::IsFirst(std::map<Key, Pending>::const_iterator pending) const {
  return pending == pending_.begin() || std::prev(pending)->first.first != pending->first.first;
}

std::optional<SharedOrder::Next> SharedOrder::Wake(std::uint64_t lane) {
  const auto first = pending_.lower_bound({lane, 0});
  if (first == pending_.end() || first->first.first != lane || !first->second.waits)
    return std::nullopt;
  first->second.waits = false;
  return Next{first->second.endpoint, lane};
}

std::vector<SharedOrder::Next> SharedOrder::Forget(EndpointId endpoint) {
  std::vector<std::uint64_t> lanes;
  std::vector<Next> woken;
  for (auto pending = pending_.begin(); pending != pending_.end();) {
    if (pending->second.endpoint != endpoint) {
      ++pending;
      continue;
    }
    const std::uint64_t lane = pending->first.first;
    if (IsFirst(pending)) lanes.push_back(lane);
    // From here on nobody would wake it.
    if (pending->second.waits) woken.push_back({endpoint, lane});
    pending = pending_.erase(pending);
  }
  lanes.erase(std::unique(lanes.begin(), lanes.end()), lanes.end());
  for (const std::uint64_t lane : lanes) {
    if (const auto next = Wake(lane)) woken.push_back(*next);
  }
  return woken;
}

}  // namespace offline_post
