// Delivery: an Event on its way to an Endpoint. The event is kept, not the bytes of a request: each
// attempt formats the body anew, so a corrected URL or token serves the backlog.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "model/endpoint.hpp"
#include "model/event.hpp"

namespace offline_post {

// Position in the order of acceptance; unique in an outbox.
using Sequence = std::uint64_t;

struct Delivery {
  Sequence sequence = 0;
  EndpointId endpoint = 0;
  std::shared_ptr<const Event> event;
  // Deliveries with equal recipients leave one after another: RecipientKey of the event; its topic
  // where the order within that is what counts; or something of their own where no order is asked
  // for.
  std::uint64_t recipient = 0;
  // When it was accepted (monotonic ms; before this run's start if an earlier run did). For its
  // age, which no wrong clock must change.
  Millis accepted_ms = 0;
  // Events of its topic that it speaks for, itself included: earlier ones collapsed into it.
  std::uint32_t stands_for = 1;
  int attempts = 0;  // that came to an end
  // Answers like 401 or 404 between which others were delivered, and the endpoint's count of
  // delivered events at the last of them: that others succeed needs no clock to be told.
  int misconfigured = 0;
  std::uint64_t delivered_at_misconfigured = 0;
  // Failed attempts between which the origin delivered others, and the engine's count of delivered
  // events at the last failure.
  int failures = 0;
  std::uint64_t delivered_at_failure = 0;
};

// The ordering key of a delivery that has left its recipient's order: nobody shares it. Unlike that
// of one for which no order was asked (its sequence), so that the key alone tells what it is.
inline std::uint64_t KeyOutOfOrder(Sequence sequence) { return ~sequence; }
inline bool IsOutOfOrder(const Delivery& delivery) {
  return delivery.recipient == KeyOutOfOrder(delivery.sequence);
}

// Where a delivery ends. The values are stored.
enum class Final { kDelivered = 0, kDead = 1, kCancelled = 2, kPurged = 3 };

}  // namespace offline_post
