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

TEST_CASE("what another node has left is taken over as a whole, or not at all") {
  EngineOnDisk f;
  std::vector<Engine::ImportResult> results;
  const auto import = [&](ImportPosition position) {
    Engine::ImportSlice slice;
    slice.source = "another node";
    slice.pending = {test::MakeDelivery(7, "juliet"), test::MakeDelivery(8, "nurse")};
    slice.dead.emplace_back().delivery = test::MakeDelivery(3, "paris");
    slice.dead.back().died_unix_ms = f.spool.clock.UnixMs();
    slice.position = position;
    f.engine.Import(1, std::move(slice),
                    [&](const Engine::ImportResult& result) { results.push_back(result); });
    f.Turn();
  };
  bool applied = false;
  SECTION("when the disk takes it") {
    import({8, 3});
    applied = true;
  }
  SECTION("when the disk refuses just then") {
    f.spool.faults.full = true;
    import({8, 3});
    REQUIRE_FALSE(f.spool.outbox->IsDurable());
    CHECK(results.empty());  // nobody knows yet
    CHECK(f.ledger->Snapshot().pending == 2);
    f.Heal();
  }
  SECTION("when it refuses already") {
    f.spool.faults.full = true;
    f.Accept("romeo");
    REQUIRE_FALSE(f.spool.outbox->IsDurable());
    import({8, 3});
    CHECK(results.size() == 1);
    f.Heal();
  }
  REQUIRE(results.size() == 1);
  using End = Engine::ImportResult::End;
  CHECK(results[0].end == (applied ? End::kAll : End::kRefused));
  CHECK(results[0].pending == (applied ? 2 : 0));
  CHECK(f.ledger->Snapshot().dead == (applied ? 1 : 0));
  import({8, 3});
  REQUIRE(results.size() == 2);
  CHECK(results[1].pending == (applied ? 0 : 2));  // of a position that it has reached: a question
  CHECK(f.ledger->Snapshot().dead == 1);
  CHECK(results[1].position.pending == 8);
}

}  // namespace offline_post
