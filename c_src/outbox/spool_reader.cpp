#include "outbox/spool_reader.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <system_error>
#include <utility>

#include "outbox/store_file.hpp"
#include "outbox/store_rows.hpp"

namespace offline_post {

namespace {

constexpr const char* kLog = "-wal";
constexpr const char* kImported = ".imported";

// Tells nothing of a file but who it is: a file that this process has open must not be opened and
// closed beside SQLite, for that ends its locks.
std::optional<struct stat> Look(const std::string& path) {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0) return std::nullopt;
  return found;
}

Status CheckPath(const std::string& path, const std::string& own) {
  const auto found = Look(path);
  if (!found) return Invalid("cannot find the spool " + path + " (" + SystemReason(errno) + ")");
  if (!S_ISREG(found->st_mode)) return Invalid(path + " is not a file");
  const auto ours = own.empty() ? std::nullopt : Look(own);
  if (ours && ours->st_dev == found->st_dev && ours->st_ino == found->st_ino) {
    return Invalid(path + " is this node's own spool: it delivers what is in it anyway");
  }
  return std::nullopt;
}

bool Copy(Database& from, Database& to) {
  to.Open("", "", 0);  // a file without a name, which SQLite deletes when it is closed
  if (!to.ok()) return false;
  sqlite3_backup* copy = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  if (copy == nullptr) {
    to.Fail(sqlite3_errcode(to.handle()));
    return false;
  }
  sqlite3_backup_step(copy, -1);
  const int code = sqlite3_backup_finish(copy);
  if (code != SQLITE_OK) to.Fail(code);
  return to.ok();
}

}  // namespace

Result<std::unique_ptr<SpoolReader>> SpoolReader::Open(const std::string& path,
                                                       const std::string& own, const Clock& clock) {
  if (auto wrong = CheckPath(path, own)) return *wrong;
  std::unique_ptr<SpoolReader> reader(new SpoolReader(path, clock));
  if (auto wrong = reader->OpenFile()) return *wrong;
  reader->Load();
  if (!reader->database_->ok()) return reader->Trouble();
  return reader;
}

