#include "payload/answer.hpp"

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

std::vector<Outcome> ReadAnswer(const Request& request, const Answer& answer, Millis unix_now_ms) {
  Outcome outcome;
  if (answer.failure.empty()) {
    outcome.kind = ClassifyStatus(answer.status);
    outcome.status = answer.status;
    outcome.reason = "HTTP " + std::to_string(answer.status);
    outcome.retry_after_ms = ParseRetryAfter(answer.retry_after, unix_now_ms);
    outcome.answer = answer.body;
  } else {
    outcome.kind = OutcomeClass::kTrouble;
    outcome.reason = answer.failure;
  }
  std::vector<Outcome> outcomes(request.deliveries.size(), outcome);
  for (std::size_t i = 0; i < outcomes.size(); ++i) outcomes[i].sequence = request.deliveries[i];
  return outcomes;
}

}  // namespace offline_post
