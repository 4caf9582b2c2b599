// The engine and what outlives a run or a failure: commits, pauses, stored endpoints, dead letters.
#include <deque>
#include <utility>

#include "engine/engine.hpp"
#include "outbox/memory_outbox.hpp"
#include "payload/answer.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {

struct FakeTransport final : Transport {
  void Send(Request request) override { sent.push_back(std::move(request)); }
  void Cancel(RequestId /*id*/) override {}
  std::deque<Request> sent;
};

// The outbox in memory, with what a durable one would say and remember.
struct FakeOutbox final : Outbox {
  explicit FakeOutbox(const Clock& clock) : inner(clock) {}
  std::vector<StoredEndpoint> Stored() const override { return {}; }
  Sequence NextSequence() const override { return 100; }
  void Register(EndpointId /*endpoint*/, const EndpointKey& key) override {
    registered.push_back(key.vhost);
  }
  void SetPause(EndpointId /*endpoint*/, Pause why, std::uint64_t url) override {
    pause = why;
    paused_url = url;
  }
  void Append(Delivery delivery) override { inner.Append(std::move(delivery)); }
  Ticket Flush(std::vector<CommitCallback> callbacks) override {
    std::move(callbacks.begin(), callbacks.end(), std::back_inserter(waiting));
    return ++ticket;
  }
  void Claim(EndpointId endpoint, std::size_t limit) override { inner.Claim(endpoint, limit); }
  void Finish(const Delivery& delivery, Final how, const Note& note) override {
    inner.Finish(delivery, how, note);
  }
  void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) override {
    inner.Reschedule(delivery, due_ms, note);
  }
  void Park(const Delivery& delivery) override { inner.Park(delivery); }
  void VisitDead(const DeadVisit& visit) override { inner.VisitDead(visit); }
  void PurgeDead(EndpointId endpoint, Millis died_before_ms, std::uint64_t excess,
                 std::size_t limit) override {
    inner.PurgeDead(endpoint, died_before_ms, excess, limit);
  }
  bool Poll(OutboxListener& listener) override { return inner.Poll(listener); }
  bool HasRoom() const override { return true; }
  bool IsDurable() const override { return true; }

  MemoryOutbox inner;
  std::vector<std::string> registered;
  Pause pause = Pause::kNone;
  std::uint64_t paused_url = 0;
  Ticket ticket = 0;
  std::vector<CommitCallback> waiting;
};

struct Fixture {
  test::ManualClock clock;
  Notices notices{clock};
  FakeOutbox outbox{clock};
  FakeTransport transport;
  Engine engine{outbox, transport, clock, notices, 42};
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
  std::shared_ptr<Endpoint> endpoint = test::MakeEndpoint();

  ~Fixture() { test::CheckLaw(ledger->Snapshot()); }

  void Configure() {
    ledger->Open(endpoint->limits);
    engine.Configure(1, endpoint, ledger);
    Turn();
  }
  void Turn() {
    do {
      engine.Turn();
    } while (outbox.Poll(engine));
  }
  void Accept(const std::string& to, const std::string& body = "hello",
              CommitCallback committed = {}) {
    const auto event = test::MakeEvent(to, body);
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(1, event, std::move(committed));
    Turn();
  }
  void Answer(int status) {
    REQUIRE_FALSE(transport.sent.empty());
    const Request request = std::move(transport.sent.front());
    transport.sent.pop_front();
    offline_post::Answer answer;
    answer.status = status;
    engine.OnDone(request.id, ReadAnswer(request, answer, clock.UnixMs()));
    Turn();
  }
  void Advance(Millis ms) {
    clock.Advance(ms);
    Turn();
  }
  // Runs what is due until there is nothing to do but wait for longer than `ms`.
  void Settle(Millis ms = 10) {
    for (int i = 0; i < 100'000; ++i) {
      const auto next = engine.NextTurnMs();
      if (!next || *next > clock.MonotonicMs() + ms) return;
      Advance(std::max<Millis>(0, *next - clock.MonotonicMs()));
    }
    FAIL("the engine never rests");
  }
  std::size_t CountDead(const DeadFilter& filter = {}) {
    std::size_t count = 0;
    engine.ListDead(1, filter, 0, 100'000,
                    [&count](const std::vector<DeadLetter>& letters, std::optional<Sequence>) {
                      count = letters.size();
                    });
    Turn();
    return count;
  }
  Stats stats() const { return ledger->Snapshot(); }
};

StoredEndpoint Stored(std::uint64_t pending, Pause pause = Pause::kNone) {
  StoredEndpoint stored;
  stored.id = 1;
  stored.key = {"example.org", "mod_offline_post"};
  stored.accepted = 10 + pending;
  stored.delivered = 8;
  stored.dead = 2;
  stored.pending_bytes = pending * 1'000;
  stored.pause = pause;
  return stored;
}

}  // namespace

TEST_CASE("whoever waits for the commit hears of it then, and whether it is durable") {
  Fixture f;
  f.Configure();
  std::vector<bool> heard;
  f.Accept("juliet", "1", [&heard](bool durable) { heard.push_back(durable); });
  f.Accept("juliet", "2", [&heard](bool durable) { heard.push_back(durable); });
  CHECK(heard.empty());
  REQUIRE(f.outbox.waiting.size() == 2);
  f.outbox.waiting[0](true);
  CHECK(heard == std::vector<bool>{true});
  f.outbox.waiting[1](false);
  CHECK(heard == std::vector<bool>{true, false});
  f.Answer(200);
  f.Answer(200);
}

