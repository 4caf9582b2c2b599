// The store's file: its schema and its migrations, its faults, and who may open it.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "outbox/store.hpp"
#include "support/fault_vfs.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

const auto kVersion = static_cast<long>(StoreMigrations().size());

std::vector<std::string> FilesLike(const std::string& directory, const std::string& part) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().string();
    if (name.find(part) != std::string::npos && !name.ends_with("-wal")) found.push_back(name);
  }
  return found;
}

void ExecuteOn(const std::string& path, const std::string& sql) {
  Database database;
  database.Open(path, "", 0);
  database.Exec(sql);
  REQUIRE(database.message().empty());
}

// Overwrites pages of the file with noise, as a dying disk would.
void Damage(const std::string& path, std::streamoff from, std::streamoff to) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(from);
  for (std::streamoff at = from; at < to; ++at) file.put('\x5a');
}

}  // namespace

TEST_CASE("store: migrations run one by one, each once") {
  test::TemporaryDirectory directory;
  const std::string path = directory.path + "/any.db";
  std::ofstream(path).close();
  static constexpr std::array<const char*, 1> kOld = {"CREATE TABLE a(x)"};
  static constexpr std::array<const char*, 3> kNew = {
      "CREATE TABLE a(x)", "ALTER TABLE a ADD y; INSERT INTO a VALUES (1, 2)",
      "UPDATE a SET y = y + 1"};
  Database database;
  database.Open(path, "", 0);
  Migrate(database, kOld);
  CHECK(database.Query("PRAGMA user_version") == 1);
  Migrate(database, kNew);
  CHECK(database.Query("PRAGMA user_version") == 3);
  Migrate(database, kNew);
  CHECK(database.Query("SELECT y FROM a") == 3);
  CHECK(database.ok());
}

TEST_CASE("store: a migration that fails leaves the version before it") {
  test::TemporaryDirectory directory;
  const std::string path = directory.path + "/any.db";
  std::ofstream(path).close();
  static constexpr std::array<const char*, 2> kSteps = {"CREATE TABLE a(x)",
                                                        "CREATE TABLE b(x); nonsense"};
  {
    Database database;
    database.Open(path, "", 0);
    Migrate(database, kSteps);
    CHECK_FALSE(database.ok());
  }
  CHECK(test::NumberFrom(path, "PRAGMA user_version") == 1);
  CHECK(test::NumberFrom(path, "SELECT count(*) FROM sqlite_master") == 1);
}

TEST_CASE("store: a crash at any write of the migration leaves a file that is read whole") {
  for (long nth = 1; nth <= 500; ++nth) {
    test::TemporaryDirectory directory;
    const std::string path = directory.path + "/" + SpoolOutbox::kFileName;
    std::filesystem::copy_file(OFFLINE_POST_TEST_DATA "/backlog-v1.db", path);
    test::ManualClock clock;
    StoreOptions options;
    options.path = path;
    options.vfs = test::kFaultVfs;
    test::TheFaults();
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      test::TheFaults().operations = 0;
      test::TheFaults().kill_after_writes = nth;
      _exit(Store::Open(options, clock).store ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    const bool killed = WIFSIGNALED(status);
    INFO("write " << nth << ", status " << status);
    REQUIRE((killed || WEXITSTATUS(status) == 0));
    const long version = test::NumberFrom(path, "PRAGMA user_version");
    CHECK((version >= 1 && version <= kVersion));
    const auto store = Store::Open(options, clock).store;
    REQUIRE(store);
    CHECK(store->database().Query("PRAGMA user_version") == kVersion);
    CHECK(store->database().Query("SELECT count(*) FROM log WHERE kind = 'text'") == 9);
    CHECK(store->database().Query("SELECT count(*) FROM dead WHERE kind = 'text'") == 1);
    CHECK(store->database().Query("SELECT count(*) FROM lane") == 1);
    CHECK(StoredPending(store->Stored()[0]) == 8);
    if (!killed) {
      CHECK(nth > 3);
      return;
    }
  }
  FAIL("the migration takes more than 500 writes");
}

TEST_CASE("store: migration touches no row, however many there are") {
  Spool s;
  std::ofstream(s.File()).close();
  {
    Database old;
    old.Open(s.File(), "", 0);
    old.Exec("PRAGMA auto_vacuum = INCREMENTAL");
    old.Exec("PRAGMA journal_mode = WAL");
    Migrate(old, StoreMigrations().first(1));
    old.Exec(
        "INSERT INTO endpoint(id, vhost, module, accepted, pending_bytes)"
        " VALUES (1, 'example.org', 'mod_offline_post', 50000, 50000 * 600);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " INSERT INTO log SELECT (1 << 44) + i, i, 0, 'msg_' || i, 0, 'user' || i, 'example.org',"
        " '', '', '', '', '', 'hello' FROM n");
    old.Exec("UPDATE run SET last_sequence = 50000");
    REQUIRE(old.ok());
  }
  REQUIRE(std::filesystem::file_size(s.File()) > 2'000'000);
  test::ManualClock clock;
  StoreOptions options;
  options.path = s.File();
  options.vfs = test::kFaultVfs;
  const long before = test::TheFaults().operations;
  const auto store = Store::Open(options, clock).store;
  REQUIRE(store);
  CHECK(test::TheFaults().operations < before + 100);
  CHECK(store->Claim(1, {10}).deliveries.size() == 10);
}

TEST_CASE("store: a file of a newer version is refused untouched, with what to do") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Commit();
  s.outbox.reset();
  ExecuteOn(s.File(), "PRAGMA user_version = " + std::to_string(kVersion + 1));
  auto opened = s.TryOpen();
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().text.find(s.File()) != std::string::npos);
  CHECK(opened.error().text.find("newer version") != std::string::npos);
  CHECK(opened.error().text.find("install that version again") != std::string::npos);
  ExecuteOn(s.File(), "PRAGMA user_version = " + std::to_string(kVersion));
  s.Open();
  CHECK(Sequences(s.Claim()) == List{1});
}

