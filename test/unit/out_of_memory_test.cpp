// Memory runs out at one allocation after another. A program of its own: it replaces operator new.
//
// Each run is a process: a node with a spool takes some notifications and delivers them, and one
// allocation on one of the node's own threads fails. Either nothing is lost by that, or the process
// ends loudly; then a second node on the same spool delivers all that was committed. For calls from
// outside, on whatever thread: the caller learns of it, and the counters are as before.
#include <curl/curl.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <new>
#include <string>
#include <thread>

#include "service/service.hpp"
#include "support/http_server.hpp"

namespace {

std::atomic<long> node_allocations{
    -1};  // left until one fails, on the node's threads; < 0: none does
thread_local long own_allocations = -1;  // the same, on this thread

bool IsNodeThread() {
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  return std::strncmp(name, "offline_post", 12) == 0;
}

// The same for what libcurl and SQLite allocate, whose errors are answers.
std::atomic<long> curl_allocations{-1};
std::atomic<long> sqlite_allocations{-1};

bool IsLast(std::atomic<long>& left) { return left >= 0 && IsNodeThread() && left-- == 0; }

bool MustFail() {
  if (own_allocations >= 0 && own_allocations-- == 0) return true;
  return node_allocations >= 0 && IsNodeThread() && node_allocations-- == 0;
}

}  // namespace

sqlite3_mem_methods sqlite_methods;

extern "C" {
static void* CurlMalloc(size_t size) {
  return IsLast(curl_allocations) ? nullptr : std::malloc(size);
}
static void* CurlRealloc(void* memory, size_t size) {
  return IsLast(curl_allocations) ? nullptr : std::realloc(memory, size);
}
static void* CurlCalloc(size_t count, size_t size) {
  return IsLast(curl_allocations) ? nullptr : std::calloc(count, size);
}
static char* CurlStrdup(const char* text) {
  return IsLast(curl_allocations) ? nullptr : strdup(text);
}
static void CurlFree(void* memory) { std::free(memory); }
static void* SqliteMalloc(int size) {
  return IsLast(sqlite_allocations) ? nullptr : sqlite_methods.xMalloc(size);
}
static void* SqliteRealloc(void* memory, int size) {
  return IsLast(sqlite_allocations) ? nullptr : sqlite_methods.xRealloc(memory, size);
}
}

