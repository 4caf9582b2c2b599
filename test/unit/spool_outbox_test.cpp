// The durable outbox as the engine sees it: the port's promises, and what a restart leaves.
#include "outbox/spool_outbox.hpp"

#include <sys/stat.h>

#include <chrono>
#include <future>
#include <numeric>
#include <thread>

#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

std::uint64_t Commits(const Spool& s) {
  const Histogram times = s.outbox->CommitTimes();
  return std::accumulate(times.counts().begin(), times.counts().end(), std::uint64_t{0});
}

// Appends, as a session does that waits for the commit.
void AppendAndWait(Spool& s, Sequence sequence) {
  std::promise<bool> committed;
  std::vector<CommitCallback> waiting;
  waiting.emplace_back([&](bool durable) { committed.set_value(durable); });
  s.Append(sequence, "juliet");
  s.outbox->Flush(std::move(waiting));
  s.outbox->Poll(s.listener);
  std::future<bool> durable = committed.get_future();
  REQUIRE(durable.wait_for(std::chrono::minutes(1)) == std::future_status::ready);
  CHECK(durable.get());
}

}  // namespace

TEST_CASE(
    "spool: nothing is claimed before the commit that holds it, and no command completes before "
    "the next poll") {
  Spool s;
  s.Open();
  s.Append(1, "juliet");
  const Ticket ticket = s.outbox->Flush({});
  s.outbox->Claim(1, {10});
  CHECK(s.listener.committed.empty());
  CHECK(s.outbox->Poll(s.listener));
  CHECK(s.listener.committed == std::vector<Ticket>{ticket});
  CHECK(s.listener.durable);
  CHECK(Sequences(s.listener.claimed) == List{1});
  CHECK(s.outbox->IsDurable());
  CHECK(s.outbox->HasRoom());
}

TEST_CASE(
    "spool: what nobody waits for is committed together, and at once with what somebody does") {
  Spool s;
  s.options.own_thread = true;
  s.options.collect_few = std::chrono::hours(1);
  s.Open();
  AppendAndWait(s, 1);
  const std::uint64_t before = Commits(s);
  for (Sequence n = 2; n <= 10; ++n) {
    s.Append(n, "juliet");
    s.outbox->Flush({});
    s.outbox->Poll(s.listener);
  }
  // Time enough for a storage thread that would not collect.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(Commits(s) == before);
  AppendAndWait(s, 11);
  CHECK(Commits(s) == before + 1);
}

TEST_CASE("spool: claims come in order of sequence, each delivery once, within the limit") {
  Spool s;
  s.Open();
  for (Sequence n = 1; n <= 5; ++n) s.Append(n, "user" + std::to_string(n % 3));
  CHECK(Sequences(s.Claim(3)) == List{1, 2, 3});
  CHECK(Sequences(s.Claim(3)) == List{4, 5});
  CHECK(s.Claim(3).empty());
}

