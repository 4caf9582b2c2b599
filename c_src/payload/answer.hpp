// What a transport got back for a request, and what it means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/clock.hpp"
#include "model/outcome.hpp"
#include "model/request.hpp"

namespace offline_post {

struct Answer {
  int status = 0;           // the final HTTP status; 0: none came
  std::string failure;      // why the exchange did not end well; empty: it did
  std::string retry_after;  // the header's value, empty when absent
  std::string body;         // the first bytes only
};

OutcomeClass ClassifyStatus(int status);

// One outcome per delivery of the request, in its order. An exchange that failed has no meaning but
// its failure, even where a status came first: the rest of the answer is missing.
std::vector<Outcome> ReadAnswer(const Request& request, const Answer& answer, Millis unix_now_ms);

}  // namespace offline_post
