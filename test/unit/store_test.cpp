// The store at work: that the law stands in the file after every commit, what is read from memory
// and what from the disk, and its times.
#include "outbox/store.hpp"

#include <random>

#include "support/fault_vfs.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

}  // namespace

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
    if (step % 20 == 7)
      s.outbox->PurgeDead({1, s.clock.MonotonicMs() - 2'000, random() % 3, 0, 10});
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

TEST_CASE("store: memory is given back when there is nothing else to do") {
  Spool s;
  s.Open();
  for (Sequence next = 1; next <= 20'000; ++next) s.Append(next, "user" + std::to_string(next));
  s.Commit();
  while (true) {
    const std::vector<Delivery> some = s.Claim(2'000);
    if (some.empty()) break;
    for (const Delivery& d : some) s.Finish(d);
  }
  s.Commit();
  const auto before = sqlite3_memory_used();
  s.clock.Advance(5'000);
  for (int i = 0; i < 200; ++i) s.outbox->Poll(s.listener);
  CHECK(before > 2'000'000);
  CHECK(sqlite3_memory_used() < 500'000);
}

}  // namespace offline_post
