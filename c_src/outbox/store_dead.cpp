// The store's dead letters.
#include <algorithm>
#include <utility>

#include "outbox/store.hpp"

namespace offline_post {

namespace {

// Letters that one slice looks at, however few of them match.
constexpr std::size_t kLookDead = 2'000;

DeadLetter ReadLetter(const Statement& row, EndpointId endpoint) {
  DeadLetter letter;
  letter.delivery.endpoint = endpoint;
  letter.delivery.sequence = SequenceOf(row.Int(0));
  letter.died_unix_ms = row.Int(1);
  letter.delivery.attempts = static_cast<int>(row.Int(2));
  letter.note = {static_cast<int>(row.Int(3)), row.Text(4), row.Text(5)};
  letter.delivery.recipient = row.Unsigned(6);
  letter.delivery.stands_for = static_cast<std::uint32_t>(row.Unsigned(8));
  letter.delivery.event = ReadEvent(row, 10);
  return letter;
}

// As offline_post::Matches, of a row that is not read for it.
bool IsMeant(const Statement& row, const DeadFilter& filter) {
  return row.View(4).starts_with(filter.reason) &&
         filter.IsFor(RecipientKey(row.View(12), row.View(13)), SequenceOf(row.Int(0)));
}

}  // namespace

DeadVisited Store::VisitDead(const DeadVisit& visit) {
  Book& book = BookOf(visit.endpoint);
  DeadVisited visited;
  visited.tag = visit.tag;
  visited.endpoint = visit.endpoint;
  visited.act = visit.act;
  const std::int64_t first = RowKey(visit.endpoint, visit.after);
  const std::int64_t end =
      visit.before > 0 ? RowKey(visit.endpoint, visit.before) : RowKey(visit.endpoint + 1, 0);
  const bool by_id = !visit.filter.event_id.empty();
  Statement& rows = by_id ? sql_->find_dead : sql_->scan_dead;
  if (by_id) {
    rows.Start(first, end, visit.filter.event_id);
  } else {
    rows.Start(first, end);
  }
  std::vector<DeadLetter> found;
  Sequence last = visit.after;
  for (std::size_t looked = 0; rows.Next(); ++looked) {
    if (looked == kLookDead || found.size() == visit.limit || visited.bytes >= visit.bytes) {
      visited.next = last;
      break;
    }
    last = SequenceOf(rows.Int(0));
    if (!IsMeant(rows, visit.filter)) continue;
    found.push_back(ReadLetter(rows, visit.endpoint));
    found.back().delivery.accepted_ms = FromStore(rows.Int(7));
    visited.bytes += EventBytes(*found.back().delivery.event);
    if (visit.act != DeadAct::kShow) visited.dead_bytes += rows.Unsigned(9);
  }
  rows.Reset();

  visited.count = found.size();
  if (visit.act == DeadAct::kShow) {
    visited.letters = std::move(found);
    return visited;
  }
  if (found.empty()) return visited;
  Begin();
  MarkChanged(book);
  book.counters.dead -= found.size();
  if (visit.act == DeadAct::kDrop) {
    book.counters.cancelled += found.size();
  } else if (visit.act == DeadAct::kPurge) {
    book.counters.purged += found.size();
  } else {
    book.counters.pending_bytes += visited.bytes;
    book.caught_up = false;
    appended_ += found.size();
  }
  Sequence next = visit.first_sequence;
  for (DeadLetter& letter : found) {
    Delivery& delivery = letter.delivery;
    sql_->drop_dead.Run(RowKey(delivery.endpoint, delivery.sequence));
    if (visit.act != DeadAct::kReplay) continue;
    delivery.recipient = OrderingKeyOfReplayed(delivery);
    delivery.sequence = next++;
    delivery.accepted_ms = visit.accepted_ms;
    InsertLog(delivery);
  }
  return visited;
}

DeadPurged Store::PurgeDead(const DeadPurge& purge) {
  Book& book = BookOf(purge.endpoint);
  DeadPurged purged{purge.endpoint};
  if (book.counters.dead == 0 && !in_transaction_) return purged;
  const Millis before = ToStore(purge.died_before_ms);
  DropOldest(sql_->oldest_dead, purge, purged,
             [&](Millis died_ms) { return purged.count < purge.letters || died_ms < before; });
  if (!purged.more) {
    DropOldest(sql_->oldest_counted, purge, purged,
               [&](Millis /*died_ms*/) { return purged.bytes < purge.bytes; });
  }
  if (purged.count == 0) return purged;
  MarkChanged(book);
  book.counters.dead -= purged.count;
  book.counters.purged += purged.count;
  return purged;
}

// Of the rows in their order, as long as they go, what is left of the slice.
template <typename Goes>
void Store::DropOldest(Statement& rows, const DeadPurge& purge, DeadPurged& purged,
                       const Goes& goes) {
  std::vector<std::int64_t> keys;
  rows.Start(purge.endpoint, purge.limit - purged.count + 1);
  while (rows.Next() && goes(rows.Int(1))) {
    purged.more = purged.count == purge.limit || purged.bytes >= kSliceBytes;
    if (purged.more) break;
    keys.push_back(rows.Int(0));
    ++purged.count;
    purged.bytes += rows.Unsigned(2);
  }
  rows.Reset();
  if (keys.empty()) return;
  Begin();
  for (const std::int64_t key : keys) sql_->drop_dead.Run(key);
}

std::uint64_t Store::DeadBytes(EndpointId endpoint) {
  sql_->bytes_of_dead.Start(endpoint);
  const std::uint64_t bytes = sql_->bytes_of_dead.Next() ? sql_->bytes_of_dead.Unsigned(0) : 0;
  sql_->bytes_of_dead.Reset();
  return bytes;
}

}  // namespace offline_post
