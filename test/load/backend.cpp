// A backend on 127.0.0.1 that takes a while for each answer, and has trouble. See Usage.
//
// SIGUSR1: for a while it takes requests and answers none of them; whoever still waits then gets an
// answer. SIGTERM: it ends, and tells what it has seen, a line `NAME NUMBER` each.

#include <pthread.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "receiver.hpp"

namespace offline_post::proof {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kUsageError = 2;

int Usage() {
  std::cerr
      << "usage: offline_post_load_backend PORT TAKES_MS [FAILS_PERCENT STALL_S]: answers after\n"
         "TAKES_MS, and that percentage of the requests with 500 or 503\n";
  return kUsageError;
}

class TroubledBackend {
 public:
  TroubledBackend(std::chrono::milliseconds takes, std::uint32_t fails_percent)
      : takes_(takes), fails_percent_(fails_percent) {}

  // Any thread.
  void Stall(std::chrono::seconds lasts) { stalled_until_ = SteadyClock::now() + lasts; }

  // The receiver's thread.
  std::chrono::milliseconds Delay() {
    ++requests_;
    const auto left = stalled_until_.load() - SteadyClock::now();
    if (left <= takes_) return takes_;
    ++stalled_;
    return std::chrono::ceil<std::chrono::milliseconds>(left);
  }
  int Answer(const Post& post) {
    if (random_() % 100 < fails_percent_) {
      ++failed_;
      return random_() % 2 == 0 ? 500 : 503;
    }
    ++succeeded_;
    ids_.emplace(post.id);
    return 200;
  }

  void Tell(std::ostream& out) const {
    out << "requests " << requests_ << "\nfailed " << failed_ << "\nstalled " << stalled_
        << "\ndelivered " << ids_.size() << "\ndoubles " << succeeded_ - ids_.size() << std::endl;
  }

 private:
  const std::chrono::milliseconds takes_;
  const std::uint32_t fails_percent_;
  std::atomic<SteadyClock::time_point> stalled_until_{SteadyClock::time_point{}};
  std::mt19937 random_{6};  // NOLINT: the same faults in every run
  std::uint64_t requests_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t stalled_ = 0;
  std::uint64_t succeeded_ = 0;
  std::unordered_set<std::string> ids_;  // of all that was answered with 200
};

// Until it is told to end.
void Serve(TroubledBackend& backend, std::uint16_t port, std::chrono::seconds stall) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before the receiver's thread is there
  Receiver receiver([&](const Post& post) { return backend.Answer(post); },
                    [&] { return backend.Delay(); }, port);
  receiver.Listen();
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGUSR1) backend.Stall(stall);
}

int Main(const std::vector<std::string_view>& arguments) {
  std::vector<std::uint32_t> numbers;
  for (const std::string_view argument : arguments) {
    const char* end = argument.data() + argument.size();
    const auto parsed = std::from_chars(argument.data(), end, numbers.emplace_back());
    if (parsed.ec != std::errc() || parsed.ptr != end) return Usage();
  }
  if (numbers.size() == 2) numbers.resize(4);
  if (numbers.size() != 4 || numbers[0] == 0 || numbers[0] > UINT16_MAX) return Usage();
  TroubledBackend backend(std::chrono::milliseconds(numbers[1]), numbers[2]);
  Serve(backend, static_cast<std::uint16_t>(numbers[0]), std::chrono::seconds(numbers[3]));
  backend.Tell(std::cout);
  return 0;
}

}  // namespace

}  // namespace offline_post::proof

int main(int argc, char** argv) {
  try {
    return offline_post::proof::Main({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "offline_post_load_backend: " << error.what() << '\n';
    return 1;
  }
}
