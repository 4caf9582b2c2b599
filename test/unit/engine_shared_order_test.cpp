// mod_available_post and mod_unavailable_post keep one order per user between them.
#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "payload/recipe.hpp"
#include "support/engine_fixture.hpp"
#include "support/spool.hpp"

namespace offline_post {

using test::ManualClock;

namespace {

constexpr EndpointId kAvailable = 1;
constexpr EndpointId kUnavailable = 2;

// One run of an engine with both endpoints, on an outbox that may outlive it.
struct Pair {
  ManualClock& clock;
  Notices& notices;
  Outbox& outbox;
  test::FakeTransport transport;
  Engine engine;
  std::map<EndpointId, std::shared_ptr<Endpoint>> endpoints;
  std::map<EndpointId, std::shared_ptr<Ledger>> ledgers;

  Pair(Outbox& kept, ManualClock& time, Notices& lines)
      : clock(time), notices(lines), outbox(kept), engine(kept, transport, time, lines, 42) {
    for (const EndpointId id : {kAvailable, kUnavailable}) {
      const std::string name = id == kAvailable ? "available" : "unavailable";
      endpoints[id] = test::MakeEndpoint(name);  // each with an origin of its own
      endpoints[id]->key.module = "mod_" + name + "_post";
      endpoints[id]->post_url = "http://" + name + "/";
      ledgers[id] = std::make_shared<Ledger>();
    }
    for (const StoredEndpoint& stored : outbox.Stored()) {
      ledgers[stored.id]->Restore(stored);
      engine.Restore(stored, ledgers[stored.id]);
    }
  }
  ~Pair() {
    for (const auto& [id, ledger] : ledgers) test::CheckLaw(ledger->Snapshot());
  }

