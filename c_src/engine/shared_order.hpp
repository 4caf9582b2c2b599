// SharedOrder: one order per recipient over several endpoints. mod_available_post and
// mod_unavailable_post are two endpoints with two queues, but what they tell of a user is one
// story: an older notification must not arrive after a newer one. It keeps the pending deliveries
// of such endpoints, as many as are known; a delivery that is not known waits for none and holds
// none up.
//
// Threads: the engine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "engine/outbox.hpp"
#include "model/delivery.hpp"
#include "model/endpoint.hpp"

namespace offline_post {

// The endpoint's deliveries keep their order with those of the virtual host's other endpoint that
// says so. By its key, so that what an earlier run has left is known before it is configured. A
// recipient belongs to one virtual host: no more is needed to tell the pairs apart.
inline bool SharesOrder(const EndpointKey& key) {
  return key.module == "mod_available_post" || key.module == "mod_unavailable_post";
}

class SharedOrder {
 public:
  // Deliveries that are known at a time: 8 MiB, for an entry takes 64 bytes.
  static constexpr std::size_t kMax = 131'072;

  // A delivery that waits in its lane (Delivery::recipient), and whose endpoint that is.
  struct Next {
    EndpointId endpoint = 0;
    std::uint64_t lane = 0;
  };

  // False: too many are known, and this one stays unknown. `waits`: as of Waits.
  bool Add(const StoredLane& delivery, bool waits = false);
  // Whose delivery is to leave before this one; nothing: it may leave.
  std::optional<EndpointId> Before(std::uint64_t lane, Sequence sequence) const;
  // The delivery waits in the outbox until the one before it has ended.
  void Waits(std::uint64_t lane, Sequence sequence);
  // The delivery has ended, or has left the order. The delivery that may leave now, if one waits.
  std::optional<Next> Remove(std::uint64_t lane, Sequence sequence);
  // Nobody knows what is pending of the endpoint: none of it holds another one up, or waits for
  // one. Who may leave.
  std::vector<Next> Forget(EndpointId endpoint);

  std::size_t size() const { return pending_.size(); }

 private:
  struct Pending {
    EndpointId endpoint = 0;
    bool waits = false;
  };
  using Key = std::pair<std::uint64_t, Sequence>;  // lane and sequence
  bool IsFirst(std::map<Key, Pending>::const_iterator pending) const;
  std::optional<Next> Wake(std::uint64_t lane);

  std::map<Key, Pending> pending_;
};

}  // namespace offline_post
