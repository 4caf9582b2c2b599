#include "engine/shared_order.hpp"

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
  if (pending_.erase({lane, sequence}) == 0) return std::nullopt;
  return Wake(lane);
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
  for (auto pending = pending_.begin(); pending != pending_.end();) {
    if (pending->second.endpoint != endpoint) {
      ++pending;
      continue;
    }
    if (lanes.empty() || lanes.back() != pending->first.first)
      lanes.push_back(pending->first.first);
    pending = pending_.erase(pending);
  }
  std::vector<Next> woken;
  for (const std::uint64_t lane : lanes) {
    if (const auto next = Wake(lane)) woken.push_back(*next);
  }
  return woken;
}

}  // namespace offline_post
