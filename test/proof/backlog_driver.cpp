// A node with a backlog, told by lines what to do; see backlog.hpp for them.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <sstream>
#include <thread>

#include "backlog.hpp"
#include "child.hpp"
#include "node.hpp"
#include "roles.hpp"

namespace offline_post::proof {

namespace {

using std::chrono::milliseconds;
using Seconds = std::chrono::duration<double>;

// As sessions that wait for their commits would: so many are on their way to the disk at a time.
constexpr std::uint64_t kUncommitted = 2'000;
constexpr std::uint64_t kSteadyPending = 10'000;
// Events of a steady load are numbered from here on, so that nobody counts them with a backlog.
constexpr std::uint64_t kFirstSteady = std::uint64_t{1} << 40U;

class BacklogNode {
 public:
  bool Start(const EndpointConfig& config) {
    if (const Status status = service_.Configure(config)) {
      std::cerr << "configure: " << status->text << "\n";
      return false;
    }
    if (service_.spool_state() != SpoolState::kDurable) {
      std::cerr << "the spool is not durable\n";
      return false;
    }
    WriteLine("start " + BookText(*service_.GetStats(kKey)));
    return true;
  }

  void Accept(std::uint64_t count, std::uint64_t bad_tenths) {
    const auto start = SteadyClock::now();
    for (const std::uint64_t end = number_ + count; number_ < end; ++number_) {
      Submit(RecipientOf(number_, bad_tenths));
      while (submitted_ - committed_ >= kUncommitted) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    while (committed_ < submitted_) std::this_thread::sleep_for(milliseconds(1));
    WriteLine("accepted " + std::to_string(Seconds(SteadyClock::now() - start).count()));
  }

  void Steady(milliseconds run) {
    number_ = std::max(number_, kFirstSteady);
    std::atomic<bool> stop{false};
    std::thread feeder([this, &stop] {
      while (!stop) {
        if (service_.GetStats(kKey)->pending < kSteadyPending) {
          for (int i = 0; i < 1'000; ++i) Submit(RecipientOf(number_++, 0));
        } else {
          std::this_thread::sleep_for(milliseconds(5));
        }
      }
    });
    std::this_thread::sleep_for(run / 5);
    const auto start = SteadyClock::now();
    const std::uint64_t before = service_.GetStats(kKey)->delivered;
    std::this_thread::sleep_for(run);
    const auto delivered = static_cast<double>(service_.GetStats(kKey)->delivered - before);
    const double rate = delivered / Seconds(SteadyClock::now() - start).count();
    stop = true;
    feeder.join();
    Drain(service_, 60'000);
    WriteLine("steady " + std::to_string(rate));
  }

  void Say() { WriteLine("book " + BookText(*service_.GetStats(kKey))); }
  void Stop() { TakeDown(service_); }

 private:
  void Submit(std::string recipient) {
    const auto event = MakeEvent(number_, std::move(recipient));
    const auto admission =
        service_.Submit(kKey, event, [this](bool durable) { committed_ += durable ? 1 : 0; });
    if (admission == Admission::kAccepted) ++submitted_;
  }

  std::uint64_t number_ = 0;
  std::uint64_t submitted_ = 0;
  std::atomic<std::uint64_t> committed_{0};
  Service service_{&PrintNotices};  // last: its thread uses the others
};

}  // namespace

std::string RecipientOf(std::uint64_t number, std::uint64_t bad_tenths) {
  if (Mix(1, number) % 10 < bad_tenths) return "bad";
  return "u" + std::to_string(Mix(2, number) % 10'000);
}

int BacklogDriver(const std::vector<std::string>& args) {
  DieWithParent();
  BacklogNode node;
  if (!node.Start(MakeConfig(args.at(0), args.at(1)))) return 1;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream text(line);
    std::string word;
    std::uint64_t number = 0;
    std::uint64_t tenths = 0;
    text >> word >> number >> tenths;
    if (word == "accept") node.Accept(number, tenths);
    if (word == "steady") node.Steady(milliseconds(number));
    if (word == "book") node.Say();
    if (word == "stop") break;
  }
  node.Stop();
  return 0;
}

}  // namespace offline_post::proof
