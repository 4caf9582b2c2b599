// An outbox that is late, as one behind a disk or a thread is.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "engine/outbox.hpp"

namespace offline_post::test {

// Completes nothing before the second Poll.
class SlowOutbox final : public Outbox, private OutboxListener {
 public:
  explicit SlowOutbox(Outbox& inner) : inner_(inner) {}
  std::vector<StoredEndpoint> Stored() const override { return inner_.Stored(); }
  Sequence NextSequence() const override { return inner_.NextSequence(); }
  void Register(EndpointId endpoint, const EndpointKey& key) override {
    inner_.Register(endpoint, key);
  }
  void SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) override {
    inner_.SetPause(endpoint, pause, paused_url);
  }
  void SetWithdrawal(EndpointId endpoint, std::uint64_t key, Sequence until, Final how) override {
    inner_.SetWithdrawal(endpoint, key, until, how);
  }
  void ClearWithdrawals(EndpointId endpoint) override { inner_.ClearWithdrawals(endpoint); }
  void HastenAll(EndpointId endpoint, std::size_t limit) override {
    inner_.HastenAll(endpoint, limit);
  }
  void Hasten(EndpointId endpoint, std::uint64_t recipient) override {
    inner_.Hasten(endpoint, recipient);
  }
  void Append(Delivery delivery) override { inner_.Append(std::move(delivery)); }
  Ticket Flush(std::vector<CommitCallback> waiting) override {
    return inner_.Flush(std::move(waiting));
  }
  void Claim(EndpointId endpoint, ClaimLimit limit) override { inner_.Claim(endpoint, limit); }
  void Finish(const Delivery& delivery, Final how, const Note& note) override {
    if (how == Final::kDelivered) stood_for += delivery.stands_for;
    inner_.Finish(delivery, how, note);
  }
  void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) override {
    inner_.Reschedule(delivery, due_ms, note);
  }
  void Park(const Delivery& delivery) override { inner_.Park(delivery); }
  void LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& note) override {
    inner_.LeaveOrder(delivery, due_ms, note);
  }
  void VisitDead(const DeadVisit& visit) override { inner_.VisitDead(visit); }
  void PurgeDead(const DeadPurge& purge) override { inner_.PurgeDead(purge); }
  bool HasRoom() const override { return inner_.HasRoom(); }
  bool IsDurable() const override { return inner_.IsDurable(); }
  bool Poll(OutboxListener& listener) override {
    const auto ready = std::exchange(waiting_, {});
    inner_.Poll(*this);
    for (const auto& completion : ready) completion(listener);
    return !ready.empty();
  }
  bool idle() const { return waiting_.empty(); }

  std::uint64_t stood_for = 0;  // events that what was delivered spoke for

 private:
  using Completion = std::function<void(OutboxListener&)>;
  void OnCommitted(Ticket ticket, bool durable) override {
    waiting_.emplace_back(
        [ticket, durable](OutboxListener& to) { to.OnCommitted(ticket, durable); });
  }
  void OnClaimed(EndpointId id, Claimed claimed) override {
    waiting_.emplace_back([id, claimed](OutboxListener& to) { to.OnClaimed(id, claimed); });
  }
  void OnDeadVisited(DeadVisited visited) override {
    waiting_.emplace_back([visited](OutboxListener& to) { to.OnDeadVisited(visited); });
  }
  void OnLost(EndpointId id, std::uint64_t count, std::uint64_t bytes) override {
    waiting_.emplace_back([id, count, bytes](OutboxListener& to) { to.OnLost(id, count, bytes); });
  }
  void OnPurged(const DeadPurged& purged) override {
    waiting_.emplace_back([purged](OutboxListener& to) { to.OnPurged(purged); });
  }
  Outbox& inner_;
  std::vector<Completion> waiting_;
};

}  // namespace offline_post::test
