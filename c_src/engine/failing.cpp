#include "engine/failing.hpp"

#include <algorithm>

namespace offline_post {

void Failing::Restore(std::uint64_t waited_for, std::uint64_t out_of_order) {
  waited_for_before_ = waited_for;
  out_of_order_before_ = out_of_order;
}

void Failing::Claimed(const Delivery& delivery) {
  if (delivery.failures == 0 || !Insert(delivery)) return;
  std::uint64_t& before = IsOutOfOrder(delivery) ? out_of_order_before_ : waited_for_before_;
  if (before > 0) --before;
}

void Failing::Add(const Delivery& delivery) { static_cast<void>(Insert(delivery)); }

bool Failing::Insert(const Delivery& delivery) {
  const Sequence sequence = delivery.sequence;
  if (!IsOutOfOrder(delivery)) {
    // In a lane of its own nobody waits for it.
    return delivery.recipient != sequence && waited_for_.size() < kMax &&
           waited_for_.insert(sequence).second;
  }
  waited_for_.erase(sequence);
  const std::uint64_t recipient = RecipientKey(*delivery.event);
  const auto [first, last] = out_of_order_.equal_range(recipient);
  const bool known =
      std::any_of(first, last, [sequence](const auto& one) { return one.second == sequence; });
  if (known || out_of_order_.size() >= kMax) return false;
  out_of_order_.emplace(recipient, sequence);
  return true;
}

void Failing::Remove(const Delivery& delivery) {
  waited_for_.erase(delivery.sequence);
  if (!IsOutOfOrder(delivery)) return;
  const auto [first, last] = out_of_order_.equal_range(RecipientKey(*delivery.event));
  const auto found = std::find_if(
      first, last, [&delivery](const auto& one) { return one.second == delivery.sequence; });
  if (found != last) out_of_order_.erase(found);
}

void Failing::Clear() { *this = Failing(); }

std::vector<std::uint64_t> Failing::KeysOf(std::uint64_t recipient) const {
  std::vector<std::uint64_t> keys;
  const auto [first, last] = out_of_order_.equal_range(recipient);
  for (auto one = first; one != last; ++one) keys.push_back(KeyOutOfOrder(one->second));
  return keys;
}

}  // namespace offline_post
