// What an operator does to an endpoint, to make it stop, go on or try.
#include <utility>

#include "engine/engine.hpp"
#include "payload/request_builder.hpp"

namespace offline_post {

void Engine::SetPause(EndpointRecord& endpoint, enum Pause pause) {
  endpoint.pause = pause;
  endpoint.paused_url = Fingerprint(endpoint.config->post_url);
  outbox_.SetPause(endpoint.id, pause, endpoint.paused_url);
  if (endpoint.origin != nullptr) PublishState(endpoint);
}

void Engine::TellPause(const EndpointRecord& endpoint, Notice::Level level,
                       const std::string& what) {
  notices_.Add(level,
               NameOf(endpoint.config->key) + ": " + what + ": " + Pending(endpoint) + " wait");
}

void Engine::Pause(EndpointId id) {
  EndpointRecord* endpoint = Find(id);
  if (endpoint == nullptr) return;
  const bool news = endpoint->pause != Pause::kOperator;
  SetPause(*endpoint, Pause::kOperator);
  if (news) TellPause(*endpoint, Notice::Level::kInfo, "paused by the operator");
}

void Engine::Resume(EndpointId id) {
  EndpointRecord* found = Find(id);
  if (found == nullptr) return;
  EndpointRecord& endpoint = *found;
  const bool news = endpoint.pause != Pause::kNone;
  SetPause(endpoint, Pause::kNone);
  if (news) TellPause(endpoint, Notice::Level::kInfo, "resumed by the operator");
  if (endpoint.origin == nullptr) return;
  // Whoever resumes wants to see what happens.
  HastenProbes(endpoint);
}

void Engine::Hasten(EndpointId id) {
  EndpointRecord* endpoint = Find(id);
  if (endpoint == nullptr || endpoint->origin == nullptr) return;
  endpoint->hasten_left = endpoint->in_outbox / kSlice + 1;
  HastenProbes(*endpoint);
}

void Engine::HastenProbes(EndpointRecord& endpoint) {
  endpoint.gate.Hasten(clock_.MonotonicMs());
  endpoint.origin->breaker.Hasten(clock_.MonotonicMs());
  due_origins_.Touch(*endpoint.origin);
}

void Engine::HastenSlice(EndpointRecord& endpoint) {
  const Millis now = clock_.MonotonicMs();
  if (endpoint.hasten_left == 0 || now < endpoint.hasten_ms) return;
  --endpoint.hasten_left;
  endpoint.hasten_ms = now + kHastenMs;
  outbox_.HastenAll(endpoint.id, kSlice);
  endpoint.claimable = true;
}

void Engine::Test(EndpointId id, std::shared_ptr<const Event> event, TestCallback done) {
  const EndpointRecord* endpoint = Find(id);
  if (endpoint == nullptr || endpoint->origin == nullptr) return;
  Delivery delivery;
  delivery.endpoint = id;
  delivery.event = std::move(event);
  const RequestId request = next_request_++;
  Request built = BuildRequest(request, endpoint->config, {delivery}, clock_.UnixMs());
  tests_[request] = {id, std::move(done), clock_.MonotonicMs()};
  transport_.Send(std::move(built));
}

void Engine::EndTest(RequestId id, const Outcome& outcome) {
  const auto test = tests_.extract(id);
  if (test) test.mapped().done(outcome, clock_.MonotonicMs() - test.mapped().sent_ms);
}

}  // namespace offline_post
