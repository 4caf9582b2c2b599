// Lane: one multi handle of libcurl with its connections. Connections over HTTP/1.1 are driven by a
// SocketLoop; those that may speak HTTP/2 by curl_multi_perform, because libcurl 7.88 loses streams
// otherwise.
//
// Threads: the transport's.
#pragma once

#include <curl/curl.h>

#include <cstddef>

#include "http/socket_loop.hpp"
#include "model/clock.hpp"
#include "model/result.hpp"

namespace offline_post {

class Lane {
 public:
  enum class Kind { kSockets, kStreams };

  explicit Lane(Kind kind) : kind_(kind) {}

  Status Open();

  bool Add(CURL* easy);
  void Remove(CURL* easy);
  std::size_t in_flight() const { return in_flight_; }  // easy handles in the lane
  bool used() const { return used_; }                   // ever, by an easy handle

  // Reads and writes what is ready, of sockets until `until` at most. False: some are left over.
  bool Perform(SteadyTime until);
  // Begins what was added since.
  void Begin() {
    if (kind_ == Kind::kSockets) sockets_.Begin();
  }
  // When to Perform though nothing is ready (ms from now); negative: never.
  Millis DueMs() const { return kind_ == Kind::kSockets ? sockets_.DueMs() : -1; }
  int descriptor() const { return sockets_.descriptor(); }  // of sockets only

  CURLM* multi() const { return kind_ == Kind::kSockets ? sockets_.multi() : streams_.get(); }

 private:
  const Kind kind_;
  SocketLoop sockets_;
  MultiHandle streams_;
  std::size_t in_flight_ = 0;
  bool used_ = false;
};

}  // namespace offline_post
