// Dead letters of the durable outbox.
#include <optional>
#include <utility>

#include "outbox/store_rows.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

struct DeadSpool : Spool {
  DeadSpool() { Open(); }

  void Bury(Sequence sequence, const std::string& reason = "HTTP 400") {
    Append(sequence, "user" + std::to_string(sequence));
    Commit();
    std::vector<Delivery> claimed = Claim();
    REQUIRE(claimed.size() == 1);
    claimed[0].attempts = 4;
    Finish(claimed[0], Final::kDead, {400, reason, "what?"});
    Poll();
  }
  DeadVisited Visit(DeadAct act, const DeadFilter& filter = {}, Sequence after = 0,
                    std::size_t limit = 500) {
    DeadVisit visit;
    visit.tag = 9;
    visit.endpoint = 1;
    visit.act = act;
    visit.filter = filter;
    visit.after = after;
    visit.limit = limit;
    visit.first_sequence = 10'000;
    visit.accepted_ms = clock.MonotonicMs();
    outbox->VisitDead(visit);
    Poll();
    REQUIRE(listener.visited.size() == 1);
    return std::move(std::exchange(listener.visited, {}).front());
  }
  std::uint64_t Purge(Millis before_ms, std::uint64_t excess, std::size_t limit = 500,
                      std::uint64_t bytes = 0) {
    listener.purged = 0;
    outbox->PurgeDead({1, before_ms, excess, bytes, limit});
    Poll();
    return listener.purged;
  }
};

List Shown(const DeadVisited& visited) {
  List out;
  for (const DeadLetter& letter : visited.letters) out.push_back(letter.delivery.sequence);
  return out;
}

}  // namespace

TEST_CASE(
    "spool: a dead letter is kept with event, attempts, status, reason and answer, over a "
    "restart") {
  DeadSpool s;
  s.clock.unix_ms = 1'750'000'000'000;
  s.Bury(1);
  s.Open();
  const DeadVisited shown = s.Visit(DeadAct::kShow);
  CHECK(shown.tag == 9);
  CHECK(shown.endpoint == 1);
  CHECK(shown.count == 1);
  CHECK_FALSE(shown.next);
  REQUIRE(shown.letters.size() == 1);
  const DeadLetter& letter = shown.letters[0];
  CHECK(letter.delivery.sequence == 1);
  CHECK(letter.delivery.attempts == 4);
  CHECK(letter.delivery.event->body == "1");
  CHECK(letter.delivery.event->to.user == "user1");
  CHECK(letter.died_unix_ms == 1'750'000'000'000);
  CHECK(letter.note.status == 400);
  CHECK(letter.note.reason == "HTTP 400");
  CHECK(letter.note.answer == "what?");
  CHECK(shown.bytes == EventBytes(*letter.delivery.event));
}

TEST_CASE("spool: dead letters are visited in slices, by id and by how the reason begins") {
  DeadSpool s;
  for (Sequence n = 1; n <= 5; ++n) s.Bury(n, n % 2 == 1 ? "HTTP 404" : "HTTP 500");
  DeadVisited slice = s.Visit(DeadAct::kShow, {}, 0, 2);
  CHECK(Shown(slice) == List{1, 2});
  REQUIRE(slice.next);
  slice = s.Visit(DeadAct::kShow, {}, *slice.next, 3);
  CHECK(Shown(slice) == List{3, 4, 5});
  CHECK_FALSE(slice.next);
  CHECK(Shown(s.Visit(DeadAct::kShow, {"", "HTTP 4"})) == List{1, 3, 5});
  CHECK(Shown(s.Visit(DeadAct::kShow, {"", "HTTP 4"}, 1, 1)) == List{3});
  CHECK(Shown(s.Visit(DeadAct::kShow, {"msg_user4_4", ""})) == List{4});
  CHECK(Shown(s.Visit(DeadAct::kShow, {"msg_user4_4", "HTTP 4"})).empty());
  CHECK(Shown(s.Visit(DeadAct::kShow, {"msg_user4_4", ""}, 4)).empty());
  CHECK(Shown(s.Visit(DeadAct::kShow, {"msg", ""})).empty());
}

