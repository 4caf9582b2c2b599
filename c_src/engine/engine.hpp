// Engine: what is sent when. It takes accepted events, keeps them in an Outbox, holds a bounded
// window of them, and sends them through a Transport: per recipient in order, per origin within the
// breaker's limits, with retries after the schedule. Pure: no thread, socket, file or clock of its
// own, so that a whole history can run in one simulated world.
//
// Threads: one, the caller's; a Ledger may be read and reserved on by any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/agenda.hpp"
#include "engine/breaker.hpp"
#include "engine/budget.hpp"
#include "engine/failing.hpp"
#include "engine/ledger.hpp"
#include "engine/notices.hpp"
#include "engine/outbox.hpp"
#include "engine/shared_order.hpp"
#include "engine/topics.hpp"
#include "engine/transport.hpp"
#include "engine/window.hpp"
#include "engine/withdrawals.hpp"
#include "model/clock.hpp"
#include "model/endpoint.hpp"
#include "model/event.hpp"

namespace offline_post {

// What was accepted for a recipient, or of one topic of his, and has not left, is to end now.
struct Withdrawal {
  std::uint64_t recipient = 0;    // RecipientKey
  std::uint64_t topic = 0;        // TopicKey; 0: all
  Final how = Final::kCancelled;  // or kPurged; with all, also the recipient's dead letters
};

class Engine final : public OutboxListener, public TransportListener {
 public:
  // Deliveries that are held leased per endpoint, or more if its connections are many: enough to
  // keep all busy while the outbox answers, small enough to bound memory whatever the backlog.
  static constexpr std::size_t kWindow = 2'048;
  // The same where they leave in batches: so many that full batches are under way while the next
  // ones come.
  static constexpr std::size_t kBatchWindow = 8'192;
  // How long a batch that is due, and not full, waits for a Claim that is under way.
  static constexpr Millis kFillingMs = 20;
  // Bulk work (what a removed endpoint left) goes in slices of so many deliveries a turn, a
  // millisecond apart.
  static constexpr std::size_t kSlice = 500;
  // What an endpoint may still get wrong before a message that others overtake is dead.
  static constexpr int kMisconfiguredAttempts = 5;
  // After so many failures between which others were delivered a message leaves its recipient's
  // order and is retried alone.
  static constexpr int kFailuresInOrder = 5;
  // After so many attempts an event leaves alone: it may be what makes the receiver stumble.
  static constexpr int kAttemptsInCompany = 2;
  // Between slices of what is hastened: the storage thread commits others' work in between.
  static constexpr Millis kHastenMs = 20;
  // An endpoint that is not configured (any more, or yet) holds back those that share its order for
  // so long: the two start one after another, and a module may be restarted.
  static constexpr Millis kReturnMs = 60'000;
  // A delivery that waits for another one of its shared order is woken when that one has ended. It
  // also looks by itself: the older it is, the less often, but at least so often.
  static constexpr Millis kLookMs = 600'000;
  // How often the log is told of an endpoint in trouble.
  static constexpr Millis kSummaryMs = 60'000;
  // How often the retention of dead letters is looked after.
  static constexpr Millis kPurgeMs = 60'000;

  // `next`: where the list goes on, if it does.
  using ListCallback =
      std::function<void(std::vector<DeadLetter> letters, std::optional<Sequence> next)>;
  using CountCallback = std::function<void(std::uint64_t count)>;

  struct ImportSlice {
    std::string source;  // see ImportedRows, as of `position`
    std::vector<Delivery> pending;
    std::vector<DeadLetter> dead;
    ImportPosition position;  // after the whole slice
  };
  struct ImportResult {
    enum class End {
      kAll,
      kFull,     // the rest of the slice has no room
      kStopped,  // nothing is accepted for this endpoint
      kRefused,  // the outbox is in memory only, or has lost the rows: none is kept
    } end = End::kAll;
    std::uint64_t pending = 0;  // how many of the slice are kept here, on the disk
    std::uint64_t dead = 0;
    ImportPosition position;  // where to go on
  };
  using ImportCallback = std::function<void(ImportResult)>;

  // While memory is short, how often those that cannot send are asked for what they hold.
  static constexpr Millis kReliefMs = 1'000;

