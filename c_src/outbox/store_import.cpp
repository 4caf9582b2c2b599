// The store's import: what another node's file has left, with how far that file was read.
#include <algorithm>
#include <utility>

#include "outbox/store.hpp"

namespace offline_post {

// Which positions there are. The table is made when it is needed and is no part of the schema:
// versions that do not know it read the file all the same.
ImportPosition Store::PositionOf(const ImportedRows& rows) {
  if (database_.Query("SELECT count(*) FROM sqlite_master WHERE name = 'imported'") == 0) return {};
  Statement found(database_,
                  "SELECT pending, dead FROM imported WHERE source = ?1 AND endpoint = ?2");
  found.Start(rows.source, rows.endpoint);
  if (!found.Next()) return {};
  const ImportPosition position{found.Unsigned(0), found.Unsigned(1)};
  found.Reset();
  return position;
}

ImportDone Store::Import(const ImportedRows& rows) {
  ImportDone done;
  done.tag = rows.tag;
  done.endpoint = rows.endpoint;
  done.position = PositionOf(rows);
  if (rows.position.pending <= done.position.pending && rows.position.dead <= done.position.dead) {
    return done;  // a question
  }
  Begin();
  Book& book = BookOf(rows.endpoint);
  for (const Delivery& delivery : rows.pending) {
    InsertLog(delivery);
    const std::uint64_t bytes = EventBytes(*delivery.event);
    book.counters.pending_bytes += bytes;
    done.bytes += bytes;
    // Its attempts stand where a retry's do; and it need not wait.
    if (delivery.attempts == 0) continue;
    KeepParked(book, delivery);
    SetLane(book, delivery.recipient, clock_.MonotonicMs());
  }
  for (const DeadLetter& letter : rows.dead) {
    const Millis age_ms = std::max<Millis>(0, clock_.UnixMs() - letter.died_unix_ms);
    InsertDead(letter.delivery, letter.note, letter.died_unix_ms, clock_.MonotonicMs() - age_ms);
    done.dead_bytes += EventBytes(*letter.delivery.event);
    last_sequence_ = std::max(last_sequence_, letter.delivery.sequence);
  }
  done.pending = rows.pending.size();
  done.dead = rows.dead.size();
  done.position = rows.position;
  book.counters.accepted += done.pending + done.dead;
  book.counters.dead += done.dead;
  MarkChanged(book);
  if (done.pending > 0) book.caught_up = false;  // they are read from the file
  appended_ += done.pending + done.dead;
  database_.Exec(
      "CREATE TABLE IF NOT EXISTS imported("
      " source TEXT NOT NULL, endpoint INTEGER NOT NULL, pending INTEGER NOT NULL,"
      " dead INTEGER NOT NULL, PRIMARY KEY (source, endpoint)) WITHOUT ROWID");
  Statement remember(database_, "INSERT OR REPLACE INTO imported VALUES (?1, ?2, ?3, ?4)");
  remember.Run(rows.source, rows.endpoint, rows.position.pending, rows.position.dead);
  return done;
}

}  // namespace offline_post
