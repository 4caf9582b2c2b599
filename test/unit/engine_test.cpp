#include "engine/engine.hpp"

#include <algorithm>
#include <deque>
#include <functional>
#include <utility>

#include "outbox/memory_outbox.hpp"
#include "payload/answer.hpp"
#include "support/outbox_listener.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {

struct FakeTransport final : Transport {
  void Send(Request request) override { sent.push_back(std::move(request)); }
  void Cancel(RequestId id) override {
    cancelled.push_back(id);
    std::erase_if(sent, [id](const Request& request) { return request.id == id; });
  }
  std::deque<Request> sent;  // and not answered
  std::vector<RequestId> cancelled;
};

// Completes nothing before the second Poll, as an outbox behind a disk or a thread does.
class SlowOutbox final : public Outbox, private OutboxListener {
 public:
  explicit SlowOutbox(Outbox& inner) : inner_(inner) {}
  std::vector<StoredEndpoint> Stored() const override { return inner_.Stored(); }
  Sequence NextSequence() const override { return inner_.NextSequence(); }
  void Register(EndpointId endpoint, const EndpointKey& key) override {
    inner_.Register(endpoint, key);
  }
  void SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) override {
    inner_.SetPause(endpoint, pause, paused_url);
  }
  void Append(Delivery delivery) override { inner_.Append(std::move(delivery)); }
  Ticket Flush(std::vector<CommitCallback> waiting) override {
    return inner_.Flush(std::move(waiting));
  }
  void Claim(EndpointId endpoint, std::size_t limit) override { inner_.Claim(endpoint, limit); }
  void Finish(const Delivery& delivery, Final how, const Note& note) override {
    inner_.Finish(delivery, how, note);
  }
  void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) override {
    inner_.Reschedule(delivery, due_ms, note);
  }
  void Park(const Delivery& delivery) override { inner_.Park(delivery); }
  void VisitDead(const DeadVisit& visit) override { inner_.VisitDead(visit); }
  void PurgeDead(EndpointId endpoint, Millis died_before_ms, std::uint64_t excess,
                 std::size_t limit) override {
    inner_.PurgeDead(endpoint, died_before_ms, excess, limit);
  }
  bool HasRoom() const override { return inner_.HasRoom(); }
  bool IsDurable() const override { return inner_.IsDurable(); }
  bool Poll(OutboxListener& listener) override {
    const auto ready = std::exchange(waiting_, {});
    inner_.Poll(*this);
    for (const auto& completion : ready) completion(listener);
    return !ready.empty();
  }
  bool idle() const { return waiting_.empty(); }

 private:
  using Completion = std::function<void(OutboxListener&)>;
  void OnCommitted(Ticket ticket, bool durable) override {
    waiting_.emplace_back(
        [ticket, durable](OutboxListener& to) { to.OnCommitted(ticket, durable); });
  }
  void OnClaimed(EndpointId id, Claimed claimed) override {
    waiting_.emplace_back([id, claimed](OutboxListener& to) { to.OnClaimed(id, claimed); });
  }
  void OnDeadVisited(DeadVisited visited) override {
    waiting_.emplace_back([visited](OutboxListener& to) { to.OnDeadVisited(visited); });
  }
  void OnLost(EndpointId id, std::uint64_t count, std::uint64_t bytes) override {
    waiting_.emplace_back([id, count, bytes](OutboxListener& to) { to.OnLost(id, count, bytes); });
  }
  void OnPurged(EndpointId id, std::uint64_t count) override {
    waiting_.emplace_back([id, count](OutboxListener& to) { to.OnPurged(id, count); });
  }
  Outbox& inner_;
  std::vector<Completion> waiting_;
};

struct Fixture {
  test::ManualClock clock;
  Notices notices{clock};
  MemoryOutbox outbox{clock};
  FakeTransport transport;
  Engine engine{outbox, transport, clock, notices, 42};
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
  std::shared_ptr<Endpoint> endpoint = test::MakeEndpoint();

  explicit Fixture(int connections = 64) {
    endpoint->max_connections = connections;
    Configure(1, endpoint, ledger);
  }

  ~Fixture() { test::CheckLaw(ledger->Snapshot()); }

