#include "outbox/memory_outbox.hpp"

namespace offline_post {

void MemoryOutbox::Unlist(Book& book, LaneKey key, const Lane& lane) {
  if (lane.deliveries.empty()) return;
  book.ready.erase({lane.deliveries.begin()->first, key});
  if (lane.due_ms) book.waiting.erase({*lane.due_ms, key});
}

void MemoryOutbox::List(Book& book, LaneKey key, const Lane& lane) {
  if (lane.deliveries.empty()) {
    if (lane.leased == 0) book.lanes.erase(key);
    return;
  }
  if (lane.due_ms) {
    book.waiting.insert({*lane.due_ms, key});
  } else if (lane.leased < kLeasedPerRecipient) {
    // An appended delivery is the last of all: no search through a long backlog.
    book.ready.emplace_hint(book.ready.end(), lane.deliveries.begin()->first, key);
  }
}

void MemoryOutbox::Append(Delivery delivery) { Insert(std::move(delivery)); }

void MemoryOutbox::Insert(Delivery delivery) {
  Book& book = books_[delivery.endpoint];
  const LaneKey key = delivery.recipient;
  Lane& lane = book.lanes[key];
  const bool listed = !lane.deliveries.empty();  // by its first delivery, which stays the first
  const Sequence sequence = delivery.sequence;
  bytes_ += EventBytes(*delivery.event);
  lane.deliveries.emplace_hint(lane.deliveries.end(), sequence, std::move(delivery));
  if (!listed) List(book, key, lane);
}

Ticket MemoryOutbox::Flush(std::vector<CommitCallback> waiting) {
  committed_ = ++last_ticket_;
  std::move(waiting.begin(), waiting.end(), std::back_inserter(waiting_));
  return last_ticket_;
}

void MemoryOutbox::Claim(EndpointId endpoint, ClaimLimit limit) {
  claims_.push_back({endpoint, limit});
}

void MemoryOutbox::Finish(const Delivery& delivery, Final how, const Note& note) {
  Book& book = books_[delivery.endpoint];
  const LaneKey key = delivery.recipient;
  Lane& lane = book.lanes[key];
  Unlist(book, key, lane);
  --lane.leased;
  bytes_ -= EventBytes(*delivery.event);
  List(book, key, lane);
  if (how != Final::kDead) return;
  const DeadPurged purged = BuryIn(book, delivery, note);
  if (purged.count > 0) purged_.push_back(purged);
}

DeadPurged MemoryOutbox::BuryIn(Book& book, const Delivery& delivery, const Note& note) {
  const Millis now = clock_.MonotonicMs();
  book.dead[delivery.sequence] = {{delivery, clock_.UnixMs(), note}, now};
  book.died.insert({now, delivery.sequence});
  book.dead_bytes += EventBytes(*delivery.event);
  DeadPurged purged{delivery.endpoint};
  while (book.dead.size() > kMaxDead || book.dead_bytes > kMaxDeadBytes) UnburyOldest(book, purged);
  return purged;
}

std::map<Sequence, MemoryOutbox::Dead>::iterator MemoryOutbox::Unbury(
    Book& book, std::map<Sequence, Dead>::iterator dead) {
  book.dead_bytes -= EventBytes(*dead->second.letter.delivery.event);
  book.died.erase({dead->second.died_ms, dead->first});
  return book.dead.erase(dead);
}

void MemoryOutbox::UnburyOldest(Book& book, DeadPurged& purged) {
  const auto oldest = book.dead.find(book.died.begin()->second);
  ++purged.count;
  purged.bytes += EventBytes(*oldest->second.letter.delivery.event);
  Unbury(book, oldest);
}

void MemoryOutbox::Reschedule(const Delivery& delivery, Millis due_ms, const Note& /*note*/) {
  Book& book = books_[delivery.endpoint];
  Lane& lane = book.lanes[delivery.recipient];
  Unlist(book, delivery.recipient, lane);
  --lane.leased;
  lane.due_ms = due_ms;
  lane.deliveries.emplace(delivery.sequence, delivery);
  List(book, delivery.recipient, lane);
}

void MemoryOutbox::Park(const Delivery& delivery) {
  Book& book = books_[delivery.endpoint];
  Lane& lane = book.lanes[delivery.recipient];
  Unlist(book, delivery.recipient, lane);
  --lane.leased;
  lane.deliveries.emplace(delivery.sequence, delivery);
  List(book, delivery.recipient, lane);
}

void MemoryOutbox::LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& /*note*/) {
  Finish(delivery, Final::kDelivered, {});
  Delivery alone = delivery;
  alone.recipient = KeyOutOfOrder(delivery.sequence);
  Restore(std::move(alone), due_ms);
}

void MemoryOutbox::Hasten(EndpointId endpoint, std::uint64_t recipient) {
  const auto book = books_.find(endpoint);
  if (book == books_.end()) return;
  const auto lane = book->second.lanes.find(recipient);
  if (lane == book->second.lanes.end()) return;
  Unlist(book->second, recipient, lane->second);
  lane->second.due_ms.reset();
  List(book->second, recipient, lane->second);
}

void MemoryOutbox::HastenAll(EndpointId endpoint, std::size_t limit) {
  const auto book = books_.find(endpoint);
  if (book == books_.end()) return;
  for (std::size_t lanes = 0; lanes < limit && !book->second.waiting.empty(); ++lanes) {
    Hasten(endpoint, book->second.waiting.begin()->second);
  }
}

