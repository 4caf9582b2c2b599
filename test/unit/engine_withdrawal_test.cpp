// Withdrawals: what was accepted for a recipient, or of one of his topics, ends before it leaves.
#include <memory>
#include <random>
#include <string>

#include "support/engine_fixture.hpp"
#include "support/slow_outbox.hpp"

namespace offline_post {

using test::BareEngine;
using test::ConfiguredEngine;

namespace {

Withdrawal All(const std::string& user, Final how = Final::kCancelled) {
  return {RecipientKey(user, "example.org"), 0, how};
}

Withdrawal Of(const std::string& user, const std::string& topic, Final how = Final::kCancelled) {
  const std::uint64_t recipient = RecipientKey(user, "example.org");
  return {recipient, TopicKey(recipient, topic), how};
}

std::shared_ptr<Event> Topical(const std::string& to, const std::string& topic,
                               const std::string& body) {
  auto event = test::MakeEvent(to, body);
  event->topic = TopicKey(RecipientKey(*event), topic);
  return event;
}

}  // namespace

TEST_CASE("what waits for a recipient is withdrawn, and nobody else's") {
  for (const Final how : {Final::kCancelled, Final::kPurged}) {
    ConfiguredEngine f(1);
    f.Accept("nurse", "1");
    f.Accept("juliet", "2");
    f.Accept("nurse", "3");
    f.Accept("juliet", "4");
    f.engine.Withdraw(1, All("juliet", how));
    f.Turn();
    CHECK((how == Final::kPurged ? f.stats().purged : f.stats().cancelled) == 2);
    CHECK(f.sent_text() == "1");
    f.Answer(200);
    CHECK(f.sent_text() == "3");
    f.Answer(200);
    CHECK(f.stats().delivered == 2);
    CHECK(f.stats().pending == 0);
    CHECK(f.stats().pending_bytes == 0);
  }
}

TEST_CASE("what is accepted after a withdrawal leaves") {
  ConfiguredEngine f(1);
  f.Accept("nurse", "1");
  f.Accept("juliet", "2");
  f.engine.Withdraw(1, All("juliet"));
  f.Accept("juliet", "3");
  f.Answer(200);
  CHECK(f.sent_text() == "3");
  f.Answer(200);
  CHECK(f.stats().cancelled == 1);
}

TEST_CASE("what is in flight is delivered if it succeeds, and else withdrawn") {
  for (const int status : {200, 400, 410, 401, 404, 429, 503, 0}) {
    for (const Final how : {Final::kCancelled, Final::kPurged}) {
      ConfiguredEngine f;
      f.Accept("juliet");
      f.engine.Withdraw(1, All("juliet", how));
      f.Turn();
      CHECK(f.stats().in_flight == 1);
      CHECK(f.stats().pending == 1);
      f.Answer(status, "", status == 0 ? "timeout" : "");
      const Stats stats = f.stats();
      INFO(status);
      CHECK(stats.delivered == (status == 200 ? 1 : 0));
      CHECK(stats.cancelled == (status != 200 && how == Final::kCancelled ? 1 : 0));
      CHECK(stats.purged == (status != 200 && how == Final::kPurged ? 1 : 0));
      CHECK(stats.dead == 0);
      CHECK(stats.pending == 0);
      CHECK(stats.in_flight == 0);
      CHECK(stats.retries == 0);
      CHECK(stats.state == (status == 410 ? EndpointState::kPaused : EndpointState::kHealthy));
      CHECK(f.transport.sent.empty());
    }
  }
}

TEST_CASE("a withdrawn delivery's failure tells about the endpoint all the same") {
  for (const int status : {401, 503}) {
    ConfiguredEngine f;
    for (int i = 0; i < 5; ++i) f.Accept("user" + std::to_string(i));
    for (int i = 0; i < 5; ++i) f.engine.Withdraw(1, All("user" + std::to_string(i)));
    while (!f.transport.sent.empty()) f.Answer(status);
    CHECK(f.stats().state == EndpointState::kBroken);
    CHECK(f.stats().cancelled == 5);
  }
}

TEST_CASE("what a removal gives up is withdrawn too, in flight or waiting") {
  ConfiguredEngine f(1);
  f.Accept("juliet", "1");
  f.Accept("nurse", "2");
  f.engine.Withdraw(1, All("juliet"));
  f.engine.Remove(1);
  f.Turn();
  CHECK(f.stats().cancelled == 1);
  CHECK(f.stats().in_flight == 0);
  CHECK(f.stats().pending == 1);
}

TEST_CASE("what a removed endpoint has left is withdrawn when it is looked at") {
  ConfiguredEngine f(1);
  f.Accept("juliet", "1");
  f.engine.Remove(1);
  f.engine.Withdraw(1, All("juliet", Final::kPurged));
  f.Turn();
  CHECK(f.stats().pending == 1);
  f.Advance(f.endpoint->schedule.max_age_ms);
  CHECK(f.stats().purged == 1);
  CHECK(f.stats().dead == 0);
}

TEST_CASE("what waits for its retry is withdrawn at once") {
  ConfiguredEngine f;
  f.Accept("juliet", "1");
  f.Accept("juliet", "2");
  f.Answer(503);
  CHECK(f.stats().pending == 2);
  f.engine.Withdraw(1, All("juliet"));
  f.Turn();
  CHECK(f.stats().cancelled == 2);
  CHECK(f.outbox.withdrawals.empty());  // and the mark is not needed any more
}

TEST_CASE("a topic is withdrawn without the recipient's other events") {
  ConfiguredEngine f(1);
  f.Accept("nurse", "0");
  f.Accept(Topical("juliet", "call:1", "1"));
  f.Accept("juliet", "2");
  f.Accept(Topical("juliet", "call:2", "3"));
  f.engine.Withdraw(1, Of("juliet", "call:1"));
  f.Answer(200);
  for (const char* text : {"2", "3"}) {
    CHECK(f.sent_text() == text);
    f.Answer(200);
  }
  CHECK(f.stats().cancelled == 1);
}

TEST_CASE("a topic that waits for its retry is withdrawn at once, and only then is it hastened") {
  ConfiguredEngine f;
  f.Accept(Topical("juliet", "call:1", "1"));
  f.Answer(503);
  f.Accept(Topical("juliet", "call:2", "2"));  // waits behind the first
  f.engine.Withdraw(1, Of("juliet", "call:2"));
  f.Turn();
  CHECK(f.transport.sent.empty());  // the first still has to wait
  CHECK(f.stats().pending == 2);
  f.engine.Withdraw(1, Of("juliet", "call:1"));
  f.Turn();
  CHECK(f.stats().cancelled == 2);
  CHECK(f.transport.sent.empty());
}

TEST_CASE("without order what waits is withdrawn when it comes by") {
  BareEngine f;
  f.endpoint->ordered = false;
  f.endpoint->max_connections = 1;
  f.Configure();
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  f.Answer(503);
  f.engine.Withdraw(1, All("juliet"));
  f.Turn();
  CHECK(f.stats().cancelled == 1);  // the third; the second is out, the first waits
  f.Answer(500);
  CHECK(f.stats().cancelled == 2);
  f.AdvanceToNext();
  CHECK(f.stats().cancelled == 3);
  CHECK(f.transport.sent.empty());
}

TEST_CASE("a reload to another order leaves nothing that is withdrawn") {
  BareEngine f;
  f.endpoint->ordered = false;
  f.endpoint->max_connections = 1;
  f.Configure();
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  f.endpoint = test::MakeEndpoint("backend", 1);
  f.Configure();
  f.engine.Withdraw(1, All("juliet"));
  f.Answer(200);
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().delivered == 1);
  CHECK(f.stats().cancelled == 2);
}

