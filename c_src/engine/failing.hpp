// Failing: of one endpoint's pending deliveries those that have failed: behind how many of them a
// recipient waits, and which have left their recipient's order. Everything may be said twice.
//
// Threads: the engine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model/delivery.hpp"

namespace offline_post {

class Failing {
 public:
  // Deliveries of either kind that are known at a time; more are not counted.
  static constexpr std::size_t kMax = 100'000;

  // So many are pending from an earlier run; they become known one by one, as they are claimed.
  void Restore(std::uint64_t waited_for, std::uint64_t out_of_order);
  // One that has not failed is ignored.
  void Claimed(const Delivery& delivery);
  // It has failed, or has left its recipient's order.
  void Add(const Delivery& delivery);
  // It is pending no more.
  void Remove(const Delivery& delivery);
  // Nobody can say which of them are left: those that are will be added again.
  void Clear();

  // Recipients that wait behind one of these: the ordering keys of what has failed in order.
  std::uint64_t recipients() const { return waited_for_before_ + waited_for_.size(); }
  std::uint64_t out_of_order() const { return out_of_order_before_ + out_of_order_.size(); }
  // The ordering keys of what this recipient has out of order.
  std::vector<std::uint64_t> KeysOf(std::uint64_t recipient) const;

 private:
  bool Insert(const Delivery& delivery);  // false: it is known, or no more can be

  std::unordered_set<Sequence> waited_for_;
  std::unordered_multimap<std::uint64_t, Sequence> out_of_order_;  // by RecipientKey
  std::uint64_t waited_for_before_ = 0;  // of an earlier run, and not known yet
  std::uint64_t out_of_order_before_ = 0;
};

}  // namespace offline_post
