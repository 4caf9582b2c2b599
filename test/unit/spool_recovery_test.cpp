// The way back to a disk that is well again: at whatever moment it is cut short, by a crash or by
// the disk, nothing is lost and nobody waits without need.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "support/faulty_spool.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::FaultySpool;
using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

// A spool that merges few rows at a time.
struct SlowMerge : FaultySpool {
  explicit SlowMerge(std::size_t slice) {
    options.merge_slice = slice;
    Open();
    Commit();
  }
  // The file is opened anew and takes the first slice; each Poll from here on takes another.
  void BeginMerge() {
    Heal();
    clock.Advance(31'000);
    outbox->Poll(listener);
    REQUIRE_FALSE(outbox->IsDurable());
  }
  void EndMerge() {
    for (int i = 0; i < 100 && !outbox->IsDurable(); ++i) outbox->Poll(listener);
    REQUIRE(outbox->IsDurable());
  }
  // What a crash would leave now.
  long Rows(const std::string& where) {
    CHECK(test::FaultsOfOpenFile(File()).empty());
    return test::NumberFrom(File() + ".copy", "SELECT count(*) FROM " + where);
  }
};

std::string LogRow(Sequence sequence) {
  return "log WHERE key & ((1 << 44) - 1) = " + std::to_string(sequence);
}

// Whether something is left to be sent of event 1, or of 2, which speaks for it.
bool IsSpokenFor(Spool& s) {
  const StoredEndpoint stored = s.Reopen();
  const List found = Sequences(s.Claim());
  const auto has = [&found](Sequence one) {
    return std::find(found.begin(), found.end(), one) != found.end();
  };
  const bool withdrawn = std::any_of(stored.withdrawals.begin(), stored.withdrawals.end(),
                                     [](const auto& mark) { return mark.until >= 1; });
  return has(2) || (has(1) && !withdrawn);
}

}  // namespace

TEST_CASE("spool: a crash at any write of a recovery leaves an event, or what speaks for it") {
  const bool leased = GENERATE(true, false);
  for (long nth = 1; nth <= 200; ++nth) {
    FaultySpool f;     // its directory outlives the child
    f.outbox.reset();  // only the child has the file open
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      f.Open();
      f.Append(1, "juliet");
      f.Commit();
      const std::vector<Delivery> claimed = f.Claim(leased ? 1 : 0);
      f.faults.full = true;
      f.Append(2, "juliet");
      if (leased) f.Finish(claimed.at(0), Final::kCancelled);
      if (!leased) f.outbox->SetWithdrawal(1, 5, 1, Final::kCancelled);
      f.Commit();
      f.Heal();
      f.faults.kill_after_writes = f.faults.operations + nth;
      f.WaitForRetry();
      _exit(f.outbox->IsDurable() ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    INFO("write " << nth << ", status " << status);
    const bool killed = WIFSIGNALED(status);
    REQUIRE((killed || WEXITSTATUS(status) == 0));
    CHECK(test::FaultsOfFile(f.File()).empty());
    CHECK(IsSpokenFor(f));
    if (!killed) {
      CHECK(nth > 5);
      return;
    }
  }
  FAIL("the recovery takes more than 200 writes");
}

TEST_CASE("spool: what is cancelled while a recovery goes on is so in the file at its end") {
  SlowMerge s(1);
  s.Append(1, "juliet");
  s.Append(2, "nurse");
  s.Commit();
  const std::vector<Delivery> leased = s.Claim();
  REQUIRE(Sequences(leased) == List{1, 2});
  s.faults.full = true;
  for (Sequence n = 3; n <= 8; ++n) s.Append(n, "user" + std::to_string(n));
  s.Append(9, "juliet");  // speaks for 1, should that fail
  s.Commit();
  s.BeginMerge();
  s.Finish(leased[0], Final::kCancelled);
  s.Finish(leased[1]);
  s.outbox->SetWithdrawal(1, 5, 8, Final::kCancelled);
  s.Append(10, "nurse");
  s.outbox->Flush({});
  int slices = 0;
  for (; !s.outbox->IsDurable(); ++slices) {
    REQUIRE(slices < 20);
    const bool spoken_for = s.Rows(LogRow(9)) == 1;
    if (!spoken_for) CHECK(s.Rows(LogRow(1)) == 1);
    if (!spoken_for) CHECK(s.Rows("withdrawal") == 0);
    s.outbox->Poll(s.listener);
  }
  CHECK(slices > 3);
  CHECK(s.Rows(LogRow(1)) == 0);
  CHECK(s.Rows(LogRow(2)) == 0);
  CHECK(s.Rows("withdrawal") == 1);
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 10);
  CHECK(stored.cancelled == 1);
  CHECK(stored.delivered == 1);
  CHECK(Sequences(s.Claim()) == List{3, 4, 5, 6, 7, 8, 9, 10});
}

