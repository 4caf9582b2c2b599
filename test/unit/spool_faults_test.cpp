// What the disk does to the durable outbox: the law holds, nothing committed is lost, and service
// goes on.
#include <utility>

#include "support/fault_vfs.hpp"
#include "support/faulty_spool.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::FaultySpool;
using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

}  // namespace

TEST_CASE(
    "spool: on a full disk an event is kept in memory, delivered, and says that it is not "
    "durable") {
  FaultySpool s;
  s.faults.full = true;
  s.Append(1, "juliet");
  const Ticket ticket = s.outbox->Flush({});
  const std::vector<Delivery> claimed = s.Claim();
  CHECK(s.listener.committed.back() == ticket);
  CHECK_FALSE(s.listener.durable);
  CHECK_FALSE(s.outbox->IsDurable());
  CHECK(Sequences(claimed) == List{1});
  CHECK(s.HasNotice("disk is full"));
  CHECK(s.HasNotice("free some space"));
  CHECK(s.HasNotice(s.File()));
  s.Finish(claimed[0]);
  s.Append(2, "juliet");
  s.Commit();
  CHECK_FALSE(s.listener.durable);
  s.Heal();
  s.WaitForRetry();
  CHECK(s.outbox->IsDurable());
  CHECK(s.listener.durable);
  CHECK(s.HasNotice("is written again"));
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 2);
  CHECK(stored.delivered == 1);
  CHECK(Sequences(s.Claim()) == List{2});
}

TEST_CASE(
    "spool: what was leased, waiting, held and dead when the disk failed is in the file after it "
    "is mended") {
  FaultySpool s;
  for (Sequence n = 1; n <= 12; ++n) s.Append(n, "user" + std::to_string(n % 4));
  s.Commit();
  std::vector<Delivery> leased = s.Claim(6);  // two of user1, user2; one of user3, user0
  REQUIRE(Sequences(leased) == List{1, 2, 3, 4, 5, 6});
  s.faults.sync_error = true;
  s.Finish(leased[0]);
  s.Finish(leased[1], Final::kDead, {400, "HTTP 400", ""});
  s.Append(13, "user1");
  s.Commit();
  CHECK_FALSE(s.listener.durable);
  leased[2].attempts = 1;
  s.outbox->Reschedule(leased[2], s.clock.MonotonicMs() + 3'600'000, {});
  s.outbox->Park(leased[3]);
  std::vector<Delivery> more = s.Claim();
  // 3 waits for its retry, and 7 and 11 with it.
  CHECK(Sequences(more) == List{4, 8, 9, 10});
  s.Finish(more[2]);
  s.Heal();
  s.WaitForRetry();
  REQUIRE(s.outbox->IsDurable());
  s.Finish(more[0]);
  s.Finish(leased[4]);
  CHECK(Sequences(s.Claim()) == List{12, 13});
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 13);
  CHECK(stored.delivered == 4);  // 1, 9, 4, 5
  CHECK(stored.dead == 1);
  CHECK(s.listener.lost == 0);
  List rest;
  for (int i = 0; i < 10; ++i) {
    for (const Delivery& d : s.Claim()) {
      rest.push_back(d.sequence);
      s.Finish(d);
    }
  }
  std::sort(rest.begin(), rest.end());
  CHECK(rest == List{6, 8, 10, 12, 13});
  s.clock.Advance(3'600'000);
  CHECK(Sequences(s.Claim()) == List{3, 7});
}

