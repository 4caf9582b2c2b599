// The book's third part: what was withdrawn, what a later event speaks for, and what must not leave
// yet.
#include <algorithm>
#include <utility>

#include "book.hpp"
#include "topics.hpp"

namespace offline_post::simulation {

namespace {

constexpr Millis kPurgeMs = 3'600'000;

bool IsMeant(const Withdrawal& withdrawal, const Event& event) {
  if (withdrawal.topic != 0) return event.topic == withdrawal.topic;
  return RecipientKey(event) == withdrawal.recipient;
}

}  // namespace

void Book::Withdrawn(EndpointId id, const Withdrawal& withdrawal) {
  if (trace_) {
    Trace("endpoint " + std::to_string(id) + ": recipient " + std::to_string(withdrawal.recipient) +
          " withdraws topic " + std::to_string(withdrawal.topic));
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (entry.endpoint != id || !IsMeant(withdrawal, *entry.event)) continue;
    const bool pending = entry.place == Place::kPending;
    const bool dead = entry.place == Place::kDead;
    if (!pending && !dead) continue;
    (withdrawal.how == Final::kPurged ? entry.may_purge : entry.may_cancel) = true;
    if (dead) {  // a replay may be under way
      entry.withdrawn_at = clock_.now;
      entry.must_purge = withdrawal.topic == 0 && withdrawal.how == Final::kPurged;
      continue;
    }
    entry.withdrawn_for_sure = entry.withdrawn && entry.withdrawn_for_sure;
    entry.withdrawn = true;
    entry.withdrawn_at = clock_.now;
    unsure_.push_back(i);
    const bool found = entry.recipient == withdrawal.recipient || entry.known;
    if (withdrawal.topic == 0 && found) hastened_.push_back(i);
  }
}

void Book::BecomeSure() {
  for (const std::size_t i : unsure_) {
    Entry& entry = entries_[i];
    entry.withdrawn_for_sure = entry.withdrawn;
    entry.superseded_for_sure = entry.superseded;
  }
  unsure_.clear();
}

const Entry* Book::Overdue(EndpointId id, Millis until) {
  std::erase_if(hastened_, [this](std::size_t i) {
    return entries_[i].place != Place::kPending || !entries_[i].withdrawn;
  });
  for (const std::size_t i : hastened_) {
    const Entry& entry = entries_[i];
    if (entry.endpoint == id && !entry.leased && entry.withdrawn_at < until) return &entry;
  }
  return nullptr;
}

void Book::CheckPurged() const {
  for (const Entry& entry : entries_) {
    if (entry.must_purge && entry.place == Place::kDead &&
        entry.withdrawn_at < clock_.now - kPurgeMs)
      Fail(Say(entry) + " is a dead letter whose account is gone");
  }
}

void Book::PurgedFor(const Delivery& letter) {
  Entry& entry = Find(*letter.event);
  if (!entry.may_purge) Fail(Say(entry) + " was purged for nobody");
  Place(entry, Place::kPurged);
}

// The one before it waits no more.
void Book::EnterTopic(Entry& entry) {
  TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
  const std::size_t before = std::exchange(topic.newest, entries_.size());
  topic.known = true;
  entry.weighed = !topic.unsure && !topic.replayed;
  if (before == 0) return;
  Entry& earlier = entries_[before - 1];
  // The engine does not hear which ones a ruined file has cost.
  if (earlier.place == Place::kLost) entry.weighed = false;
  if (earlier.place != Place::kPending || earlier.withdrawn) return;
  if (topic.replayed || topic.unsure) {
    entry.weighed = false;
    return;
  }
  unsure_.push_back(before - 1);
  if (earlier.flight) {
    earlier.overtaken = true;
    return;
  }
  earlier.superseded = true;
  entry.weight = earlier.weight + 1;
  entry.weighed = earlier.weighed;
}

// It ends, and nobody answered.
void Book::CheckUnanswered(Entry& entry, Final how) {
  if (entry.answered) Fail(Say(entry) + " was delivered, and ends as withdrawn");
  entry.by_topic = false;
  const std::uint64_t key = entry.event->topic;
  if (how == Final::kPurged ? entry.may_purge : entry.may_cancel) {
    // Perhaps by its topic after all, and then it is counted on.
    if (key == 0 || entry.withdrawn) return;
    const auto topic = topics_.find({entry.endpoint, key});
    if (topic != topics_.end() && topic->second.newest != 0)
      entries_[topic->second.newest - 1].weighed = false;
    return;
  }
  if (how == Final::kPurged || key == 0) Fail(Say(entry) + " was cancelled by nobody");
  const TopicSeen& topic = topics_[{entry.endpoint, key}];
  if (topic.latest <= entry.sequence) Fail(Say(entry) + " was cancelled, and is its topic's last");
  entry.by_topic = true;
  if (topic.newest == 0 || entry.superseded) return;
  Entry& newest = entries_[topic.newest - 1];
  newest.weight += entry.weight;
  // What is on its way has said its number already.
  newest.weighed = newest.weighed && entry.weighed && entry.overtaken && !newest.flight;
}

void Book::CheckMayLeave(Entry& entry, const Site& site) {
  if (entry.withdrawn) Fail(Say(entry) + " was sent after it was withdrawn");
  if (entry.superseded) Fail(Say(entry) + " was sent, though a later one speaks for it");
  if (entry.event->topic == 0) return;
  TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
  if (entry.overtaken && entry.out_of_order)
    Fail(Say(entry) + " was sent again out of order, after a later one of its topic came");
  // The later one may have ended before this one's failure was known, or died and come back.
  const Entry* newest = topic.newest == 0 ? nullptr : &entries_[topic.newest - 1];
  if (entry.overtaken && newest && newest->sequence > entry.sequence &&
      newest->place == Place::kPending && !newest->replayed) {
    Fail(Say(entry) + " was sent again, though a later one waits");
  }
  const auto number = static_cast<std::size_t>(&entry - entries_.data()) + 1;
  const Millis interval = IntervalOf(*site.config, *entry.event);
  if (entry.recipient == entry.event->topic && !EndsCall(*entry.event) && topic.sent != 0 &&
      topic.sent != number && clock_.now < topic.sent_at + interval) {
    Fail(Say(entry) + " was sent " + std::to_string(clock_.now - topic.sent_at) +
         " ms after another of its topic, not " + std::to_string(interval));
  }
  topic.sent = number;
  topic.sent_at = clock_.now;
}

// Another of its topic was sent a moment ago.
bool Book::IsPutOff(const Entry& entry, const Site& site, Millis wait) {
  const bool collapses = entry.event->topic != 0 && !EndsCall(*entry.event);
  if (entry.undisposed || !collapses || !site.config) return false;
  const TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
  const Millis interval = IntervalOf(*site.config, *entry.event);
  return interval > 0 && topic.sent != 0 && clock_.now + wait == topic.sent_at + interval;
}

// What the disk says is the truth now; a mark that it did not get in time is none.
void Book::ReopenTopics(const Disk& disk) {
  topics_.clear();
  unsure_.clear();
  hastened_.clear();
  for (Entry& entry : entries_) {
    entry.must_purge = entry.overtaken = entry.replayed = false;
    if (entry.event->topic != 0 && entry.place != Place::kGone) {
      TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
      topic.latest = std::max(topic.latest, entry.sequence);
    }
    if (entry.place != Place::kPending) continue;
    entry.by_topic = false;
    const Store& store = disk.stores.at(entry.endpoint);
    const auto& marks = store.endpoint.withdrawals;
    const bool marked = std::any_of(marks.begin(), marks.end(), [&entry](const auto& mark) {
      return mark.until >= entry.sequence &&
             (mark.key == MarkKey(Marked::kTopic, entry.event->topic) ||
              mark.key == MarkKey(Marked::kRecipient, RecipientKey(*entry.event)));
    });
    entry.withdrawn = (entry.withdrawn && entry.withdrawn_for_sure) || marked;
    entry.superseded = entry.superseded && entry.superseded_for_sure;
    const std::uint32_t kept = store.rows.at(entry.sequence).delivery.stands_for;
    if (entry.weighed && kept > entry.weight)
      Fail(Say(entry) + " stands for more events after a crash than before: " +
           std::to_string(kept) + ", not " + std::to_string(entry.weight));
    entry.weight = kept;
    entry.weighed = false;
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.event->topic == 0 || EndsCall(*entry.event)) continue;
    TopicSeen& topic = topics_[{entry.endpoint, entry.event->topic}];
    const bool newest = topic.newest == 0 || entries_[topic.newest - 1].sequence < entry.sequence;
    if (entry.place == Place::kPending && newest) topic.newest = i + 1;
    if (entry.place == Place::kCancelled && entry.by_topic && topic.latest <= entry.sequence)
      Fail(Say(entry) + " was cancelled for a later one, which is gone after a crash");
  }
}

}  // namespace offline_post::simulation
