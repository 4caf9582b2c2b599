// SocketLoop: a multi handle of libcurl that is told, by epoll, which of its sockets are ready. A
// turn costs what there is to do, however many requests wait for their answers, while
// curl_multi_perform asks the kernel about each of them. Not for what may speak HTTP/2: driven so,
// libcurl 7.88 fails such requests ("Stream error in the HTTP/2 framing layer").
//
// Threads: the transport's.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <vector>

#include "model/clock.hpp"
#include "model/result.hpp"

namespace offline_post {

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

  // For adding and removing easy handles, and to read which are done.
  CURLM* multi() const { return multi_.get(); }
  // Readable while a socket is ready.
  int descriptor() const { return epoll_; }
  // When to Perform though no socket is ready (ms from now); negative: never.
  Millis DueMs() const;

  // Reads and writes what is ready now.
  void Perform();

 private:
  static int OnSocket(CURL*, curl_socket_t socket, int what, void* self, void* known) noexcept;

  MultiHandle multi_;
  int epoll_ = -1;
  std::vector<bool> wanted_;  // by the socket's number: a request is under way on it
};

}  // namespace offline_post
