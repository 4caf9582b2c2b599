// The engine on the durable outbox, while the disk refuses and after.
#include "support/engine_fixture.hpp"
#include "support/faulty_spool.hpp"

namespace offline_post {

namespace {

struct EngineOnDisk {
  test::FaultySpool spool;
  test::FakeTransport transport;
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
  std::shared_ptr<Endpoint> endpoint = test::MakeEndpoint();
  Engine engine{*spool.outbox, transport, spool.clock, spool.notices, 42};

  EngineOnDisk() {
    ledger->Open(endpoint->limits);
    engine.Configure(1, endpoint, ledger);
    Turn();
  }
  ~EngineOnDisk() { test::CheckLaw(ledger->Snapshot()); }

  void Turn() {
    do {
      engine.Turn();
    } while (spool.outbox->Poll(engine));
  }
  void Accept(const std::string& to) {
    const auto event = test::MakeEvent(to);
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(1, event);
    Turn();
  }
  void Refuse() {
    Answer answer;
    answer.status = 400;
    const Request request = std::move(transport.sent.at(0));
    transport.sent.pop_front();
    engine.OnDone(request.id, ReadAnswer(request, answer, spool.clock.UnixMs()));
    Turn();
  }
  // Seconds, and a turn in each.
  void Wait(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      spool.clock.Advance(1'000);
      Turn();
    }
  }
  void Heal() {
    spool.Heal();
    Wait(60);
    REQUIRE(spool.outbox->IsDurable());
  }
};

}  // namespace

TEST_CASE("a removed account's dead letters are purged once the disk is back") {
  EngineOnDisk f;
  for (const char* to : {"juliet", "juliet", "nurse"}) {
    f.Accept(to);
    f.Refuse();
  }
  REQUIRE(f.ledger->Snapshot().dead == 3);
  const Withdrawal removed{RecipientKey("juliet", "example.org"), 0, Final::kPurged};
  SECTION("when it refuses already") {
    f.spool.faults.full = true;
    f.Accept("romeo");
    REQUIRE_FALSE(f.spool.outbox->IsDurable());
    f.engine.Withdraw(1, removed);
  }
  SECTION("when it refuses just then") {
    f.spool.faults.full = true;
    f.engine.Withdraw(1, removed);
    f.Turn();
    REQUIRE_FALSE(f.spool.outbox->IsDurable());
  }
  f.Wait(5);
  CHECK(f.ledger->Snapshot().dead == 3);
  CHECK_FALSE(f.spool.HasNotice("dead letters cannot be reached"));
  f.Heal();
  CHECK(f.ledger->Snapshot().dead == 1);
  CHECK(f.ledger->Snapshot().purged == 2);
  CHECK(f.engine.NextTurnMs().value_or(f.spool.clock.MonotonicMs()) > f.spool.clock.MonotonicMs());
}

}  // namespace offline_post
