#include "outbox/memory_outbox.hpp"

#include <utility>

#include "support/outbox_listener.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {

using test::MakeDelivery;

struct Fixture {
  test::ManualClock clock;
  MemoryOutbox outbox{clock};
  test::RecordingListener listener;

  std::vector<Delivery> Claim(std::size_t limit = 1'000) {
    outbox.Claim(1, {limit});
    outbox.Poll(listener);
    return std::move(listener.claimed);
  }

  DeadVisited Visit(DeadAct act, const DeadFilter& filter = {}, Sequence after = 0,
                    std::size_t limit = 10'000) {
    DeadVisit visit;
    visit.endpoint = 1;
    visit.act = act;
    visit.filter = filter;
    visit.after = after;
    visit.limit = limit;
    visit.first_sequence = 1'000'000;
    visit.accepted_ms = clock.MonotonicMs();
    outbox.VisitDead(visit);
    outbox.Poll(listener);
    REQUIRE(listener.visited.size() == 1);
    return std::move(std::exchange(listener.visited, {}).front());
  }

  // Delivery `sequence` is dead at once.
  void Bury(Sequence sequence, const std::string& reason = "HTTP 400") {
    outbox.Append(MakeDelivery(sequence, "user" + std::to_string(sequence)));
    outbox.Finish(Claim().front(), Final::kDead, {400, reason, "what?"});
  }
};

std::vector<Sequence> Sequences(const std::vector<Delivery>& deliveries) {
  std::vector<Sequence> out;
  for (const Delivery& delivery : deliveries) out.push_back(delivery.sequence);
  return out;
}

}  // namespace

TEST_CASE("no command completes before the next poll") {
  Fixture f;
  f.outbox.Append(MakeDelivery(1, "juliet"));
  const Ticket ticket = f.outbox.Flush({});
  f.outbox.Claim(1, {10});
  CHECK(f.listener.committed.empty());
  CHECK(f.outbox.Poll(f.listener));
  CHECK(f.listener.committed == std::vector<Ticket>{ticket});
  CHECK(f.listener.claimed.size() == 1);
  CHECK_FALSE(f.outbox.Poll(f.listener));
}

TEST_CASE("claims come in order of sequence, each delivery once, within the limit") {
  Fixture f;
  for (Sequence s = 1; s <= 5; ++s)
    f.outbox.Append(MakeDelivery(s, "user" + std::to_string(s % 3)));
  CHECK(Sequences(f.Claim(3)) == std::vector<Sequence>{1, 2, 3});
  CHECK(Sequences(f.Claim(3)) == std::vector<Sequence>{4, 5});
  CHECK(f.Claim(3).empty());
}

TEST_CASE("endpoints do not see each other's deliveries") {
  Fixture f;
  f.outbox.Append(MakeDelivery(1, "juliet", 2));
  CHECK(f.Claim().empty());
}

TEST_CASE("a busy recipient gets a bounded share, and the rest when its leases end") {
  Fixture f;
  const std::size_t share = Outbox::kLeasedPerRecipient;
  for (Sequence s = 1; s <= 40; ++s) f.outbox.Append(MakeDelivery(s, "juliet"));
  f.outbox.Append(MakeDelivery(41, "nurse"));
  const std::vector<Delivery> first = f.Claim();
  REQUIRE(first.size() == share + 1);
  CHECK(first.back().sequence == 41);
  CHECK(f.Claim().empty());
  f.outbox.Finish(first[0], Final::kDelivered, {});
  f.outbox.Finish(first[1], Final::kDelivered, {});
  CHECK(Sequences(f.Claim()) == std::vector<Sequence>{share + 1, share + 2});
}

TEST_CASE("a recipient whose delivery waits for a retry waits as a whole, others do not") {
  Fixture f;
  for (Sequence s = 1; s <= 3; ++s) f.outbox.Append(MakeDelivery(s, "juliet"));
  std::vector<Delivery> leased = f.Claim(2);
  leased[0].attempts = 1;
  f.outbox.Reschedule(leased[0], f.clock.MonotonicMs() + 500, {503, "HTTP 503", ""});
  f.outbox.Park(leased[1]);
  f.outbox.Append(MakeDelivery(4, "nurse"));
  CHECK(Sequences(f.Claim()) == std::vector<Sequence>{4});
  CHECK(f.listener.next_due == f.clock.MonotonicMs() + 500);
  f.clock.Advance(499);
  CHECK(f.Claim().empty());
  f.clock.Advance(1);
  const std::vector<Delivery> again = f.Claim();
  CHECK(Sequences(again) == std::vector<Sequence>{1, 2});
  CHECK(again[0].attempts == 1);
  CHECK(f.listener.next_due == std::nullopt);
}

