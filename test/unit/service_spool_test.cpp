// The service with a real spool: what outlives a stop, and who hears of a commit.
#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include "service/service.hpp"
#include "support/http_server.hpp"
#include "support/service_fixture.hpp"
#include "support/spool.hpp"
#include "support/system_clock.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {

using test::HttpRequest;
using test::HttpServer;
using test::kKey;
using test::TemporaryDirectory;

EndpointConfig Config(const std::string& url, const std::string& directory) {
  EndpointConfig config;
  config.key = {std::string(kKey.vhost), std::string(kKey.module)};
  config.post_url = url;
  config.spool.enabled = true;
  config.spool.directory = directory;
  return config;
}

// One run of a node.
struct Run {
  std::mutex mutex;
  std::vector<std::string> notices;  // guarded by mutex
  Service service{[this](const std::vector<Notice>& lines) {
    const std::lock_guard lock(mutex);
    for (const Notice& notice : lines) notices.push_back(notice.line);
    return true;
  }};

  ~Run() {
    if (const auto stats = service.GetStats(kKey)) test::CheckLaw(*stats);
  }

  Stats stats() { return service.GetStats(kKey).value(); }

  template <typename Condition>
  bool Eventually(Condition condition) {
    const test::RealClock clock;
    const Millis deadline = clock.MonotonicMs() + 20'000;
    while (!condition()) {
      if (clock.MonotonicMs() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  bool Noticed(const std::string& part) {
    return Eventually([&] {
      const std::lock_guard lock(mutex);
      for (const std::string& line : notices) {
        if (line.find(part) != std::string::npos) return true;
      }
      return false;
    });
  }

  std::uint64_t Remove() {
    std::promise<std::uint64_t> left;
    REQUIRE(service.Remove(kKey, 50, [&left](std::uint64_t pending) { left.set_value(pending); }));
    return left.get_future().get();
  }

  // Submits, and waits until the event is safe. False: it is in memory only.
  bool SubmitCommitted(const std::string& user) {
    std::promise<bool> committed;
    REQUIRE(service.Submit(kKey, test::MakeEvent(user), [&committed](bool durable) {
      committed.set_value(durable);
    }) == Admission::kAccepted);
    return committed.get_future().get();
  }
};

}  // namespace

TEST_CASE("withdrawn and superseded events are not sent by the next run") {
  const TemporaryDirectory directory;
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  const auto about = [](const std::string& body) {
    auto event = test::MakeEvent("juliet", body);
    event->topic = TopicKey(RecipientKey(*event), "recipient");
    return event;
  };
  {
    Run run;
    REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
    run.service.Pause(kKey);
    // More than the engine looks at: the rest waits on the disk.
    for (int i = 0; i < 3'000; ++i) {
      REQUIRE(run.service.Submit(kKey, test::MakeEvent("u" + std::to_string(i))) ==
              Admission::kAccepted);
    }
    REQUIRE(run.service.Submit(kKey, test::MakeEvent("nurse")) == Admission::kAccepted);
    REQUIRE(run.service.Withdraw(kKey, {RecipientKey("nurse", "example.org"), 0, Final::kPurged}));
    for (const char* body : {"1", "2", "3"}) {
      REQUIRE(run.service.Submit(kKey, about(body)) == Admission::kAccepted);
    }
    CHECK(run.SubmitCommitted("paris"));
    CHECK(run.Remove() == 3'005);
    CHECK(run.service.Stop() == Service::Stopped::kDone);
  }
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
  run.service.Resume(kKey);
  REQUIRE(run.Eventually([&run] { return run.stats().pending == 0; }));
  CHECK(run.stats().delivered == 3'002);
  CHECK(run.stats().purged == 1);
  CHECK(run.stats().cancelled == 2);
  for (const HttpRequest& request : server.requests()) {
    CHECK(request.body.find("to=nurse") == std::string::npos);
    if (request.body.find("to=juliet") == 0) {
      CHECK(request.body.find("body=3") != std::string::npos);
    }
  }
}

TEST_CASE("what waits on the disk is delivered by the next run, under its old id") {
  const TemporaryDirectory directory;
  std::string id;
  {
    Run run;
    REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
    const auto event = test::MakeEvent("juliet");
    REQUIRE(run.service.Submit(kKey, event) == Admission::kAccepted);
    id = event->id;
    CHECK(run.service.spool_state() == SpoolState::kDurable);
    CHECK(run.Remove() == 1);
    CHECK(run.service.Stop() == Service::Stopped::kDone);
  }
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
  CHECK(run.Eventually([&] { return run.stats().delivered == 1; }));
  CHECK(run.stats().accepted == 1);
  CHECK(run.stats().pending == 0);
  REQUIRE(server.requests().size() == 1);
  CHECK(server.requests()[0].head.find("webhook-id: " + id) != std::string::npos);
  CHECK(run.service.spool_bytes() > 0);
}

TEST_CASE("a node that ends without a stop keeps what was accepted") {
  const TemporaryDirectory directory;
  {
    Run run;
    REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
    for (int i = 0; i < 1'000; ++i) {
      REQUIRE(run.service.Submit(kKey, test::MakeEvent("user" + std::to_string(i))) ==
              Admission::kAccepted);
    }
    run.service.Shutdown();
  }
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
  CHECK(run.stats().accepted == 1'000);
  CHECK(run.stats().pending == 1'000);
}

TEST_CASE("a stop closes the file, and the same service opens it again") {
  const TemporaryDirectory directory;
  Run run;
  for (std::uint64_t restart = 1; restart <= 3; ++restart) {
    REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
    CHECK(run.SubmitCommitted("juliet"));
    CHECK(run.Remove() == restart);
    CHECK(run.service.Stop() == Service::Stopped::kDone);
    CHECK_FALSE(std::filesystem::exists(directory.path + "/mod_offline_post.db-wal"));
    CHECK(run.stats().pending == restart);
  }
}

TEST_CASE("whoever waits for a commit is told when it is in the file, or that it is not") {
  const TemporaryDirectory directory;
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
  CHECK(run.SubmitCommitted("juliet"));

  Run memory;
  EndpointConfig config = Config(test::DeadUrl(), directory.path);
  config.spool = {};
  REQUIRE_FALSE(memory.service.Configure(config).has_value());
  CHECK_FALSE(memory.SubmitCommitted("juliet"));
  CHECK(memory.service.spool_state() == SpoolState::kMemory);
}

TEST_CASE("dead letters are listed, replayed and dropped, and outlive a restart") {
  const TemporaryDirectory directory;
  std::atomic<int> status = 400;
  HttpServer server([&status](const HttpRequest&) { return test::Status(status); });
  {
    Run run;
    REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
    for (const char* user : {"juliet", "nurse", "tybalt"}) run.SubmitCommitted(user);
    CHECK(run.Eventually([&] { return run.stats().dead == 3; }));
    run.Remove();
    CHECK(run.service.Stop() == Service::Stopped::kDone);
  }
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
  const auto list = [&run](const DeadFilter& filter) {
    std::promise<std::vector<DeadLetter>> done;
    REQUIRE(run.service.ListDead(kKey, filter, 0, 100,
                                 [&done](std::vector<DeadLetter> letters, std::optional<Sequence>) {
                                   done.set_value(std::move(letters));
                                 }));
    return done.get_future().get();
  };
  const std::vector<DeadLetter> letters = list({});
  REQUIRE(letters.size() == 3);
  CHECK(letters[0].note.status == 400);
  CHECK(letters[0].note.reason == "HTTP 400");
  CHECK(letters[0].delivery.event->to.user == "juliet");
  status = 200;
  std::promise<std::uint64_t> replayed;
  REQUIRE(run.service.ReplayDead(kKey, {letters[0].delivery.event->id, ""},
                                 [&](std::uint64_t count) { replayed.set_value(count); }));
  CHECK(replayed.get_future().get() == 1);
  CHECK(run.Eventually([&] { return run.stats().delivered == 1; }));
  std::promise<std::uint64_t> dropped;
  REQUIRE(run.service.DropDead(kKey, {"", "HTTP 4"},
                               [&](std::uint64_t count) { dropped.set_value(count); }));
  CHECK(dropped.get_future().get() == 2);
  CHECK(run.stats().cancelled == 2);
  CHECK(list({}).empty());
  CHECK_FALSE(run.service.ListDead({"elsewhere", "mod_offline_post"}, {}, 0, 1, {}));
}

TEST_CASE("a pause by the operator outlives a restart") {
  const TemporaryDirectory directory;
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  {
    Run run;
    REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
    CHECK(run.service.Pause(kKey));
    run.SubmitCommitted("juliet");
    run.Remove();
    CHECK(run.service.Stop() == Service::Stopped::kDone);
  }
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
  CHECK(run.Eventually([&] { return run.stats().state == EndpointState::kPaused; }));
  CHECK(server.requests().empty());
  CHECK(run.service.Resume(kKey));
  CHECK(run.Eventually([&] { return run.stats().delivered == 1; }));
}

TEST_CASE("a virtual host that wants another spool is refused, and told why") {
  const TemporaryDirectory directory;
  Run run;
  REQUIRE_FALSE(run.service.Configure(Config(test::DeadUrl(), directory.path)).has_value());
  EndpointConfig other = Config(test::DeadUrl(), directory.path + "/elsewhere");
  const Status reload = run.service.Configure(other);
  REQUIRE(reload.has_value());
  CHECK(reload->text.find("takes effect when") != std::string::npos);
  other.key.vhost = "second.example.org";
  const Status second = run.service.Configure(other);
  REQUIRE(second.has_value());
  CHECK(second->text.find("another virtual host") != std::string::npos);
}

TEST_CASE("another spool has nothing of what waits in the one before, and says where that is") {
  const TemporaryDirectory directory;
  const std::string first = directory.path + "/first";
  std::filesystem::create_directory(first);
  Run run;
  EndpointConfig config = Config(test::DeadUrl(), first);
  config.limits.events = 2;
  REQUIRE_FALSE(run.service.Configure(config).has_value());
  CHECK(run.SubmitCommitted("juliet"));
  CHECK(run.SubmitCommitted("nurse"));
  CHECK(run.service.Submit(kKey, test::MakeEvent("romeo"), {}) == Admission::kFull);
  CHECK(run.Remove() == 2);
  CHECK(run.service.Stop() == Service::Stopped::kDone);
  SECTION("on the disk") { config.spool.directory = directory.path; }
  SECTION("in memory") { config.spool = {}; }
  REQUIRE_FALSE(run.service.Configure(config).has_value());
  CHECK(run.stats().pending == 0);
  CHECK(run.service.Observe(kKey)->oldest_unix_ms == 0);
  CHECK(run.Noticed(first +
                    " is not in use any more, and keeps 2 notifications that wait and 0 "
                    "dead letters: `ejabberdctl offline_post_import " +
                    first + "/mod_offline_post.db`"));
  CHECK(run.service.Submit(kKey, test::MakeEvent("romeo"), {}) == Admission::kAccepted);
  CHECK(run.stats().pending == 1);
}

TEST_CASE(
    "dead letters that were in memory only are gone with another spool, and the log says so") {
  const TemporaryDirectory directory;
  HttpServer server([](const HttpRequest&) { return test::Status(413); });
  Run run;
  EndpointConfig config = Config(server.url(), directory.path);
  config.spool = {};
  REQUIRE_FALSE(run.service.Configure(config).has_value());
  CHECK_FALSE(run.SubmitCommitted("juliet"));
  REQUIRE(run.Eventually([&] { return run.stats().dead == 1; }));
  CHECK(run.Remove() == 0);
  CHECK(run.service.Stop() == Service::Stopped::kDone);
  REQUIRE_FALSE(run.service.Configure(Config(server.url(), directory.path)).has_value());
  CHECK(run.Noticed("1 dead letters were in memory only, and are gone"));
  CHECK(run.stats().dead == 0);
}

TEST_CASE("with what waits in memory the spool stays, and all endpoints that ask for one go on") {
  const TemporaryDirectory directory;
  Run run;
  EndpointConfig config = Config(test::DeadUrl(), directory.path);
  config.spool = {};
  REQUIRE_FALSE(run.service.Configure(config).has_value());
  CHECK_FALSE(run.SubmitCommitted("juliet"));
  CHECK(run.Remove() == 1);
  CHECK(run.service.Stop() == Service::Stopped::kDone);
  config = Config(test::DeadUrl(), directory.path);
  REQUIRE_FALSE(run.service.Configure(config).has_value());
  CHECK(run.Noticed("does not take effect yet: 1 notifications wait in memory"));
  CHECK(run.stats().pending == 1);
  EndpointConfig second = config;
  second.key.vhost = "second.example.org";
  CHECK_FALSE(run.service.Configure(second).has_value());
  CHECK_FALSE(run.service.Configure(config).has_value());
}

TEST_CASE("where no file can be, notifications wait in memory, and the log says so") {
  const TemporaryDirectory directory;
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Run run;
  REQUIRE_FALSE(
      run.service.Configure(Config(server.url(), directory.path + "/missing")).has_value());
  CHECK(run.service.spool_state() == SpoolState::kDegraded);
  CHECK_FALSE(run.SubmitCommitted("juliet"));
  CHECK(run.Eventually([&] { return run.stats().delivered == 1; }));
  CHECK(run.Noticed("wait in memory"));
  CHECK(run.Noticed(directory.path + "/missing"));
}

}  // namespace offline_post
