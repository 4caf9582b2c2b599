#include "engine/engine.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "payload/request_builder.hpp"

namespace offline_post {

Engine::Engine(Outbox& outbox, Transport& transport, const Clock& clock, Notices& notices,
               std::uint64_t seed)
    : outbox_(outbox),
      transport_(transport),
      clock_(clock),
      notices_(notices),
      random_(seed),
      next_sequence_(outbox.NextSequence()) {}

void Engine::Configure(EndpointId id, std::shared_ptr<const Endpoint> config,
                       std::shared_ptr<Ledger> ledger) {
  EndpointRecord& endpoint = endpoints_[id];
  if (endpoint.origin != nullptr) Detach(endpoint);
  endpoint.id = id;
  endpoint.config = std::move(config);
  endpoint.ledger = std::move(ledger);
  endpoint.paused = false;
  endpoint.gate = Breaker();
  endpoint.gate.SetLimit(endpoint.config->max_connections);
  endpoint.claimable = true;
  Attach(endpoint);
  PruneOrigins();
  PublishState(*endpoint.origin);
}

void Engine::Remove(EndpointId id) {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.origin == nullptr) return;
  EndpointRecord& endpoint = found->second;
  CancelInFlight(endpoint);
  for (const Delivery& delivery : endpoint.window.Clear()) Park(endpoint, delivery);
  Detach(endpoint);
  PruneOrigins();
  endpoint.bury_ms = clock_.MonotonicMs() + endpoint.config->schedule.max_age_ms;
  endpoint.ledger->SetState(EndpointState::kStopped);
}

void Engine::Attach(EndpointRecord& endpoint) {
  std::shared_ptr<OriginRecord>& origin = origins_[endpoint.config->origin];
  if (!origin) {
    origin = std::make_shared<OriginRecord>();
    origin->name = OriginText(endpoint.config->origin);
  }
  origin->endpoints.push_back(&endpoint);
  origin->breaker.SetLimit(Limit(*origin));
  origin->breaker.Hasten(clock_.MonotonicMs());
  endpoint.origin = origin.get();
}

void Engine::Detach(EndpointRecord& endpoint) {
  std::erase(endpoint.origin->endpoints, &endpoint);
  endpoint.origin->breaker.SetLimit(Limit(*endpoint.origin));
  endpoint.origin = nullptr;
}

// Apart from Detach: a reload within one origin must find its breaker and its requests in flight
// again.
void Engine::PruneOrigins() {
  std::erase_if(origins_, [](const auto& origin) { return origin.second->endpoints.empty(); });
}

void Engine::CancelInFlight(EndpointRecord& endpoint) {
  for (auto flight = in_flight_.begin(); flight != in_flight_.end();) {
    if (flight->second.endpoint != &endpoint) {
      ++flight;
      continue;
    }
    transport_.Cancel(flight->first);
    --flight->second.origin->in_flight;
    flight->second.origin->breaker.OnCancelled(flight->second.probe);
    endpoint.gate.OnCancelled(flight->second.gate_probe);
    for (Delivery& delivery : flight->second.deliveries) {
      --endpoint.in_flight;
      endpoint.ledger->AttemptEnded(true);
      endpoint.window.Return(std::move(delivery));
    }
    flight = in_flight_.erase(flight);
  }
}

void Engine::Accept(EndpointId id, std::shared_ptr<const Event> event) {
  Delivery delivery;
  delivery.sequence = next_sequence_++;
  delivery.endpoint = id;
  delivery.recipient = RecipientKey(*event);
  delivery.event = std::move(event);
  outbox_.Append(std::move(delivery));
  EndpointRecord& endpoint = endpoints_.at(id);
  ++endpoint.in_outbox;
  endpoint.claimable = true;
  appended_ = true;
}

void Engine::Turn() {
  if (appended_) {
    appended_ = false;
    outbox_.Flush();
  }
  for (auto& [id, endpoint] : endpoints_) Claim(endpoint);
  for (auto& [key, origin] : origins_) Dispatch(origin);
}

void Engine::Claim(EndpointRecord& endpoint) {
  const Millis now = clock_.MonotonicMs();
  const bool removed = endpoint.origin == nullptr;
  if (removed && now < endpoint.bury_ms) return;
  if (endpoint.next_due && now >= *endpoint.next_due) {
    endpoint.claimable = true;
    endpoint.next_due.reset();
  }
  // Half a window at a time: the outbox is asked seldom, and the other half keeps the connections
  // busy.
  if (endpoint.claiming || !endpoint.claimable || endpoint.in_outbox == 0 ||
      endpoint.window.size() > WindowSize(endpoint) / 2) {
    return;
  }
  endpoint.claiming = true;
  endpoint.claimable = false;
  outbox_.Claim(endpoint.id, removed ? kSlice : WindowSize(endpoint) - endpoint.window.size());
}

void Engine::Dispatch(const std::shared_ptr<OriginRecord>& origin) {
  while (origin->breaker.MaySend(clock_.MonotonicMs(), origin->in_flight)) {
    if (!SendNext(origin)) return;
  }
}

