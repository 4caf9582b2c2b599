// The simulated outbox's second half: what a committed command does to the rows.
#include <algorithm>
#include <utility>

#include "sim_outbox.hpp"

namespace offline_post::simulation {

void SimOutbox::Unlist(Index& index, std::uint64_t key, const Lane& lane) {
  if (lane.waiting.empty()) return;
  index.ready.erase({*lane.waiting.begin(), key});
  if (lane.due) index.asleep.erase({*lane.due, key});
}

void SimOutbox::List(Index& index, std::uint64_t key, const Lane& lane) {
  if (lane.waiting.empty()) {
    if (lane.leased == 0) index.lanes.erase(key);
    return;
  }
  if (lane.due && !switches_.claim_past_waiting) {
    index.asleep.insert({*lane.due, key});
  } else if (lane.leased < kLeasedPerRecipient) {
    index.ready.insert({*lane.waiting.begin(), key});
  }
}

void SimOutbox::Enter(const Delivery& delivery, std::optional<Millis> due) {
  Index& index = indexes_[delivery.endpoint];
  Lane& lane = index.lanes[delivery.recipient];
  Unlist(index, delivery.recipient, lane);
  lane.waiting.insert(delivery.sequence);
  index.claims_in_vain = 0;
  if (due && *lane.waiting.begin() == delivery.sequence) lane.due = due;
  List(index, delivery.recipient, lane);
}

void SimOutbox::EndLease(const Delivery& delivery, std::optional<Millis> due, bool back) {
  Index& index = indexes_.at(delivery.endpoint);
  if (index.leased.erase(delivery.sequence) == 0) Fail("no lease ends twice");
  Lane& lane = index.lanes[delivery.recipient];
  Unlist(index, delivery.recipient, lane);
  --lane.leased;
  index.claims_in_vain = 0;
  if (back) lane.waiting.insert(delivery.sequence);
  if (due) lane.due = due;
  List(index, delivery.recipient, lane);
}

void SimOutbox::DoAppend(const Delivery& delivery) {
  Store& store = disk_.stores.at(delivery.endpoint);
  Row row{delivery, std::nullopt};
  row.delivery.accepted_ms = ToStore(delivery.accepted_ms);
  store.rows.emplace_hint(store.rows.end(), delivery.sequence, std::move(row));
  ++store.endpoint.accepted;
  store.endpoint.pending_bytes += EventBytes(*delivery.event);
  disk_.next = std::max(disk_.next, delivery.sequence + 1);
  Enter(delivery, std::nullopt);
}

Delivery SimOutbox::FromRow(const Row& row) const {
  Delivery delivery = row.delivery;
  delivery.accepted_ms = ToMonotonic(delivery.accepted_ms);
  return delivery;
}

void SimOutbox::DoClaim(EndpointId endpoint, ClaimLimit limit) {
  Index& index = indexes_.at(endpoint);
  Claimed claimed;
  if (degraded() && disk_.blind) {
    claimed.next_due = clock_.MonotonicMs() + kBlindMs;
  } else {
    while (!index.asleep.empty() && index.asleep.begin()->first <= clock_.now + disk_.skew) {
      index.claims_in_vain = 0;
      const std::uint64_t key = index.asleep.begin()->second;
      Lane& lane = index.lanes.at(key);
      Unlist(index, key, lane);
      lane.due.reset();
      List(index, key, lane);
    }
    // A bounded search gives up early now and then.
    const bool cut = random_.Percent(5);
    if (cut) limit.deliveries = random_.Below(limit.deliveries + 1);
    std::size_t bytes = 0;
    const auto has_room = [&] { return claimed.deliveries.empty() || bytes < limit.bytes; };
    while (claimed.deliveries.size() < limit.deliveries && has_room() && !index.ready.empty()) {
      const std::uint64_t key = index.ready.begin()->second;
      Lane& lane = index.lanes.at(key);
      const Sequence sequence = *lane.waiting.begin();
      Unlist(index, key, lane);
      lane.waiting.erase(sequence);
      lane.due.reset();
      ++lane.leased;
      index.leased.insert(sequence);
      List(index, key, lane);
      claimed.deliveries.push_back(FromRow(disk_.stores.at(endpoint).rows.at(sequence)));
      bytes += EventBytes(*claimed.deliveries.back().event);
    }
    claimed.more = (cut || !has_room()) && !index.ready.empty();
    if (!index.asleep.empty()) claimed.next_due = ToMonotonic(index.asleep.begin()->first);
  }
  if (!claimed.deliveries.empty() || claimed.more || blinded()) index.claims_in_vain = 0;
  if (++index.claims_in_vain > kMaxClaimsInVain) {
    Fail("endpoint " + std::to_string(endpoint) + " is claimed from again and again in vain");
  }
  Complete([this, endpoint, claimed = std::move(claimed)](OutboxListener& to) {
    indexes_.at(endpoint).claiming = false;
    for (const Delivery& delivery : claimed.deliveries) book_.Leased(delivery);
    to.OnClaimed(endpoint, claimed);
  });
}

void SimOutbox::DoFinish(const Delivery& delivery, Final how, const Note& note) {
  Store& store = disk_.stores.at(delivery.endpoint);
  EndLease(delivery, std::nullopt, false);
  store.rows.erase(delivery.sequence);
  store.endpoint.pending_bytes -= EventBytes(*delivery.event);
  if (how == Final::kDead) {
    Letter letter{{delivery, clock_.UnixMs(), note}, clock_.now + disk_.skew};
    store.died.insert({letter.died, delivery.sequence});
    store.dead.emplace(delivery.sequence, std::move(letter));
    ++store.endpoint.dead;
    store.endpoint.dead_bytes += EventBytes(*delivery.event);
  } else if (!switches_.lose_twin || random_.Percent(90)) {
    if (how == Final::kDelivered) ++store.endpoint.delivered;
    if (how == Final::kCancelled) ++store.endpoint.cancelled;
    if (how == Final::kPurged) ++store.endpoint.purged;
  }
}

void SimOutbox::DoReschedule(const Delivery& delivery, Millis due) {
  Row& row = disk_.stores.at(delivery.endpoint).rows.at(delivery.sequence);
  const Millis accepted = row.delivery.accepted_ms;
  row.delivery = delivery;
  row.delivery.accepted_ms = accepted;
  row.due = due;
  EndLease(delivery, due, true);
}

void SimOutbox::DoLeaveOrder(const Delivery& delivery, Millis due) {
  EndLease(delivery, std::nullopt, false);
  Row& row = disk_.stores.at(delivery.endpoint).rows.at(delivery.sequence);
  const Millis accepted = row.delivery.accepted_ms;
  row.delivery = delivery;
  row.delivery.recipient = KeyOutOfOrder(delivery.sequence);
  row.delivery.accepted_ms = accepted;
  row.due = due;
  Enter(row.delivery, due);
}

void SimOutbox::DoHasten(EndpointId endpoint, std::uint64_t recipient) {
  Index& index = indexes_.at(endpoint);
  const auto lane = index.lanes.find(recipient);
  if (lane == index.lanes.end() || !lane->second.due) return;
  Unlist(index, recipient, lane->second);
  lane->second.due.reset();
  index.claims_in_vain = 0;
  for (const Sequence sequence : lane->second.waiting)
    disk_.stores.at(endpoint).rows.at(sequence).due.reset();
  List(index, recipient, lane->second);
}

void SimOutbox::EraseLetter(Store& store, std::map<Sequence, Letter>::iterator letter) {
  store.died.erase({letter->second.died, letter->first});
  store.endpoint.dead_bytes -= EventBytes(*letter->second.letter.delivery.event);
  store.dead.erase(letter);
  --store.endpoint.dead;
}

void SimOutbox::DoVisit(const DeadVisit& visit, Millis accepted) {
  Store& store = disk_.stores.at(visit.endpoint);
  indexes_.at(visit.endpoint).claims_in_vain = 0;
  DeadVisited visited;
  visited.tag = visit.tag;
  visited.endpoint = visit.endpoint;
  visited.act = visit.act;
  // Some slices end early, as a bounded search does.
  std::size_t looks = random_.Percent(50) ? 1 + random_.Below(5) : store.dead.size() + 1;
  auto letter = store.dead.upper_bound(visit.after);
  const auto meant = [&] {
    return letter != store.dead.end() && (visit.before == 0 || letter->first < visit.before);
  };
  for (; meant() && looks > 0 && visited.count < visit.limit; --looks) {
    const auto here = letter++;
    visited.next = here->first;
    const DeadLetter& dead = here->second.letter;
    if (!Matches(visit.filter, dead)) continue;
    if (visit.act == DeadAct::kShow) {
      visited.letters.push_back(dead);
    } else if (visit.act == DeadAct::kDrop) {
      ++store.endpoint.cancelled;
      book_.Moved(dead.delivery, Place::kCancelled);
    } else if (visit.act == DeadAct::kPurge) {
      ++store.endpoint.purged;
      book_.PurgedFor(dead.delivery);
    } else {
      Row row{offline_post::Replayed(visit, dead, visited.count), std::nullopt};
      disk_.next = std::max(disk_.next, row.delivery.sequence + 1);
      book_.Replayed(row.delivery, visit.tag);
      row.delivery.accepted_ms = accepted;
      store.endpoint.pending_bytes += EventBytes(*row.delivery.event);
      Enter(row.delivery, std::nullopt);
      store.rows.emplace(row.delivery.sequence, std::move(row));
    }
    ++visited.count;
    visited.bytes += EventBytes(*dead.delivery.event);
    if (visit.act == DeadAct::kShow) continue;
    visited.dead_bytes += EventBytes(*dead.delivery.event);
    EraseLetter(store, here);
  }
  if (!meant()) visited.next.reset();
  Complete([visited](OutboxListener& to) { to.OnDeadVisited(visited); });
}

void SimOutbox::DoPurge(const DeadPurge& purge) {
  Store& store = disk_.stores.at(purge.endpoint);
  DeadPurged purged{purge.endpoint};
  const auto next_goes = [&] {
    return !store.died.empty() &&
           Goes(purge, store.died.begin()->first, purged.count, purged.bytes);
  };
  while (purged.count < purge.limit && next_goes()) {
    const auto letter = store.dead.find(store.died.begin()->second);
    const Delivery dead = letter->second.letter.delivery;
    book_.Moved(dead, Place::kPurged);
    EraseLetter(store, letter);
    ++store.endpoint.purged;
    ++purged.count;
    purged.bytes += EventBytes(*dead.event);
  }
  purged.more = next_goes();
  Complete([purged](OutboxListener& to) { to.OnPurged(purged); });
}

}  // namespace offline_post::simulation
