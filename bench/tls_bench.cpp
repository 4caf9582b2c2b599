// tls_bench DIRECTORY RUN_MS
//
// What TLS costs while the backend closes each connection, by a server in a process of its own.
// Prints "NAME VALUE" lines:
//   tls_new_connection_one_per_s   POSTs a second with a ca_file of one authority
//   tls_new_connection_all_per_s   the same with the system's authorities in the file too
//   sync_commit_p99_under_tls_ms   how long a commit takes meanwhile, for one session after another
//   service_longest_turn_ms        the longest stretch of the service thread, in CPU time, while 64
//                                  new connections are made at once, again and again
//   service_longest_turn_wall_ms   the same by the clock, what other processes took included
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "service/service.hpp"
#include "support/tls_server.hpp"

namespace {

using namespace offline_post;
using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr EndpointKeyView kKey{"vhost", "mod_offline_post"};
constexpr int kConnections = 64;

void AnswerOnce(test::TlsConnection& connection) {
  const std::string head = connection.ReadTo("\r\n\r\n");
  const std::size_t field = head.find("Content-Length: ");
  if (field == std::string::npos) return;
  connection.Read(std::stoul(head.substr(field + 16)));
  connection.Write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

// A server in a child process, until this ends.
class Backend {
 public:
  explicit Backend(const test::Authority& authority) {
    int ends[2] = {};
    if (pipe(ends) != 0) throw std::runtime_error("no pipe");
    child_ = fork();
    if (child_ == 0) {
      test::TlsServerOptions options;
      options.identity = authority.Issue("localhost");
      const test::TlsServer server(options, &AnswerOnce);
      const std::string url = server.url() + "\n";
      if (write(ends[1], url.data(), url.size()) < 0) _exit(1);
      while (true) pause();
    }
    for (char c = 0; read(ends[0], &c, 1) == 1 && c != '\n';) url_ += c;
    close(ends[0]);
    close(ends[1]);
  }
  ~Backend() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  const std::string& url() const { return url_; }

 private:
  pid_t child_ = -1;
  std::string url_;
};

std::unique_ptr<Service> Start(const std::string& url, const std::string& ca_file,
                               const std::string& directory) {
  auto service = std::make_unique<Service>([](const std::vector<Notice>& notices) {
    for (const Notice& notice : notices) {
      if (notice.level != Notice::Level::kInfo) std::cerr << notice.line << "\n";
    }
    return true;
  });
  EndpointConfig config;
  config.key = {std::string(kKey.vhost), std::string(kKey.module)};
  config.post_url = url;
  config.max_connections = kConnections;
  config.tls.ca_file = ca_file;
  config.spool = {!directory.empty(), directory, 0};
  if (const Status status = service->Configure(config)) throw std::runtime_error(status->text);
  return service;
}

void Submit(Service& service, std::uint64_t number, CommitCallback committed = {}) {
  const auto event = std::make_shared<Event>();
  event->to = {"user" + std::to_string(number), "vhost", ""};
  event->from = {"juliet", "vhost", "balcony"};
  event->body = "Wherefore art thou?";
  service.Submit(kKey, event, std::move(committed));
}

// Keeps 1,000 messages waiting.
void Feed(Service& service, const std::atomic<bool>& stop) {
  for (std::uint64_t number = 0; !stop;) {
    if (service.GetStats(kKey)->pending < 1'000) {
      for (int i = 0; i < 500; ++i) Submit(service, number++);
    } else {
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
}

double Rate(const std::string& url, const std::string& ca_file, milliseconds run) {
  const auto service = Start(url, ca_file, "");
  std::atomic<bool> stop{false};
  std::thread feeder([&] { Feed(*service, stop); });
  std::this_thread::sleep_for(milliseconds(500));
  const std::uint64_t before = service->GetStats(kKey)->delivered;
  const auto begin = SteadyClock::now();
  std::this_thread::sleep_for(run);
  const std::uint64_t done = service->GetStats(kKey)->delivered - before;
  const std::chrono::duration<double> took = SteadyClock::now() - begin;
  stop = true;
  feeder.join();
  return static_cast<double>(done) / took.count();
}

void Loaded(const std::string& url, const std::string& ca_file, const std::string& directory,
            milliseconds run) {
  const auto service = Start(url, ca_file, directory);
  std::atomic<bool> stop{false};
  std::thread feeder([&] { Feed(*service, stop); });
  std::vector<double> waits;
  const auto end = SteadyClock::now() + run;
  for (std::uint64_t number = 1'000'000'000; SteadyClock::now() < end; ++number) {
    const auto committed = std::make_shared<std::promise<void>>();
    const auto begin = SteadyClock::now();
    Submit(*service, number, [committed](auto&&...) { committed->set_value(); });
    committed->get_future().wait();
    waits.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count());
    std::this_thread::sleep_for(milliseconds(2));
  }
  stop = true;
  feeder.join();
  std::sort(waits.begin(), waits.end());
  std::cout << "sync_commit_p99_under_tls_ms " << waits[waits.size() * 99 / 100] << "\n";
  std::cout << "service_longest_turn_ms "
            << static_cast<double>(service->longest_turn_cpu_us()) / 1e3 << "\n";
  std::cout << "service_longest_turn_wall_ms "
            << static_cast<double>(service->longest_turn_us()) / 1e3 << "\n";
}

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int Run(const std::string& directory, milliseconds run) {
  const test::Authority authority;
  const Backend backend(authority);
  const std::string one = directory + "/one.pem";
  const std::string all = directory + "/all.pem";
  std::ofstream(one) << authority.certificate();
  std::ofstream(all) << Read("/etc/ssl/certs/ca-certificates.crt") << authority.certificate();
  std::cout << std::fixed << "tls_new_connection_one_per_s " << Rate(backend.url(), one, run)
            << "\n";
  std::cout << "tls_new_connection_all_per_s " << Rate(backend.url(), all, run) << "\n";
  Loaded(backend.url(), all, directory, run);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: tls_bench DIRECTORY RUN_MS\n";
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);  // clients that leave
  try {
    return Run(argv[1], milliseconds(std::stol(argv[2])));
  } catch (const std::exception& error) {
    std::cerr << "tls_bench: " << error.what() << "\n";
    return 1;
  }
}