  void Configure(EndpointId id, const std::shared_ptr<Endpoint>& config,
                 const std::shared_ptr<Ledger>& book) {
    book->Open(config->limits);
    engine.Configure(id, config, book);
    Turn();
  }

  void Turn() {
    do {
      engine.Turn();
    } while (outbox.Poll(engine));
  }

  void Accept(const std::string& to, const std::string& body = "hello", EndpointId id = 1) {
    const auto event = test::MakeEvent(to, body);
    event->accepted_unix_ms = clock.UnixMs();
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(id, event);
    Turn();
  }

  void Answer(int status, const std::string& retry_after = "", const std::string& failure = "") {
    REQUIRE_FALSE(transport.sent.empty());
    const Request request = std::move(transport.sent.front());
    transport.sent.pop_front();
    offline_post::Answer answer;
    answer.status = status;
    answer.retry_after = retry_after;
    answer.failure = failure;
    engine.OnDone(request.id, ReadAnswer(request, answer, clock.UnixMs()));
    Turn();
  }

  void Advance(Millis ms) {
    clock.Advance(ms);
    Turn();
  }

  // Lets time pass to the next thing that time alone brings.
  void AdvanceToNext() {
    REQUIRE(engine.NextTurnMs().has_value());
    Advance(std::max<Millis>(0, *engine.NextTurnMs() - clock.MonotonicMs()));
  }

  std::vector<DeadLetter> Dead() {
    std::vector<DeadLetter> dead;
    engine.ListDead(1, {}, 0, 10'000,
                    [&dead](std::vector<DeadLetter> letters, std::optional<Sequence>) {
                      dead = std::move(letters);
                    });
    Turn();
    return dead;
  }

  Stats stats() const { return ledger->Snapshot(); }
  std::string sent_body(std::size_t i) const { return transport.sent.at(i).body; }
};

}  // namespace

TEST_CASE("an accepted event is sent and delivered") {
  Fixture f;
  f.Accept("juliet");
  REQUIRE(f.transport.sent.size() == 1);
  CHECK(f.sent_body(0) == "to=juliet&from=romeo&body=hello&access_token=secret");
  CHECK(f.stats().in_flight == 1);
  f.Answer(200);
  CHECK(f.stats().delivered == 1);
  CHECK(f.stats().pending == 0);
  CHECK(f.stats().pending_bytes == 0);
  CHECK(f.stats().state == EndpointState::kHealthy);
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
}

TEST_CASE("no more than max_connections are in flight") {
  Fixture f(3);
  for (int i = 0; i < 10; ++i) f.Accept("user" + std::to_string(i));
  CHECK(f.transport.sent.size() == 3);
  f.Answer(200);
  CHECK(f.transport.sent.size() == 3);
  for (int i = 0; i < 9; ++i) f.Answer(200);
  CHECK(f.stats().delivered == 10);
}

TEST_CASE("a recipient's deliveries keep their order through retries") {
  Fixture f;
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  f.Accept("nurse", "other");
  CHECK(f.transport.sent.size() == 2);
  f.Answer(503);
  f.Answer(200);  // the nurse did not wait
  CHECK(f.transport.sent.empty());
  f.AdvanceToNext();
  for (const char* body : {"1", "2", "3"}) {
    REQUIRE(f.transport.sent.size() == 1);
    CHECK(f.sent_body(0).find(std::string("body=") + body) != std::string::npos);
    f.Answer(200);
  }
  CHECK(f.stats().delivered == 4);
  CHECK(f.stats().retries == 1);
}

TEST_CASE("a message's own fault is dead at once, and the next one goes") {
  for (const int status : {400, 413, 414, 415, 422}) {
    Fixture f;
    f.Accept("juliet", "bad");
    f.Accept("juliet", "good");
    f.Answer(status);
    CHECK(f.stats().dead == 1);
    const std::vector<DeadLetter> dead = f.Dead();
    REQUIRE(dead.size() == 1);
    CHECK(dead[0].note.status == status);
    CHECK(dead[0].note.reason == "HTTP " + std::to_string(status));
    CHECK(dead[0].delivery.attempts == 1);
    f.Answer(200);
    CHECK(f.stats().delivered == 1);
    CHECK(f.stats().state == EndpointState::kHealthy);
  }
}

