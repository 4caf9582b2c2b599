// A real HTTP/1.1 server on loopback for one test: it answers each request as the test's handler
// says, bytes for bytes, also against every rule. One thread per connection.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace offline_post::test {

struct HttpRequest {
  std::string head;  // request line and header lines, as they came
  std::string body;
  int connection = 0;  // 1 for the first
};

struct HttpReply {
  // kEndless: `bytes`, then `more` again and again until the client leaves; kTrickle: the same, a
  // byte now and then.
  enum class Then { kKeep, kClose, kReset, kHang, kEndless, kTrickle };
  std::string bytes;
  Then then = Then::kKeep;
  std::string more = "0";
};

// A complete answer without a body.
HttpReply Status(int status, const std::string& more_headers = "");

class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  explicit HttpServer(Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/push"; }
  int connections() const { return connections_; }
  std::vector<HttpRequest> requests() const;

 private:
  void Accept();
  void Serve(int socket, int number);

  const Handler handler_;
  std::uint16_t port_ = 0;  // before listener_, whose making sets it
  int listener_ = -1;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  mutable std::mutex mutex_;
  std::vector<HttpRequest> requests_;  // guarded by mutex_, as below
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// A port of loopback on which nobody listens.
std::string DeadUrl();

}  // namespace offline_post::test
