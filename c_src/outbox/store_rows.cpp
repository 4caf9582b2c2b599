#include "outbox/store_rows.hpp"

#include "outbox/attributes.hpp"

namespace offline_post {

#define EVENT_COLUMNS                                                                 \
  "event_id, event_unix_ms, to_user, to_server, to_resource, from_user, from_server," \
  " from_resource, message_id, body, kind, topic, attributes"

const char* const kEventColumns = EVENT_COLUMNS;

std::shared_ptr<const Event> ReadEvent(const Statement& row, int column) {
  auto event = std::make_shared<Event>();
  event->id = row.Text(column);
  event->accepted_unix_ms = row.Int(column + 1);
  event->to = {row.Text(column + 2), row.Text(column + 3), row.Text(column + 4)};
  event->from = {row.Text(column + 5), row.Text(column + 6), row.Text(column + 7)};
  event->message_id = row.Text(column + 8);
  event->body = row.Text(column + 9);
  event->kind = row.Text(column + 10);
  event->topic = row.Unsigned(column + 11);
  event->attributes = ReadAttributes(row.View(column + 12));
  return event;
}

StoreStatements::StoreStatements(Database& db)
    : begin(db, "BEGIN IMMEDIATE"),
      commit(db, "COMMIT"),
      save_run(db, "UPDATE run SET store_ms = ?1, commits = ?2, last_sequence = ?3 WHERE id = 1"),
      add_endpoint(db, "INSERT OR IGNORE INTO endpoint(id, vhost, module) VALUES (?1, ?2, ?3)"),
      save_endpoint(db,
                    "UPDATE endpoint SET accepted = ?2, delivered = ?3, dead = ?4, cancelled = ?5,"
                    " purged = ?6, pending_bytes = ?7, pause = ?8, paused_url = ?9 WHERE id = ?1"),
      set_withdrawal(db, "INSERT OR REPLACE INTO withdrawal VALUES (?1, ?2, ?3, ?4)"),
      clear_withdrawals(db, "DELETE FROM withdrawal WHERE endpoint = ?1"),
      add_log(db,
              "INSERT OR IGNORE INTO log(key, recipient, accepted_ms, stands_for, " EVENT_COLUMNS
              ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
              " ?17)"),
      scan_log(db, "SELECT key, recipient, accepted_ms, stands_for, " EVENT_COLUMNS
                   " FROM log WHERE key > ?1 AND key < ?2 ORDER BY key"),
      get_log(db, "SELECT key, recipient, accepted_ms, stands_for, " EVENT_COLUMNS
                  " FROM log WHERE key = ?1"),
      set_stands_for(db, "UPDATE log SET stands_for = ?2 WHERE key = ?1 AND stands_for <> ?2"),
      set_recipient(db, "UPDATE log SET recipient = ?2 WHERE key = ?1"),
      oldest(db, "SELECT accepted_ms FROM log WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT 1"),
      drop_log(db, "DELETE FROM log WHERE key BETWEEN ?1 AND ?2"),
      park(db, "INSERT OR IGNORE INTO parked VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0)"),
      repark(db, "INSERT OR REPLACE INTO parked VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
      unpark(db, "DELETE FROM parked WHERE endpoint = ?1 AND recipient = ?2 AND sequence = ?3"),
      parked_of(db,
                "SELECT sequence, attempts, misconfigured, delivered_at_misconfigured, failures,"
                " delivered_at_failure FROM parked"
                " WHERE endpoint = ?1 AND recipient = ?2 ORDER BY sequence"),
      set_lane(db,
               "INSERT INTO lane VALUES (?1, ?2, ?3)"
               " ON CONFLICT DO UPDATE SET due_ms = excluded.due_ms"),
      lane_due_of(db, "SELECT due_ms FROM lane WHERE endpoint = ?1 AND recipient = ?2"),
      hasten_lane(db,
                  "UPDATE lane SET due_ms = 0 WHERE endpoint = ?1 AND recipient = ?2"
                  " AND due_ms IS NOT NULL"),
      hasten_lanes(db,
                   "UPDATE lane SET due_ms = 0 WHERE endpoint = ?1 AND recipient IN (SELECT"
                   " recipient FROM lane WHERE endpoint = ?1 AND due_ms > ?2 ORDER BY due_ms"
                   " LIMIT ?3)"),
      drop_lane(db, "DELETE FROM lane WHERE endpoint = ?1 AND recipient = ?2"),
      due_lanes(db,
                "SELECT recipient FROM lane WHERE endpoint = ?1 AND due_ms <= ?2"
                " ORDER BY due_ms LIMIT ?3"),
      next_due(db,
               "SELECT due_ms FROM lane WHERE endpoint = ?1 AND due_ms IS NOT NULL"
               " ORDER BY due_ms LIMIT 1"),
      add_dead(db,
               "INSERT OR REPLACE INTO dead(key, endpoint, died_ms, died_unix_ms, attempts, status,"
               " reason, answer, recipient, accepted_ms, stands_for, bytes, " EVENT_COLUMNS
               ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
               " ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)"),
      scan_dead(db,
                "SELECT key, died_unix_ms, attempts, status, reason, answer, recipient,"
                " accepted_ms, stands_for, bytes, " EVENT_COLUMNS
                " FROM dead WHERE key > ?1 AND key < ?2 ORDER BY key"),
      find_dead(db,
                "SELECT key, died_unix_ms, attempts, status, reason, answer, recipient,"
                " accepted_ms, stands_for, bytes, " EVENT_COLUMNS
                " FROM dead WHERE event_id = ?3 AND key > ?1 AND key < ?2 ORDER BY key"),
      drop_dead(db, "DELETE FROM dead WHERE key = ?1"),
      oldest_dead(db,
                  "SELECT key, died_ms, bytes FROM dead WHERE endpoint = ?1 ORDER BY died_ms, key"
                  " LIMIT ?2"),
      oldest_counted(db,
                     "SELECT key, died_ms, bytes FROM dead WHERE endpoint = ?1 AND bytes > 0"
                     " ORDER BY died_ms LIMIT ?2"),
      bytes_of_dead(db, "SELECT sum(bytes) FROM dead WHERE endpoint = ?1 AND bytes > 0") {}

#undef EVENT_COLUMNS

}  // namespace offline_post
