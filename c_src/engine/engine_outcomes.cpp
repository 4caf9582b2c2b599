// What came back, and what that means for the delivery, its endpoint and
// its origin.
#include <algorithm>
#include <utility>

#include "engine/backoff.hpp"
#include "engine/engine.hpp"

namespace offline_post {

namespace {

std::string Seconds(Millis ms) { return std::to_string(ms / 1'000) + " s"; }

std::string Notifications(std::uint64_t count) { return std::to_string(count) + " notifications"; }

// The origin answered: whatever is wrong, it is not the origin's health.
bool IsAlive(const Outcome& outcome) {
  return outcome.kind != OutcomeClass::kTrouble || outcome.within_2xx;
}

// The receiver did not want the request as it was.
bool IsRefused(const Outcome& outcome) {
  return outcome.kind == OutcomeClass::kRefused && !outcome.within_2xx;
}

}  // namespace

void Engine::OnDone(RequestId id, std::vector<Outcome> outcomes) {
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) {
    EndTest(id, outcomes.front());
    return;
  }
  InFlight flight = std::move(found->second);
  in_flight_.erase(found);
  --flight.origin->in_flight;
  --flight.endpoint->in_flight;
  due_origins_.Touch(*flight.origin);
  due_endpoints_.Touch(*flight.endpoint);
  const auto alive = std::find_if(outcomes.begin(), outcomes.end(), IsAlive);
  Observe(flight, outcomes);
  ReportToBreakers(flight, alive != outcomes.end() ? *alive : outcomes.front());
  if (outcomes.size() > 1 && IsRefused(outcomes.front())) {
    Split(flight);
    return;
  }
  std::vector<Delivery> back;
  // First what was delivered: the others failed beside it.
  for (const bool delivered : {true, false}) {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if ((outcomes[i].kind == OutcomeClass::kDelivered) != delivered) continue;
      Delivery& delivery = flight.deliveries[i];
      if (Settle(flight, delivery, outcomes[i])) {
        flight.endpoint->claimable = true;  // what followed for this recipient
      } else {
        back.push_back(std::move(delivery));
      }
    }
  }
  GiveBack(*flight.endpoint, std::move(back));
}

std::string Engine::Pending(const OriginRecord& origin) {
  std::uint64_t pending = 0;
  for (const auto& [id, endpoint] : origin.endpoints) pending += endpoint->ledger->pending();
  return Notifications(pending);
}

std::string Engine::Pending(const EndpointRecord& endpoint) {
  return Notifications(endpoint.ledger->pending());
}

void Engine::TellEnd(Trouble& trouble, const std::string& what, const std::string& pending) {
  if (!std::exchange(trouble.told, false)) return;
  notices_.Add(Notice::Level::kInfo, what + " again after " +
                                         Seconds(clock_.MonotonicMs() - trouble.since_ms) + ": " +
                                         pending + " wait");
}

// The line at the beginning of a trouble may scroll away while it lasts.
void Engine::Summarize(EndpointRecord& endpoint) {
  const bool in_trouble = endpoint.origin != nullptr && endpoint.pause == Pause::kNone &&
                          IsHeldBack(endpoint) && endpoint.ledger->pending() > 0;
  if (!in_trouble) {
    endpoint.summary_ms.reset();
    return;
  }
  const Millis now = clock_.MonotonicMs();
  if (!endpoint.summary_ms) {
    endpoint.trouble_ms = now;
    endpoint.summary_ms = now + kSummaryMs;
  }
  if (now < *endpoint.summary_ms) return;
  endpoint.summary_ms = now + kSummaryMs;
  const Stats stats = endpoint.ledger->Snapshot();
  notices_.Add(Notice::Level::kWarning,
               NameOf(endpoint.config->key) + ": " + endpoint.origin->name + " in trouble for " +
                   Seconds(now - endpoint.trouble_ms) + " (" +
                   WhyOf(endpoint, EndpointState::kBroken) + "): " + Notifications(stats.pending) +
                   " wait, " + std::to_string(stats.dead) + " are dead letters");
  if (endpoint.origin->breaker.state() != Breaker::State::kClosed)
    endpoint.origin->trouble.told = true;
  if (endpoint.gate.state() != Breaker::State::kClosed) endpoint.misconfigured.told = true;
}

void Engine::ReportToBreakers(InFlight& flight, const Outcome& outcome) {
  OriginRecord& origin = *flight.origin;
  EndpointRecord& endpoint = *flight.endpoint;
  const Millis now = clock_.MonotonicMs();
  std::optional<Millis> retry_after = outcome.retry_after_ms;
  if (retry_after) retry_after = std::min(*retry_after, LongestWait(endpoint.config->schedule));
  const bool probe = IsProbe(flight);
  const bool gate_probe = IsGateProbe(flight);
  bool changed = probe || gate_probe;
  // An answer to a replaced configuration says nothing about the present one.
  const bool current = flight.config == endpoint.config;
  // One delivery that fails again and again is its own trouble, unless it is the probe.
  const Sequence sequence = outcome.sequence;
  const bool own = IsOutOfOrder(flight.deliveries.front());  // it leaves alone
  if (!IsAlive(outcome)) {
    if (current) endpoint.gate.OnCancelled(gate_probe);
    origin.trouble.why = outcome.reason;
    const bool news = probe || (!own && std::exchange(origin.last_trouble, sequence) != sequence);
    if (news && origin.breaker.OnTrouble(now, probe, retry_after, Unit())) {
      changed = true;
      origin.trouble.since_ms = now;
      origin.trouble.told |=
          notices_.AddRarely(origin.name + " trouble", Notice::Level::kWarning,
                             origin.name + " has trouble (" + outcome.reason + ", last with " +
                                 flight.deliveries.front().event->id + "): " + Pending(origin) +
                                 " wait, one probe at a time until it answers");
    }
  } else {
    if (origin.breaker.OnAlive()) {
      changed = true;
      TellEnd(origin.trouble, origin.name + " answers", Pending(origin));
    }
    if (current && ReportToGate(flight, outcome, gate_probe, retry_after)) changed = true;
  }
  if (changed) PublishState(origin);
  PublishConcurrency(endpoint);
}

// True: its state has changed.
bool Engine::ReportToGate(const InFlight& flight, const Outcome& outcome, bool probe,
                          std::optional<Millis> retry_after) {
  EndpointRecord& endpoint = *flight.endpoint;
  Trouble& trouble = endpoint.misconfigured;
  const auto who = [&] { return NameOf(endpoint.config->key) + ": " + flight.origin->name; };
  if (outcome.kind == OutcomeClass::kMisconfigured && !outcome.within_2xx) {
    const Millis now = clock_.MonotonicMs();
    trouble.why = outcome.reason;
    const bool own = IsOutOfOrder(flight.deliveries.front());
    const bool news = probe || (!own && std::exchange(endpoint.last_misconfigured,
                                                      outcome.sequence) != outcome.sequence);
    if (!news || !endpoint.gate.OnTrouble(now, probe, retry_after, Unit())) return false;
    trouble.since_ms = now;
    trouble.told |= notices_.AddRarely(
        NameOf(endpoint.config->key) + " gate", Notice::Level::kError,
        who() + " takes no notifications (" + outcome.reason + ", last with " +
            flight.deliveries.front().event->id + "): " + Pending(endpoint) +
            " wait, one probe at a time until it does; check post_url and auth_token");
    return true;
  }
  const bool closed = endpoint.gate.OnAlive();
  // A reload may have closed it before.
  if (trouble.told) TellEnd(trouble, who() + " takes notifications", Pending(endpoint));
  return closed;
}

bool Engine::Settle(const InFlight& flight, Delivery& delivery, const Outcome& outcome) {
  EndpointRecord& endpoint = *flight.endpoint;
  if (delivery.event->topic != 0) endpoint.topics.Landed(delivery);
  const bool current = flight.config == endpoint.config;
  if (outcome.kind != OutcomeClass::kDelivered) {
    if (const auto verdict = VerdictOnFailed(endpoint, delivery)) {
      EndFailed(endpoint, delivery, *verdict);
      if (outcome.kind == OutcomeClass::kGone && current) PauseGone(endpoint);
      return true;
    }
  }
  const bool blames_endpoint =
      outcome.kind == OutcomeClass::kGone || outcome.kind == OutcomeClass::kMisconfigured;
  if (blames_endpoint && !current) {
    // The blame is for a configuration that was replaced meanwhile.
    endpoint.ledger->AttemptEnded(true);
    return false;
  }
  ++delivery.attempts;
  switch (outcome.kind) {
    case OutcomeClass::kDelivered:
      endpoint.delivered_at = flight.origin->delivered_at = ++delivered_;
      endpoint.ledger->AttemptEnded(false);
      endpoint.window.Advance(delivery.recipient);
      Finish(endpoint, delivery, Final::kDelivered, {outcome.status, outcome.reason, ""});
      return true;
    case OutcomeClass::kRefused:
      endpoint.ledger->AttemptEnded(false);
      endpoint.window.Advance(delivery.recipient);
      Bury(endpoint, delivery, {outcome.status, outcome.reason, outcome.answer});
      return true;
    case OutcomeClass::kGone:
      endpoint.ledger->AttemptEnded(true);
      PauseGone(endpoint);
      return false;
    case OutcomeClass::kMisconfigured:
    case OutcomeClass::kTrouble:
      break;
  }
  CountFailure(flight, delivery, outcome);
  Retry(endpoint, std::move(delivery), outcome);
  return true;
}

// A failure is the delivery's own while the origin delivers others; what blames the endpoint's
// configuration, while the endpoint does.
void Engine::CountFailure(const InFlight& flight, Delivery& delivery,
                          const Outcome& outcome) const {
  const bool blames_endpoint = outcome.kind == OutcomeClass::kMisconfigured;
  const std::uint64_t others =
      blames_endpoint ? flight.endpoint->delivered_at : flight.origin->delivered_at;
  if (others > delivery.delivered_at_failure || delivery.failures == 0) ++delivery.failures;
  delivery.delivered_at_failure = delivered_;
}

void Engine::Retry(EndpointRecord& endpoint, Delivery delivery, const Outcome& outcome) {
  const RetrySchedule& schedule = endpoint.config->schedule;
  if (outcome.kind == OutcomeClass::kMisconfigured) {
    const std::uint64_t delivered = endpoint.ledger->Snapshot().delivered;
    if (delivered > delivery.delivered_at_misconfigured || delivery.misconfigured == 0) {
      ++delivery.misconfigured;
    }
    delivery.delivered_at_misconfigured = delivered;
  }
  const Millis wait = RetryDelay(schedule, delivery.attempts, outcome.retry_after_ms, Unit());
  const Millis due = clock_.MonotonicMs() + wait;
  const Millis max_age = LifetimeOf(schedule, delivery.event->kind).value_or(schedule.max_age_ms);
  const bool expired = due > delivery.accepted_ms + max_age;
  const bool hopeless = delivery.misconfigured >= kMisconfiguredAttempts;
  if (expired || hopeless) {
    endpoint.ledger->AttemptEnded(false);
    endpoint.window.Advance(delivery.recipient);
    Bury(endpoint, delivery,
         {outcome.status, expired ? "expired, at last " + outcome.reason : outcome.reason,
          outcome.answer});
    return;
  }
  endpoint.ledger->AttemptEnded(true);
  const bool misconfigured = outcome.kind == OutcomeClass::kMisconfigured;
  const std::string name = NameOf(endpoint.config->key);
  notices_.AddRarely(name + (misconfigured ? " misconfigured" : " retry"),
                     misconfigured ? Notice::Level::kError : Notice::Level::kWarning,
                     name + ": " + OriginText(endpoint.config->origin) +
                         " did not take notification " + delivery.event->id + " (" +
                         outcome.reason +
                         (misconfigured ? "): check post_url and auth_token; it is tried again"
                                        : "): it is tried again"));
  const Note note{outcome.status, outcome.reason, outcome.answer};
  // In a topic's lane it holds up nothing but what will take its place. A call's end must not
  // overtake its offer, which holds others up no longer than its lifetime.
  if (delivery.failures >= kFailuresInOrder &&
      delivery.recipient == RecipientKey(*delivery.event) && !OffersCall(*delivery.event)) {
    LeaveOrder(endpoint, std::move(delivery), due, note);
    return;
  }
  const std::vector<Delivery> followers = endpoint.window.Dissolve(delivery.recipient);
  if (endpoint.claiming) endpoint.held_back.insert(delivery.recipient);
  budget_.Release(delivery);
  outbox_.Reschedule(delivery, due, note);
  if (delivery.event->topic != 0) endpoint.topics.Waits(delivery, Topics::Wait::kRetry);
  ++endpoint.in_outbox;
  endpoint.failing.Add(delivery);
  PublishFailing(endpoint);
  for (const Delivery& follower : followers) Park(endpoint, follower);
}

// Its followers go.
void Engine::LeaveOrder(EndpointRecord& endpoint, Delivery delivery, Millis due_ms,
                        const Note& note) {
  const std::string name = NameOf(endpoint.config->key);
  notices_.AddRarely(
      name + " out of order", Notice::Level::kWarning,
      name + ": notification " + delivery.event->id + " failed " +
          std::to_string(delivery.attempts) + " times (" + note.reason +
          ") while the backend accepted others: it is retried out of order, and the later "
          "notifications for its recipient are sent");
  endpoint.window.Advance(delivery.recipient);
  LeaveShared(endpoint, delivery);
  budget_.Release(delivery);
  outbox_.LeaveOrder(delivery, due_ms, note);
  delivery.recipient = KeyOutOfOrder(delivery.sequence);
  if (delivery.event->topic != 0) endpoint.topics.Waits(delivery, Topics::Wait::kRetry);
  ++endpoint.in_outbox;
  endpoint.failing.Add(delivery);
  PublishFailing(endpoint);
}

void Engine::PublishFailing(const EndpointRecord& endpoint) {
  endpoint.ledger->SetFailing(endpoint.failing.recipients(), endpoint.failing.out_of_order());
}

void Engine::Bury(EndpointRecord& endpoint, const Delivery& delivery, const Note& note) {
  const std::string name = NameOf(endpoint.config->key);
  notices_.AddRarely(name + " dead", Notice::Level::kWarning,
                     name + ": notification " + delivery.event->id + " failed for good (" +
                         note.reason + ") after " + std::to_string(delivery.attempts) +
                         " attempts");
  ++endpoint.dead;
  endpoint.dead_bytes += EventBytes(*delivery.event);
  if (IsCrowded(endpoint)) {
    endpoint.purge_ms = clock_.MonotonicMs();
  }
  Finish(endpoint, delivery, Final::kDead, note);
}

void Engine::Finish(EndpointRecord& endpoint, const Delivery& delivery, Final how,
                    const Note& note) {
  endpoint.ledger->Settle(how, EventBytes(*delivery.event));
  endpoint.ledger->seen().Settled(delivery.accepted_ms, endpoint.ledger->pending());
  budget_.Release(delivery);
  outbox_.Finish(delivery, how, note);
  LeaveShared(endpoint, delivery);
  if (delivery.failures > 0) {
    endpoint.failing.Remove(delivery);
    PublishFailing(endpoint);
  }
  if (delivery.event->topic != 0) {
    endpoint.topics.Ended(delivery, IntervalOf(*endpoint.config, *delivery.event) > 0);
  }
}

void Engine::PauseGone(EndpointRecord& endpoint) {
  if (endpoint.pause != Pause::kNone) return;
  SetPause(endpoint, Pause::kGone);
  notices_.Add(Notice::Level::kError, NameOf(endpoint.config->key) + ": " +
                                          OriginText(endpoint.config->origin) +
                                          " answered 410 Gone: paused, nothing is lost; correct "
                                          "post_url, and ejabberdctl reload_config or "
                                          "offline_post_resume resumes");
}

}  // namespace offline_post
