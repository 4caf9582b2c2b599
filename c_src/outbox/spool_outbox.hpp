// SpoolOutbox: the durable outbox. Commands are collected on the engine's thread without a lock,
// handed over in one piece with each Poll, and carried out on a storage thread of its own, so that
// nothing waits for a disk; while one transaction is written, the next one is collected.
//
// What is committed outlives the process and the machine's power. Where the disk refuses, it goes
// on in memory and says so (SpoolWorker).
//
// Threads: as Outbox says. `wake` is called on the storage thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/notices.hpp"
#include "engine/outbox.hpp"
#include "model/result.hpp"
#include "outbox/spool_commands.hpp"
#include "outbox/spool_worker.hpp"

namespace offline_post {

struct SpoolOptions {
  std::string directory;
  std::uint64_t min_free_bytes = 256ULL * 1024 * 1024;  // left to others on its disk
  // What may wait in memory for the disk, as EventBytes counts.
  std::uint64_t memory_bytes = 256ULL * 1024 * 1024;
  bool own_thread = true;  // else Poll does the work, and time goes by the clock
  // So long after a commit is collected for the next one, when few come and nobody waits for it.
  std::chrono::milliseconds collect_few{10};
  std::string vfs;      // SQLite's file system layer; empty: the default
  int busy_ms = 5'000;  // how long Open waits for another process to let go of the file
  // Beyond the leases: what is kept in memory of what is on the disk.
  std::size_t cache_deliveries = 8'192;
  std::size_t cache_bytes = std::size_t{16} * 1024 * 1024;
  std::size_t merge_slice = Store::kAppendsPerCommit;  // rows that a recovery merges at a time
};

class SpoolOutbox final : public Outbox {
 public:
  static constexpr const char* kFileName = "mod_offline_post.db";

  // Opens or creates the file in the directory; may wait for `busy_ms`, and for a disk that hangs.
  // A file that is not intact is set aside, which a notice tells with the first Poll, and a new one
  // begun. `notices` is not used before that. Any other error is for the caller, who
  // may go on with a MemoryOutbox. `wake`: completions are ready for a Poll.
  static Result<std::unique_ptr<SpoolOutbox>> Open(const SpoolOptions& options, const Clock& clock,
                                                   Notices& notices, std::function<void()> wake);
  // Carries out what was commanded, commits it and closes the file.
  ~SpoolOutbox() override;  // NOLINT(bugprone-exception-escape): without memory, the end
  SpoolOutbox(const SpoolOutbox&) = delete;
  SpoolOutbox& operator=(const SpoolOutbox&) = delete;

  std::vector<StoredEndpoint> Stored() const override { return stored_; }
  Sequence NextSequence() const override { return next_sequence_; }
  std::vector<StoredLane> TakeStoredLanes() override { return std::exchange(stored_lanes_, {}); }
  std::optional<HashKey> StoredHashKey() const override { return hash_key_; }
  void Register(EndpointId endpoint, const EndpointKey& key) override;
  void SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) override;
  void SetWithdrawal(EndpointId endpoint, std::uint64_t key, Sequence until, Final how) override;
  void ClearWithdrawals(EndpointId endpoint) override;
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
  bool Import(const ImportedRows& rows) override;
  bool Poll(OutboxListener& listener) override;
  bool HasRoom() const override;
  bool IsDurable() const override { return worker_->health().durable; }
  std::uint64_t DiskBytes() const override { return worker_->health().disk_bytes; }
  Millis OldestUnixMs(EndpointId endpoint) const override {
    return worker_->health().Oldest(endpoint);
  }
  Millis SilentMs() const override;
  Histogram CommitTimes() const override { return worker_->health().Commits(); }

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;

  SpoolOutbox(const SpoolOptions& options, const Clock& clock, Notices& notices,
              std::function<void()> wake, std::unique_ptr<Store> store);
  void HandOver();
  bool HandOut(OutboxListener& listener);
  void Deliver(std::vector<SpoolCompletion> completions);
  void Start();

  // The storage thread.
  void Run() noexcept;
  bool AwaitCommands(std::vector<SpoolCommand>& commands);
  void Carry(std::vector<SpoolCommand> commands);
  SteadyTime CollectUntil() const;

  const SpoolOptions options_;
  const Clock& clock_;
  Notices& notices_;
  const std::function<void()> wake_;
  std::vector<StoredEndpoint> stored_;
  std::vector<StoredLane> stored_lanes_;
  Sequence next_sequence_ = 1;
  HashKey hash_key_;

  // The engine's thread.
  std::vector<SpoolCommand> collected_;
  bool urgent_ = false;  // what was collected is awaited
  bool hurry_ = false;   // by somebody who does nothing else meanwhile
  std::size_t collected_appends_ = 0;
  std::uint64_t collected_bytes_ = 0;
  Ticket last_ticket_ = 0;

  // Between the two.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<SpoolCommand> inbox_;  // guarded by mutex_, as the next six
  bool inbox_urgent_ = false;
  bool inbox_hurry_ = false;
  std::size_t inbox_appends_ = 0;
  bool stopping_ = false;
  // What the storage thread sleeps for; whoever wakes it says so here.
  enum class Sleep { kAwake, kForAny, kForUrgent, kForHurry, kForBatch } sleep_ = Sleep::kAwake;
  std::vector<SpoolCompletion> done_;
  std::atomic<bool> any_done_{false};
  std::atomic<Millis> asked_ms_{0};  // when the disk was given what it is at; 0: it is idle
  std::atomic<std::uint64_t> inbox_bytes_{0};  // handed over and not yet carried out

  // The storage thread's own; without one, the engine's.
  std::unique_ptr<SpoolWorker> worker_;
  std::size_t last_appends_ = 0;  // in the last batch
  SteadyTime last_batch_;         // when it was done
  std::thread thread_;
};

}  // namespace offline_post
