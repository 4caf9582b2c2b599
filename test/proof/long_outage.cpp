// Long outage: events are accepted while the backend is dead, the node starts anew, the backend is
// back. All is delivered, soon, fast, and in little memory.
#include <algorithm>
#include <cstdio>

#include "backlog.hpp"
#include "report.hpp"
#include "roles.hpp"

namespace offline_post::proof {

namespace {

constexpr std::uint64_t kWarmUp = 2'000;
constexpr std::chrono::milliseconds kSteady{4'000};
constexpr double kMb = 1e6;

// Events per second from acceptance to delivery, nothing waiting for long.
double SteadyRate() {
  const WorkDirectory spool;
  CountingBackend backend(0, 1);
  backend.Listen();
  BacklogChild node(backend.url(), spool.path());
  return node.Steady(kSteady);
}

}  // namespace

int LongOutage(const std::vector<std::string>& args) {
  const std::uint64_t events = args.empty() ? kDefaultEvents : std::stoull(args[0]);
  const double target = args.size() > 1 ? std::stod(args[1]) : 0.7;
  std::printf("long outage: %s events\n", std::to_string(events).c_str());
  std::vector<double> steady = {SteadyRate()};

  const WorkDirectory spool;
  CountingBackend backend(events, events);
  std::uint64_t before = 0;
  std::uint64_t most = 0;
  double accepted_s = 0;
  {
    BacklogChild node(backend.url(), spool.path());
    // The process as it is before the backlog: both threads, the file and curl were in use.
    node.Accept(kWarmUp, 0);
    before = node.ResidentBytes();
    const MemoryWatch memory(node);
    accepted_s = node.Accept(events - kWarmUp, 0);
    most = memory.MostBytes();
    node.Stop();
  }

  backend.Listen();
  const auto start = SteadyClock::now();
  BacklogChild node(backend.url(), spool.path());
  Report report;
  bool all = false;
  std::uint64_t most_draining = 0;
  {
    const MemoryWatch memory(node);
    all = backend.WaitForAll(std::chrono::minutes(10));
    most_draining = memory.MostBytes();
  }
  report.Check("all delivered", all);
  if (!all) {
    std::printf("  %s came; the book: %s\n", std::to_string(backend.count()).c_str(),
                node.Book().c_str());
    return report.End();
  }
  steady.push_back(node.Steady(kSteady));
  steady.push_back(SteadyRate());
  std::sort(steady.begin(), steady.end());

  const double rate = static_cast<double>(events) / backend.SecondsToAll();
  report.Figure("accept_per_s", static_cast<double>(events - kWarmUp) / accepted_s);
  report.Figure("drain_per_s", rate);
  report.Figure("drain_s", backend.SecondsToAll());
  report.Figure("steady_durable_per_s", steady[1]);
  report.Figure("doubles", static_cast<double>(backend.doubles()));
  const auto growth = [before](std::uint64_t bytes) {
    return (static_cast<double>(bytes) - static_cast<double>(before)) / kMb;
  };
  report.Figure("rss_growth_accepting_mb", growth(most));
  report.Figure("rss_growth_draining_mb", growth(most_draining));
  report.AtMost("rss_growth_mb", growth(std::max(most, most_draining)), 64);
  report.AtMost("first_post_s", backend.SecondsToFirst(start), 2);
  report.AtLeast("drain_vs_steady", rate / steady[1], target);
  return report.End();
}

}  // namespace offline_post::proof
