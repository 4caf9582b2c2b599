// What leaves, and what leaves together: one request carries at most one delivery of each ordering
// key, so that the order holds whatever is answered for each.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/engine.hpp"
#include "payload/request_builder.hpp"

namespace offline_post {

// The endpoint's breaker lets it send, and something in its window may leave.
bool Engine::IsReady(const EndpointRecord& endpoint, Millis now_ms) {
  if (endpoint.origin == nullptr || endpoint.pause != Pause::kNone ||
      !endpoint.gate.MaySend(now_ms, endpoint.in_flight)) {
    return false;
  }
  if (!endpoint.apart.empty()) return true;
  if (!endpoint.window.runnable()) return false;
  const auto batch_due = BatchDueMs(endpoint);
  return IsHeldBack(endpoint) || !batch_due || *batch_due <= now_ms;
}

// True: a request has left.
bool Engine::SendNext(OriginRecord& origin) {
  while (!origin.ready.empty()) {
    // Endpoints that share an origin take turns.
    auto next = origin.ready.upper_bound(origin.last);
    if (next == origin.ready.end()) next = origin.ready.begin();
    EndpointRecord& endpoint = *next->second;
    due_endpoints_.Touch(endpoint);
    std::vector<Delivery> deliveries;
    if (IsReady(endpoint, clock_.MonotonicMs())) deliveries = TakeNext(endpoint);
    if (!deliveries.empty()) {
      Send(origin, endpoint, std::move(deliveries));
      origin.last = endpoint.id;
      return true;
    }
    origin.ready.erase(next);
  }
  return false;
}

std::vector<Delivery> Engine::TakeNext(EndpointRecord& endpoint) {
  // A probe costs as little as possible.
  if (IsHeldBack(endpoint)) return TakeProbe(endpoint);
  return endpoint.config->batch.any() ? TakeBatch(endpoint) : TakeOne(endpoint);
}

void Engine::Send(OriginRecord& origin, EndpointRecord& endpoint,
                  std::vector<Delivery> deliveries) {
  const Millis now = clock_.MonotonicMs();
  const RequestId id = next_request_++;
  Request request = Build(endpoint, id, deliveries);
  const auto rest = deliveries.begin() + static_cast<std::ptrdiff_t>(request.deliveries.size());
  GiveBack(endpoint, {std::make_move_iterator(rest), std::make_move_iterator(deliveries.end())});
  deliveries.erase(rest, deliveries.end());
  const bool probe = origin.breaker.OnSend();
  const bool gate_probe = endpoint.gate.OnSend();
  if (probe) origin.probe = id;
  if (gate_probe) endpoint.gate_probe = id;
  if (probe) PublishState(origin);
  if (gate_probe) PublishState(endpoint);
  ++origin.in_flight;
  ++endpoint.in_flight;
  for (const Delivery& delivery : deliveries) {
    if (delivery.event->topic != 0) endpoint.topics.Sent(delivery, now);
  }
  endpoint.ledger->AttemptsStarted(deliveries.size());
  in_flight_.emplace(id, InFlight{id, &endpoint, endpoint.config, origin.shared_from_this(),
                                  std::move(deliveries), now});
  transport_.Send(std::move(request));
}

Request Engine::Build(EndpointRecord& endpoint, RequestId id, std::vector<Delivery>& deliveries) {
  try {
    return BuildRequest(id, endpoint.config, deliveries, clock_.UnixMs());
  } catch (...) {  // no memory for it now
    GiveBack(endpoint, std::move(deliveries));
    throw;
  }
}

void Engine::Drain(EndpointId id) {
  if (EndpointRecord* endpoint = Find(id)) endpoint->draining = true;
}

std::vector<Delivery> Engine::TakeOne(EndpointRecord& endpoint) {
  std::vector<Delivery> one = TakeApart(endpoint);
  if (one.size() > 1) {
    endpoint.apart.emplace_front(std::make_move_iterator(one.begin() + 1),
                                 std::make_move_iterator(one.end()));
    one.erase(one.begin() + 1, one.end());
  }
  while (one.empty()) {
    std::optional<Delivery> delivery = endpoint.window.Take();
    if (!delivery) break;
    if (MayLeave(endpoint, *delivery)) one.push_back(std::move(*delivery));
  }
  return one;
}

// What the backend fails while it accepts others is not asked how the backend is, unless nothing
// else waits: many such would keep the breaker open long after the backend has recovered.
std::vector<Delivery> Engine::TakeProbe(EndpointRecord& endpoint) {
  std::vector<Delivery> probe = TakeOne(endpoint);
  std::vector<Delivery> others;
  while (!probe.empty() && IsOutOfOrder(probe.front())) {
    others.push_back(std::move(probe.front()));
    probe = TakeOne(endpoint);
  }
  if (probe.empty() && !others.empty()) {
    probe.push_back(std::move(others.front()));
    others.erase(others.begin());
  }
  GiveBack(endpoint, std::move(others));
  return probe;
}

// The next group that was set apart, without what may not leave any more.
std::vector<Delivery> Engine::TakeApart(EndpointRecord& endpoint) {
  std::vector<Delivery> leaving;
  while (leaving.empty() && !endpoint.apart.empty()) {
    std::vector<Delivery> group = std::move(endpoint.apart.front());
    endpoint.apart.pop_front();
    for (Delivery& delivery : group) {
      if (MayLeave(endpoint, delivery)) leaving.push_back(std::move(delivery));
    }
  }
  return leaving;
}

std::vector<Delivery> Engine::TakeBatch(EndpointRecord& endpoint) {
  if (std::vector<Delivery> group = TakeApart(endpoint); !group.empty()) return group;
  std::vector<Delivery> batch;
  if (!endpoint.window.runnable() || !IsBatchDue(endpoint)) return batch;
  const BatchLimits& limits = endpoint.config->batch;
  batch.reserve(std::min(limits.max_events, endpoint.window.runnable_lanes()));
  Millis oldest = clock_.MonotonicMs();
  while (batch.size() < limits.max_events) {
    std::optional<Delivery> delivery = endpoint.window.Take();
    if (!delivery) break;
    if (!MayLeave(endpoint, *delivery)) continue;
    if (delivery->misconfigured > 0 || delivery->attempts >= kAttemptsInCompany) {
      // Whether it is to blame shows when it leaves alone: nobody is dead, or held up, for
      // another's fault.
      endpoint.apart.emplace_back().push_back(std::move(*delivery));
      continue;
    }
    oldest = std::min(oldest, delivery->accepted_ms);
    batch.push_back(std::move(*delivery));
  }
  // Perhaps it was due only for what may not leave, or leaves alone.
  if (batch.size() < limits.max_events && !endpoint.draining &&
      oldest + limits.max_delay_ms > clock_.MonotonicMs()) {
    GiveBack(endpoint, std::move(batch));
    return TakeApart(endpoint);
  }
  endpoint.filling_ms.reset();
  return batch.empty() ? TakeApart(endpoint) : batch;
}

// When the first batch of the window is to leave: full at once, else when its oldest has waited
// long enough, and then perhaps for a Claim that is under way.
std::optional<Millis> Engine::BatchDueMs(const EndpointRecord& endpoint) {
  const BatchLimits& limits = endpoint.config->batch;
  if (!limits.any() || !endpoint.window.runnable()) return std::nullopt;
  if (endpoint.draining || endpoint.window.runnable_lanes() >= limits.max_events) return 0;
  const Millis due = endpoint.window.OldestMs() + limits.max_delay_ms;
  if (endpoint.claiming && endpoint.filling_ms) {
    return std::max(due, *endpoint.filling_ms + std::min(kFillingMs, limits.max_delay_ms));
  }
  return due;
}

bool Engine::IsBatchDue(EndpointRecord& endpoint) {
  const Millis now = clock_.MonotonicMs();
  if (!endpoint.claiming) endpoint.filling_ms.reset();
  const auto due = BatchDueMs(endpoint);
  if (!due || *due > now) return false;
  const bool full = endpoint.window.runnable_lanes() >= endpoint.config->batch.max_events;
  if (full || endpoint.draining || !endpoint.claiming || endpoint.filling_ms) return true;
  endpoint.filling_ms = now;  // where events keep coming, there always is a Claim: it has its time
  return false;
}

void Engine::GiveBack(EndpointRecord& endpoint, std::vector<Delivery> deliveries) {
  std::for_each(deliveries.rbegin(), deliveries.rend(),
                [&endpoint](Delivery& delivery) { endpoint.window.Return(std::move(delivery)); });
}

void Engine::GiveBackApart(EndpointRecord& endpoint) {
  while (!endpoint.apart.empty()) {
    GiveBack(endpoint, std::move(endpoint.apart.back()));
    endpoint.apart.pop_back();
  }
}

std::vector<Delivery> Engine::ExtractApart(EndpointRecord& endpoint,
                                           const Window::Predicate& leaves) {
  std::vector<Delivery> out;
  for (std::vector<Delivery>& group : endpoint.apart) {
    const auto first = std::stable_partition(group.begin(), group.end(),
                                             [&](const Delivery& d) { return !leaves(d); });
    std::move(first, group.end(), std::back_inserter(out));
    group.erase(first, group.end());
  }
  std::erase_if(endpoint.apart, [](const auto& group) { return group.empty(); });
  for (const Delivery& delivery : out) endpoint.window.Advance(delivery.recipient);
  return out;
}

// The receiver refused a batch: one of its events may be to blame, and the halves will tell.
void Engine::Split(InFlight& flight) {
  EndpointRecord& endpoint = *flight.endpoint;
  std::vector<Delivery> back;
  for (Delivery& delivery : flight.deliveries) {
    if (delivery.event->topic != 0) endpoint.topics.Landed(delivery);
    if (const auto verdict = VerdictOnFailed(endpoint, delivery)) {
      EndFailed(endpoint, delivery, *verdict);
      endpoint.claimable = true;
      continue;
    }
    endpoint.ledger->AttemptEnded(true);
    back.push_back(std::move(delivery));
  }
  if (flight.config != endpoint.config) {  // what it was refused by may be no more
    GiveBack(endpoint, std::move(back));
    return;
  }
  const auto middle = back.begin() + static_cast<std::ptrdiff_t>(back.size() / 2);
  for (const auto& [first, last] :
       {std::pair(middle, back.end()), std::pair(back.begin(), middle)}) {
    if (first == last) continue;
    endpoint.apart.emplace_front(std::make_move_iterator(first), std::make_move_iterator(last));
  }
}

}  // namespace offline_post