TEST_CASE("what is parked can be claimed again, in its place") {
  Fixture f;
  for (Sequence s = 1; s <= 3; ++s) f.outbox.Append(MakeDelivery(s, "juliet"));
  for (const Delivery& delivery : f.Claim(2)) f.outbox.Park(delivery);
  CHECK(Sequences(f.Claim()) == std::vector<Sequence>{1, 2});
}

TEST_CASE("dead letters are kept with their reason, bounded in number") {
  Fixture f;
  for (Sequence s = 1; s <= MemoryOutbox::kMaxDead + 5; ++s) f.Bury(s);
  f.outbox.Poll(f.listener);
  CHECK(f.listener.purged == 5);
  const DeadVisited dead = f.Visit(DeadAct::kShow);
  REQUIRE(dead.letters.size() == MemoryOutbox::kMaxDead);
  CHECK_FALSE(dead.next.has_value());
  const DeadLetter& first = dead.letters.front();
  CHECK(first.delivery.sequence == 6);
  CHECK(first.died_unix_ms == f.clock.UnixMs());
  CHECK(first.note.status == 400);
  CHECK(first.note.reason == "HTTP 400");
  CHECK(first.note.answer == "what?");
}

TEST_CASE("dead letters are bounded in bytes") {
  Fixture f;
  const std::string large(1'000'000, 'x');
  for (Sequence s = 1; s <= 20; ++s) {
    Delivery delivery = MakeDelivery(s, "juliet");
    const auto event = test::MakeEvent("juliet");
    event->body = large;
    delivery.event = event;
    f.outbox.Append(delivery);
    f.outbox.Finish(f.Claim().front(), Final::kDead, {413, "HTTP 413", ""});
  }
  f.outbox.Poll(f.listener);
  CHECK(f.Visit(DeadAct::kShow).count == 5);  // a list takes some megabytes at a time
  CHECK(f.Visit(DeadAct::kShow, {}, 15).count == 5);
  CHECK(f.Visit(DeadAct::kShow, {}, 16).count == 4);
  CHECK(f.listener.purged == 4);
}

