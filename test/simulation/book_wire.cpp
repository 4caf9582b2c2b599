// The book's second half: endpoints, their origins, and what goes over the wire.
#include <algorithm>
#include <charconv>
#include <utility>

#include "book.hpp"

namespace offline_post::simulation {

namespace {

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The table of DESIGN.md once more, apart from ClassifyStatus.
OutcomeClass Meaning(const Answer& answer) {
  if (!answer.failure.empty()) return OutcomeClass::kTrouble;
  const int status = answer.status;
  if (status / 100 == 2) return OutcomeClass::kDelivered;
  for (const int refusal : {400, 413, 414, 415, 422}) {
    if (status == refusal) return OutcomeClass::kRefused;
  }
  if (status == 410) return OutcomeClass::kGone;
  if (status == 408 || status == 425 || status == 429) return OutcomeClass::kTrouble;
  if (status / 100 == 3 || status / 100 == 4) return OutcomeClass::kMisconfigured;
  return OutcomeClass::kTrouble;
}

std::string HeaderOf(const Request& request, std::string_view name) {
  for (const std::string& header : request.headers) {
    if (header.rfind(name, 0) == 0) return header.substr(name.size());
  }
  return "";
}

}  // namespace

std::vector<Entry*> Book::Carried(const Request& request) {
  std::vector<Entry*> carried;
  Event named;
  for (const std::string& id : request.event_ids) {
    named.id = id;
    carried.push_back(&Find(named));
  }
  if (!carried.empty()) return carried;
  named.id = HeaderOf(request, "webhook-id: ");
  carried.push_back(&Find(named));
  return carried;
}

int Book::Limit(const OriginSeen& origin) {
  int limit = 1;
  for (const EndpointId id : origin.sites) {
    limit = std::max(limit, sites_.at(id).config->max_connections);
  }
  return limit;
}

// Origins that nobody uses; what is in flight counts on until it ends.
void Book::Forget() {
  std::erase_if(origins_, [](const auto& known) {
    return known.second->sites.empty() && known.second->in_flight == 0;
  });
}

void Book::Configured(EndpointId id, const std::shared_ptr<const Endpoint>& config) {
  Site& site = sites_.at(id);
  if (site.origin) {
    site.origin->sites.erase(id);
    site.origin->breaker.SetLimit(Limit(*site.origin));
  }
  const bool other_url = site.paused_url != Fingerprint(config->post_url);
  if (site.pause == Pause::kGone && (site.config || other_url)) site.pause = Pause::kNone;
  if (!site.config && clock_.now >= site.removed + Engine::kReturnMs) ForgetShared(id);
  site.config = config;
  site.configured = clock_.now;
  std::shared_ptr<OriginSeen>& origin = origins_[config->origin.host];
  if (!origin) origin = std::make_shared<OriginSeen>(config->origin.host);
  origin->sites.insert(id);
  origin->breaker.SetLimit(Limit(*origin));
  origin->breaker.Hasten();
  site.origin = origin;
  Forget();
  Unhalve(site);
  site.gate.Reset("the gate of endpoint " + std::to_string(id));
  site.gate.SetLimit(config->max_connections);
}

void Book::Removed(EndpointId id) {
  Site& site = sites_.at(id);
  if (!site.config) return;
  Unhalve(site);
  site.origin->sites.erase(id);
  site.origin->breaker.SetLimit(Limit(*site.origin));
  Forget();
  site.origin = nullptr;
  site.removed = clock_.now;
  site.kept_for = site.config->schedule.max_age_ms;
  site.config = nullptr;
}

void Book::Resumed(EndpointId id) {
  Site& site = sites_.at(id);
  site.pause = Pause::kNone;
  if (!site.config) return;
  site.gate.Hasten();
  site.origin->breaker.Hasten();
}

// Once, each: what fails again meanwhile waits after the schedule. As many as the engine knows of:
// that a ruined file has cost some it may hear later.
void Book::Hastened(EndpointId id) {
  Site& site = sites_.at(id);
  site.slices = site.ledger->pending() / Engine::kSlice + 1;
  site.gate.Hasten();
  site.origin->breaker.Hasten();
}

void Book::CheckPayload(const Request& request, const std::vector<Entry*>& carried,
                        const Site& site) const {
  const Entry& first = *carried.front();
  if (request.endpoint != site.config) Fail(Say(first) + " was sent to a replaced configuration");
  if (request.event_ids.empty()) {
    if (!Contains(request.body, "to=" + first.event->to.user + "&") ||
        !Contains(request.body, "&body=b0dy%20" + first.event->message_id) ||
        !Contains(request.body, "&access_token=" + site.config->auth_token)) {
      Fail(Say(first) + " was sent with a wrong body");
    }
    return;
  }
  const std::string id = HeaderOf(request, "webhook-id: ");
  const bool of_many = id.rfind("batch_", 0) == 0 && id.size() == 38;
  if (carried.size() == 1 ? id != first.event->id : !of_many) Fail("a batch has a wrong id: " + id);
  std::size_t at = 0;
  for (const Entry* entry : carried) {
    for (const std::string& part :
         {"\"id\":\"" + entry->event->id + "\"", "\"body\":\"b0dy " + entry->event->message_id,
          "\"access_token\":\"" + site.config->auth_token}) {
      at = request.body.find(part, at);
      if (at == std::string::npos)
        Fail(Say(*entry) + " was sent in a batch with a wrong body: " + request.body);
    }
  }
  if (Contains(request.body.substr(at), "\"id\":")) Fail("a batch has more than it names");
}

// What must hold for each event of a request.
void Book::CheckSent(const Request& request, Sequence sequence, Entry& entry, Site& site) {
  if (trace_) {
    Trace(Say(entry) + " is sent in request " + std::to_string(request.id) + " to " +
          request.endpoint->post_url);
  }
  if (entry.place != Place::kPending) Fail(Say(entry) + " was sent after its end");
  if (!entry.committed) Fail(Say(entry) + " was sent before its commit");
  if (!entry.leased) Fail(Say(entry) + " was sent without a lease");
  if (entry.flight) Fail(Say(entry) + " was sent twice at a time");
  if (entry.answered) Fail(Say(entry) + " was sent again after a 2xx");
  if (entry.undisposed) Fail(Say(entry) + " failed and was sent again at once");
  if (sequence != entry.sequence) Fail(Say(entry) + ": wrong sequence");
  if (!site.config) Fail(Say(entry) + " was sent to a removed endpoint");
  if (site.pause != Pause::kNone) Fail(Say(entry) + " was sent to a paused endpoint");
  if (clock_.now < entry.not_before) {
    Fail(Say(entry) + " was sent " + std::to_string(entry.not_before - clock_.now) + " ms early");
  }
  if (entry.lane != 0 && !entry.out_of_order && *lanes_[entry.lane].begin() != entry.sequence) {
    Fail(Say(entry) + " overtakes sequence " + std::to_string(*lanes_[entry.lane].begin()));
  }
  const auto lifetime = LifetimeOf(site.config->schedule, entry.event->kind);
  if (lifetime && clock_.now > entry.accepted + *lifetime) {
    Fail(Say(entry) + " was sent " + std::to_string(clock_.now - entry.accepted) +
         " ms after its acceptance, and lives for " + std::to_string(*lifetime));
  }
  CheckOrder(entry);
  CheckMayLeave(entry, site);
}

void Book::Sent(const Request& request) {
  const std::vector<Entry*> carried = Carried(request);
  Site& site = sites_.at(carried.front()->endpoint);
  if (request.deliveries.size() != carried.size())
    Fail("a request carries another number of events than deliveries");
  for (std::size_t i = 0; i < carried.size(); ++i) {
    if (carried[i]->endpoint != site.id) Fail(Say(*carried[i]) + " was sent for another endpoint");
    CheckSent(request, request.deliveries[i], *carried[i], site);
  }
  CheckBatch(request, carried, site);
  CheckPayload(request, carried, site);
  OriginSeen& origin = *site.origin;
  origin.breaker.Send(clock_.now, request.id, origin.in_flight);
  site.gate.Send(clock_.now, request.id, site.in_flight);
  ++origin.in_flight;
  ++site.in_flight;
  site.out += static_cast<int>(carried.size());
  // A lowered limit may be exceeded by what is out already, and by a probe.
  if (++wire_[site.config->origin.host] > Limit(origin) && !origin.breaker.open()) {
    Fail("more connections to " + site.config->origin.host +
         " than its endpoints allow: " + std::to_string(wire_[site.config->origin.host]));
  }
  flights_[request.id] = {site.origin, site.config};
  for (Entry* entry : carried) {
    entry->flight = request.id;
    entry->half_of = 0;
    entry->most = 0;
    site.halves.erase(NumberOf(*entry));
  }
}

void Book::EndFlight(const Request& request, const std::vector<Entry*>& carried) {
  Site& site = sites_.at(carried.front()->endpoint);
  for (Entry* entry : carried) {
    entry->flight.reset();
    if (entry->event->topic == 0 || EndsCall(*entry->event)) continue;
    // The later one that has overtaken it has ended: unless this one ends, too, it is the newest.
    std::size_t& newest = topics_[{entry->endpoint, entry->event->topic}].newest;
    if (newest == 0 || entries_[newest - 1].place != Place::kPending) newest = NumberOf(*entry) + 1;
  }
  --wire_[request.endpoint->origin.host];
  --site.in_flight;
  site.out -= static_cast<int>(carried.size());
  --flights_.at(request.id).origin->in_flight;
}

void Book::Answering(const Request& request, const Fate& fate, Millis retry_after) {
  const Answer& answer = fate.answer;
  const OutcomeClass kind = fate.unreadable ? OutcomeClass::kTrouble : Meaning(answer);
  Flight flight = flights_.at(request.id);
  const std::vector<Entry*> carried = Carried(request);
  Site& site = sites_.at(carried.front()->endpoint);
  if (trace_) {
    Trace("request " + std::to_string(request.id) + " ends: HTTP " + std::to_string(answer.status) +
          " " + answer.failure + answer.body);
  }
  EndFlight(request, carried);
  flights_.erase(request.id);
  const bool current = flight.config == site.config;
  // What fails out of order is no news of the origin.
  std::optional<Sequence> own;
  if (!carried.front()->out_of_order) own = request.deliveries.front();
  // The breaker may honour what either configuration allows.
  const Millis bounded = std::min({retry_after, flight.config->schedule.waits_ms.back(),
                                   site.config->schedule.waits_ms.back()});
  if (kind == OutcomeClass::kTrouble) {
    if (current) site.gate.Cancelled(request.id);
    flight.origin->breaker.Trouble(clock_.now, request.id, own, bounded);
  } else {
    flight.origin->breaker.Alive(request.id);
    if (current && kind == OutcomeClass::kMisconfigured) {
      site.gate.Trouble(clock_.now, request.id, own, bounded);
    } else if (current) {
      site.gate.Alive(request.id);
    }
  }
  if (kind == OutcomeClass::kRefused && carried.size() > 1) {
    if (current) Halve(request, carried, site);
    return;
  }
  // First what was delivered: the others failed beside it.
  std::vector<std::pair<std::size_t, Said>> results;
  for (std::size_t i = 0; i < carried.size(); ++i) {
    Said said{kind, answer.failure.empty() ? answer.status : 0, false};
    if (!fate.said.empty()) said = fate.said[i];
    results.emplace_back(i, said);
  }
  std::stable_partition(results.begin(), results.end(), [](const auto& result) {
    return result.second.kind == OutcomeClass::kDelivered;
  });
  for (const auto& [i, said] : results) {
    const bool blames =
        said.kind == OutcomeClass::kGone || said.kind == OutcomeClass::kMisconfigured;
    if (blames && !current) continue;  // of what was replaced meanwhile
    carried[i]->last_alone = carried.size() == 1 || !fate.said.empty();
    AnswerFor(*carried[i], *flight.origin, said, retry_after);
  }
  if (kind == OutcomeClass::kGone && current && site.pause == Pause::kNone) {
    site.pause = Pause::kGone;
    site.paused_url = Fingerprint(site.config->post_url);
  }
}

void Book::AnswerFor(Entry& entry, OriginSeen& origin, const Said& said, Millis retry_after) {
  Site& site = sites_.at(entry.endpoint);
  const auto failed = [&](std::uint64_t others_delivered) {
    if (entry.failures == 0 || others_delivered > entry.delivered_at_failure) ++entry.failures;
    entry.delivered_at_failure = delivered_;
    entry.undisposed = true;
  };
  ++entry.attempts;
  entry.last = said.kind;
  entry.last_status = said.status;
  entry.retry_after = retry_after;
  switch (said.kind) {
    case OutcomeClass::kDelivered:
      entry.answered = true;
      ++site.delivered_ever;
      site.delivered_at = origin.delivered_at = ++delivered_;
      break;
    case OutcomeClass::kGone:
      break;
    case OutcomeClass::kMisconfigured:
      if (entry.misconfigured == 0 || site.delivered_ever > entry.others_delivered)
        ++entry.misconfigured;
      entry.others_delivered = site.delivered_ever;
      failed(site.delivered_at);
      break;
    case OutcomeClass::kTrouble:
      failed(origin.delivered_at);
      break;
    case OutcomeClass::kRefused:
      entry.undisposed = true;
      break;
  }
}

void Book::Settled(const Request& request) {
  for (const Entry* entry : Carried(request)) {
    if (entry->answered && entry->place == Place::kPending)
      Fail(Say(*entry) + " was answered 2xx, and is not delivered");
    if (entry->undisposed)
      Fail(Say(*entry) + " was forgotten after HTTP " + std::to_string(entry->last_status));
  }
}

void Book::Cancelled(const Request& request) {
  const std::vector<Entry*> carried = Carried(request);
  EndFlight(request, carried);
  const Flight& flight = flights_.at(request.id);
  flight.origin->breaker.Cancelled(request.id);
  sites_.at(carried.front()->endpoint).gate.Cancelled(request.id);
  flights_.erase(request.id);
}

void Book::Received(Entry& entry) {
  if (++entry.received > 1) ++doubles_;
}

int Book::in_flight(const std::string& host) const {
  const auto found = wire_.find(host);
  return found == wire_.end() ? 0 : found->second;
}

}  // namespace offline_post::simulation