SpoolReader::~SpoolReader() {
  // What its node has written and not yet copied back stays where it is. An empty log is ours.
  if (file_.handle() != nullptr && had_log_)
    sqlite3_db_config(file_.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

Error SpoolReader::Trouble() const {
  const Database& failed = file_.ok() ? copy_ : file_;
  const std::string what = "the spool " + path_ + ": " + failed.message();
  switch (failed.code()) {
    case SQLITE_CORRUPT:
      return {Error::Kind::kUnavailable, what + ". What is left of it: sqlite3 FILE .dump"};
    case SQLITE_NOTADB:
      return Invalid(path_ + " is no spool of mod_offline_post");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Invalid(what +
                     ": a node that runs has it, or another program. Only the file of a node "
                     "that is stopped can be imported");
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return Invalid(what +
                     ": let the user that runs ejabberd read and write the file and its directory, "
                     "so that it can be locked");
    default:
      return {Error::Kind::kUnavailable, what};
  }
}

Status SpoolReader::OpenFile() {
  const auto log = Look(path_ + kLog);
  had_log_ = log && log->st_size > 0;
  file_.Open(path_, "", 0);
  if (file_.ok() && sqlite3_db_readonly(file_.handle(), "main") != 0) file_.Fail(SQLITE_READONLY);
  file_.Exec("PRAGMA locking_mode = EXCLUSIVE");  // see OpenStoreFile
  file_.Exec("PRAGMA query_only = ON");
  const std::int64_t application = file_.Query("PRAGMA application_id");
  const auto known = static_cast<std::int64_t>(StoreMigrations().size());
  const std::int64_t version = file_.Query("PRAGMA user_version");
  file_.Query("SELECT count(*) FROM sqlite_master");  // takes the lock
  if (!file_.ok()) return Trouble();
  if (application != kApplicationId || version < 1) {
    return Invalid(path_ + " is no spool of mod_offline_post");
  }
  if (version > known) {
    return Invalid("the spool " + path_ + " was written by a newer version (schema " +
                   std::to_string(version) + ", this one knows " + std::to_string(known) +
                   "): import it on a node with that version");
  }
  if (version == known) return std::nullopt;
  database_ = &copy_;
  if (!Copy(file_, copy_)) return Trouble();
  Migrate(copy_, StoreMigrations());
  copy_.Exec("PRAGMA query_only = ON");
  return copy_.ok() ? Status() : Trouble();
}

void SpoolReader::Load() {
  Database& db = *database_;
  Statement run(db, "SELECT hash_key_0, hash_key_1, store_ms, commits, last_sequence FROM run");
  if (run.Next()) {
    hash_key_ = {run.Unsigned(0), run.Unsigned(1)};
    for (int column = 0; column < 5; ++column) source_ += std::to_string(run.Int(column)) + " ";
    run.Reset();
  }
  // Files of an older version have no key that tells them apart; ids are unique everywhere.
  Statement ends(db,
                 "SELECT event_id FROM log WHERE key IN (SELECT min(key) FROM log UNION"
                 " SELECT max(key) FROM log) UNION ALL SELECT event_id FROM dead WHERE key IN"
                 " (SELECT min(key) FROM dead UNION SELECT max(key) FROM dead)");
  while (ends.Next()) source_ += ends.Text(0) + " ";

  Statement all(db,
                "SELECT id, vhost, module, accepted - delivered - cancelled - purged FROM endpoint"
                " ORDER BY id");
  while (all.Next()) {
    endpoints_.push_back(
        {static_cast<EndpointId>(all.Int(0)), {all.Text(1), all.Text(2)}, all.Unsigned(3)});
  }
  Statement marks(db, "SELECT endpoint, key, until, how FROM withdrawal");
  while (marks.Next()) {
    withdrawals_[static_cast<EndpointId>(marks.Int(0))].Add(
        {marks.Unsigned(1), marks.Unsigned(2), static_cast<Final>(marks.Int(3))});
  }
}

std::uint64_t SpoolReader::CountUntil(EndpointId endpoint, ImportPosition until) {
  Statement count(*database_,
                  "SELECT (SELECT count(*) FROM log WHERE key > ?1 AND key <= ?2) +"
                  " (SELECT count(*) FROM dead WHERE key > ?1 AND key <= ?3)");
  count.Start(RowKey(endpoint, 0), RowKey(endpoint, until.pending), RowKey(endpoint, until.dead));
  return count.Next() ? count.Unsigned(0) : 0;
}

// As the engine judges what was accepted before a withdrawal.
bool SpoolReader::IsWithdrawn(EndpointId endpoint, const Delivery& delivery) const {
  const auto found = withdrawals_.find(endpoint);
  if (found == withdrawals_.end()) return false;
  const Event& event = *delivery.event;
  const auto marked = [&](Marked what, std::uint64_t key) {
    return found->second.Find(MarkKey(what, key), delivery.sequence).has_value();
  };
  if (marked(Marked::kRecipient, RecipientKey(hash_key_, event.to.user, event.to.server)))
    return true;
  return event.topic != 0 && (marked(Marked::kTopic, event.topic) ||
                              (!EndsCall(event) && marked(Marked::kSuperseded, event.topic)));
}

// Times in the file are the wall clock's when the node started, and go on from there.
Millis SpoolReader::AgeMs(Millis unix_ms) const {
  return std::max<Millis>(0, clock_.UnixMs() - unix_ms);
}

Result<SpoolReader::Slice> SpoolReader::Read(EndpointId endpoint, ImportPosition after,
                                             std::size_t limit) {
  Slice slice;
  slice.position = after;
  ReadPending(endpoint, after.pending, limit, slice);
  if (slice.ended) {
    slice.ended = false;
    ReadDead(endpoint, after.dead, limit - slice.pending.size(), slice);
  }
  if (!database_->ok()) return Trouble();
  return slice;
}

void SpoolReader::ReadPending(EndpointId endpoint, Sequence after, std::size_t limit,
                              Slice& slice) {
  Statement rows(*database_, std::string("SELECT log.key, log.accepted_ms, log.stands_for,"
                                         " coalesce(parked.attempts, 0), ") +
                                 kEventColumns +
                                 " FROM log LEFT JOIN parked ON parked.endpoint = ?3"
                                 " AND parked.recipient = log.recipient"
                                 " AND parked.sequence = log.key - ?4"
                                 " WHERE log.key > ?1 AND log.key < ?2 ORDER BY log.key LIMIT ?5");
  rows.Start(RowKey(endpoint, after), RowKey(endpoint + 1, 0), endpoint, RowKey(endpoint, 0),
             limit);
  std::size_t read = 0;
  std::size_t bytes = 0;
  for (; bytes < kSliceBytes && rows.Next(); ++read) {
    Delivery delivery;
    delivery.endpoint = endpoint;
    delivery.sequence = SequenceOf(rows.Int(0));
    delivery.accepted_ms = clock_.MonotonicMs() - AgeMs(rows.Int(1));
    delivery.stands_for = static_cast<std::uint32_t>(rows.Unsigned(2));
    delivery.attempts = static_cast<int>(rows.Int(3));
    delivery.event = ReadEvent(rows, 4);
    slice.position.pending = delivery.sequence;
    if (IsWithdrawn(endpoint, delivery)) {
      ++slice.withdrawn;
    } else {
      bytes += EventBytes(*delivery.event);
      slice.pending.push_back(std::move(delivery));
    }
  }
  slice.ended = read < limit && bytes < kSliceBytes;
}

void SpoolReader::ReadDead(EndpointId endpoint, Sequence after, std::size_t limit, Slice& slice) {
  Statement rows(*database_,
                 std::string("SELECT key, died_unix_ms, attempts, status, reason, answer,"
                             " accepted_ms, stands_for, ") +
                     kEventColumns +
                     " FROM dead WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3");
  rows.Start(RowKey(endpoint, after), RowKey(endpoint + 1, 0), limit);
  std::size_t bytes = 0;
  while (bytes < kSliceBytes && rows.Next()) {
    DeadLetter letter;
    letter.delivery.endpoint = endpoint;
    letter.delivery.sequence = SequenceOf(rows.Int(0));
    letter.died_unix_ms = rows.Int(1);
    letter.delivery.attempts = static_cast<int>(rows.Int(2));
    letter.note = {static_cast<int>(rows.Int(3)), rows.Text(4), rows.Text(5)};
    letter.delivery.accepted_ms = clock_.MonotonicMs() - AgeMs(rows.Int(6));
    letter.delivery.stands_for = static_cast<std::uint32_t>(rows.Unsigned(7));
    letter.delivery.event = ReadEvent(rows, 8);
    slice.position.dead = letter.delivery.sequence;
    bytes += EventBytes(*letter.delivery.event);
    slice.dead.push_back(std::move(letter));
  }
  slice.ended = slice.dead.size() < limit && bytes < kSliceBytes;
}

Result<std::string> SpoolReader::Retire() {
  std::string name;
  if (path_.find(kImported, path_.rfind('/')) != std::string::npos) return path_;  // it was before
  for (int n = 0; n < 1'000; ++n) {
    name = path_ + kImported + (n == 0 ? "" : "-" + std::to_string(n));
    if (!Look(name) && !Look(name + kLog)) break;
  }
  // The log first: a file without it would be a shorter one.
  if (had_log_) static_cast<void>(std::rename((path_ + kLog).c_str(), (name + kLog).c_str()));
  if (std::rename(path_.c_str(), name.c_str()) == 0) {
    SyncDirectory(path_);
    return name;
  }
  const int error = errno;
  if (had_log_) static_cast<void>(std::rename((name + kLog).c_str(), (path_ + kLog).c_str()));
  return Error{Error::Kind::kUnavailable,
               "cannot rename " + path_ + " (" + SystemReason(error) + ")"};
}

}  // namespace offline_post
