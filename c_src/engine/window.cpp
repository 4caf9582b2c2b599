#include "engine/window.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace offline_post {

void Window::Add(Delivery delivery) {
  const std::uint64_t recipient = delivery.recipient;
  Lane& lane = lanes_[recipient];
  lane.waiting.push_back(std::move(delivery));
  ++size_;
  if (!lane.busy && lane.waiting.size() == 1) Run(recipient, lane, false);
}

void Window::Run(std::uint64_t recipient, const Lane& lane, bool first) {
  if (first) {
    runnable_.push_front(recipient);
  } else {
    runnable_.push_back(recipient);
  }
  if (oldest_) oldest_ = std::min(*oldest_, lane.waiting.front().accepted_ms);
}

Millis Window::OldestMs() const {
  if (!oldest_) {
    for (const std::uint64_t recipient : runnable_) {
      const Millis accepted = lanes_.find(recipient)->second.waiting.front().accepted_ms;
      oldest_ = std::min(oldest_.value_or(accepted), accepted);
    }
  }
  return oldest_.value_or(0);
}

std::optional<Delivery> Window::Take() {
  if (runnable_.empty()) return std::nullopt;
  Lane& lane = lanes_[runnable_.front()];
  runnable_.pop_front();
  oldest_.reset();
  lane.busy = true;
  Delivery delivery = std::move(lane.waiting.front());
  lane.waiting.erase(lane.waiting.begin());
  return delivery;
}

void Window::Advance(std::uint64_t recipient) {
  const auto found = lanes_.find(recipient);
  --size_;
  found->second.busy = false;
  if (found->second.waiting.empty()) {
    lanes_.erase(found);
  } else {
    Run(recipient, found->second, false);
  }
}

void Window::Return(Delivery delivery) {
  const std::uint64_t recipient = delivery.recipient;
  Lane& lane = lanes_[recipient];
  lane.busy = false;
  lane.waiting.insert(lane.waiting.begin(), std::move(delivery));
  Run(recipient, lane, true);
}

std::vector<Delivery> Window::Dissolve(std::uint64_t recipient) {
  const auto found = lanes_.find(recipient);
  std::vector<Delivery> followers(std::make_move_iterator(found->second.waiting.begin()),
                                  std::make_move_iterator(found->second.waiting.end()));
  size_ -= 1 + followers.size();
  lanes_.erase(found);
  return followers;
}

void Window::ExtractFrom(Lane& lane, const Predicate& leaves, std::vector<Delivery>& out) {
  const auto first = std::stable_partition(lane.waiting.begin(), lane.waiting.end(),
                                           [&](const Delivery& d) { return !leaves(d); });
  size_ -= static_cast<std::size_t>(lane.waiting.end() - first);
  std::move(first, lane.waiting.end(), std::back_inserter(out));
  lane.waiting.erase(first, lane.waiting.end());
  oldest_.reset();
}

std::vector<Delivery> Window::Extract(std::uint64_t recipient, const Predicate& leaves) {
  std::vector<Delivery> all;
  const auto lane = lanes_.find(recipient);
  if (lane == lanes_.end()) return all;
  ExtractFrom(lane->second, leaves, all);
  if (!lane->second.busy && lane->second.waiting.empty()) {
    std::erase(runnable_, recipient);
    lanes_.erase(lane);
  }
  return all;
}

std::vector<Delivery> Window::ExtractAll(const Predicate& leaves) {
  std::vector<Delivery> all;
  for (auto& [recipient, lane] : lanes_) ExtractFrom(lane, leaves, all);
  std::erase_if(runnable_,
                [this](std::uint64_t recipient) { return lanes_[recipient].waiting.empty(); });
  std::erase_if(lanes_,
                [](const auto& lane) { return !lane.second.busy && lane.second.waiting.empty(); });
  return all;
}

std::vector<Delivery> Window::Clear() {
  std::vector<Delivery> all;
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    for (Delivery& delivery : lane->second.waiting) all.push_back(std::move(delivery));
    lane->second.waiting.clear();
    lane = lane->second.busy ? std::next(lane) : lanes_.erase(lane);
  }
  runnable_.clear();
  oldest_.reset();
  size_ -= all.size();
  return all;
}

}  // namespace offline_post
