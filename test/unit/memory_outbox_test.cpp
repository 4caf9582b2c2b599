#include "outbox/memory_outbox.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {

using test::MakeDelivery;

struct Listener final : OutboxListener {
  void OnCommitted(Ticket ticket) override { committed.push_back(ticket); }
  void OnClaimed(EndpointId, std::vector<Delivery> deliveries, std::optional<Millis> due) override {
    claimed = std::move(deliveries);
    next_due = due;
  }
  void OnPurged(EndpointId, std::uint64_t count) override { purged += count; }
  std::vector<Ticket> committed;
  std::vector<Delivery> claimed;
  std::optional<Millis> next_due;
  std::uint64_t purged = 0;
};

struct Fixture {
  test::ManualClock clock;
  MemoryOutbox outbox{clock};
  Listener listener;

  std::vector<Delivery> Claim(std::size_t limit = 1'000) {
    outbox.Claim(1, limit);
    outbox.Poll(listener);
    return std::move(listener.claimed);
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
  const Ticket ticket = f.outbox.Flush();
  f.outbox.Claim(1, 10);
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
  f.outbox.Reschedule(leased[0], f.clock.MonotonicMs() + 500, {"HTTP 503", ""});
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
  for (Sequence s = 1; s <= MemoryOutbox::kMaxDead + 5; ++s) {
    f.outbox.Append(MakeDelivery(s, "user" + std::to_string(s)));
    f.outbox.Finish(f.Claim().front(), Final::kDead, {"HTTP 400", "what?"});
  }
  f.outbox.Poll(f.listener);
  CHECK(f.listener.purged == 5);
  REQUIRE(f.outbox.dead(1).size() == MemoryOutbox::kMaxDead);
  CHECK(f.outbox.dead(1).front().delivery.sequence == 6);
  CHECK(f.outbox.dead(1).front().note.reason == "HTTP 400");
  CHECK(f.outbox.dead(1).front().note.answer == "what?");
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
    f.outbox.Finish(f.Claim().front(), Final::kDead, {"HTTP 413", ""});
  }
  f.outbox.Poll(f.listener);
  CHECK(f.outbox.dead(1).size() == 16);
  CHECK(f.listener.purged == 4);
}

}  // namespace offline_post
