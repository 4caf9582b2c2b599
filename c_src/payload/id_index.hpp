// IdIndex: where in a request's list an event id is. By comparing, not by hashes: whoever answers
// chooses what is looked up, and can choose thousands of ids whose hashes are alike.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offline_post {

template <typename Less = std::less<>>
class IdIndex {
 public:
  // `ids` outlive it, and are different from each other.
  explicit IdIndex(const std::vector<std::string>& ids, Less less = {})
      : ids_(ids), less_(std::move(less)), sorted_(ids.size()) {
    std::iota(sorted_.begin(), sorted_.end(), std::size_t{0});
    std::sort(sorted_.begin(), sorted_.end(),
              [this](std::size_t a, std::size_t b) { return less_(ids_[a], ids_[b]); });
  }

  // In at most log2(number of ids) + 2 comparisons, whatever is asked.
  std::optional<std::size_t> Find(std::string_view id) const {
    const auto found = std::lower_bound(
        sorted_.begin(), sorted_.end(), id,
        [this](std::size_t at, std::string_view wanted) { return less_(ids_[at], wanted); });
    if (found == sorted_.end() || less_(id, ids_[*found])) return std::nullopt;
    return *found;
  }

 private:
  const std::vector<std::string>& ids_;
  Less less_;
  std::vector<std::size_t> sorted_;  // places in ids_
};

}  // namespace offline_post
