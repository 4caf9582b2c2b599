#include "engine/engine.hpp"

#include <algorithm>
#include <utility>

namespace offline_post {

Engine::Engine(Outbox& outbox, Transport& transport, const Clock& clock, Notices& notices,
               std::uint64_t seed, std::size_t memory_bytes)
    : outbox_(outbox),
      transport_(transport),
      clock_(clock),
      notices_(notices),
      random_(seed),
      next_sequence_(outbox.NextSequence()),
      budget_(memory_bytes) {
  for (const StoredLane& stored : outbox.TakeStoredLanes()) {
    // What has not left yet may wait in the outbox for one before it.
    EnterShared(stored, !stored.tried);
  }
}

void Engine::Restore(const StoredEndpoint& stored, std::shared_ptr<Ledger> ledger) {
  EndpointRecord& endpoint = endpoints_[stored.id];
  auto config = std::make_shared<Endpoint>();
  config->key = stored.key;
  endpoint.id = stored.id;
  due_endpoints_.Touch(endpoint);
  endpoint.config = std::move(config);
  endpoint.ledger = std::move(ledger);
  endpoint.in_outbox = StoredPending(stored);
  endpoint.failing.Restore(stored.recipients_waiting, stored.out_of_order);
  delivered_ += stored.delivered;
  endpoint.claimable = true;
  endpoint.dead = stored.dead;
  endpoint.dead_bytes = stored.dead_bytes;
  endpoint.pause = stored.pause;
  endpoint.paused_url = stored.paused_url;
  endpoint.bury_ms = clock_.MonotonicMs() + endpoint.config->schedule.max_age_ms;
  endpoint.purge_ms = endpoint.bury_ms;  // its retention is not known yet
  endpoint.shares_order = SharesOrder(stored.key);
  endpoint.return_ms = clock_.MonotonicMs() + kReturnMs;
  for (const StoredWithdrawal& mark : stored.withdrawals) endpoint.withdrawals.Add(mark);
  endpoint.topics.SetIncomplete(endpoint.in_outbox > 0);
}

void Engine::Configure(EndpointId id, std::shared_ptr<const Endpoint> config,
                       std::shared_ptr<Ledger> ledger) {
  outbox_.Register(id, config->key);
  EndpointRecord& endpoint = endpoints_[id];
  endpoint.id = id;
  due_endpoints_.Touch(endpoint);
  const bool changed = endpoint.origin != nullptr;
  // The times for which events wait are those of the old intervals.
  if (changed && (config->collapse_interval_ms < endpoint.config->collapse_interval_ms ||
                  config->rates != endpoint.config->rates)) {
    for (const std::uint64_t lane : endpoint.topics.LanesOf(Topics::Wait::kInterval))
      outbox_.Hasten(id, lane);
  }
  if (changed) Detach(endpoint);
  GiveBackApart(endpoint);  // with other limits it may be another batch
  endpoint.config = std::move(config);
  endpoint.shares_order = SharesOrder(endpoint.config->key);
  endpoint.ledger = std::move(ledger);
  const bool other_url = endpoint.paused_url != Fingerprint(endpoint.config->post_url);
  if (endpoint.pause == Pause::kGone && (changed || other_url)) {
    SetPause(endpoint, Pause::kNone);
    TellPause(endpoint, Notice::Level::kInfo, "no longer paused, since it was configured anew");
  }
  if (endpoint.pause != Pause::kNone && !changed) {
    TellPause(endpoint, Notice::Level::kWarning,
              "still paused (" + WhyOf(endpoint, EndpointState::kPaused) +
                  "), until ejabberdctl offline_post_resume");
  }
  endpoint.purge_ms = std::min(endpoint.purge_ms, clock_.MonotonicMs());
  endpoint.gate = Breaker();
  endpoint.gate.SetLimit(endpoint.config->max_connections);
  endpoint.claimable = true;
  endpoint.draining = false;
  Attach(endpoint);
  PruneOrigins();
  PublishState(endpoint);
}

void Engine::Remove(EndpointId id) {
  EndpointRecord* found = Find(id);
  if (found == nullptr || found->origin == nullptr) return;
  EndpointRecord& endpoint = *found;
  CancelInFlight(endpoint);
  for (const auto& [request, test] : tests_) {
    if (test.endpoint == id) transport_.Cancel(request);
  }
  std::erase_if(tests_, [id](const auto& test) { return test.second.endpoint == id; });
  GiveBackApart(endpoint);
  for (const Delivery& delivery : endpoint.window.Clear()) {
    if (const auto verdict = VerdictOn(endpoint, delivery)) {
      End(endpoint, delivery, *verdict);
    } else {
      Park(endpoint, delivery);
    }
  }
  Detach(endpoint);
  PruneOrigins();
  endpoint.bury_ms = clock_.MonotonicMs() + endpoint.config->schedule.max_age_ms;
  endpoint.return_ms = clock_.MonotonicMs() + kReturnMs;
  endpoint.ledger->SetState(EndpointState::kStopped);
  endpoint.ledger->seen().SetState(EndpointState::kStopped, "", clock_.UnixMs());
  endpoint.hasten_left = 0;
}

void Engine::Attach(EndpointRecord& endpoint) {
  std::shared_ptr<OriginRecord>& origin = origins_[endpoint.config->origin];
  if (!origin) {
    origin = std::make_shared<OriginRecord>();
    origin->id = ++last_origin_;
    origin->key = &origins_.find(endpoint.config->origin)->first;
    origin->name = OriginText(endpoint.config->origin);
    connection_limit_ += Limit(*origin);
  }
  endpoint.origin = origin.get();
  origin->endpoints.emplace(endpoint.id, &endpoint);
  origin->breaker.Hasten(clock_.MonotonicMs());
  const int before = Limit(*origin);
  origin->limits.insert(endpoint.config->max_connections);
  LimitChanged(*origin, before);
}

void Engine::Detach(EndpointRecord& endpoint) {
  OriginRecord& origin = *endpoint.origin;
  origin.endpoints.erase(endpoint.id);
  origin.ready.erase(endpoint.id);
  if (std::exchange(endpoint.claims_probe, false)) origin.probe_claimed = false;
  endpoint.origin = nullptr;
  const int before = Limit(origin);
  origin.limits.extract(endpoint.config->max_connections);
  LimitChanged(origin, before);
  if (origin.endpoints.empty()) unused_origins_.push_back(&origin);
}

int Engine::Limit(const OriginRecord& origin) {
  return origin.limits.empty() ? 1 : std::max(1, *origin.limits.rbegin());
}

void Engine::LimitChanged(OriginRecord& origin, int before) {
  due_origins_.Touch(origin);
  const int limit = Limit(origin);
  origin.breaker.SetLimit(limit);
  connection_limit_ += limit - before;
  if (limit != before) PublishState(origin);
}

// Apart from Detach: a reload within one origin must find its breaker and its requests in flight
// again. What is in flight is counted until it ends, should the origin come back.
void Engine::PruneOrigins() {
  std::erase_if(unused_origins_, [this](OriginRecord* origin) {
    if (!origin->endpoints.empty()) return true;
    if (origin->in_flight > 0) return false;
    connection_limit_ -= Limit(*origin);
    due_origins_.Remove(*origin);
    origins_.erase(origins_.find(*origin->key));
    return true;
  });
}

void Engine::CancelInFlight(EndpointRecord& endpoint) {
  if (endpoint.in_flight == 0) return;
  for (auto flight = in_flight_.begin(); flight != in_flight_.end();) {
    if (flight->second.endpoint != &endpoint) {
      ++flight;
      continue;
    }
    transport_.Cancel(flight->first);
    OriginRecord& origin = *flight->second.origin;  // since a reload perhaps not its own
    --origin.in_flight;
    due_origins_.Touch(origin);
    const bool probe = IsProbe(flight->second);
    origin.breaker.OnCancelled(probe);
    if (probe) PublishState(origin);
    endpoint.gate.OnCancelled(IsGateProbe(flight->second));
    --endpoint.in_flight;
    std::vector<Delivery> back;
    for (Delivery& delivery : flight->second.deliveries) {
      endpoint.topics.Landed(delivery);
      if (const auto verdict = VerdictOnFailed(endpoint, delivery)) {
        EndFailed(endpoint, delivery, *verdict);
        continue;
      }
      endpoint.ledger->AttemptEnded(true);
      back.push_back(std::move(delivery));
    }
    GiveBack(endpoint, std::move(back));
    flight = in_flight_.erase(flight);
  }
}

void Engine::Accept(EndpointId id, std::shared_ptr<const Event> event, CommitCallback committed) {
  EndpointRecord& endpoint = At(id);
  Delivery delivery;
  delivery.sequence = next_sequence_++;
  delivery.endpoint = id;
  delivery.recipient = LaneOf(*endpoint.config, *event, delivery.sequence);
  delivery.accepted_ms = clock_.MonotonicMs();
  Topics::Place place;
  endpoint.ledger->seen().Accepted(delivery.accepted_ms, clock_.UnixMs());
  const std::shared_ptr<const Event> end = EndsCall(*event) && event->topic != 0 ? event : nullptr;
  if (event->topic != 0 && !end) place = Enter(endpoint, *event, delivery.sequence);
  delivery.stands_for = place.stands_for;
  const Sequence before = delivery.sequence - 1;
  const std::shared_ptr<const Event> later = place.supersedes ? event : nullptr;
  delivery.event = std::move(event);
  const StoredLane lane{id, delivery.sequence, delivery.recipient, false};
  outbox_.Append(std::move(delivery));
  if (endpoint.shares_order) EnterShared(lane, false);
  if (committed) unflushed_.push_back(std::move(committed));
  ++endpoint.in_outbox;
  endpoint.claimable = true;
  appended_ = true;
  // In this order: never is the earlier one gone from a disk that does not have the later one.
  if (later) Supersede(endpoint, *later, before, place.earlier);
  if (end) EndCall(endpoint, *end, before + 1);
}

void Engine::Turn() {
  if (appended_) {
    appended_ = false;
    outbox_.Flush(std::exchange(unflushed_, {}));
  }
  LookAtDue();
  VisitDead();
  while (OriginRecord* origin = due_origins_.Front(clock_.MonotonicMs())) {
    Dispatch(*origin);
    due_origins_.Pop();
  }
  LookAtDue();  // what has sent something may have room for more
  ServeWaiting();
}

Engine::EndpointRecord* Engine::Find(EndpointId id) {
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return nullptr;
  due_endpoints_.Touch(found->second);
  return &found->second;
}

Engine::EndpointRecord& Engine::At(EndpointId id) {
  EndpointRecord& endpoint = endpoints_.at(id);
  due_endpoints_.Touch(endpoint);
  return endpoint;
}

void Engine::LookAtDue() {
  while (EndpointRecord* endpoint = due_endpoints_.Front(clock_.MonotonicMs())) {
    LookAt(*endpoint);
    due_endpoints_.Pop();
  }
}

// All that an endpoint may have to do, but for sending, where the endpoints of an origin take
// turns.
void Engine::LookAt(EndpointRecord& endpoint) {
  PurgeRemoved(endpoint);
  PurgeDead(endpoint);
  if (!endpoint.withdrawals.empty() || endpoint.topics.uncertain()) ClearMarks(endpoint);
  HastenSlice(endpoint);
  Summarize(endpoint);
  Claim(endpoint);
  const Millis now = clock_.MonotonicMs();
  if (IsReady(endpoint, now) && endpoint.origin->ready.emplace(endpoint.id, &endpoint).second) {
    due_origins_.Touch(*endpoint.origin);
  }
  std::optional<Millis> next = NextLookMs(endpoint, now);
  if (next) next = std::max(*next, now + 1);  // once a turn, whatever it finds
  due_endpoints_.SetTime(endpoint, next);
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
  const std::size_t bytes = ShareOf(endpoint);
  if (bytes == 0) return;
  endpoint.claiming = true;
  endpoint.claimable = false;
  endpoint.promised = std::min(bytes, endpoint.ledger->pending_bytes());
  budget_.Promise(endpoint.promised);
  outbox_.Claim(endpoint.id,
                {removed ? kSlice : WindowSize(endpoint) - endpoint.window.size(), bytes});
}

void Engine::Dispatch(OriginRecord& origin) {
  const auto may_send = [&] {
    return origin.breaker.MaySend(clock_.MonotonicMs(), origin.in_flight);
  };
  while (may_send() && SendNext(origin)) {
  }
  const bool waits = !origin.ready.empty() && origin.breaker.state() == Breaker::State::kOpen;
  std::optional<Millis> next;
  if (waits) next = std::max(origin.breaker.probe_at_ms(), clock_.MonotonicMs() + 1);
  due_origins_.SetTime(origin, next);
}

void Engine::OnCommitted(Ticket /*ticket*/, bool durable) {
  if (durable && !durable_) {
    for (auto& [id, endpoint] : endpoints_) {
      endpoint.claimable = true;  // what is on the disk
      due_endpoints_.Touch(endpoint);
    }
  }
  durable_ = durable;
}

void Engine::OnClaimed(EndpointId id, Claimed claimed) {
  EndpointRecord& endpoint = At(id);
  EndClaim(endpoint);
  endpoint.claimable = endpoint.claimable || claimed.more;
  endpoint.next_due = claimed.next_due;
  endpoint.in_outbox -= claimed.deliveries.size();
  const Millis now = clock_.MonotonicMs();
  const bool removed = endpoint.origin == nullptr;
  const bool aged = removed && now >= endpoint.bury_ms;
  for (const Delivery& delivery : claimed.deliveries) budget_.Hold(delivery);
  for (Delivery& delivery : claimed.deliveries) {
    if (delivery.event->topic != 0) endpoint.topics.Claimed(delivery);
    endpoint.failing.Claimed(delivery);
    // After a crash the disk may know of fewer deliveries than the failure did.
    delivery.delivered_at_failure = std::min(delivery.delivered_at_failure, delivered_);
    if (const auto verdict = VerdictOn(endpoint, delivery)) {
      End(endpoint, delivery, *verdict);
    } else if (aged) {
      Bury(endpoint, delivery, {0, "endpoint removed", ""});
      endpoint.claimable = true;  // what followed for this recipient
    } else if (removed || endpoint.held_back.contains(delivery.recipient)) {
      Park(endpoint, delivery);
    } else {
      endpoint.window.Add(std::move(delivery));
    }
  }
  endpoint.held_back.clear();
  PublishFailing(endpoint);
  if (aged) endpoint.bury_ms = now + 1;
}

void Engine::Park(EndpointRecord& endpoint, const Delivery& delivery) {
  // A Claim on its way is answered as if this one were out: what follows it must wait.
  if (endpoint.claiming) endpoint.held_back.insert(delivery.recipient);
  budget_.Release(delivery);
  outbox_.Park(delivery);
  ++endpoint.in_outbox;
  endpoint.claimable = true;
}

}  // namespace offline_post
