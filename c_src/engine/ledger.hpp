// Ledger: one endpoint's book. Admission and the conservation law
//
//   accepted = delivered + pending + dead + cancelled + purged
//
// under one lock, so that every snapshot is consistent. Rejected events are outside of the law.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <mutex>

#include "engine/observations.hpp"
#include "engine/outbox.hpp"
#include "model/delivery.hpp"
#include "model/endpoint.hpp"

namespace offline_post {

struct Stats {
  std::uint64_t accepted = 0;
  std::uint64_t delivered = 0;
  std::uint64_t pending = 0;  // waiting or in flight
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t purged = 0;
  std::uint64_t rejected = 0;            // for whatever reason
  std::uint64_t rejected_full = 0;       // of those, for lack of room
  std::uint64_t limited = 0;             // over a rate, and dropped; neither accepted nor rejected
  std::uint64_t in_flight = 0;           // of the pending
  std::uint64_t pending_bytes = 0;       // as EventBytes counts
  std::uint64_t dead_bytes = 0;          // the same of the dead letters
  std::uint64_t attempts = 0;            // deliveries handed to the transport
  std::uint64_t retries = 0;             // attempts that failed and will be repeated
  std::uint64_t given_up = 0;            // became dead, whatever came of the dead letter
  std::uint64_t recipients_waiting = 0;  // behind a pending one that has failed
  std::uint64_t out_of_order = 0;        // of the pending, those that left their recipient's order
  EndpointState state = EndpointState::kStopped;
};

enum class Admission { kAccepted, kFull, kStopped, kLimited };

class Ledger {
 public:
  // Takes over what an outbox has left, in place of what another one had; before anything is
  // accepted.
  void Restore(const StoredEndpoint& stored);
  // Opens the book, or changes its limits; what is pending stays even if it exceeds them.
  void Open(const QueueLimits& limits);
  // From here on nothing is accepted.
  void Close();

  // Reserves room for one event. After kAccepted nothing may fail for lack of room. `room`: that
  // the outbox has some.
  Admission Reserve(std::uint64_t bytes, bool room = true);

  // The same for one that another node has accepted before; what is refused is not counted.
  Admission ReserveImported(std::uint64_t bytes, bool room);
  // Its dead letters.
  void ImportedDead(std::uint64_t count, std::uint64_t bytes);

  // An event that a rate limit dropped.
  void Limited();

  void AttemptsStarted(std::uint64_t count);
  void AttemptEnded(bool will_retry);
  void Settle(Final how, std::uint64_t bytes);
  // Dead letters that are gone, pending again, or cancelled. `dead_bytes`: of them, as they were
  // counted.
  void Purged(std::uint64_t count, std::uint64_t dead_bytes);
  void Replayed(std::uint64_t count, std::uint64_t bytes, std::uint64_t dead_bytes);
  void Dropped(std::uint64_t count, std::uint64_t dead_bytes);
  // Pending events that are out of reach for good are gone from both sides of the law.
  void Forget(std::uint64_t count, std::uint64_t bytes);
  void SetState(EndpointState state);
  void SetFailing(std::uint64_t recipients_waiting, std::uint64_t out_of_order);

  Stats Snapshot() const;
  QueueLimits limits() const;
  std::uint64_t pending() const;
  std::uint64_t pending_bytes() const;

  // What was seen beside the law.
  Observations& seen() { return seen_; }
  const Observations& seen() const { return seen_; }

 private:
  Admission Admit(std::uint64_t bytes, bool room);  // with mutex_ held

  mutable std::mutex mutex_;
  bool open_ = false;  // guarded by mutex_, as all below
  QueueLimits limits_;
  Stats stats_;
  Observations seen_;  // guards itself
};

}  // namespace offline_post
