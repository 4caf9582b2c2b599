// What a transport got back for a request, and what it means.
#pragma once

#include <cstddef>
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
  std::string body;         // the first bytes, at most AnswerKept
  bool cut = false;         // the body was longer than what was kept
};

// Of an answer's body, an outcome tells at most so many bytes.
inline constexpr std::size_t kAnswerTold = 512;

// How many bytes of the answer's body are worth keeping: for a batch enough to read what the
// receiver says of each event.
std::size_t AnswerKept(const Request& request);

OutcomeClass ClassifyStatus(int status);

// One outcome per delivery of the request, in its order. An exchange that failed has no meaning but
// its failure, even where a status came first: the rest of the answer is missing. A batch's 2xx may
// say something else of single events: see payload/results.hpp.
std::vector<Outcome> ReadAnswer(const Request& request, const Answer& answer, Millis unix_now_ms);

}  // namespace offline_post