  // All must outlive the engine. `seed`: for jitter. `memory_bytes`: see Budget.
  Engine(Outbox& outbox, Transport& transport, const Clock& clock, Notices& notices,
         std::uint64_t seed, std::size_t memory_bytes = Budget::kBytes);

  // What an earlier run has left, before anything else; `ledger` knows its counters already. What
  // belongs to an endpoint that does not come back is dead after a while.
  void Restore(const StoredEndpoint& stored, std::shared_ptr<Ledger> ledger);

  // A new endpoint, a changed one, or one that comes back: what is queued is sent with the new
  // values from its next attempt on. A change, or another URL, resumes what 410 has paused.
  void Configure(EndpointId id, std::shared_ptr<const Endpoint> config,
                 std::shared_ptr<Ledger> ledger);
  // Gives up what is in flight, and keeps what is pending until the endpoint comes back or max_age
  // is over.
  void Remove(EndpointId id);
  // It is about to be removed: what waits for company leaves without. Until the next Configure.
  void Drain(EndpointId id);

  // An event for which room was reserved in the endpoint's ledger. It takes the place of an earlier
  // one of its topic that waits. One that ends a call withdraws the call's offer: if that waits,
  // the event ends with it, for nobody was told of the call; behind an offer that is in flight, or
  // was delivered, it is sent.
  void Accept(EndpointId id, std::shared_ptr<const Event> event, CommitCallback committed = {});

  // What is in flight ends so only if it fails.
  void Withdraw(EndpointId id, const Withdrawal& withdrawal);

  // What waits for a retry is tried now, in slices.
  void Hasten(EndpointId id);

  // Sends one event at once, whatever state the endpoint is in: it is neither pending nor counted,
  // and what comes back says nothing to breakers. The answer comes in a later turn; none if the
  // endpoint is unknown or goes.
  using TestCallback = std::function<void(const Outcome& outcome, Millis took_ms)>;
  void Test(EndpointId id, std::shared_ptr<const Event> event, TestCallback done);

  // The operator's: nothing is sent until Resume, which ends any pause.
  void Pause(EndpointId id);
  void Resume(EndpointId id);

  // Dead letters of an endpoint, in order of sequence; the answer comes in a later turn.
  void ListDead(EndpointId id, DeadFilter filter, Sequence after, std::size_t limit,
                ListCallback done);
  void ReplayDead(EndpointId id, DeadFilter filter, CountCallback done);
  void DropDead(EndpointId id, DeadFilter filter, CountCallback done);

  // Takes over a slice of what another node has left for this endpoint, from the front on as far as
  // there is room; sequences are the other's. Its events keep their ids, and come behind what waits
  // here. They have lost their topics, which another node's key was needed to tell.
  void Import(EndpointId id, ImportSlice slice, ImportCallback done);

  // Does what can be done now: commits, claims, sends. Call it after Accept, completions, and at
  // NextTurnMs.
  void Turn();
  // When time alone makes a Turn useful (monotonic ms).
  std::optional<Millis> NextTurnMs() const;

  // What it holds of all endpoints' queues, as EventBytes counts.
  std::size_t held_bytes() const { return budget_.held(); }

  // Nothing of this endpoint is in flight, and nothing can be sent now.
  bool Idle(EndpointId id) const;
  // The sum of the connections that the origins may use.
  int ConnectionLimit() const { return connection_limit_; }

  void OnCommitted(Ticket ticket, bool durable) override;
  void OnClaimed(EndpointId id, Claimed claimed) override;
  void OnDeadVisited(DeadVisited visited) override;
  void OnPurged(const DeadPurged& purged) override;
  void OnLost(EndpointId id, std::uint64_t count, std::uint64_t bytes) override;
  void OnImported(const ImportDone& done) override;
  void OnDone(RequestId id, std::vector<Outcome> outcomes) override;

 private:
  struct EndpointRecord;

  // What keeps a breaker open. The log is told of its end if it was told of it before: so its last
  // word is right, however often things change.
  struct Trouble {
    std::string why;
    Millis since_ms = 0;
    bool told = false;
  };

