// Results: what a receiver says of the single events of a batch that it answered with 2xx, as JSON:
//
//   {"results": [{"id": "<event id>", "status": "accepted", "error": "<text>"}, ...]}
//
// "status" is "accepted", "retry", "refused" or an HTTP status; "error" is optional. Other members
// are ignored, here and in the results, and so are ids that nobody asked about; of two results with
// one id, or of two members with one name, the last counts.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace offline_post {

// What was said of one event.
struct EventResult {
  enum class Says {
    kAccepted,
    kRetry,
    kRefused,
    kStatus,   // `status`
    kUnknown,  // nothing of these
  };
  Says says = Says::kUnknown;
  int status = 0;     // an HTTP status, 100 to 599
  std::string error;  // at most kErrorTold bytes, cut between characters; may echo the message
};

struct Results {
  static constexpr std::size_t kErrorTold = 200;

  // What was said of each event that was asked about, in the order of these; nothing: it was not
  // named.
  std::vector<std::optional<EventResult>> events;
  // All of it could be read. False: it began as results, and is broken or ends too early; `events`
  // has what came before.
  bool complete = true;
};

// Of the body of a 2xx answer to the events with these ids, each of them once. Nothing: it holds no
// results, whatever else it may be. Any bytes may come; neither depth nor size of the text is
// bounded here, and neither costs more than its length, nor is more kept than one result for each
// id.
std::optional<Results> ReadResults(std::string_view body, const std::vector<std::string>& ids);

}  // namespace offline_post
