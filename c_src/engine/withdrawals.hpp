// Withdrawals: what was withdrawn from one endpoint, as marks: "everything with this key that is
// not later than that". Nobody searches a backlog for what is meant: a delivery meets its mark when
// it comes by.
//
// Threads: the engine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/outbox.hpp"
#include "model/delivery.hpp"

namespace offline_post {

// What a mark is about. The kinds have keys of their own: whoever chooses a topic cannot mark a
// recipient, and what was superseded does not replace what was withdrawn (an event that comes after
// a withdrawal speaks for nothing before it).
enum class Marked : std::uint64_t { kRecipient = 0, kTopic = 1, kSuperseded = 2 };
inline std::uint64_t MarkKey(Marked what, std::uint64_t key) {
  return (static_cast<std::uint64_t>(what) << 62U) | (key >> 2U);
}

class Withdrawals {
 public:
  // Marks that are kept; then the older half is forgotten, and what it was about is sent.
  static constexpr std::size_t kMax = 100'000;

  // Replaces an earlier one of the key. True: the older half was forgotten to make room.
  bool Add(const StoredWithdrawal& mark);
  // How a delivery with this key and sequence ends, if it is withdrawn.
  std::optional<Final> Find(std::uint64_t key, Sequence sequence) const;
  // Up to where this key is withdrawn; 0: it is not.
  Sequence Until(std::uint64_t key) const;

  bool empty() const { return marks_.empty(); }
  std::vector<StoredWithdrawal> All() const;
  void Clear() { marks_.clear(); }

 private:
  struct Kept {
    StoredWithdrawal mark;
    std::uint64_t added = 0;  // its number
  };
  std::unordered_map<std::uint64_t, Kept> marks_;
  std::uint64_t added_ = 0;
};

}  // namespace offline_post
