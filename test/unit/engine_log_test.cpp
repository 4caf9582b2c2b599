// What the log is told of an endpoint's state: when it changes, and while it is not well.
#include "support/engine_fixture.hpp"

namespace offline_post {

using test::BareEngine;

namespace {

long Lines(const BareEngine& f, const std::string& part) {
  const std::vector<Notice> notices = f.notices.Waiting();
  return std::count_if(notices.begin(), notices.end(),
                       [&part](const Notice& notice) { return test::Has(notice.line, part); });
}

// As many messages as it takes to have a breaker open.
void Fail(BareEngine& f, int status) {
  for (int i = 0; i < 6; ++i) f.Accept("user" + std::to_string(i));
  for (int i = 0; i < 6; ++i) f.Answer(status);
}

void Recover(BareEngine& f) {
  while (f.stats().pending > 0) {
    if (f.transport.sent.empty()) f.AdvanceToNext();
    while (!f.transport.sent.empty()) f.Answer(200);
  }
}

}  // namespace

TEST_CASE("the log is told when trouble begins, once a minute while it lasts, and when it ends") {
  BareEngine f;
  f.Configure();
  Fail(f, 503);
  CHECK(Lines(f, "has trouble (HTTP 503, last with msg_user4_hello): 6 notifications wait") == 1);
  const Millis began = f.clock.MonotonicMs();
  while (f.clock.MonotonicMs() < began + 190'000) {
    f.AdvanceToNext();
    if (!f.transport.sent.empty()) f.Answer(503);
  }
  CHECK(Lines(f, "in trouble for 60 s (HTTP 503): 6 notifications wait, 0 are dead letters") == 1);
  CHECK(Lines(f, "in trouble for ") == 3);
  Recover(f);
  CHECK(Lines(f, "answers again after ") == 1);
  f.Advance(200'000);
  CHECK(Lines(f, "in trouble for ") <= 4);
  CHECK_FALSE(f.engine.NextTurnMs().has_value());
}

TEST_CASE("the log's last word on a backend is right, however often it changes") {
  BareEngine f;
  f.Configure();
  Fail(f, 503);
  Recover(f);
  CHECK(Lines(f, " has trouble (") == 1);
  CHECK(Lines(f, " answers again after ") == 1);
  // Within a minute neither is said again; after that the end is said as soon as it is there.
  Fail(f, 503);
  Recover(f);
  CHECK(Lines(f, " has trouble (") == 1);
  CHECK(Lines(f, " answers again after ") == 1);
  f.Advance(Notices::kQuietMs);
  Fail(f, 503);
  Recover(f);
  CHECK(Lines(f, " has trouble (") == 2);
  CHECK(Lines(f, " answers again after ") == 2);
  // A beginning that was not said, and lasts.
  Fail(f, 503);
  const Millis began = f.clock.MonotonicMs();
  while (f.clock.MonotonicMs() < began + 70'000) {
    f.AdvanceToNext();
    if (!f.transport.sent.empty()) f.Answer(503);
  }
  CHECK(Lines(f, " has trouble (") == 2);
  CHECK(Lines(f, " in trouble for 60 s (HTTP 503)") == 1);
  Recover(f);
  CHECK(Lines(f, " answers again after ") == 3);
}

TEST_CASE("the log is told what is yours to correct, with an id, and that it is corrected") {
  BareEngine f;
  f.Configure();
  Fail(f, 401);
  CHECK(Lines(f, " did not take notification msg_user0_hello (HTTP 401): check post_url") == 1);
  CHECK(Lines(f,
              " takes no notifications (HTTP 401, last with msg_user4_hello): 6 notifications "
              "wait, one probe at a time until it does") == 1);
  f.Advance(5'000);
  SECTION("at the backend") {}
  SECTION("in ejabberd.yml") { f.Configure(); }
  Recover(f);
  CHECK(Lines(f, " takes notifications again after 5 s: ") == 1);
  f.Accept("juliet");
  f.Answer(200);
  CHECK(Lines(f, " takes notifications again") == 1);
}

TEST_CASE("of two endpoints of a virtual host each has its own lines") {
  BareEngine f;
  f.Configure();
  auto other = test::MakeEndpoint("another");
  other->key.module = "mod_available_post";
  const auto ledger = std::make_shared<Ledger>();
  f.Configure(2, other, ledger);
  f.Accept("juliet");
  f.Answer(401);
  const auto event = test::MakeEvent("romeo", "hello");
  REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
  f.engine.Accept(2, event);
  f.Turn();
  f.Answer(401);
  CHECK(Lines(f, "mod_offline_post for " + f.endpoint->key.vhost + ": ") == 1);
  CHECK(Lines(f, "mod_available_post for " + f.endpoint->key.vhost + ": ") == 1);
}

TEST_CASE("the log is told of each pause, and of one that outlives a restart") {
  BareEngine f;
  SECTION("an operator's") {
    f.Configure();
    f.Accept("juliet");
    f.engine.Pause(1);
    f.engine.Pause(1);
    CHECK(Lines(f, ": paused by the operator: 1 notifications wait") == 1);
    f.engine.Resume(1);
    f.engine.Resume(1);
    CHECK(Lines(f, ": resumed by the operator: 1 notifications wait") == 1);
    f.Answer(200);
  }
  SECTION("an operator's, of the last run") {
    StoredEndpoint stored;
    stored.id = 1;
    stored.key = f.endpoint->key;
    stored.pause = Pause::kOperator;
    f.engine.Restore(stored, f.ledger);
    f.Configure();
    CHECK(Lines(f,
                ": still paused (paused by the operator), until ejabberdctl "
                "offline_post_resume: 0 notifications wait") == 1);
    f.Configure();
    CHECK(Lines(f, ": still paused") == 1);
  }
  SECTION("the backend's") {
    f.Configure();
    f.Accept("juliet");
    f.Answer(410);
    CHECK(Lines(f, " answered 410 Gone: paused") == 1);
    f.Configure();
    CHECK(Lines(f, ": no longer paused, since it was configured anew: 1 notifications wait") == 1);
    f.Answer(200);
  }
}

}  // namespace offline_post
