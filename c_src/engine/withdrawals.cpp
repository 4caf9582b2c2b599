#include "engine/withdrawals.hpp"

#include <algorithm>

namespace offline_post {

bool Withdrawals::Add(const StoredWithdrawal& mark) {
  marks_[mark.key] = {mark, ++added_};
  if (marks_.size() <= kMax) return false;
  std::vector<std::uint64_t> ages;
  ages.reserve(marks_.size());
  for (const auto& [key, kept] : marks_) ages.push_back(kept.added);
  const auto middle = ages.begin() + static_cast<std::ptrdiff_t>(ages.size() / 2);
  std::nth_element(ages.begin(), middle, ages.end());
  std::erase_if(marks_,
                [oldest = *middle](const auto& kept) { return kept.second.added < oldest; });
  return true;
}

std::optional<Final> Withdrawals::Find(std::uint64_t key, Sequence sequence) const {
  const auto found = marks_.find(key);
  if (found == marks_.end() || sequence > found->second.mark.until) return std::nullopt;
  return found->second.mark.how;
}

Sequence Withdrawals::Until(std::uint64_t key) const {
  const auto found = marks_.find(key);
  return found == marks_.end() ? 0 : found->second.mark.until;
}

std::vector<StoredWithdrawal> Withdrawals::All() const {
  std::vector<StoredWithdrawal> all;
  all.reserve(marks_.size());
  for (const auto& [key, kept] : marks_) all.push_back(kept.mark);
  return all;
}

}  // namespace offline_post
