// Book: what really happened to each event, kept apart from the engine's counters. Both ports
// report here, and the book objects to whatever breaks a promise by throwing a Violation.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend.hpp"
#include "basics.hpp"
#include "breaker_model.hpp"
#include "disk.hpp"
#include "engine/engine.hpp"
#include "engine/ledger.hpp"
#include "model/outcome.hpp"
#include "model/request.hpp"
#include "payload/answer.hpp"

namespace offline_post::simulation {

// Where an event is, by what was commanded so far.
enum class Place {
  kPending,
  kDelivered,
  kDead,
  kCancelled,
  kPurged,
  kLost,  // the disk's fault, and said so
  kGone,  // was not committed when the process died
};
inline constexpr std::size_t kPlaces = 7;

struct Entry {
  std::shared_ptr<const Event> event;
  EndpointId endpoint = 0;
  std::uint64_t lane = 0;  // of which it keeps the order; 0: none
  Place place = Place::kPending;
  Sequence sequence = 0;
  bool committed = false;  // may be sent
  bool durable = false;    // outlives the process
  bool leased = false;
  bool undisposed = false;  // failed, and the engine has not said what becomes of it
  bool answered = false;    // the engine knows of a 2xx
  std::optional<RequestId> flight;
  int attempts = 0;  // as the delivery should count them
  int misconfigured = 0;
  std::uint64_t others_delivered = 0;      // the endpoint's, at the first misconfigured answer
  int failures = 0;                        // between which the origin delivered others
  std::uint64_t delivered_at_failure = 0;  // Book::delivered_ at the last
  bool out_of_order = false;               // it has left its recipient's order
  bool left_once = false;                  // the same, whatever a crash or a replay undid
  bool known = false;                      // so, and the engine has seen it in this run
  Millis accepted = 0;
  Millis not_before = 0;
  OutcomeClass last = OutcomeClass::kTrouble;  // what the last answer was
  int last_status = 0;
  Millis retry_after = 0;   // what the last answer really asked for
  bool last_alone = false;  // the last answer was about this one alone
  bool blamed = false;      // the delivery counts answers like 404
  RequestId half_of = 0;    // refused as part of this request, and to leave before what is new
  std::size_t most = 0;     // with so many others of it at most, itself included
  Millis died = 0;
  std::uint64_t replayed_by = 0;  // the latest replay in this run
  int received = 0;               // times that the backend took it

  std::uint64_t recipient = 0;  // the lane that it was appended to, as the outbox sees it
  // Why it must not be sent any more, and whether a crash cannot change that.
  bool withdrawn = false;
  bool withdrawn_for_sure = false;
  bool superseded = false;  // it waited when a later one of its topic came
  bool superseded_for_sure = false;
  bool overtaken = false;  // the same, but it was in flight then
  Millis withdrawn_at = 0;
  // How it may end without an answer.
  bool may_cancel = false;
  bool may_purge = false;
  bool must_purge = false;   // dead when its account was removed
  bool by_topic = false;     // it was cancelled for a later one
  bool replayed = false;     // in this run: its topic does not know of it
  std::uint32_t weight = 1;  // what it stands for
  bool weighed = true;       // exactly

