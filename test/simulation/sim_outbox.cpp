// The simulated outbox's first half: commands, batches, faults.
#include "sim_outbox.hpp"

#include <algorithm>
#include <utility>

#include "engine/shared_order.hpp"

namespace offline_post::simulation {

SimOutbox::SimOutbox(Disk& disk, const DiskHabits& habits, const SimClock& clock, Random& random,
                     Book& book, Fuse& fuse, const Switches& switches)
    : disk_(disk),
      habits_(habits),
      clock_(clock),
      random_(random),
      book_(book),
      fuse_(fuse),
      switches_(switches) {
  for (const auto& [id, store] : disk_.stores) {
    indexes_[id];
    for (const auto& [sequence, row] : store.rows) Enter(row.delivery, row.due);
  }
}

std::optional<Millis> SimOutbox::NextMs() const {
  if (!ready_.empty()) return clock_.now;
  return batch_ms_;
}

std::vector<StoredEndpoint> SimOutbox::Stored() const {
  std::vector<StoredEndpoint> all;
  for (const auto& [id, store] : disk_.stores) {
    StoredEndpoint& stored = all.emplace_back(store.endpoint);
    for (const auto& [sequence, row] : store.rows) {
      const Delivery& delivery = row.delivery;
      if (IsOutOfOrder(delivery)) {
        ++stored.out_of_order;
      } else if (delivery.failures > 0 && delivery.recipient != sequence) {
        ++stored.recipients_waiting;
      }
    }
  }
  return all;
}

std::vector<StoredLane> SimOutbox::TakeStoredLanes() {
  std::vector<StoredLane> lanes;
  for (const auto& [id, store] : disk_.stores) {
    if (!SharesOrder(store.endpoint.key)) continue;
    for (const auto& [sequence, row] : store.rows)
      lanes.push_back({id, sequence, row.delivery.recipient, row.delivery.attempts > 0});
  }
  return lanes;
}

const Store* SimOutbox::store(EndpointId endpoint) const {
  const auto found = disk_.stores.find(endpoint);
  return found == disk_.stores.end() ? nullptr : &found->second;
}

void SimOutbox::Command(bool lazy, Work work) {
  queue_.push_back(std::move(work));
  const Millis most = lazy ? habits_.lazy_ms : habits_.commit_ms;
  const Millis at = clock_.now + (most == 0 ? 0 : random_.Between(0, most));
  if (!batch_ms_ || (batch_lazy_ && !lazy)) {
    batch_ms_ = batch_ms_ ? std::min(*batch_ms_, at) : at;
    batch_lazy_ = lazy;
  }
}

void SimOutbox::Register(EndpointId endpoint, const EndpointKey& key) {
  fuse_.Burn();
  indexes_[endpoint];
  Command(false, [this, endpoint, key] {
    Store& store = disk_.stores[endpoint];
    store.endpoint.id = endpoint;
    store.endpoint.key = key;
    indexes_[endpoint].claims_in_vain = 0;
  });
}

void SimOutbox::SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) {
  fuse_.Burn();
  book_.PauseSet(endpoint, pause);
  Command(false, [this, endpoint, pause, paused_url] {
    disk_.stores[endpoint].endpoint.pause = pause;
    disk_.stores[endpoint].endpoint.paused_url = paused_url;
  });
}

void SimOutbox::SetWithdrawal(EndpointId endpoint, std::uint64_t key, Sequence until, Final how) {
  fuse_.Burn();
  Command(false, [this, endpoint, key, until, how] {
    std::vector<StoredWithdrawal>& kept = disk_.stores.at(endpoint).endpoint.withdrawals;
    std::erase_if(kept, [key](const StoredWithdrawal& one) { return one.key == key; });
    kept.push_back({key, until, how});
    disk_.next = std::max(disk_.next, until + 1);  // nothing that comes later is meant
  });
}

void SimOutbox::ClearWithdrawals(EndpointId endpoint) {
  fuse_.Burn();
  Command(true, [this, endpoint] { disk_.stores.at(endpoint).endpoint.withdrawals.clear(); });
}

