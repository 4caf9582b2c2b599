// One bad recipient: of a backlog, three events in ten are for a recipient that always waits for
// its next attempt. The others must drain about as fast as without it.
#include <algorithm>
#include <cstdio>

#include "backlog.hpp"
#include "report.hpp"
#include "roles.hpp"

namespace offline_post::proof {

namespace {

constexpr std::uint64_t kBadTenths = 3;
constexpr std::uint64_t kDefaultPairs = 3;

struct Drained {
  double per_second = 0;
  bool all = false;    // the others came, each once
  bool books = false;  // and the bad one's are still pending
};

// Accepts the backlog while nobody listens, then starts anew with a backend.
Drained DrainBacklog(std::uint64_t events, std::uint64_t bad_tenths, std::uint64_t others) {
  const WorkDirectory spool;
  CountingBackend backend(events, others);
  {
    BacklogChild node(backend.url(), spool.path());
    node.Accept(events, bad_tenths);
    node.Stop();
  }
  backend.Listen();
  BacklogChild node(backend.url(), spool.path());
  Drained drained;
  drained.all = backend.WaitForAll(std::chrono::minutes(10)) && backend.doubles() == 0;
  if (!drained.all) {
    std::printf("  %s of %s came, doubles %s; the book: %s\n",
                std::to_string(backend.count()).c_str(), std::to_string(others).c_str(),
                std::to_string(backend.doubles()).c_str(), node.Book().c_str());
    return drained;
  }
  drained.per_second = static_cast<double>(others) / backend.SecondsToAll();
  const std::uint64_t bad = events - others;
  // The last answers may still be on their way into the book.
  const std::string book =
      std::to_string(events) + " " + std::to_string(others) + " " + std::to_string(bad) + " 0 0 0 ";
  const auto until = SteadyClock::now() + std::chrono::seconds(10);
  while (!(drained.books = node.Book().starts_with(book)) && SteadyClock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::printf("  %s others%s: %.0f per second; the bad one was tried %s times\n",
              std::to_string(others).c_str(), bad > 0 ? " beside the bad recipient" : " alone",
              drained.per_second, std::to_string(backend.refused()).c_str());
  std::fflush(stdout);
  return drained;
}

}  // namespace

int BadRecipient(const std::vector<std::string>& args) {
  const std::uint64_t events = args.empty() ? kDefaultEvents : std::stoull(args[0]);
  const std::uint64_t pairs = args.size() > 1 ? std::stoull(args[1]) : kDefaultPairs;
  const double target = args.size() > 2 ? std::stod(args[2]) : 0.8;
  std::uint64_t others = 0;
  for (std::uint64_t i = 0; i < events; ++i) others += RecipientOf(i, kBadTenths) != "bad" ? 1 : 0;
  std::printf("one bad recipient: %s events, %s of them for it; %s pairs\n",
              std::to_string(events).c_str(), std::to_string(events - others).c_str(),
              std::to_string(pairs).c_str());
  std::vector<double> ratios;
  bool all = true;
  bool books = true;
  for (std::uint64_t i = 0; i < pairs; ++i) {
    Drained with;
    Drained alone;
    if (i % 2 == 0) with = DrainBacklog(events, kBadTenths, others);
    alone = DrainBacklog(others, 0, others);
    if (i % 2 == 1) with = DrainBacklog(events, kBadTenths, others);
    all = all && with.all && alone.all;
    books = books && with.books && alone.books;
    ratios.push_back(with.per_second / alone.per_second);
  }
  std::sort(ratios.begin(), ratios.end());
  Report report;
  report.Check("the others came, each once", all);
  report.Check("the bad one's are pending, and the law holds", books);
  report.AtLeast("bad_recipient_rate_ratio", ratios[ratios.size() / 2], target);
  return report.End();
}

}  // namespace offline_post::proof