std::vector<Delivery> MemoryOutbox::TakeClaimable(Book& book, ClaimLimit limit) {
  const Millis now = clock_.MonotonicMs();
  // Each lane that is due gives at least one delivery: more than `limit` lanes are not needed in
  // this turn.
  for (std::size_t lanes = 0;
       lanes < limit.deliveries && !book.waiting.empty() && book.waiting.begin()->first <= now;
       ++lanes) {
    const LaneKey key = book.waiting.begin()->second;
    Lane& lane = book.lanes[key];
    Unlist(book, key, lane);
    lane.due_ms.reset();
    List(book, key, lane);
  }
  std::vector<Delivery> taken;
  std::size_t bytes = 0;
  while (taken.size() < limit.deliveries && (taken.empty() || bytes < limit.bytes) &&
         !book.ready.empty()) {
    const LaneKey key = book.ready.begin()->second;
    Lane& lane = book.lanes[key];
    Unlist(book, key, lane);
    taken.push_back(std::move(lane.deliveries.begin()->second));
    bytes += EventBytes(*taken.back().event);
    lane.deliveries.erase(lane.deliveries.begin());
    ++lane.leased;
    List(book, key, lane);
  }
  return taken;
}

void MemoryOutbox::VisitDead(const DeadVisit& visit) {
  Book& book = books_[visit.endpoint];
  DeadVisited visited;
  visited.tag = visit.tag;
  visited.endpoint = visit.endpoint;
  visited.act = visit.act;
  Sequence last = visit.after;
  auto dead = book.dead.upper_bound(visit.after);
  const auto end = visit.before > 0 ? book.dead.lower_bound(visit.before) : book.dead.end();
  while (dead != end && visited.count < visit.limit && visited.bytes < visit.bytes) {
    last = dead->first;
    const DeadLetter& letter = dead->second.letter;
    if (!Matches(visit.filter, letter)) {
      ++dead;
      continue;
    }
    visited.bytes += EventBytes(*letter.delivery.event);
    if (visit.act == DeadAct::kShow) {
      visited.letters.push_back(letter);
      ++dead;
    } else {
      if (visit.act == DeadAct::kReplay) Insert(Replayed(visit, letter, visited.count));
      dead = Unbury(book, dead);
    }
    ++visited.count;
  }
  if (visit.act != DeadAct::kShow) visited.dead_bytes = visited.bytes;
  if (dead != end) visited.next = last;
  visited_.push_back(std::move(visited));
}

void MemoryOutbox::PurgeDead(const DeadPurge& purge) {
  Book& book = books_[purge.endpoint];
  DeadPurged purged{purge.endpoint};
  const auto next_goes = [&] {
    return !book.died.empty() && Goes(purge, book.died.begin()->first, purged.count, purged.bytes);
  };
  while (purged.count < purge.limit && next_goes()) UnburyOldest(book, purged);
  purged.more = next_goes();
  purged_.push_back(purged);
}

void MemoryOutbox::Restore(Delivery delivery, std::optional<Millis> due_ms) {
  Book& book = books_[delivery.endpoint];
  const LaneKey key = delivery.recipient;
  Lane& lane = book.lanes[key];
  Unlist(book, key, lane);
  if (due_ms) lane.due_ms = due_ms;
  const Sequence sequence = delivery.sequence;
  bytes_ += EventBytes(*delivery.event);
  lane.deliveries.emplace(sequence, std::move(delivery));
  List(book, key, lane);
}

Claimed MemoryOutbox::ClaimNow(EndpointId endpoint, ClaimLimit limit) {
  Book& book = books_[endpoint];
  Claimed claimed;
  claimed.deliveries = TakeClaimable(book, limit);
  if (!book.waiting.empty()) claimed.next_due = book.waiting.begin()->first;
  claimed.more = !book.ready.empty();
  return claimed;
}

std::vector<std::pair<Delivery, std::optional<Millis>>> MemoryOutbox::TakeAll() {
  std::vector<std::pair<Delivery, std::optional<Millis>>> all;
  for (auto& [id, book] : books_) {
    for (auto& [key, lane] : book.lanes) {
      for (auto& [sequence, delivery] : lane.deliveries) {
        bytes_ -= EventBytes(*delivery.event);
        all.emplace_back(std::move(delivery), lane.due_ms);
      }
      lane.deliveries.clear();
      lane.due_ms.reset();
    }
    std::erase_if(book.lanes, [](const auto& lane) { return lane.second.leased == 0; });
    book.ready.clear();
    book.waiting.clear();
  }
  return all;
}

bool MemoryOutbox::Poll(OutboxListener& listener) {
  const std::optional<Ticket> committed = std::exchange(committed_, std::nullopt);
  const std::vector<ClaimCommand> claims = std::exchange(claims_, {});
  std::vector<DeadVisited> visited = std::exchange(visited_, {});
  const std::vector<DeadPurged> purged = std::exchange(purged_, {});
  for (const CommitCallback& waiting : std::exchange(waiting_, {})) waiting(false);
  if (committed) listener.OnCommitted(*committed, false);
  // Before the claims, which may hand out what was replayed.
  for (DeadVisited& answer : visited) listener.OnDeadVisited(std::move(answer));
  for (const ClaimCommand& claim : claims) {
    listener.OnClaimed(claim.endpoint, ClaimNow(claim.endpoint, claim.limit));
  }
  for (const DeadPurged& one : purged) listener.OnPurged(one);
  return committed || !claims.empty() || !visited.empty() || !purged.empty();
}

}  // namespace offline_post
