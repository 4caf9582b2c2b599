// What is not to leave any more, because it was withdrawn or because a
// later one of its topic speaks for it; and what is not to leave yet.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.hpp"

namespace offline_post {

namespace {

std::uint64_t RecipientMark(const Event& event) {
  return MarkKey(Marked::kRecipient, RecipientKey(event));
}
std::uint64_t TopicMark(std::uint64_t topic) { return MarkKey(Marked::kTopic, topic); }
std::uint64_t SupersededMark(std::uint64_t topic) { return MarkKey(Marked::kSuperseded, topic); }

// What collapses may have to wait for its time.
bool HasIntervals(const Endpoint& config) {
  return config.collapse_interval_ms > 0 || (config.rates.collapse && config.rates.any());
}

}  // namespace

std::optional<Engine::Verdict> Engine::VerdictOn(const EndpointRecord& endpoint,
                                                 const Delivery& delivery) {
  const Withdrawals& marks = endpoint.withdrawals;
  if (marks.empty()) return std::nullopt;
  const Event& event = *delivery.event;
  if (const auto how = marks.Find(RecipientMark(event), delivery.sequence)) return Verdict{*how};
  if (event.topic == 0) return std::nullopt;
  if (const auto how = marks.Find(TopicMark(event.topic), delivery.sequence)) return Verdict{*how};
  if (EndsCall(event)) return std::nullopt;  // no later one speaks for it
  if (const auto how = marks.Find(SupersededMark(event.topic), delivery.sequence)) {
    return Verdict{*how, true};
  }
  return std::nullopt;
}

std::optional<Engine::Verdict> Engine::VerdictOnFailed(const EndpointRecord& endpoint,
                                                       const Delivery& delivery) {
  if (const auto verdict = VerdictOn(endpoint, delivery)) return verdict;
  const std::uint64_t topic = delivery.event->topic;
  if (topic == 0 || EndsCall(*delivery.event) ||
      !endpoint.topics.IsSuperseded(topic, delivery.sequence)) {
    return std::nullopt;
  }
  return Verdict{Final::kCancelled, true};
}

// It waited.
void Engine::End(EndpointRecord& endpoint, const Delivery& delivery, Verdict verdict) {
  if (verdict.superseded) endpoint.topics.CountWaiting(delivery);
  Finish(endpoint, delivery, verdict.how, {});
  endpoint.claimable = true;  // what followed in its lane
}

// It was in flight.
void Engine::EndFailed(EndpointRecord& endpoint, const Delivery& delivery, Verdict verdict) {
  if (verdict.superseded) endpoint.topics.CountInFlight(delivery);
  endpoint.ledger->AttemptEnded(false);
  endpoint.window.Advance(delivery.recipient);
  Finish(endpoint, delivery, verdict.how, {});
}

void Engine::Mark(EndpointRecord& endpoint, const StoredWithdrawal& mark) {
  if (!endpoint.withdrawals.Add(mark)) {
    outbox_.SetWithdrawal(endpoint.id, mark.key, mark.until, mark.how);
    return;
  }
  outbox_.ClearWithdrawals(endpoint.id);
  for (const StoredWithdrawal& kept : endpoint.withdrawals.All()) {
    outbox_.SetWithdrawal(endpoint.id, kept.key, kept.until, kept.how);
  }
}

bool Engine::HasPending(const EndpointRecord& endpoint) const {
  // Dead letters on their way back are as good as pending, and so is what another node has left.
  return endpoint.in_outbox > 0 || endpoint.window.size() > 0 ||
         std::any_of(dead_jobs_.begin(), dead_jobs_.end(),
                     [&endpoint](const auto& job) {
                       return job.second.visit.endpoint == endpoint.id &&
                              job.second.visit.act == DeadAct::kReplay;
                     }) ||
         std::any_of(import_jobs_.begin(), import_jobs_.end(),
                     [&endpoint](const auto& job) { return job.second.endpoint == endpoint.id; });
}

void Engine::ClearMarks(EndpointRecord& endpoint) {
  if (HasPending(endpoint)) return;
  endpoint.topics.NothingPending(HasIntervals(*endpoint.config));
  if (endpoint.withdrawals.empty()) return;
  endpoint.withdrawals.Clear();
  outbox_.ClearWithdrawals(endpoint.id);
}

void Engine::Withdraw(EndpointId id, const Withdrawal& withdrawal) {
  EndpointRecord* found = Find(id);
  if (found == nullptr) return;
  EndpointRecord& endpoint = *found;
  const bool all = withdrawal.topic == 0;
  if (all && withdrawal.how == Final::kPurged && endpoint.dead > 0)
    endpoint.removed[withdrawal.recipient] = next_sequence_;
  if (HasPending(endpoint)) WithdrawUntil(endpoint, withdrawal, next_sequence_ - 1);
}

void Engine::WithdrawUntil(EndpointRecord& endpoint, const Withdrawal& withdrawal, Sequence until) {
  const bool all = withdrawal.topic == 0;
  const std::uint64_t key = all ? withdrawal.recipient : withdrawal.topic;
  const auto is_meant = [&](const Delivery& delivery) {
    return (all ? RecipientKey(*delivery.event) : delivery.event->topic) == key;
  };
  // Where each recipient has one lane, what is meant is in it or in none.
  const Endpoint& config = *endpoint.config;
  const bool one_lane =
      config.ordered && !HasIntervals(config) && endpoint.failing.out_of_order() == 0;
  for (const Delivery& delivery : one_lane ? endpoint.window.Extract(withdrawal.recipient, is_meant)
                                           : endpoint.window.ExtractAll(is_meant)) {
    End(endpoint, delivery, {withdrawal.how});
  }
  for (const Delivery& delivery : ExtractApart(endpoint, is_meant)) {
    End(endpoint, delivery, {withdrawal.how});
  }
  if (!HasPending(endpoint)) return;
  Mark(endpoint, {MarkKey(all ? Marked::kRecipient : Marked::kTopic, key), until, withdrawal.how});
  std::vector<std::uint64_t> lanes;
  if (all) {
    lanes = endpoint.failing.KeysOf(withdrawal.recipient);
    lanes.push_back(withdrawal.recipient);
  }
  if (const auto waiting = endpoint.topics.WaitingOf(withdrawal.topic))
    lanes.push_back(waiting->lane);
  for (const std::uint64_t lane : lanes) {
    outbox_.Hasten(endpoint.id, lane);
    endpoint.claimable = true;
  }
}

// The event has just been appended. It is in the outbox also where it ends with the offer: so its
// end is counted there, and a crash between the two leaves both.
void Engine::EndCall(EndpointRecord& endpoint, const Event& event, Sequence sequence) {
  const Topics::Offer offer = endpoint.topics.OfferOf(event.topic, WithdrawnUntil(endpoint, event));
  if (offer == Topics::Offer::kNone) return;
  WithdrawUntil(endpoint, {RecipientKey(event), event.topic, Final::kCancelled},
                offer == Topics::Offer::kWaits ? sequence : sequence - 1);
}

Sequence Engine::WithdrawnUntil(const EndpointRecord& endpoint, const Event& event) {
  const Withdrawals& marks = endpoint.withdrawals;
  if (marks.empty()) return 0;
  return std::max(marks.Until(RecipientMark(event)), marks.Until(TopicMark(event.topic)));
}

Topics::Place Engine::Enter(EndpointRecord& endpoint, const Event& event, Sequence sequence) const {
  return endpoint.topics.Accept(event.topic, sequence, WithdrawnUntil(endpoint, event),
                                endpoint.withdrawals.Until(SupersededMark(event.topic)));
}

void Engine::Supersede(EndpointRecord& endpoint, const Event& event, Sequence until,
                       Sequence earlier) {
  const auto is_earlier = [&event](const Delivery& delivery) {
    return delivery.event->topic == event.topic && !EndsCall(*delivery.event);
  };
  // It is in the lane that the topic has now, unless a reload has changed that.
  const std::uint64_t lane = LaneOf(*endpoint.config, event, until);
  const std::vector<Delivery> waiting = endpoint.window.Extract(lane, is_earlier);
  bool found = false;  // the one that counts: after a reload it may be in another lane
  for (const Delivery& delivery : waiting) {
    found = found || delivery.sequence == earlier;
    End(endpoint, delivery, {Final::kCancelled, true});
  }
  if (found && !endpoint.topics.incomplete()) return;
  Mark(endpoint, {SupersededMark(event.topic), until, Final::kCancelled});
  // One that waits for no more than its time would be there until then, and so would all that
  // follow it: the later one can wait by itself. A retry's wait is the later one's too.
  const auto waits = endpoint.topics.WaitingOf(event.topic);
  if (!waits || waits->what != Topics::Wait::kInterval) return;
  outbox_.Hasten(endpoint.id, waits->lane);
  endpoint.claimable = true;
}

Millis Engine::IntervalOf(const Endpoint& config, const Event& event) {
  constexpr Millis kMinuteMs = 60'000;
  const RateLimits& rates = config.rates;
  if (rates.collapse && event.topic == RateTopic(event)) {
    const std::uint64_t sender = rates.sender > 0 ? rates.sender : rates.recipient;
    const std::uint64_t recipient = rates.recipient > 0 ? rates.recipient : rates.sender;
    const std::uint64_t rate = std::min(sender, recipient);
    if (rate > 0) return kMinuteMs / static_cast<Millis>(rate);
  }
  return config.collapse_interval_ms;
}

std::uint64_t Engine::LaneOf(const Endpoint& config, const Event& event, Sequence sequence) {
  if (event.topic != 0 && (!config.ordered || IntervalOf(config, event) > 0)) return event.topic;
  return config.ordered ? RecipientKey(event) : sequence;
}

// False: what was taken has left the window for good, or waits for its time in the outbox.
bool Engine::MayLeave(EndpointRecord& endpoint, Delivery& delivery) {
  if (const auto verdict = VerdictOn(endpoint, delivery)) {
    endpoint.window.Advance(delivery.recipient);
    End(endpoint, delivery, *verdict);
    return false;
  }
  const Millis now = clock_.MonotonicMs();
  const auto lifetime = LifetimeOf(endpoint.config->schedule, delivery.event->kind);
  if (lifetime && now > delivery.accepted_ms + *lifetime) {
    endpoint.window.Advance(delivery.recipient);
    Bury(endpoint, delivery,
         {0,
          "expired: " + std::to_string((now - delivery.accepted_ms) / 1'000) + " s old, a " +
              delivery.event->kind + " is not sent after its max_age",
          ""});
    endpoint.claimable = true;  // what followed in its lane
    return false;
  }
  if (endpoint.shares_order) {
    if (const auto due = SharedDueMs(delivery)) {
      PutOff(endpoint, delivery, *due);
      return false;
    }
  }
  const std::uint64_t topic = delivery.event->topic;
  if (topic == 0) return true;
  // In a lane of its own nobody else waits for it.
  const bool has_interval = delivery.recipient == topic && !EndsCall(*delivery.event);
  const Millis interval = has_interval ? IntervalOf(*endpoint.config, *delivery.event) : 0;
  const Millis due = interval > 0 ? endpoint.topics.EarliestMs(delivery, interval) : 0;
  if (due > now) {
    PutOff(endpoint, delivery, due);
    return false;
  }
  delivery.stands_for = endpoint.topics.StandsFor(delivery);
  return true;
}

// It waits in the outbox, and its lane with it, though it has not failed.
void Engine::PutOff(EndpointRecord& endpoint, const Delivery& delivery, Millis due_ms) {
  const std::vector<Delivery> followers = endpoint.window.Dissolve(delivery.recipient);
  if (endpoint.claiming) endpoint.held_back.insert(delivery.recipient);
  budget_.Release(delivery);
  outbox_.Reschedule(delivery, due_ms, {});
  endpoint.topics.Waits(delivery, Topics::Wait::kInterval);
  ++endpoint.in_outbox;
  for (const Delivery& follower : followers) Park(endpoint, follower);
  endpoint.claimable = true;  // for the time at which it is due
}

std::optional<Millis> Engine::SharedDueMs(const Delivery& delivery) {
  constexpr Millis kFirstLookMs = 1'000;
  const Millis now = clock_.MonotonicMs();
  while (const auto before = order_.Before(delivery.recipient, delivery.sequence)) {
    const EndpointRecord& first = endpoints_.at(*before);
    const bool removed = first.origin == nullptr;
    if (removed && now >= first.return_ms) {
      ForgetShared(first);
      continue;
    }
    order_.Waits(delivery.recipient, delivery.sequence);
    const Millis age = now - delivery.accepted_ms;
    return removed ? first.return_ms : now + std::clamp(age, kFirstLookMs, kLookMs);
  }
  return std::nullopt;
}

void Engine::EnterShared(const StoredLane& delivery, bool waits) {
  if (order_.Add(delivery, waits)) return;
  notices_.AddRarely("shared order", Notice::Level::kWarning,
                     "more than " + std::to_string(SharedOrder::kMax) +
                         " notifications of mod_available_post and mod_unavailable_post are "
                         "pending on this node: those beyond keep no order between the two "
                         "modules");
}

void Engine::LeaveShared(const EndpointRecord& endpoint, const Delivery& delivery) {
  if (!endpoint.shares_order) return;
  if (const auto next = order_.Remove(delivery.recipient, delivery.sequence)) Wake(*next);
}

void Engine::ForgetShared(const EndpointRecord& endpoint) {
  for (const SharedOrder::Next& next : order_.Forget(endpoint.id)) Wake(next);
}

void Engine::Wake(const SharedOrder::Next& next) {
  outbox_.Hasten(next.endpoint, next.lane);
  At(next.endpoint).claimable = true;
}

}  // namespace offline_post