TEST_CASE("spool: what is cancelled while a recovery goes on, which then fails, is counted once") {
  // The file fails at each of the writes that follow.
  for (long nth = 1; nth <= 40; ++nth) {
    SlowMerge s(1);
    for (Sequence n = 1; n <= 3; ++n) s.Append(n, "user" + std::to_string(n));
    s.Commit();
    const std::vector<Delivery> leased = s.Claim();
    s.faults.full = true;
    for (Sequence n = 4; n <= 8; ++n) s.Append(n, "user" + std::to_string(n));
    s.Commit();
    s.BeginMerge();
    s.faults.fail_after_writes = s.faults.operations + nth;
    s.Finish(leased[0], Final::kCancelled);
    s.Append(9, "juliet");
    s.outbox->Flush({});
    s.outbox->Poll(s.listener);
    s.Finish(leased[1], Final::kCancelled);
    s.Append(10, "juliet");
    s.Commit();
    s.Heal();
    s.WaitForRetry();
    REQUIRE(s.outbox->IsDurable());
    s.Finish(leased[2], Final::kCancelled);
    const StoredEndpoint stored = s.Closed();
    INFO("write " << nth);
    CHECK(stored.accepted == 10);
    CHECK(stored.cancelled == 3);
    CHECK(Sequences(s.Claim()) == List{4, 5, 6, 7, 8, 9, 10});
  }
}

