// What the durable outbox remembers of withdrawals, and how it lets go of due times: over restarts,
// and while the disk refuses.
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
using Marks = std::vector<std::tuple<std::uint64_t, Sequence, Final>>;

constexpr std::uint64_t kLargeKey = 0xfedcba9876543210;

Marks MarksOf(const StoredEndpoint& stored) {
  Marks marks;
  for (const StoredWithdrawal& one : stored.withdrawals)
    marks.emplace_back(one.key, one.until, one.how);
  std::sort(marks.begin(), marks.end());
  return marks;
}

// Claims `sequence`, alone, and lets it wait for an hour.
void Delay(Spool& s, Sequence sequence) {
  std::vector<Delivery> claimed = s.Claim();
  for (Delivery& one : claimed) {
    if (one.sequence == sequence) {
      one.attempts = 1;
      s.outbox->Reschedule(one, s.clock.MonotonicMs() + 3'600'000, {});
    } else {
      s.outbox->Park(one);
    }
  }
}

}  // namespace

TEST_CASE("spool: withdrawals are kept for the next run: the last one of a key, until cleared") {
  Spool s;
  s.Open();
  s.outbox->Register(2, {"other.org", "mod_offline_post"});
  s.outbox->SetWithdrawal(1, 5, 10, Final::kCancelled);
  s.outbox->SetWithdrawal(1, kLargeKey, 11, Final::kPurged);
  s.outbox->SetWithdrawal(2, 5, 12, Final::kCancelled);
  s.outbox->SetWithdrawal(1, 5, 20, Final::kPurged);
  CHECK(MarksOf(s.Reopen()) == Marks{{5, 20, Final::kPurged}, {kLargeKey, 11, Final::kPurged}});
  CHECK(MarksOf(s.Stored(2)) == Marks{{5, 12, Final::kCancelled}});
  s.outbox->ClearWithdrawals(1);
  CHECK(MarksOf(s.Reopen()).empty());
  CHECK(MarksOf(s.Stored(2)) == Marks{{5, 12, Final::kCancelled}});
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: no delivery of the next run gets a sequence that was withdrawn") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Commit();
  // Sequences that a replay has reserved lie in between.
  s.outbox->SetWithdrawal(1, 5, 500, Final::kCancelled);
  s.Append(501, "juliet");
  s.Commit();
  s.outbox->SetWithdrawal(1, 5, 1'000, Final::kCancelled);
  s.Open();
  CHECK(s.outbox->NextSequence() == 1'001);
  CHECK(Sequences(s.Claim()) == List{1, 501});
  s.outbox->ClearWithdrawals(1);
  s.Open();
  CHECK(s.outbox->NextSequence() == 1'001);
}

TEST_CASE("spool: clearing withdrawals where there are none writes nothing") {
  FaultySpool s;
  const long before = s.faults.operations;
  s.outbox->ClearWithdrawals(1);
  s.Poll();
  CHECK(s.faults.operations == before);
}

TEST_CASE("spool: withdrawals while the disk refuses are written when it is back") {
  FaultySpool s;
  s.outbox->SetWithdrawal(1, 5, 10, Final::kCancelled);
  s.outbox->SetWithdrawal(1, 6, 10, Final::kCancelled);
  s.Append(1, "juliet");
  s.Commit();
  s.faults.full = true;
  s.Append(2, "juliet");
  s.outbox->SetWithdrawal(1, 7, 2, Final::kPurged);
  s.Commit();
  CHECK_FALSE(s.outbox->IsDurable());
  s.outbox->ClearWithdrawals(1);
  s.outbox->SetWithdrawal(1, 8, 3, Final::kCancelled);
  s.Commit();
  SECTION("to the same file") {
    s.Heal();
    s.WaitForRetry();
  }
  SECTION("to a new one") {
    s.Heal();
    std::filesystem::remove(s.File());
    std::filesystem::remove(s.File() + "-wal");
    s.WaitForRetry();
  }
  REQUIRE(s.outbox->IsDurable());
  CHECK(MarksOf(s.Closed()) == Marks{{8, 3, Final::kCancelled}});
}

TEST_CASE("spool: what is purged is counted purged, on the disk and while it refuses") {
  FaultySpool s;
  for (Sequence n = 1; n <= 4; ++n) s.Append(n, "user" + std::to_string(n));
  s.Commit();
  const std::vector<Delivery> leased = s.Claim();
  s.Finish(leased[0], Final::kPurged);
  s.Commit();
  s.faults.full = true;
  s.Finish(leased[1], Final::kPurged);
  s.Append(5, "user5");
  s.Append(6, "user6");
  s.Commit();
  const std::vector<Delivery> late = s.Claim();
  REQUIRE(Sequences(late) == List{5, 6});
  s.Finish(late[0], Final::kPurged);
  s.Finish(late[1], Final::kCancelled);
  s.Finish(leased[2], Final::kPurged);
  s.Poll();
  s.Heal();
  s.WaitForRetry();
  const StoredEndpoint stored = s.Closed();
  CHECK(stored.accepted == 6);
  CHECK(stored.purged == 4);
  CHECK(stored.cancelled == 1);
  CHECK(Sequences(s.Claim()) == List{4});
}

TEST_CASE("spool: what waits for a retry may be claimed at once after a hasten") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Append(2, "juliet");
  s.Append(3, "nurse");
  s.Commit();
  const std::uint64_t juliet = RecipientKey(*test::MakeEvent("juliet"));
  Delay(s, 1);
  const std::vector<Delivery> nurses = s.Claim();
  REQUIRE(Sequences(nurses) == List{3});
  s.outbox->Reschedule(nurses[0], s.clock.MonotonicMs() + 5'000, {});
  CHECK(s.Claim().empty());
  SECTION("in the same run") {
    s.outbox->Hasten(1, juliet);
    CHECK(Sequences(s.Claim()) == List{1, 2});
    CHECK(s.listener.next_due == s.clock.MonotonicMs() + 5'000);
  }
  SECTION("over a restart") {
    s.outbox->Hasten(1, juliet);
    s.Open();
    CHECK(Sequences(s.Claim()) == List{1, 2});
  }
  SECTION("once: a later retry waits again") {
    s.outbox->Hasten(1, juliet);
    Delay(s, 1);
    CHECK(s.Claim().empty());
  }
}

TEST_CASE("spool: all that waits may be claimed at once, those who are due first before others") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  s.Append(2, "nurse");
  s.Append(3, "paris");
  s.Commit();
  const Millis now = s.clock.MonotonicMs();
  for (const Delivery& delivery : s.Claim()) {
    s.outbox->Reschedule(delivery, now + 10'000 - 1'000 * static_cast<Millis>(delivery.sequence),
                         {});
  }
  s.outbox->HastenAll(1, 2);
  List hastened = Sequences(s.Claim());
  std::sort(hastened.begin(), hastened.end());
  CHECK(hastened == List{2, 3});
  s.outbox->HastenAll(2, 10);  // whom nobody knows
  CHECK(s.Claim().empty());
  s.outbox->HastenAll(1, 10);
  CHECK(Sequences(s.Claim()) == List{1});
}

TEST_CASE("spool: it knows when the oldest that waits was accepted, over a restart too") {
  Spool s;
  s.Open();
  s.outbox->Register(2, {"example.net", "mod_offline_post"});
  CHECK(s.outbox->OldestUnixMs(1) == 0);
  s.Append(1, "juliet");
  s.Append(2, "nurse", 2);
  s.clock.Advance(1'001);  // a look at the disk a second
  s.Commit();
  CHECK(s.outbox->OldestUnixMs(1) == 1'700'000'000'000);
  CHECK(s.outbox->OldestUnixMs(2) == 1'700'000'000'000);
  std::uint64_t commits = 0;
  const Histogram times = s.outbox->CommitTimes();
  for (const std::uint64_t count : times.counts()) commits += count;
  CHECK(commits > 0);
  s.Open();
  CHECK(s.outbox->OldestUnixMs(1) == 1'700'000'000'000);
  std::vector<Delivery> claimed = s.Claim();
  REQUIRE(claimed.size() == 1);
  s.Finish(claimed[0]);
  s.clock.Advance(1'001);
  s.Commit();
  CHECK(s.outbox->OldestUnixMs(1) == 0);
  CHECK(s.outbox->OldestUnixMs(2) == 1'700'000'000'000);
}

TEST_CASE("spool: hastening who does not wait, or whom nobody knows, does nothing") {
  FaultySpool s;
  s.Append(1, "juliet");
  s.Commit();
  s.Claim();
  const long before = s.faults.operations;
  s.outbox->Hasten(1, RecipientKey(*test::MakeEvent("juliet")));
  s.outbox->Hasten(1, 4'711);
  s.outbox->Hasten(9, 4'711);
  s.Poll();
  CHECK(s.faults.operations == before);
  s.outbox->Register(9, {"other.org", "mod_offline_post"});
  s.Append(2, "juliet", 9);
  s.Commit();
  CHECK(Sequences(s.Claim(10, 9)) == List{2});
}

TEST_CASE("spool: a hasten while the disk refuses counts for what is in memory and on the disk") {
  FaultySpool s;
  s.Append(1, "juliet");
  s.Append(2, "nurse");
  s.Commit();
  Delay(s, 1);  // on the disk, and out of reach
  std::vector<Delivery> nurses = s.Claim();
  REQUIRE(Sequences(nurses) == List{2});
  s.Commit();
  s.faults.full = true;
  s.Append(3, "juliet");
  s.Commit();
  CHECK_FALSE(s.outbox->IsDurable());
  nurses[0].attempts = 1;
  s.outbox->Reschedule(nurses[0], s.clock.MonotonicMs() + 3'600'000, {});
  CHECK(s.Claim().empty());
  s.outbox->Hasten(1, nurses[0].recipient);
  s.outbox->Hasten(1, RecipientKey(*test::MakeEvent("juliet")));
  CHECK(Sequences(s.Claim()) == List{2});
  s.Heal();
  s.WaitForRetry();
  REQUIRE(s.outbox->IsDurable());
  CHECK(Sequences(s.Claim()) == List{1, 3});
}

TEST_CASE("spool: what a delivery stands for is kept, also when it grows while it is leased") {
  Spool s;
  s.Open();
  const auto append = [&s](Sequence sequence, const char* to, std::uint32_t stands_for) {
    Delivery delivery = test::MakeDelivery(sequence, to);
    delivery.accepted_ms = s.clock.MonotonicMs();
    delivery.stands_for = stands_for;
    s.outbox->Append(std::move(delivery));
  };
  append(1, "juliet", 3);
  append(2, "nurse", 4);
  append(3, "romeo", 5);
  append(4, "tybalt", 1);
  s.Commit();
  std::vector<Delivery> claimed = s.Claim();
  CHECK(claimed[0].stands_for == 3);
  for (Delivery& one : claimed) one.stands_for += 10;
  s.outbox->Park(claimed[0]);
  s.outbox->Reschedule(claimed[1], s.clock.MonotonicMs() + 1, {});
  s.Finish(claimed[2], Final::kDead, {400, "HTTP 400", ""});
  s.Commit();
  s.Open();
  s.clock.Advance(10);
  claimed = s.Claim();
  std::sort(claimed.begin(), claimed.end(),
            [](const Delivery& a, const Delivery& b) { return a.sequence < b.sequence; });
  REQUIRE(Sequences(claimed) == List{1, 2, 4});
  CHECK(claimed[0].stands_for == 13);
  CHECK(claimed[1].stands_for == 14);
  CHECK(claimed[2].stands_for == 1);
  DeadVisit visit;
  visit.endpoint = 1;
  visit.act = DeadAct::kReplay;
  visit.limit = 10;
  visit.first_sequence = 10;
  s.outbox->VisitDead(visit);
  s.Poll();
  const std::vector<Delivery> replayed = s.Claim();
  REQUIRE(Sequences(replayed) == List{10});
  CHECK(replayed[0].stands_for == 15);
}

TEST_CASE("spool: what a delivery stands for outlives a disk that refuses") {
  FaultySpool s;
  s.Append(1, "juliet");
  s.Append(2, "nurse");
  s.Commit();
  std::vector<Delivery> claimed = s.Claim();
  s.faults.full = true;
  s.Append(3, "romeo");
  s.Commit();
  CHECK_FALSE(s.outbox->IsDurable());
  claimed[0].stands_for = 4;
  s.outbox->Park(claimed[0]);
  s.Poll();
  s.Heal();
  s.WaitForRetry();
  s.Closed();
  claimed = s.Claim();
  REQUIRE(claimed.size() == 3);
  for (const Delivery& one : claimed) CHECK(one.stands_for == (one.sequence == 1 ? 4 : 1));
}

TEST_CASE("spool: kind, topic and attributes come back from the disk, also dead and replayed") {
  Spool s;
  s.options.cache_deliveries = 0;
  s.Open();
  auto event = test::MakeEvent("juliet");
  event->kind = "encrypted";
  event->topic = kLargeKey;
  event->body.clear();
  event->attributes = {{"trigger", "groupchat"}, {"nick", "R\"o\u00fc"}, {"badge", "2"}};
  Delivery delivery = test::MakeDelivery(1, "juliet");
  delivery.event = event;
  s.outbox->Append(delivery);
  s.Append(2, "nurse");
  s.Commit();
  const auto check = [&event](const Event& read) {
    CHECK(read.kind == "encrypted");
    CHECK(read.topic == kLargeKey);
    CHECK(read.body.empty());
    REQUIRE(read.attributes.size() == 3);
    CHECK(read.attributes[1].name == "nick");
    CHECK(read.attributes[1].value == "R\"o\u00fc");
    CHECK(EventBytes(read) == EventBytes(*event));
  };
  s.Open();
  std::vector<Delivery> claimed = s.Claim();
  REQUIRE(claimed.size() == 2);
  check(*claimed[0].event);
  CHECK(claimed[1].event->attributes.empty());
  s.Finish(claimed[0], Final::kDead, {400, "HTTP 400", ""});
  s.Commit();
  s.Open();
  DeadVisit visit;
  visit.endpoint = 1;
  visit.act = DeadAct::kReplay;
  visit.limit = 10;
  visit.first_sequence = 10;
  s.outbox->VisitDead(visit);
  s.Poll();
  s.Open();
  claimed = s.Claim();
  REQUIRE(Sequences(claimed) == List{2, 10});
  check(*claimed[1].event);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

}  // namespace offline_post
