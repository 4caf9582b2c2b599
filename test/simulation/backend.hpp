// Backend: how a simulated receiver answers. A host has moods that last from seconds to hours; each
// of its paths (an endpoint's URL) has some of its own; and some messages any backend refuses, or
// fails each time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/clock.hpp"
#include "payload/answer.hpp"
#include "random.hpp"

namespace offline_post::simulation {

enum class HostMood {
  kWell,
  kDown,       // refuses connections
  kBlackHole,  // takes them and says nothing
  kErrors,     // 5xx, 429, 408, 425
  kSlow,       // slower than the time limit, at times
  kFlaky,      // anything
  kLast = kFlaky,
};

enum class PathMood {
  kWell,
  kWrong,  // 3xx, 401, 403, 404, 405 and other 4xx
  kGone,   // 410
  kPicky,  // refuses half of the messages as malformed
  kLast = kPicky,
};

// What the backend says of one event of a batch that it answers with 2xx.
struct Said {
  OutcomeClass kind = OutcomeClass::kDelivered;
  int status = 200;
  bool received = true;
};

// What becomes of one request.
struct Fate {
  Answer answer;
  std::vector<Said> said;   // of each event, if anything is said of single ones
  bool unreadable = false;  // it says so in a way that nobody can read
  Millis latency = 0;
  bool received = false;     // the backend took it, whatever we learn of that
  bool retry_after = false;  // the answer says when to come back
};

struct BackendHabits {
  Millis latency_ms = 50;  // at most, when well
  int loses_answers = 0;   // per mille
  bool odd_retry_after = true;
  bool knows_all = false;  // no message is unknown to it, or makes it stumble
  bool moody = true;       // it asks for retries, and its answers may be broken
  int results = 50;        // per cent of the batches to which it says something of each event
  std::size_t body_limit = 1U << 30U;  // bytes of a batch
};

Fate Decide(Random& random, const BackendHabits& habits, HostMood host, PathMood path,
            std::uint64_t message, Millis timeout_ms);

// The same for a batch: of events that are these messages and bear these ids, in `bytes`, of whose
// answer `kept` bytes are read.
struct Batch {
  std::vector<std::uint64_t> messages;
  std::vector<std::string> ids;
  std::size_t bytes = 0;
  std::size_t kept = 0;
};
Fate DecideBatch(Random& random, const BackendHabits& habits, HostMood host, PathMood path,
                 const Batch& batch, Millis timeout_ms);

// A Retry-After header of either form, or none that can be read; and what it asks for.
struct RetryAfter {
  std::string header;
  Millis wait_ms = 0;
};
RetryAfter MakeRetryAfter(Random& random, bool odd, Millis unix_now_ms);

}  // namespace offline_post::simulation
