// The end of a call (call_end): it withdraws an offer that has not left, and ends with it; it is
// sent behind one that has, whatever holds others.
#include <memory>
#include <string>

#include "support/batch_fixture.hpp"
#include "support/engine_fixture.hpp"
#include "support/spool.hpp"

namespace offline_post {

using test::BareEngine;
using test::BatchEngine;
using test::ConfiguredEngine;

namespace {

std::shared_ptr<Event> InCall(const std::string& kind, const std::string& body,
                              const std::string& to = "juliet", const std::string& call = "s1") {
  auto event = test::MakeEvent(to, body);
  event->kind = kind;
  event->topic = TopicKey(RecipientKey(*event), "call:" + call);
  return event;
}
std::shared_ptr<Event> Offer(const std::string& body = "offer") { return InCall("call", body); }
std::shared_ptr<Event> End(const std::string& body = "end") { return InCall("call_end", body); }

void ExpectNothingLeft(const BareEngine& f, std::uint64_t cancelled) {
  CHECK(f.stats().cancelled == cancelled);
  CHECK(f.stats().pending == 0);
  CHECK(f.stats().pending_bytes == 0);
  CHECK(f.stats().dead == 0);
}

}  // namespace

TEST_CASE("an offer that waits and its end are cancelled, and nobody else's") {
  for (const bool ordered : {true, false}) {
    ConfiguredEngine f(1);
    f.endpoint->ordered = ordered;
    f.Configure();
    f.Accept("nurse", "first");
    f.Accept(Offer());
    f.Accept(InCall("call", "other", "juliet", "s2"));
    f.Accept(End());
    CHECK(f.sent_text() == "first");
    f.Answer(200);
    CHECK(f.sent_text() == "other");
    f.Answer(200);
    ExpectNothingLeft(f, 2);
    CHECK(f.outbox.withdrawals.empty());
  }
}

TEST_CASE("an offer that waits for its retry is cancelled with its end, at once") {
  for (const bool ordered : {true, false}) {
    ConfiguredEngine f;
    f.endpoint->ordered = ordered;
    f.Configure();
    f.Accept(Offer());
    f.Answer(503);
    REQUIRE(f.stats().pending == 1);
    f.Accept(End());
    CHECK(f.transport.sent.empty());
    ExpectNothingLeft(f, 2);
  }
}

TEST_CASE("an offer in the outbox beyond the window is cancelled with its end") {
  ConfiguredEngine f(1);
  for (std::size_t i = 0; i < 2 * Engine::kWindow; ++i) f.Accept("user" + std::to_string(i));
  f.Accept(Offer());
  f.Accept(End());
  while (!f.transport.sent.empty()) {
    CHECK_FALSE(test::Has(f.sent_body(0), "juliet"));
    f.Answer(200);
  }
  ExpectNothingLeft(f, 2);
}

TEST_CASE("behind an offer in flight its end waits, and is sent whatever came of that") {
  for (const bool ordered : {true, false}) {
    for (const int status : {200, 400, 401, 503}) {
      ConfiguredEngine f;
      f.endpoint->ordered = ordered;
      f.Configure();
      f.Accept(Offer());
      f.Accept(End());
      CHECK(f.sent_text() == "offer");
      f.Answer(status);
      CHECK(f.sent_text() == "end");
      f.Answer(503);
      f.AdvanceToNext();
      CHECK(f.sent_text() == "end");
      f.Answer(200);
      CHECK(f.outbox.finished.back().first.stands_for == 1);
      ExpectNothingLeft(f, status == 200 ? 0 : 1);
    }
  }
}

TEST_CASE("the end of a call that was posted, or that nobody knows, is sent") {
  ConfiguredEngine f;
  f.Accept(Offer());
  f.Answer(200);
  f.Accept(End());
  CHECK(f.sent_text() == "end");
  f.Answer(200);
  f.Accept(End("again"));
  CHECK(f.sent_text() == "again");
  f.Answer(200);
  CHECK(f.outbox.withdrawals.empty());
  ExpectNothingLeft(f, 0);
}

TEST_CASE("neither an interval nor a rate holds the end of a call") {
  ConfiguredEngine f;
  f.endpoint->collapse_interval_ms = 600'000;
  f.endpoint->rates = {0, 1, true};
  f.Configure();
  f.Accept(Offer());
  f.Answer(200);
  f.Accept(End());
  CHECK(f.sent_text() == "end");
  f.Answer(200);
  // The next offer waits for its time, and ends with its end.
  f.Accept(Offer("next"));
  CHECK(f.transport.sent.empty());
  f.Accept(End());
  CHECK(f.transport.sent.empty());
  ExpectNothingLeft(f, 2);
}

TEST_CASE("nothing collapses with the end of a call") {
  ConfiguredEngine f;
  f.Accept(Offer());
  f.Accept(End());
  f.Accept(Offer("next"));
  f.Answer(200);
  CHECK(f.sent_text() == "end");
  SECTION("when it is delivered") { f.Answer(200); }
  SECTION("when it fails") {
    f.Answer(503);
    f.AdvanceToNext();
    CHECK(f.sent_text() == "end");
    f.Answer(200);
  }
  CHECK(f.sent_text() == "next");
  f.Answer(200);
  CHECK(f.outbox.finished.back().first.stands_for == 1);
  ExpectNothingLeft(f, 0);
}

TEST_CASE("in batches the end never leaves with its offer") {
  BatchEngine f(4, 2);
  f.WarmUp();
  SECTION("cancelled while both wait for company") {
    f.Accept(Offer());
    f.Accept(End());
    f.Accept("nurse");
    f.Advance(BatchEngine::kDelayMs);
    CHECK(f.out() == std::vector<std::string>{"nurse"});
    f.Answer(200);
    ExpectNothingLeft(f, 2);
  }
  SECTION("behind it while that is in flight") {
    f.Accept(Offer());
    f.Advance(BatchEngine::kDelayMs);
    f.Accept(End());
    f.Advance(BatchEngine::kDelayMs);
    CHECK(f.out() == std::vector<std::string>{"juliet"});
    f.Answer(200);
    f.Advance(BatchEngine::kDelayMs);
    CHECK(f.out() == std::vector<std::string>{"juliet"});
    f.Answer(200);
    ExpectNothingLeft(f, 0);
  }
  SECTION("cancelled while its offer's batch is halved") {
    f.endpoint->max_connections = 1;
    f.Configure();
    f.Accept("nurse");
    f.Accept("romeo");
    f.Accept(Offer());
    f.Accept("paris");
    REQUIRE(f.out() == std::vector<std::string>{"nurse romeo juliet paris"});
    f.Answer(413);
    REQUIRE(f.out() == std::vector<std::string>{"nurse romeo"});
    f.Accept(End());
    f.Answer(200);
    CHECK(f.out() == std::vector<std::string>{"paris"});
    f.Answer(200);
    ExpectNothingLeft(f, 2);
  }
}

TEST_CASE("the end of a call that an earlier run has left withdraws it, and is sent") {
  BareEngine f;
  f.outbox.inner.Append([] {
    Delivery earlier = test::MakeDelivery(50, "juliet");
    earlier.event = Offer();
    return earlier;
  }());
  StoredEndpoint stored;
  stored.id = 1;
  stored.key = f.endpoint->key;
  stored.accepted = 1;
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.ledger->Open(f.endpoint->limits);
  const auto end = End();
  REQUIRE(f.ledger->Reserve(EventBytes(*end)) == Admission::kAccepted);
  f.engine.Accept(1, end);
  CHECK(f.outbox.withdrawals.size() == 1);
  f.Configure();
  CHECK(f.sent_text() == "end");
  f.Answer(200);
  CHECK(f.stats().cancelled == 1);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("an offer and its end that were cancelled stay so over a restart") {
  test::Spool spool;
  const auto endpoint = test::MakeEndpoint();
  for (int run = 0; run < 2; ++run) {
    spool.Open();
    const auto ledger = std::make_shared<Ledger>();
    test::FakeTransport transport;
    Engine engine(*spool.outbox, transport, spool.clock, spool.notices, 42);
    for (const StoredEndpoint& stored : spool.outbox->Stored()) {
      ledger->Restore(stored);
      engine.Restore(stored, ledger);
    }
    ledger->Open(endpoint->limits);
    engine.Configure(1, endpoint, ledger);
    if (run == 0) {
      for (const auto& event : {Offer(), End()}) {
        ledger->Reserve(EventBytes(*event));
        engine.Accept(1, event);
      }
      CHECK(spool.Stored().withdrawals.empty());
      spool.outbox->Flush({});
      spool.Poll();  // committed, and nothing claimed
    } else {
      do {
        engine.Turn();
      } while (spool.outbox->Poll(engine));
      CHECK(transport.sent.empty());
      CHECK(ledger->Snapshot().cancelled == 2);
      CHECK(ledger->Snapshot().pending == 0);
    }
    test::CheckLaw(ledger->Snapshot());
  }
}

}  // namespace offline_post
