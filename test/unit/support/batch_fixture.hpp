// An engine whose endpoint 1 has batches.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "payload/recipe.hpp"
#include "support/engine_fixture.hpp"

namespace offline_post::test {

struct BatchEngine : BareEngine {
  explicit BatchEngine(std::size_t max_events = 4, int connections = 8) {
    MakeBatch(*endpoint, max_events);
    endpoint->max_connections = connections;
    Configure();
  }
  // After an answer, so that the ramp does not decide how many leave.
  void WarmUp() {
    for (int i = 0; i < 8; ++i) {
      Accept("warm" + std::to_string(i));
      Advance(kDelayMs);
      Answer(200);
    }
  }

  static constexpr Millis kDelayMs = 100;

  static void MakeBatch(Endpoint& endpoint, std::size_t max_events) {
    RecipeConfig recipe;
    recipe.post_url = endpoint.post_url;
    recipe.format = Format::kJson;
    recipe.batch = true;
    endpoint.recipe = CompileRecipe(recipe).value();
    endpoint.batch.max_events = max_events;
    endpoint.batch.max_delay_ms = kDelayMs;
  }

  void AcceptAll(const std::vector<std::string>& recipients) {
    for (const std::string& to : recipients) Accept(to);
  }
  // The events of each request that is out, by their ids' middle: the recipients.
  std::vector<std::string> out() const {
    std::vector<std::string> all;
    for (const Request& request : transport.sent) {
      std::string text;
      for (const std::string& id : request.event_ids) {
        const std::size_t end = id.rfind('_');
        text += (text.empty() ? "" : " ") + id.substr(4, end - 4);
      }
      all.push_back(text);
    }
    return all;
  }
  // Of the first request that is out.
  void AnswerResults(const std::string& results) {
    offline_post::Answer answer;
    answer.status = 200;
    answer.body = "{\"results\":[" + results + "]}";
    Answer(answer);
  }
  static std::string Result(const std::string& to, const std::string& status) {
    return R"({"id":"msg_)" + to + R"(_hello","status":)" + status + "}";
  }
  // Answers every request until nothing is out or about to be: refuses those that carry one of
  // the poisoned.
  int AnswerAll(const std::vector<std::string>& poisoned) {
    int requests = 0;
    for (Settle(kDelayMs); !transport.sent.empty(); Settle(kDelayMs)) {
      const std::string& body = transport.sent.front().body;
      const bool bad = std::any_of(poisoned.begin(), poisoned.end(), [&](const std::string& to) {
        return body.find("\"msg_" + to + "_") != std::string::npos;
      });
      Answer(bad ? 422 : 200);
      ++requests;
    }
    return requests;
  }
};

}  // namespace offline_post::test