TEST_CASE(
    "spool: a commit that fails at any of its writes loses nothing and counts nothing twice") {
  for (long nth = 1; nth <= 12; ++nth) {
    for (const bool fsync_only : {false, true}) {
      FaultySpool s;
      for (Sequence n = 1; n <= 20; ++n) s.Append(n, "user" + std::to_string(n % 7));
      s.Commit();
      std::vector<Delivery> leased = s.Claim(8);
      s.FinishAll({leased[0], leased[1]});
      s.Finish(leased[2], Final::kDead, {400, "HTTP 400", ""});
      leased[3].attempts = 1;
      s.outbox->Reschedule(leased[3], s.clock.MonotonicMs() + 1'000, {});
      for (Sequence n = 21; n <= 30; ++n) s.Append(n, "user" + std::to_string(n % 7));
      if (fsync_only) {
        s.faults.sync_error = true;
      } else {
        s.faults.fail_after_writes = s.faults.operations + nth;
      }
      s.Commit();
      s.FinishAll({leased[4]});
      s.Heal();
      s.WaitForRetry();
      REQUIRE(s.outbox->IsDurable());
      s.FinishAll({leased[5]});
      const StoredEndpoint stored = s.Closed();
      CHECK(stored.accepted == 30);
      CHECK(stored.delivered == 4);
      CHECK(stored.dead == 1);
      s.clock.Advance(60'000);
      std::size_t rest = 0;
      for (int i = 0; i < 20; ++i) {
        const std::vector<Delivery> claimed = s.Claim();
        rest += claimed.size();
        s.FinishAll(claimed);
      }
      CHECK(rest == 25);
    }
  }
}

TEST_CASE(
    "spool: deliveries wait while earlier ones of their recipient are on a disk that refuses") {
  FaultySpool s;
  s.options.cache_deliveries = 0;
  s.Open();
  for (Sequence n = 1; n <= 4; ++n) s.Append(n, "juliet");
  s.Commit();
  CHECK(Sequences(s.Claim()) == List{1, 2});  // 3 and 4 are parked on disk
  s.faults.full = true;
  s.Append(5, "juliet");
  s.Append(6, "nurse");
  s.Commit();
  CHECK_FALSE(s.listener.durable);
  const std::vector<Delivery> claimed = s.Claim();
  for (const Delivery& delivery : claimed) CHECK(delivery.sequence == 6);
  s.Heal();
  s.WaitForRetry();
  s.Open();
  List juliet;
  for (int i = 0; i < 10; ++i) {
    for (const Delivery& d : s.Claim()) {
      if (d.sequence != 6) juliet.push_back(d.sequence);
      s.Finish(d);
    }
  }
  CHECK(juliet == List{1, 2, 3, 4, 5});
}

TEST_CASE("spool: replay and purge in a commit that failed are told once the file is read again") {
  FaultySpool s;
  for (Sequence n = 1; n <= 3; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  for (const Delivery& d : s.Claim()) s.Finish(d, Final::kDead, {400, "HTTP 400", ""});
  s.Commit();
  s.faults.full = true;
  DeadVisit visit;
  visit.endpoint = 1;
  visit.act = DeadAct::kReplay;
  visit.limit = 500;
  visit.first_sequence = 100;
  s.outbox->VisitDead(visit);
  s.Poll();
  CHECK(s.listener.visited.empty());
  s.Heal();
  s.WaitForRetry();
  REQUIRE(s.listener.visited.size() == 1);
  CHECK(s.listener.visited[0].count == 0);
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.dead == 3);
}

TEST_CASE("spool: retries of a disk that refuses become rare, and end when it is well") {
  FaultySpool s;
  s.faults.full = true;
  s.Append(1, "juliet");
  s.Commit();
  for (int i = 0; i < 10; ++i) {
    s.clock.Advance(30'000);
    s.Poll();
    CHECK_FALSE(s.outbox->IsDurable());
  }
  s.Heal();
  s.clock.Advance(30'000);
  s.Poll();
  s.Poll();
  CHECK(s.outbox->IsDurable());
}

TEST_CASE("spool: a large shelter is taken over in slices while events still come") {
  FaultySpool s;
  s.faults.full = true;
  for (Sequence n = 1; n <= 1'000; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  s.Heal();
  s.clock.Advance(31'000);
  s.outbox->Claim(1, {10});
  s.Append(1'001, "late");
  s.outbox->Flush({});
  s.outbox->Poll(s.listener);
  CHECK(s.listener.claimed.size() == 10);  // from memory, before the file is read again
  s.WaitForRetry();
  CHECK(s.outbox->IsDurable());
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 1'001);
  std::size_t claimed = 0;
  while (true) {
    const std::vector<Delivery> some = s.Claim();
    if (some.empty()) break;
    claimed += some.size();
    s.FinishAll(some);
  }
  CHECK(claimed == 1'001);
}

TEST_CASE("spool: what waits in memory for the disk is bounded") {
  FaultySpool s;
  s.options.memory_bytes = 10'000;
  s.Open();
  s.Commit();
  s.faults.full = true;
  CHECK(s.outbox->HasRoom());
  for (Sequence n = 1; n <= 20; ++n) s.Append(n, "juliet");
  CHECK_FALSE(s.outbox->HasRoom());  // not yet handed over
  s.Commit();
  CHECK_FALSE(s.outbox->HasRoom());
  s.Heal();
  s.WaitForRetry();
  CHECK(s.outbox->HasRoom());
}

TEST_CASE("spool: too little free space on the disk is no room, and a notice") {
  Spool s;
  s.options.min_free_bytes = std::uint64_t{1} << 60U;
  s.Open();
  s.Poll();
  CHECK_FALSE(s.outbox->HasRoom());
  CHECK(s.HasNotice("spool_min_free"));
  s.Append(1, "juliet");  // accepted before: kept all the same
  s.Commit();
  CHECK(s.listener.durable);
}

TEST_CASE("spool: a last try brings what waits in memory to a disk that is well again") {
  FaultySpool s;
  s.faults.full = true;
  s.Append(1, "juliet");
  s.Commit();
  s.Heal();
  s.Open();
  CHECK(Sequences(s.Claim()) == List{1});
}

TEST_CASE("spool: a disk that fails between flushes is told, and that it is well again too") {
  FaultySpool s;
  s.Append(1, "juliet");
  s.Commit();
  const std::vector<Delivery> claimed = s.Claim();
  CHECK(s.listener.durable);
  s.faults.sync_error = true;
  s.Finish(claimed[0]);  // its row is deleted later: nobody waits for that commit
  s.outbox->Poll(s.listener);
  s.clock.Advance(1'000);
  for (int i = 0; i < 3; ++i) s.Poll();
  CHECK_FALSE(s.outbox->IsDurable());
  CHECK_FALSE(s.listener.durable);
  s.Heal();
  s.WaitForRetry();
  CHECK(s.listener.durable);
  CHECK(s.Closed().delivered == 1);
}

TEST_CASE("spool: what ends while a recovery fails half-way is counted once") {
  FaultySpool s;
  s.faults.sync_error = true;
  for (Sequence n = 1; n <= 4; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  const std::vector<Delivery> leased = s.Claim();
  REQUIRE(leased.size() == 4);
  // Every recovery gets a little further, and leaves rows that nobody can vouch for.
  for (int writes = 1; writes <= 40; ++writes) {
    s.Heal();
    s.faults.fail_after_writes = writes;
    s.clock.Advance(31'000);
    s.Poll();
    if (writes % 10 == 0) s.Finish(leased[static_cast<std::size_t>(writes / 10 - 1)]);
    s.Poll();
  }
  s.Heal();
  s.WaitForRetry();
  REQUIRE(s.outbox->IsDurable());
  CHECK(s.Claim().empty());
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 4);
  CHECK(stored.delivered == 4);
}

TEST_CASE("spool: what is given back and claimed again before a commit fails is leased once") {
  FaultySpool s;
  s.Append(1, "juliet");
  s.Commit();
  const std::vector<Delivery> claimed = s.Claim();
  s.faults.sync_error = true;
  s.outbox->Park(claimed.at(0));
  s.outbox->Claim(1, {10});
  s.Append(2, "nurse");
  s.outbox->Flush({});
  s.Poll();
  CHECK_FALSE(s.outbox->IsDurable());
  CHECK(Sequences(s.listener.claimed) == List{1});
  CHECK(Sequences(s.Claim()) == List{2});
  s.Heal();
  s.WaitForRetry();
  CHECK(s.Claim().empty());
}

TEST_CASE(
    "spool: what leaves its recipient's order while the disk refuses has left it afterwards") {
  FaultySpool s;
  for (Sequence n = 1; n <= 3; ++n) s.Append(n, "juliet");
  s.Commit();
  std::vector<Delivery> leased = s.Claim();
  REQUIRE(Sequences(leased) == List{1, 2});
  // Parked in the file under its recipient's key.
  leased[0].attempts = leased[0].failures = 4;
  s.outbox->Reschedule(leased[0], s.clock.MonotonicMs() + 1'000, {});
  s.outbox->Park(leased[1]);
  s.Commit();
  s.clock.Advance(1'000);
  leased = s.Claim();
  REQUIRE(Sequences(leased) == List{1, 2});
  leased[0].attempts = leased[0].failures = 5;
  const bool before = GENERATE(true, false);
  const Millis due = s.clock.MonotonicMs() + 3'600'000;
  if (before) s.outbox->LeaveOrder(leased[0], due, {});  // with the commit that fails
  s.faults.full = true;
  s.Append(4, "nurse");
  s.Commit();
  REQUIRE_FALSE(s.outbox->IsDurable());
  if (!before) s.outbox->LeaveOrder(leased[0], due, {});
  s.Finish(leased[1]);
  CHECK(Sequences(s.Claim()) == List{4});  // what follows is on the disk
  bool ended = false;
  if (!before) {  // else it may be on the disk only
    SECTION("and waits") {}
    SECTION("and is delivered") {
      s.outbox->Hasten(1, KeyOutOfOrder(1));
      const std::vector<Delivery> again = s.Claim();
      REQUIRE(Sequences(again) == List{1});
      CHECK(IsOutOfOrder(again[0]));
      s.Finish(again[0]);
      ended = true;
    }
    SECTION("and is leased") {
      s.outbox->Hasten(1, KeyOutOfOrder(1));
      REQUIRE(Sequences(s.Claim()) == List{1});
    }
  }
  s.Heal();
  s.WaitForRetry();
  REQUIRE(s.outbox->IsDurable());
  CHECK(test::FaultsOfOpenFile(s.File()).empty());
  CHECK(Sequences(s.Claim()) == List{3});
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 4);
  CHECK(stored.delivered == (ended ? 2 : 1));
  CHECK(s.listener.lost == 0);
  s.clock.Advance(3'600'000);
  CHECK(Sequences(s.Claim()).size() == (ended ? 2 : 3));
}

}  // namespace offline_post
