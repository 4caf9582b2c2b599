#include "outbox/store_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

namespace offline_post {

namespace {

// log: rows are inserted and deleted, and hardly ever changed; key = endpoint << 44 | sequence, so
// one tree holds all endpoints, each in order, and needs no other index. parked: which rows of the
// log wait for their recipient, and how often they were tried. lane: one row per recipient that has
// parked rows; due_ms null: it may go on at once. Times ending in _ms are store time (see
// StoreTime), those in _unix_ms the wall clock's.
constexpr const char* kVersion1 = R"(
  PRAGMA application_id = 1836019823;
  CREATE TABLE run(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store_ms INTEGER NOT NULL, commits INTEGER NOT NULL, last_sequence INTEGER NOT NULL);
  INSERT INTO run VALUES (1, 0, 0, 0);
  CREATE TABLE endpoint(
    id INTEGER PRIMARY KEY, vhost TEXT NOT NULL, module TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
    purged INTEGER NOT NULL DEFAULT 0, pending_bytes INTEGER NOT NULL DEFAULT 0,
    pause INTEGER NOT NULL DEFAULT 0, paused_url INTEGER NOT NULL DEFAULT 0,
    UNIQUE (vhost, module));
  CREATE TABLE log(
    key INTEGER PRIMARY KEY, recipient INTEGER NOT NULL, accepted_ms INTEGER NOT NULL,
    event_id TEXT NOT NULL, event_unix_ms INTEGER NOT NULL,
    to_user TEXT NOT NULL, to_server TEXT NOT NULL, to_resource TEXT NOT NULL,
    from_user TEXT NOT NULL, from_server TEXT NOT NULL, from_resource TEXT NOT NULL,
    message_id TEXT NOT NULL, body TEXT NOT NULL);
  CREATE TABLE parked(
    endpoint INTEGER NOT NULL, recipient INTEGER NOT NULL, sequence INTEGER NOT NULL,
    attempts INTEGER NOT NULL, misconfigured INTEGER NOT NULL,
    delivered_at_misconfigured INTEGER NOT NULL,
    PRIMARY KEY (endpoint, recipient, sequence)) WITHOUT ROWID;
  CREATE TABLE lane(
    endpoint INTEGER NOT NULL, recipient INTEGER NOT NULL, due_ms INTEGER,
    PRIMARY KEY (endpoint, recipient)) WITHOUT ROWID;
  CREATE INDEX lane_due ON lane(endpoint, due_ms);
  CREATE TABLE dead(
    key INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL, died_ms INTEGER NOT NULL,
    died_unix_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, status INTEGER NOT NULL,
    reason TEXT NOT NULL, answer TEXT NOT NULL,
    recipient INTEGER NOT NULL, accepted_ms INTEGER NOT NULL,
    event_id TEXT NOT NULL, event_unix_ms INTEGER NOT NULL,
    to_user TEXT NOT NULL, to_server TEXT NOT NULL, to_resource TEXT NOT NULL,
    from_user TEXT NOT NULL, from_server TEXT NOT NULL, from_resource TEXT NOT NULL,
    message_id TEXT NOT NULL, body TEXT NOT NULL);
  CREATE INDEX dead_died ON dead(endpoint, died_ms);
  CREATE INDEX dead_event ON dead(event_id);
)";

// What makes an event more than a text message. SQLite adds the columns without touching a row.
// EventBytes does not count what their defaults are: pending_bytes stays as it is.
// withdrawal: what an endpoint's deliveries up to a sequence are withdrawn by.
constexpr const char* kVersion2 = R"(
  ALTER TABLE log ADD COLUMN kind TEXT NOT NULL DEFAULT 'text';
  ALTER TABLE log ADD COLUMN topic INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE log ADD COLUMN stands_for INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE log ADD COLUMN attributes TEXT NOT NULL DEFAULT '';
  ALTER TABLE dead ADD COLUMN kind TEXT NOT NULL DEFAULT 'text';
  ALTER TABLE dead ADD COLUMN topic INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE dead ADD COLUMN stands_for INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE dead ADD COLUMN attributes TEXT NOT NULL DEFAULT '';
  CREATE TABLE withdrawal(
    endpoint INTEGER NOT NULL, key INTEGER NOT NULL, until INTEGER NOT NULL, how INTEGER NOT NULL,
    PRIMARY KEY (endpoint, key)) WITHOUT ROWID;
)";

// What the numbers of recipients and topics were made with (Store::ChooseHashKey); zeros: no key.
constexpr const char* kVersion3 = R"(
  ALTER TABLE run ADD COLUMN hash_key_0 INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE run ADD COLUMN hash_key_1 INTEGER NOT NULL DEFAULT 0;
)";

// Failures between which the origin delivered others (Delivery::failures).
constexpr const char* kVersion4 = R"(
  ALTER TABLE parked ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE parked ADD COLUMN delivered_at_failure INTEGER NOT NULL DEFAULT 0;
)";

// As EventBytes counts, for the bound of dead letters in bytes; 0: of an earlier version, and not
// counted. The index has what the sum needs, which would else read each row whole.
constexpr const char* kVersion5 = R"(
  ALTER TABLE dead ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX dead_counted ON dead(endpoint, died_ms, bytes) WHERE bytes > 0;
)";

