// SpoolWorker: carries the outbox's commands out on a Store, in transactions, and goes on without
// one where the disk refuses.
//
// A command's completion is handed out when the transaction that holds it is committed. When a
// transaction fails, its store is given up as a whole, for nothing that it did since the last
// commit is certain, and what it leased or held in memory goes into a shelter: a MemoryOutbox. From
// time to time the file is opened anew; once that succeeds it takes over everything that happened
// meanwhile, in slices, and only then hands out deliveries again, so that each recipient's order is
// kept. For the same reason deliveries wait while earlier ones of their recipient are on the disk
// only. What was cancelled comes last, and what says so: a later delivery may speak for it, and the
// file must never have the one without the other.
//
// Threads: one at a time; health() any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "outbox/memory_outbox.hpp"
#include "outbox/spool_commands.hpp"
#include "outbox/store.hpp"

namespace offline_post {

struct SpoolWorkerOptions {
  StoreOptions store;
  std::string directory;
  std::uint64_t min_free_bytes = 0;
  std::size_t merge_slice = Store::kAppendsPerCommit;  // rows that a recovery merges at a time
};

struct SpoolHealth {
  std::atomic<bool> durable{true};
  std::atomic<bool> disk_has_room{true};
  std::atomic<std::uint64_t> disk_bytes{0};
  std::atomic<std::uint64_t> shelter_bytes{0};  // as EventBytes counts

  // When the oldest pending event of each endpoint was accepted (Unix ms), as of the last look.
  Millis Oldest(EndpointId endpoint) const {
    const std::lock_guard lock(mutex_);
    const auto found = oldest_.find(endpoint);
    return found == oldest_.end() ? 0 : found->second;
  }
  void SetOldest(std::map<EndpointId, Millis> oldest) {
    const std::lock_guard lock(mutex_);
    oldest_ = std::move(oldest);
  }
  Histogram Commits() const {
    const std::lock_guard lock(mutex_);
    return commits_;
  }
  void AddCommit(std::uint64_t us) {
    const std::lock_guard lock(mutex_);
    commits_.Add(us);
  }

 private:
  mutable std::mutex mutex_;
  std::map<EndpointId, Millis> oldest_;  // guarded by mutex_, as the next
  Histogram commits_{kCommitBoundsUs};
};

class SpoolWorker {
 public:
  using Deliver = std::function<void(std::vector<SpoolCompletion>)>;

  SpoolWorker(SpoolWorkerOptions options, const Clock& clock, std::unique_ptr<Store> store,
              Deliver deliver);

  // Carries them out; completions go to `deliver` as soon as they are certain.
  void Run(std::vector<SpoolCommand> commands);
  // What time asks for: late deletes, a look at the disk, the next try to open the file, and, when
  // there is nothing else to do, giving space back.
  void Tick(bool idle);
  // When Tick is useful next.
  std::optional<Millis> NextMs() const;
  // The last commit, and a last try to bring what waits in memory to the disk.
  void Close();

  const SpoolHealth& health() const { return health_; }

 private:
  struct Waiting {
    Delivery delivery;
    std::optional<Millis> due_ms;
  };
  // The end of a delivery whose row may be in the file.
  struct Owed {
    Store::Remains::Done done;
    std::optional<std::pair<Delivery, Note>> dead;
    std::uint64_t doubt = 0;  // the commit that may hold it already
  };
  // An endpoint as the engine's ledger has it.
  struct Truth {
    EndpointKey key;
    Pause pause = Pause::kNone;
    std::uint64_t paused_url = 0;
    std::unordered_map<std::uint64_t, StoredWithdrawal> withdrawals;  // by key
    Counters counters;
    std::uint64_t pending = 0;
    std::uint64_t dead_bytes = 0;
  };

  // With a store.
  void Execute(SpoolCommand& command);
  void Claim(ClaimCommand& claim);
  bool Commit();
  bool CommitIfDue(bool due, std::span<const SpoolCommand> commands = {});
  void Release();
  void Tally(const SpoolCommand& command);
  void Tally(const SpoolCompletion& completion);
  void Emit(SpoolCompletion completion);
  void Say(Notice::Level level, std::string line, std::string topic = "");
  void LookAtDisk();
  void PublishOldest();
  bool LazyIsDue() const;