  struct OriginRecord : std::enable_shared_from_this<OriginRecord> {
    std::uint64_t id = 0;
    const Origin* key = nullptr;  // in origins_
    AgendaEntry agenda;
    std::string name;  // OriginText
    Breaker breaker;
    RequestId probe = 0;             // the latest
    Sequence last_trouble = 0;       // whose attempt it was
    std::uint64_t delivered_at = 0;  // Engine::delivered_ at its last delivered event of this run
    int in_flight = 0;               // requests
    Trouble trouble;
    std::map<EndpointId, EndpointRecord*> endpoints;
    std::multiset<int> limits;  // their max_connections
    // Of those the ones that have something to send now, as far as they themselves are concerned:
    // they take turns. Whether that is still so is seen when one is asked.
    std::map<EndpointId, EndpointRecord*> ready;
    EndpointId last = 0;         // whose turn it was
    bool probe_claimed = false;  // memory is short: one of them claims what the probe will carry
  };

  struct EndpointRecord {
    EndpointId id = 0;
    AgendaEntry agenda;
    std::shared_ptr<const Endpoint> config;
    std::shared_ptr<Ledger> ledger;
    OriginRecord* origin = nullptr;  // none: removed
    Window window;
    // Taken from the window, and to leave before anything else in it, each group as a request of
    // its own: the halves of refused batches, and what must leave alone.
    std::deque<std::vector<Delivery>> apart;
    // Since when a batch that is due waits for a Claim that may fill it.
    std::optional<Millis> filling_ms;
    Withdrawals withdrawals;
    Topics topics;
    Failing failing;
    std::uint64_t delivered_at = 0;  // as the origin's
    std::uint64_t in_outbox = 0;     // there and not leased
    int in_flight = 0;               // requests
    std::size_t promised = 0;        // bytes, to that claim
    std::optional<Millis> next_due;
    // Recipients of what was given back since the Claim on its way: what it brings comes later.
    std::unordered_set<std::uint64_t> held_back;
    enum Pause pause = Pause::kNone;
    std::uint64_t paused_url = 0;  // Fingerprint of the URL that answered 410
    std::uint64_t dead = 0;        // letters in the outbox
    std::uint64_t dead_bytes = 0;  // of those
    Millis purge_ms = 0;           // when retention is looked after next
    Recipients removed;            // accounts whose letters are to be purged
    // What 401, 404 and the like open: the origin is well, and its other endpoints go on.
    Breaker gate;
    RequestId gate_probe = 0;  // the latest
    Sequence last_misconfigured = 0;
    Trouble misconfigured;             // what the gate has seen
    Millis hasten_ms = 0;              // when the next slice may be hastened
    std::uint64_t hasten_left = 0;     // slices
    std::optional<Millis> summary_ms;  // in trouble: when the log is told next
    Millis trouble_ms = 0;             // when that began
    Millis bury_ms = 0;                // removed: when what it left is dead
    Millis return_ms = 0;  // removed: until when it holds back those that share its order
    // Flags.
    bool draining = false;      // about to be removed
    bool shares_order = false;  // see SharedOrder
    bool claiming = false;
    bool claims_probe = false;      // it is OriginRecord::probe_claimed
    bool waits_for_plenty = false;  // in the budget's other list
    bool waits_for_memory = false;  // in the budget's list
    bool claimable = false;         // in_outbox may hold something that does not wait
    bool purging = false;
    bool purging_removed = false;
  };

  struct InFlight {
    RequestId id;
    EndpointRecord* endpoint;
    std::shared_ptr<const Endpoint> config;
    std::shared_ptr<OriginRecord> origin;  // the one it left for, whatever a reload did since
    std::vector<Delivery> deliveries;
    Millis sent_ms = 0;
  };

  struct TestInFlight {
    EndpointId endpoint = 0;
    TestCallback done;
    Millis sent_ms = 0;
  };

  // Work on dead letters that takes several slices, or a list.
  struct DeadJob {
    DeadVisit visit;
    bool visiting = false;
    Millis next_ms = 0;
    std::uint64_t count = 0;
    std::vector<DeadLetter> letters;
    ListCallback listed;
    CountCallback counted;
  };

  // A slice on its way into the outbox.
  struct ImportJob {
    EndpointId endpoint = 0;
    std::uint64_t reserved = 0;  // in the ledger
    std::uint64_t bytes = 0;
    ImportResult result;
    ImportCallback done;
  };

