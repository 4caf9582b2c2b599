// Outcome: what came back for one delivery of a request, classified.
#pragma once

#include <optional>
#include <string>

#include "model/clock.hpp"
#include "model/delivery.hpp"

namespace offline_post {

enum class OutcomeClass {
  kDelivered,      // 2xx
  kRefused,        // 400, 413, 414, 415, 422: this message's own fault, no attempt will change it
  kGone,           // 410: the endpoint does not want any more
  kMisconfigured,  // 3xx, 401, 403, 404, 405, other 4xx: the configuration's fault, or this
                   // message's
  kTrouble,        // 408, 425, 429, 5xx, no answer: the endpoint's fault, and it may pass
};

struct Outcome {
  Sequence sequence = 0;
  OutcomeClass kind = OutcomeClass::kTrouble;
  int status = 0;                        // HTTP status; 0: no final answer came
  std::optional<Millis> retry_after_ms;  // from now, as the receiver asked; not negative
  std::string reason;                    // "HTTP 503", "Could not resolve host: ..."; fit for a log
  std::string answer;  // the first bytes of the answer's body; may echo the message
  // The receiver answered the whole request with 2xx, and said this of this delivery alone: the
  // origin is well, and so is the endpoint.
  bool within_2xx = false;
};

}  // namespace offline_post
