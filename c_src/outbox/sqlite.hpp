// Database and Statement: a SQLite connection that closes itself, and its prepared statements.
//
// The first error sticks: later statements do nothing and find nothing, until ForgetError. So a
// whole transaction is written down plainly, and asked once whether it went well.
//
// Threads: one at a time.
#pragma once

#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace offline_post {

class Database {
 public:
  Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // An existing file. `vfs`: empty for the default. `busy_ms`: how long to wait for a lock.
  void Open(const std::string& path, const std::string& vfs, int busy_ms);
  void Exec(const char* sql);
  void Exec(const std::string& sql) { Exec(sql.c_str()); }
  // The first column of the first row; 0 without one.
  std::int64_t Query(const char* sql);
  // Rows that the last statement inserted, changed or deleted.
  std::int64_t Changes() const { return sqlite3_changes64(handle_.get()); }

  bool ok() const { return code_ == SQLITE_OK; }
  int code() const { return code_ & 0xff; }                // primary
  const std::string& message() const { return message_; }  // of the first error
  void Fail(int code);
  void ForgetError() { code_ = SQLITE_OK; }

  sqlite3* handle() const { return handle_.get(); }

 private:
  struct Closer {
    void operator()(sqlite3* handle) const noexcept { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Closer> handle_;
  int code_ = SQLITE_OK;  // extended
  std::string message_;
};

// Outlived by its Database. Texts are not copied: they must live until the next Start or Run.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  Statement(Database& database, const std::string& sql) : Statement(database, sql.c_str()) {}

  // Runs it to its end.
  template <typename... Values>
  void Run(const Values&... values) {
    Start(values...);
    while (Next()) {
    }
  }
  // Rows follow by Next; what is left of them may be given up by Reset.
  template <typename... Values>
  void Start(const Values&... values) {
    Reset();
    [[maybe_unused]] int index = 0;
    (Bind(++index, values), ...);
  }
  bool Next();
  void Reset() { sqlite3_reset(statement_.get()); }

  std::int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::uint64_t Unsigned(int column) const { return static_cast<std::uint64_t>(Int(column)); }
  bool IsNull(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
  }
  std::string Text(int column) const { return std::string(View(column)); }
  // Lives until the next Next, Start, Run or Reset.
  std::string_view View(int column) const;

 private:
  // Unsigned 64-bit values keep their bits; SQLite's integers are signed.
  template <std::integral T>
  void Bind(int index, T value) {
    sqlite3_bind_int64(statement_.get(), index, static_cast<std::int64_t>(value));
  }
  void Bind(int index, std::string_view text);
  void Bind(int index, std::nullopt_t) { sqlite3_bind_null(statement_.get(), index); }

  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
  };
  Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

}  // namespace offline_post