  void Attach(EndpointRecord& endpoint);
  void Detach(EndpointRecord& endpoint);
  static int Limit(const OriginRecord& origin);
  void LimitChanged(OriginRecord& origin, int before);
  void PruneOrigins();
  void CancelInFlight(EndpointRecord& endpoint);
  // Null: unknown. Whatever is done to it, it is looked at in the next turn.
  EndpointRecord* Find(EndpointId id);
  EndpointRecord& At(EndpointId id);
  void LookAtDue();
  void LookAt(EndpointRecord& endpoint);
  static bool IsReady(const EndpointRecord& endpoint, Millis now_ms);
  static std::optional<Millis> NextLookMs(const EndpointRecord& endpoint, Millis now_ms);
  void Claim(EndpointRecord& endpoint);
  std::size_t ShareOf(EndpointRecord& endpoint);
  static bool IsStuck(const EndpointRecord& endpoint);
  static std::optional<Millis> ProbeMs(const EndpointRecord& endpoint);
  void EndClaim(EndpointRecord& endpoint);
  void ServeWaiting();
  void Relieve();
  void Dispatch(OriginRecord& origin);
  static bool IsProbe(const InFlight& flight);
  static bool IsGateProbe(const InFlight& flight);
  static bool IsHeldBack(const EndpointRecord& endpoint);
  bool SendNext(OriginRecord& origin);
  std::vector<Delivery> TakeNext(EndpointRecord& endpoint);
  void Send(OriginRecord& origin, EndpointRecord& endpoint, std::vector<Delivery> deliveries);
  std::vector<Delivery> TakeOne(EndpointRecord& endpoint);
  std::vector<Delivery> TakeProbe(EndpointRecord& endpoint);
  std::vector<Delivery> TakeApart(EndpointRecord& endpoint);
  std::vector<Delivery> TakeBatch(EndpointRecord& endpoint);
  bool IsBatchDue(EndpointRecord& endpoint);
  static std::optional<Millis> BatchDueMs(const EndpointRecord& endpoint);
  Request Build(EndpointRecord& endpoint, RequestId id, std::vector<Delivery>& deliveries);
  static void GiveBack(EndpointRecord& endpoint, std::vector<Delivery> deliveries);
  static void GiveBackApart(EndpointRecord& endpoint);
  std::vector<Delivery> ExtractApart(EndpointRecord& endpoint, const Window::Predicate& leaves);
  void Split(InFlight& flight);
  // False: it goes back to its place in the window, which the caller sees to.
  bool Settle(const InFlight& flight, Delivery& delivery, const Outcome& outcome);
  void CountFailure(const InFlight& flight, Delivery& delivery, const Outcome& outcome) const;
  void Retry(EndpointRecord& endpoint, Delivery delivery, const Outcome& outcome);
  void LeaveOrder(EndpointRecord& endpoint, Delivery delivery, Millis due_ms, const Note& note);
  static void PublishFailing(const EndpointRecord& endpoint);
  void Bury(EndpointRecord& endpoint, const Delivery& delivery, const Note& note);
  void Finish(EndpointRecord& endpoint, const Delivery& delivery, Final how, const Note& note);

  // How a delivery ends that is not to leave any more.
  struct Verdict {
    Final how = Final::kCancelled;
    bool superseded = false;  // a later one of its topic speaks for it
  };
  static std::optional<Verdict> VerdictOn(const EndpointRecord& endpoint, const Delivery& delivery);
  // Of one that was in flight, and failed.
  static std::optional<Verdict> VerdictOnFailed(const EndpointRecord& endpoint,
                                                const Delivery& delivery);
  void End(EndpointRecord& endpoint, const Delivery& delivery, Verdict verdict);
  void EndFailed(EndpointRecord& endpoint, const Delivery& delivery, Verdict verdict);
  void Mark(EndpointRecord& endpoint, const StoredWithdrawal& mark);
  void WithdrawUntil(EndpointRecord& endpoint, const Withdrawal& withdrawal, Sequence until);
  void Supersede(EndpointRecord& endpoint, const Event& event, Sequence until, Sequence earlier);
  void EndCall(EndpointRecord& endpoint, const Event& event, Sequence sequence);
  void ClearMarks(EndpointRecord& endpoint);
  bool HasPending(const EndpointRecord& endpoint) const;
  static Sequence WithdrawnUntil(const EndpointRecord& endpoint, const Event& event);
  Topics::Place Enter(EndpointRecord& endpoint, const Event& event, Sequence sequence) const;
  static Millis IntervalOf(const Endpoint& config, const Event& event);
  static std::uint64_t LaneOf(const Endpoint& config, const Event& event, Sequence sequence);
  bool MayLeave(EndpointRecord& endpoint, Delivery& delivery);
  void PutOff(EndpointRecord& endpoint, const Delivery& delivery, Millis due_ms);
  // When to look again, if one that shares the order must leave first.
  std::optional<Millis> SharedDueMs(const Delivery& delivery);
  void EnterShared(const StoredLane& delivery, bool waits);
  // It has ended, or keeps no order any more: in its lane as that was when it was accepted.
  void LeaveShared(const EndpointRecord& endpoint, const Delivery& delivery);
  void ForgetShared(const EndpointRecord& endpoint);
  void Wake(const SharedOrder::Next& next);