TEST_CASE("a backlog beyond the window is withdrawn as it comes by, and the marks go with it") {
  ConfiguredEngine f(1);
  f.engine.Pause(1);
  for (int i = 0; i < 5'000; ++i) f.Accept("user" + std::to_string(i % 10), std::to_string(i));
  for (int user = 0; user < 9; ++user) {
    f.engine.Withdraw(1, All("user" + std::to_string(user)));
    f.Turn();
  }
  CHECK(f.outbox.withdrawals.size() == 9);
  f.engine.Resume(1);
  f.Turn();
  std::uint64_t sent = 0;
  for (; !f.transport.sent.empty(); ++sent) {
    CHECK(f.sent_body(0).find("to=user9") != std::string::npos);
    f.Answer(200);
  }
  CHECK(sent == 500);
  CHECK(f.stats().cancelled == 4'500);
  CHECK(f.outbox.withdrawals.empty());
}

TEST_CASE("a withdrawal outlives the run") {
  for (const Final how : {Final::kCancelled, Final::kPurged}) {
    BareEngine f;
    StoredEndpoint stored;
    stored.id = 1;
    stored.key = f.endpoint->key;
    stored.accepted = 3;
    for (Sequence sequence = 1; sequence <= 3; ++sequence) {
      Delivery delivery = test::MakeDelivery(sequence, "juliet");
      stored.pending_bytes += EventBytes(*delivery.event);
      f.outbox.inner.Append(std::move(delivery));
    }
    stored.withdrawals = {
        {MarkKey(Marked::kRecipient, RecipientKey("juliet", "example.org")), 2, how}};
    f.ledger->Restore(stored);
    f.engine.Restore(stored, f.ledger);
    f.Configure();
    CHECK((how == Final::kPurged ? f.stats().purged : f.stats().cancelled) == 2);
    CHECK(f.sent_text() == "3");
    f.Answer(200);
    CHECK(f.stats().pending == 0);
  }
}

TEST_CASE("a purge of all takes the recipient's dead letters with it, in slices") {
  ConfiguredEngine f;
  for (int i = 0; i < 900; ++i) {
    f.Accept(i % 3 > 0 ? "juliet" : "nurse", std::to_string(i));
    f.Answer(400);
  }
  f.engine.Withdraw(1, Of("juliet", "call:1", Final::kPurged));
  f.engine.Withdraw(1, All("juliet", Final::kCancelled));
  f.Settle();
  CHECK(f.stats().dead == 900);
  f.engine.Withdraw(1, All("juliet", Final::kPurged));
  f.Turn();
  CHECK(f.stats().purged == 500);
  f.Settle();
  CHECK(f.stats().purged == 600);
  CHECK(f.stats().dead == 300);
  for (const DeadLetter& letter : f.Dead()) CHECK(letter.delivery.event->to.user == "nurse");
}

TEST_CASE(
    "of many accounts that are removed, a pass purges all, and no replay posts what they left") {
  ConfiguredEngine f;
  constexpr int kUsers = 1'000;  // two slices
  for (int i = 0; i < kUsers; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(400);
  }
  std::uint64_t replayed = 0;
  f.engine.ReplayDead(1, {}, [&replayed](std::uint64_t count) { replayed = count; });
  for (int i = 0; i < kUsers; i += 2)
    f.engine.Withdraw(1, All("user" + std::to_string(i), Final::kPurged));
  f.Settle();
  CHECK(f.stats().purged == kUsers / 2);
  CHECK(replayed == kUsers / 2);
  const auto& visits = f.outbox.dead_visits;
  CHECK(std::count(visits.begin(), visits.end(), DeadAct::kPurge) == 2);  // slices
  int sent = 0;
  for (; !f.transport.sent.empty(); ++sent) f.Answer(200);
  CHECK(sent == kUsers / 2);
}

TEST_CASE("an account that was removed and registered again keeps its new dead letters") {
  ConfiguredEngine f;
  for (int i = 0; i < 600; ++i) {  // two slices: the second comes a millisecond later
    f.Accept("juliet");
    f.Answer(400);
  }
  f.Accept("nurse");
  f.Answer(400);
  f.engine.Withdraw(1, All("juliet", Final::kPurged));
  f.Turn();
  REQUIRE(f.stats().purged == 500);
  f.engine.Withdraw(1, All("nurse", Final::kPurged));  // for the next pass
  f.Accept("nurse");
  f.Answer(400);
  const Sequence kept = f.outbox.finished.back().first.sequence;
  f.Settle();
  CHECK(f.stats().purged == 601);
  const auto dead = f.Dead();
  REQUIRE(dead.size() == 1);
  CHECK(dead[0].delivery.sequence == kept);
}

TEST_CASE("letters on their way back to the queue are withdrawn with it") {
  ConfiguredEngine f;
  f.Accept("juliet");
  f.Answer(400);
  f.engine.ReplayDead(1, {}, [](std::uint64_t) {});
  f.engine.Turn();  // the outbox has not answered yet
  f.engine.Withdraw(1, All("juliet"));
  f.Turn();
  CHECK(f.stats().cancelled == 1);
  CHECK(f.transport.sent.empty());
}

TEST_CASE("a withdrawal of what is not there leaves no mark") {
  ConfiguredEngine f;
  f.engine.Withdraw(1, All("juliet"));
  f.engine.Withdraw(7, All("juliet"));  // no such endpoint
  f.Turn();
  CHECK(f.outbox.withdrawals.empty());
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
}

TEST_CASE("withdrawals in a mixed history behind a late outbox: all ends, the law holds") {
  test::ManualClock clock;
  Notices notices(clock);
  MemoryOutbox memory(clock);
  test::SlowOutbox outbox(memory);
  test::FakeTransport transport;
  Engine engine(outbox, transport, clock, notices, 42);
  const auto ledger = std::make_shared<Ledger>();
  ledger->Open({});
  const auto endpoint = test::MakeEndpoint("backend", 4);
  engine.Configure(1, endpoint, ledger);
  std::mt19937 random(5);
  // Per recipient: events up to this one are withdrawn and must not leave any more.
  std::map<std::string, int> withdrawn;
  std::map<std::string, int> written;
  const auto answer = [&](int status) {
    const Request request = std::move(transport.sent.front());
    transport.sent.pop_front();
    offline_post::Answer reply;
    reply.status = status;
    engine.OnDone(request.id, ReadAnswer(request, reply, clock.UnixMs()));
  };
  std::size_t seen = 0;
  RequestId newest = 0;
  const auto turn = [&] {
    engine.Turn();
    outbox.Poll(engine);
    for (const Request& request : transport.sent) {
      if (request.id <= newest) continue;
      newest = request.id;
      ++seen;
      const std::string to = request.body.substr(3, request.body.find('&') - 3);
      const std::size_t body = request.body.find("&body=") + 6;
      CHECK(std::stoi(request.body.substr(body)) > withdrawn[to]);
    }
  };
  for (int i = 0; i < 3'000; ++i) {
    const std::string to = "u" + std::to_string(random() % 10);
    const auto event = test::MakeEvent(to, std::to_string(++written[to]));
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(1, event);
    turn();
    while (transport.sent.size() > 2) answer(random() % 3 == 0 ? 503 : 200);
    if (random() % 20 == 0) {
      engine.Withdraw(1, All(to, random() % 2 == 0 ? Final::kCancelled : Final::kPurged));
      withdrawn[to] = written[to];
    }
    if (random() % 20 == 0) clock.Advance(1'000);
    test::CheckLaw(ledger->Snapshot());
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
  const Stats stats = ledger->Snapshot();
  CHECK(stats.cancelled > 0);
  CHECK(stats.purged > 0);
  CHECK(stats.delivered > 0);
  CHECK(seen >= stats.delivered);
  CHECK(stats.accepted == 3'000);
  test::CheckLaw(stats);
}

}  // namespace offline_post
