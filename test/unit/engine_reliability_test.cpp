// The engine and what outlives a run or a failure: commits, pauses, stored endpoints, dead letters.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/engine_fixture.hpp"

namespace offline_post {

using test::BareEngine;

namespace {

StoredEndpoint Stored(std::uint64_t pending, Pause pause = Pause::kNone) {
  StoredEndpoint stored;
  stored.id = 1;
  stored.key = {"example.org", "mod_offline_post"};
  stored.accepted = 10 + pending;
  stored.delivered = 8;
  stored.dead = 2;
  stored.pending_bytes = pending * 1'000;
  stored.pause = pause;
  return stored;
}

}  // namespace

TEST_CASE("whoever waits for the commit hears of it then, and whether it is durable") {
  BareEngine f;
  f.Configure();
  std::vector<bool> heard;
  f.Accept("juliet", "1", [&heard](bool durable) { heard.push_back(durable); });
  f.Accept("juliet", "2", [&heard](bool durable) { heard.push_back(durable); });
  CHECK(heard.empty());
  REQUIRE(f.outbox.waiting.size() == 2);
  f.outbox.waiting[0](true);
  CHECK(heard == std::vector<bool>{true});
  f.outbox.waiting[1](false);
  CHECK(heard == std::vector<bool>{true, false});
  f.Answer(200);
  f.Answer(200);
}

TEST_CASE("an operator's pause sends nothing, survives a reload and ends with a resume") {
  BareEngine f;
  f.Configure();
  CHECK(f.outbox.registered == std::vector<std::string>{"example.org"});
  f.engine.Pause(1);
  CHECK(f.outbox.pause == Pause::kOperator);
  f.Accept("juliet");
  f.Configure();
  CHECK(f.transport.sent.empty());
  CHECK(f.stats().state == EndpointState::kPaused);
  f.engine.Resume(1);
  f.Turn();
  CHECK(f.outbox.pause == Pause::kNone);
  CHECK(f.stats().state == EndpointState::kHealthy);
  f.Answer(200);
}

TEST_CASE("410 pauses across a restart; another URL or a reload ends that") {
  for (const bool other_url : {true, false}) {
    BareEngine f;
    StoredEndpoint stored = Stored(0, Pause::kGone);
    stored.paused_url = Fingerprint(f.endpoint->post_url);
    f.ledger->Restore(stored);
    f.engine.Restore(stored, f.ledger);
    if (other_url) f.endpoint->post_url += "/v2";
    f.Configure();
    f.Accept("juliet");
    CHECK(f.transport.sent.size() == (other_url ? 1 : 0));
    f.Configure();  // a reload
    CHECK(f.outbox.pause == Pause::kNone);
    f.Answer(200);
  }
}

TEST_CASE("410 is remembered with the URL that said so") {
  BareEngine f;
  f.Configure();
  f.Accept("juliet");
  f.Answer(410);
  CHECK(f.outbox.pause == Pause::kGone);
  CHECK(f.outbox.paused_url == Fingerprint(f.endpoint->post_url));
}

TEST_CASE("what an earlier run has left is sent, and counted on") {
  BareEngine f;
  const StoredEndpoint stored = Stored(1);
  f.outbox.inner.Append(test::MakeDelivery(1, "juliet"));
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.Turn();
  CHECK(f.transport.sent.empty());  // not configured yet
  f.Configure();
  CHECK(f.stats().accepted == 11);
  f.Answer(200);
  CHECK(f.stats().delivered == 9);
  CHECK(f.stats().pending == 0);
}

TEST_CASE("what an endpoint has left that does not come back is dead after a day") {
  BareEngine f;
  const StoredEndpoint stored = Stored(1);
  f.outbox.inner.Append(test::MakeDelivery(1, "juliet"));
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.Advance(RetrySchedule().max_age_ms - 1);
  CHECK(f.stats().dead == 2);
  f.Advance(1);
  CHECK(f.stats().dead == 3);
  CHECK(f.Dead({"", "endpoint removed"}).size() == 1);
}

TEST_CASE("age does not depend on the time of day") {
  BareEngine f;
  f.Configure();
  f.Accept("juliet");
  f.clock.unix_ms += 10LL * 365 * 86'400'000;  // somebody set the clock
  f.Answer(503);
  CHECK(f.stats().pending == 1);
  f.clock.unix_ms = 0;
  f.Advance(f.endpoint->schedule.max_age_ms);
  f.Answer(503);
  CHECK(f.stats().dead == 1);
}

TEST_CASE("without order a recipient's messages do not wait for each other") {
  BareEngine f;
  f.endpoint->ordered = false;
  f.Configure();
  for (const char* body : {"1", "2", "3"}) f.Accept("juliet", body);
  CHECK(f.transport.sent.size() == 3);
  for (int i = 0; i < 3; ++i) f.Answer(200);
}

TEST_CASE("the operator's schedule is followed, its last wait repeated") {
  BareEngine f;
  f.endpoint->schedule.waits_ms = {10'000, 60'000};
  f.Configure();
  f.Accept("juliet");
  for (const Millis wait : {10'000, 60'000, 60'000}) {
    f.Answer(503);
    f.Advance(wait * 3 / 4 - 1);
    CHECK(f.transport.sent.empty());
    f.Advance(wait / 2 + 1);
    REQUIRE(f.transport.sent.size() == 1);
  }
  f.Answer(200);
}

TEST_CASE("replayed dead letters are pending again and age from then; a drop cancels them") {
  BareEngine f;
  f.Configure();
  for (int i = 0; i < 900; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(i < 800 ? 400 : 422);
  }
  CHECK(f.stats().dead == 900);
  f.Advance(1'000);
  std::uint64_t replayed = 0;
  f.engine.ReplayDead(1, {"", "HTTP 400"}, [&replayed](std::uint64_t count) { replayed = count; });
  f.Turn();
  CHECK(f.stats().dead == 400);  // a slice a turn
  f.Settle();
  CHECK(replayed == 800);
  CHECK(f.stats().pending == 800);
  CHECK(f.stats().dead == 100);
  std::uint64_t dropped = 0;
  f.engine.DropDead(1, {}, [&dropped](std::uint64_t count) { dropped = count; });
  f.Settle();
  CHECK(dropped == 100);
  CHECK(f.stats().cancelled == 100);
  while (!f.transport.sent.empty()) f.Answer(200);
  CHECK(f.stats().delivered == 800);
  CHECK(f.stats().pending_bytes == 0);
}

TEST_CASE("dead letters beyond the limit or the retention are purged, oldest first") {
  BareEngine f;
  f.endpoint->retention.letters = 3;
  f.endpoint->retention.age_ms = 3'600'000;
  f.Configure();
  for (int i = 0; i < 5; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(400);
  }
  f.Settle();
  CHECK(f.stats().dead == 3);
  CHECK(f.stats().purged == 2);
  f.Advance(3'600'000 - 1);
  f.Settle();
  CHECK(f.stats().dead == 3);
  f.Advance(Engine::kPurgeMs + 1);
  CHECK(f.stats().dead == 0);
  CHECK(f.stats().purged == 5);
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
}

TEST_CASE("dead letters beyond the limit in bytes are purged, and one that is larger is not kept") {
  BareEngine f;
  f.Configure();
  for (int i = 0; i < 5; ++i) {
    f.Accept("user" + std::to_string(i));
    f.Answer(400);
  }
  f.Settle();
  const std::uint64_t each = f.stats().dead_bytes / 5;
  REQUIRE(each > 0);
  f.endpoint->retention.bytes = 2 * each;  // as a reload with a lower limit
  f.Configure();
  f.Advance(Engine::kPurgeMs + 1);
  f.Settle();
  CHECK(f.stats().dead == 2);
  CHECK(f.stats().dead_bytes == 2 * each);
  CHECK(f.stats().purged == 3);
  f.Accept("user5");
  f.Answer(400);
  f.Settle();
  CHECK(f.stats().dead == 2);
  f.endpoint->retention.bytes = each - 1;
  f.Configure();
  f.Advance(Engine::kPurgeMs + 1);
  f.Settle();
  CHECK(f.stats().dead == 0);
  CHECK(f.stats().dead_bytes == 0);
  CHECK(f.stats().purged == 6);
}

TEST_CASE("a list of large dead letters ends early, and goes on where it ended") {
  BareEngine f;
  f.Configure();
  auto event = std::make_shared<Event>(*test::MakeEvent("juliet"));
  event->body = std::string(400'000, 'x');
  for (int i = 0; i < 5; ++i) {
    f.engine.Accept(1, event, {});
    f.ledger->Reserve(EventBytes(*event));
    f.Turn();
    f.Answer(400);
  }
  f.Settle();
  REQUIRE(f.stats().dead == 5);
  std::vector<std::size_t> lists;
  std::optional<Sequence> after = 0;
  while (after) {
    f.engine.ListDead(1, {}, *after, 100, [&](std::vector<DeadLetter> letters, auto next) {
      lists.push_back(letters.size());
      after = next;
    });
    f.Settle();
  }
  CHECK(lists == std::vector<std::size_t>{3, 2});
}

TEST_CASE("what is out of reach for good is gone from both sides of the law") {
  BareEngine f;
  const StoredEndpoint stored = Stored(5);
  f.ledger->Restore(stored);
  f.engine.Restore(stored, f.ledger);
  f.Configure();
  f.engine.OnLost(1, 5, 5'000);
  CHECK(f.stats().accepted == 10);
  CHECK(f.stats().pending == 0);
  CHECK(f.stats().pending_bytes == 0);
}

TEST_CASE("nobody wakes for a retry that was lost") {
  test::ConfiguredEngine f;
  f.Accept("juliet");
  f.Answer(503);
  f.Settle();
  const std::uint64_t bytes = f.stats().pending_bytes;
  const auto retry = f.engine.NextTurnMs();
  REQUIRE(retry.has_value());
  f.engine.OnLost(1, 1, bytes);
  f.Turn();
  const auto turn = f.engine.NextTurnMs();
  CHECK((!turn || *turn > *retry));
}

}  // namespace offline_post