TEST_CASE("trouble is retried after a growing wait, within the jitter") {
  Fixture f;
  f.Accept("juliet");
  Millis expected = 1'000;
  for (int attempt = 1; attempt <= 4; ++attempt) {
    f.Answer(500);
    CHECK(f.transport.sent.empty());
    f.Advance(expected * 3 / 4 - 1);
    CHECK(f.transport.sent.empty());
    f.Advance(expected / 2 + 1);
    REQUIRE(f.transport.sent.size() == 1);
    expected *= 2;
  }
  f.Answer(200);
  CHECK(f.stats().delivered == 1);
  CHECK(f.stats().attempts == 5);
}

TEST_CASE("Retry-After is honoured, and bounded by the longest interval") {
  Fixture f;
  f.Accept("juliet");
  f.Answer(429, "100");
  f.Advance(99'999);
  CHECK(f.transport.sent.empty());
  f.Advance(1);
  REQUIRE(f.transport.sent.size() == 1);
  f.Answer(503, "999999999");
  f.Advance(600'000);
  CHECK(f.transport.sent.size() == 1);
  f.Answer(200);
}

TEST_CASE("a delivery that fails for longer than max_age is dead, never without an attempt") {
  Fixture f;
  f.Accept("juliet");
  f.Advance(10 * f.endpoint->schedule.max_age_ms);  // long in flight: a clock that jumped
  f.Answer(503);
  CHECK(f.stats().dead == 1);
  CHECK(f.Dead().at(0).note.reason == "expired, at last HTTP 503");

  f.Accept("juliet");
  int attempts = 0;
  while (f.stats().dead < 2) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(503);
    ++attempts;
    REQUIRE(attempts < 1'000);
  }
  CHECK(attempts > 140);  // 24 h of at most 10 minutes each
}

TEST_CASE("a mistake in the configuration is retried while nobody succeeds") {
  Fixture f;
  f.Accept("juliet");
  for (int i = 0; i < 10; ++i) {
    f.Answer(401);
    f.AdvanceToNext();
    while (f.transport.sent.empty()) f.AdvanceToNext();
  }
  CHECK(f.stats().dead == 0);
  f.Answer(200);
  CHECK(f.stats().delivered == 1);
}

TEST_CASE("what only one message gets wrong is dead after five attempts") {
  Fixture f;
  f.Accept("juliet");
  for (int i = 1; i <= 5; ++i) {
    CHECK(f.stats().dead == 0);
    f.Answer(404);
    f.Accept("nurse");
    f.Answer(200);
    if (i < 5) f.AdvanceToNext();
  }
  CHECK(f.stats().dead == 1);
  CHECK(f.stats().delivered == 5);
}

TEST_CASE("what failed for other reasons before has five such answers of its own") {
  Fixture f;
  f.Accept("juliet");
  for (int i = 0; i < 8; ++i) {
    f.Answer(503);
    f.Accept("nurse" + std::to_string(i));
    while (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(200);
    while (f.transport.sent.empty()) f.AdvanceToNext();
  }
  f.Answer(404);
  CHECK(f.stats().dead == 0);
  while (f.transport.sent.empty()) f.AdvanceToNext();
  f.Answer(200);
  CHECK(f.stats().delivered == 9);
}

TEST_CASE("blame for a configuration that was replaced meanwhile hits nobody") {
  for (const int status : {410, 401}) {
    Fixture f;
    f.Accept("juliet");
    f.Configure(1, test::MakeEndpoint("other"), f.ledger);
    f.Answer(status);
    CHECK(f.stats().state == EndpointState::kHealthy);
    REQUIRE(f.transport.sent.size() == 1);
    CHECK(f.transport.sent[0].endpoint->post_url == "http://other/push");
    f.Answer(200);
    CHECK(f.stats().delivered == 1);
  }
}

TEST_CASE("an origin's limit follows the endpoints that come and go") {
  Fixture f(64);
  const auto other = test::MakeEndpoint("backend", 2);
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  f.engine.Remove(1);
  CHECK(f.engine.ConnectionLimit() == 2);
  for (int i = 0; i < 10; ++i) {
    const auto event = test::MakeEvent("nurse" + std::to_string(i));
    other_ledger->Reserve(EventBytes(*event));
    f.engine.Accept(2, event);
  }
  f.Turn();
  CHECK(f.transport.sent.size() == 2);
}

TEST_CASE("busy recipients do not keep others from free connections") {
  Fixture f(400);
  for (int i = 0; i < 40 * 20; ++i) f.Accept("busy" + std::to_string(i % 40), std::to_string(i));
  for (int i = 0; i < 400; ++i) f.Accept("other" + std::to_string(i));
  CHECK(f.transport.sent.size() == 400);
}

TEST_CASE("410 pauses the endpoint, loses nothing, and a reload resumes") {
  Fixture f;
  f.Accept("juliet", "1");
  f.Answer(410);
  f.Accept("nurse", "2");
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().state == EndpointState::kPaused);
  CHECK(f.stats().pending == 2);
  CHECK(f.engine.Idle(1));
  REQUIRE(f.notices.Waiting().size() == 1);
  CHECK(f.notices.Waiting()[0].level == Notice::Level::kError);
  f.Configure(1, f.endpoint, f.ledger);
  CHECK(f.transport.sent.size() == 2);
  CHECK(f.sent_body(0).find("body=1") != std::string::npos);
  f.Answer(200);
  f.Answer(200);
  CHECK(f.stats().delivered == 2);
  CHECK(f.stats().state == EndpointState::kHealthy);
}

TEST_CASE("an open breaker holds back what waits, without burning its attempts") {
  Fixture f;
  for (int i = 0; i < 200; ++i) f.Accept("user" + std::to_string(i));
  CHECK(f.transport.sent.size() == 64);
  while (!f.transport.sent.empty()) f.Answer(0, "", "connection refused");
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(f.stats().attempts == 68);  // four more left before the fifth failure
  for (int probe = 1; probe <= 3; ++probe) {
    while (f.transport.sent.empty()) f.AdvanceToNext();
    CHECK(f.transport.sent.size() == 1);
    CHECK(f.stats().state == EndpointState::kProbing);
    f.Answer(0, "", "connection refused");
  }
  CHECK(f.stats().attempts == 71);
  while (f.transport.sent.empty()) f.AdvanceToNext();
  f.Answer(200);
  CHECK(f.stats().state == EndpointState::kHealthy);
  CHECK(f.transport.sent.size() == 2);  // the ramp begins
  while (f.stats().delivered < 200) {
    if (f.transport.sent.empty()) f.AdvanceToNext();
    CHECK(f.transport.sent.size() <= 64);
    f.Answer(200);
  }
  CHECK(f.stats().pending == 0);
}

TEST_CASE("a reload gives what is queued its new URL and token") {
  Fixture f;
  f.Accept("juliet");
  f.Answer(503);
  const auto changed = test::MakeEndpoint("other");
  changed->auth_token = "new";
  f.Configure(1, changed, f.ledger);
  f.AdvanceToNext();
  REQUIRE(f.transport.sent.size() == 1);
  CHECK(f.transport.sent[0].endpoint->post_url == "http://other/push");
  CHECK(f.sent_body(0).find("access_token=new") != std::string::npos);
  f.Answer(200);
}

TEST_CASE("a reload within an origin keeps its breaker and its count in flight") {
  Fixture f(2);
  for (int i = 0; i < 4; ++i) f.Accept("user" + std::to_string(i));
  f.Configure(1, f.endpoint, f.ledger);
  CHECK(f.transport.sent.size() == 2);
  for (int i = 0; i < 4; ++i) f.Answer(200);
  CHECK(f.stats().delivered == 4);
}

TEST_CASE("endpoints of one origin share its breaker and take turns") {
  Fixture f(2);
  const auto other = test::MakeEndpoint("backend", 1);
  other->key.vhost = "example.net";
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  CHECK(f.engine.ConnectionLimit() == 2);
  for (int i = 0; i < 3; ++i) f.Accept("user" + std::to_string(i));
  const auto event = test::MakeEvent("nurse");
  other_ledger->Reserve(EventBytes(*event));
  f.engine.Accept(2, event);
  f.Turn();
  CHECK(f.transport.sent.size() == 2);
  f.Answer(200);
  CHECK(f.sent_body(1).find("to=nurse") != std::string::npos);
  while (!f.transport.sent.empty()) f.Answer(500);
  CHECK(other_ledger->Snapshot().in_flight == 0);
  test::CheckLaw(other_ledger->Snapshot());
}

TEST_CASE("one message that fails again and again holds nobody else back") {
  for (const int status : {500, 404}) {
    Fixture f;
    f.Accept("juliet");
    for (int i = 0; i < 8; ++i) {
      f.Answer(status);
      CHECK(f.stats().state == EndpointState::kHealthy);
      while (f.transport.sent.empty()) f.AdvanceToNext();
    }
    f.Accept("nurse");
    CHECK(f.transport.sent.size() == 2);
  }
}

TEST_CASE("a wrong token holds its own endpoint back, not its neighbour at the same origin") {
  Fixture f(8);
  const auto other = test::MakeEndpoint("backend", 8);
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  for (int i = 0; i < 100; ++i) f.Accept("user" + std::to_string(i));
  while (!f.transport.sent.empty()) f.Answer(401);
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(f.stats().attempts == 12);  // 8 at once, and 4 more before the fifth failure
  CHECK(other_ledger->Snapshot().state == EndpointState::kHealthy);
  for (int i = 0; i < 20; ++i) {
    const auto event = test::MakeEvent("nurse" + std::to_string(i));
    other_ledger->Reserve(EventBytes(*event));
    f.engine.Accept(2, event);
    f.Turn();
    f.Answer(200);
  }
  CHECK(other_ledger->Snapshot().delivered == 20);
  while (f.transport.sent.empty()) f.AdvanceToNext();
  CHECK(f.transport.sent.size() == 1);  // the probe
  f.Answer(200);
  CHECK(f.stats().state == EndpointState::kHealthy);
  while (f.stats().pending > 0) {
    if (f.transport.sent.empty()) f.AdvanceToNext();
    f.Answer(200);
  }
  CHECK(f.stats().delivered == 100);
}

TEST_CASE("endpoints of different origins do not share trouble") {
  Fixture f;
  const auto other = test::MakeEndpoint("elsewhere");
  const auto other_ledger = std::make_shared<Ledger>();
  f.Configure(2, other, other_ledger);
  for (int i = 0; i < 8; ++i) f.Accept("user" + std::to_string(i));
  while (!f.transport.sent.empty()) f.Answer(500);
  CHECK(f.stats().state == EndpointState::kBroken);
  CHECK(other_ledger->Snapshot().state == EndpointState::kHealthy);
}

TEST_CASE("a removed endpoint gives up what is in flight and keeps what is pending") {
  Fixture f(1);
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  f.engine.Remove(1);
  CHECK(f.transport.cancelled.size() == 1);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().pending == 3);
  CHECK(f.stats().in_flight == 0);
  CHECK(f.stats().state == EndpointState::kStopped);
  f.Advance(1'000);
  CHECK(f.transport.sent.empty());

  f.Configure(1, f.endpoint, f.ledger);
  for (const char* body : {"1", "2", "3"}) {
    REQUIRE(f.transport.sent.size() == 1);
    CHECK(f.sent_body(0).find(std::string("body=") + body) != std::string::npos);
    f.Answer(200);
  }
}

TEST_CASE("what a removed endpoint left ages to dead") {
  Fixture f;
  for (int i = 0; i < 3'000; ++i) f.Accept("user" + std::to_string(i % 100));
  f.engine.Remove(1);
  f.Turn();
  REQUIRE(f.engine.NextTurnMs().has_value());
  f.Advance(f.endpoint->schedule.max_age_ms - 1);
  CHECK(f.stats().dead == 0);
  f.Advance(1);
  CHECK(f.stats().pending < 3'000);
  CHECK(f.stats().pending >= 3'000 - Engine::kSlice);
  while (f.stats().pending > 0) f.AdvanceToNext();
  CHECK(f.stats().dead + f.stats().purged == 3'000);
  CHECK(f.Dead().back().note.reason == "endpoint removed");
}

TEST_CASE("idle means that nothing can be sent now") {
  Fixture f;
  CHECK(f.engine.Idle(1));
  f.Accept("juliet");
  CHECK_FALSE(f.engine.Idle(1));
  f.Answer(503);
  CHECK(f.engine.Idle(1));  // it waits for its retry
  f.AdvanceToNext();
  CHECK_FALSE(f.engine.Idle(1));
  f.Answer(200);
  CHECK(f.engine.Idle(1));
}

TEST_CASE("the window bounds what is leased, whatever the backlog") {
  Fixture f(1);
  for (int i = 0; i < 5'000; ++i) f.Accept("user" + std::to_string(i));
  CHECK(f.transport.sent.size() == 1);
  f.outbox.Claim(1, 10'000);  // what the engine did not take is still there
  test::RecordingListener listener;
  f.outbox.Poll(listener);
  CHECK(listener.claimed.size() >= 5'000 - Engine::kWindow);
}

TEST_CASE("thousands of events in a mixed history all end, and the law holds") {
  Fixture f;
  std::mt19937 random(7);
  const std::vector<int> statuses = {200, 200, 200, 200, 202, 400, 404, 429, 500, 503};
  for (int i = 0; i < 3'000; ++i) {
    f.Accept("user" + std::to_string(random() % 50), std::to_string(i));
    while (f.transport.sent.size() > 20) f.Answer(statuses[random() % statuses.size()]);
    if (random() % 100 == 0) f.Advance(500);
    if (random() % 500 == 0) f.engine.Remove(1), f.Configure(1, f.endpoint, f.ledger);
  }
  int rounds = 0;
  while (f.stats().pending > 0) {
    REQUIRE(++rounds < 100'000);
    if (f.transport.sent.empty()) {
      f.AdvanceToNext();
    } else {
      f.Answer(200);
    }
  }
  const Stats stats = f.stats();
  CHECK(stats.accepted == 3'000);
  CHECK(stats.delivered + stats.dead + stats.purged == 3'000);
  CHECK(stats.dead > 0);
  CHECK(stats.in_flight == 0);
}

TEST_CASE("an outbox that answers late changes neither order nor count") {
  test::ManualClock clock;
  Notices notices(clock);
  MemoryOutbox memory(clock);
  SlowOutbox outbox(memory);
  FakeTransport transport;
  Engine engine(outbox, transport, clock, notices, 42);
  const auto ledger = std::make_shared<Ledger>();
  ledger->Open({});
  engine.Configure(1, test::MakeEndpoint("backend", 8), ledger);
  std::mt19937 random(11);
  std::map<std::string, int> next;  // per recipient: the message that must come next
  const auto turn = [&] {
    engine.Turn();
    outbox.Poll(engine);
  };
  const auto answer = [&](int status) {
    const Request request = std::move(transport.sent.front());
    transport.sent.pop_front();
    const std::string to = request.body.substr(3, request.body.find('&') - 3);
    const std::size_t body = request.body.find("&body=") + 6;
    CHECK(std::stoi(request.body.substr(body)) == next[to]);
    if (status == 200) ++next[to];
    offline_post::Answer reply;
    reply.status = status;
    engine.OnDone(request.id, ReadAnswer(request, reply, clock.UnixMs()));
  };
  std::map<std::string, int> written;
  for (int i = 0; i < 2'000; ++i) {
    const std::string to = "u" + std::to_string(random() % 10);
    const auto event = test::MakeEvent(to, std::to_string(written[to]++));
    event->accepted_unix_ms = clock.UnixMs();
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(1, event);
    turn();
    while (transport.sent.size() > 4) answer(random() % 5 == 0 ? 503 : 200);
    if (random() % 20 == 0) clock.Advance(1'000);
  }
  int rounds = 0;
  while (ledger->Snapshot().pending > 0) {
    REQUIRE(++rounds < 100'000);
    turn();
    if (!transport.sent.empty()) {
      answer(200);
    } else if (outbox.idle() && engine.NextTurnMs()) {
      clock.Advance(std::max<Millis>(0, *engine.NextTurnMs() - clock.MonotonicMs()));
    }
  }
  CHECK(ledger->Snapshot().delivered == 2'000);
  test::CheckLaw(ledger->Snapshot());
}

}  // namespace offline_post
