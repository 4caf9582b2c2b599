// Rows: how events and keys stand in the store's tables, and the statements that move them.
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/outbox.hpp"
#include "model/dead_letter.hpp"
#include "model/delivery.hpp"
#include "outbox/sqlite.hpp"

namespace offline_post {

// A delivery's key in log and dead: its endpoint, then its sequence.
inline constexpr unsigned kSequenceBits = 44;
inline constexpr Sequence kSequenceMask = (Sequence{1} << kSequenceBits) - 1;
inline std::int64_t RowKey(EndpointId endpoint, Sequence sequence) {
  return static_cast<std::int64_t>((std::uint64_t{endpoint} << kSequenceBits) | sequence);
}
inline Sequence SequenceOf(std::int64_t key) { return static_cast<Sequence>(key) & kSequenceMask; }

// The thirteen columns of an event, as a list for SQL; and read, from `column` on.
extern const char* const kEventColumns;
std::shared_ptr<const Event> ReadEvent(const Statement& row, int column);

// Every statement that a running store needs, prepared once.
struct StoreStatements {
  explicit StoreStatements(Database& db);

  Statement begin, commit, save_run;
  Statement add_endpoint, save_endpoint;
  Statement set_withdrawal, clear_withdrawals;
  Statement add_log, scan_log, get_log, set_stands_for, set_recipient, oldest, drop_log;
  Statement park, repark, unpark, parked_of;
  Statement set_lane, lane_due_of, hasten_lane, hasten_lanes, drop_lane, due_lanes, next_due;
  Statement add_dead, scan_dead, find_dead, drop_dead, oldest_dead, oldest_counted, bytes_of_dead;
};

}  // namespace offline_post
