// SimOutbox: the outbox port over a simulated disk. Commands wait in a queue until a batch of them
// is executed and committed in one piece, at a random later time; completions are handed over after
// that. What waits in the queue, lazy deletes included, dies with the process. While the disk is
// full, the batches are executed in memory and the disk keeps what it had.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "basics.hpp"
#include "book.hpp"
#include "disk.hpp"
#include "engine/outbox.hpp"
#include "random.hpp"

namespace offline_post::simulation {

class SimOutbox final : public Outbox {
 public:
  SimOutbox(Disk& disk, const DiskHabits& habits, const SimClock& clock, Random& random, Book& book,
            Fuse& fuse, const Switches& switches);

  // The world's side.
  std::optional<Millis> NextMs() const;  // when Poll would do something
  bool idle() const { return queue_.empty() && ready_.empty(); }
  // The disk takes again what it refused.
  void Recover();
  // The file is ruined: all is lost but what is leased.
  void Corrupt(EndpointId endpoint);
  // The process dies: what the disk does not have is gone.
  void Die();
  // An orderly end: everything that was commanded is executed.
  void Close();
  bool degraded() const { return image_ != nullptr; }
  // Reading is, or was a moment ago, in vain: who asked was told to ask again in a second.
  bool blinded() const {
    return (degraded() && disk_.blind) || clock_.now <= recovered_ms_ + kBlindMs;
  }
  // Something could be claimed now, or the time at which something can.
  bool HasReady(EndpointId endpoint) const;
  bool claiming() const;  // some Claim is not answered
  std::optional<Millis> NextDue(EndpointId endpoint) const;
  const Store* store(EndpointId endpoint) const;

  std::vector<StoredEndpoint> Stored() const override;
  Sequence NextSequence() const override { return disk_.next; }
  std::vector<StoredLane> TakeStoredLanes() override;
  void Register(EndpointId endpoint, const EndpointKey& key) override;
  void SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) override;
  void SetWithdrawal(EndpointId endpoint, std::uint64_t key, Sequence until, Final how) override;
  void ClearWithdrawals(EndpointId endpoint) override;
  void Hasten(EndpointId endpoint, std::uint64_t recipient) override;
  void HastenAll(EndpointId endpoint, std::size_t limit) override;
  void Append(Delivery delivery) override;
  Ticket Flush(std::vector<CommitCallback> waiting) override;
  void Claim(EndpointId endpoint, ClaimLimit limit) override;
  void Finish(const Delivery& delivery, Final how, const Note& note) override;
  void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) override;
  void Park(const Delivery& delivery) override;
  void LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& note) override;
  void VisitDead(const DeadVisit& visit) override;
  void PurgeDead(const DeadPurge& purge) override;
  bool Poll(OutboxListener& listener) override;
  bool HasRoom() const override { return !disk_.full || !room_short_; }
  bool IsDurable() const override { return !degraded(); }

 private:
  struct Lane {
    std::set<Sequence> waiting;  // not leased
    std::size_t leased = 0;
    std::optional<Millis> due;  // store time
  };
  struct Index {
    std::unordered_map<std::uint64_t, Lane> lanes;
    std::set<std::pair<Sequence, std::uint64_t>> ready;
    std::set<std::pair<Millis, std::uint64_t>> asleep;
    std::set<Sequence> leased;
    bool claiming = false;
    int claims_in_vain = 0;  // since something changed
  };
  using Work = std::function<void()>;
  using Completion = std::function<void(OutboxListener&)>;

  void Command(bool lazy, Work work);
  void Complete(Completion completion) { ready_.push_back(std::move(completion)); }
  void RunBatch();
  void Unlist(Index& index, std::uint64_t key, const Lane& lane);
  void List(Index& index, std::uint64_t key, const Lane& lane);
  void Enter(const Delivery& delivery, std::optional<Millis> due);
  void EndLease(const Delivery& delivery, std::optional<Millis> due, bool back);
  void DoAppend(const Delivery& delivery);
  void DoClaim(EndpointId endpoint, ClaimLimit limit);
  void DoFinish(const Delivery& delivery, Final how, const Note& note);
  void DoHasten(EndpointId endpoint, std::uint64_t recipient);
  void DoReschedule(const Delivery& delivery, Millis due);
  void DoLeaveOrder(const Delivery& delivery, Millis due);
  void DoVisit(const DeadVisit& visit, Millis accepted);
  void DoPurge(const DeadPurge& purge);
  void EraseLetter(Store& store, std::map<Sequence, Letter>::iterator letter);
  Millis ToStore(Millis monotonic) const { return clock_.FromMonotonic(monotonic) + disk_.skew; }
  Millis ToMonotonic(Millis store) const { return store - disk_.skew + clock_.monotonic_offset; }
  Delivery FromRow(const Row& row) const;

  Disk& disk_;
  DiskHabits habits_;
  const SimClock& clock_;
  Random& random_;
  Book& book_;
  Fuse& fuse_;
  Switches switches_;
  static constexpr Millis kBlindMs = 1'000;
  static constexpr int kMaxClaimsInVain = 200;
  Millis recovered_ms_ = -kBlindMs - 1;
  std::unique_ptr<Disk> image_;  // what the disk has while it refuses
  bool room_short_ = false;
  std::map<EndpointId, Index> indexes_;
  std::deque<Work> queue_;
  std::optional<Millis> batch_ms_;
  bool batch_lazy_ = false;
  std::deque<Completion> ready_;
  Ticket last_ticket_ = 0;
  Ticket flushed_ = 0;
};

}  // namespace offline_post::simulation
