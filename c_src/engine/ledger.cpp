#include "engine/ledger.hpp"

namespace offline_post {

void Ledger::Restore(const StoredEndpoint& stored) {
  const std::lock_guard lock(mutex_);
  stats_.accepted = stored.accepted;
  stats_.delivered = stored.delivered;
  stats_.dead = stored.dead;
  stats_.cancelled = stored.cancelled;
  stats_.purged = stored.purged;
  stats_.pending = StoredPending(stored);
  stats_.pending_bytes = stored.pending_bytes;
  stats_.dead_bytes = stored.dead_bytes;
  stats_.in_flight = 0;
  stats_.recipients_waiting = stored.recipients_waiting;
  stats_.out_of_order = stored.out_of_order;
  seen_.ForgetPending();
}

void Ledger::Open(const QueueLimits& limits) {
  const std::lock_guard lock(mutex_);
  open_ = true;
  limits_ = limits;
  if (stats_.state == EndpointState::kStopped) stats_.state = EndpointState::kHealthy;
}

void Ledger::Close() {
  const std::lock_guard lock(mutex_);
  open_ = false;
}

Admission Ledger::Reserve(std::uint64_t bytes, bool room) {
  const std::lock_guard lock(mutex_);
  const Admission admission = Admit(bytes, room);
  if (admission != Admission::kAccepted) ++stats_.rejected;
  if (admission == Admission::kFull) ++stats_.rejected_full;
  return admission;
}

Admission Ledger::ReserveImported(std::uint64_t bytes, bool room) {
  const std::lock_guard lock(mutex_);
  return Admit(bytes, room);
}

void Ledger::ImportedDead(std::uint64_t count, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  stats_.accepted += count;
  stats_.dead += count;
  stats_.dead_bytes += bytes;
}

Admission Ledger::Admit(std::uint64_t bytes, bool room) {
  if (!open_) return Admission::kStopped;
  if (!room || stats_.pending >= limits_.events || stats_.pending_bytes + bytes > limits_.bytes) {
    return Admission::kFull;
  }
  ++stats_.accepted;
  ++stats_.pending;
  stats_.pending_bytes += bytes;
  return Admission::kAccepted;
}

void Ledger::Limited() {
  const std::lock_guard lock(mutex_);
  ++stats_.limited;
}

void Ledger::AttemptsStarted(std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  stats_.attempts += count;
  stats_.in_flight += count;
}

void Ledger::AttemptEnded(bool will_retry) {
  const std::lock_guard lock(mutex_);
  --stats_.in_flight;
  if (will_retry) ++stats_.retries;
}

void Ledger::Settle(Final how, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  --stats_.pending;
  stats_.pending_bytes -= bytes;
  switch (how) {
    case Final::kDelivered:
      ++stats_.delivered;
      break;
    case Final::kDead:
      ++stats_.dead;
      stats_.dead_bytes += bytes;
      ++stats_.given_up;
      break;
    case Final::kCancelled:
      ++stats_.cancelled;
      break;
    case Final::kPurged:
      ++stats_.purged;
      break;
  }
}

void Ledger::Purged(std::uint64_t count, std::uint64_t dead_bytes) {
  const std::lock_guard lock(mutex_);
  stats_.dead -= count;
  stats_.dead_bytes -= dead_bytes;
  stats_.purged += count;
}

void Ledger::Replayed(std::uint64_t count, std::uint64_t bytes, std::uint64_t dead_bytes) {
  const std::lock_guard lock(mutex_);
  stats_.dead -= count;
  stats_.dead_bytes -= dead_bytes;
  stats_.pending += count;
  stats_.pending_bytes += bytes;
}

void Ledger::Dropped(std::uint64_t count, std::uint64_t dead_bytes) {
  const std::lock_guard lock(mutex_);
  stats_.dead -= count;
  stats_.dead_bytes -= dead_bytes;
  stats_.cancelled += count;
}

void Ledger::Forget(std::uint64_t count, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  stats_.accepted -= count;
  stats_.pending -= count;
  stats_.pending_bytes -= bytes;
}

void Ledger::SetState(EndpointState state) {
  const std::lock_guard lock(mutex_);
  stats_.state = state;
}

void Ledger::SetFailing(std::uint64_t recipients_waiting, std::uint64_t out_of_order) {
  const std::lock_guard lock(mutex_);
  stats_.recipients_waiting = recipients_waiting;
  stats_.out_of_order = out_of_order;
}

Stats Ledger::Snapshot() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

QueueLimits Ledger::limits() const {
  const std::lock_guard lock(mutex_);
  return limits_;
}

std::uint64_t Ledger::pending_bytes() const {
  const std::lock_guard lock(mutex_);
  return stats_.pending_bytes;
}

std::uint64_t Ledger::pending() const {
  const std::lock_guard lock(mutex_);
  return stats_.pending;
}

}  // namespace offline_post
