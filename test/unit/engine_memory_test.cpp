// What endpoints hold in memory is bounded in bytes, whatever the sizes of the messages, and
// shared.
#include <algorithm>
#include <string>

#include "support/engine_fixture.hpp"

namespace offline_post {

using test::BareEngine;

namespace {

constexpr std::size_t kMemory = std::size_t{16} * 1024 * 1024;
const std::string kText(std::size_t{256} * 1024, 'x');
constexpr int kMessages = 200;  // 50 MiB

struct TwoEndpoints : BareEngine {
  TwoEndpoints() : BareEngine(kMemory) {
    other->key.vhost = "other.example";
    other->origin.host = "elsewhere";
    other_ledger->Open(other->limits);
    Configure();
    Configure(2, other, other_ledger);
  }

  void AcceptOther(const std::string& to, const std::string& text) {
    const auto event = test::MakeEvent(to, text);
    event->accepted_unix_ms = clock.UnixMs();
    REQUIRE(other_ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(2, event);
    Turn();
  }

  void Fill() {
    for (int i = 0; i < kMessages; ++i) {
      Accept("user" + std::to_string(i), kText);
      most = std::max(most, engine.held_bytes());
    }
  }

  std::shared_ptr<Endpoint> other = test::MakeEndpoint();
  std::shared_ptr<Ledger> other_ledger = std::make_shared<Ledger>();
  std::size_t most = 0;
};

}  // namespace

TEST_CASE("memory: large messages stay in the outbox until there is room for them") {
  TwoEndpoints f;
  f.Fill();
  CHECK(f.most > kMemory / 4);
  CHECK(f.most < kMemory);
  while (!f.transport.sent.empty()) {
    f.Answer(200);
    CHECK(f.engine.held_bytes() < kMemory);
  }
  CHECK(f.stats().delivered == kMessages);
  CHECK(f.engine.held_bytes() == 0);
}

TEST_CASE("memory: what an origin that is away holds makes room for another's") {
  TwoEndpoints f;
  f.Fill();
  while (f.stats().state == EndpointState::kHealthy) f.Answer(0, "", "connection refused");
  f.AcceptOther("juliet", kText);
  f.Settle(Engine::kReliefMs);
  const auto is_other = [](const Request& request) {
    return request.endpoint->key.vhost == "other.example";
  };
  CHECK(std::any_of(f.transport.sent.begin(), f.transport.sent.end(), is_other));
  CHECK(f.engine.held_bytes() < kMemory);
}

TEST_CASE("memory: an origin that answers again is served whole, whatever the outage has taken") {
  TwoEndpoints f;
  f.Fill();
  for (int i = 0; i < 2'000 && f.stats().delivered < kMessages; ++i) {
    if (f.transport.sent.empty()) {
      f.AdvanceToNext();
    } else if (i < 200) {
      f.Answer(503);
    } else {
      f.Answer(200);
    }
  }
  CHECK(f.stats().delivered == kMessages);
  CHECK(f.engine.held_bytes() == 0);
}

}  // namespace offline_post