TEST_CASE("spool: a committed event survives a restart with all its fields") {
  Spool s;
  s.Open();
  auto event = std::make_shared<Event>();
  event->id = "msg_1";
  event->accepted_unix_ms = 1'700'000'000'123;
  event->to = {"juliet", "example.org", "balcony"};
  event->from = {"romeo", "montague.lit", "orchard"};
  event->message_id = "m1";
  event->body = std::string("Neither, fair saint \xF0\x9F\x8C\xB9 \0 nor", 29);
  Delivery delivery;
  delivery.sequence = 7;
  delivery.endpoint = 1;
  delivery.event = event;
  delivery.recipient = 0xfedcba9876543210U;
  delivery.accepted_ms = s.clock.MonotonicMs();
  s.outbox->Append(delivery);
  s.Commit();
  s.clock.Advance(60'000);
  s.Open();
  CHECK(s.outbox->NextSequence() == 8);
  const std::vector<Delivery> claimed = s.Claim();
  REQUIRE(claimed.size() == 1);
  CHECK(claimed[0].sequence == 7);
  CHECK(claimed[0].recipient == delivery.recipient);
  CHECK(claimed[0].accepted_ms == delivery.accepted_ms);
  CHECK(claimed[0].attempts == 0);
  const Event& found = *claimed[0].event;
  CHECK(found.id == event->id);
  CHECK(found.accepted_unix_ms == event->accepted_unix_ms);
  CHECK(found.to.user == event->to.user);
  CHECK(found.to.server == event->to.server);
  CHECK(found.to.resource == event->to.resource);
  CHECK(found.from.user == event->from.user);
  CHECK(found.from.server == event->from.server);
  CHECK(found.from.resource == event->from.resource);
  CHECK(found.message_id == event->message_id);
  CHECK(found.body == event->body);
}

TEST_CASE("spool: counters and endpoints survive a restart and keep the law") {
  Spool s;
  s.Open();
  s.outbox->Register(2, {"other.org", "mod_offline_post"});
  for (Sequence n = 1; n <= 6; ++n) s.Append(n, "user" + std::to_string(n), n == 6 ? 2 : 1);
  const std::vector<Delivery> claimed = s.Claim();
  s.Finish(claimed[0]);
  s.Finish(claimed[1], Final::kCancelled);
  s.Finish(claimed[2], Final::kDead, {400, "HTTP 400", "no"});
  s.outbox->SetPause(2, Pause::kOperator, 77);
  const StoredEndpoint stored = s.Reopen();
  CHECK(stored.key.vhost == "example.org");
  CHECK(stored.key.module == "mod_offline_post");
  CHECK(stored.accepted == 5);
  CHECK(stored.delivered == 1);
  CHECK(stored.cancelled == 1);
  CHECK(stored.dead == 1);
  CHECK(stored.purged == 0);
  CHECK(stored.pending_bytes == EventBytes(*claimed[3].event) + EventBytes(*claimed[4].event));
  CHECK(s.Stored(2).accepted == 1);
  CHECK(s.Stored(2).pause == Pause::kOperator);
  CHECK(s.Stored(2).paused_url == 77);
  CHECK(Sequences(s.Claim()) == List{4, 5});
  CHECK(Sequences(s.Claim(10, 2)) == List{6});
}

TEST_CASE("spool: a busy recipient gets a bounded share, and the rest when its leases end") {
  Spool s;
  s.Open();
  for (Sequence n = 1; n <= 40; ++n) s.Append(n, "juliet");
  s.Append(41, "nurse");
  const std::vector<Delivery> first = s.Claim();
  CHECK(Sequences(first) == List{1, 2, 41});
  CHECK(s.Claim().empty());
  s.Finish(first[0]);
  s.Finish(first[1]);
  CHECK(Sequences(s.Claim()) == List{3, 4});
}

TEST_CASE("spool: a recipient whose delivery waits for a retry waits as a whole, others do not") {
  Spool s;
  s.Open();
  for (Sequence n = 1; n <= 3; ++n) s.Append(n, "juliet");
  std::vector<Delivery> leased = s.Claim(2);
  leased[0].attempts = 1;
  const Millis due = s.clock.MonotonicMs() + 500;
  s.outbox->Reschedule(leased[0], due, {503, "HTTP 503", ""});
  s.outbox->Park(leased[1]);
  s.Append(4, "nurse");
  CHECK(Sequences(s.Claim()) == List{4});
  CHECK(s.listener.next_due == due);
  s.clock.Advance(499);
  CHECK(s.Claim().empty());
  s.clock.Advance(1);
  const std::vector<Delivery> again = s.Claim();
  CHECK(Sequences(again) == List{1, 2});
  CHECK(again[0].attempts == 1);
  CHECK(s.listener.next_due == std::nullopt);
  s.Finish(again[0]);
  s.Finish(again[1]);
  CHECK(Sequences(s.Claim()) == List{3});
}

TEST_CASE("spool: what is parked can be claimed again, in its place") {
  Spool s;
  s.Open();
  for (Sequence n = 1; n <= 3; ++n) s.Append(n, "juliet");
  for (const Delivery& delivery : s.Claim(2)) s.outbox->Park(delivery);
  CHECK(Sequences(s.Claim()) == List{1, 2});
}

TEST_CASE("spool: order per recipient and attempts survive a restart at any place") {
  Spool s;
  s.Open();
  // Leased from the log, waiting for a retry, parked behind it, held, unread.
  for (Sequence n = 1; n <= 9; ++n) s.Append(n, n % 2 == 1 ? "juliet" : "nurse");
  std::vector<Delivery> leased = s.Claim(4);  // 1 3 of juliet, 2 4 of nurse
  REQUIRE(leased.size() == 4);
  leased[0].attempts = 3;
  leased[0].misconfigured = 2;
  leased[0].delivered_at_misconfigured = 5;
  s.outbox->Reschedule(leased[0], s.clock.MonotonicMs() + 1'000, {});
  s.Commit();
  s.Open();  // 3 was leased, and is behind 1
  CHECK(Sequences(s.Claim()) == List{2, 4});
  s.clock.Advance(1'000);
  const std::vector<Delivery> again = s.Claim();
  CHECK(Sequences(again) == List{1, 3});
  CHECK(again[0].attempts == 3);
  CHECK(again[0].misconfigured == 2);
  CHECK(again[0].delivered_at_misconfigured == 5);
  CHECK(again[1].attempts == 0);
  s.Open();
  List juliet;
  for (const Delivery& delivery : s.Claim())
    if (delivery.sequence % 2 == 1) juliet.push_back(delivery.sequence);
  CHECK(juliet == List{1, 3});
}

TEST_CASE("spool: what was leased at a crash comes before what was parked behind it") {
  Spool s;
  s.options.cache_deliveries = 0;  // nothing is held in memory: the third goes to disk
  s.Open();
  for (Sequence n = 1; n <= 5; ++n) s.Append(n, "juliet");
  CHECK(Sequences(s.Claim()) == List{1, 2});
  s.Open();
  CHECK(Sequences(s.Claim()) == List{1, 2});
}

TEST_CASE("spool: a file of mode 0600, whatever the umask") {
  Spool s;
  const mode_t before = umask(0);
  s.Open();
  s.Append(1, "juliet");
  s.Commit();
  umask(before);
  for (const std::string& file : {s.File(), s.File() + "-wal"}) {
    struct stat found {};
    REQUIRE(stat(file.c_str(), &found) == 0);
    CHECK((found.st_mode & 0777U) == 0600U);
  }
  s.outbox.reset();
  chmod(s.File().c_str(), 0644);
  s.Open();
  struct stat found {};
  REQUIRE(stat(s.File().c_str(), &found) == 0);
  CHECK((found.st_mode & 0777U) == 0600U);
}

TEST_CASE("spool: what leaves its recipient's order waits alone, over restarts too") {
  Spool s;
  s.options.cache_deliveries =
      GENERATE(std::size_t{0}, std::size_t{100});  // the followers are on the disk, or held
  s.Open();
  for (Sequence n = 1; n <= 5; ++n) s.Append(n, "juliet");
  std::vector<Delivery> leased = s.Claim(10);
  REQUIRE(Sequences(leased) == List{1, 2});
  leased[0].attempts = leased[0].failures = 4;
  s.outbox->Reschedule(leased[0], s.clock.MonotonicMs() + 1'000, {});
  s.outbox->Park(leased[1]);
  s.clock.Advance(1'000);
  leased = s.Claim(10);
  REQUIRE(Sequences(leased) == List{1, 2});
  leased[0].attempts = leased[0].failures = 5;
  leased[0].delivered_at_failure = 77;
  leased[0].stands_for = 3;
  s.outbox->LeaveOrder(leased[0], s.clock.MonotonicMs() + 60'000, {500, "HTTP 500", ""});
  CHECK(Sequences(s.Claim(10)) == List{3});  // 2 is still leased
  s.Finish(leased[1]);
  CHECK(Sequences(s.Claim(10)) == List{4});
  s.Commit();
  CHECK(test::FaultsOfOpenFile(s.File()).empty());
  const StoredEndpoint stored = s.Reopen();
  CHECK(stored.out_of_order == 1);
  CHECK(stored.recipients_waiting == 0);
  CHECK(Sequences(s.Claim(10)) == List{3, 4});
  s.clock.Advance(60'000);
  const std::vector<Delivery> again = s.Claim(10);
  REQUIRE(Sequences(again) == List{1});
  CHECK(IsOutOfOrder(again[0]));
  CHECK(again[0].attempts == 5);
  CHECK(again[0].failures == 5);
  CHECK(again[0].delivered_at_failure == 77);
  CHECK(again[0].stands_for == 3);
  s.outbox->Park(again[0]);
  CHECK(IsOutOfOrder(s.Claim(10).at(0)));
  s.Finish(again[0], Final::kDead, {400, "HTTP 400", ""});
  s.Commit();
  CHECK(test::FaultsOfOpenFile(s.File()).empty());
  CHECK(s.Reopen().out_of_order == 0);
  // A replay puts it in its recipient's order again.
  DeadVisit replay;
  replay.endpoint = 1;
  replay.act = DeadAct::kReplay;
  replay.limit = 10;
  replay.first_sequence = 20;
  s.outbox->VisitDead(replay);
  s.Poll();
  for (const Delivery& delivery : s.Claim(10)) s.Finish(delivery);
  for (const Delivery& delivery : s.Claim(10)) {
    CHECK(delivery.recipient == RecipientKey("juliet", "example.org"));
    CHECK(delivery.failures == 0);
    s.Finish(delivery);
  }
  CHECK(s.Claim(10).empty());
  s.Commit();
  CHECK(s.Reopen().delivered == 5);
}

TEST_CASE("spool: how many recipients wait is known from the file, without reading the backlog") {
  Spool s;
  s.Open();
  for (Sequence n = 1; n <= 6; ++n) s.Append(n, "user" + std::to_string(n % 3));
  std::vector<Delivery> leased = s.Claim(3);
  for (Delivery& one : leased) {
    one.attempts = one.failures = 1;
    s.outbox->Reschedule(one, s.clock.MonotonicMs() + 1'000, {});
  }
  Delivery alone = test::MakeDelivery(7, "nurse");
  alone.recipient = alone.sequence;  // no order is asked for
  s.outbox->Append(alone);
  s.Commit();
  alone = s.Claim(10).at(0);
  alone.attempts = alone.failures = 1;
  s.outbox->Reschedule(alone, s.clock.MonotonicMs() + 1'000, {});
  s.Commit();
  const StoredEndpoint stored = s.Reopen();
  CHECK(stored.recipients_waiting == 3);
  CHECK(stored.out_of_order == 0);
}

}  // namespace offline_post