void SimOutbox::Hasten(EndpointId endpoint, std::uint64_t recipient) {
  fuse_.Burn();
  indexes_.at(endpoint).claims_in_vain = 0;  // a reason to look
  if (switches_.ignore_hasten) return;
  Command(false, [this, endpoint, recipient] { DoHasten(endpoint, recipient); });
}

void SimOutbox::HastenAll(EndpointId endpoint, std::size_t limit) {
  fuse_.Burn();
  book_.SliceHastened(endpoint);
  indexes_.at(endpoint).claims_in_vain = 0;
  Command(false, [this, endpoint, limit] {
    std::vector<std::uint64_t> waiting;
    for (const auto& [recipient, lane] : indexes_.at(endpoint).lanes) {
      if (lane.due && waiting.size() < limit) waiting.push_back(recipient);
    }
    for (const std::uint64_t recipient : waiting) {
      for (const Sequence sequence : indexes_.at(endpoint).lanes.at(recipient).waiting)
        book_.Hastened(disk_.stores.at(endpoint).rows.at(sequence).delivery);
      DoHasten(endpoint, recipient);
    }
  });
}

void SimOutbox::Append(Delivery delivery) {
  fuse_.Burn();
  book_.Appended(delivery);
  if (switches_.claim_before_commit) {
    DoAppend(delivery);
    return Command(false, [this, delivery] { book_.Committed(delivery, !degraded()); });
  }
  Command(false, [this, delivery = std::move(delivery)] {
    DoAppend(delivery);
    book_.Committed(delivery, !degraded());
  });
}

Ticket SimOutbox::Flush(std::vector<CommitCallback> waiting) {
  fuse_.Burn();
  const Ticket ticket = ++last_ticket_;
  Command(false, [this, ticket, waiting = std::move(waiting)] {
    const bool durable = !degraded();
    flushed_ = ticket;
    for (const CommitCallback& callback : waiting) callback(durable);
    Complete([ticket, durable](OutboxListener& to) { to.OnCommitted(ticket, durable); });
  });
  return ticket;
}

void SimOutbox::Claim(EndpointId endpoint, ClaimLimit limit) {
  fuse_.Burn();
  book_.Claimed(endpoint, limit.deliveries);
  Index& index = indexes_.at(endpoint);
  if (book_.tracing()) book_.Trace("endpoint " + std::to_string(endpoint) + " is claimed from");
  if (std::exchange(index.claiming, true)) Fail("two claims of one endpoint at a time");
  if (switches_.claim_before_commit) return DoClaim(endpoint, limit);
  Command(false, [this, endpoint, limit] { DoClaim(endpoint, limit); });
}

void SimOutbox::Finish(const Delivery& delivery, Final how, const Note& note) {
  fuse_.Burn();
  book_.Finished(delivery, how, note);
  Command(how != Final::kDead, [this, delivery, how, note] { DoFinish(delivery, how, note); });
}

void SimOutbox::Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) {
  fuse_.Burn();
  book_.Rescheduled(delivery, due_ms, note);
  Command(false, [this, delivery, due = ToStore(due_ms)] { DoReschedule(delivery, due); });
}

void SimOutbox::LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& note) {
  fuse_.Burn();
  book_.LeftOrder(delivery, due_ms, note);
  Command(false, [this, delivery, due = ToStore(due_ms)] { DoLeaveOrder(delivery, due); });
}

void SimOutbox::Park(const Delivery& delivery) {
  fuse_.Burn();
  book_.Parked(delivery);
  Command(false, [this, delivery] { EndLease(delivery, std::nullopt, true); });
}

void SimOutbox::VisitDead(const DeadVisit& visit) {
  fuse_.Burn();
  Command(false,
          [this, visit, accepted = ToStore(visit.accepted_ms)] { DoVisit(visit, accepted); });
}

