// What the durable outbox costs, measured at the C++ interface, without a BEAM.
//
// spool_bench deliver URL DIRECTORY|- CONNECTIONS WARM_MS RUN_MS [OPTION...]
//   From submission to delivery at saturation, the spool in DIRECTORY or in memory (-). Prints
//   "PER_SECOND CPU_US STORAGE_CPU_US", per message: the process's CPU time, and of it the storage
//   thread's. OPTION: batch=EVENTS (JSON), http1, http2, ca=FILE.
// spool_bench paced URL DIRECTORY CONNECTIONS PER_SECOND WARM_MS RUN_MS
//   So many evenly, far from saturation. Prints "CPU_US": the process's CPU time per message,
//   without that of the thread that submits.
// spool_bench drain URL DIRECTORY CONNECTIONS COUNT [OPTION...]
//   Prints "PER_SECOND": COUNT events that are committed before the first is sent, until the last
//   is delivered.
// spool_bench commit URL DIRECTORY COUNT
//   Prints "US": the time from the first of COUNT submissions to the last commit, by COUNT.
// spool_bench sync URL DIRECTORY COUNT PAUSE_MS
//   One event at a time, PAUSE_MS apart, until it is committed. Prints "P50_US P99_US".
// spool_bench floor DIRECTORY COUNT PAUSE_MS
//   The same with nothing but SQLite: a row a transaction. Prints "P50_US P99_US".
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <thread>

#include "bench_service.hpp"

namespace {

using namespace offline_post;         // NOLINT(google-build-using-namespace): a program and no more
using namespace offline_post::bench;  // NOLINT(google-build-using-namespace)
using std::chrono::milliseconds;

const std::string kVhost = "vhost";
constexpr EndpointKeyView kKey{"vhost", kModule};
constexpr std::uint64_t kPending = 10'000;

// OPTIONs, from `from` on.
void Apply(const Args& args, std::size_t from, EndpointConfig& config) {
  for (std::size_t i = from; i < args.size(); ++i) {
    const std::string& option = args[i];
    if (option.starts_with("batch=")) {
      config.batch.max_events = std::stoul(option.substr(6));
      config.recipe.format = Format::kJson;
    } else if (option == "http1") {
      config.http_version = HttpVersion::k1;
    } else if (option == "http2") {
      config.http_version = HttpVersion::k2;
    } else if (option.starts_with("ca=")) {
      config.tls.ca_file = option.substr(3);
    } else {
      throw std::runtime_error("no option: " + option);
    }
  }
}

void Configure(Service& service, const std::string& url, const std::string& directory,
               int connections, const Args& args = {}, std::size_t options = 0) {
  EndpointConfig config = Config(kVhost, url, directory, connections);
  Apply(args, options, config);
  bench::Configure(service, config);
}

void Submit(Service& service, std::uint64_t number, CommitCallback committed = {}) {
  bench::Submit(service, kVhost, number, std::move(committed));
}

double ProcessCpuUs() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

double ThreadCpuUs(const std::string& name) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string comm;
    std::getline(std::ifstream(task.path() / "comm"), comm);
    double nanoseconds = 0;
    if (comm == name && std::ifstream(task.path() / "schedstat") >> nanoseconds) {
      return nanoseconds / 1e3;
    }
  }
  return 0;
}

