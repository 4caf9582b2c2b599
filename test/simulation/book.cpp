// The book's first half: events, endpoints, and what the outbox is told.
#include "book.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <utility>

#include "engine/engine.hpp"
#include "topics.hpp"

namespace offline_post::simulation {

namespace {

bool StartsWith(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

}  // namespace

void Book::Trace(const std::string& what) const {
  if (trace_) std::printf("%10lld  %s\n", static_cast<long long>(clock_.now), what.c_str());
}

std::string Book::Say(const Entry& entry) const {
  return entry.event->id + " (endpoint " + std::to_string(entry.endpoint) + ", sequence " +
         std::to_string(entry.sequence) + ", " + entry.event->kind + " to " + entry.event->to.user +
         ", topic " + std::to_string(entry.event->topic) + ", attempts " +
         std::to_string(entry.attempts) + ")";
}

std::shared_ptr<Event> Book::NewEvent(int user, std::size_t bytes) {
  const std::string number = std::to_string(entries_.size());
  auto event = std::make_shared<Event>();
  event->id = "msg_" + number;
  event->accepted_unix_ms = clock_.UnixMs();
  event->to = {"user" + std::to_string(user), "example.org", ""};
  event->from = {"romeo", "example.org", "orchard"};
  event->message_id = number;
  event->body = "b0dy " + number + std::string(bytes, 'x');
  return event;
}

Entry& Book::Find(const Event& event) {
  std::size_t number = 0;
  std::from_chars(event.id.data() + 4, event.id.data() + event.id.size(), number);
  if (number >= entries_.size() || entries_[number].event->id != event.id)
    Fail("nobody knows an event " + event.id);
  return entries_[number];
}

void Book::Place(Entry& entry, enum Place place) {
  Site& site = sites_.at(entry.endpoint);
  --site.count[static_cast<std::size_t>(entry.place)];
  ++site.count[static_cast<std::size_t>(place)];
  const std::uint64_t bytes = EventBytes(*entry.event);
  if (entry.place == Place::kPending) site.pending_bytes -= bytes;
  if (place == Place::kPending) site.pending_bytes += bytes;
  entry.place = place;
  site.waited_for.erase(NumberOf(entry));
  site.out_of_order.erase(NumberOf(entry));
}

// It is pending, and has failed. In a lane of its own nobody waits for it.
void Book::CountFailing(const Entry& entry) {
  Site& site = sites_.at(entry.endpoint);
  site.waited_for.erase(NumberOf(entry));
  if (entry.out_of_order) {
    site.out_of_order.insert(NumberOf(entry));
  } else if (entry.failures > 0 && entry.recipient != entry.sequence) {
    site.waited_for.insert(NumberOf(entry));
  }
}

void Book::Submitted(EndpointId id, const std::shared_ptr<const Event>& event) {
  Entry entry;
  entry.event = event;
  entry.endpoint = id;
  entry.accepted = clock_.now;
  Site& site = sites_.at(id);
  // An order is kept per endpoint, and in it per user or topic.
  if (const std::uint64_t key = LaneKeyOf(*site.config, *event); key != 0)
    entry.lane = (std::uint64_t{id} << 56U) ^ (key >> 8U);
  ++site.count[static_cast<std::size_t>(Place::kPending)];
  site.pending_bytes += EventBytes(*event);
  entries_.push_back(std::move(entry));
  if (event->topic == 0) return;
  if (EndsCall(*event)) {
    EnterEnd(entries_.back());
  } else {
    EnterTopic(entries_.back());
  }
}

void Book::ToldCommitted(const Event& event, bool durable) {
  const Entry& entry = Find(event);
  if (!entry.committed) Fail(Say(entry) + " was called committed before its commit");
  if (durable && !entry.durable) Fail(Say(entry) + " was called durable, and is not");
}

void Book::Appended(const Delivery& delivery) {
  Entry& entry = Find(*delivery.event);
  if (entry.sequence != 0) Fail(Say(entry) + " was appended twice");
  entry.sequence = delivery.sequence;
  if (delivery.accepted_ms != clock_.MonotonicMs()) Fail(Say(entry) + " has a wrong age");
  if (delivery.attempts != 0) Fail(Say(entry) + " begins with attempts");
  entry.recipient = delivery.recipient;
  if (entry.event->topic != 0) {
    TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
    topic.latest = std::max(topic.latest, entry.sequence);
  }
  EnterShared(entry, false);
  if (entry.lane == 0) return;
  if (delivery.recipient != LaneKeyOf(*sites_.at(entry.endpoint).config, *entry.event))
    Fail(Say(entry) + ": wrong recipient");
  lanes_[entry.lane].insert(entry.sequence);
}

void Book::Committed(const Delivery& delivery, bool durable) {
  Entry& entry = Find(*delivery.event);
  entry.committed = true;
  entry.durable = durable;
  if (trace_) Trace(Say(entry) + (durable ? " is committed" : " is kept in memory"));
}

void Book::AllDurable() {
  for (Entry& entry : entries_) {
    if (entry.committed) entry.durable = true;
  }
}

void Book::Leased(const Delivery& delivery) {
  Entry& entry = Find(*delivery.event);
  Site& site = sites_.at(entry.endpoint);
  if (entry.leased) Fail(Say(entry) + " was leased twice");
  if (delivery.recipient != entry.recipient || IsOutOfOrder(delivery) != entry.out_of_order)
    Fail(Say(entry) + " has another ordering key");
  entry.leased = true;
  entry.put_off = false;
  entry.known = entry.out_of_order;
  entry.attempts = delivery.attempts;
  entry.accepted = clock_.FromMonotonic(delivery.accepted_ms);
  entry.blamed = delivery.misconfigured > 0;
  ++site.leased;
  const std::size_t bytes = Budget::Weight(delivery);
  leased_bytes_ += bytes;
  largest_bytes_ = std::max(largest_bytes_, bytes);
  CheckMemory();
  site.held.insert(NumberOf(entry));
  if (trace_) Trace(Say(entry) + " is leased");
  if (site.leased > site.most_leased) {
    Fail("the engine holds " + std::to_string(site.leased) + " deliveries of one endpoint");
  }
}

// A claim may bring a delivery more than its share, and one of a probe comes whatever is held.
void Book::CheckMemory() const {
  const std::size_t most = memory_bytes_ + 2 * sites_.size() * largest_bytes_;
  if (leased_bytes_ > most) {
    Fail("the engine holds " + std::to_string(leased_bytes_) + " bytes, and may hold " +
         std::to_string(memory_bytes_));
  }
}

Entry& Book::Owned(const Delivery& delivery, const char* what, bool counted) {
  Entry& entry = Find(*delivery.event);
  if (!entry.leased) Fail(Say(entry) + " was " + what + " without a lease");
  if (entry.flight) Fail(Say(entry) + " was " + what + " while in flight");
  if (entry.sequence != delivery.sequence || entry.endpoint != delivery.endpoint)
    Fail(Say(entry) + " was " + what + " under another name");
  if (counted && entry.attempts != delivery.attempts) {
    Fail(Say(entry) + " was " + what + " with " + std::to_string(delivery.attempts) + " attempts");
  }
  entry.leased = false;
  entry.half_of = 0;
  entry.most = 0;
  Site& site = sites_.at(entry.endpoint);
  --site.leased;
  leased_bytes_ -= Budget::Weight(delivery);
  site.held.erase(NumberOf(entry));
  site.halves.erase(NumberOf(entry));
  return entry;
}

void Book::Leave(Entry& entry) {
  if (entry.lane != 0 && !entry.out_of_order) lanes_[entry.lane].erase(entry.sequence);
  LeaveShared(entry);
}

void Book::Finished(const Delivery& delivery, Final how, const Note& note) {
  Entry& entry = Owned(delivery, "finished", how == Final::kDelivered || how == Final::kDead);
  switch (how) {
    case Final::kDelivered:
      if (!entry.answered) Fail(Say(entry) + " was called delivered, and no 2xx came");
      if (entry.weighed && delivery.stands_for != entry.weight) {
        Fail(Say(entry) + " stands for " + std::to_string(entry.weight) + " events, and said " +
             std::to_string(delivery.stands_for));
      }
      Place(entry, Place::kDelivered);
      break;
    case Final::kDead:
      CheckDeath(entry, delivery, note);
      entry.died = clock_.now;
      Place(entry, Place::kDead);
      break;
    case Final::kCancelled:
    case Final::kPurged:
      CheckUnanswered(entry, how);
      Place(entry, how == Final::kPurged ? Place::kPurged : Place::kCancelled);
      break;
  }
  entry.undisposed = false;
  Leave(entry);
  if (trace_)
    Trace(Say(entry) + " ends as " + std::to_string(static_cast<int>(how)) + ": " + note.reason);
}

void Book::CheckDeath(const Entry& entry, const Delivery& delivery, const Note& note) {
  const Site& site = sites_.at(entry.endpoint);
  const std::string died = Say(entry) + " died of \"" + note.reason + "\" ";
  if (note.reason == "endpoint removed") {
    if (site.config) Fail(died + "though the endpoint is there");
    if (clock_.now < site.removed + site.kept_for) Fail(died + "too early");
    return;
  }
  if (entry.answered) Fail(died + "though it was delivered");
  const RetrySchedule* kept = site.config ? &site.config->schedule : nullptr;
  const auto lifetime = kept != nullptr ? LifetimeOf(*kept, entry.event->kind) : std::nullopt;
  if (StartsWith(note.reason, "expired: ")) {  // when it was about to leave
    if (!lifetime) Fail(died + "without a lifetime of its kind");
    if (entry.undisposed || clock_.now <= entry.accepted + *lifetime) Fail(died + "too early");
    return;
  }
  if (!entry.undisposed) Fail(died + "without an attempt in this run");
  if (!site.config) Fail(died + "after the endpoint was removed");
  if (StartsWith(note.reason, "expired")) {
    const RetrySchedule& schedule = site.config->schedule;
    const auto wait = static_cast<std::size_t>(std::max(entry.attempts - 1, 0));
    const Millis latest = schedule.waits_ms[std::min(wait, schedule.waits_ms.size() - 1)] * 5 / 4;
    const Millis asked = std::min(entry.retry_after, schedule.waits_ms.back());
    if (clock_.now + std::max(latest, asked) + 1 <
        entry.accepted + lifetime.value_or(schedule.max_age_ms))
      Fail(died + "at an age of " + std::to_string(clock_.now - entry.accepted) + " ms");
    return;
  }
  if (note.status != entry.last_status) Fail(died + "with another status than its last");
  if (!entry.last_alone) Fail(died + "though another one may be to blame");
  if (entry.last == OutcomeClass::kRefused) return;
  if (entry.last != OutcomeClass::kMisconfigured) Fail(died + "of passing trouble");
  if (entry.misconfigured < Engine::kMisconfiguredAttempts)
    Fail(died + "while the configuration may be to blame: others were delivered between " +
         std::to_string(entry.misconfigured) + " such answers, not " +
         std::to_string(delivery.misconfigured));
}

void Book::SliceHastened(EndpointId id) {
  std::uint64_t& slices = sites_.at(id).slices;
  if (slices == 0) Fail("endpoint " + std::to_string(id) + " is hastened, and nobody wants that");
  --slices;
}

void Book::Hastened(const Delivery& delivery) { Find(*delivery.event).not_before = 0; }

void Book::Rescheduled(const Delivery& delivery, Millis due, const Note& note) {
  Entry& entry = Owned(delivery, "rescheduled");
  if (IsPutOff(entry, sites_.at(entry.endpoint), due - clock_.MonotonicMs())) {
    entry.not_before = clock_.FromMonotonic(due);
    return;
  }
  if (WaitsForSibling(entry)) {
    entry.put_off = entry.ever_put_off = true;
    return;
  }
  CheckRetry(entry, delivery, due, note);
  if (entry.failures >= Engine::kFailuresInOrder && !OffersCall(*entry.event) &&
      entry.recipient == RecipientKey(*entry.event))
    Fail(Say(entry) + " holds up its recipient's others, which the backend would accept");
  CountFailing(entry);
}

void Book::LeftOrder(const Delivery& delivery, Millis due, const Note& note) {
  Entry& entry = Owned(delivery, "left its order");
  CheckRetry(entry, delivery, due, note);
  if (entry.recipient != RecipientKey(*entry.event) || OffersCall(*entry.event))
    Fail(Say(entry) + " left an order that it was not to leave");
  if (entry.failures < Engine::kFailuresInOrder) {
    Fail(Say(entry) + " left its recipient's order after " + std::to_string(entry.failures) +
         " failures beside others' deliveries");
  }
  Leave(entry);
  entry.out_of_order = entry.left_once = entry.known = true;
  entry.recipient = KeyOutOfOrder(entry.sequence);
  CountFailing(entry);
  ++left_order_;
  if (trace_) Trace(Say(entry) + " leaves its recipient's order");
}

void Book::CheckRetry(Entry& entry, const Delivery& delivery, Millis due, const Note& note) {
  if (!entry.undisposed) Fail(Say(entry) + " was rescheduled without a failure");
  if (entry.last != OutcomeClass::kTrouble && entry.last != OutcomeClass::kMisconfigured)
    Fail(Say(entry) + " was rescheduled after " + note.reason);
  entry.undisposed = false;
  const RetrySchedule& schedule = sites_.at(entry.endpoint).config->schedule;
  const auto index = std::min(static_cast<std::size_t>(entry.attempts), schedule.waits_ms.size());
  const Millis own = schedule.waits_ms[index - 1];
  const Millis asked = std::min(entry.retry_after, schedule.waits_ms.back());
  const Millis wait = due - clock_.MonotonicMs();
  const Millis least = std::max(own * 3 / 4 - 1, asked);
  const Millis most = std::max(own * 5 / 4 + 1, asked);
  if (wait < least || wait > most) {
    Fail(Say(entry) + " waits " + std::to_string(wait) + " ms, not " + std::to_string(least) +
         " to " + std::to_string(most));
  }
  const Millis max_age = LifetimeOf(schedule, entry.event->kind).value_or(schedule.max_age_ms);
  if (clock_.now - entry.accepted > max_age) Fail(Say(entry) + " is rescheduled beyond max_age");
  if (delivery.failures != entry.failures) {
    Fail(Say(entry) + " failed " + std::to_string(entry.failures) +
         " times beside others' deliveries, and counts " + std::to_string(delivery.failures));
  }
  if (delivery.misconfigured > entry.misconfigured)
    Fail(Say(entry) + " counts misconfigured answers that say nothing");
  if (delivery.misconfigured >= Engine::kMisconfiguredAttempts)
    Fail(Say(entry) + " is rescheduled after too many misconfigured answers");
  entry.not_before = clock_.now + wait;
  if (trace_) Trace(Say(entry) + " waits " + std::to_string(wait) + " ms after " + note.reason);
}

void Book::Parked(const Delivery& delivery) {
  const Entry& entry = Owned(delivery, "parked");
  if (entry.undisposed) Fail(Say(entry) + " failed and was parked, not rescheduled");
  if (entry.answered) Fail(Say(entry) + " was delivered and parked");
  if (trace_) Trace(Say(entry) + " is parked");
}

void Book::Purging(const DeadPurge& purge) {
  const Site& site = sites_.at(purge.endpoint);
  if (!site.config) return;
  const Retention& retention = site.config->retention;
  if (clock_.FromMonotonic(purge.died_before_ms) > clock_.now - retention.age_ms)
    Fail("dead letters are purged before their retention ends");
  const auto check = [](std::uint64_t excess, std::uint64_t has, std::uint64_t may, auto what) {
    if (excess > 0 && has < excess + may) {
      Fail(std::to_string(excess) + what + std::to_string(has) + " are purged, though " +
           std::to_string(may) + " may be kept");
    }
  };
  check(purge.letters, site.count[static_cast<std::size_t>(Place::kDead)], retention.letters,
        " dead letters of ");
  check(purge.bytes, site.ledger->Snapshot().dead_bytes, retention.bytes,
        " bytes of dead letters of ");
}

void Book::Replayed(const Delivery& delivery, std::uint64_t tag) {
  Entry& entry = Find(*delivery.event);
  if (entry.replayed_by == tag) Fail(Say(entry) + " was replayed twice by one replay");
  entry.replayed_by = tag;
  if (entry.place != Place::kDead) Fail(Say(entry) + " was replayed, and is not dead");
  const Millis accepted = clock_.FromMonotonic(delivery.accepted_ms);
  if (accepted < entry.died || accepted > clock_.now)
    Fail(Say(entry) + ": replayed with a wrong age");
  Place(entry, Place::kPending);
  if (delivery.recipient != (entry.out_of_order ? RecipientKey(*entry.event) : entry.recipient))
    Fail(Say(entry) + " was replayed with another ordering key");
  entry.sequence = delivery.sequence;
  entry.recipient = delivery.recipient;
  entry.out_of_order = entry.known = false;
  entry.failures = 0;
  entry.answered = false;
  entry.not_before = 0;
  entry.misconfigured = 0;
  entry.withdrawn = entry.superseded = entry.overtaken = entry.must_purge = false;
  entry.replayed = true;
  entry.weighed = false;
  if (entry.event->topic != 0) {
    TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
    topic.latest = std::max(topic.latest, entry.sequence);
    topic.replayed = true;
  }
  EnterShared(entry, true);
  if (entry.lane != 0) lanes_[entry.lane].insert(entry.sequence);
}

void Book::Moved(const Delivery& delivery, enum Place to) {
  Entry& entry = Find(*delivery.event);
  if (to == Place::kLost) {
    lost_ = clock_.now;
    Leave(entry);
    sites_.at(entry.endpoint).lost = true;
  }
  entry.by_topic = false;
  Place(entry, to);
}

void Book::PauseSet(EndpointId id, Pause pause) {
  Site& site = sites_.at(id);
  site.stored_pause = pause;
  if (pause == Pause::kNone && site.pause == Pause::kOperator)
    Fail("the operator's pause was ended by somebody else");
}

void Book::Claimed(EndpointId id, std::size_t limit) {
  Site& site = sites_.at(id);
  const std::size_t most = site.config ? WindowOf(*site.config) : Engine::kWindow;
  site.most_leased = std::max(site.most_leased, most);
  if (limit > most) Fail("the engine asks for " + std::to_string(limit) + " deliveries at once");
}

void Book::Reopened(const Disk& disk) {
  lanes_.clear();
  leased_bytes_ = 0;
  shared_.clear();
  woken_.clear();
  flights_.clear();
  wire_.clear();
  origins_.clear();
  std::vector<char> kept(entries_.size(), 0);
  for (auto& [id, site] : sites_) {
    site.config = nullptr;
    site.origin = nullptr;
    site.in_flight = 0;
    site.out = 0;
    site.held.clear();
    Unhalve(site);
    site.leased = 0;
    site.most_leased = 0;
    site.delivered_at = 0;
    site.lost = false;
    site.gate = BreakerModel("gate");
    site.removed = clock_.now;
    site.kept_for = RetrySchedule().max_age_ms;
  }
  const auto keep = [&](const Delivery& delivery, enum Place place) {
    Entry& entry = Find(*delivery.event);
    kept[static_cast<std::size_t>(&entry - entries_.data())] = 1;
    Place(entry, place);
    entry.sequence = delivery.sequence;
    entry.recipient = delivery.recipient;
    entry.out_of_order = IsOutOfOrder(delivery);
    entry.known = false;
    entry.answered = false;
    if (entry.out_of_order && !entry.left_once) Fail(Say(entry) + " is out of order after a crash");
  };
  for (const auto& [id, store] : disk.stores) {
    for (const auto& [sequence, row] : store.rows) {
      keep(row.delivery, Place::kPending);
      Entry& entry = Find(*row.delivery.event);
      entry.misconfigured = std::max(entry.misconfigured, row.delivery.misconfigured);
      entry.others_delivered = 0;
      // Of one that was never tried nobody knows whether it waits for its topic's interval or for
      // a sibling's, whose end sends it.
      const bool for_sibling =
          entry.ever_put_off || (SharesOrder(sites_.at(id).key) && row.delivery.attempts == 0);
      entry.not_before = row.due && !for_sibling ? *row.due - disk.skew : 0;
      entry.failures = row.delivery.failures;
      CountFailing(entry);
      EnterShared(entry, false);
      if (entry.lane != 0 && !entry.out_of_order) lanes_[entry.lane].insert(sequence);
    }
    for (const auto& [sequence, letter] : store.dead) {
      keep(letter.letter.delivery, Place::kDead);
      Find(*letter.letter.delivery.event).died = letter.died - disk.skew;
    }
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    entry.leased = entry.undisposed = false;
    entry.flight.reset();
    entry.replayed_by = 0;
    if (kept[i] != 0) continue;
    if (!entry.durable) {
      Place(entry, Place::kGone);
    } else if (entry.place == Place::kPending || entry.place == Place::kDead) {
      Fail(Say(entry) + " was committed, and is gone after a crash");
    }
  }
  ReopenTopics(disk);
}

}  // namespace offline_post::simulation