TEST_CASE("spool: one slice of dead letters is bounded in bytes, and has one letter at least") {
  constexpr std::uint64_t kLetters = 40;
  constexpr std::size_t kText = 256 * 1024;
  DeadSpool s;
  for (Sequence n = 1; n <= kLetters; ++n) s.AppendLarge(n, "user" + std::to_string(n), kText);
  s.AppendLarge(kLetters + 1, "huge", 2 * kSliceBytes);
  s.Commit();
  for (std::vector<Delivery> claimed = s.Claim(); !claimed.empty(); claimed = s.Claim())
    for (const Delivery& d : claimed) s.Finish(d, Final::kDead, {400, "HTTP 400", ""});
  const DeadAct act = GENERATE(DeadAct::kShow, DeadAct::kReplay, DeadAct::kDrop, DeadAct::kPurge);
  std::uint64_t count = 0;
  std::optional<Sequence> after = 0;
  int slices = 0;
  while (after) {
    const DeadVisited slice = s.Visit(act, {}, *after);
    REQUIRE(slice.count > 0);
    CHECK(slice.bytes < 3 * kSliceBytes);
    if (slices < 2) CHECK(slice.bytes < kSliceBytes + 2 * kText);
    count += slice.count;
    after = slice.next;
    ++slices;
    if (act == DeadAct::kReplay) break;  // the next would need sequences of its own
  }
  CHECK((act == DeadAct::kReplay ? count < kLetters : count == kLetters + 1));
  CHECK((act == DeadAct::kReplay || slices == 3));
  s.Commit();
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: one slice looks at a bounded number of dead letters however few match") {
  DeadSpool s;
  for (Sequence n = 1; n <= 2'100; ++n) s.Append(n, "user" + std::to_string(n));
  for (int i = 0; i < 3; ++i)
    for (const Delivery& d : s.Claim()) s.Finish(d, Final::kDead, {400, "HTTP 400", ""});
  const DeadVisited first = s.Visit(DeadAct::kShow, {"", "HTTP 5"});
  CHECK(first.count == 0);
  REQUIRE(first.next);
  CHECK_FALSE(s.Visit(DeadAct::kShow, {"", "HTTP 5"}, *first.next).next);
}

TEST_CASE("spool: replayed dead letters are pending again, in order, under their old ids") {
  DeadSpool s;
  for (Sequence n = 1; n <= 3; ++n) s.Bury(n, n == 2 ? "expired" : "HTTP 404");
  const DeadVisited replayed = s.Visit(DeadAct::kReplay, {"", "HTTP"});
  CHECK(replayed.count == 2);
  const std::vector<Delivery> claimed = s.Claim();
  CHECK(Sequences(claimed) == List{10'000, 10'001});
  CHECK(claimed[0].event->id == "msg_user1_1");
  CHECK(claimed[1].event->id == "msg_user3_3");
  CHECK(claimed[0].attempts == 0);
  CHECK(claimed[0].accepted_ms == s.clock.MonotonicMs());
  CHECK(claimed[0].recipient == RecipientKey(*claimed[0].event));
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{2});
  const StoredEndpoint stored = s.Reopen();
  CHECK(stored.accepted == 3);
  CHECK(stored.dead == 1);
  CHECK(stored.pending_bytes == replayed.bytes);
  CHECK(s.outbox->NextSequence() == 10'002);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: dropped dead letters are cancelled, purged ones purged") {
  DeadSpool s;
  for (Sequence n = 1; n <= 6; ++n) {
    s.Bury(n);
    s.clock.Advance(1'000);
  }
  CHECK(s.Visit(DeadAct::kDrop, {"msg_user4_4", ""}).count == 1);
  const Millis now = s.clock.MonotonicMs();
  CHECK(s.Purge(now - 10'000, 0) == 0);
  CHECK(s.Purge(now - 10'000, 1) == 1);  // the oldest
  CHECK(s.Purge(now - 3'500, 0) == 2);   // 2 and 3, by age
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{5, 6});
  CHECK(s.Purge(now + 1, 0, 1) == 1);  // within the limit
  const StoredEndpoint stored = s.Reopen();
  CHECK(stored.accepted == 6);
  CHECK(stored.cancelled == 1);
  CHECK(stored.purged == 4);
  CHECK(stored.dead == 1);
  CHECK(stored.pending_bytes == 0);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: dead letters go by their bytes, the oldest first, a few megabytes at a time") {
  DeadSpool s;
  constexpr std::size_t kBody = 256 * 1'024;
  for (Sequence n = 10; n < 30; ++n) {
    Delivery large = test::MakeDelivery(n, "user" + std::to_string(n));
    auto event = std::make_shared<Event>(*large.event);
    event->body = std::string(kBody, 'x');
    large.event = std::move(event);
    s.outbox->Append(large);
    s.Commit();
    s.Finish(s.Claim()[0], Final::kDead, {400, "HTTP 400", ""});
    s.Poll();
    s.clock.Advance(1);
  }
  const std::uint64_t all = s.Reopen().dead_bytes;
  CHECK(all > 20 * kBody);
  CHECK(all < 20 * (kBody + 1'024));
  CHECK(s.Purge(0, 0, 500, all / 20) == 1);
  CHECK(s.Purge(0, 0, 500, 18 * kBody) == 16);  // no more in this slice
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{27, 28, 29});
  CHECK(s.Purge(0, 0, 500, kBody) == 1);
  CHECK(s.Visit(DeadAct::kDrop, {"msg_user28_28", ""}).dead_bytes == all / 20);
  CHECK(s.Reopen().dead_bytes == all / 20);
  CHECK(s.Visit(DeadAct::kReplay).dead_bytes == all / 20);
  CHECK(s.Reopen().dead_bytes == 0);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: what an earlier version left goes by number and age, not for bytes of others") {
  DeadSpool s;
  for (Sequence n = 1; n <= 4; ++n) {
    s.Bury(n);
    s.clock.Advance(1'000);
  }
  s.outbox.reset();
  {
    Database old;
    old.Open(s.File(), "", 0);
    old.Exec("UPDATE dead SET bytes = 0 WHERE key & 15 <= 2");
    REQUIRE(old.ok());
  }
  const std::uint64_t counted = s.Reopen().dead_bytes;
  CHECK(s.Purge(0, 0, 500, 1) == 1);  // one of the two that count
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{1, 2, 4});
  CHECK(s.Purge(0, 1) == 1);
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{2, 4});
  CHECK(s.Reopen().dead_bytes == counted / 2);
  CHECK(s.Purge(0, 0, 500, counted) == 1);
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{2});
  CHECK(s.Visit(DeadAct::kReplay).dead_bytes == 0);
  CHECK(s.Reopen().dead_bytes == 0);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: a recipient's dead letters are found by his address, and purged") {
  DeadSpool s;
  for (Sequence n = 1; n <= 3; ++n) s.Bury(n);
  Delivery unordered = test::MakeDelivery(4, "user2");
  unordered.recipient = 4;  // a lane of its own
  s.outbox->Append(unordered);
  s.Commit();
  s.Finish(s.Claim()[0], Final::kDead, {404, "HTTP 404", ""});
  s.Poll();
  DeadFilter filter;
  filter.recipients =
      std::make_shared<const Recipients>(Recipients{{RecipientKey("user2", "example.org"), 1'000}});
  CHECK(Shown(s.Visit(DeadAct::kShow, filter)) == List{2, 4});
  filter.reason = "HTTP 404";
  CHECK(Shown(s.Visit(DeadAct::kShow, filter)) == List{4});
  filter.reason.clear();
  CHECK(s.Visit(DeadAct::kPurge, filter).count == 2);
  CHECK(Shown(s.Visit(DeadAct::kShow)) == List{1, 3});
  const StoredEndpoint stored = s.Reopen();
  CHECK(stored.accepted == 4);
  CHECK(stored.purged == 2);
  CHECK(stored.cancelled == 0);
  CHECK(stored.dead == 2);
  CHECK(stored.pending_bytes == 0);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

TEST_CASE("spool: a wall clock that jumps purges nothing early") {
  DeadSpool s;
  s.Bury(1);
  s.clock.unix_ms += 100LL * 24 * 3'600'000;
  CHECK(s.Purge(s.clock.MonotonicMs() - 1'000, 0) == 0);
  s.clock.Advance(2'000);
  CHECK(s.Purge(s.clock.MonotonicMs() - 1'000, 0) == 1);
}

TEST_CASE("spool: what was replayed waits since then, however old it is") {
  DeadSpool s;
  s.Bury(1);
  constexpr Millis kDays = 3 * 86'400'000;
  s.clock.Advance(kDays);
  CHECK(s.Visit(DeadAct::kReplay).count == 1);
  s.clock.Advance(1'001);  // a look at the disk a second
  s.Append(20'000, "nurse");
  s.Commit();
  CHECK(s.clock.UnixMs() - s.outbox->OldestUnixMs(1) == 1'001);
}

}  // namespace offline_post
