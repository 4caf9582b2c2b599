// simulation: many histories, each from one seed; or one of them again, with all that happens. Many
// are others at every run, unless --seed-base says which; before them those that once failed.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "found_seeds.hpp"
#include "world.hpp"

namespace offline_post::simulation {

namespace {

constexpr int kMaxReported = 10;

struct Options {
  std::uint64_t histories = 1'000;
  std::uint64_t seed_base = std::random_device{}();
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
  bool one = false;
  std::uint64_t seed = 0;
  bool trace = false;
  bool first_failure = false;
  Switches switches;
};

[[noreturn]] void Usage(std::string_view what) {
  std::fprintf(stderr,
               "simulation: %.*s\n"
               "usage: simulation [--histories N] [--seed-base N] [--jobs N] [--first-failure] "
               "[--switch NAME]\n"
               "       simulation --seed N [--trace] [--switch NAME]\n",
               static_cast<int>(what.size()), what.data());
  std::exit(2);
}

struct SwitchName {
  const char* name;
  bool Switches::*member;
};

constexpr SwitchName kSwitches[] = {
    {"claim-before-commit", &Switches::claim_before_commit},
    {"lose-twin", &Switches::lose_twin},
    {"lose-tail", &Switches::lose_tail},
    {"claim-past-waiting", &Switches::claim_past_waiting},
    {"ignore-hasten", &Switches::ignore_hasten},
};

bool Set(Switches& switches, std::string_view name) {
  for (const SwitchName& known : kSwitches) {
    if (name == known.name) return switches.*known.member = true;
  }
  return false;
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const auto value = [&] {
      if (++i >= argc) Usage("an option lacks its value");
      return argv[i];
    };
    const auto number = [&] { return std::strtoull(value(), nullptr, 0); };
    if (name == "--histories") {
      options.histories = number();
    } else if (name == "--seed-base") {
      options.seed_base = number();
    } else if (name == "--jobs") {
      options.jobs = static_cast<unsigned>(std::max(1ULL, number()));
    } else if (name == "--seed") {
      options.one = true;
      options.seed = number();
    } else if (name == "--trace") {
      options.trace = true;
    } else if (name == "--first-failure") {
      options.first_failure = true;
    } else if (name == "--switches") {
      for (const SwitchName& known : kSwitches) std::printf("%s\n", known.name);
      std::exit(0);
    } else if (name == "--switch") {
      if (!Set(options.switches, value())) Usage("no such switch");
    } else {
      Usage("no such option: " + std::string(name));
    }
  }
  return options;
}

// Neighbouring numbers make unlike histories.
std::uint64_t SeedOf(std::uint64_t number) { return Random(number).Next(); }

int RunOne(const Options& options) {
  World world(options.seed, options.switches, options.trace);
  const auto broken = world.Run();
  if (broken)
    std::printf("seed 0x%llx: %s\n", static_cast<unsigned long long>(options.seed),
                broken->c_str());
  std::printf("%d passed, %d failed\n", broken ? 0 : 1, broken ? 1 : 0);
  return broken ? 1 : 0;
}

int RunMany(const Options& options) {
  std::printf("%llu histories from --seed-base %llu, and %zu that once failed\n",
              static_cast<unsigned long long>(options.histories),
              static_cast<unsigned long long>(options.seed_base), kFoundSeeds.size());
  std::fflush(stdout);
  const std::uint64_t histories = kFoundSeeds.size() + options.histories;
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex;
  Tally all;
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  const auto work = [&] {
    while (true) {
      const std::uint64_t number = next++;
      if (number >= histories) return;
      const std::uint64_t seed = number < kFoundSeeds.size()
                                     ? kFoundSeeds[number]
                                     : SeedOf(options.seed_base + number - kFoundSeeds.size());
      World world(seed, options.switches, false);
      const auto broken = world.Run();
      const std::lock_guard lock(mutex);
      all.Add(world.tally());
      if (!broken) {
        ++passed;
        continue;
      }
      if (++failed <= kMaxReported) {
        std::printf("seed 0x%llx failed %s\n    again: simulation --seed 0x%llx --trace\n",
                    static_cast<unsigned long long>(seed), broken->c_str(),
                    static_cast<unsigned long long>(seed));
        std::fflush(stdout);
      }
      if (options.first_failure) next = histories;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.jobs; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  const auto count = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
  std::printf(
      "simulated %llu days: %llu events (%llu more rejected), %llu requests, %llu of them "
      "batches, %llu doubles, %llu ends of a process\n"
      "delivered %llu, dead %llu, cancelled %llu, purged %llu, lost with a file %llu, not "
      "committed "
      "at a crash %llu; %llu left their recipients' order; %llu steps\n",
      count(static_cast<std::uint64_t>(all.simulated_ms) / 86'400'000), count(all.events),
      count(all.rejected), count(all.requests), count(all.batches), count(all.doubles),
      count(all.crashes), count(all.delivered), count(all.dead), count(all.cancelled),
      count(all.purged), count(all.lost), count(all.gone), count(all.left_order), count(all.steps));
  std::printf("%llu passed, %llu failed\n", count(passed), count(failed));
  return failed > 0 || passed == 0 ? 1 : 0;
}

}  // namespace

}  // namespace offline_post::simulation

int main(int argc, char** argv) {
  const auto options = offline_post::simulation::Parse(argc, argv);
  return options.one ? offline_post::simulation::RunOne(options)
                     : offline_post::simulation::RunMany(options);
}
