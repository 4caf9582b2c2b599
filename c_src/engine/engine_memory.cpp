// What the endpoints may hold in memory, and who gives some back when it is short.
#include <algorithm>
#include <utility>

#include "engine/engine.hpp"

namespace offline_post {

// Nothing of it can be sent now but a probe.
bool Engine::IsStuck(const EndpointRecord& endpoint) {
  return endpoint.origin != nullptr && (endpoint.pause != Pause::kNone || IsHeldBack(endpoint));
}

// When a breaker that is open lets the endpoint's next probe pass; none: no time does.
std::optional<Millis> Engine::ProbeMs(const EndpointRecord& endpoint) {
  if (endpoint.pause != Pause::kNone) return std::nullopt;
  std::optional<Millis> at;
  const Breaker& origin = endpoint.origin->breaker;
  for (const Breaker* breaker : {&origin, &endpoint.gate}) {
    if (breaker->state() == Breaker::State::kOpen)
      at = std::max(at.value_or(0), breaker->probe_at_ms());
  }
  return at;
}

// What a Claim may bring, in bytes; 0: none now. While memory is short, what cannot be sent stays
// in the outbox: of an origin that is away no more is claimed than the next probe carries.
std::size_t Engine::ShareOf(EndpointRecord& endpoint) {
  const bool stuck = IsStuck(endpoint);
  const std::size_t share = stuck && !budget_.IsPlenty() ? 0 : budget_.Share();
  if (share > 0) return share;
  if (!std::exchange(stuck ? endpoint.waits_for_plenty : endpoint.waits_for_memory, true)) {
    budget_.Wait(endpoint.id, stuck);
    relief_wanted_ = relief_wanted_ || !stuck;
  }
  const auto probe = stuck ? ProbeMs(endpoint) : std::nullopt;
  if (!probe || clock_.MonotonicMs() < *probe || endpoint.window.size() > 0) return 0;
  OriginRecord& origin = *endpoint.origin;
  if (origin.breaker.state() != Breaker::State::kClosed) {
    if (origin.probe_claimed || !origin.ready.empty()) return 0;  // there is one
    endpoint.claims_probe = origin.probe_claimed = true;
  }
  return 1;  // one delivery
}

void Engine::EndClaim(EndpointRecord& endpoint) {
  endpoint.claiming = false;
  budget_.Answered(std::exchange(endpoint.promised, 0));
  if (!std::exchange(endpoint.claims_probe, false) || endpoint.origin == nullptr) return;
  // Should it have brought nothing, another one may have something for the probe.
  endpoint.origin->probe_claimed = false;
  for (const auto& [id, other] : endpoint.origin->endpoints) due_endpoints_.Touch(*other);
}

void Engine::ServeWaiting() {
  const Millis now = clock_.MonotonicMs();
  if (relief_wanted_ && budget_.Share() == 0 && now >= next_relief_ms_) {
    relief_wanted_ = false;
    next_relief_ms_ = now + kReliefMs;
    Relieve();
  }
  while (const auto next = budget_.NextServed()) {
    EndpointRecord& endpoint = At(next->endpoint);
    (next->stuck ? endpoint.waits_for_plenty : endpoint.waits_for_memory) = false;
    LookAtDue();
  }
}

// What cannot be sent goes back to the outbox, so that what can be has room.
void Engine::Relieve() {
  for (auto& [id, endpoint] : endpoints_) {
    if (!IsStuck(endpoint) || (!endpoint.window.runnable() && endpoint.apart.empty())) continue;
    GiveBackApart(endpoint);
    for (const Delivery& delivery : endpoint.window.Clear()) Park(endpoint, delivery);
    due_endpoints_.Touch(endpoint);
  }
}

}  // namespace offline_post
