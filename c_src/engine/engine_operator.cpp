// The engine's seventh part: what an operator does to an endpoint, to make it stop, go on or try.
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
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return;
  const bool news = found->second.pause != Pause::kOperator;
  SetPause(found->second, Pause::kOperator);
  if (news) TellPause(found->second, Notice::Level::kInfo, "paused by the operator");
}

void Engine::Resume(EndpointId id) {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return;
  EndpointRecord& endpoint = found->second;
  const bool news = endpoint.pause != Pause::kNone;
  SetPause(endpoint, Pause::kNone);
  if (news) TellPause(endpoint, Notice::Level::kInfo, "resumed by the operator");
  if (endpoint.origin == nullptr) return;
  // Whoever resumes wants to see what happens.
  endpoint.gate.Hasten(clock_.MonotonicMs());
  endpoint.origin->breaker.Hasten(clock_.MonotonicMs());
}

void Engine::Hasten(EndpointId id) {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.origin == nullptr) return;
  EndpointRecord& endpoint = found->second;
  endpoint.hasten_left = endpoint.in_outbox / kSlice + 1;
  endpoint.gate.Hasten(clock_.MonotonicMs());
  endpoint.origin->breaker.Hasten(clock_.MonotonicMs());
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
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.origin == nullptr) return;
  Delivery delivery;
  delivery.endpoint = id;
  delivery.event = std::move(event);
  const RequestId request = next_request_++;
  Request built = BuildRequest(request, found->second.config, {delivery}, clock_.UnixMs());
  tests_[request] = {id, std::move(done), clock_.MonotonicMs()};
  transport_.Send(std::move(built));
}

void Engine::EndTest(RequestId id, const Outcome& outcome) {
  const auto test = tests_.extract(id);
  if (test) test.mapped().done(outcome, clock_.MonotonicMs() - test.mapped().sent_ms);
}

}  // namespace offline_post
