// Transport: the port through which requests reach a backend. Commands in, completions in a later
// turn: Send never calls the listener back, and never waits.
//
// Threads: all calls from the thread that runs the engine.
#pragma once

#include <vector>

#include "model/outcome.hpp"
#include "model/request.hpp"

namespace offline_post {

class TransportListener {
 public:
  virtual ~TransportListener() = default;
  // Exactly once per request that was sent and not cancelled; one outcome per delivery, in its
  // order.
  virtual void OnDone(RequestId id, std::vector<Outcome> outcomes) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Starts an attempt at once: the caller keeps within what the transport can carry.
  virtual void Send(Request request) = 0;
  // Gives a request up; no OnDone follows. The backend may have it all the same.
  virtual void Cancel(RequestId id) = 0;
};

}  // namespace offline_post
