// The engine's fifth part: what can be said about its state, to the operator and to whoever gives
// it its turns.
#include <algorithm>
#include <array>
#include <utility>

#include "engine/engine.hpp"

namespace offline_post {

void Engine::PublishState(const OriginRecord& origin) {
  for (const EndpointRecord* endpoint : origin.endpoints) PublishState(*endpoint);
}

void Engine::PublishState(const EndpointRecord& endpoint) const {
  const auto either = [&endpoint](Breaker::State state) {
    return endpoint.origin->breaker.state() == state || endpoint.gate.state() == state;
  };
  EndpointState state = EndpointState::kHealthy;
  if (endpoint.pause != Pause::kNone) {
    state = EndpointState::kPaused;
  } else if (either(Breaker::State::kOpen)) {
    state = EndpointState::kBroken;
  } else if (either(Breaker::State::kProbing)) {
    state = EndpointState::kProbing;
  }
  endpoint.ledger->SetState(state);
  endpoint.ledger->seen().SetState(state, WhyOf(endpoint, state), clock_.UnixMs());
  PublishConcurrency(endpoint);
}

std::string Engine::WhyOf(const EndpointRecord& endpoint, EndpointState state) {
  if (state == EndpointState::kHealthy) return "";
  if (endpoint.pause == Pause::kOperator) return "paused by the operator";
  if (endpoint.pause == Pause::kGone) return "the backend answered 410 Gone";
  const bool origin = endpoint.origin->breaker.state() != Breaker::State::kClosed;
  return origin ? endpoint.origin->trouble.why : endpoint.misconfigured.why;
}

void Engine::PublishConcurrency(const EndpointRecord& endpoint) const {
  const int allowed = std::min(endpoint.origin->breaker.Allowed(), endpoint.gate.Allowed());
  endpoint.ledger->seen().SetConcurrency(endpoint.pause == Pause::kNone ? allowed : 0,
                                         endpoint.config->max_connections);
}

void Engine::Observe(const InFlight& flight, const std::vector<Outcome>& outcomes) const {
  const Millis now = clock_.MonotonicMs();
  flight.endpoint->ledger->seen().RequestEnded(flight.deliveries, outcomes, now - flight.sent_ms,
                                               now, clock_.UnixMs());
}

// The probe that a breaker waits for: an earlier one may still be out, when another request's
// answer closed the breaker and it has opened again.
bool Engine::IsProbe(const InFlight& flight) {
  return flight.id == flight.origin->probe &&
         flight.origin->breaker.state() == Breaker::State::kProbing;
}

bool Engine::IsGateProbe(const InFlight& flight) {
  return flight.id == flight.endpoint->gate_probe &&
         flight.endpoint->gate.state() == Breaker::State::kProbing;
}

// Some breaker lets at most a probe pass.
bool Engine::IsHeldBack(const EndpointRecord& endpoint) {
  return endpoint.origin->breaker.state() != Breaker::State::kClosed ||
         endpoint.gate.state() != Breaker::State::kClosed;
}

// When the next probe may leave, if that is a matter of time: both breakers must let it pass.
std::optional<Millis> Engine::ProbeMs(const EndpointRecord& endpoint) {
  const OriginRecord& origin = *endpoint.origin;
  std::optional<Millis> at;
  for (const auto& [breaker, in_flight] : std::array<std::pair<const Breaker*, int>, 2>{
           {{&origin.breaker, origin.in_flight}, {&endpoint.gate, endpoint.in_flight}}}) {
    if (breaker->state() == Breaker::State::kOpen) {
      at = std::max(at.value_or(0), breaker->probe_at_ms());
    } else if (!breaker->MaySend(0, in_flight)) {
      return std::nullopt;  // not before something in flight ends
    }
  }
  return at;
}

std::optional<Millis> Engine::NextTurnMs() const {
  std::optional<Millis> next;
  const auto consider = [&next](Millis at) { next = next ? std::min(*next, at) : at; };
  for (const auto& [tag, job] : dead_jobs_) {
    if (!job.visiting && !MustWait(job)) consider(job.next_ms);
  }
  for (const auto& [id, endpoint] : endpoints_) {
    if (endpoint.dead > 0 && !endpoint.purging) consider(endpoint.purge_ms);
    if (!endpoint.removed.empty() && !endpoint.purging_removed) consider(0);
    if (endpoint.hasten_left > 0) consider(endpoint.hasten_ms);
    if (endpoint.summary_ms) consider(*endpoint.summary_ms);
    if (endpoint.origin == nullptr) {
      const auto claimable_ms = endpoint.claimable ? std::optional<Millis>(0) : endpoint.next_due;
      if (endpoint.in_outbox > 0 && claimable_ms && !endpoint.claiming)
        consider(std::max(endpoint.bury_ms, *claimable_ms));
      continue;
    }
    // The answer to a Claim that is under way says it anew.
    if (endpoint.next_due && !endpoint.claiming &&
        endpoint.window.size() <= WindowSize(endpoint) / 2) {
      consider(*endpoint.next_due);
    }
    if (endpoint.pause != Pause::kNone || (!endpoint.window.runnable() && endpoint.apart.empty())) {
      continue;
    }
    if (IsHeldBack(endpoint)) {
      if (const auto probe = ProbeMs(endpoint)) consider(*probe);
    } else if (MaySend(endpoint, 0)) {
      if (const auto due = BatchDueMs(endpoint)) consider(*due);
    }
  }
  return next;
}

bool Engine::Idle(EndpointId id) const {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.origin == nullptr) return true;
  const EndpointRecord& endpoint = found->second;
  if (endpoint.in_flight > 0) return false;
  if (endpoint.pause != Pause::kNone || IsHeldBack(endpoint)) return true;
  return !endpoint.window.runnable() && endpoint.apart.empty() && !endpoint.claiming &&
         !(endpoint.claimable && endpoint.in_outbox > 0);
}

// Enough lanes to keep every connection busy even where each recipient has its full lease.
std::size_t Engine::WindowSize(const EndpointRecord& endpoint) {
  const auto connections = static_cast<std::size_t>(endpoint.config->max_connections);
  return std::max(endpoint.config->batch.any() ? kBatchWindow : kWindow,
                  2 * Outbox::kLeasedPerRecipient * connections);
}

int Engine::Limit(const OriginRecord& origin) {
  int limit = 1;
  for (const EndpointRecord* endpoint : origin.endpoints) {
    limit = std::max(limit, endpoint->config->max_connections);
  }
  return limit;
}

int Engine::ConnectionLimit() const {
  int sum = 0;
  for (const auto& [key, origin] : origins_) sum += Limit(*origin);
  return sum;
}

double Engine::Unit() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }

}  // namespace offline_post