TEST_CASE("what may wait in memory can be limited") {
  test::ManualClock clock;
  MemoryOutbox outbox(clock, 1'000);
  test::RecordingListener listener;
  CHECK(outbox.HasRoom());
  outbox.Append(MakeDelivery(1, "juliet"));
  outbox.Append(MakeDelivery(2, "juliet"));
  CHECK_FALSE(outbox.HasRoom());
  outbox.Claim(1, {1});
  outbox.Poll(listener);
  CHECK_FALSE(outbox.HasRoom());  // leased is still here
  outbox.Finish(listener.claimed.at(0), Final::kDelivered, {});
  CHECK(outbox.HasRoom());
}

TEST_CASE("dead letters are visited in slices, by id or by how the reason begins") {
  Fixture f;
  for (Sequence s = 1; s <= 4; ++s) f.Bury(s, s % 2 == 0 ? "HTTP 422" : "HTTP 400");
  const DeadVisited first = f.Visit(DeadAct::kShow, {"", "HTTP 4"}, 0, 3);
  CHECK(first.letters.size() == 3);
  REQUIRE(first.next == Sequence{3});
  const DeadVisited second = f.Visit(DeadAct::kShow, {"", "HTTP 4"}, *first.next, 3);
  CHECK(second.letters.size() == 1);
  CHECK_FALSE(second.next.has_value());
  CHECK(f.Visit(DeadAct::kShow, {"", "HTTP 422"}).count == 2);
  const DeadVisited one = f.Visit(DeadAct::kShow, {"msg_user3_3", ""});
  REQUIRE(one.letters.size() == 1);
  CHECK(one.letters[0].delivery.sequence == 3);
}

TEST_CASE("dead letters that are replayed begin anew, under their id; those dropped are gone") {
  Fixture f;
  for (Sequence s = 1; s <= 3; ++s) f.Bury(s);
  f.clock.Advance(5'000);
  const DeadVisited replayed = f.Visit(DeadAct::kReplay, {}, 0, 2);
  CHECK(replayed.count == 2);
  CHECK(replayed.bytes > 0);
  CHECK(f.Visit(DeadAct::kDrop).count == 1);
  CHECK(f.Visit(DeadAct::kShow).count == 0);
  const std::vector<Delivery> again = f.Claim();
  CHECK(Sequences(again) == std::vector<Sequence>{1'000'000, 1'000'001});
  CHECK(again[0].event->id == "msg_user1_1");
  CHECK(again[0].attempts == 0);
  CHECK(again[0].accepted_ms == f.clock.MonotonicMs());
}

TEST_CASE(
    "a recipient's dead letters are found by his address; what stands for several does so again") {
  Fixture f;
  for (Sequence n = 1; n <= 3; ++n) f.Bury(n);
  Delivery delivery = MakeDelivery(4, "user2");
  delivery.recipient = 4;  // a lane of its own
  delivery.stands_for = 7;
  f.outbox.Append(delivery);
  f.outbox.Finish(f.Claim().front(), Final::kDead, {400, "HTTP 400", ""});
  DeadFilter filter;
  filter.recipients =
      std::make_shared<const Recipients>(Recipients{{RecipientKey("user2", "example.org"), 1'000}});
  CHECK(f.Visit(DeadAct::kShow, filter).letters.size() == 2);
  filter.event_id = delivery.event->id;
  CHECK(f.Visit(DeadAct::kReplay, filter).count == 1);
  const std::vector<Delivery> replayed = f.Claim();
  REQUIRE(replayed.size() == 1);
  CHECK(replayed[0].stands_for == 7);
  filter.event_id.clear();
  CHECK(f.Visit(DeadAct::kPurge, filter).count == 1);
  CHECK(f.Visit(DeadAct::kShow).letters.size() == 2);
}

TEST_CASE("what waits for its time may be claimed at once after a hasten") {
  Fixture f;
  for (Sequence n = 1; n <= 2; ++n) f.outbox.Append(MakeDelivery(n, "juliet"));
  f.outbox.Append(MakeDelivery(3, "nurse"));
  std::vector<Delivery> claimed = f.Claim();
  REQUIRE(Sequences(claimed) == std::vector<Sequence>{1, 2, 3});
  f.outbox.Reschedule(claimed[0], f.clock.MonotonicMs() + 10'000, {});
  f.outbox.Park(claimed[1]);
  f.outbox.Reschedule(claimed[2], f.clock.MonotonicMs() + 5'000, {});
  CHECK(f.Claim().empty());
  f.outbox.Hasten(1, 4'711);  // whom nobody knows
  f.outbox.Hasten(2, claimed[0].recipient);
  CHECK(f.Claim().empty());
  f.outbox.Hasten(1, claimed[0].recipient);
  CHECK(Sequences(f.Claim()) == std::vector<Sequence>{1, 2});
  CHECK(f.listener.next_due == f.clock.MonotonicMs() + 5'000);
}

TEST_CASE("retention lets go of those that died first: too many, or too long ago") {
  Fixture f;
  for (Sequence s = 1; s <= 6; ++s) {
    f.Bury(s);
    f.clock.Advance(1'000);
  }
  f.outbox.PurgeDead({1, f.clock.MonotonicMs() - 100'000, 1, 0, 500});
  f.outbox.Poll(f.listener);
  CHECK(f.listener.purged == 1);
  f.outbox.PurgeDead({1, f.clock.MonotonicMs() - 3'500, 0, 0, 1});  // two are older; one at a time
  f.outbox.Poll(f.listener);
  CHECK(f.listener.purged == 2);
  f.outbox.PurgeDead({1, f.clock.MonotonicMs() - 3'500, 0, 0, 500});
  f.outbox.Poll(f.listener);
  CHECK(f.listener.purged == 3);
  const DeadVisited left = f.Visit(DeadAct::kShow);
  CHECK(left.letters.front().delivery.sequence == 4);
  f.listener.purged_bytes = 0;
  f.outbox.PurgeDead({1, 0, 0, left.bytes / 3 + 1, 500});
  f.outbox.Poll(f.listener);
  CHECK(f.listener.purged == 5);  // two of these three have so many bytes
  CHECK(f.listener.purged_bytes == left.bytes / 3 * 2);
}

TEST_CASE("memory: what leaves its recipient's order waits alone") {
  Fixture f;
  for (Sequence n = 1; n <= 4; ++n) f.outbox.Append(MakeDelivery(n, "juliet"));
  std::vector<Delivery> leased = f.Claim();
  REQUIRE(Sequences(leased) == std::vector<Sequence>{1, 2});
  leased[0].attempts = leased[0].failures = 5;
  f.outbox.LeaveOrder(leased[0], f.clock.MonotonicMs() + 500, {500, "HTTP 500", ""});
  CHECK(Sequences(f.Claim()) == std::vector<Sequence>{3});
  f.clock.Advance(500);
  const std::vector<Delivery> again = f.Claim();
  REQUIRE(Sequences(again) == std::vector<Sequence>{1});
  CHECK(IsOutOfOrder(again[0]));
  CHECK(again[0].failures == 5);
}

}  // namespace offline_post
