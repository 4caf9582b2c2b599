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
  letter.delivery.event = ReadEvent(row, 9);
  return letter;
}

// As offline_post::Matches, of a row that is not read for it.
bool IsMeant(const Statement& row, const DeadFilter& filter) {
  return row.View(4).starts_with(filter.reason) &&
         filter.IsFor(RecipientKey(row.View(11), row.View(12)), SequenceOf(row.Int(0)));
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
    if (looked == kLookDead || found.size() == visit.limit || visited.bytes >= kSliceBytes) {
      visited.next = last;
      break;
    }
    last = SequenceOf(rows.Int(0));
    if (!IsMeant(rows, visit.filter)) continue;
    found.push_back(ReadLetter(rows, visit.endpoint));
    found.back().delivery.accepted_ms = FromStore(rows.Int(7));
    visited.bytes += EventBytes(*found.back().delivery.event);
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

std::uint64_t Store::PurgeDead(EndpointId endpoint, Millis died_before_ms, std::uint64_t excess,
                               std::size_t limit) {
  Book& book = BookOf(endpoint);
  if (book.counters.dead == 0 && !in_transaction_) return 0;
  Begin();
  const std::uint64_t first = std::min<std::uint64_t>(excess, limit);
  std::uint64_t purged = 0;
  if (first > 0) {
    sql_->oldest_dead.Run(endpoint, first);
    purged = static_cast<std::uint64_t>(database_.Changes());
  }
  if (purged < limit) {
    sql_->older_dead.Run(endpoint, limit - purged, ToStore(died_before_ms));
    purged += static_cast<std::uint64_t>(database_.Changes());
  }
  MarkChanged(book);
  book.counters.dead -= purged;
  book.counters.purged += purged;
  return purged;
}

}  // namespace offline_post
