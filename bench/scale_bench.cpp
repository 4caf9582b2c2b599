// What many endpoints cost where few are busy, measured at the C++ interface, without a BEAM. URL
// is like http://127.0.0.1:PORT/PATH. ORIGINS: `one` for all endpoints, or `many`, one for each.
//
// scale_bench paced URL DIRECTORY|- ORIGINS ENDPOINTS BUSY PER_SECOND RUN_MS
//   So many messages a second, evenly, to the busy ones by turns. Prints "CPU_US": the process's
//   CPU time per message, without that of the thread that submits.
// scale_bench deliver URL DIRECTORY|- ORIGINS ENDPOINTS RUN_MS
//   Saturates one of them. Prints "PER_SECOND".
// scale_bench start URL DIRECTORY|- ORIGINS ENDPOINTS
//   Prints "S": from the return of the last configure to the first delivery.
// scale_bench backlog DIRECTORY COUNT BYTES
//   COUNT messages of BYTES to as many recipients wait for a backend that is away, in a process
//   that was started anew. Prints "MB": how much its memory has grown after 10 s.
#include <atomic>
#include <functional>
#include <map>
#include <thread>

#include "bench_service.hpp"

namespace {

using namespace offline_post;         // NOLINT(google-build-using-namespace): a program and no more
using namespace offline_post::bench;  // NOLINT(google-build-using-namespace)
using std::chrono::milliseconds;

constexpr int kConnections = 32;
constexpr std::uint64_t kPending = 10'000;

std::string Name(std::size_t endpoint) { return "vhost" + std::to_string(endpoint); }

// Names below localhost are this machine's, whatever is before.
std::string UrlOf(const std::string& url, bool many, std::size_t endpoint) {
  const std::string scheme = "http://";
  const std::size_t port = url.find(':', scheme.size());
  if (!many) return url;
  return scheme + "h" + std::to_string(endpoint) + ".localhost" + url.substr(port);
}

// URL DIRECTORY ORIGINS ENDPOINTS
std::size_t ConfigureAll(Service& service, const Args& args) {
  const std::size_t count = std::stoul(args.at(3));
  for (std::size_t i = 0; i < count; ++i) {
    Configure(service, Config(Name(i), UrlOf(args.at(0), args.at(2) == "many", i), args.at(1),
                              kConnections));
  }
  return count;
}

void AwaitDelivered(const Service& service, const std::string& vhost, std::uint64_t count) {
  while (StatsOf(service, vhost).delivered < count) {
    std::this_thread::sleep_for(milliseconds(1));
  }
}

int Paced(const Args& args) {
  Service service(&PrintErrors);
  ConfigureAll(service, args);
  const std::size_t busy = std::stoul(args.at(4));
  const std::chrono::nanoseconds every{1'000'000'000 / std::stol(args.at(5))};
  std::uint64_t number = 0;
  auto due = SteadyClock::now();
  const auto feed = [&](milliseconds time) {
    const std::uint64_t before = number;
    for (const auto end = due + time; due < end; due += every, ++number) {
      std::this_thread::sleep_until(due);
      Submit(service, Name(number % busy), number / busy);
    }
    return number - before;
  };
  feed(milliseconds(1'000));
  AwaitDelivered(service, Name(0), 1);
  due = SteadyClock::now();
  const double cpu = CpuWithoutCallerUs();
  const auto count = static_cast<double>(feed(milliseconds(std::stol(args.at(6)))));
  std::cout << std::fixed << (CpuWithoutCallerUs() - cpu) / count << "\n";
  return 0;
}

int Deliver(const Args& args) {
  Service service(&PrintErrors);
  const std::string vhost = Name(ConfigureAll(service, args) / 2);
  std::atomic<bool> stop{false};
  std::thread feeder([&] {
    for (std::uint64_t number = 0; !stop;) {
      if (StatsOf(service, vhost).pending < kPending) {
        for (int i = 0; i < 5'000; ++i) Submit(service, vhost, number++);
      } else {
        std::this_thread::sleep_for(milliseconds(20));
      }
    }
  });
  AwaitDelivered(service, vhost, kPending);
  const auto start = SteadyClock::now();
  const std::uint64_t before = StatsOf(service, vhost).delivered;
  std::this_thread::sleep_for(milliseconds(std::stol(args.at(4))));
  const auto done = static_cast<double>(StatsOf(service, vhost).delivered - before);
  std::cout << std::fixed << done * 1e6 / Us(SteadyClock::now() - start).count() << "\n";
  stop = true;
  feeder.join();
  return 0;
}

int Start(const Args& args) {
  Service service(&PrintErrors);
  const std::string vhost = Name(ConfigureAll(service, args) - 1);
  const auto start = SteadyClock::now();
  Submit(service, vhost, 0);
  AwaitDelivered(service, vhost, 1);
  std::cout << std::fixed << Us(SteadyClock::now() - start).count() / 1e6 << "\n";
  return 0;
}

int Backlog(const Args& args) {
  const std::string away = "http://127.0.0.1:9/";  // the port of the discard protocol
  const std::uint64_t count = std::stoull(args.at(1));
  const std::string text(std::stoul(args.at(2)), 'x');
  {
    Service service(&PrintErrors);
    Configure(service, Config("vhost", away, args.at(0), kConnections));
    std::atomic<std::uint64_t> committed{0};
    for (std::uint64_t i = 0; i < count; ++i) {
      // Not more than some at a time: what is not committed yet is in memory.
      while (i > committed + 100) std::this_thread::sleep_for(milliseconds(1));
      const auto event = std::make_shared<Event>();
      event->to = {"user" + std::to_string(i), "vhost", ""};
      event->body = text;
      service.Submit(EndpointKeyView{"vhost", kModule}, event, [&](bool) { ++committed; });
    }
    while (committed < count) std::this_thread::sleep_for(milliseconds(1));
  }
  const double before = ResidentMb();
  Service service(&PrintErrors);
  Configure(service, Config("vhost", away, args.at(0), kConnections));
  double most = before;
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(milliseconds(100));
    most = std::max(most, ResidentMb());
  }
  if (StatsOf(service, "vhost").pending != count) throw std::runtime_error("not all are pending");
  std::cout << std::fixed << most - before << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(const Args&)> modes = {
      {"paced", &Paced}, {"deliver", &Deliver}, {"start", &Start}, {"backlog", &Backlog}};
  return Run("scale_bench", modes, argc, argv);
}
