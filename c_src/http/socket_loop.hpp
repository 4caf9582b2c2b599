// SocketLoop: a multi handle of libcurl that is told, by epoll, which of its sockets are ready. A
// turn costs what there is to do, however many requests wait for their answers, while
// curl_multi_perform asks the kernel about each of them. Not for what may speak HTTP/2: driven so,
// libcurl 7.88 fails such requests ("Stream error in the HTTP/2 framing layer").
//
// Threads: the transport's.
#pragma once

#include <curl/curl.h>
#include <sys/epoll.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/clock.hpp"
#include "model/result.hpp"

namespace offline_post {

using SteadyTime = std::chrono::steady_clock::time_point;

struct MultiDeleter {
  void operator()(CURLM* multi) const noexcept { curl_multi_cleanup(multi); }
};
using MultiHandle = std::unique_ptr<CURLM, MultiDeleter>;

class SocketLoop {
 public:
  SocketLoop() = default;
  ~SocketLoop() { Close(); }
  SocketLoop(const SocketLoop&) = delete;
  SocketLoop& operator=(const SocketLoop&) = delete;

  Status Open();
  // Every easy handle has left it.
  void Close();

  // Makes the handle ready to be added: its connections are this loop's.
  void Prepare(CURL* easy);
  // What undoes it, for another loop.
  static void Release(CURL* easy);

  // For adding and removing easy handles, and to read which are done.
  CURLM* multi() const { return multi_.get(); }
  // Readable while a socket is ready.
  int descriptor() const { return epoll_; }
  // When to Perform though no socket is ready (ms from now); negative: never.
  Millis DueMs() const;

  // Begins the requests that were added since.
  void Begin();
  // Reads and writes what is ready now, until `until` at most; one socket at least. False: some are
  // left over, for the next call.
  bool Perform(SteadyTime until);

 private:
  static constexpr std::size_t kEventsPerTurn = 256;

  struct Watched {
    bool connection = false;   // libcurl tells of its end by OnClose
    bool wanted = false;       // a request is under way on it
    std::uint32_t events = 0;  // that epoll looks for; 0: the socket is not in epoll
  };

  static int OnSocket(CURL*, curl_socket_t socket, int what, void* self, void* known) noexcept;
  static int OnOpen(void* self, curl_socket_t socket, curlsocktype purpose) noexcept;
  static int OnClose(void* self, curl_socket_t socket) noexcept;
  Watched* Find(curl_socket_t socket) noexcept;
  void Handle(const epoll_event& event);

  MultiHandle multi_;
  int epoll_ = -1;
  std::vector<Watched> watched_;  // by the socket's number
  std::array<epoll_event, kEventsPerTurn> ready_{};
  std::size_t next_ready_ = 0;  // of those that epoll has told of, the first that is not handled
  std::size_t ready_count_ = 0;
};

}  // namespace offline_post
