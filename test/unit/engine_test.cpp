// The engine and its deliveries: when they are sent, in which order, and what an answer means.
#include "engine/engine.hpp"

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support/engine_fixture.hpp"
#include "support/outbox_listener.hpp"
#include "support/slow_outbox.hpp"

namespace offline_post {

using test::ConfiguredEngine;
using test::FakeTransport;
using test::SlowOutbox;

TEST_CASE("an accepted event is sent and delivered") {
  ConfiguredEngine f;
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
  ConfiguredEngine f(3);
  for (int i = 0; i < 10; ++i) f.Accept("user" + std::to_string(i));
  CHECK(f.transport.sent.size() == 3);
  f.Answer(200);
  CHECK(f.transport.sent.size() == 3);
  for (int i = 0; i < 9; ++i) f.Answer(200);
  CHECK(f.stats().delivered == 10);
}

TEST_CASE("a recipient's deliveries keep their order through retries") {
  ConfiguredEngine f;
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
    ConfiguredEngine f;
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
  ConfiguredEngine f;
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
  ConfiguredEngine f;
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
  ConfiguredEngine f;
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
  ConfiguredEngine f;
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
  ConfiguredEngine f;
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
  ConfiguredEngine f;
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

TEST_CASE("busy recipients do not keep others from free connections") {
  ConfiguredEngine f(400);
  for (int i = 0; i < 40 * 20; ++i) f.Accept("busy" + std::to_string(i % 40), std::to_string(i));
  for (int i = 0; i < 400; ++i) f.Accept("other" + std::to_string(i));
  CHECK(f.transport.sent.size() == 400);
}

TEST_CASE("idle means that nothing can be sent now") {
  ConfiguredEngine f;
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
  ConfiguredEngine f(1);
  for (int i = 0; i < 5'000; ++i) f.Accept("user" + std::to_string(i));
  CHECK(f.transport.sent.size() == 1);
  f.outbox.Claim(1, {10'000});  // what the engine did not take is still there
  test::RecordingListener listener;
  f.outbox.Poll(listener);
  CHECK(listener.claimed.size() >= 5'000 - Engine::kWindow);
}

TEST_CASE("thousands of events in a mixed history all end, and the law holds") {
  ConfiguredEngine f;
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
  std::map<std::string, int> next;    // per recipient: the message that must come next
  std::map<std::string, int> failed;  // not so often that one leaves its recipient's order
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
    if (status != 200 && ++failed[request.body] >= Engine::kFailuresInOrder) status = 200;
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