void* operator new(std::size_t size) {
  void* memory = MustFail() ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using namespace offline_post;  // NOLINT(google-build-using-namespace): a program and no more

constexpr EndpointKeyView kKey{"example.org", "mod_offline_post"};
constexpr int kEvents = 20;
constexpr const char* kLastWords = "mod_offline_post: no memory in ";

EndpointConfig Config(const std::string& url, const std::string& directory) {
  EndpointConfig config;
  config.key = {std::string(kKey.vhost), std::string(kKey.module)};
  config.post_url = url;
  config.spool = {!directory.empty(), directory, 0};
  return config;
}

std::shared_ptr<Event> MakeEvent(int number) {
  auto event = std::make_shared<Event>();
  event->kind = "text";
  event->to = {"user" + std::to_string(number), "example.org", ""};
  event->from = {"juliet", "example.org", ""};
  event->body = std::string(100, 'x');
  return event;
}

bool Holds(const Stats& stats) {
  return stats.accepted ==
         stats.delivered + stats.pending + stats.dead + stats.cancelled + stats.purged;
}

template <typename Condition>
bool Eventually(const Condition& condition) {
  for (int i = 0; i < 10'000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

bool Ignore(const std::vector<Notice>&) { return true; }

// What a run has to say beyond its end.
struct Shared {
  std::string directory;
  std::string CommittedFile() const { return directory + "/committed"; }
};

// The node: 0 if all is delivered and nothing is lost. `fails_at`: < 0 for none.
int RunNode(const Shared& shared, int events, std::atomic<long>& allocations, long fails_at) {
  test::HttpServer backend([](const test::HttpRequest&) { return test::Status(200); });
  Service service(&Ignore);
  if (service.Configure(Config(backend.url(), shared.directory))) return 2;
  const int committed = ::open(shared.CommittedFile().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  allocations = fails_at;
  for (int i = 0; i < events; ++i) {
    service.Submit(kKey, MakeEvent(i), [committed](bool durable) {
      if (durable && ::write(committed, "x", 1) != 1) std::_Exit(3);
    });
  }
  const auto done = [&service] {
    const Stats stats = service.GetStats(kKey).value();
    return stats.pending == 0 && stats.in_flight == 0;
  };
  if (!Eventually(done)) return 4;
  allocations = -1;
  const Stats stats = service.GetStats(kKey).value();
  if (!Holds(stats)) return 5;
  if (std::filesystem::file_size(shared.CommittedFile()) > stats.delivered) return 6;
  return 0;
}

// The exit status or, negative, the signal.
template <typename Function>
int InProcess(const std::string& errors, const Function& function) {
  const pid_t child = fork();
  if (child == 0) {
    if (std::freopen(errors.c_str(), "w", stderr) == nullptr) std::_Exit(9);
    int status = 9;
    try {
      status = function();
    } catch (const std::exception& error) {
      std::fputs(error.what(), stderr);
    }
    std::fflush(stderr);
    std::_Exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

std::string Contents(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

bool RunOnce(std::atomic<long>& allocations, long fails_at, bool& ended) {
  char name[] = "/tmp/offline_post_memory_XXXXXX";
  if (mkdtemp(name) == nullptr) return false;
  const Shared shared{name};
  const std::string errors = shared.directory + "/errors";
  const int first =
      InProcess(errors, [&] { return RunNode(shared, kEvents, allocations, fails_at); });
  const std::string said = Contents(errors);
  ended = first == -SIGABRT;
  bool good = first == 0 || (ended && said.find(kLastWords) != std::string::npos);
  int second = 0;
  if (good && ended) {
    second = InProcess(errors, [&] { return RunNode(shared, 0, allocations, -1); });
    good = second == 0;
  }
  if (!good) {
    std::cerr << "allocation " << fails_at << ": " << first << " (" << said << "), then " << second
              << "\n";
  }
  std::filesystem::remove_all(shared.directory);
  return good;
}

// Every allocation of a submission fails once.
bool SubmitFails() {
  Service service(&Ignore);
  if (service.Configure(Config("http://127.0.0.1:9/", ""))) return false;
  service.Pause(kKey);
  std::uint64_t accepted = 0;
  int failures = 0;
  for (long n = 0;; ++n) {
    const auto event = MakeEvent(0);
    event->attributes = {{"subject", std::string(100, '\xff')}};
    bool failed = false;
    own_allocations = n;
    try {
      if (service.Submit(kKey, event) == Admission::kAccepted) ++accepted;
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const bool over = own_allocations >= 0;  // none was left to fail
    own_allocations = -1;
    if (failed) ++failures;
    const Stats stats = service.GetStats(kKey).value();
    if (!Holds(stats) || stats.accepted != accepted) {
      std::cerr << "submission, allocation " << n << ": " << stats.accepted << " accepted\n";
      return false;
    }
    if (over) return failures > 0;
  }
}

}  // namespace

int main() {
  std::signal(SIGPIPE, SIG_IGN);
  curl_global_init_mem(CURL_GLOBAL_DEFAULT, CurlMalloc, CurlFree, CurlRealloc, CurlStrdup,
                       CurlCalloc);
  sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_methods);
  sqlite3_mem_methods methods = sqlite_methods;
  methods.xMalloc = SqliteMalloc;
  methods.xRealloc = SqliteRealloc;
  sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
  CurlTransport::InitLibrary();
  int failed = 0;
  int ends = 0;
  int survivals = 0;
  // All of the first, then ever fewer. After so many survivals in a row a run has no more.
  for (long n = 0; survivals < 3; n += 1 + n / 16) {
    bool ended = false;
    if (!RunOnce(node_allocations, n, ended)) ++failed;
    ends += ended ? 1 : 0;
    survivals = ended ? 0 : survivals + 1;
    if (failed > 3) break;
  }
  // A library's error is an answer like others: the attempt, or the transaction, is repeated.
  for (long n = 0; n < 400 && failed <= 3; n += 1 + n / 3) {
    bool ended = false;
    for (std::atomic<long>* allocations : {&curl_allocations, &sqlite_allocations}) {
      if (RunOnce(*allocations, n, ended) && !ended) continue;
      ++failed;
      std::cerr << (allocations == &curl_allocations ? "libcurl's\n" : "SQLite's\n");
    }
  }
  std::cout << ends << " runs ended loudly\n";
  const bool submissions = InProcess("/dev/null", [] { return SubmitFails() ? 0 : 1; }) == 0;
  if (!submissions) std::cerr << "a submission without memory is not refused cleanly\n";
  return failed == 0 && ends > 0 && submissions ? 0 : 1;
}
