// Outbox: the port behind which accepted deliveries are kept. Commands in, completions in a later
// turn: no command calls the listener back, and none waits. An implementation may keep rows in
// memory, on a disk, behind a thread of its own or in a database far away. Commands take effect in
// the order in which they are given.
//
// The life of a delivery here:
//
//   Append ─► (Flush) committed ─► Claim ─► leased ─► Finish        gone, or kept as a dead letter
//                         ▲                   │ ├───► Reschedule    waits for its due time
//                         │                   │ ├───► LeaveOrder    the same, and nobody with it
//                         └───────────────────┴─┴───► Park          given back unchanged
//
// Times are monotonic ms of this run. An implementation that outlives a run translates what it
// keeps, so they may lie before the run's start.
//
// Threads: all calls from the thread that runs the engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "engine/observations.hpp"
#include "model/clock.hpp"
#include "model/dead_letter.hpp"
#include "model/delivery.hpp"

namespace offline_post {

// Names a Flush; larger is later.
using Ticket = std::uint64_t;

// Somebody outside waits until his event is safe (`durable`: it outlives the process) or for the
// time being cannot be. Called once and at once, so on whatever thread commits; never if the
// process ends before.
using CommitCallback = std::function<void(bool durable)>;

// Why an endpoint is paused. The values are stored.
enum class Pause { kNone = 0, kGone = 1, kOperator = 2 };

// What was withdrawn by the sequence `until`: every delivery of what the key names (the engine's
// MarkKey) that had not left yet ends as `how` says.
struct StoredWithdrawal {
  std::uint64_t key = 0;
  Sequence until = 0;
  Final how = Final::kCancelled;
};

// An endpoint with its book, as an earlier run has left it. Pending is what the law leaves.
struct StoredEndpoint {
  EndpointId id = 0;
  EndpointKey key;
  std::uint64_t accepted = 0;
  std::uint64_t delivered = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t purged = 0;
  std::uint64_t pending_bytes = 0;
  Pause pause = Pause::kNone;
  std::uint64_t paused_url = 0;  // a fingerprint of the URL for which it was paused
  std::vector<StoredWithdrawal> withdrawals = {};
  // Of the pending: those that have failed and hold others back; those out of their order.
  std::uint64_t recipients_waiting = 0;
  std::uint64_t out_of_order = 0;
  std::uint64_t dead_bytes = 0;  // of the dead letters
};

inline std::uint64_t StoredPending(const StoredEndpoint& stored) {
  return stored.accepted - stored.delivered - stored.dead - stored.cancelled - stored.purged;
}

// A pending delivery, and the lane in which it waits (Delivery::recipient).
struct StoredLane {
  EndpointId endpoint = 0;
  Sequence sequence = 0;
  std::uint64_t lane = 0;
  bool tried = false;
};

// How much one Claim may bring: so many deliveries, and events of so many bytes (as EventBytes
// counts) or one event, whatever its size.
struct ClaimLimit {
  std::size_t deliveries = 0;
  std::size_t bytes = std::numeric_limits<std::size_t>::max();
};

// The answer to one Claim.
struct Claimed {
  std::vector<Delivery> deliveries;  // for each recipient in order of sequence
  // When the next waiting delivery of this endpoint becomes claimable, if one waits.
  std::optional<Millis> next_due;
  bool more = false;  // the search ended early: another Claim may find some at once
};

// A slice of events ends once it has so many bytes (as EventBytes counts): it takes no more memory
// with large messages than with small ones. It has one event at least.
inline constexpr std::size_t kSliceBytes = std::size_t{4} * 1024 * 1024;

// One slice of work on dead letters, in order of sequence.
struct DeadVisit {
  std::uint64_t tag = 0;  // comes back with the answer
  EndpointId endpoint = 0;
  DeadAct act = DeadAct::kShow;
  DeadFilter filter;
  Sequence after = 0;                 // those with a larger sequence
  Sequence before = 0;                // and a smaller one than this, unless 0
  std::size_t limit = 0;              // of letters that match
  std::uint64_t bytes = kSliceBytes;  // of these
  // kReplay: the first of `limit` sequences that no delivery has. The letters become new
  // deliveries, in their order, accepted at `accepted_ms`, under their old event ids.
  Sequence first_sequence = 0;
  Millis accepted_ms = 0;
};

// What every implementation does alike: which letters a visit means, and the `nth` new delivery
// that a replay makes of them, with its attempts before it again.
inline bool Matches(const DeadFilter& filter, const DeadLetter& letter) {
  return (filter.event_id.empty() || filter.event_id == letter.delivery.event->id) &&
         letter.note.reason.starts_with(filter.reason) &&
         filter.IsFor(RecipientKey(*letter.delivery.event), letter.delivery.sequence);
}

// A replay is another chance, in its recipient's order again.
inline std::uint64_t OrderingKeyOfReplayed(const Delivery& dead) {
  return IsOutOfOrder(dead) ? RecipientKey(*dead.event) : dead.recipient;
}

inline Delivery Replayed(const DeadVisit& visit, const DeadLetter& letter, std::uint64_t nth) {
  Delivery delivery;
  delivery.sequence = visit.first_sequence + nth;
  delivery.endpoint = visit.endpoint;
  delivery.event = letter.delivery.event;
  delivery.recipient = OrderingKeyOfReplayed(letter.delivery);
  delivery.accepted_ms = visit.accepted_ms;
  delivery.stands_for = letter.delivery.stands_for;
  return delivery;
}

struct DeadVisited {
  std::uint64_t tag = 0;
  EndpointId endpoint = 0;
  DeadAct act = DeadAct::kShow;
  std::uint64_t count = 0;          // letters that match
  std::uint64_t bytes = 0;          // of their events, as EventBytes counts
  std::uint64_t dead_bytes = 0;     // that they counted for while they were dead letters
  std::vector<DeadLetter> letters;  // kShow
  std::optional<Sequence> next;     // `after` of the next slice, unless this was the last
  bool reached = true;              // false: they are out of reach for now, and nothing was done
};

// A slice of dead letters to let go of, those first that died first: all that died before a time,
// and then until there are so many less, of so many bytes less. What an earlier version left counts
// for no bytes, and none of it goes for their sake.
struct DeadPurge {
  EndpointId endpoint = 0;
  Millis died_before_ms = 0;
  std::uint64_t letters = 0;
  std::uint64_t bytes = 0;
  std::size_t limit = 0;  // letters in this slice
};

// Whether the next one goes, which died at `died_ms`, after `count` of `bytes` have gone.
inline bool Goes(const DeadPurge& purge, Millis died_ms, std::uint64_t count, std::uint64_t bytes) {
  return count < purge.letters || bytes < purge.bytes || died_ms < purge.died_before_ms;
}

struct DeadPurged {
  EndpointId endpoint = 0;
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  bool more = false;  // the slice ended early: others are to go, too
};

// How far another node's outbox was taken over, in that one's sequences; each part in their order.
struct ImportPosition {
  Sequence pending = 0;
  Sequence dead = 0;
};

// A slice of it, which is kept as a whole or not at all, together with the position after it. Its
// deliveries have sequences of this outbox. Without rows it is a question: how far it was before.
struct ImportedRows {
  std::uint64_t tag = 0;  // comes back with the answer
  EndpointId endpoint = 0;
  std::string source;  // names the other outbox, in the state in which it was left
  std::vector<Delivery> pending;
  std::vector<DeadLetter> dead;
  ImportPosition position;
};

struct ImportDone {
  std::uint64_t tag = 0;
  EndpointId endpoint = 0;
  std::uint64_t pending = 0;  // rows that are kept
  std::uint64_t bytes = 0;    // of those, as EventBytes counts
  std::uint64_t dead = 0;
  std::uint64_t dead_bytes = 0;
  ImportPosition position;  // as it is remembered now
  bool reached = true;      // false: nothing was done
};

class OutboxListener {
 public:
  virtual ~OutboxListener() = default;
  // All that was appended before the Flush of this ticket, and of those before it, may be claimed.
  // `durable`: it is committed; else the disk refuses, and it is kept in memory until it does not.
  // When the disk recovers, the last ticket is reported once more, as durable.
  virtual void OnCommitted(Ticket ticket, bool durable) = 0;
  virtual void OnClaimed(EndpointId endpoint, Claimed claimed) = 0;
  virtual void OnDeadVisited(DeadVisited visited) = 0;
  // So many dead letters were let go of, perhaps without having been asked.
  virtual void OnPurged(const DeadPurged& purged) = 0;
  // This many deliveries that were not leased are out of reach for good.
  virtual void OnLost(EndpointId endpoint, std::uint64_t count, std::uint64_t bytes) = 0;
  virtual void OnImported(const ImportDone& /*done*/) {}
};

class Outbox {
 public:
  // At most this many deliveries of one recipient are leased at a time, so that busy recipients
  // cannot fill the engine's window and make others wait: one in flight, and one to follow it at
  // once.
  static constexpr std::size_t kLeasedPerRecipient = 2;

