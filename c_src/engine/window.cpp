#include "engine/window.hpp"

#include <iterator>
#include <utility>

namespace offline_post {

void Window::Add(Delivery delivery) {
  const std::uint64_t recipient = delivery.recipient;
  Lane& lane = lanes_[recipient];
  lane.waiting.push_back(std::move(delivery));
  ++size_;
  if (!lane.busy && lane.waiting.size() == 1) runnable_.push_back(recipient);
}

std::optional<Delivery> Window::Take() {
  if (runnable_.empty()) return std::nullopt;
  Lane& lane = lanes_[runnable_.front()];
  runnable_.pop_front();
  lane.busy = true;
  Delivery delivery = std::move(lane.waiting.front());
  lane.waiting.pop_front();
  return delivery;
}

void Window::Advance(std::uint64_t recipient) {
  const auto found = lanes_.find(recipient);
  --size_;
  found->second.busy = false;
  if (found->second.waiting.empty()) {
    lanes_.erase(found);
  } else {
    runnable_.push_back(recipient);
  }
}

void Window::Return(Delivery delivery) {
  const std::uint64_t recipient = delivery.recipient;
  Lane& lane = lanes_[recipient];
  lane.busy = false;
  lane.waiting.push_front(std::move(delivery));
  runnable_.push_front(recipient);
}

std::vector<Delivery> Window::Dissolve(std::uint64_t recipient) {
  const auto found = lanes_.find(recipient);
  std::vector<Delivery> followers(std::make_move_iterator(found->second.waiting.begin()),
                                  std::make_move_iterator(found->second.waiting.end()));
  size_ -= 1 + followers.size();
  lanes_.erase(found);
  return followers;
}

std::vector<Delivery> Window::Clear() {
  std::vector<Delivery> all;
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    for (Delivery& delivery : lane->second.waiting) all.push_back(std::move(delivery));
    lane->second.waiting.clear();
    lane = lane->second.busy ? std::next(lane) : lanes_.erase(lane);
  }
  runnable_.clear();
  size_ -= all.size();
  return all;
}

}  // namespace offline_post
