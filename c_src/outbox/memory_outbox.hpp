// MemoryOutbox: the outbox without a disk. What it holds ends with the process; "committed" means
// appended.
//
// Per endpoint and recipient a lane of deliveries in order of sequence. A lane is claimable (in
// `ready_`, by its first sequence), waiting for its due time (in `waiting_`), or as far out on
// lease as it may be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/outbox.hpp"

namespace offline_post {

class MemoryOutbox final : public Outbox {
 public:
  // Dead letters that are kept per endpoint; beyond either the oldest are let go of.
  static constexpr std::size_t kMaxDead = 1'000;
  static constexpr std::size_t kMaxDeadBytes = std::size_t{16} * 1024 * 1024;

  // `limit_bytes`: of pending events, as EventBytes counts; beyond it there is no room.
  explicit MemoryOutbox(const Clock& clock,
                        std::uint64_t limit_bytes = std::numeric_limits<std::uint64_t>::max())
      : clock_(clock), limit_bytes_(limit_bytes) {}

  std::vector<StoredEndpoint> Stored() const override { return {}; }
  Sequence NextSequence() const override { return 1; }
  void Register(EndpointId /*endpoint*/, const EndpointKey& /*key*/) override {}
  void SetPause(EndpointId /*endpoint*/, Pause /*pause*/, std::uint64_t /*paused_url*/) override {}
  void SetWithdrawal(EndpointId /*endpoint*/, std::uint64_t /*key*/, Sequence /*until*/,
                     Final /*how*/) override {}
  void ClearWithdrawals(EndpointId /*endpoint*/) override {}
  void Append(Delivery delivery) override;
  Ticket Flush(std::vector<CommitCallback> waiting) override;
  void Claim(EndpointId endpoint, ClaimLimit limit) override;
  void Finish(const Delivery& delivery, Final how, const Note& note) override;
  void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) override;
  void Park(const Delivery& delivery) override;
  void LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& note) override;
  void Hasten(EndpointId endpoint, std::uint64_t recipient) override;
  void HastenAll(EndpointId endpoint, std::size_t limit) override;
  void VisitDead(const DeadVisit& visit) override;
  void PurgeDead(const DeadPurge& purge) override;
  bool Poll(OutboxListener& listener) override;
  bool HasRoom() const override { return bytes_ < limit_bytes_; }
  bool IsDurable() const override { return false; }

  // As the shelter of an outbox whose disk refuses.
  // Takes over a delivery that is leased; one that waits, in any order; and answers at once.
  void Adopt(const Delivery& leased) {
    ++books_[leased.endpoint].lanes[leased.recipient].leased;
    bytes_ += EventBytes(*leased.event);
  }
  void Restore(Delivery delivery, std::optional<Millis> due_ms);
  Claimed ClaimNow(EndpointId endpoint, ClaimLimit limit);
  // Gives up all that is not leased, with the time until which its recipient waits.
  std::vector<std::pair<Delivery, std::optional<Millis>>> TakeAll();

 private:
  using LaneKey = std::uint64_t;  // the recipient

  struct Lane {
    std::map<Sequence, Delivery> deliveries;  // not leased
    std::size_t leased = 0;
    std::optional<Millis> due_ms;
  };

  struct Dead {
    DeadLetter letter;
    Millis died_ms = 0;
  };

  struct Book {
    std::unordered_map<LaneKey, Lane> lanes;
    std::set<std::pair<Sequence, LaneKey>> ready;
    std::set<std::pair<Millis, LaneKey>> waiting;
    std::map<Sequence, Dead> dead;
    std::set<std::pair<Millis, Sequence>> died;  // of the same
    std::size_t dead_bytes = 0;
  };

  struct ClaimCommand {
    EndpointId endpoint;
    ClaimLimit limit;
  };

  // Every change of a lane happens between these two, which keep the indexes true.
  static void Unlist(Book& book, LaneKey key, const Lane& lane);
  static void List(Book& book, LaneKey key, const Lane& lane);

  std::vector<Delivery> TakeClaimable(Book& book, ClaimLimit limit);
  void Insert(Delivery delivery);
  DeadPurged BuryIn(Book& book, const Delivery& delivery, const Note& note);
  static void UnburyOldest(Book& book, DeadPurged& purged);
  static std::map<Sequence, Dead>::iterator Unbury(Book& book,
                                                   std::map<Sequence, Dead>::iterator dead);

  const Clock& clock_;
  const std::uint64_t limit_bytes_;
  std::uint64_t bytes_ = 0;  // pending, the leased included
  std::unordered_map<EndpointId, Book> books_;
  Ticket last_ticket_ = 0;
  std::optional<Ticket> committed_;
  std::vector<CommitCallback> waiting_;  // for that
  std::vector<ClaimCommand> claims_;
  std::vector<DeadVisited> visited_;
  std::vector<DeadPurged> purged_;
};

}  // namespace offline_post
