// Topics: of each topic of one endpoint, what is known about its deliveries: which was accepted
// last, how many events that one stands for, which is in flight, and when the last one left.
//
// Threads: the engine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "model/clock.hpp"
#include "model/delivery.hpp"

namespace offline_post {

class Topics {
 public:
  // Topics that are known at a time; then the older half is forgotten.
  static constexpr std::size_t kMax = 100'000;

  // What a newly accepted delivery means for those before it.
  struct Place {
    std::uint32_t stands_for = 1;
    bool supersedes = false;  // an earlier one that waits, may wait, or is in flight out of order
    Sequence earlier = 0;     // that one, if it is known; what came before it is superseded already
  };

  // `withdrawn`: up to this sequence the topic's deliveries are withdrawn, and not counted on.
  // `counted`: up to this one they are superseded already, as an earlier run has left it.
  Place Accept(std::uint64_t topic, Sequence sequence, Sequence withdrawn, Sequence counted);

  // What is known of the deliveries before one that ends the topic's call.
  enum class Offer {
    kNone,   // none is pending
    kWaits,  // the latest has not left, or waits for a retry
    kMixed,  // one is in flight, or an earlier run has perhaps left some
  };
  // `withdrawn`: as of Accept.
  Offer OfferOf(std::uint64_t topic, Sequence withdrawn) const;

  // A later one was accepted.
  bool IsSuperseded(std::uint64_t topic, Sequence sequence) const;
  // Of what was superseded: the newest stands for it too, unless it was counted already.
  void CountWaiting(const Delivery& superseded);
  void CountInFlight(const Delivery& superseded);
  // What the delivery stands for by now.
  std::uint32_t StandsFor(const Delivery& delivery) const;

  // When the delivery may leave: `interval_ms` after the last attempt of another one.
  Millis EarliestMs(const Delivery& delivery, Millis interval_ms) const;
  void Sent(const Delivery& delivery, Millis now_ms);
  // It is not in flight any more; Ended follows, if it has ended.
  void Landed(const Delivery& delivery);
  // It waits for a due time in its lane of the outbox, after a failure or for its interval; until
  // it is claimed.
  enum class Wait { kRetry, kInterval };
  struct Waiting {
    Wait what;
    std::uint64_t lane;
  };
  void Waits(const Delivery& delivery, Wait what);
  void Claimed(const Delivery& delivery);
  std::optional<Waiting> WaitingOf(std::uint64_t topic) const;
  // The lanes in which something waits so.
  std::vector<std::uint64_t> LanesOf(Wait what) const;
  // It has ended. `keeps_interval`: the next one must wait for its time.
  void Ended(const Delivery& delivery, bool keeps_interval);

  // There may be deliveries of topics that are not known here: an earlier run's, or of those
  // forgotten.
  void SetIncomplete(bool incomplete) { incomplete_ = incomplete; }
  bool incomplete() const { return incomplete_; }
  // Some deliveries are gone, and nobody can say which: they may be known here.
  void Lost() { lost_ = true; }
  // What is known and what is there may differ, until NothingPending.
  bool uncertain() const { return incomplete_ || lost_; }
  // Whatever seems to wait was lost. `keeps_interval`: as of Ended.
  void NothingPending(bool keeps_interval);
  std::size_t size() const { return topics_.size(); }

 private:
  struct Flight {
    Sequence sequence = 0;
    bool alone = false;  // out of order: a later one does not wait for it
  };
  struct Topic {
    bool InFlight(Sequence sequence) const;

    Sequence newest = 0;         // accepted last and not ended; 0: none
    Sequence counted_until = 0;  // `count` includes what waited up to this
    std::uint32_t count = 0;     // what the newest stands for
    // Mostly one. Two where a reload has changed the lanes, or where one left out of order.
    std::vector<Flight> in_flight;
    Sequence last_sent = 0;
    Millis sent_ms = 0;
    bool complete = false;  // nothing waits of which an Accept did not tell
    std::optional<Waiting> waiting;
  };
  void Forget();

  std::unordered_map<std::uint64_t, Topic> topics_;
  bool incomplete_ = false;
  bool lost_ = false;
};

}  // namespace offline_post
