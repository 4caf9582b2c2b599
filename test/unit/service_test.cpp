#include "service/service.hpp"

#include <dirent.h>

#include <atomic>
#include <future>
#include <map>
#include <thread>
#include <vector>

#include "support/http_server.hpp"
#include "support/service_fixture.hpp"

namespace offline_post {

namespace {

using test::Config;
using test::Eventually;
using test::HttpReply;
using test::HttpRequest;
using test::HttpServer;
using test::kKey;
using test::To;
using Fixture = test::ServiceFixture;

std::size_t Entries(const char* directory) {
  DIR* dir = ::opendir(directory);
  std::size_t count = 0;
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

}  // namespace

TEST_CASE("a submitted event arrives at the backend under its id") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(server.url())).has_value());
  const std::shared_ptr<Event> event = To("juliet");
  CHECK(f.service.Submit(kKey, event) == Admission::kAccepted);
  CHECK(event->id.find('.') == std::string::npos);
  REQUIRE(Eventually([&f] { return f.stats().delivered == 1; }));
  const HttpRequest request = server.requests().at(0);
  CHECK(request.head.find("webhook-id: " + event->id + "\r\n") != std::string::npos);
  CHECK(request.body == "to=juliet&from=romeo&body=hello&access_token=secret");
}

TEST_CASE("nothing is accepted for an endpoint that is not configured") {
  Fixture f;
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kStopped);
  CHECK_FALSE(f.service.GetStats(kKey).has_value());
  CHECK_FALSE(f.service.Remove(kKey, 0, [](std::uint64_t) {}));
  CHECK(f.service.Stop() == Service::Stopped::kDone);
}

TEST_CASE("a bad URL is refused and starts nothing") {
  Fixture f;
  const Status status = f.service.Configure(Config("ftp://backend/"));
  REQUIRE(status.has_value());
  CHECK(status->kind == Error::Kind::kInvalid);
  CHECK_FALSE(f.service.running());
}

TEST_CASE("many threads submit, everything arrives once, each recipient's in order") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  EndpointConfig config = Config(server.url());
  config.max_connections = 8;
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  constexpr int kThreads = 4;
  constexpr int kEach = 250;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&f, t] {
      for (int i = 0; i < kEach; ++i)
        f.service.Submit(kKey, To("u" + std::to_string(t), std::to_string(i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(Eventually([&f] { return f.stats().delivered == kThreads * kEach; }));
  std::map<std::string, int> next;
  for (const HttpRequest& request : server.requests()) {
    const std::string to = request.body.substr(0, request.body.find("&from"));
    CHECK(request.body.find("&body=" + std::to_string(next[to]++) + "&") != std::string::npos);
  }
  CHECK(server.connections() <= 8);
}

TEST_CASE("a full queue rejects, counts and says so") {
  Fixture f;
  EndpointConfig config = Config(test::DeadUrl());
  config.limits.events = 5;
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  for (int i = 0; i < 5; ++i) {
    CHECK(f.service.Submit(kKey, To("u" + std::to_string(i))) == Admission::kAccepted);
  }
  for (int i = 0; i < 3; ++i) CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kFull);
  CHECK(f.stats().rejected == 3);
  CHECK(Eventually([&f] { return f.Noticed("rejected, the queue is full"); }));
}

TEST_CASE("a reload changes URL and token for what is queued") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(test::DeadUrl())).has_value());
  for (int i = 0; i < 10; ++i) f.service.Submit(kKey, To("u" + std::to_string(i)));
  REQUIRE(Eventually([&f] { return f.stats().state == EndpointState::kBroken; }));
  REQUIRE(Eventually([&f] { return f.Noticed("has trouble"); }));
  CHECK_FALSE(f.Noticed("secret"));
  EndpointConfig changed = Config(server.url());
  changed.auth_token = "new";
  REQUIRE_FALSE(f.service.Configure(changed).has_value());
  REQUIRE(Eventually([&f] { return f.stats().delivered == 10; }));
  for (const HttpRequest& request : server.requests()) {
    CHECK(request.body.find("access_token=new") != std::string::npos);
  }
}

