// Collapse: a later event of a topic takes the place of one that waits, and says how many it stands
// for.
#include <memory>
#include <random>
#include <string>

#include "support/engine_fixture.hpp"
#include "support/outbox_listener.hpp"
#include "support/slow_outbox.hpp"

namespace offline_post {

using test::BareEngine;
using test::ConfiguredEngine;

namespace {

std::shared_ptr<Event> About(const std::string& topic, const std::string& body,
                             const std::string& to = "juliet") {
  auto event = test::MakeEvent(to, body);
  event->topic = TopicKey(RecipientKey(*event), topic);
  return event;
}

// What the delivery that ended last stood for, and how it ended.
struct Ending {
  std::string body;
  Final how;
  std::uint32_t stands_for;
};
Ending LastOf(const BareEngine& f) {
  const auto& [delivery, how] = f.outbox.finished.back();
  return {delivery.event->body, how, delivery.stands_for};
}

void ExpectDelivered(BareEngine& f, const std::string& body, std::uint32_t stands_for) {
  CHECK(f.sent_text() == body);
  f.Answer(200);
  CHECK(LastOf(f).body == body);
  CHECK(LastOf(f).how == Final::kDelivered);
  CHECK(LastOf(f).stands_for == stands_for);
}

StoredEndpoint Stored(const BareEngine& f, std::uint64_t pending) {
  StoredEndpoint stored;
  stored.id = 1;
  stored.key = f.endpoint->key;
  stored.accepted = pending;
  return stored;
}

}  // namespace

TEST_CASE("a later event takes the place of the one that waits, under its own id") {
  ConfiguredEngine f(1);
  f.Accept("nurse", "0");
  f.Accept(About("from:romeo", "1"));
  f.Accept(About("from:romeo", "2"));
  CHECK(f.stats().cancelled == 1);
  f.Accept(About("from:romeo", "3"));
  CHECK(f.stats().cancelled == 2);
  f.Answer(200);
  ExpectDelivered(f, "3", 3);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("topics collapse apart, and without a topic nothing does") {
  ConfiguredEngine f(1);
  f.Accept("nurse", "0");
  f.Accept(About("from:romeo", "1"));
  f.Accept(About("from:paris", "2"));
  f.Accept("juliet", "3");
  f.Accept("juliet", "4");
  f.Accept(About("from:paris", "5"));
  f.Accept(About("from:paris", "6", "nurse"));
  CHECK(f.stats().cancelled == 1);
  f.Answer(200);
  int answers = 0;
  for (; !f.transport.sent.empty(); ++answers) f.Answer(200);
  CHECK(answers == 5);
}

TEST_CASE("behind one in flight a later event waits, whatever becomes of that") {
  SECTION("delivered") {
    ConfiguredEngine f;
    f.Accept(About("from:romeo", "1"));
    f.Accept(About("from:romeo", "2"));
    CHECK(f.stats().cancelled == 0);
    ExpectDelivered(f, "1", 1);
    ExpectDelivered(f, "2", 1);
  }
  SECTION("failed: it is cancelled, and the later one stands for it too") {
    for (const int status : {503, 400, 401, 404, 410}) {
      ConfiguredEngine f;
      f.Accept(About("from:romeo", "1"));
      f.Accept(About("from:romeo", "2"));
      f.Accept(About("from:romeo", "3"));
      CHECK(f.stats().cancelled == 1);  // the second, which waited
      f.Answer(status);
      CHECK(f.stats().cancelled == 2);
      CHECK(f.stats().dead == 0);
      if (status == 410) f.Configure();
      ExpectDelivered(f, "3", 3);
    }
  }
  SECTION("given up, as the endpoint is removed") {
    ConfiguredEngine f;
    f.Accept(About("from:romeo", "1"));
    f.Accept(About("from:romeo", "2"));
    f.engine.Remove(1);
    CHECK(f.stats().cancelled == 1);
    f.Configure();
    ExpectDelivered(f, "2", 2);
  }
}

TEST_CASE("one that waits for its retry is superseded, and the later one takes its turn") {
  ConfiguredEngine f;
  f.Accept(About("from:romeo", "1"));
  f.Answer(503);
  f.Accept(About("from:romeo", "2"));
  f.Accept(About("from:romeo", "3"));
  CHECK(f.transport.sent.empty());
  f.AdvanceToNext();
  CHECK(f.stats().cancelled == 2);
  ExpectDelivered(f, "3", 3);
}

TEST_CASE("what is in the outbox, and what is in the window, collapse alike") {
  ConfiguredEngine f(1);
  f.engine.Pause(1);
  for (int i = 0; i < 5'000; ++i) f.Accept("user" + std::to_string(i));
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 500; ++i) {
      f.Accept(About("recipient", std::to_string(i), "user" + std::to_string(10 * i)));
    }
  }
  f.engine.Resume(1);
  f.Turn();
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.stats().cancelled == 1'000);
  CHECK(f.stats().delivered == 5'500);
  CHECK(f.outbox.withdrawals.empty());
  for (const auto& [delivery, how] : f.outbox.finished) {
    if (how == Final::kDelivered)
      CHECK(delivery.stands_for == (delivery.event->topic != 0 ? 3 : 1));
  }
}

TEST_CASE("without order a topic's events still wait for each other, and nobody else does") {
  BareEngine f;
  f.endpoint->ordered = false;
  f.Configure();
  f.Accept(About("from:romeo", "1"));
  f.Accept(About("from:romeo", "2"));
  f.Accept("juliet", "3");
  REQUIRE(f.transport.sent.size() == 2);
  f.Accept(About("from:romeo", "4"));
  CHECK(f.stats().cancelled == 1);
  f.Answer(503);  // the first
  CHECK(f.stats().cancelled == 2);
  f.Answer(200);  // the third
  ExpectDelivered(f, "4", 3);
}

TEST_CASE("after one was sent the next of its topic leaves no sooner than the interval") {
  BareEngine f;
  f.endpoint->collapse_interval_ms = 60'000;
  f.Configure();
  f.Accept(About("from:romeo", "1"));
  ExpectDelivered(f, "1", 1);
  f.Advance(10'000);
  f.Accept(About("from:romeo", "2"));
  f.Accept(About("from:romeo", "3"));
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().cancelled == 1);  // nothing piles up
  f.Accept("juliet", "other");
  f.Accept(About("from:paris", "another"));
  CHECK(f.transport.sent.size() == 2);  // they do not wait
  f.Answer(200);
  f.Answer(200);
  const Stats before = f.stats();
  f.Advance(49'999);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().attempts == before.attempts);
  f.Advance(1);
  ExpectDelivered(f, "3", 2);
  CHECK(f.stats().cancelled == 1);
  CHECK(f.outbox.finished.back().first.attempts == 1);
  f.Advance(60'000);
  f.Accept(About("from:romeo", "4"));
  ExpectDelivered(f, "4", 1);
}

TEST_CASE("an interval is no reason to wait for the retry of what has left") {
  BareEngine f;
  f.endpoint->collapse_interval_ms = 3'600'000;
  f.Configure();
  f.Accept(About("from:romeo", "1"));
  f.Answer(503);
  f.AdvanceToNext();
  CHECK(f.clock.MonotonicMs() < 10'000);
  f.Accept(About("from:romeo", "2"));
  f.Answer(503);
  CHECK(f.stats().cancelled == 1);
  CHECK(f.transport.sent.empty());  // the first may have arrived
  f.Advance(3'600'000);
  ExpectDelivered(f, "2", 2);
}

TEST_CASE("what waits for its time is withdrawn when it comes by") {
  BareEngine f;
  f.endpoint->collapse_interval_ms = 60'000;
  f.Configure();
  f.Accept(About("call:1", "1"));
  f.Answer(200);
  f.Accept(About("call:1", "2"));
  const std::uint64_t recipient = RecipientKey("juliet", "example.org");
  f.engine.Withdraw(1, {recipient, TopicKey(recipient, "call:1"), Final::kCancelled});
  f.Turn();
  CHECK(f.stats().cancelled == 1);  // it is known where it waits
  f.Advance(60'000);
  f.Accept(About("call:2", "3"));
  f.Answer(200);
  f.Accept(About("call:2", "4"));
  f.engine.Withdraw(1, {recipient, 0, Final::kCancelled});
  f.Advance(60'000);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().cancelled == 2);
}

TEST_CASE("an event after a withdrawal stands for nothing before it") {
  const std::uint64_t recipient = RecipientKey("juliet", "example.org");
  for (const bool all : {true, false}) {
    for (const bool in_flight : {true, false}) {
      ConfiguredEngine f(1);
      if (!in_flight) f.Accept("nurse", "0");
      f.Accept(About("from:romeo", "1"));
      f.Accept(About("from:romeo", "2"));
      f.engine.Withdraw(
          1, {recipient, all ? 0 : TopicKey(recipient, "from:romeo"), Final::kCancelled});
      f.Accept(About("from:romeo", "3"));
      f.Answer(in_flight ? 503 : 200);
      CHECK(f.stats().cancelled == 2);
      ExpectDelivered(f, "3", 1);
    }
  }
}

TEST_CASE("what an earlier run has superseded is not sent, and counted once") {
  BareEngine f;
  const std::uint64_t topic = About("from:romeo", "")->topic;
  Delivery first = test::MakeDelivery(1, "juliet");
  Delivery second = test::MakeDelivery(2, "juliet");
  first.event = About("from:romeo", "1");
  second.event = About("from:romeo", "2");
  second.stands_for = 2;
  // What the engine of that run has remembered.
  ConfiguredEngine earlier(1);
  earlier.engine.Pause(1);
  earlier.Accept("nurse");
  for (int i = 0; i < 5'000; ++i) earlier.Accept("user" + std::to_string(i));
  earlier.Accept(About("from:romeo", "1"));
  earlier.Accept(About("from:romeo", "2"));
  REQUIRE(earlier.outbox.withdrawals.size() == 1);
  StoredWithdrawal mark = earlier.outbox.withdrawals.begin()->second;
  mark.until = 1;

  StoredEndpoint stored = Stored(f, 2);
  stored.pending_bytes = EventBytes(*first.event) + EventBytes(*second.event);
  stored.withdrawals = {mark};
  f.outbox.inner.Append(first);
  f.outbox.inner.Append(second);
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  SECTION("as it is") {
    f.Configure();
    CHECK(f.stats().cancelled == 1);
    ExpectDelivered(f, "2", 2);
  }
  SECTION("a new one comes before they are looked at") {
    f.ledger->Open({});
    f.Accept(About("from:romeo", "3"));
    f.Configure();
    CHECK(f.stats().cancelled == 2);
    ExpectDelivered(f, "3", 3);
  }
  CHECK(topic != 0);
}

TEST_CASE("one that waits where an earlier configuration has put it is superseded, too") {
  ConfiguredEngine f(1);
  const auto slower = std::make_shared<Endpoint>(*f.endpoint);
  slower->collapse_interval_ms = 5'000;
  f.Accept("nurse", "0");
  f.Accept(About("from:romeo", "1"));
  f.Configure(1, slower, f.ledger);
  f.Accept(About("from:romeo", "2"));
  f.Configure();
  f.Accept(About("from:romeo", "3"));
  f.Answer(200);
  ExpectDelivered(f, "3", 3);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().cancelled == 2);
}

namespace {

// Takes from the outbox what is not leased, all of juliet's, as a disk does that went bad.
void Lose(BareEngine& f) {
  test::RecordingListener thief;
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  f.outbox.inner.Hasten(1, RecipientKey(*test::MakeEvent("juliet")));
  for (;;) {
    f.outbox.inner.Claim(1, {100});
    while (f.outbox.inner.Poll(thief)) continue;
    if (thief.claimed.empty()) break;
    for (const Delivery& delivery : std::exchange(thief.claimed, {})) {
      ++count;
      bytes += EventBytes(*delivery.event);
      f.outbox.inner.Finish(delivery, Final::kCancelled, {});
    }
  }
  f.engine.OnLost(1, count, bytes);
  f.Turn();
}

}  // namespace

TEST_CASE("of what was lost nothing is left: no mark, and nothing that a later event speaks for") {
  ConfiguredEngine f;
  f.Accept(About("from:romeo", "1"));
  f.Answer(503);
  f.Accept(About("from:romeo", "2"));
  REQUIRE(f.stats().pending == 2);
  REQUIRE(f.outbox.withdrawals.size() == 1);  // the first one's
  SECTION("at once, when nothing is pending") {
    Lose(f);
    CHECK(f.stats().pending == 0);
    CHECK(f.outbox.withdrawals.empty());
  }
  SECTION("or later") {
    f.Accept("nurse");
    Lose(f);
    CHECK(f.stats().pending == 1);
    CHECK(f.outbox.withdrawals.size() == 1);
    f.Answer(200);
    CHECK(f.outbox.withdrawals.empty());
  }
  f.Accept(About("from:romeo", "3"));
  CHECK(f.outbox.withdrawals.empty());
  ExpectDelivered(f, "3", 1);
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
}

TEST_CASE("beyond a rate events collapse into one per share of a minute") {
  BareEngine f;
  f.endpoint->rates = {0, 6, true};
  f.Configure();
  const auto beyond = [](const std::string& body) {
    auto event = test::MakeEvent("juliet", body);
    event->topic = RateTopic(*event);
    return event;
  };
  f.Accept("juliet", "within");
  f.Accept(beyond("1"));
  CHECK(f.transport.sent.size() == 2);
  f.Answer(200);
  f.Answer(200);
  for (const char* body : {"2", "3", "4"}) f.Accept(beyond(body));
  f.Accept("juliet", "within");
  CHECK(f.sent_text() == "within");
  f.Answer(200);
  f.Advance(9'999);
  CHECK(f.transport.sent.empty());
  f.Advance(1);
  ExpectDelivered(f, "4", 3);
}

TEST_CASE("the larger wait of two rates counts") {
  for (const RateLimits rates : {RateLimits{1, 60, true}, RateLimits{60, 1, true}}) {
    BareEngine f;
    f.endpoint->rates = rates;
    f.Configure();
    for (const char* body : {"1", "2"}) {
      auto event = test::MakeEvent("juliet", body);
      event->topic = RateTopic(*event);
      f.Accept(event);
    }
    ExpectDelivered(f, "1", 1);
    f.Advance(59'999);
    CHECK(f.transport.sent.empty());
    f.Advance(1);
    ExpectDelivered(f, "2", 1);
  }
}

TEST_CASE("collapse in a mixed history behind a late outbox: each event is spoken for once") {
  for (const Millis interval : {0, 5'000}) {
    test::ManualClock clock;
    Notices notices(clock);
    MemoryOutbox memory(clock);
    test::SlowOutbox late(memory);
    test::FakeTransport transport;
    Engine engine(late, transport, clock, notices, 42);
    const auto ledger = std::make_shared<Ledger>();
    ledger->Open({});
    const auto endpoint = test::MakeEndpoint("backend", 4);
    endpoint->collapse_interval_ms = interval;
    engine.Configure(1, endpoint, ledger);
    std::mt19937 random(5);
    std::map<std::string, Millis> sent_ms;
    std::map<std::string, int> last;
    RequestId newest = 0;
    const auto answer = [&](int status) {
      const Request request = std::move(transport.sent.front());
      transport.sent.pop_front();
      offline_post::Answer reply;
      reply.status = status;
      engine.OnDone(request.id, ReadAnswer(request, reply, clock.UnixMs()));
    };
    const auto turn = [&] {
      engine.Turn();
      late.Poll(engine);
      for (const Request& request : transport.sent) {
        if (request.id <= newest) continue;
        newest = request.id;
        const std::string to = request.body.substr(3, request.body.find('&') - 3);
        const int number = std::stoi(request.body.substr(request.body.find("&body=") + 6));
        CHECK(number >= last[to]);
        if (number > last[to] && sent_ms.contains(to)) {
          CHECK(clock.MonotonicMs() >= sent_ms[to] + interval);
        }
        last[to] = number;
        sent_ms[to] = clock.MonotonicMs();
      }
    };
    std::map<std::string, int> written;
    for (int i = 0; i < 3'000; ++i) {
      const std::string to = "u" + std::to_string(random() % 10);
      const auto event = About("recipient", std::to_string(++written[to]), to);
      REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
      engine.Accept(1, event);
      turn();
      while (transport.sent.size() > 2) answer(random() % 3 == 0 ? 503 : 200);
      if (random() % 10 == 0) clock.Advance(500);
    }
    int rounds = 0;
    while (ledger->Snapshot().pending > 0) {
      REQUIRE(++rounds < 100'000);
      turn();
      if (!transport.sent.empty()) {
        answer(200);
      } else if (late.idle() && engine.NextTurnMs()) {
        clock.Advance(std::max<Millis>(0, *engine.NextTurnMs() - clock.MonotonicMs()));
      }
    }
    const Stats stats = ledger->Snapshot();
    CHECK(stats.delivered + stats.cancelled == 3'000);
    CHECK(late.stood_for == 3'000);
    for (const auto& [to, count] : written) CHECK(last[to] == count);
    test::CheckLaw(stats);
  }
}

}  // namespace offline_post
