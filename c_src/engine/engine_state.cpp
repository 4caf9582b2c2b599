// What can be said about the engine's state, to the operator and to the one that gives it its
// turns.
#include <algorithm>
#include <utility>

#include "engine/engine.hpp"

namespace offline_post {

void Engine::PublishState(OriginRecord& origin) {
  for (const auto& [id, endpoint] : origin.endpoints) {
    PublishState(*endpoint);
    due_endpoints_.Touch(*endpoint);  // what the origin holds back is to be told of
  }
  relief_wanted_ = true;
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

std::optional<Millis> Engine::NextTurnMs() const {
  std::optional<Millis> next;
  const auto consider = [&next](std::optional<Millis> at) {
    if (at) next = std::min(next.value_or(*at), *at);
  };
  for (const auto& [tag, job] : dead_jobs_) {
    if (!job.visiting && !MustWait(job)) consider(job.next_ms);
  }
  consider(due_endpoints_.NextMs());
  consider(due_origins_.NextMs());
  if (relief_wanted_ && budget_.Share() == 0) consider(next_relief_ms_);
  return next;
}

// When time alone gives this endpoint something to do. Its origin's breaker has a time of its own.
std::optional<Millis> Engine::NextLookMs(const EndpointRecord& endpoint, Millis now_ms) {
  std::optional<Millis> next;
  const auto consider = [&next](std::optional<Millis> at) {
    if (at) next = std::min(next.value_or(*at), *at);
  };
  if (endpoint.dead > 0 && !endpoint.purging) consider(endpoint.purge_ms);
  if (endpoint.hasten_left > 0) consider(endpoint.hasten_ms);
  consider(endpoint.summary_ms);
  if (endpoint.origin == nullptr) {
    const auto claimable_ms = endpoint.claimable ? std::optional<Millis>(0) : endpoint.next_due;
    if (endpoint.in_outbox > 0 && claimable_ms && !endpoint.claiming && !endpoint.waits_for_memory)
      consider(std::max(endpoint.bury_ms, *claimable_ms));
    return next;
  }
  // The answer to a Claim that is under way brings another due time. An endpoint that waits for
  // memory is woken when there is some.
  const bool waits_for_memory = endpoint.waits_for_memory && !IsStuck(endpoint);
  if (endpoint.next_due && endpoint.in_outbox > 0 && !endpoint.claiming && !waits_for_memory &&
      endpoint.window.size() <= WindowSize(endpoint) / 2) {
    consider(endpoint.next_due);
  }
  // While memory is short, its next probe is claimed when it is due.
  if (endpoint.claimable && !endpoint.claiming && endpoint.in_outbox > 0 && IsStuck(endpoint)) {
    if (const auto probe = ProbeMs(endpoint); probe && *probe > now_ms) consider(probe);
  }
  const bool waits = endpoint.window.runnable() || !endpoint.apart.empty();
  if (!waits || endpoint.pause != Pause::kNone || IsReady(endpoint, now_ms)) return next;
  if (endpoint.gate.state() == Breaker::State::kOpen) {
    consider(endpoint.gate.probe_at_ms());
  } else if (endpoint.gate.MaySend(now_ms, endpoint.in_flight)) {
    consider(BatchDueMs(endpoint));
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

double Engine::Unit() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }

}  // namespace offline_post
