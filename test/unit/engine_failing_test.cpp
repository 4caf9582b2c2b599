// What the backend fails again and again while it accepts others: such a message leaves its
// recipient's order, and the recipient's later messages go.
#include <algorithm>
#include <string>
#include <vector>

#include "support/batch_fixture.hpp"
#include "support/engine_fixture.hpp"
#include "support/spool.hpp"

namespace offline_post {

namespace {

using Texts = std::vector<std::string>;

constexpr Millis kWaitMs = 1'000;
constexpr Millis kBeyondMs = 1'300;  // the wait with its jitter

std::string TextIn(const Request& request) {
  const std::size_t begin = request.body.find("&body=") + 6;
  return request.body.substr(begin, request.body.find('&', begin) - begin);
}

// A backend that fails what begins with "bad", and accepts everything else.
struct FailingEngine : test::BareEngine {
  Texts delivered;
  int failed = 0;
  int bad_status = 500;

  FailingEngine() { endpoint->schedule.waits_ms = {kWaitMs}; }

  void AnswerAll() {
    while (!transport.sent.empty()) {
      const std::string text = TextIn(transport.sent.front());
      const bool bad = text.starts_with("bad");
      if (bad) ++failed;
      if (!bad) delivered.push_back(text);
      Answer(bad ? bad_status : 200);
    }
  }
  // What waits for its retry fails so many times, and in between another one is delivered.
  void Fail(int times) {
    for (int i = 0; i < times; ++i) {
      AnswerAll();
      Accept("nurse", "other");
      AnswerAll();
      Advance(kBeyondMs);
    }
    AnswerAll();
    std::erase(delivered, "other");
  }
  // juliet's first message is out of order; it was tried six times.
  void LeaveOrder() {
    Configure();
    Accept("juliet", "bad");
    Fail(5);
    REQUIRE(stats().out_of_order == 1);
  }
  bool HasNotice(const std::string& text) const {
    for (const Notice& notice : notices.Waiting())
      if (test::Has(notice.line, text)) return true;
    return false;
  }
};

std::shared_ptr<Event> OfTopic(const std::string& topic, const std::string& body) {
  auto event = test::MakeEvent("juliet", body);
  event->topic = TopicKey(RecipientKey(*event), topic);
  return event;
}

}  // namespace

TEST_CASE("after five failures beside others' deliveries a message leaves its recipient's order") {
  FailingEngine f;
  f.Configure();
  f.Accept("juliet", "bad");
  for (const char* text : {"1", "2", "3"}) f.Accept("juliet", text);
  f.Fail(3);
  f.Accept("nurse", "other");
  f.AnswerAll();
  CHECK(f.failed == 4);
  CHECK(f.stats().recipients_waiting == 1);
  CHECK(f.stats().out_of_order == 0);
  CHECK(f.stats().pending == 4);
  f.delivered.clear();
  f.Advance(kBeyondMs);
  f.AnswerAll();
  CHECK(f.failed == 5);
  CHECK(f.delivered == Texts{"1", "2", "3"});
  CHECK(f.stats().recipients_waiting == 0);
  CHECK(f.stats().out_of_order == 1);
  CHECK(f.stats().pending == 1);
  CHECK(f.HasNotice("msg_juliet_bad failed 5 times (HTTP 500)"));
  // It is retried as before, alone.
  f.Accept("juliet", "4");
  f.Advance(kBeyondMs);
  CHECK(f.transport.sent.size() == 2);
  f.bad_status = 200;
  f.AnswerAll();
  CHECK(f.stats().out_of_order == 0);
  CHECK(f.stats().pending == 0);
  CHECK(f.stats().delivered == 9);
}

TEST_CASE("failures between which nothing was delivered keep the order, however many") {
  FailingEngine f;
  f.Configure();
  f.Accept("juliet", "bad");
  f.Accept("juliet", "bad too");
  for (int i = 0; i < 20; ++i) {
    f.AnswerAll();
    f.AdvanceToNext();
  }
  CHECK(f.failed >= 10);
  f.bad_status = 200;
  f.AnswerAll();
  f.Settle(60'000);
  CHECK(f.stats().out_of_order == 0);
  CHECK(f.stats().recipients_waiting <= 1);
  REQUIRE(f.outbox.finished.size() <= 2);
  REQUIRE_FALSE(f.outbox.finished.empty());
  CHECK(f.outbox.finished.front().first.event->body == "bad");
}

TEST_CASE("what blames the configuration counts beside the endpoint's own deliveries only") {
  FailingEngine f;
  const auto other = test::MakeEndpoint();
  other->key = {"other.example.org", "mod_offline_post"};
  const auto book = std::make_shared<Ledger>();
  f.Configure();
  f.Configure(2, other, book);
  f.bad_status = GENERATE(401, 503);
  f.Accept("juliet", "bad");
  f.Accept("juliet", "1");
  for (int i = 0; i < 8; ++i) {
    f.AnswerAll();
    const auto event = test::MakeEvent("paris", "elsewhere" + std::to_string(i));
    REQUIRE(book->Reserve(EventBytes(*event)) == Admission::kAccepted);
    f.engine.Accept(2, event);
    f.Turn();
    f.AnswerAll();
    f.Advance(kBeyondMs);
  }
  // The origin delivers: 503 is the message's own trouble. The endpoint's token may be wrong.
  const bool own = f.bad_status == 503;
  CHECK(f.stats().out_of_order == (own ? 1 : 0));
  CHECK(std::count(f.delivered.begin(), f.delivered.end(), "1") == (own ? 1 : 0));
  CHECK(f.stats().delivered == (own ? 1 : 0));
  CHECK(book->Snapshot().delivered == 8);
}

TEST_CASE("order none: nobody waits, and nothing leaves an order") {
  FailingEngine f;
  f.endpoint->ordered = false;
  f.Configure();
  f.Accept("juliet", "bad");
  f.Accept("juliet", "1");
  f.Fail(8);
  CHECK(f.failed == 9);
  CHECK(f.stats().recipients_waiting == 0);
  CHECK(f.stats().out_of_order == 0);
}

TEST_CASE("a replayed dead letter is in its recipient's order again") {
  FailingEngine f;
  f.endpoint->schedule.max_age_ms = 20'000;
  f.LeaveOrder();
  f.Fail(15);
  REQUIRE(f.stats().dead == 1);
  CHECK(f.stats().out_of_order == 0);
  f.delivered.clear();
  f.failed = 0;
  f.engine.ReplayDead(1, {}, [](std::uint64_t) {});
  f.Turn();
  f.Accept("juliet", "1");
  f.Fail(3);
  CHECK(f.failed == 4);
  CHECK(f.delivered.empty());
  CHECK(f.stats().recipients_waiting == 1);
  f.Fail(1);
  CHECK(f.delivered == Texts{"1"});
  CHECK(f.stats().out_of_order == 1);
}

TEST_CASE("what is out of order is withdrawn at once, with what is in order") {
  FailingEngine f;
  f.LeaveOrder();
  f.endpoint = std::make_shared<Endpoint>(*f.endpoint);
  f.endpoint->schedule.waits_ms = {3'600'000};
  f.Configure();
  f.Advance(kBeyondMs);
  f.AnswerAll();
  REQUIRE(f.stats().pending == 1);
  const Withdrawal all{RecipientKey("juliet", "example.org"), 0, Final::kPurged};
  SECTION("while it waits") {
    f.engine.Withdraw(1, all);
    f.Turn();
    CHECK(f.stats().purged == 1);
  }
  SECTION("while it could leave") {
    f.engine.Pause(1);
    f.engine.Hasten(1);
    f.Advance(100);
    f.engine.Withdraw(1, all);
    CHECK(f.stats().purged == 1);
    f.Turn();
  }
  SECTION("while it is in flight") {
    f.engine.Hasten(1);
    f.Advance(100);
    REQUIRE(f.transport.sent.size() == 1);
    f.engine.Withdraw(1, all);
    f.AnswerAll();
    CHECK(f.stats().purged == 1);
  }
  CHECK(f.stats().out_of_order == 0);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("a later one of its topic ends what is out of order, also while that is in flight") {
  FailingEngine f;
  f.Configure();
  f.Accept(OfTopic("from:romeo", "bad"));
  f.Accept("juliet", "1");
  f.Fail(5);
  REQUIRE(f.stats().out_of_order == 1);
  REQUIRE(f.transport.sent.empty());
  CHECK(f.delivered == Texts{"1"});
  SECTION("while it waits") {
    f.Accept(OfTopic("from:romeo", "2"));
    f.AnswerAll();
    f.Advance(kBeyondMs);
  }
  SECTION("while it is in flight") {
    f.Advance(kBeyondMs);
    REQUIRE(f.transport.sent.size() == 1);
    f.Accept(OfTopic("from:romeo", "2"));
    REQUIRE(f.transport.sent.size() == 2);
    std::swap(f.transport.sent[0], f.transport.sent[1]);  // the later one is delivered first
    f.AnswerAll();
  }
  CHECK(f.transport.sent.empty());
  CHECK(f.delivered == Texts{"1", "2"});
  CHECK(f.stats().cancelled == 1);
  CHECK(f.stats().pending == 0);
  CHECK(f.stats().out_of_order == 0);
}

TEST_CASE("in a topic's own lane a message stays: the next of its topic takes its place") {
  FailingEngine f;
  f.endpoint->collapse_interval_ms = 100;
  f.Configure();
  f.Accept(OfTopic("from:romeo", "bad"));
  f.Accept("juliet", "1");
  f.Fail(8);
  CHECK(f.delivered == Texts{"1"});
  CHECK(f.stats().out_of_order == 0);
  CHECK(f.stats().recipients_waiting == 1);
  f.Accept(OfTopic("from:romeo", "2"));
  f.Advance(kBeyondMs);
  f.AnswerAll();
  CHECK(f.delivered == Texts{"1", "2"});
  CHECK(f.stats().cancelled == 1);
  CHECK(f.stats().recipients_waiting == 0);
}

TEST_CASE(
    "what is out of order does not open the breaker, and is not the probe while others wait") {
  FailingEngine f;
  f.Configure();
  for (const char* to : {"juliet", "paris", "mercutio"}) f.Accept(to, "bad");
  f.Fail(5);
  REQUIRE(f.stats().out_of_order == 3);
  for (int i = 0; i < 10; ++i) {
    f.Advance(kBeyondMs);
    f.AnswerAll();
  }
  CHECK(f.stats().state == EndpointState::kHealthy);
  // The backend is away; when it is back, the first to ask is one that it would accept.
  for (int i = 0; i < 6; ++i) f.Accept("nurse" + std::to_string(i), "fine");
  while (!f.transport.sent.empty()) f.Answer(0, "", "connection refused");
  REQUIRE(f.stats().state == EndpointState::kBroken);
  f.Advance(kBeyondMs);
  REQUIRE(f.transport.sent.size() == 1);
  CHECK(TextIn(f.transport.sent.front()) == "fine");
  f.AnswerAll();
  f.Advance(kBeyondMs);
  f.AnswerAll();
  CHECK(f.stats().state == EndpointState::kHealthy);
  CHECK(f.delivered.size() == 6);
  CHECK(f.stats().out_of_order == 3);
}

TEST_CASE("what is out of order is the probe where nothing else waits") {
  FailingEngine f;
  f.LeaveOrder();
  for (int i = 0; i < 6; ++i) f.Accept("nurse" + std::to_string(i), "fine");
  const Withdrawal cancel{RecipientKey("nurse0", "example.org"), 0, Final::kCancelled};
  while (!f.transport.sent.empty()) f.Answer(0, "", "connection refused");
  REQUIRE(f.stats().state == EndpointState::kBroken);
  for (int i = 0; i < 6; ++i) {
    Withdrawal one = cancel;
    one.recipient = RecipientKey("nurse" + std::to_string(i), "example.org");
    f.engine.Withdraw(1, one);
  }
  f.bad_status = 200;
  for (int i = 0; i < 10; ++i) {
    f.Advance(kBeyondMs);
    f.AnswerAll();
  }
  CHECK(f.stats().state == EndpointState::kHealthy);
  CHECK(f.stats().pending == 0);
}

TEST_CASE(
    "batch: one that fails in company leaves its recipient's order, the others are delivered") {
  test::BatchEngine f;
  f.endpoint = std::make_shared<Endpoint>(*f.endpoint);
  f.endpoint->schedule.waits_ms = {kWaitMs};
  f.Configure();
  f.WarmUp();
  f.Accept("juliet");
  f.Accept(test::MakeEvent("juliet", "later"));
  // Between the last failure in company and the first alone nothing else is delivered.
  for (int i = 0; i < 6; ++i) {
    f.Accept("nurse" + std::to_string(i));
    f.Settle(test::BatchEngine::kDelayMs);
    CHECK(f.stats().out_of_order == 0);
    while (!f.transport.sent.empty()) {
      if (test::Has(f.sent_body(0), "\"msg_juliet_hello\"")) {
        f.AnswerResults(test::BatchEngine::Result("juliet", "500"));
      } else {
        f.Answer(200);
      }
    }
    f.Settle(test::BatchEngine::kDelayMs);
    while (!f.transport.sent.empty()) f.Answer(200);
    f.Advance(kBeyondMs);
  }
  CHECK(f.stats().out_of_order == 1);
  f.Settle(test::BatchEngine::kDelayMs);
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("the outbox keeps over a restart what failed, and what is out of order") {
  test::Spool s;
  test::FakeTransport transport;
  const auto endpoint = test::MakeEndpoint();
  endpoint->schedule.waits_ms = {kWaitMs};
  std::shared_ptr<Ledger> ledger;
  std::unique_ptr<Engine> engine;
  const auto turn = [&] {
    do {
      engine->Turn();
    } while (s.outbox->Poll(*engine));
  };
  const auto restart = [&] {
    engine.reset();
    transport.sent.clear();
    s.Open();
    engine = std::make_unique<Engine>(*s.outbox, transport, s.clock, s.notices, 42);
    ledger = std::make_shared<Ledger>();
    for (const StoredEndpoint& stored : s.outbox->Stored()) {
      ledger->Restore(stored);
      engine->Restore(stored, ledger);
    }
    ledger->Open(endpoint->limits);
    engine->Configure(1, endpoint, ledger);
    turn();
  };
  const auto accept = [&](const std::string& to, const std::string& text) {
    const auto event = test::MakeEvent(to, text);
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine->Accept(1, event);
    turn();
  };
  Texts delivered;
  const auto answer_all = [&] {
    while (!transport.sent.empty()) {
      const Request request = std::move(transport.sent.front());
      transport.sent.pop_front();
      const bool bad = TextIn(request) == "bad";
      if (!bad) delivered.push_back(TextIn(request));
      Answer answer;
      answer.status = bad ? 500 : 200;
      engine->OnDone(request.id, ReadAnswer(request, answer, s.clock.UnixMs()));
      turn();
    }
  };
  const auto fail = [&] {
    answer_all();
    accept("nurse", "other");
    answer_all();
    std::erase(delivered, "other");
    s.clock.Advance(kBeyondMs);
    turn();
  };
  restart();
  accept("juliet", "bad");
  accept("juliet", "1");
  for (int i = 0; i < 3; ++i) fail();
  restart();
  CHECK(ledger->Snapshot().recipients_waiting == 1);
  // What was delivered in the earlier run says nothing of the backend in this one.
  answer_all();
  CHECK(ledger->Snapshot().recipients_waiting == 1);
  s.clock.Advance(kBeyondMs);
  turn();
  fail();
  fail();
  CHECK(delivered.empty());
  answer_all();
  CHECK(delivered == Texts{"1"});
  CHECK(ledger->Snapshot().out_of_order == 1);
  accept("juliet", "2");
  restart();
  CHECK(ledger->Snapshot().out_of_order == 1);
  CHECK(ledger->Snapshot().recipients_waiting == 0);
  answer_all();
  CHECK(delivered.back() == "2");
  s.clock.Advance(kBeyondMs);
  turn();
  CHECK(transport.sent.size() == 1);
  CHECK(ledger->Snapshot().out_of_order == 1);
  CHECK(ledger->Snapshot().pending == 1);
  test::CheckLaw(ledger->Snapshot());
}

}  // namespace offline_post