  // Of endpoints that share an order: this one keeps none with the sibling.
  bool free = false;
  bool put_off = false;  // it waits in the outbox for the sibling's
  bool ever_put_off = false;
  Millis woken = 0;  // when the last of those ended
};

// A topic of one endpoint in this run.
struct TopicSeen {
  std::size_t newest = 0;  // the entry accepted last, plus one
  Sequence latest = 0;     // the largest sequence
  bool known = false;      // the engine knows of the newest
  bool unsure = false;     // a call's end met what the engine may know or not
  bool replayed = false;   // the engine knows a replayed one from its first attempt on
  std::size_t sent = 0;    // the entry sent last, plus one
  Millis sent_at = 0;
};

struct OriginSeen {
  explicit OriginSeen(const std::string& host) : breaker(host) {}
  BreakerModel breaker;
  int in_flight = 0;
  std::uint64_t delivered_at = 0;  // Book::delivered_ at its last delivered event of this run
  std::set<EndpointId> sites;
};

// An endpoint as the world sees it.
struct Site {
  Site() : gate("gate") {}
  EndpointId id = 0;
  EndpointKey key;
  std::shared_ptr<const Endpoint> config;  // none: removed, or not configured in this run
  std::shared_ptr<Ledger> ledger;          // of this run
  std::shared_ptr<OriginSeen> origin;
  BreakerModel gate;
  Pause pause = Pause::kNone;
  Pause stored_pause = Pause::kNone;  // that the outbox was told of
  std::uint64_t paused_url = 0;       // its fingerprint
  Millis removed = 0;                 // when, and for how long what it left is kept
  Millis kept_for = 0;
  Millis configured = 0;
  std::optional<Millis> crowded;  // since when it has too many dead letters
  int in_flight = 0;              // requests
  int out = 0;                    // deliveries
  std::size_t leased = 0;
  std::size_t most_leased = 0;   // that the engine may hold
  std::set<std::size_t> held;    // numbers of the entries that are leased
  std::set<std::size_t> halves;  // and of those that are half_of something, and not out
  std::uint64_t delivered_ever = 0;
  std::uint64_t delivered_at = 0;  // as the origin's
  // Numbers of the entries that are pending and have failed: others wait behind; out of order.
  std::set<std::size_t> waited_for;
  std::set<std::size_t> out_of_order;
  bool lost = false;         // some, in this run, and the engine does not hear which
  std::uint64_t slices = 0;  // that may be hastened
  std::array<std::uint64_t, kPlaces> count{};
  std::uint64_t pending_bytes = 0;
};

// What the engine may hold leased.
inline std::size_t WindowOf(const Endpoint& config) {
  return std::max(
      config.batch.max_events > 1 ? Engine::kBatchWindow : Engine::kWindow,
      2 * Outbox::kLeasedPerRecipient * static_cast<std::size_t>(config.max_connections));
}

class Book {
 public:
  // `memory_bytes`: what the engine may hold of all queues.
  Book(const SimClock& clock, std::size_t memory_bytes, bool trace)
      : clock_(clock), memory_bytes_(memory_bytes), trace_(trace) {}

  // Prints what happens, with its time. Costly to say: ask first.
  bool tracing() const { return trace_; }
  void Trace(const std::string& what) const;

  // The world's side.
  Site& site(EndpointId id) { return sites_.at(id); }
  std::map<EndpointId, Site>& sites() { return sites_; }
  const std::vector<Entry>& entries() const { return entries_; }
  std::shared_ptr<Event> NewEvent(int user, std::size_t bytes);
  void Submitted(EndpointId id, const std::shared_ptr<const Event>& event);
  void Withdrawn(EndpointId id, const Withdrawal& withdrawal);
  // Everything that was commanded is on the disk.
  void BecomeSure();
  // Withdrawn at its recipient's command long before `until`, and still waits somewhere.
  const Entry* Overdue(EndpointId id, Millis until);
  void CheckPurged() const;
  // It waits for a sibling's delivery that has ended long before `until`.
  const Entry* Forgotten(EndpointId id, Millis until);
  void ToldCommitted(const Event& event, bool durable);
  void Configured(EndpointId id, const std::shared_ptr<const Endpoint>& config);
  void Removed(EndpointId id);
  void Resumed(EndpointId id);
  void Hastened(EndpointId id);
  // A new run begins on what the disk has kept.
  void Reopened(const Disk& disk);

  // The outbox's side: commands as they are given, and what the disk did.
  void Appended(const Delivery& delivery);
  void Claimed(EndpointId id, std::size_t limit);
  void Finished(const Delivery& delivery, Final how, const Note& note);
  void Rescheduled(const Delivery& delivery, Millis due, const Note& note);
  void LeftOrder(const Delivery& delivery, Millis due, const Note& note);
  // A slice of what waits may leave before its time; this delivery of it.
  void SliceHastened(EndpointId id);
  void Hastened(const Delivery& delivery);
  void Parked(const Delivery& delivery);
  void PauseSet(EndpointId id, Pause pause);
  void Purging(const DeadPurge& purge);
  void Committed(const Delivery& delivery, bool durable);
  void AllDurable();
  void Leased(const Delivery& delivery);
  void Replayed(const Delivery& delivery, std::uint64_t tag);
  void Moved(const Delivery& delivery, Place to);
  void PurgedFor(const Delivery& letter);
  // What is pending of the endpoint keeps no order with its sibling any more.
  void ForgetShared(EndpointId id);

