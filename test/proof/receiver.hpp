// Receiver: a backend that is fast enough not to be what is measured. One thread, epoll, HTTP/1.1
// as our transport speaks it: requests with a Content-Length, kept connections, no pipelining.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace offline_post::proof {

struct Post {
  std::string_view id;  // the webhook-id header
  std::string_view body;

  // The value of a form's field, as it came (percent-encoded).
  std::string_view Field(std::string_view name) const;
};

class Receiver {
 public:
  // The status to answer with; kHangUp: close the connection without an answer. Called on the
  // receiver's thread.
  using Handler = std::function<int(const Post&)>;
  static constexpr int kHangUp = 0;
  // How long a request waits before the Handler is asked; called as it comes, on the same thread.
  // Whoever hangs up meanwhile is not answered.
  using Delay = std::function<std::chrono::milliseconds()>;

  // Takes this port of loopback; by default any. Connections are refused until Listen is called.
  explicit Receiver(Handler handler, Delay delay = nullptr, std::uint16_t port = 0);
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  void Listen();
  std::string url() const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  using Due = std::multimap<Time, int>;  // sockets, by when they are answered

  struct Connection {
    std::string in;
    std::string out;
    Due::iterator due;
  };

  void Run();
  int MillisToNext() const;
  void Accept();
  void Serve(int socket);
  void Postpone(int socket);
  void AnswerDue();
  bool AnswerAll(int socket);
  bool Answer(Connection& connection);
  void HangUp(int socket);
  Connection& At(int socket) { return *connections_[static_cast<std::size_t>(socket)]; }
  void Watch(int socket) const;

  const Handler handler_;
  const Delay delay_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  int epoll_ = -1;
  int stop_ = -1;                                         // an eventfd
  std::vector<std::unique_ptr<Connection>> connections_;  // by descriptor; the thread's own
  Due due_;                                               // the thread's own
  std::thread thread_;
};

}  // namespace offline_post::proof