TEST_CASE("spool: nothing is told durable before all that was appended earlier is in the file") {
  SlowMerge s(1);
  s.faults.full = true;
  for (Sequence n = 1; n <= 5; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  s.BeginMerge();
  s.Append(6, "juliet");
  bool committed = false;
  std::vector<CommitCallback> waiting;
  waiting.emplace_back([&committed](bool durable) { committed = durable; });
  const Ticket ticket = s.outbox->Flush(std::move(waiting));
  s.outbox->Poll(s.listener);
  CHECK(committed);  // the event itself is
  CHECK(s.listener.committed.back() == ticket);
  CHECK_FALSE(s.listener.durable);
  s.EndMerge();
  CHECK(s.listener.durable);
}

TEST_CASE("spool: what is appended while a recovery goes on comes behind what is still merged") {
  SlowMerge s(1);
  s.outbox->Register(2, {"other.org", "mod_offline_post"});
  s.Commit();
  s.faults.full = true;
  for (Sequence n = 1; n <= 3; ++n) s.Append(n, "juliet", 1);
  for (Sequence n = 4; n <= 6; ++n) s.Append(n, "juliet", 2);
  s.Commit();
  s.BeginMerge();
  s.Append(7, "juliet", 1);
  s.Append(8, "juliet", 2);
  s.Commit();
  s.EndMerge();
  for (const EndpointId endpoint : {1U, 2U}) {
    List all;
    for (int i = 0; i < 10; ++i) {
      for (const Delivery& d : s.Claim(10, endpoint)) {
        all.push_back(d.sequence);
        s.Finish(d);
      }
    }
    CHECK(all == (endpoint == 1 ? List{1, 2, 3, 7} : List{4, 5, 6, 8}));
  }
}

TEST_CASE("spool: when a recovery fails half-way only those wait who have something on the disk") {
  SlowMerge s(2);
  s.Append(1, "juliet");
  s.Commit();
  s.outbox->Reschedule(s.Claim().at(0), s.clock.MonotonicMs() + 3'600'000, {});
  s.Commit();
  s.faults.full = true;
  for (Sequence n = 2; n <= 9; ++n) s.Append(n, "user" + std::to_string(n));
  s.Append(10, "juliet");
  s.Commit();
  for (Sequence n = 11; n <= 13; ++n) {
    s.BeginMerge();
    s.Append(n, "late");  // and committed
    s.outbox->Flush({});
    s.outbox->Poll(s.listener);
    s.faults.full = true;
    s.Append(100 * n, "nurse" + std::to_string(n));
    s.Commit();
    REQUIRE_FALSE(s.outbox->IsDurable());
  }
  const std::vector<Delivery> claimed = s.Claim();
  CHECK(Sequences(claimed) == List{2, 3, 4, 5, 6, 7, 8, 9, 1'100, 1'200, 1'300});
  s.FinishAll(claimed);
  s.Heal();
  s.WaitForRetry();
  REQUIRE(s.outbox->IsDurable());
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 16);
  CHECK(stored.delivered == 11);
  CHECK(Sequences(s.Claim()) == List{11, 12});
  s.clock.Advance(3'600'000);
  CHECK(Sequences(s.Claim()) == List{1, 10});
}

TEST_CASE("spool: a key is chosen once, kept over restarts and failures, and by a new file") {
  FaultySpool s;
  const std::optional<HashKey> key = s.outbox->StoredHashKey();
  REQUIRE(key);
  CHECK(*key != HashKey{});
  s.Append(1, "juliet");
  s.Commit();
  SECTION("over a restart") {}
  SECTION("with nothing left") { s.FinishAll(s.Claim()); }
  SECTION("when the first commit fails") {
    Spool other;
    s.options.directory = other.options.directory;
    s.outbox.reset();
    s.faults.full = false;
    s.Open();
    const std::optional<HashKey> theirs = s.outbox->StoredHashKey();
    CHECK(theirs != key);
    s.faults.full = true;
    s.Append(1, "juliet");
    s.Commit();
    REQUIRE_FALSE(s.outbox->IsDurable());
    s.Heal();
    s.WaitForRetry();
    s.Open();
    CHECK(s.outbox->StoredHashKey() == theirs);
    return;
  }
  SECTION("in a new file") {
    std::filesystem::remove(s.File());
    std::filesystem::remove(s.File() + "-wal");
    s.faults.full = true;
    s.Append(2, "juliet");
    s.Commit();
    s.Heal();
    s.WaitForRetry();
    REQUIRE(s.outbox->IsDurable());
  }
  s.Open();
  CHECK(s.outbox->StoredHashKey() == key);
}

TEST_CASE("spool: a file of an older version gets a key once nothing is left in it") {
  Spool s;
  std::filesystem::copy_file(OFFLINE_POST_TEST_DATA "/backlog-v1.db", s.File());
  s.clock.unix_ms = 1'800'000'000'000;
  s.Open();
  CHECK(s.outbox->StoredHashKey() == HashKey{});
  for (int turn = 0; turn < 20; ++turn) {
    for (const EndpointId endpoint : {1U, 2U})
      for (const Delivery& delivery : s.Claim(100, endpoint)) s.Finish(delivery);
    s.clock.Advance(1'000'000);
  }
  s.Open();
  CHECK(s.outbox->StoredHashKey() == HashKey{});  // a dead letter may come back
  DeadVisit drop;
  drop.endpoint = 1;
  drop.act = DeadAct::kDrop;
  drop.limit = 10;
  s.outbox->VisitDead(drop);
  s.Poll();
  s.Open();
  const std::optional<HashKey> key = s.outbox->StoredHashKey();
  CHECK(key != HashKey{});
  s.Open();
  CHECK(s.outbox->StoredHashKey() == key);
}

TEST_CASE("spool: a wall clock that was set before a recovery changes nothing") {
  FaultySpool f;
  f.Open();
  f.Append(1, "juliet");
  f.Commit();
  const std::vector<Delivery> claimed = f.Claim();
  f.outbox->Reschedule(claimed.at(0), f.clock.MonotonicMs() + 100'000, {});
  f.Commit();
  f.faults.full = true;
  f.Append(2, "nurse");
  f.Commit();
  REQUIRE_FALSE(f.outbox->IsDurable());
  f.clock.unix_ms += GENERATE(1'000'000'000, -1'000'000'000);
  f.Heal();
  f.clock.Advance(31'000);
  for (int i = 0; i < 100 && !f.outbox->IsDurable(); ++i) f.outbox->Poll(f.listener);
  REQUIRE(f.outbox->IsDurable());
  CHECK(Sequences(f.Claim()) == List{2});
  f.clock.Advance(68'000);
  CHECK(f.Claim().empty());
  f.clock.Advance(1'000);
  CHECK(Sequences(f.Claim()) == List{1});
}

}  // namespace offline_post