  // The transport's side.
  void Sent(const Request& request);
  void Answering(const Request& request, const Fate& fate, Millis retry_after);
  void Settled(const Request& request);
  void Cancelled(const Request& request);

  Entry& Find(const Event& event);
  // What a request says it carries, in its order.
  std::vector<Entry*> Carried(const Request& request);
  // When the engine must have sent something of what it holds, if nothing is out and nothing
  // forbids it.
  Millis LatestSend(const Site& site) const;
  int in_flight(const std::string& host) const;
  std::uint64_t doubles() const { return doubles_; }
  std::uint64_t left_order() const { return left_order_; }
  void Received(Entry& entry);

 private:
  void Place(Entry& entry, enum Place place);
  void CheckPayload(const Request& request, const std::vector<Entry*>& carried,
                    const Site& site) const;
  void CheckSent(const Request& request, Sequence sequence, Entry& entry, Site& site);
  void CheckBatch(const Request& request, const std::vector<Entry*>& carried, const Site& site);
  void AnswerFor(Entry& entry, OriginSeen& origin, const Said& said, Millis retry_after);
  void CheckRetry(Entry& entry, const Delivery& delivery, Millis due, const Note& note);
  void CountFailing(const Entry& entry);
  void Halve(const Request& request, const std::vector<Entry*>& carried, Site& site);
  void Unhalve(Site& site);
  std::size_t NumberOf(const Entry& entry) const {
    return static_cast<std::size_t>(&entry - entries_.data());
  }
  void CheckMemory() const;
  void EnterTopic(Entry& entry);
  void EnterEnd(Entry& end);
  void WithdrawOne(std::size_t number);
  void EnterShared(Entry& entry, bool free);
  void LeaveShared(const Entry& entry);
  void CheckOrder(const Entry& entry) const;
  bool WaitsForSibling(const Entry& entry) const;
  void CheckUnanswered(Entry& entry, Final how);
  void CheckMayLeave(Entry& entry, const Site& site);
  bool IsPutOff(const Entry& entry, const Site& site, Millis wait);
  void ReopenTopics(const Disk& disk);
  void CheckDeath(const Entry& entry, const Delivery& delivery, const Note& note);
  Entry& Owned(const Delivery& delivery, const char* what, bool counted = true);
  void EndFlight(const Request& request, const std::vector<Entry*>& carried);
  void Leave(Entry& entry);
  void Forget();
  int Limit(const OriginSeen& origin);
  std::string Say(const Entry& entry) const;

  const SimClock& clock_;
  std::size_t memory_bytes_;
  std::size_t leased_bytes_ = 0;
  std::size_t largest_bytes_ = 0;  // of one delivery
  bool trace_;
  std::vector<Entry> entries_;
  std::map<EndpointId, Site> sites_;
  std::map<std::string, std::shared_ptr<OriginSeen>> origins_;
  std::map<std::string, int> wire_;  // requests in flight per host, whatever the engine thinks
  std::unordered_map<std::uint64_t, std::set<Sequence>> lanes_;  // pending, in order
  struct Flight {
    std::shared_ptr<OriginSeen> origin;
    std::shared_ptr<const Endpoint> config;
  };
  std::unordered_map<RequestId, Flight> flights_;
  std::map<std::pair<EndpointId, std::uint64_t>, TopicSeen> topics_;
  // Of endpoints that share an order: the entries that are pending, by recipient and sequence.
  std::unordered_map<std::uint64_t, std::map<Sequence, std::size_t>> shared_;
  std::vector<std::size_t> woken_;     // entries whose sibling's have ended
  Millis lost_ = -1;                   // when a file was ruined last
  std::vector<std::size_t> unsure_;    // entries of the latest withdrawals and collapses
  std::vector<std::size_t> hastened_;  // withdrawn, and nobody has to wait for their time
  std::uint64_t doubles_ = 0;
  std::uint64_t delivered_ = 0;  // events that were answered 2xx
  std::uint64_t left_order_ = 0;
};

}  // namespace offline_post::simulation