  virtual ~Outbox() = default;

  // What earlier runs have left, and the first sequence that no delivery here has; both read once,
  // before the first command.
  virtual std::vector<StoredEndpoint> Stored() const = 0;
  virtual Sequence NextSequence() const = 0;
  // What earlier runs have left of endpoints that share an order (engine/shared_order.hpp), one
  // endpoint's after another's, each the oldest first, about as many as that can know. Once, before
  // the first command.
  virtual std::vector<StoredLane> TakeStoredLanes() { return {}; }
  // What the recipients and topics that it keeps were made with (SetHashKey); none: it keeps none.
  virtual std::optional<HashKey> StoredHashKey() const { return std::nullopt; }

  // Comes before any other command for the endpoint; again for one that is stored does nothing.
  virtual void Register(EndpointId endpoint, const EndpointKey& key) = 0;
  // Remembers it for the next run.
  virtual void SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) = 0;
  // Remembers for the next run that what is not later than `until` is withdrawn; replaces an
  // earlier one of this key. What it is about, the engine finishes.
  virtual void SetWithdrawal(EndpointId endpoint, std::uint64_t key, Sequence until, Final how) = 0;
  // None is needed any more.
  virtual void ClearWithdrawals(EndpointId endpoint) = 0;

  // `delivery.sequence` is larger than any before.
  virtual void Append(Delivery delivery) = 0;
  // Asks for the commit of all that was appended, for which `waiting` wait. Completion:
  // OnCommitted.
  virtual Ticket Flush(std::vector<CommitCallback> waiting) = 0;
  // Leases committed deliveries within the limit: none whose recipient has an earlier one that
  // waits for a retry. Completion: OnClaimed, also when there is nothing. One Claim per endpoint at
  // a time.
  virtual void Claim(EndpointId endpoint, ClaimLimit limit) = 0;

