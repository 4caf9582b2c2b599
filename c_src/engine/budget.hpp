// Budget: the memory of a node for what its endpoints hold of their queues, in bytes, whatever the
// sizes of the messages and the number of endpoints. An endpoint asks before it claims; it never
// gets more than half of what is left, so that the others find some. Those that find none wait in
// the order in which they asked.
//
// Threads: the engine's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>

#include "model/delivery.hpp"
#include "model/endpoint.hpp"
#include "model/event.hpp"

namespace offline_post {

class Budget {
 public:
  // With the outbox's cache (16 MiB) and the pages of its database (8 MB) below 64 MB.
  static constexpr std::size_t kBytes = std::size_t{36} * 1024 * 1024;

  explicit Budget(std::size_t bytes) : bytes_(bytes) {}

  static std::size_t Weight(const Delivery& delivery) { return EventBytes(*delivery.event); }

  // What one claim may bring now; 0: memory is short.
  std::size_t Share() const {
    const std::size_t half = (bytes_ - std::min(held_ + promised_, bytes_)) / 2;
    return half < bytes_ / 64 ? 0 : std::min(half, bytes_ / 4);
  }
  // More than half of it is free.
  bool IsPlenty() const { return held_ + promised_ < bytes_ / 2; }

  // A claim that is under way may bring so much; it was answered.
  void Promise(std::size_t bytes) { promised_ += bytes; }
  void Answered(std::size_t bytes) { promised_ -= std::min(bytes, promised_); }

  void Hold(const Delivery& delivery) { held_ += Weight(delivery); }
  void Release(const Delivery& delivery) { held_ -= std::min(Weight(delivery), held_); }
  std::size_t held() const { return held_; }

  // An endpoint that does not wait yet; a stuck one can send nothing now, and waits for plenty.
  void Wait(EndpointId endpoint, bool stuck) { (stuck ? stuck_ : waiting_).push_back(endpoint); }
  // The next that may ask again; it waits no more.
  struct Served {
    EndpointId endpoint;
    bool stuck;  // when it began to wait
  };
  std::optional<Served> NextServed() {
    const bool stuck = waiting_.empty();
    std::deque<EndpointId>& from = stuck ? stuck_ : waiting_;
    if (from.empty() || (stuck ? !IsPlenty() : Share() == 0)) return std::nullopt;
    const Served first{from.front(), stuck};
    from.pop_front();
    return first;
  }

 private:
  const std::size_t bytes_;
  std::size_t held_ = 0;
  std::size_t promised_ = 0;
  std::deque<EndpointId> waiting_;
  std::deque<EndpointId> stuck_;
};

}  // namespace offline_post