int Deliver(const Args& args) {
  Service service(&PrintErrors);
  Configure(service, args.at(0), args.at(1), std::stoi(args.at(2)), args, 5);
  std::atomic<bool> stop{false};
  std::thread feeder([&service, &stop] {
    for (std::uint64_t number = 0; !stop;) {
      if (service.GetStats(kKey)->pending < kPending) {
        for (int i = 0; i < 5'000; ++i) Submit(service, number++);
      } else {
        std::this_thread::sleep_for(milliseconds(20));
      }
    }
  });
  std::this_thread::sleep_for(milliseconds(std::stol(args.at(3))));
  const auto start = SteadyClock::now();
  const double cpu = ProcessCpuUs();
  const double storage = ThreadCpuUs("offline_post_db");
  const std::uint64_t before = service.GetStats(kKey)->delivered;
  std::this_thread::sleep_for(milliseconds(std::stol(args.at(4))));
  const auto done = static_cast<double>(service.GetStats(kKey)->delivered - before);
  std::cout << std::fixed << done * 1e6 / Us(SteadyClock::now() - start).count() << " "
            << (ProcessCpuUs() - cpu) / done << " "
            << (ThreadCpuUs("offline_post_db") - storage) / done << "\n";
  stop = true;
  feeder.join();
  return 0;
}

int Paced(const Args& args) {
  Service service(&PrintErrors);
  Configure(service, args.at(0), args.at(1), std::stoi(args.at(2)));
  const std::chrono::nanoseconds every{1'000'000'000 / std::stol(args.at(3))};
  auto due = SteadyClock::now();
  const auto feed_until = [&](SteadyClock::time_point end) {
    std::uint64_t count = 0;
    for (; due < end; due += every, ++count) {
      std::this_thread::sleep_until(due);
      Submit(service, count);
    }
    return count;
  };
  feed_until(due + milliseconds(std::stol(args.at(4))));
  const double cpu = CpuWithoutCallerUs();
  const std::uint64_t delivered = service.GetStats(kKey)->delivered;
  const std::uint64_t count = feed_until(due + milliseconds(std::stol(args.at(5))));
  if (service.GetStats(kKey)->delivered == delivered) throw std::runtime_error("none delivered");
  std::cout << std::fixed << (CpuWithoutCallerUs() - cpu) / static_cast<double>(count) << "\n";
  return 0;
}

// Until all are committed.
void SubmitAll(Service& service, std::uint64_t count) {
  std::promise<void> all;
  std::atomic<std::uint64_t> committed{0};
  for (std::uint64_t i = 0; i < count; ++i) {
    Submit(service, i, [&committed, &all, count](bool) {
      if (++committed == count) all.set_value();
    });
  }
  all.get_future().wait();
}

int Commit(const Args& args) {
  Service service(&PrintErrors);
  Configure(service, args.at(0), args.at(1), 1);
  service.Pause(kKey);  // nothing but the commits
  const std::uint64_t count = std::stoull(args.at(2));
  const auto start = SteadyClock::now();
  SubmitAll(service, count);
  std::cout << std::fixed << Us(SteadyClock::now() - start).count() / static_cast<double>(count)
            << "\n";
  return 0;
}

int Drain(const Args& args) {
  Service service(&PrintErrors);
  Configure(service, args.at(0), args.at(1), std::stoi(args.at(2)), args, 4);
  service.Pause(kKey);
  const std::uint64_t count = std::stoull(args.at(3));
  SubmitAll(service, count);
  const auto start = SteadyClock::now();
  service.Resume(kKey);
  while (service.GetStats(kKey)->delivered < count) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  std::cout << std::fixed
            << static_cast<double>(count) * 1e6 / Us(SteadyClock::now() - start).count() << "\n";
  return 0;
}

// Prints how long `step` takes, which is called `count` times, `pause` apart.
void Sample(std::uint64_t count, milliseconds pause,
            const std::function<void(std::uint64_t)>& step) {
  std::vector<double> times;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::this_thread::sleep_for(pause);
    const auto start = SteadyClock::now();
    step(i);
    times.push_back(Us(SteadyClock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  std::cout << std::fixed << times.at(count / 2) << " " << times.at(count * 99 / 100) << "\n";
}

int Sync(const Args& args) {
  Service service(&PrintErrors);
  Configure(service, args.at(0), args.at(1), 32);
  Sample(std::stoull(args.at(2)), milliseconds(std::stol(args.at(3))),
         [&service](std::uint64_t number) {
           std::promise<void> committed;
           Submit(service, number, [&committed](bool) { committed.set_value(); });
           committed.get_future().wait();
         });
  return 0;
}

void Execute(sqlite3* database, const char* query) {
  if (sqlite3_exec(database, query, nullptr, nullptr, nullptr) != SQLITE_OK) {
    throw std::runtime_error(sqlite3_errmsg(database));
  }
}

int Floor(const Args& args) {
  sqlite3* database = nullptr;
  if (sqlite3_open((args.at(0) + "/floor.db").c_str(), &database) != SQLITE_OK) {
    throw std::runtime_error("cannot open floor.db in " + args.at(0));
  }
  Execute(database, "PRAGMA locking_mode=EXCLUSIVE");
  Execute(database, "PRAGMA journal_mode=WAL");
  Execute(database, "PRAGMA synchronous=FULL");
  Execute(database, "CREATE TABLE log(key INTEGER PRIMARY KEY, body TEXT NOT NULL)");
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(database, "INSERT INTO log(body) VALUES (?)", -1, &insert, nullptr);
  const std::string row = std::string("user000001 vhost juliet vhost balcony message-1 ") + kText;
  Sample(std::stoull(args.at(1)), milliseconds(std::stol(args.at(2))),
         [insert, &row](std::uint64_t) {
           sqlite3_bind_text(insert, 1, row.data(), static_cast<int>(row.size()), SQLITE_STATIC);
           if (sqlite3_step(insert) != SQLITE_DONE) throw std::runtime_error("no commit");
           sqlite3_reset(insert);
         });
  sqlite3_finalize(insert);
  sqlite3_close(database);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(const std::vector<std::string>&)> modes = {
      {"deliver", &Deliver}, {"paced", &Paced}, {"drain", &Drain},
      {"commit", &Commit},   {"sync", &Sync},   {"floor", &Floor}};
  return Run("spool_bench", modes, argc, argv);
}
