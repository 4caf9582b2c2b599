// Outbox: the port behind which accepted deliveries are kept. Commands in, completions in a later
// turn: no command calls the listener back, and none waits. An implementation may keep rows in
// memory, on a disk, behind a thread of its own or in a database far away.
//
// The life of a delivery here:
//
//   Append ─► (Flush) committed ─► Claim ─► leased ─► Finish        gone, or kept as a dead letter
//                         ▲                   │ ├───► Reschedule    waits for its due time
//                         └───────────────────┴─┴───► Park          given back unchanged
//
// Threads: all calls from the thread that runs the engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/clock.hpp"
#include "model/delivery.hpp"

namespace offline_post {

// Names a Flush; larger is later.
using Ticket = std::uint64_t;

// What the last attempt brought.
struct Note {
  std::string reason;  // fit for a log
  std::string answer;  // the first bytes of the answer; may echo the message
};

class OutboxListener {
 public:
  virtual ~OutboxListener() = default;
  // All that was appended before the Flush of this ticket is committed, and may be claimed.
  virtual void OnCommitted(Ticket ticket) = 0;
  // The answer to one Claim. For each recipient in order of sequence. `next_due`: when the next
  // waiting delivery of this endpoint becomes claimable (monotonic ms), if one waits.
  virtual void OnClaimed(EndpointId endpoint, std::vector<Delivery> deliveries,
                         std::optional<Millis> next_due) = 0;
  // Retention let go of this many dead letters of the endpoint.
  virtual void OnPurged(EndpointId endpoint, std::uint64_t count) = 0;
};

class Outbox {
 public:
  // At most this many deliveries of one recipient are leased at a time, so that busy recipients
  // cannot fill the engine's window and make others wait: one in flight, and one to follow it at
  // once.
  static constexpr std::size_t kLeasedPerRecipient = 2;

  virtual ~Outbox() = default;

  // The first sequence that no delivery here has; read once, before the first Append.
  virtual Sequence NextSequence() const = 0;

  // `delivery.sequence` is larger than any before.
  virtual void Append(Delivery delivery) = 0;
  // Asks for the commit of all that was appended. Completion: OnCommitted.
  virtual Ticket Flush() = 0;
  // Leases at most `limit` committed deliveries: none whose recipient has an earlier one that waits
  // for a retry. Completion: OnClaimed, also when there is nothing. One Claim per endpoint at a
  // time.
  virtual void Claim(EndpointId endpoint, std::size_t limit) = 0;

  // The following take a leased delivery, and end the lease.
  virtual void Finish(const Delivery& delivery, Final how, const Note& note) = 0;
  // Stores the delivery's attempts; it waits until `due_ms` (monotonic), and its recipient with it.
  virtual void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) = 0;
  virtual void Park(const Delivery& delivery) = 0;

  // Hands completions over. False: there were none.
  virtual bool Poll(OutboxListener& listener) = 0;
};

}  // namespace offline_post