  void Configure(EndpointId id) {
    ledgers[id]->Open(endpoints[id]->limits);
    engine.Configure(id, endpoints[id], ledgers[id]);
    Turn();
  }
  void ConfigureBoth() {
    Configure(kAvailable);
    Configure(kUnavailable);
  }
  void Turn() {
    do {
      engine.Turn();
    } while (outbox.Poll(engine));
  }
  void Advance(Millis ms) {
    clock.Advance(ms);
    Turn();
  }
  void Accept(EndpointId id, const std::string& body, const std::string& to = "juliet") {
    const auto event = test::MakeEvent(to, body);
    REQUIRE(ledgers[id]->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(id, event);
    Turn();
  }
  // What is out, in the order in which it left.
  std::vector<std::string> out() const {
    std::vector<std::string> bodies;
    for (const Request& request : transport.sent) {
      const std::size_t begin = request.body.find("&body=") + 6;
      bodies.push_back(request.body.substr(begin, request.body.find('&', begin) - begin));
    }
    return bodies;
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
  Stats stats(EndpointId id) const { return ledgers.at(id)->Snapshot(); }
  std::uint64_t pending() const { return stats(kAvailable).pending + stats(kUnavailable).pending; }
};

struct FreshPair {
  ManualClock clock;
  Notices notices{clock};
  test::FakeOutbox outbox{clock};
  Pair f{outbox, clock, notices};
  FreshPair() { f.ConfigureBoth(); }
};

using Bodies = std::vector<std::string>;

}  // namespace

TEST_CASE("what two presence modules tell of a user leaves in one order") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.Accept(kUnavailable, "1");
  f.Accept(kAvailable, "2");
  f.Accept(kUnavailable, "3");
  f.Accept(kAvailable, "other", "nurse");
  CHECK(f.out() == Bodies{"1", "other"});
  SECTION("delivered") {
    f.Answer(200);
    CHECK(f.out() == Bodies{"other", "2"});
    f.Answer(200);
    f.Answer(200);
    CHECK(f.out() == Bodies{"3"});
    f.Answer(200);
  }
  SECTION("the first one waits for retries, while the other's origin is well") {
    f.Answer(503);
    f.Answer(200);  // the nurse's
    for (int attempt = 1; attempt < 10; ++attempt) {
      while (f.out().empty()) f.Advance(1'000);
      CHECK(f.out() == Bodies{"1"});
      f.Answer(503);
    }
    while (f.out().empty()) f.Advance(1'000);
    for (const char* body : {"1", "2", "3"}) {
      CHECK(f.out() == Bodies{body});
      f.Answer(200);
    }
  }
  SECTION("refused") {
    f.Answer(400);
    CHECK(f.out() == Bodies{"other", "2"});
    while (f.pending() > 0) f.Answer(200);
  }
  SECTION("withdrawn, as the account is removed") {
    const Withdrawal removed{RecipientKey("juliet", "example.org"), 0, Final::kPurged};
    f.engine.Withdraw(kUnavailable, removed);
    f.Turn();
    f.Answer(503);
    CHECK(f.out() == Bodies{"other", "2"});
    while (f.pending() > 0) f.Answer(200);
  }
  CHECK(f.pending() == 0);
}

TEST_CASE("without an order, and beside other modules, nothing waits for another endpoint") {
  FreshPair fresh;
  Pair& f = fresh.f;
  SECTION("order: none") {
    for (const auto& [id, endpoint] : f.endpoints) endpoint->ordered = false;
    f.ConfigureBoth();
  }
  SECTION("order: none in one of them") {
    f.endpoints[kUnavailable]->ordered = false;
    f.Configure(kUnavailable);
  }
  SECTION("another module") {
    f.endpoints[kUnavailable]->key.module = "mod_offline_post";
    f.Configure(kUnavailable);
  }
  f.Accept(kUnavailable, "1");
  f.Accept(kAvailable, "2");
  CHECK(f.out() == Bodies{"1", "2"});
  f.Answer(200);
  f.Answer(200);
}

TEST_CASE("a paused endpoint holds back the same users' later ones only") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.engine.Pause(kUnavailable);
  f.Accept(kUnavailable, "1");
  f.Accept(kAvailable, "2");
  f.Accept(kAvailable, "3", "nurse");
  CHECK(f.out() == Bodies{"3"});
  f.Answer(200);
  for (int hour = 0; hour < 30; ++hour) {  // it looks now and then, and does not spin
    f.Advance(3'600'000);
    CHECK(f.out().empty());
    CHECK(f.engine.NextTurnMs().value_or(f.clock.MonotonicMs() + 1) > f.clock.MonotonicMs());
  }
  f.engine.Resume(kUnavailable);
  f.Turn();
  CHECK(f.out() == Bodies{"1"});
  f.Answer(200);
  CHECK(f.out() == Bodies{"2"});
  f.Answer(200);
}

TEST_CASE("what leaves its recipient's order holds the other module's back no more") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.Accept(kUnavailable, "1");
  f.Accept(kAvailable, "2");
  f.Accept(kUnavailable, "3");
  for (int failure = 1; failure <= Engine::kFailuresInOrder; ++failure) {
    while (f.out().empty()) f.Advance(1'000);
    REQUIRE(f.out() == Bodies{"1"});
    f.Answer(500);
    if (failure == Engine::kFailuresInOrder) break;
    f.Accept(kUnavailable, "other" + std::to_string(failure), "nurse");
    f.Answer(200);
  }
  CHECK(f.out() == Bodies{"2"});
  f.Answer(200);
  CHECK(f.out() == Bodies{"3"});
  f.Answer(200);
  while (f.out().empty()) f.Advance(1'000);
  CHECK(f.out() == Bodies{"1"});
  f.Answer(200);
  CHECK(f.pending() == 0);
}

TEST_CASE("many that wait for the other module take no room from others") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.engine.Pause(kUnavailable);
  for (std::size_t i = 0; i < 2 * Engine::kWindow; ++i) {
    f.Accept(kUnavailable, "1", "user" + std::to_string(i));
    f.Accept(kAvailable, "2", "user" + std::to_string(i));
  }
  f.Accept(kAvailable, "3", "nurse");
  CHECK(f.out() == Bodies{"3"});
  f.Answer(200);
  f.engine.Resume(kUnavailable);
  f.Turn();
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.pending() == 0);
}

TEST_CASE("a removed module holds its sibling back for a minute") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.engine.Pause(kUnavailable);
  f.Accept(kUnavailable, "1");
  f.Accept(kAvailable, "2");
  f.engine.Remove(kUnavailable);
  f.Advance(Engine::kReturnMs - 1);
  CHECK(f.out().empty());
  SECTION("it comes back in time") {
    f.Configure(kUnavailable);
    f.Advance(10'000);
    CHECK(f.out().empty());
    f.engine.Resume(kUnavailable);
    f.Turn();
    CHECK(f.out() == Bodies{"1"});
    f.Answer(200);
  }
  SECTION("it does not") { f.Advance(Engine::kLookMs); }
  CHECK(f.out() == Bodies{"2"});
  f.Answer(200);
}

TEST_CASE("what is lost with a file holds nobody up") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.engine.Pause(kUnavailable);
  f.Accept(kUnavailable, "1");
  f.Accept(kAvailable, "2");
  f.engine.Remove(kUnavailable);  // gives back what it had leased
  f.Turn();
  const auto lost = test::MakeEvent("juliet", "1");
  f.engine.OnLost(kUnavailable, 1, EventBytes(*lost));
  f.Turn();
  CHECK(f.out() == Bodies{"2"});
  f.Answer(200);
}

TEST_CASE("a replayed dead letter keeps no order with the other module") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.Accept(kUnavailable, "1");
  f.Answer(400);
  f.engine.Pause(kAvailable);
  f.Accept(kAvailable, "2");
  f.engine.ReplayDead(kUnavailable, {}, [](std::uint64_t) {});
  f.Turn();
  CHECK(f.out() == Bodies{"1"});
  f.engine.Resume(kAvailable);
  f.Turn();
  CHECK(f.out() == Bodies{"1", "2"});
  f.Answer(200);
  f.Answer(200);
}

