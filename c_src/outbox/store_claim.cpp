// The store's claims: what may be leased next, and where a row goes that may not.
#include <algorithm>
#include <utility>

#include "outbox/store.hpp"

namespace offline_post {

namespace {

// Rows that a Claim looks at beyond its limit, so that one search never takes long.
constexpr std::size_t kLook = 2'000;
// Deliveries that are held for one recipient; more go to disk.
constexpr std::size_t kHeldPerRecipient = 1'024;

Delivery ReadDelivery(const Statement& row) {
  Delivery delivery;
  delivery.endpoint = static_cast<EndpointId>(row.Unsigned(0) >> kSequenceBits);
  delivery.sequence = SequenceOf(row.Int(0));
  delivery.recipient = row.Unsigned(1);
  delivery.stands_for = static_cast<std::uint32_t>(row.Unsigned(3));
  delivery.event = ReadEvent(row, 4);
  return delivery;
}

}  // namespace

Claimed Store::Claim(EndpointId endpoint, ClaimLimit limit) {
  Book& book = BookOf(endpoint);
  Search search{limit, limit.deliveries + kLook, {}};
  left_out_ = false;
  if (book.cursor < book.rescan_until) ClaimLog(book, search);
  if (book.cursor >= book.rescan_until) {
    ClaimReady(book, search);
    ClaimDue(book, search);
    ClaimLog(book, search);
    ClaimReady(book, search);  // what was just parked behind a single lease
  }
  Claimed claimed;
  claimed.more = left_out_ || search.look == 0 || search.full_of_bytes() ||
                 (search.full() && !book.ready.empty());
  if (book.lanes > 0) {
    sql_->next_due.Start(endpoint);
    if (sql_->next_due.Next()) claimed.next_due = FromStore(sql_->next_due.Int(0));
    sql_->next_due.Reset();
  }
  claimed.deliveries = std::move(search.taken);
  return claimed;
}

void Store::ClaimReady(Book& book, Search& search) {
  for (std::size_t n = book.ready.size(); n > 0 && !search.full(); --n) {
    const std::uint64_t recipient = book.ready.front();
    book.ready.pop_front();
    Recipient& entry = book.recipients[recipient];
    entry.ready = false;
    if (!entry.held.empty()) {
      ClaimHeld(book, recipient, search);
    } else if (HasLane(book, recipient)) {
      ClaimParked(book, recipient, search);
    }
    Forget(book, recipient);
  }
}

void Store::ClaimHeld(Book& book, std::uint64_t recipient, Search& search) {
  Recipient& entry = book.recipients[recipient];
  Held& held = entry.held;
  while (!held.empty() && entry.leased < Outbox::kLeasedPerRecipient && !search.full()) {
    Delivery delivery = std::move(held.deliveries[held.first++]);
    UncountMemory(delivery);
    LeaseOut(book, std::move(delivery), false, search);
  }
  // Taken ones are cleared away when they are the larger part, so that each is moved once.
  if (held.first * 2 >= held.deliveries.size()) {
    held.deliveries.erase(held.deliveries.begin(),
                          held.deliveries.begin() + static_cast<std::ptrdiff_t>(held.first));
    held.first = 0;
  }
  if (!held.empty() && entry.leased < Outbox::kLeasedPerRecipient) MakeReady(book, recipient);
}

void Store::ClaimParked(Book& book, std::uint64_t recipient, Search& search) {
  sql_->lane_due_of.Start(book.id, recipient);
  const bool waits = sql_->lane_due_of.Next() && !sql_->lane_due_of.IsNull(0);
  sql_->lane_due_of.Reset();
  if (waits) return;

  struct Row {
    Sequence sequence;
    int attempts;
    int misconfigured;
    std::uint64_t delivered_at;
    int failures;
    std::uint64_t delivered_at_failure;
  };
  // Leased rows stand there too: with so many rows there is something to lease, if anything is.
  std::vector<Row> rows;
  bool any = false;
  sql_->parked_of.Start(book.id, recipient);
  while (rows.size() < Outbox::kLeasedPerRecipient && sql_->parked_of.Next()) {
    any = true;
    const Sequence sequence = sql_->parked_of.Unsigned(0);
    if (leases_.contains(RowKey(book.id, sequence))) continue;
    rows.push_back({sequence, static_cast<int>(sql_->parked_of.Int(1)),
                    static_cast<int>(sql_->parked_of.Int(2)), sql_->parked_of.Unsigned(3),
                    static_cast<int>(sql_->parked_of.Int(4)), sql_->parked_of.Unsigned(5)});
  }
  sql_->parked_of.Reset();
  if (!database_.ok()) return;
  if (!any) {
    DropLane(book, recipient);
    return;
  }
  for (const Row& row : rows) {
    if (book.recipients[recipient].leased >= Outbox::kLeasedPerRecipient) return;
    if (search.full()) {
      MakeReady(book, recipient);
      return;
    }
    sql_->get_log.Start(RowKey(book.id, row.sequence));
    if (sql_->get_log.Next()) {
      Delivery delivery = ReadDelivery(sql_->get_log);
      delivery.accepted_ms = FromStore(sql_->get_log.Int(2));
      delivery.attempts = row.attempts;
      delivery.misconfigured = row.misconfigured;
      delivery.delivered_at_misconfigured = row.delivered_at;
      delivery.failures = row.failures;
      delivery.delivered_at_failure = row.delivered_at_failure;
      LeaseOut(book, std::move(delivery), true, search);
    } else if (database_.ok()) {
      Begin();
      sql_->unpark.Run(book.id, recipient, row.sequence);  // nothing is left of it
      MakeReady(book, recipient);
    }
    sql_->get_log.Reset();
  }
}

void Store::ClaimDue(Book& book, Search& search) {
  // Most lanes give at least one delivery, but for those whose recipients have their leases out.
  while (book.lanes > 0 && !search.full() && search.look > 0) {
    std::vector<std::uint64_t> due;
    sql_->due_lanes.Start(book.id, ToStore(clock_.MonotonicMs()),
                          std::min(search.limit.deliveries - search.taken.size(), search.look));
    while (sql_->due_lanes.Next()) due.push_back(sql_->due_lanes.Unsigned(0));
    if (due.empty()) return;
    search.look -= due.size();
    for (const std::uint64_t recipient : due) {
      SetLane(book, recipient, std::nullopt);
      MakeReady(book, recipient);
    }
    ClaimReady(book, search);
  }
}

void Store::ClaimLog(Book& book, Search& search) {
  while (!search.full() && search.look > 0 && !left_out_) {
    if (book.fresh.empty()) {
      if (book.caught_up) return;
      book.caught_up = ReadLog(book, search);
      continue;
    }
    left_out_ = book.fresh.front().sequence > committed_sequence_;
    if (left_out_) return;
    Delivery delivery = std::move(book.fresh.front());
    book.fresh.pop_front();
    UncountMemory(delivery);
    --search.look;
    book.cursor = delivery.sequence;
    switch (PlaceFor(book, delivery.recipient)) {
      case Place::kLease:
        LeaseOut(book, std::move(delivery), false, search);
        break;
      case Place::kHold:
        Hold(book, std::move(delivery));
        break;
      case Place::kPark:
        ParkRow(book, delivery.recipient, delivery.sequence);
        break;
    }
  }
}

// True: to the log's end.
bool Store::ReadLog(Book& book, Search& search) {
  Statement& scan = sql_->scan_log;
  scan.Start(RowKey(book.id, book.cursor), RowKey(book.id + 1, 0));
  bool ended = false;
  while (!search.full() && search.look > 0) {
    if (!scan.Next()) {
      ended = database_.ok();
      if (ended) book.rescan_until = 0;
      if (!ended) search.look = 0;
      break;
    }
    left_out_ = SequenceOf(scan.Int(0)) > committed_sequence_;
    if (left_out_) break;
    --search.look;
    book.cursor = SequenceOf(scan.Int(0));
    if (leases_.contains(scan.Int(0))) continue;  // by an earlier store of this run
    const std::uint64_t recipient = scan.Unsigned(1);
    const Place place = PlaceFor(book, recipient);
    if (place == Place::kPark) {
      ParkRow(book, recipient, book.cursor);
      continue;
    }
    Delivery delivery = ReadDelivery(scan);
    delivery.accepted_ms = FromStore(scan.Int(2));
    if (place == Place::kLease) {
      LeaseOut(book, std::move(delivery), false, search);
    } else {
      Hold(book, std::move(delivery));
    }
  }
  scan.Reset();
  return ended;
}

Store::Place Store::PlaceFor(Book& book, std::uint64_t recipient) {
  if (HasLane(book, recipient)) return Place::kPark;
  const auto found = book.recipients.find(recipient);
  if (found == book.recipients.end()) return Place::kLease;
  const Recipient& entry = found->second;
  if (entry.leased < Outbox::kLeasedPerRecipient && entry.held.empty()) return Place::kLease;
  if (entry.held.size() < kHeldPerRecipient && HasMemory()) return Place::kHold;
  SetLane(book, recipient, std::nullopt);
  return Place::kPark;
}

void Store::ParkRow(Book& book, std::uint64_t recipient, Sequence sequence) {
  Begin();
  sql_->park.Run(book.id, recipient, sequence);
  const auto found = book.recipients.find(recipient);
  if (found != book.recipients.end() && found->second.leased < Outbox::kLeasedPerRecipient)
    MakeReady(book, recipient);
}

void Store::LeaseOut(Book& book, Delivery delivery, bool parked, Search& search) {
  ++book.recipients[delivery.recipient].leased;
  search.bytes += EventBytes(*delivery.event);
  leases_.insert_or_assign(RowKey(delivery.endpoint, delivery.sequence), Lease{delivery, parked});
  search.taken.push_back(std::move(delivery));
}

std::optional<Store::Lease> Store::EndLease(Book& book, const Delivery& delivery) {
  auto node = leases_.extract(RowKey(delivery.endpoint, delivery.sequence));
  if (node.empty()) return std::nullopt;
  Recipient& entry = book.recipients[delivery.recipient];
  --entry.leased;
  if (!entry.held.empty() || HasLane(book, delivery.recipient)) MakeReady(book, delivery.recipient);
  Forget(book, delivery.recipient);
  return std::move(node.mapped());
}

void Store::MakeReady(Book& book, std::uint64_t recipient) {
  Recipient& entry = book.recipients[recipient];
  if (std::exchange(entry.ready, true)) return;
  book.ready.push_back(recipient);
}

// Entries exist for recipients of which there is something to say.
void Store::Forget(Book& book, std::uint64_t recipient) {
  const auto found = book.recipients.find(recipient);
  if (found == book.recipients.end()) return;
  const Recipient& entry = found->second;
  if (entry.leased == 0 && entry.held.empty() && !entry.ready) book.recipients.erase(found);
}

void Store::Hold(Book& book, Delivery delivery) {
  CountMemory(delivery);
  std::vector<Delivery>& held = book.recipients[delivery.recipient].held.deliveries;
  const std::size_t first = book.recipients[delivery.recipient].held.first;
  // What is given back belongs before what came later.
  const auto place = std::upper_bound(
      held.begin() + static_cast<std::ptrdiff_t>(first), held.end(), delivery,
      [](const Delivery& a, const Delivery& b) { return a.sequence < b.sequence; });
  held.insert(place, std::move(delivery));
}

void Store::Remember(Book& book, Delivery delivery) {
  if (!book.caught_up) return;
  if (!HasMemory()) {
    book.caught_up = false;
    return;
  }
  CountMemory(delivery);
  book.fresh.push_back(std::move(delivery));
}

bool Store::HasMemory() const {
  return memory_deliveries_ < options_.memory_deliveries && memory_bytes_ < options_.memory_bytes;
}

void Store::CountMemory(const Delivery& delivery) {
  ++memory_deliveries_;
  memory_bytes_ += EventBytes(*delivery.event);
}

void Store::UncountMemory(const Delivery& delivery) {
  --memory_deliveries_;
  memory_bytes_ -= EventBytes(*delivery.event);
}

}  // namespace offline_post
