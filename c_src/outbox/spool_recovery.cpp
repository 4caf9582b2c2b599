// The worker's way back: the file is opened anew, and takes over what went on without it. Any step
// may fail again; nothing leaves memory before the commit that holds it.
#include <algorithm>
#include <utility>

#include "outbox/spool_worker.hpp"

namespace offline_post {

namespace {

constexpr Millis kLongestRetryMs = 30'000;

// A command on dead letters, or an import, that did not take effect.
void Undo(SpoolCompletion& completion) {
  if (auto* visited = std::get_if<DeadVisited>(&completion)) {
    visited->count = 0;
    visited->bytes = visited->dead_bytes = 0;
    visited->next.reset();
    visited->reached = false;
  }
  if (auto* purged = std::get_if<DeadPurged>(&completion)) *purged = {purged->endpoint};
  if (auto* imported = std::get_if<ImportDone>(&completion)) {
    *imported = {imported->tag, imported->endpoint, 0, 0, 0, 0, {}, false};
  }
}

}  // namespace

void SpoolWorker::RetryLater() {
  retry_wait_ms_ = std::min(2 * retry_wait_ms_, kLongestRetryMs);
  retry_ms_ = clock_.MonotonicMs() + retry_wait_ms_;
}

void SpoolWorker::Reopen() {
  if (!TakeFile()) {
    RetryLater();
    return;
  }
  if (Rebase() && MergeOwed(Owes::kOther) && MergeLeases()) {
    BeginMerge();
    return;
  }
  const StoreFault fault = store_->fault();
  known_until_ =
      std::max(known_until_, store_->last_sequence());  // half a merge may have left rows
  store_.reset();
  RetryLater();
  if (fault.corrupt) SetFileAside(fault);
}

bool SpoolWorker::TakeFile() {
  StoreOptions options = options_.store;
  options.busy_ms = 0;
  Store::Opened opened = Store::Open(options, clock_);
  if (!opened.store && opened.fault.corrupt) {
    SetFileAside(opened.fault);
    opened = Store::Open(options, clock_);
  }
  if (opened.store) {
    if (opened.store->commits() == 0 && failed_commit_ > 1 && !rebase_) {
      Say(Notice::Level::kError, "the spool " + options_.store.path +
                                     " was removed while the node ran: what waited only there is "
                                     "lost");
      LoseFile();
    }
    // Before Settle, which counts as a commit.
    ResolveDoubts(opened.store->commits());
    opened.store->Settle();
    if (opened.store->ok()) {
      store_ = std::move(opened.store);
      return true;
    }
    opened.fault = opened.store->fault();
    opened.store.reset();
    if (opened.fault.corrupt) SetFileAside(opened.fault);
  }
  Say(Notice::Level::kError, opened.fault.text + ". Notifications still wait in memory",
      "spool refuses");
  return false;
}

void SpoolWorker::SetFileAside(const StoreFault& fault) {
  const auto name = SetAside(options_.store.path, clock_.UnixMs());
  if (!name) {
    Say(Notice::Level::kError, fault.text + ", and it cannot be renamed: move it away",
        "spool set aside");
    return;
  }
  Say(Notice::Level::kError,
      fault.text + ". It is kept as " + *name + " (try: sqlite3 FILE .dump), and a new one begun");
  LoseFile();
  // At once, but not again and again on a disk that ruins every file.
  if (std::exchange(set_aside_ms_, clock_.MonotonicMs()) < clock_.MonotonicMs() - 10'000) {
    retry_ms_ = clock_.MonotonicMs();
  }
}

// What was only in the file is out of reach; what is in memory goes on, and into the next file.
void SpoolWorker::LoseFile() {
  rebase_ = true;
  known_until_ = 0;
  for (SpoolCompletion& completion : std::exchange(doubtful_, {})) {
    Undo(completion);
    Emit(std::move(completion));
  }
  stuck_endpoints_.clear();
  stuck_recipients_.clear();
  std::vector<Waiting> waiting(std::make_move_iterator(stuck_.begin()),
                               std::make_move_iterator(stuck_.end()));
  stuck_.clear();
  for (auto& [delivery, due_ms] : shelter_->TakeAll())
    waiting.push_back({std::move(delivery), due_ms});

  struct Sum {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  std::map<EndpointId, Sum> dead;
  std::map<EndpointId, Sum> pending;
  const auto add = [](const Delivery& delivery, std::map<EndpointId, Sum>& to) {
    Sum& sum = to[delivery.endpoint];
    ++sum.count;
    sum.bytes += EventBytes(*delivery.event);
  };
  for (const auto& [key, delivery] : leased_) add(delivery, pending);
  for (Waiting& one : waiting) {
    add(one.delivery, pending);
    CountShelter(one.delivery, false);
    AddWaiting(std::move(one.delivery), DueOf(one));
  }
  for (const auto& [key, owed] : owed_)
    if (owed.dead) add(owed.dead->first, dead);

  for (const auto& [id, truth] : truth_) {
    const Sum& sum = pending[id];
    const LostDone lost{id, truth.pending - sum.count, truth.counters.pending_bytes - sum.bytes};
    const Sum& kept = dead[id];
    const DeadPurged purged{id, truth.counters.dead - kept.count, truth.dead_bytes - kept.bytes};
    if (lost.count > 0) Emit(lost);
    if (purged.count > 0) Emit(purged);
  }
}

// A new file begins with the books as they are, less what is still to be merged.
bool SpoolWorker::Rebase() {
  store_->SetHashKey(hash_key_);
  for (const auto& [id, truth] : truth_) {
    store_->Register(id, truth.key);
    store_->SetPause(id, truth.pause, truth.paused_url);
  }
  if (rebase_) {
    std::erase_if(owed_, [](const auto& owed) { return !owed.second.dead; });
    for (auto& [key, owed] : owed_) owed.doubt = 0;
    ends_.clear();
    ends_in_doubt_.clear();
    for (const auto& [id, truth] : truth_) {
      Counters counters = truth.counters;
      counters.dead = 0;
      counters.pending_bytes = 0;
      counters.accepted = counters.delivered + counters.cancelled + counters.purged;
      store_->SetCounters(id, counters);
    }
  }
  for (const auto& [endpoint, recipient] : hastened_) store_->Hasten(endpoint, recipient);
  if (!store_->Commit()) return false;
  rebase_ = false;
  return true;
}

void SpoolWorker::ResolveDoubts(std::uint64_t commits) {
  for (SpoolCompletion& completion : std::exchange(doubtful_, {})) {
    if (commits < failed_commit_) Undo(completion);
    Emit(std::move(completion));
  }
  for (auto owed = owed_.begin(); owed != owed_.end();) {
    const bool applied = owed->second.doubt > 0 && owed->second.doubt <= commits;
    owed->second.doubt = 0;
    if (applied && owed->second.dead) CountShelter(owed->second.dead->first, false);
    owed = applied ? owed_.erase(owed) : std::next(owed);
  }
  if (ends_doubt_ > commits) {
    for (const auto& [id, ends] : ends_in_doubt_) ends_[id].Add(ends);
  }
  ends_in_doubt_.clear();
}

bool SpoolWorker::MergeOwed(Owes which) {
  for (auto next = owed_.begin(); next != owed_.end();) {
    std::vector<std::int64_t> merged;
    for (; next != owed_.end() && store_->appended() < Store::kAppendsPerCommit; ++next) {
      auto& [key, owed] = *next;
      const bool cancelled = owed.done.how == Final::kCancelled;
      if (cancelled != (which == Owes::kCancelled)) continue;
      owed.doubt = store_->commits() + 1;
      if (owed.dead) {
        store_->MergeDead(owed.dead->first, owed.dead->second);
      } else {
        store_->MergeDone(owed.done);
      }
      merged.push_back(key);
    }
    if (!store_->Commit()) return false;
    for (const std::int64_t key : merged) {
      const auto owed = owed_.find(key);
      if (owed->second.dead) CountShelter(owed->second.dead->first, false);
      owed_.erase(owed);
    }
  }
  return true;
}

bool SpoolWorker::MergeLeases() {
  for (const auto& [key, delivery] : leased_) {
    store_->MergeLeased(delivery);
    if (store_->appended() >= Store::kAppendsPerCommit && !store_->Commit()) return false;
  }
  return store_->Commit();
}

void SpoolWorker::BeginMerge() {
  for (const auto& [key, delivery] : leased_) CountShelter(delivery, false);
  leased_.clear();
  for (auto& [delivery, due_ms] : shelter_->TakeAll())
    merge_.push_back({std::move(delivery), due_ms});
  std::move(stuck_.begin(), stuck_.end(), std::back_inserter(merge_));
  stuck_.clear();
  merged_ = 0;
  shelter_.reset();
  retry_ms_.reset();
  merging_ = true;
}

void SpoolWorker::MergeSlice() {
  const std::size_t end = std::min(merge_.size(), merged_ + options_.merge_slice);
  for (std::size_t i = merged_; i < end; ++i) store_->Merge(merge_[i].delivery, DueOf(merge_[i]));
  if (!CommitIfDue(true)) {
    Fail({});
    return;
  }
  merged_ = end;
  if (merged_ < merge_.size()) return;
  if (MergeLast()) {
    EndMerge();
  } else {
    Fail({});
  }
}

// What is committed while others are merged is on the disk only, should the file fail again. What
// was given back has a lane, of which the store knows.
void SpoolWorker::RememberWritten(std::span<const SpoolCommand> commands) {
  for (const SpoolCommand& command : commands) {
    if (const auto* append = std::get_if<AppendCommand>(&command))
      stuck_recipients_.emplace(append->delivery.endpoint, append->delivery.recipient);
  }
}

// Cancelled while others are merged: it may be for one of those.
void SpoolWorker::PutOff(const FinishCommand& command) {
  const Delivery& delivery = command.delivery;
  if (!store_->GiveUp(delivery)) return;
  owed_[RowKey(delivery.endpoint, delivery.sequence)].done = {
      delivery.endpoint, delivery.sequence, delivery.recipient, EventBytes(*delivery.event),
      command.how};
}

// What must not be in the file before the deliveries that it is owed to.
bool SpoolWorker::MergeLast() {
  if (!MergeOwed(Owes::kCancelled)) return false;
  for (const auto& [id, truth] : truth_) {
    store_->ClearWithdrawals(id);
    for (const auto& [key, withdrawal] : truth.withdrawals) store_->SetWithdrawal(id, withdrawal);
  }
  ends_in_doubt_ = std::exchange(ends_, {});
  ends_doubt_ = store_->commits() + 1;
  for (const auto& [id, ends] : ends_in_doubt_) store_->MergeCounts(id, ends);
  if (!store_->Commit()) return false;
  ends_in_doubt_.clear();
  return true;
}

void SpoolWorker::EndMerge() {
  for (const Waiting& merged : merge_) CountShelter(merged.delivery, false);
  merge_ = {};
  stuck_endpoints_.clear();
  stuck_recipients_.clear();
  merging_ = false;
  hastened_.clear();
  health_.durable = true;
  Say(Notice::Level::kInfo,
      "the spool " + options_.store.path + " is written again; what waited in memory is in it");
  Emit(CommittedDone{last_ticket_, true});
  std::vector<SpoolCommand> claims;
  for (const ClaimCommand& claim : std::exchange(deferred_, {})) claims.emplace_back(claim);
  Run(std::move(claims));
}

}  // namespace offline_post