  // Without (spool_shelter.cpp).
  void Fail(std::span<SpoolCommand> uncommitted);
  void EnterShelter(Store::Remains remains, std::span<SpoolCommand> uncommitted);
  void Shelter(SpoolCommand& command);
  void ShelterClaim(EndpointId endpoint, ClaimLimit limit);
  void ShelterEnd(const Delivery& delivery, Final how, const Note* note);
  // `recipient`: its ordering key from here on.
  void ShelterBack(const Delivery& delivery, std::uint64_t recipient, std::optional<Millis> due_ms);
  void AddWaiting(Delivery delivery, std::optional<Millis> due_ms);
  void RememberHasten(const HastenCommand& command);
  static ImportDone NotImported(const ImportedRows& rows);
  std::optional<Millis> DueOf(const Waiting& waiting) const;
  bool IsStuck(EndpointId endpoint, std::uint64_t recipient) const;
  bool IsDeferred(EndpointId endpoint) const;
  void CountShelter(const Delivery& delivery, bool in);

  // And back (spool_recovery.cpp).
  void Reopen();
  bool TakeFile();
  void SetFileAside(const StoreFault& fault);
  void LoseFile();
  bool Rebase();
  void ResolveDoubts(std::uint64_t commits);
  enum class Owes { kCancelled, kOther };
  bool MergeOwed(Owes which);
  bool MergeLeases();
  void BeginMerge();
  void MergeSlice();
  bool MergeLast();
  void EndMerge();
  void PutOff(const FinishCommand& command);
  void RememberWritten(std::span<const SpoolCommand> commands);
  void RetryLater();

  SpoolWorkerOptions options_;
  const Clock& clock_;
  const Deliver deliver_;
  SpoolHealth health_;
  std::unique_ptr<Store> store_;  // none: the disk refuses
  std::map<EndpointId, Truth> truth_;
  HashKey hash_key_;  // of this run
  Ticket last_ticket_ = 0;
  std::vector<SpoolCompletion> staged_;  // by commands that are not committed
  std::vector<SpoolCompletion> ready_;
  std::set<std::int64_t> told_;         // RowKeys that claims handed out since the last commit
  std::vector<ClaimCommand> awaiting_;  // that find nothing before the next commit
  std::optional<Millis> lazy_since_ms_;
  Millis last_work_ms_ = 0;
  Millis next_look_ms_ = 0;
  bool shrinking_ = true;

  // Without a store, or with one that does not have all yet.
  std::unique_ptr<MemoryOutbox> shelter_;
  std::map<std::int64_t, Delivery> leased_;  // by RowKey
  std::map<std::int64_t, Owed> owed_;        // by RowKey
  std::map<EndpointId, Store::Ends> ends_;   // of deliveries that no store has seen
  std::map<EndpointId, Store::Ends> ends_in_doubt_;
  std::uint64_t ends_doubt_ = 0;  // the commit that may hold those
  // Who has deliveries on the disk that are not in memory.
  std::set<EndpointId> stuck_endpoints_;
  std::set<std::pair<EndpointId, std::uint64_t>> stuck_recipients_;
  std::deque<Waiting> stuck_;
  // Lanes whose due times do not count any more, on the disk and in what is to be merged.
  std::set<std::pair<EndpointId, std::uint64_t>> hastened_;
  Sequence known_until_ = 0;               // a store may have seen deliveries up to here
  std::uint64_t failed_commit_ = 0;        // of unknown fate
  std::uint64_t replay_doubt_ = 0;         // while the failed commit's commands go to the shelter
  std::vector<SpoolCompletion> doubtful_;  // of dead letters' commands in it
  bool rebase_ = false;                    // the file that is opened next is new
  std::optional<Millis> retry_ms_;
  Millis retry_wait_ms_ = 0;
  Millis set_aside_ms_ = std::numeric_limits<Millis>::min() / 2;  // a file, last

  // With a store again, until what waited without is in it.
  bool merging_ = false;
  std::vector<Waiting> merge_;  // stays in memory to the end: the file may fail again
  std::size_t merged_ = 0;      // of those
  std::vector<ClaimCommand> deferred_;
};

}  // namespace offline_post
