// What a receiver answers, for one event and for batches. The first bytes choose the status and
// the batch; the rest is the body, which an independent reader reads too.
#include <nlohmann/json.hpp>

#include "forms.hpp"
#include "payload/answer.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

// What the body says of an event, where it is a document of results with nothing odd in it; nothing
// otherwise.
std::optional<nlohmann::json> StatusOf(const std::string& body, const std::string& id) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("results") || !json["results"].is_array()) return {};
  std::optional<nlohmann::json> status;
  for (const auto& result : json["results"]) {
    if (!result.is_object() || !result.contains("id") || !result.contains("status")) return {};
    if (result["id"] == id) status = result["status"];  // the last counts
  }
  return status;
}

void CheckOutcome(const Request& request, const Answer& answer, const Outcome& outcome,
                  std::size_t i) {
  Require(outcome.sequence == request.deliveries[i], "outcomes are in the deliveries' order");
  Require(outcome.answer.size() <= kAnswerTold, "little is told of an answer");
  if (!outcome.reason.starts_with("failure:")) {
    Require(IsOneLine(outcome.reason) && outcome.reason.size() < 256, "a reason fits a log");
  }
  if (outcome.retry_after_ms) Require(*outcome.retry_after_ms >= 0, "a wait is not negative");
  if (outcome.kind == OutcomeClass::kDelivered) {
    Require(answer.failure.empty() && answer.status >= 200 && answer.status <= 299,
            "only a good answer delivers");
  }
  if (request.event_ids.empty() || !answer.failure.empty() || answer.status / 100 != 2) return;
  const auto status = StatusOf(answer.body, request.event_ids[i]);
  if (!status || answer.cut) return;
  if (*status == "retry") Require(outcome.kind == OutcomeClass::kTrouble, "retry is asked");
  if (*status == "refused") Require(outcome.kind == OutcomeClass::kRefused, "refused is refused");
  if (*status == "accepted") Require(outcome.kind == OutcomeClass::kDelivered, "accepted is done");
}

}  // namespace

}  // namespace offline_post::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace offline_post;
  using namespace offline_post::fuzz;
  FuzzedDataProvider input(data, size);
  Request request;
  const auto count = input.ConsumeIntegralInRange<std::size_t>(1, 4);
  const bool batch = input.ConsumeBool();
  const std::string ids = "abcd";
  for (std::size_t i = 0; i < count; ++i) {
    request.deliveries.push_back(input.ConsumeIntegral<std::uint8_t>());
    if (batch) request.event_ids.emplace_back(1, ids[i]);
  }
  Answer answer;
  answer.status = input.ConsumeBool() ? 200 : input.ConsumeIntegralInRange(-1, 1000);
  if (input.ConsumeIntegralInRange(0, 7) == 7) answer.failure = "failure:" + AnyText(input);
  answer.retry_after = input.ConsumeBool() ? "" : AnyText(input);
  answer.cut = input.ConsumeIntegralInRange(0, 7) == 7;
  answer.body = input.ConsumeRemainingBytesAsString();
  if (answer.body.size() > AnswerKept(request)) {
    answer.body.resize(AnswerKept(request));
    answer.cut = true;
  }
  const std::vector<Outcome> outcomes = ReadAnswer(request, answer, 1'700'000'000'000);
  Require(outcomes.size() == request.deliveries.size(), "one outcome per delivery");
  for (std::size_t i = 0; i < outcomes.size(); ++i) CheckOutcome(request, answer, outcomes[i], i);
  return 0;
}
