// The store after a failure: what the failed one still knows, and how its successor, on the same
// file or on a new one, takes over what went on without a disk. A failed commit may be in the file
// all the same, so everything here may be done twice: a row's presence tells what was counted.
#include <algorithm>

#include "outbox/store.hpp"

namespace offline_post {

namespace {

void Sort(std::vector<Delivery>& deliveries) {
  std::sort(deliveries.begin(), deliveries.end(),
            [](const Delivery& a, const Delivery& b) { return a.sequence < b.sequence; });
}

}  // namespace

Store::Remains Store::TakeApart() {
  Remains remains;
  for (const auto& [key, lease] : leases_) remains.leased.push_back(lease.delivery);
  for (auto& [id, book] : books_) {
    for (Delivery& delivery : book.fresh) remains.waiting.push_back(std::move(delivery));
    for (auto& [recipient, entry] : book.recipients) {
      Held& held = entry.held;
      for (; !held.empty(); ++held.first)
        remains.waiting.push_back(std::move(held.deliveries[held.first]));
    }
    if (!book.caught_up) remains.unread.push_back(id);
    if (!book.lanes_known) remains.many_lanes.push_back(id);
    for (const std::uint64_t recipient : book.lane_set) remains.lanes.emplace_back(id, recipient);
  }
  Sort(remains.leased);
  Sort(remains.waiting);
  remains.done = std::move(lazy_);
  return remains;
}

void Store::Settle() {
  if (in_transaction_) Commit();
  // Everything is written anew, into the file and then into an empty log. Pages that the system
  // dropped after a failed fsync, though they could be read until then, matter no more.
  Checkpoint();
}

void Store::SetCounters(EndpointId endpoint, const Counters& counters) {
  Begin();
  Book& book = BookOf(endpoint);
  book.counters = counters;
  MarkChanged(book);
}

// Its row, which may be there already.
Store::Book& Store::MergeRow(const Delivery& delivery) {
  Begin();
  Book& book = BookOf(delivery.endpoint);
  book.caught_up = false;
  // What was appended meanwhile comes behind it, and is read after it.
  for (; !book.fresh.empty(); book.fresh.pop_front()) UncountMemory(book.fresh.front());
  if (InsertLog(delivery)) {
    ++book.counters.accepted;
    book.counters.pending_bytes += EventBytes(*delivery.event);
    MarkChanged(book);
  } else {
    KeepStandsFor(delivery);
    KeepRecipient(delivery);
  }
  ++appended_;
  return book;
}

void Store::Merge(const Delivery& delivery, std::optional<Millis> due_ms) {
  Book& book = MergeRow(delivery);
  if (!due_ms && delivery.attempts == 0 && delivery.misconfigured == 0) return;
  KeepParked(book, delivery);
  SetLane(book, delivery.recipient, due_ms.value_or(clock_.MonotonicMs()));
}

void Store::MergeLeased(const Delivery& delivery) {
  Book& book = MergeRow(delivery);
  ++book.recipients[delivery.recipient].leased;
  leases_.insert_or_assign(RowKey(delivery.endpoint, delivery.sequence), Lease{delivery, true});
}

bool Store::GiveUp(const Delivery& delivery) {
  return EndLease(BookOf(delivery.endpoint), delivery).has_value();
}

void Store::MergeDone(const Remains::Done& done) {
  Begin();
  Book& book = BookOf(done.endpoint);
  // It may have left its recipient's order since the file was written.
  const auto recipient = StoredRecipient(done.endpoint, done.sequence);
  sql_->unpark.Run(done.endpoint, recipient.value_or(done.recipient), done.sequence);
  if (DropLog(done.endpoint, done.sequence, done.sequence)) {
    book.counters.pending_bytes -= done.bytes;
  } else {
    ++book.counters.accepted;
  }
  Count(book, done.how);
  ++appended_;
}

void Store::MergeDead(const Delivery& delivery, const Note& note) {
  MergeDone({delivery.endpoint, delivery.sequence, delivery.recipient, EventBytes(*delivery.event),
             Final::kDead});
  Bury(delivery, note);
}

void Store::Ends::Add(const Ends& other) {
  delivered += other.delivered;
  cancelled += other.cancelled;
  purged += other.purged;
}

void Store::MergeCounts(EndpointId endpoint, const Ends& ends) {
  Begin();
  Book& book = BookOf(endpoint);
  book.counters.accepted += ends.delivered + ends.cancelled + ends.purged;
  book.counters.delivered += ends.delivered;
  book.counters.cancelled += ends.cancelled;
  book.counters.purged += ends.purged;
  MarkChanged(book);
}

}  // namespace offline_post
