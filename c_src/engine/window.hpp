// Window: the deliveries of one endpoint that the engine holds leased, in one lane per recipient. A
// lane's deliveries leave one after another; lanes do not wait for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "model/delivery.hpp"

namespace offline_post {

class Window {
 public:
  // Behind the recipient's others.
  void Add(Delivery delivery);

  // The first delivery of the lane that has been runnable longest; its lane is busy until one of
  // the three calls below. Nothing: no lane is runnable.
  std::optional<Delivery> Take();

  // What was taken has ended for good: the recipient's next may run.
  void Advance(std::uint64_t recipient);
  // What was taken goes back to its place, the first to run.
  void Return(Delivery delivery);
  // What was taken waits elsewhere: the lane is dissolved, its followers are the caller's.
  std::vector<Delivery> Dissolve(std::uint64_t recipient);

  // What this says yes to and is not taken leaves the window: of one lane; of all.
  using Predicate = std::function<bool(const Delivery&)>;
  std::vector<Delivery> Extract(std::uint64_t recipient, const Predicate& leaves);
  std::vector<Delivery> ExtractAll(const Predicate& leaves);

  // Everything that is not taken leaves the window, for each recipient in order.
  std::vector<Delivery> Clear();

  bool runnable() const { return !runnable_.empty(); }
  // Lanes that are: as many deliveries as Take would give now.
  std::size_t runnable_lanes() const { return runnable_.size(); }
  // When the oldest of what Take would give was accepted; only if something is runnable. Looks at
  // each runnable lane once after a Take, so ask when they are few.
  Millis OldestMs() const;
  // Deliveries in it, those that were taken included.
  std::size_t size() const { return size_; }

 private:
  struct Lane {
    std::vector<Delivery> waiting;  // few: the outbox leases two of a recipient at a time
    bool busy = false;
  };
  void Run(std::uint64_t recipient, const Lane& lane, bool first);
  void ExtractFrom(Lane& lane, const Predicate& leaves, std::vector<Delivery>& out);

  std::unordered_map<std::uint64_t, Lane> lanes_;
  std::deque<std::uint64_t> runnable_;  // recipients of lanes that are not busy and not empty
  std::size_t size_ = 0;
  mutable std::optional<Millis> oldest_;  // what OldestMs found, if that still holds
};

}  // namespace offline_post