TEST_CASE("store: another program's database is refused untouched") {
  Spool s;
  std::ofstream(s.File()).close();
  ExecuteOn(s.File(), "CREATE TABLE theirs(x); INSERT INTO theirs VALUES (5)");
  auto opened = s.TryOpen();
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().text.find("another program's") != std::string::npos);
  CHECK(test::NumberFrom(s.File(), "SELECT x FROM theirs") == 5);
}

TEST_CASE("store: a file that is no database is set aside, never deleted, and a new one begun") {
  Spool s;
  const std::string text(5'000, 'x');
  std::ofstream(s.File()) << text;
  s.clock.unix_ms = 1'750'000'000'000;
  s.Open();
  const std::string aside = s.File() + ".corrupt-1750000000";
  CHECK(std::filesystem::file_size(aside) == text.size());
  s.outbox->Poll(s.listener);
  CHECK(s.HasNotice(aside));
  s.Append(1, "juliet");
  s.Commit();
  CHECK(s.listener.durable);
  s.outbox.reset();
  std::ofstream(s.File(), std::ios::trunc) << text;  // within the same second
  std::filesystem::remove(s.File() + "-wal");
  s.Open();
  CHECK(FilesLike(s.directory.path, ".corrupt-1750000000").size() == 2);
}

TEST_CASE("store: an empty file, as a crash at its creation leaves it, is a new one") {
  Spool s;
  std::ofstream(s.File()).close();
  s.Open();
  s.Append(1, "juliet");
  s.Commit();
  CHECK(s.listener.durable);
}

TEST_CASE("store: a file with damaged pages is set aside at open") {
  Spool s;
  s.Open();
  for (Sequence n = 1; n <= 500; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  s.outbox.reset();
  Damage(s.File(), 100, 4'096 * 10);  // the schema's page among them
  s.Open();
  CHECK(FilesLike(s.directory.path, ".corrupt-").size() == 1);
  CHECK(s.Stored().accepted == 0);
}

TEST_CASE("store: damage that shows while it runs costs only what was in the file alone") {
  Spool s;
  s.options.cache_deliveries = 0;
  s.Open();
  for (Sequence n = 1; n <= 3'000; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  std::vector<Delivery> dead = s.Claim(1);
  s.Finish(dead[0], Final::kDead, {400, "HTTP 400", ""});
  s.outbox.reset();
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(s.File()));
  Damage(s.File(), size / 2, size);  // what opening reads is intact
  s.Open();
  const StoredEndpoint before = s.Stored();
  s.Append(3'001, "late");
  s.Commit();
  std::vector<Delivery> claimed = s.Claim(10);
  for (int i = 0; i < 20 && FilesLike(s.directory.path, ".corrupt-").empty(); ++i) s.Claim(1'000);
  CHECK(FilesLike(s.directory.path, ".corrupt-").size() >= 1);
  CHECK(s.HasNotice(".corrupt-"));
  s.clock.Advance(31'000);
  for (int i = 0; i < 10; ++i) s.Poll();
  CHECK(s.outbox->IsDurable());
  s.Append(3'002, "later");
  s.Commit();
  CHECK(s.listener.durable);
  CHECK(s.listener.purged == before.dead);
  const StoredEndpoint stored = s.Reopen();
  // What the engine heard and what the file says is the same.
  CHECK(stored.accepted == before.accepted + 2 - s.listener.lost);
  const std::uint64_t pending =
      stored.accepted - stored.delivered - stored.dead - stored.cancelled - stored.purged;
  CHECK(s.listener.lost > 1'000);
  CHECK(pending >= 1);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("store: a missing directory is told, with the option to correct") {
  Spool s;
  s.options.directory = s.directory.path + "/nowhere";
  auto opened = s.TryOpen();
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().text.find("nowhere") != std::string::npos);
  CHECK(opened.error().text.find("spool_dir") != std::string::npos);
}

TEST_CASE("store: a directory that cannot be written is told") {
  // /proc takes no files from anybody, root included.
  Spool s;
  s.options.directory = "/proc/self";
  auto opened = s.TryOpen();
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().text.find("/proc/self") != std::string::npos);
}

TEST_CASE("store: a file that another process uses is refused, and free when that ends") {
  Spool s;
  std::array<int, 2> ready{};
  std::array<int, 2> end{};
  REQUIRE(pipe(ready.data()) == 0);
  REQUIRE(pipe(end.data()) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  char byte = 0;
  if (child == 0) {
    close(end[1]);
    auto opened = SpoolOutbox::Open(s.options, s.clock, s.notices, {});
    byte = opened.ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    while (read(end[0], &byte, 1) > 0) {
    }
    _exit(0);
  }
  REQUIRE(read(ready[0], &byte, 1) == 1);
  CHECK(byte == 'y');
  {
    auto opened = s.TryOpen();
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().text.find("another process") != std::string::npos);
    CHECK(opened.error().text.find(s.File()) != std::string::npos);
  }
  close(end[0]);
  close(end[1]);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  s.Open();
}

}  // namespace offline_post
