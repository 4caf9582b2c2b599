// SpoolFile: looks into a spool that no process has open, by nothing but SQLite, so that it shares
// no mistake with the code under proof.
#pragma once

#include <cstdint>
#include <string>

struct sqlite3;

namespace offline_post::proof {

class SpoolFile {
 public:
  // Recovers the file as any reader would.
  explicit SpoolFile(const std::string& directory);
  ~SpoolFile();
  SpoolFile(const SpoolFile&) = delete;
  SpoolFile& operator=(const SpoolFile&) = delete;

  bool there() const { return database_ != nullptr; }
  std::int64_t Rows(const std::string& table) const;
  // What is wrong with it: SQLite's own check, and the law between counters and rows. Empty:
  // nothing.
  std::string Fault() const;

 private:
  std::string Text(const std::string& query) const;

  sqlite3* database_ = nullptr;
};

}  // namespace offline_post::proof