TEST_CASE("removal drains what can be sent") {
  HttpServer server([](const HttpRequest&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return test::Status(200);
  });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(server.url())).has_value());
  for (int i = 0; i < 200; ++i) f.service.Submit(kKey, To("u" + std::to_string(i)));
  CHECK(f.Remove(20'000) == 0);
  CHECK(f.stats().delivered == 200);
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kStopped);
}

TEST_CASE("a removal after a restart has a deadline of its own") {
  HttpServer silent([](const HttpRequest&) { return HttpReply{"", HttpReply::Then::kHang}; });
  HttpServer good([](const HttpRequest&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return test::Status(200);
  });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(silent.url())).has_value());
  f.service.Submit(kKey, To("juliet"));
  CHECK(f.Remove(100) == 1);
  REQUIRE_FALSE(f.service.Configure(Config(good.url())).has_value());
  for (int i = 0; i < 9; ++i) f.service.Submit(kKey, To("juliet", std::to_string(i)));
  CHECK(f.Remove(20'000) == 0);
  CHECK(f.stats().delivered == 10);
}

TEST_CASE("a stop that does not wait for its removals loses nothing") {
  HttpServer silent([](const HttpRequest&) { return HttpReply{"", HttpReply::Then::kHang}; });
  HttpServer good([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(silent.url())).has_value());
  f.service.Submit(kKey, To("juliet"));
  REQUIRE(Eventually([&f] { return f.stats().in_flight == 1; }));
  std::atomic<std::uint64_t> left{99};
  REQUIRE(f.service.Remove(kKey, 10'000, [&left](std::uint64_t pending) { left = pending; }));
  CHECK(f.service.Stop() == Service::Stopped::kDone);
  CHECK(left == 1);
  CHECK(f.stats().in_flight == 0);
  REQUIRE_FALSE(f.service.Configure(Config(good.url())).has_value());
  f.service.Submit(kKey, To("juliet", "second"));
  CHECK(Eventually([&f] { return f.stats().delivered == 2; }));
}

TEST_CASE("removal is bounded, shared by those that follow, and keeps what is left") {
  HttpServer silent([](const HttpRequest&) { return HttpReply{"", HttpReply::Then::kHang}; });
  HttpServer good([](const HttpRequest&) { return test::Status(200); });
  const EndpointKeyView other{"example.net", "mod_offline_post"};
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(silent.url())).has_value());
  REQUIRE_FALSE(f.service.Configure(Config(silent.url(), other)).has_value());
  for (int i = 0; i < 3; ++i) {
    f.service.Submit(kKey, To("u" + std::to_string(i)));
    f.service.Submit(other, To("u" + std::to_string(i)));
  }
  const test::RealClock clock;
  const Millis start = clock.MonotonicMs();
  CHECK(f.Remove(2'000) == 3);
  CHECK(f.Remove(2'000, other) == 3);
  const Millis took = clock.MonotonicMs() - start;
  CHECK(took >= 2'000);
  CHECK(took < 3'900);
  CHECK(f.service.Stop() == Service::Stopped::kDone);
  CHECK(f.stats().pending == 3);
  CHECK(f.stats().state == EndpointState::kStopped);

  REQUIRE_FALSE(f.service.Configure(Config(good.url())).has_value());
  REQUIRE(Eventually([&f] { return f.stats().delivered == 3; }));
}

TEST_CASE("two hundred starts and stops leave no thread and no descriptor") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  const auto cycle = [&f, &server] {
    REQUIRE_FALSE(f.service.Configure(Config(server.url())).has_value());
    f.service.Submit(kKey, To("juliet"));
    CHECK(f.service.Stop() == Service::Stopped::kBusy);
    CHECK(f.Remove(5'000) == 0);
    CHECK(f.service.Stop() == Service::Stopped::kDone);
    CHECK_FALSE(f.service.running());
  };
  cycle();
  // The server's own end of the connections comes and goes: compare when it has settled.
  const auto settled = [](std::size_t bound, const char* directory) {
    return Eventually([bound, directory] { return Entries(directory) <= bound; });
  };
  const std::size_t descriptors = Entries("/proc/self/fd");
  const std::size_t threads = Entries("/proc/self/task");
  for (int i = 0; i < 200; ++i) cycle();
  CHECK(settled(descriptors, "/proc/self/fd"));
  // The test's server keeps a finished thread per connection until it ends; those do not show in
  // /proc.
  CHECK(settled(threads, "/proc/self/task"));
  CHECK(f.stats().delivered == 201);
}

TEST_CASE("shutdown with a silent backend is quick, idempotent and final") {
  HttpServer silent([](const HttpRequest&) { return HttpReply{"", HttpReply::Then::kHang}; });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(silent.url())).has_value());
  for (int i = 0; i < 100; ++i) f.service.Submit(kKey, To("u" + std::to_string(i)));
  REQUIRE(Eventually([&f] { return f.stats().in_flight == 64; }));
  const test::RealClock clock;
  const Millis start = clock.MonotonicMs();
  f.service.Shutdown();
  f.service.Shutdown();
  CHECK(clock.MonotonicMs() - start < 4'000);
  CHECK(f.service.Submit(kKey, To("juliet")) == Admission::kAccepted);
  const Status status = f.service.Configure(Config(silent.url()));
  REQUIRE(status.has_value());
  CHECK(status->kind == Error::Kind::kUnavailable);
}

TEST_CASE("submitting while another thread stops and starts is safe, and the law holds") {
  HttpServer server([](const HttpRequest&) { return test::Status(200); });
  Fixture f;
  REQUIRE_FALSE(f.service.Configure(Config(server.url())).has_value());
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> accepted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&f, &stop, &accepted, t] {
      while (!stop) {
        if (f.service.Submit(kKey, To("u" + std::to_string(t))) == Admission::kAccepted) ++accepted;
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  for (int i = 0; i < 30; ++i) {
    f.Remove(2'000);
    f.service.Stop();
    REQUIRE_FALSE(f.service.Configure(Config(server.url())).has_value());
    test::CheckLaw(f.stats());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  REQUIRE(Eventually([&f] { return f.stats().pending == 0; }));
  CHECK(f.stats().accepted == accepted);
}

TEST_CASE("a test POST is shown as it was sent, but for what may be a secret") {
  Fixture f;
  HttpServer server([](const HttpRequest&) {
    return HttpReply{"HTTP/1.1 500 No\r\nContent-Length: 14\r\n\r\nno such device"};
  });
  EndpointConfig config = Config(server.url());
  config.recipe.headers = {{"X-Api-Key", "s3cret {{to.user}}"}};
  config.limits = {12, 3'456};
  REQUIRE_FALSE(f.service.Configure(config).has_value());
  std::promise<Service::Tested> promise;
  REQUIRE(f.service.Test(kKey, To("juliet", "a test"),
                         [&](const Service::Tested& tested) { promise.set_value(tested); }));
  std::future<Service::Tested> future = promise.get_future();
  REQUIRE(future.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  const Service::Tested tested = future.get();
  CHECK(tested.outcome.status == 500);
  CHECK(tested.outcome.answer == "no such device");
  CHECK(tested.request.body == "to=juliet&from=romeo&body=a%20test&access_token=%28hidden%29");
  CHECK(f.stats().accepted == 0);
  const std::optional<Observed> observed = f.service.Observe(kKey);
  REQUIRE(observed);
  CHECK(observed->state == EndpointState::kHealthy);
  CHECK(observed->limits.events == 12);
  CHECK(observed->limits.bytes == 3'456);
  CHECK_FALSE(f.service.Observe({"nowhere.example", "mod_offline_post"}).has_value());
  CHECK_FALSE(f.service.Test({"nowhere.example", "mod_offline_post"}, To("juliet"), {}));
  f.Remove(1'000);
}

}  // namespace offline_post