void SimOutbox::PurgeDead(const DeadPurge& purge) {
  fuse_.Burn();
  book_.Purging(purge);
  DeadPurge stored = purge;
  stored.died_before_ms = ToStore(purge.died_before_ms);
  Command(false, [this, stored] { DoPurge(stored); });
}

void SimOutbox::RunBatch() {
  if (disk_.full && !degraded()) {
    image_ = std::make_unique<Disk>(disk_);
    room_short_ = random_.Percent(50);
  }
  std::size_t count = queue_.size();
  if (habits_.piecemeal) count = 1 + random_.Below(count);
  for (; count > 0; --count) {
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    work();
  }
  batch_ms_.reset();
  if (!queue_.empty()) {
    batch_ms_ = clock_.now + (habits_.commit_ms == 0 ? 0 : random_.Between(0, habits_.commit_ms));
    batch_lazy_ = false;
  }
}

bool SimOutbox::Poll(OutboxListener& listener) {
  if (batch_ms_ && *batch_ms_ <= clock_.now) RunBatch();
  std::deque<Completion> ready = std::exchange(ready_, {});
  for (const Completion& completion : ready) completion(listener);
  return !ready.empty();
}

void SimOutbox::Recover() {
  if (!degraded()) return;
  image_.reset();
  recovered_ms_ = clock_.now;
  for (auto& [id, index] : indexes_) index.claims_in_vain = 0;
  book_.AllDurable();
  // Whoever waits for what could not be read is told to look again.
  Complete([ticket = flushed_](OutboxListener& to) { to.OnCommitted(ticket, true); });
}

void SimOutbox::Corrupt(EndpointId endpoint) {
  const auto found = disk_.stores.find(endpoint);
  if (found == disk_.stores.end()) return;
  Store& store = found->second;
  Index& index = indexes_.at(endpoint);
  std::uint64_t lost = 0;
  std::uint64_t bytes = 0;
  for (auto row = store.rows.begin(); row != store.rows.end();) {
    if (index.leased.contains(row->first)) {
      ++row;
      continue;
    }
    const Delivery& delivery = row->second.delivery;
    const auto lane = index.lanes.find(delivery.recipient);
    Unlist(index, lane->first, lane->second);
    lane->second.waiting.erase(row->first);
    lane->second.due.reset();
    List(index, lane->first, lane->second);
    ++lost;
    bytes += EventBytes(*delivery.event);
    book_.Moved(delivery, Place::kLost);
    row = store.rows.erase(row);
  }
  store.endpoint.accepted -= lost;
  store.endpoint.pending_bytes -= bytes;
  if (lost == 0) return;
  Complete([this, endpoint, lost, bytes](OutboxListener& to) {
    book_.ForgetShared(endpoint);
    to.OnLost(endpoint, lost, bytes);
  });
}

void SimOutbox::Die() {
  if (image_) {
    const bool full = disk_.full;
    const bool blind = disk_.blind;
    disk_ = std::move(*image_);
    disk_.full = full;
    disk_.blind = blind;
    image_.reset();
  }
  if (!switches_.lose_tail || disk_.stores.empty()) return;
  auto& rows = disk_.stores.begin()->second.rows;
  if (!rows.empty()) rows.erase(std::prev(rows.end()));
}

void SimOutbox::Close() {
  habits_.piecemeal = false;
  if (!queue_.empty()) RunBatch();
}

bool SimOutbox::HasReady(EndpointId endpoint) const {
  const auto found = indexes_.find(endpoint);
  return found != indexes_.end() && !found->second.ready.empty();
}

bool SimOutbox::claiming() const {
  return std::any_of(indexes_.begin(), indexes_.end(),
                     [](const auto& index) { return index.second.claiming; });
}

std::optional<Millis> SimOutbox::NextDue(EndpointId endpoint) const {
  const auto found = indexes_.find(endpoint);
  if (found == indexes_.end() || found->second.asleep.empty()) return std::nullopt;
  return found->second.asleep.begin()->first - disk_.skew;
}

}  // namespace offline_post::simulation
