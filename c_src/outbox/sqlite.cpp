#include "outbox/sqlite.hpp"

namespace offline_post {

void Database::Open(const std::string& path, const std::string& vfs, int busy_ms) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                                       SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE,
                                   vfs.empty() ? nullptr : vfs.c_str());
  handle_.reset(raw);
  if (code != SQLITE_OK) {
    Fail(code);
    return;
  }
  sqlite3_busy_timeout(raw, busy_ms);
}

void Database::Exec(const char* sql) {
  if (!ok()) return;
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) Fail(code);
}

std::int64_t Database::Query(const char* sql) {
  Statement statement(*this, sql);
  return statement.Next() ? statement.Int(0) : 0;
}

void Database::Fail(int code) {
  if (!ok()) return;
  code_ = code;
  message_ = handle_ ? sqlite3_errmsg(handle_.get()) : sqlite3_errstr(code);
  // "disk I/O error" alone does not tell a failed read from a failed fsync.
  if (code != (code & 0xff)) message_ += " (SQLite code " + std::to_string(code) + ")";
}

Statement::Statement(Database& database, const char* sql) : database_(database) {
  if (!database.ok()) return;
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v3(database.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  statement_.reset(raw);
  if (code != SQLITE_OK) database.Fail(code);
}

bool Statement::Next() {
  if (!database_.ok()) {
    Reset();
    return false;
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_.Fail(code);
  Reset();
  return false;
}

std::string_view Statement::View(int column) const {
  // First the text, then its size: the other way round may count bytes of another encoding.
  const void* text = sqlite3_column_text(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (text == nullptr) return {};
  return {static_cast<const char*>(text), static_cast<std::size_t>(size)};
}

void Statement::Bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_.get(), index, text.empty() ? "" : text.data(), text.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
}

}  // namespace offline_post
