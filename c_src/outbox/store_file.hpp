// The store's file: created with its mode, locked, checked, brought to the present schema, set
// aside when it is not intact.
//
// Threads: one at a time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "model/clock.hpp"
#include "outbox/sqlite.hpp"

namespace offline_post {

// Why a store cannot be used.
struct StoreFault {
  bool corrupt = false;  // set it aside
  std::string text;      // what failed, on what, what to do
};

// What an errno means, for an error's text.
inline std::string SystemReason(int error) { return std::generic_category().message(error); }

// "mopo": tells our file from any other SQLite database (PRAGMA application_id).
inline constexpr std::int64_t kApplicationId = 0x6d6f706f;

// One entry per schema version: what makes it of the one before. Only ever appended to.
std::span<const char* const> StoreMigrations();

// Creates the file where there is none, takes its lock for as long as the connection lives, and
// migrates it. Another process must not have it; nor another connection of this process (POSIX
// locks end when any descriptor of the file is closed).
std::optional<StoreFault> OpenStoreFile(Database& database, const std::string& path,
                                        const std::string& vfs, int busy_ms);

// Carries out what `steps` have beyond the file's version, each step in a transaction. The file
// must not be newer.
void Migrate(Database& database, std::span<const char* const> steps);

// What the database's first error means for its file.
StoreFault FaultOf(const Database& database, const std::string& path);

// Makes the names in the directory of `path` outlive a loss of power.
void SyncDirectory(const std::string& path);

// Renames the file, with its write-ahead log, to PATH.corrupt-<seconds>. The new name, or nothing
// where that failed. No connection may be open.
std::optional<std::string> SetAside(const std::string& path, Millis unix_ms);

}  // namespace offline_post