  void Park(EndpointRecord& endpoint, const Delivery& delivery);
  void SetPause(EndpointRecord& endpoint, enum Pause pause);
  void PauseGone(EndpointRecord& endpoint);
  void AddDeadJob(EndpointId id, DeadAct act, DeadFilter filter, DeadJob job);
  void PurgeRemoved(EndpointRecord& endpoint);
  bool MustWait(const DeadJob& job) const;
  void VisitDead();
  static bool IsCrowded(const EndpointRecord& endpoint);
  void PurgeDead(EndpointRecord& endpoint);
  void ReportToBreakers(InFlight& flight, const Outcome& outcome);
  bool ReportToGate(const InFlight& flight, const Outcome& outcome, bool probe,
                    std::optional<Millis> retry_after);
  void HastenProbes(EndpointRecord& endpoint);
  void HastenSlice(EndpointRecord& endpoint);
  void Summarize(EndpointRecord& endpoint);
  void TellEnd(Trouble& trouble, const std::string& what, const std::string& pending);
  void TellPause(const EndpointRecord& endpoint, Notice::Level level, const std::string& what);
  // "3 notifications"
  static std::string Pending(const OriginRecord& origin);
  static std::string Pending(const EndpointRecord& endpoint);
  void EndTest(RequestId id, const Outcome& outcome);
  void Observe(const InFlight& flight, const std::vector<Outcome>& outcomes) const;
  void PublishConcurrency(const EndpointRecord& endpoint) const;
  static std::string WhyOf(const EndpointRecord& endpoint, EndpointState state);
  void PublishState(OriginRecord& origin);
  void PublishState(const EndpointRecord& endpoint) const;
  static std::size_t WindowSize(const EndpointRecord& endpoint);
  double Unit();

  Outbox& outbox_;
  Transport& transport_;
  const Clock& clock_;
  Notices& notices_;
  std::mt19937_64 random_;
  Sequence next_sequence_;
  std::uint64_t delivered_ = 0;  // events of all endpoints, those of earlier runs included
  RequestId next_request_ = 1;
  bool appended_ = false;
  bool durable_ = true;                    // what the last commit said
  std::vector<CommitCallback> unflushed_;  // of what was appended
  std::uint64_t next_job_ = 1;
  std::map<std::uint64_t, DeadJob> dead_jobs_;
  std::map<std::uint64_t, ImportJob> import_jobs_;
  SharedOrder order_;
  Budget budget_;
  Millis next_relief_ms_ = 0;
  bool relief_wanted_ = false;  // something waits, or is stuck, that was not before
  std::map<EndpointId, EndpointRecord> endpoints_;
  Agenda<EndpointRecord> due_endpoints_;
  std::map<Origin, std::shared_ptr<OriginRecord>> origins_;
  std::vector<OriginRecord*> unused_origins_;  // had no endpoint when last looked at
  Agenda<OriginRecord> due_origins_;           // those that may send something
  std::uint64_t last_origin_ = 0;
  int connection_limit_ = 0;  // the sum of the origins' limits
  std::unordered_map<RequestId, InFlight> in_flight_;
  std::map<RequestId, TestInFlight> tests_;
};

}  // namespace offline_post
