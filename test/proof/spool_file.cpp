#include "spool_file.hpp"

#include <sqlite3.h>

#include <filesystem>
#include <stdexcept>

namespace offline_post::proof {

SpoolFile::SpoolFile(const std::string& directory) {
  const std::string path = directory + "/mod_offline_post.db";
  if (!std::filesystem::exists(path)) return;
  if (sqlite3_open_v2(path.c_str(), &database_, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) {
    throw std::runtime_error("cannot open " + path);
  }
}

SpoolFile::~SpoolFile() { sqlite3_close(database_); }

std::string SpoolFile::Text(const std::string& query) const {
  sqlite3_stmt* statement = nullptr;
  std::string text = "no answer";
  if (sqlite3_prepare_v2(database_, query.c_str(), -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    const unsigned char* bytes = sqlite3_column_text(statement, 0);
    text = bytes == nullptr ? "" : reinterpret_cast<const char*>(bytes);
  } else {
    text = sqlite3_errmsg(database_);
  }
  sqlite3_finalize(statement);
  return text;
}

std::int64_t SpoolFile::Rows(const std::string& table) const {
  return std::stoll(Text("SELECT count(*) FROM " + table));
}

std::string SpoolFile::Fault() const {
  // Killed before the schema was there.
  if (Text("SELECT count(*) FROM sqlite_master") == "0") return "";
  if (const std::string check = Text("PRAGMA integrity_check"); check != "ok") return check;
  const std::string books = Text(
      "SELECT coalesce(sum(accepted - delivered - dead - cancelled - purged), 0) FROM endpoint");
  const std::string rows = Text("SELECT count(*) FROM log");
  if (books != rows) return "pending by the counters " + books + ", by the rows " + rows;
  const std::string strangers = Text(
      "SELECT count(*) FROM parked WHERE endpoint << 44 | sequence NOT IN (SELECT key FROM log)");
  if (strangers != "0") return strangers + " parked rows without an event";
  const std::string dead = Text("SELECT coalesce(sum(dead), 0) FROM endpoint");
  const std::string letters = Text("SELECT count(*) FROM dead");
  if (dead != letters) return "dead by the counters " + dead + ", by the rows " + letters;
  return "";
}

}  // namespace offline_post::proof