TEST_CASE("an operator's pause sends nothing, survives a reload and ends with a resume") {
  Fixture f;
  f.Configure();
  CHECK(f.outbox.registered == std::vector<std::string>{"example.org"});
  f.engine.Pause(1);
  CHECK(f.outbox.pause == Pause::kOperator);
  f.Accept("juliet");
  f.Configure();
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().state == EndpointState::kPaused);
  f.engine.Resume(1);
  f.Turn();
  CHECK(f.outbox.pause == Pause::kNone);
  CHECK(f.stats().state == EndpointState::kHealthy);
  f.Answer(200);
}

TEST_CASE("410 pauses across a restart; another URL or a reload ends that") {
  for (const bool other_url : {true, false}) {
    Fixture f;
    StoredEndpoint stored = Stored(0, Pause::kGone);
    stored.paused_url = Fingerprint(f.endpoint->post_url);
    f.ledger->Restore(stored);
    f.engine.Restore(stored, f.ledger);
    if (other_url) f.endpoint->post_url += "/v2";
    f.Configure();
    f.Accept("juliet");
    CHECK(f.transport.sent.size() == (other_url ? 1 : 0));
    f.Configure();  // a reload
    CHECK(f.outbox.pause == Pause::kNone);
    f.Answer(200);
  }
}

TEST_CASE("410 is remembered with the URL that said so") {
  Fixture f;
  f.Configure();
  f.Accept("juliet");
  f.Answer(410);
  CHECK(f.outbox.pause == Pause::kGone);
  CHECK(f.outbox.paused_url == Fingerprint(f.endpoint->post_url));
}

TEST_CASE("what an earlier run has left is sent, and counted on") {
  Fixture f;
  const StoredEndpoint stored = Stored(1);
  f.outbox.inner.Append(test::MakeDelivery(1, "juliet"));
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.Turn();
  CHECK(f.transport.sent.empty());  // not configured yet
  f.Configure();
  CHECK(f.stats().accepted == 11);
  f.Answer(200);
  CHECK(f.stats().delivered == 9);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("what an endpoint has left that does not come back is dead after a day") {
  Fixture f;
  const StoredEndpoint stored = Stored(1);
  f.outbox.inner.Append(test::MakeDelivery(1, "juliet"));
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.Advance(RetrySchedule().max_age_ms - 1);
  CHECK(f.stats().dead == 2);
  f.Advance(1);
  CHECK(f.stats().dead == 3);
  CHECK(f.CountDead({"", "endpoint removed"}) == 1);
}

TEST_CASE("age does not depend on the time of day") {
  Fixture f;
  f.Configure();
  f.Accept("juliet");
  f.clock.unix_ms += 10LL * 365 * 86'400'000;  // somebody set the clock
  f.Answer(503);
  CHECK(f.stats().pending == 1);
  f.clock.unix_ms = 0;
  f.Advance(f.endpoint->schedule.max_age_ms);
  f.Answer(503);
  CHECK(f.stats().dead == 1);
}

TEST_CASE("without order a recipient's messages do not wait for each other") {
  Fixture f;
  f.endpoint->ordered = false;
  f.Configure();
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  CHECK(f.transport.sent.size() == 3);
  for (int i = 0; i < 3; ++i) f.Answer(200);
}

TEST_CASE("the operator's schedule is followed, its last wait repeated") {
  Fixture f;
  f.endpoint->schedule.waits_ms = {10'000, 60'000};
  f.Configure();
  f.Accept("juliet");
  for (const Millis wait : {10'000, 60'000, 60'000}) {
    f.Answer(503);
    f.Advance(wait * 3 / 4 - 1);
    CHECK(f.transport.sent.empty());
    f.Advance(wait / 2 + 1);
    REQUIRE(f.transport.sent.size() == 1);
  }
  f.Answer(200);
}

TEST_CASE("replayed dead letters are pending again and age from then; a drop cancels them") {
  Fixture f;
  f.Configure();
  for (int i = 0; i < 900; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(i < 800 ? 400 : 422);
  }
  CHECK(f.stats().dead == 900);
  f.Advance(1'000);
  std::uint64_t replayed = 0;
  f.engine.ReplayDead(1, {"", "HTTP 400"}, [&replayed](std::uint64_t count) { replayed = count; });
  f.Turn();
  CHECK(f.stats().dead == 400);  // a slice a turn
  f.Settle();
  CHECK(replayed == 800);
  CHECK(f.stats().pending == 800);
  CHECK(f.stats().dead == 100);
  std::uint64_t dropped = 0;
  f.engine.DropDead(1, {}, [&dropped](std::uint64_t count) { dropped = count; });
  f.Settle();
  CHECK(dropped == 100);
  CHECK(f.stats().cancelled == 100);
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.stats().delivered == 800);
  CHECK(f.stats().pending_bytes == 0);
}

TEST_CASE("dead letters beyond the limit or the retention are purged, oldest first") {
  Fixture f;
  f.endpoint->retention.letters = 3;
  f.endpoint->retention.age_ms = 3'600'000;
  f.Configure();
  for (int i = 0; i < 5; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(400);
  }
  f.Settle();
  CHECK(f.stats().dead == 3);
  CHECK(f.stats().purged == 2);
  f.Advance(3'600'000 - 1);
  f.Settle();
  CHECK(f.stats().dead == 3);
  f.Advance(Engine::kPurgeMs + 1);
  CHECK(f.stats().dead == 0);
  CHECK(f.stats().purged == 5);
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
}

TEST_CASE("what is out of reach for good is gone from both sides of the law") {
  Fixture f;
  const StoredEndpoint stored = Stored(5);
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.Configure();
  f.engine.OnLost(1, 5, 5'000);
  CHECK(f.stats().accepted == 10);
  CHECK(f.stats().pending == 0);
  CHECK(f.stats().pending_bytes == 0);
}

}  // namespace offline_post