  // The following take a leased delivery, and end the lease.
  virtual void Finish(const Delivery& delivery, Final how, const Note& note) = 0;
  // Stores the delivery's attempts and what it stands for; it waits until `due_ms`, and its
  // recipient with it.
  virtual void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) = 0;
  virtual void Park(const Delivery& delivery) = 0;
  // As Reschedule, but nobody waits with it: from here on its ordering key is KeyOutOfOrder.
  // `delivery` still has the key under which it is leased.
  virtual void LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& note) = 0;

  // What waits for its due time in this lane (Delivery::recipient) may be claimed at once.
  virtual void Hasten(EndpointId endpoint, std::uint64_t recipient) = 0;

  // The same for at most `limit` lanes, those that would be due soonest, as far as they are within
  // reach.
  virtual void HastenAll(EndpointId endpoint, std::size_t limit) = 0;

  // Completion: OnDeadVisited.
  virtual void VisitDead(const DeadVisit& visit) = 0;
  // Completion: OnPurged, also for none.
  virtual void PurgeDead(const DeadPurge& purge) = 0;

  // Completion: OnImported. False, and none: nothing here outlives the process.
  virtual bool Import(const ImportedRows& /*rows*/) { return false; }

  // Hands completions over. False: there were none.
  virtual bool Poll(OutboxListener& listener) = 0;

  // False: nothing new should be accepted; the disk or the memory for its failures is short.
  virtual bool HasRoom() const = 0;
  // What is committed outlives the process: kept so at the moment.
  virtual bool IsDurable() const = 0;
  // What it occupies on a disk.
  virtual std::uint64_t DiskBytes() const { return 0; }
  // When the oldest that it keeps was accepted, about; 0: it keeps none, or does not know. Any
  // thread.
  virtual Millis OldestUnixMs(EndpointId /*endpoint*/) const { return 0; }
  // How long the disk has been at one piece of work; 0: it has none. Any thread.
  virtual Millis SilentMs() const { return 0; }
  // How long commits took. Any thread.
  virtual Histogram CommitTimes() const { return Histogram(kCommitBoundsUs); }
};

}  // namespace offline_post