TEST_CASE("the order of the presence modules outlives the node") {
  const EndpointId first = GENERATE(kAvailable, kUnavailable);
  {
    test::Spool spool;
    const auto open = [&] {
      spool.outbox.reset();
      auto opened = SpoolOutbox::Open(spool.options, spool.clock, spool.notices, {});
      REQUIRE(opened.ok());
      spool.outbox = std::move(opened.value());
    };
    open();
    {
      Pair f(*spool.outbox, spool.clock, spool.notices);
      f.ConfigureBoth();
      f.Accept(kUnavailable, "1");
      f.Accept(kAvailable, "2");
      f.Accept(kUnavailable, "3");
      f.Answer(503);
      REQUIRE(f.pending() == 3);
    }
    open();
    Pair f(*spool.outbox, spool.clock, spool.notices);
    Bodies posted;
    const auto answer_all = [&] {
      for (int seconds = 0; seconds < 20; ++seconds) {
        for (; !f.transport.sent.empty(); f.Answer(200)) posted.push_back(f.out().front());
        f.Advance(1'000);
      }
    };
    SECTION("both come back, one after another") {
      f.Configure(first);
      answer_all();
      f.Configure(first == kAvailable ? kUnavailable : kAvailable);
      f.Accept(kAvailable, "4");
      answer_all();
      CHECK(posted == Bodies{"1", "2", "3", "4"});
      CHECK(f.pending() == 0);
    }
    SECTION("one does not come back") {
      f.Configure(first);
      answer_all();
      f.Advance(Engine::kReturnMs);
      answer_all();
      CHECK(posted == (first == kAvailable ? Bodies{"2"} : Bodies{"1", "3"}));
    }
  }
}

TEST_CASE("what the backend keeps failing leaves the order of both presence modules") {
  FreshPair fresh;
  Pair& f = fresh.f;
  f.Accept(kUnavailable, "bad");
  f.Accept(kAvailable, "2");
  f.Accept(kUnavailable, "3");
  for (int failure = 1; failure <= Engine::kFailuresInOrder; ++failure) {
    while (f.out().empty()) f.Advance(1'000);
    REQUIRE(f.out() == Bodies{"bad"});
    f.Answer(500);
    if (failure == Engine::kFailuresInOrder) break;
    CHECK(f.out().empty());
    f.Accept(kUnavailable, "other", "nurse");
    f.Answer(200);
  }
  CHECK(f.out() == Bodies{"2"});
  f.Answer(200);
  CHECK(f.out() == Bodies{"3"});
  f.Answer(200);
  CHECK(f.pending() == 1);
  CHECK(f.stats(kUnavailable).out_of_order == 1);
  while (f.out().empty()) f.Advance(1'000);
  f.Accept(kAvailable, "4");
  CHECK(f.out() == Bodies{"bad", "4"});
  f.Answer(200);
  f.Answer(200);
  CHECK(f.pending() == 0);
}

}  // namespace offline_post