constexpr std::array kMigrations = {kVersion1, kVersion2, kVersion3, kVersion4, kVersion5};

std::string DirectoryOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::optional<StoreFault> CreateFile(const std::string& path) {
  // SQLite would create it with the process's umask; the write-ahead log takes the file's mode
  // over.
  const int fd = open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) {
    fchmod(fd, 0600);
    close(fd);
    SyncDirectory(path);
    return std::nullopt;
  }
  const int error = errno;
  if (error == EEXIST) {
    struct stat found {};
    if (stat(path.c_str(), &found) == 0 && (found.st_mode & 077U) != 0) chmod(path.c_str(), 0600);
    return std::nullopt;
  }
  std::string advice = "check the disk";
  if (error == ENOENT || error == ENOTDIR) advice = "create the directory, or correct spool_dir";
  if (error == EACCES || error == EPERM || error == EROFS)
    advice = "let the user that runs ejabberd write there, or set another spool_dir";
  if (error == ENOSPC || error == EDQUOT) advice = "the disk is full: free some space";
  return StoreFault{
      false, "cannot create the spool " + path + " (" + SystemReason(error) + "): " + advice};
}

void Configure(Database& database) {
  database.Exec("PRAGMA auto_vacuum = INCREMENTAL");  // counts only while the file is empty
  database.Exec("PRAGMA journal_mode = WAL");
  database.Exec("PRAGMA synchronous = FULL");
  database.Exec("PRAGMA secure_delete = FAST");
  database.Exec("PRAGMA cache_size = -8000");  // KiB
  database.Exec("PRAGMA temp_store = MEMORY");
  // Pages of the log that are copied back at once: rarer costs fewer fsyncs, more makes a longer
  // pause and a larger file.
  database.Exec("PRAGMA wal_autocheckpoint = 4000");
  database.Exec("PRAGMA journal_size_limit = 33554432");  // bytes
}

}  // namespace

// A directory keeps its new names only when it was itself synchronised.
void SyncDirectory(const std::string& path) {
  const int fd = open(DirectoryOf(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

std::span<const char* const> StoreMigrations() { return kMigrations; }

StoreFault FaultOf(const Database& database, const std::string& path) {
  const std::string what = "the spool " + path + ": " + database.message();
  switch (database.code()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {true, what};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {false, what +
                         ": another process uses it; stop that one, or give each node its own "
                         "spool_dir"};
    case SQLITE_FULL:
      return {false, what + ": free some space on the disk"};
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return {false, what +
                         ": let the user that runs ejabberd write the file and its directory, or "
                         "set another spool_dir"};
    case SQLITE_IOERR:
      return {false, what + ": check the disk, and the kernel's log"};
    default:
      return {false, what};
  }
}

void Migrate(Database& database, std::span<const char* const> steps) {
  const std::int64_t version = database.Query("PRAGMA user_version");
  for (auto step = static_cast<std::size_t>(version); step < steps.size(); ++step) {
    database.Exec("BEGIN IMMEDIATE");
    database.Exec(steps[step]);
    database.Exec("PRAGMA user_version = " + std::to_string(step + 1));
    database.Exec("COMMIT");
  }
}

std::optional<StoreFault> OpenStoreFile(Database& database, const std::string& path,
                                        const std::string& vfs, int busy_ms) {
  if (auto fault = CreateFile(path)) return fault;
  database.Open(path, vfs, busy_ms);
  // Before WAL: its index then lives in memory, without a file beside the log.
  database.Exec("PRAGMA locking_mode = EXCLUSIVE");
  const std::int64_t tables = database.Query("SELECT count(*) FROM sqlite_master");
  const std::int64_t version = database.Query("PRAGMA user_version");
  const std::int64_t application = database.Query("PRAGMA application_id");
  if (!database.ok()) return FaultOf(database, path);
  if (tables > 0 && application != kApplicationId) {
    return StoreFault{false, "the spool " + path +
                                 " is another program's database: move it away, or set another "
                                 "spool_dir"};
  }
  const auto known = static_cast<std::int64_t>(kMigrations.size());
  if (version > known) {
    return StoreFault{false, "the spool " + path + " was written by a newer version (schema " +
                                 std::to_string(version) + ", this one knows " +
                                 std::to_string(known) +
                                 "): install that version again, or move the file away"};
  }
  Configure(database);
  Migrate(database, kMigrations);
  if (!database.ok()) return FaultOf(database, path);
  return std::nullopt;
}

std::optional<std::string> SetAside(const std::string& path, Millis unix_ms) {
  // A second within the same second must not replace the first.
  std::string name;
  for (int n = 0; n < 1'000; ++n) {
    name = path + ".corrupt-" + std::to_string(unix_ms / 1'000) +
           (n == 0 ? "" : "-" + std::to_string(n));
    if (access(name.c_str(), F_OK) != 0) break;
  }
  if (std::rename(path.c_str(), name.c_str()) != 0) return std::nullopt;
  for (const char* suffix : {"-wal", "-journal"}) {
    static_cast<void>(std::rename((path + suffix).c_str(), (name + suffix).c_str()));
  }
  SyncDirectory(path);
  return name;
}

}  // namespace offline_post
