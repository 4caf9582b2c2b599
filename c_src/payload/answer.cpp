#include "payload/answer.hpp"

#include <algorithm>
#include <utility>

#include "payload/results.hpp"
#include "payload/retry_after.hpp"

namespace offline_post {

OutcomeClass ClassifyStatus(int status) {
  if (status >= 200 && status <= 299) return OutcomeClass::kDelivered;
  switch (status) {
    case 400:
    case 413:
    case 414:
    case 415:
    case 422:
      return OutcomeClass::kRefused;
    case 410:
      return OutcomeClass::kGone;
    case 408:
    case 425:
    case 429:
      return OutcomeClass::kTrouble;
    default:
      return status >= 300 && status <= 499 ? OutcomeClass::kMisconfigured : OutcomeClass::kTrouble;
  }
}

namespace {

// What the receiver said of one event, put over what it said of the request.
void Apply(const EventResult& result, Outcome& outcome) {
  switch (result.says) {
    case EventResult::Says::kAccepted:
      return;
    case EventResult::Says::kRetry:
      outcome.kind = OutcomeClass::kTrouble;
      outcome.reason = "retry asked";
      break;
    case EventResult::Says::kRefused:
      outcome.kind = OutcomeClass::kRefused;
      outcome.reason = "refused by the receiver";
      break;
    case EventResult::Says::kStatus:
      // 410 of one event is about its recipient: an endpoint that is gone does not answer 2xx.
      outcome.kind = result.status == 410 ? OutcomeClass::kRefused : ClassifyStatus(result.status);
      outcome.status = result.status;
      outcome.reason = "HTTP " + std::to_string(result.status) + " in results";
      break;
    case EventResult::Says::kUnknown:
      outcome.kind = OutcomeClass::kTrouble;
      outcome.reason = "unknown status in results";
      break;
  }
  outcome.answer = result.error;
}

constexpr const char* kUnreadable = "results that cannot be read";

// Of a batch that was answered 2xx.
std::vector<Outcome> ReadBatch(const Request& request, const Answer& answer, Outcome whole) {
  whole.answer.clear();
  const std::optional<Results> results = ReadResults(answer.body, request.event_ids);
  if (results && !results->complete && !answer.cut) {
    // What a receiver that cannot write its answer says of anything is worth nothing.
    whole.kind = OutcomeClass::kTrouble;
    whole.reason = kUnreadable;
    whole.answer = answer.body.substr(0, kAnswerTold);
    return std::vector<Outcome>(request.deliveries.size(), whole);
  }
  whole.within_2xx = true;
  std::vector<Outcome> outcomes(request.deliveries.size(), whole);
  if (!results) return outcomes;
  for (std::size_t i = 0; i < outcomes.size() && i < request.event_ids.size(); ++i) {
    if (const std::optional<EventResult>& result = results->events[i]) {
      Apply(*result, outcomes[i]);
    } else if (!results->complete) {  // it may have come later: we did not read on
      outcomes[i].kind = OutcomeClass::kTrouble;
      outcomes[i].reason = kUnreadable;
    }
  }
  return outcomes;
}

std::vector<Outcome> ReadWhole(const Request& request, const Answer& answer, Millis unix_now_ms) {
  Outcome outcome;
  if (!answer.failure.empty()) {
    outcome.kind = OutcomeClass::kTrouble;
    outcome.reason = answer.failure;
  } else {
    outcome.kind = ClassifyStatus(answer.status);
    outcome.status = answer.status;
    outcome.reason = "HTTP " + std::to_string(answer.status);
    outcome.retry_after_ms = ParseRetryAfter(answer.retry_after, unix_now_ms);
    outcome.answer = answer.body.substr(0, kAnswerTold);
    if (outcome.kind == OutcomeClass::kDelivered && !request.event_ids.empty()) {
      return ReadBatch(request, answer, std::move(outcome));
    }
  }
  return std::vector<Outcome>(request.deliveries.size(), outcome);
}

}  // namespace

std::size_t AnswerKept(const Request& request) {
  constexpr std::size_t kKeptPerEvent = 256;
  constexpr std::size_t kKeptAtLeast = std::size_t{64} * 1024;
  if (request.event_ids.empty()) return kAnswerTold;
  return std::max(kKeptAtLeast, kAnswerTold + kKeptPerEvent * request.event_ids.size());
}

std::vector<Outcome> ReadAnswer(const Request& request, const Answer& answer, Millis unix_now_ms) {
  std::vector<Outcome> outcomes = ReadWhole(request, answer, unix_now_ms);
  for (std::size_t i = 0; i < outcomes.size(); ++i) outcomes[i].sequence = request.deliveries[i];
  return outcomes;
}

}  // namespace offline_post
