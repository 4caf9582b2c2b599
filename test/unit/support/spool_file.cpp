#include "support/spool_file.hpp"

#include <array>
#include <filesystem>

#include "outbox/sqlite.hpp"

namespace offline_post::test {

namespace {

// As EventBytes counts, of a row.
#define EVENT_BYTES                                                                     \
  "512 + length(CAST(event_id AS BLOB)) + length(CAST(to_user AS BLOB))"                \
  " + length(CAST(to_server AS BLOB)) + length(CAST(to_resource AS BLOB))"              \
  " + length(CAST(from_user AS BLOB)) + length(CAST(from_server AS BLOB))"              \
  " + length(CAST(from_resource AS BLOB)) + length(CAST(message_id AS BLOB))"           \
  " + length(CAST(body AS BLOB)) + (SELECT"                                             \
  " coalesce(sum(64 + length(CAST(a.key AS BLOB)) + length(CAST(a.value AS BLOB))), 0)" \
  " FROM json_each(CASE attributes WHEN '' THEN '{}' ELSE attributes END) a)"

// Each finds rows where something is wrong.
constexpr std::array kFaults = {
    "SELECT 'law of endpoint ' || id FROM endpoint e WHERE accepted <> delivered + dead + cancelled"
    " + purged + (SELECT count(*) FROM log WHERE key >> 44 = e.id)",
    "SELECT 'dead of endpoint ' || id FROM endpoint e"
    " WHERE dead <> (SELECT count(*) FROM dead WHERE endpoint = e.id)",
    "SELECT 'bytes of endpoint ' || id FROM endpoint e WHERE pending_bytes <>"
    " (SELECT coalesce(sum(" EVENT_BYTES "), 0) FROM log WHERE log.key >> 44 = e.id)",
    "SELECT 'bytes of dead letter ' || dead.key FROM dead WHERE bytes NOT IN (0, " EVENT_BYTES ")",
    "SELECT 'parked without a row ' || sequence FROM parked"
    " WHERE NOT EXISTS (SELECT 1 FROM log WHERE key = (endpoint << 44) + sequence)",
    "SELECT 'parked under another ordering key ' || p.sequence FROM parked p JOIN log ON"
    " key = (p.endpoint << 44) + p.sequence WHERE log.recipient <> p.recipient",
    "SELECT 'parked without a lane ' || sequence FROM parked p WHERE NOT EXISTS"
    " (SELECT 1 FROM lane WHERE endpoint = p.endpoint AND recipient = p.recipient)",
    "SELECT 'both dead and pending ' || key FROM dead WHERE key IN (SELECT key FROM log)",
    "SELECT 'a row of no endpoint ' || key FROM log WHERE key >> 44 NOT IN (SELECT id FROM "
    "endpoint)",
    "SELECT 'sequence ' || key FROM log, run WHERE key & ((1 << 44) - 1) > last_sequence",
    "SELECT 'a withdrawal of no endpoint ' || key FROM withdrawal"
    " WHERE endpoint NOT IN (SELECT id FROM endpoint)",
    "SELECT 'a withdrawal of a strange kind ' || key FROM withdrawal WHERE how NOT IN (2, 3)",
    "SELECT quick_check FROM pragma_quick_check WHERE quick_check <> 'ok'",
};

#undef EVENT_BYTES

}  // namespace

std::string FaultsOfFile(const std::string& path) {
  Database database;
  database.Open(path, "", 5'000);
  std::string all;
  for (const char* sql : kFaults) {
    Statement fault(database, sql);
    while (fault.Next()) all += fault.Text(0) + "; ";
  }
  if (!database.ok()) all += database.message();
  return all;
}

std::string FaultsOfOpenFile(const std::string& path) {
  const std::string copy = path + ".copy";
  for (const char* suffix : {"", "-wal"}) {
    std::error_code missing;
    std::filesystem::remove(copy + suffix, missing);
    std::filesystem::copy_file(path + suffix, copy + suffix, missing);
  }
  return FaultsOfFile(copy);
}

long NumberFrom(const std::string& path, const std::string& sql) {
  Database database;
  database.Open(path, "", 5'000);
  return static_cast<long>(database.Query(sql.c_str()));
}

}  // namespace offline_post::test
