// What the connections to an origin have shown so far, and the requests that wait to know it.
//
// Threads: the transport's.
#pragma once

#include <optional>
#include <vector>

#include "http/transfer.hpp"
#include "model/clock.hpp"
#include "model/request.hpp"

namespace offline_post {

// A request that is not started yet.
struct QueuedRequest {
  Request request;
  Millis since_ms = 0;
};

struct KnownOrigin {
  enum class Speaks { kUnknown, kHttp1, kHttp2 };

  // TLS sessions to resume, of this origin alone: none was made with another identity. None after
  // a handshake has failed, because some servers refuse to resume what they have offered.
  TlsSessions sessions;
  std::optional<Millis> sessions_since_ms;
  Speaks speaks = Speaks::kUnknown;
  Millis learned_ms = 0;
  // The request whose connection will show what the origin speaks; 0: none. Meanwhile the others
  // wait: 64 connections at once would be 64 handshakes in one call of libcurl.
  RequestId scout = 0;
  std::vector<QueuedRequest> waiting;
};

}  // namespace offline_post
