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

void MemoryOutbox::Append(Delivery delivery) {
  Book& book = books_[delivery.endpoint];
  const LaneKey key = delivery.recipient;
  Lane& lane = book.lanes[key];
  const bool listed = !lane.deliveries.empty();  // by its first delivery, which stays the first
  const Sequence sequence = delivery.sequence;
  lane.deliveries.emplace_hint(lane.deliveries.end(), sequence, std::move(delivery));
  if (!listed) List(book, key, lane);
}

Ticket MemoryOutbox::Flush() {
  committed_ = ++last_ticket_;
  return last_ticket_;
}

void MemoryOutbox::Claim(EndpointId endpoint, std::size_t limit) {
  claims_.push_back({endpoint, limit});
}

void MemoryOutbox::Finish(const Delivery& delivery, Final how, const Note& note) {
  Book& book = books_[delivery.endpoint];
  const LaneKey key = delivery.recipient;
  Lane& lane = book.lanes[key];
  Unlist(book, key, lane);
  --lane.leased;
  List(book, key, lane);
  if (how != Final::kDead) return;
  const std::uint64_t purged = BuryIn(book, delivery, note);
  if (purged > 0) purged_[delivery.endpoint] += purged;
}

std::uint64_t MemoryOutbox::BuryIn(Book& book, const Delivery& delivery, const Note& note) {
  book.dead.push_back({delivery, note});
  book.dead_bytes += EventBytes(*delivery.event);
  std::uint64_t purged = 0;
  while (book.dead.size() > kMaxDead || book.dead_bytes > kMaxDeadBytes) {
    book.dead_bytes -= EventBytes(*book.dead.front().delivery.event);
    book.dead.pop_front();
    ++purged;
  }
  return purged;
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

std::vector<Delivery> MemoryOutbox::TakeClaimable(Book& book, std::size_t limit) {
  const Millis now = clock_.MonotonicMs();
  // Each lane that is due gives at least one delivery: more than `limit` lanes are not needed in
  // this turn.
  for (std::size_t lanes = 0;
       lanes < limit && !book.waiting.empty() && book.waiting.begin()->first <= now; ++lanes) {
    const LaneKey key = book.waiting.begin()->second;
    Lane& lane = book.lanes[key];
    Unlist(book, key, lane);
    lane.due_ms.reset();
    List(book, key, lane);
  }
  std::vector<Delivery> taken;
  while (taken.size() < limit && !book.ready.empty()) {
    const LaneKey key = book.ready.begin()->second;
    Lane& lane = book.lanes[key];
    Unlist(book, key, lane);
    taken.push_back(std::move(lane.deliveries.begin()->second));
    lane.deliveries.erase(lane.deliveries.begin());
    ++lane.leased;
    List(book, key, lane);
  }
  return taken;
}

bool MemoryOutbox::Poll(OutboxListener& listener) {
  const std::optional<Ticket> committed = std::exchange(committed_, std::nullopt);
  const std::vector<ClaimCommand> claims = std::exchange(claims_, {});
  const std::map<EndpointId, std::uint64_t> purged = std::exchange(purged_, {});
  if (committed) listener.OnCommitted(*committed);
  for (const ClaimCommand& claim : claims) {
    Book& book = books_[claim.endpoint];
    std::vector<Delivery> taken = TakeClaimable(book, claim.limit);
    const std::optional<Millis> next_due =
        book.waiting.empty() ? std::nullopt : std::optional(book.waiting.begin()->first);
    listener.OnClaimed(claim.endpoint, std::move(taken), next_due);
  }
  for (const auto& [endpoint, count] : purged) listener.OnPurged(endpoint, count);
  return committed || !claims.empty() || !purged.empty();
}

}  // namespace offline_post
