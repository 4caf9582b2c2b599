// The store's file: its schema, its faults, its memory; and that the law stands in it after every
// commit.
#include "outbox/store.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <random>

#include "support/fault_vfs.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

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
    CHECK((version == 1 || version == 2));
    const auto store = Store::Open(options, clock).store;
    REQUIRE(store);
    CHECK(store->database().Query("PRAGMA user_version") == 2);
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
  CHECK(store->Claim(1, 10).deliveries.size() == 10);
}

TEST_CASE("store: a file of a newer version is refused untouched, with what to do") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Commit();
  s.outbox.reset();
  ExecuteOn(s.File(), "PRAGMA user_version = 3");
  auto opened = s.TryOpen();
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error().text.find(s.File()) != std::string::npos);
  CHECK(opened.error().text.find("newer version") != std::string::npos);
  CHECK(opened.error().text.find("install that version again") != std::string::npos);
  ExecuteOn(s.File(), "PRAGMA user_version = 2");
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

TEST_CASE("store: the law stands in the file after every commit") {
  Spool s;
  s.options.cache_deliveries = 20;
  s.Open();
  s.outbox->Register(2, {"other.org", "mod_offline_post"});
  s.Commit();
  std::mt19937 random(1);
  Sequence next = 1;
  std::vector<Delivery> leased;
  for (int step = 0; step < 300; ++step) {
    for (unsigned i = random() % 8; i > 0; --i)
      s.Append(next++, "user" + std::to_string(random() % 6), 1 + random() % 2);
    for (Delivery& d : s.Claim(random() % 10, 1 + random() % 2)) leased.push_back(std::move(d));
    for (unsigned i = random() % 8; i > 0 && !leased.empty(); --i) {
      Delivery d = leased.front();
      leased.erase(leased.begin());
      ++d.attempts;
      switch (random() % 6) {
        case 0:
          s.outbox->Reschedule(d, s.clock.MonotonicMs() + static_cast<Millis>(random() % 3'000),
                               {});
          break;
        case 1:
          s.outbox->Park(d);
          break;
        case 2:
          s.Finish(d, Final::kDead, {400, "HTTP 400", ""});
          break;
        default:
          s.Finish(d, random() % 5 == 0 ? Final::kCancelled : Final::kDelivered);
      }
    }
    if (step % 20 == 7) s.outbox->PurgeDead(1, s.clock.MonotonicMs() - 2'000, random() % 3, 10);
    s.Commit();
    s.clock.Advance(100);
    const std::string faults = test::FaultsOfOpenFile(s.File());
    INFO("step " << step << ": " << faults);
    REQUIRE(faults.empty());
  }
}

TEST_CASE("store: deletes of what is done wait for a better reason, but not for long") {
  Spool s;
  s.options.vfs = test::kFaultVfs;
  test::Faults& faults = test::TheFaults();
  s.Open();
  for (Sequence n = 1; n <= 4; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  const std::vector<Delivery> claimed = s.Claim();
  const long before = faults.operations;
  s.Finish(claimed[0]);
  s.Poll();
  CHECK(faults.operations == before);
  s.Append(5, "juliet");
  s.Finish(claimed[1]);
  s.Commit();
  const long with_append = faults.operations;
  CHECK(with_append > before);
  s.Finish(claimed[2]);
  s.Poll();
  CHECK(faults.operations == with_append);
  s.clock.Advance(100);
  s.Poll();
  CHECK(faults.operations > with_append);
}

TEST_CASE("store: a lazy delete that a crash overtakes is repeated, never lost on one side") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Commit();
  s.Finish(s.Claim()[0]);
  s.Poll();
  // A copy taken now is what a crash would leave.
  CHECK(test::FaultsOfOpenFile(s.File()).empty());
  CHECK(test::NumberFrom(s.File() + ".copy", "SELECT count(*) FROM log") == 1);
  CHECK(test::NumberFrom(s.File() + ".copy", "SELECT delivered FROM endpoint") == 0);
}

TEST_CASE("store: the newest are read from memory, older ones from the disk, in one order") {
  for (const std::size_t cache : std::initializer_list<std::size_t>{0, 1, 7, 100, 100'000}) {
    Spool s;
    s.options.cache_deliveries = cache;
    s.Open();
    Sequence next = 1;
    List all;
    for (int round = 0; round < 30; ++round) {
      for (int i = 0; i < 20; ++i, ++next) s.Append(next, "user" + std::to_string(next));
      s.Commit();
      for (const Delivery& d : s.Claim(round < 15 ? 5 : 40)) {
        all.push_back(d.sequence);
        CHECK(d.event->body == std::to_string(d.sequence));
        s.Finish(d);
      }
    }
    List expected;
    for (Sequence n = 1; n <= all.size(); ++n) expected.push_back(n);
    CHECK(all == expected);
    CHECK(all.size() == 600);
  }
}

TEST_CASE("store: one recipient's backlog goes to disk, holds up nobody, and comes back in order") {
  Spool s;
  s.Open();
  Sequence next = 1;
  for (int i = 0; i < 3'000; ++i) s.Append(next++, "slow");
  s.Append(next++, "quick");
  s.Commit();
  std::vector<Delivery> claimed = s.Claim(10);
  while (s.listener.more)
    for (Delivery& d : s.Claim(10)) claimed.push_back(std::move(d));
  CHECK(Sequences(claimed) == List{1, 2, 3'001});
  Sequence expected = 3;
  s.Finish(claimed[0]);
  s.Finish(claimed[1]);
  while (true) {
    const std::vector<Delivery> some = s.Claim(10);
    if (some.empty()) break;
    for (const Delivery& d : some) {
      CHECK(d.sequence == expected++);
      s.Finish(d);
    }
  }
  CHECK(expected == 3'001);
}

TEST_CASE("store: wrong clocks neither stall a retry nor change an age") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Append(2, "nurse");
  s.Commit();
  std::vector<Delivery> claimed = s.Claim();
  s.outbox->Reschedule(claimed[0], s.clock.MonotonicMs() + 10'000, {});
  s.Commit();
  SECTION("forward within a run") {
    s.clock.unix_ms += 1'000'000'000;
    CHECK(s.Claim().empty());
    s.clock.Advance(10'000);
    CHECK(Sequences(s.Claim()) == List{1});
  }
  SECTION("back within a run") {
    s.clock.unix_ms -= 1'000'000'000;
    s.clock.Advance(10'000);
    CHECK(Sequences(s.Claim()) == List{1});
  }
  SECTION("back between runs") {
    s.outbox.reset();
    s.clock.unix_ms -= 1'000'000'000;
    s.clock.monotonic_ms = 50;
    s.Open();
    CHECK(Sequences(s.Claim()) == List{2});
    CHECK(s.listener.next_due == s.clock.MonotonicMs() + 10'000);
    s.clock.Advance(10'000);
    const std::vector<Delivery> late = s.Claim();
    REQUIRE(Sequences(late) == List{1});
    CHECK(late[0].accepted_ms == s.clock.MonotonicMs() - 10'000);
  }
  SECTION("forward between runs") {
    s.outbox.reset();
    s.clock.unix_ms += 7'000;
    s.clock.monotonic_ms = 50;
    s.Open();
    CHECK(Sequences(s.Claim()) == List{2});
    s.clock.Advance(3'000);
    const std::vector<Delivery> late = s.Claim();
    REQUIRE(Sequences(late) == List{1});
    CHECK(late[0].accepted_ms == s.clock.MonotonicMs() - 10'000);
  }
}

TEST_CASE("store: space is given back in slices when there is nothing else to do") {
  Spool s;
  s.Open();
  Sequence next = 1;
  for (int i = 0; i < 20'000; ++i, ++next) s.Append(next, "user" + std::to_string(next));
  s.Commit();
  while (true) {
    const std::vector<Delivery> some = s.Claim(2'000);
    if (some.empty()) break;
    for (const Delivery& d : some) s.Finish(d);
  }
  s.outbox.reset();
  const auto before = std::filesystem::file_size(s.File());
  s.Open();
  s.Commit();
  s.clock.Advance(5'000);
  for (int i = 0; i < 200; ++i) s.outbox->Poll(s.listener);
  s.outbox.reset();
  CHECK(before > 2'000'000);
  CHECK(std::filesystem::file_size(s.File()) < 1'100'000);
}

}  // namespace offline_post