bool Engine::SendNext(const std::shared_ptr<OriginRecord>& origin) {
  // Endpoints that share an origin take turns.
  for (std::size_t tried = 0; tried < origin->endpoints.size(); ++tried) {
    EndpointRecord& endpoint = *origin->endpoints[origin->next++ % origin->endpoints.size()];
    if (endpoint.paused || !endpoint.gate.MaySend(clock_.MonotonicMs(), endpoint.in_flight))
      continue;
    std::optional<Delivery> delivery = endpoint.window.Take();
    if (!delivery) continue;
    const RequestId id = next_request_++;
    const bool probe = origin->breaker.OnSend();
    const bool gate_probe = endpoint.gate.OnSend();
    if (probe || gate_probe) PublishState(*origin);
    ++origin->in_flight;
    ++endpoint.in_flight;
    endpoint.ledger->AttemptStarted();
    std::vector<Delivery> deliveries;
    deliveries.push_back(std::move(*delivery));
    Request request = BuildRequest(id, endpoint.config, deliveries);
    in_flight_.emplace(
        id, InFlight{&endpoint, endpoint.config, origin, std::move(deliveries), probe, gate_probe});
    transport_.Send(std::move(request));
    return true;
  }
  return false;
}

void Engine::OnCommitted(Ticket /*ticket*/) {
  for (auto& [id, endpoint] : endpoints_) endpoint.claimable = endpoint.in_outbox > 0;
}

void Engine::OnClaimed(EndpointId id, std::vector<Delivery> deliveries,
                       std::optional<Millis> next_due) {
  EndpointRecord& endpoint = endpoints_.at(id);
  endpoint.claiming = false;
  endpoint.claimable = endpoint.claimable || !deliveries.empty();
  endpoint.next_due = next_due;
  endpoint.in_outbox -= deliveries.size();
  const Millis now = clock_.MonotonicMs();
  const bool removed = endpoint.origin == nullptr;
  const bool aged = removed && now >= endpoint.bury_ms;
  for (Delivery& delivery : deliveries) {
    if (aged) {
      Bury(endpoint, delivery, {"endpoint removed", ""});
    } else if (removed || endpoint.held_back.contains(delivery.recipient)) {
      Park(endpoint, delivery);
    } else {
      endpoint.window.Add(std::move(delivery));
    }
  }
  endpoint.held_back.clear();
  if (aged) endpoint.bury_ms = now + 1;
}

void Engine::OnPurged(EndpointId id, std::uint64_t count) {
  endpoints_.at(id).ledger->Purged(count);
}

void Engine::Park(EndpointRecord& endpoint, const Delivery& delivery) {
  outbox_.Park(delivery);
  ++endpoint.in_outbox;
  endpoint.claimable = true;
}

void Engine::PublishState(const OriginRecord& origin) {
  for (const EndpointRecord* endpoint : origin.endpoints) PublishState(*endpoint);
}

void Engine::PublishState(const EndpointRecord& endpoint) {
  const auto either = [&endpoint](Breaker::State state) {
    return endpoint.origin->breaker.state() == state || endpoint.gate.state() == state;
  };
  EndpointState state = EndpointState::kHealthy;
  if (endpoint.paused) {
    state = EndpointState::kPaused;
  } else if (either(Breaker::State::kOpen)) {
    state = EndpointState::kBroken;
  } else if (either(Breaker::State::kProbing)) {
    state = EndpointState::kProbing;
  }
  endpoint.ledger->SetState(state);
}

// Some breaker lets at most a probe pass.
bool Engine::IsHeldBack(const EndpointRecord& endpoint) {
  return endpoint.origin->breaker.state() != Breaker::State::kClosed ||
         endpoint.gate.state() != Breaker::State::kClosed;
}

// When the next probe may leave, if that is a matter of time: both breakers must let it pass.
std::optional<Millis> Engine::ProbeMs(const EndpointRecord& endpoint) {
  std::optional<Millis> at;
  for (const Breaker* breaker :
       std::array<const Breaker*, 2>{&endpoint.origin->breaker, &endpoint.gate}) {
    if (breaker->state() == Breaker::State::kProbing) return std::nullopt;
    if (breaker->state() == Breaker::State::kOpen)
      at = std::max(at.value_or(0), breaker->probe_at_ms());
  }
  return at;
}

std::optional<Millis> Engine::NextTurnMs() const {
  std::optional<Millis> next;
  const auto consider = [&next](Millis at) { next = next ? std::min(*next, at) : at; };
  for (const auto& [id, endpoint] : endpoints_) {
    if (endpoint.origin == nullptr) {
      const Millis claimable_ms = endpoint.claimable ? 0 : endpoint.next_due.value_or(0);
      if (endpoint.in_outbox > 0) consider(std::max(endpoint.bury_ms, claimable_ms));
      continue;
    }
    if (endpoint.next_due && endpoint.window.size() <= WindowSize(endpoint) / 2)
      consider(*endpoint.next_due);
    if (endpoint.paused || !endpoint.window.runnable()) continue;
    if (const auto probe = ProbeMs(endpoint)) consider(*probe);
  }
  return next;
}

bool Engine::Idle(EndpointId id) const {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end() || found->second.origin == nullptr) return true;
  const EndpointRecord& endpoint = found->second;
  if (endpoint.in_flight > 0) return false;
  if (endpoint.paused || IsHeldBack(endpoint)) return true;
  return !endpoint.window.runnable() && !endpoint.claiming &&
         !(endpoint.claimable && endpoint.in_outbox > 0);
}

// Enough lanes to keep every connection busy even where each recipient has its full lease.
std::size_t Engine::WindowSize(const EndpointRecord& endpoint) {
  const auto connections = static_cast<std::size_t>(endpoint.config->max_connections);
  return std::max(kWindow, 2 * Outbox::kLeasedPerRecipient * connections);
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
