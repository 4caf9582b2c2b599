// A backlog that schema version 1 has written is read by every later version. The file was written
// by the hidden test below, once; a new version adds a file of its own and leaves this one alone.
#include <cstdlib>

#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Sequences;
using test::Spool;
using List = std::vector<Sequence>;

}  // namespace

TEST_CASE("backlog: a file written by schema version 1 is read whole") {
  Spool s;
  std::filesystem::copy_file(OFFLINE_POST_TEST_DATA "/backlog-v1.db", s.File());
  s.clock.unix_ms = 1'800'000'000'000;
  s.Open();
  // Its recipients are fingerprints, and stay so: what comes now must wait behind them.
  REQUIRE(s.outbox->StoredHashKey() == HashKey{});
  SetHashKey({});
  const StoredEndpoint stored = s.Stored();
  CHECK(stored.key.vhost == "example.org");
  CHECK(stored.accepted == 12);
  CHECK(stored.delivered == 2);
  CHECK(stored.dead == 1);
  CHECK(stored.cancelled == 1);
  CHECK(s.Stored(2).pause == Pause::kGone);
  CHECK(s.Stored(2).paused_url == 4'711);
  CHECK(s.outbox->NextSequence() == 14);
  std::vector<Sequence> found;
  for (int turn = 0; turn < 20; ++turn) {
    for (const Delivery& delivery : s.Claim()) {
      found.push_back(delivery.sequence);
      CHECK(delivery.event->body == std::to_string(delivery.sequence));
      CHECK(delivery.recipient == RecipientKey(*delivery.event));
      CHECK(delivery.attempts == (delivery.sequence == 5 ? 3 : 0));
      CHECK(delivery.event->kind == "text");
      CHECK(delivery.event->topic == 0);
      CHECK(delivery.event->attributes.empty());
      CHECK(delivery.stands_for == 1);
      s.Finish(delivery);
    }
    s.clock.Advance(1'000);
  }
  std::sort(found.begin(), found.end());
  CHECK(found == List{5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(Sequences(s.Claim(10, 2)) == List{13});
  DeadVisit visit;
  visit.endpoint = 1;
  visit.limit = 10;
  s.outbox->VisitDead(visit);
  s.Poll();
  REQUIRE(s.listener.visited.size() == 1);
  REQUIRE(s.listener.visited[0].letters.size() == 1);
  CHECK(s.listener.visited[0].letters[0].delivery.sequence == 3);
  CHECK(s.listener.visited[0].letters[0].note.reason == "HTTP 413");
  CHECK(s.listener.visited[0].letters[0].delivery.event->kind == "text");
  CHECK(s.listener.visited[0].letters[0].delivery.stands_for == 1);
  s.outbox.reset();
  CHECK(test::FaultsOfFile(s.File()).empty());
}

// OFFLINE_POST_BACKLOG=FILE unit_tests "backlog: write one"
TEST_CASE("backlog: write one", "[.]") {
  const char* file = std::getenv("OFFLINE_POST_BACKLOG");
  if (file == nullptr) return;  // it was written once and for all
  Spool s;
  s.Open();
  s.outbox->Register(2, {"other.org", "mod_offline_post"});
  s.outbox->SetPause(2, Pause::kGone, 4'711);
  for (Sequence n = 1; n <= 13; ++n) s.Append(n, "user" + std::to_string(n % 4), n == 13 ? 2 : 1);
  s.Commit();
  std::vector<Delivery> claimed = s.Claim(8);
  s.Finish(claimed[0]);
  s.Finish(claimed[1]);
  s.Finish(claimed[2], Final::kDead, {413, "HTTP 413", "too large"});
  s.Finish(claimed[3], Final::kCancelled);
  claimed[4].attempts = 3;
  s.outbox->Reschedule(claimed[4], s.clock.MonotonicMs() + 5'000, {});
  s.Commit();
  s.outbox.reset();
  std::filesystem::copy_file(s.File(), file);
}

}  // namespace offline_post
