#include "outbox/spool_worker.hpp"

#include <sys/statvfs.h>

#include <chrono>
#include <utility>

namespace offline_post {

namespace {

// Rows of what is done may stay so long, or so many, before they are deleted without any other
// reason to commit. A crash repeats as many deliveries.
constexpr Millis kLazyMs = 50;
constexpr std::size_t kLazyRows = 1'024;

constexpr Millis kLookMs = 1'000;  // between looks at the disk's free space
constexpr Millis kIdleMs = 1'000;  // without work before space is given back
constexpr int kShrinkPages = 64;   // at a time: about 2 ms

}  // namespace

SpoolWorker::SpoolWorker(SpoolWorkerOptions options, const Clock& clock,
                         std::unique_ptr<Store> store, Deliver deliver)
    : options_(std::move(options)),
      clock_(clock),
      deliver_(std::move(deliver)),
      store_(std::move(store)),
      hash_key_(store_->hash_key()) {
  options_.store.offset_ms = store_->offset_ms();
  for (const StoredEndpoint& stored : store_->Stored()) {
    Truth& truth = truth_[stored.id];
    truth.key = stored.key;
    truth.pause = stored.pause;
    truth.paused_url = stored.paused_url;
    for (const StoredWithdrawal& one : stored.withdrawals) truth.withdrawals[one.key] = one;
    truth.counters = {stored.accepted,  stored.delivered, stored.dead,
                      stored.cancelled, stored.purged,    stored.pending_bytes};
    truth.dead_bytes = stored.dead_bytes;
    truth.pending =
        stored.accepted - stored.delivered - stored.dead - stored.cancelled - stored.purged;
  }
  LookAtDisk();
}

void SpoolWorker::Run(std::vector<SpoolCommand> commands) {
  last_work_ms_ = clock_.MonotonicMs();
  shrinking_ = true;
  std::size_t first = 0;  // not yet committed
  for (std::size_t i = 0; i < commands.size(); ++i) {
    Tally(commands[i]);
    if (!store_) {
      Shelter(commands[i]);
      continue;
    }
    Execute(commands[i]);
    const bool last = i + 1 == commands.size();
    if (!last && store_->ok() && store_->appended() < Store::kAppendsPerCommit) continue;
    Release();
    const std::span uncommitted = std::span(commands).subspan(first, i + 1 - first);
    if (!CommitIfDue(store_->dirty() || LazyIsDue(), uncommitted)) Fail(uncommitted);
    first = i + 1;
    Release();
  }
  Release();
  LookAtDisk();
}

void SpoolWorker::Execute(SpoolCommand& command) {
  Store& store = *store_;
  std::visit(
      Overloaded{
          // What is given away here is needed again if the commit fails: hence the copies.
          [&](const AppendCommand& c) { store.Append(c.delivery); },
          [&](const FlushCommand& c) {
            // What was appended before it may still have to be merged.
            staged_.emplace_back(CommittedDone{c.ticket, !merging_});
          },
          [&](ClaimCommand& c) { Claim(c); },
          [&](const FinishCommand& c) {
            static const Note kNone;
            if (merging_ && c.how == Final::kCancelled) {
              PutOff(c);
            } else {
              store.Finish(c.delivery, c.how, c.note ? *c.note : kNone);
            }
          },
          [&](const RescheduleCommand& c) { store.Reschedule(c.delivery, c.due_ms); },
          [&](const ParkCommand& c) { store.Park(c.delivery); },
          [&](const LeaveOrderCommand& c) { store.LeaveOrder(c.delivery, c.due_ms); },
          [&](const HastenCommand& c) {
            store.Hasten(c.endpoint, c.recipient);
            if (merging_) RememberHasten(c);
          },
          [&](const HastenAllCommand& c) { store.HastenAll(c.endpoint, c.limit); },
          [&](const VisitDeadCommand& c) {
            if (merging_ && c.visit->act == DeadAct::kReplay)
              stuck_endpoints_.insert(c.visit->endpoint);
            staged_.emplace_back(store.VisitDead(*c.visit));
          },
          [&](const PurgeDeadCommand& c) { staged_.emplace_back(store.PurgeDead(c.purge)); },
          [&](const RegisterCommand& c) { store.Register(c.endpoint, c.key); },
          [&](const SetPauseCommand& c) { store.SetPause(c.endpoint, c.pause, c.paused_url); },
          [&](const SetWithdrawalCommand& c) {
            if (!merging_) store.SetWithdrawal(c.endpoint, c.withdrawal);
          },
          [&](const ClearWithdrawalsCommand& c) {
            if (!merging_) store.ClearWithdrawals(c.endpoint);
          },
          [&](const ImportCommand& c) {
            // What is merged comes first, and nobody is in a hurry.
            staged_.emplace_back(merging_ ? NotImported(*c.rows) : store.Import(*c.rows));
          },
      },
      command);
}

// What is found is committed, and handed out without waiting for the next commit: while a disk is
// slow, nobody else would be busy.
void SpoolWorker::Claim(ClaimCommand& claim) {
  if (merging_) {
    deferred_.push_back(claim);
    return;
  }
  Claimed claimed = store_->Claim(claim.endpoint, claim.limit);
  if (!store_->ok()) {
    staged_.emplace_back(ClaimedDone{claim.endpoint, std::move(claimed)});  // nobody hears of it
  } else if (claimed.deliveries.empty() && store_->left_out()) {
    awaiting_.push_back(claim);
  } else {
    for (const Delivery& delivery : claimed.deliveries)
      told_.insert(RowKey(delivery.endpoint, delivery.sequence));
    Emit(ClaimedDone{claim.endpoint, std::move(claimed)});
    claim.answered = true;
  }
}

bool SpoolWorker::Commit() {
  const auto began = std::chrono::steady_clock::now();
  const bool done = store_->Commit();
  const auto took = std::chrono::steady_clock::now() - began;
  health_.AddCommit(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  return done;
}

// With the commands that it commits. False: the store has failed.
bool SpoolWorker::CommitIfDue(bool due, std::span<const SpoolCommand> commands) {
  if (!store_->ok() || (due && !Commit())) return false;
  // First of all: whole sessions wait.
  for (const SpoolCommand& command : commands) {
    const auto* flush = std::get_if<FlushCommand>(&command);
    if (flush == nullptr) continue;
    for (const CommitCallback& waiting : flush->waiting) waiting(true);
  }
  if (merging_) RememberWritten(commands);
  if (store_->lazy() == 0) {
    lazy_since_ms_.reset();
  } else if (!lazy_since_ms_) {
    lazy_since_ms_ = clock_.MonotonicMs();
  }
  for (SpoolCompletion& completion : staged_) Emit(std::move(completion));
  staged_.clear();
  for (ClaimCommand& claim : std::exchange(awaiting_, {})) {
    Claim(claim);
    // Its command is committed: nobody else will answer it.
    if (!store_->ok()) deferred_.push_back(claim);
  }
  told_.clear();  // of the commands that are now committed
  return true;
}

bool SpoolWorker::LazyIsDue() const {
  if (store_->lazy() >= kLazyRows) return true;
  return lazy_since_ms_ && clock_.MonotonicMs() >= *lazy_since_ms_ + kLazyMs;
}

void SpoolWorker::Emit(SpoolCompletion completion) {
  Tally(completion);
  ready_.push_back(std::move(completion));
}

void SpoolWorker::Release() {
  if (!ready_.empty()) deliver_(std::exchange(ready_, {}));
}

void SpoolWorker::Say(Notice::Level level, std::string line, std::string topic) {
  ready_.emplace_back(NoticeDone{level, std::move(topic), std::move(line)});
}

// The books as the engine keeps them: what the file is measured against should it be lost.
void SpoolWorker::Tally(const SpoolCommand& command) {
  if (const auto* append = std::get_if<AppendCommand>(&command)) {
    Truth& truth = truth_[append->delivery.endpoint];
    ++truth.counters.accepted;
    ++truth.pending;
    truth.counters.pending_bytes += EventBytes(*append->delivery.event);
  } else if (const auto* finish = std::get_if<FinishCommand>(&command)) {
    Truth& truth = truth_[finish->delivery.endpoint];
    --truth.pending;
    truth.counters.pending_bytes -= EventBytes(*finish->delivery.event);
    if (finish->how == Final::kDelivered) ++truth.counters.delivered;
    if (finish->how == Final::kDead) {
      ++truth.counters.dead;
      truth.dead_bytes += EventBytes(*finish->delivery.event);
    }
    if (finish->how == Final::kCancelled) ++truth.counters.cancelled;
    if (finish->how == Final::kPurged) ++truth.counters.purged;
  } else if (const auto* flush = std::get_if<FlushCommand>(&command)) {
    last_ticket_ = flush->ticket;
  } else if (const auto* added = std::get_if<RegisterCommand>(&command)) {
    truth_[added->endpoint].key = added->key;
  } else if (const auto* pause = std::get_if<SetPauseCommand>(&command)) {
    truth_[pause->endpoint].pause = pause->pause;
    truth_[pause->endpoint].paused_url = pause->paused_url;
  } else if (const auto* withdrawal = std::get_if<SetWithdrawalCommand>(&command)) {
    truth_[withdrawal->endpoint].withdrawals[withdrawal->withdrawal.key] = withdrawal->withdrawal;
  } else if (const auto* cleared = std::get_if<ClearWithdrawalsCommand>(&command)) {
    truth_[cleared->endpoint].withdrawals.clear();
  }
}

void SpoolWorker::Tally(const SpoolCompletion& completion) {
  if (const auto* visited = std::get_if<DeadVisited>(&completion)) {
    Truth& truth = truth_[visited->endpoint];
    if (visited->act == DeadAct::kShow) return;
    truth.counters.dead -= visited->count;
    truth.dead_bytes -= visited->dead_bytes;
    if (visited->act == DeadAct::kDrop) truth.counters.cancelled += visited->count;
    if (visited->act == DeadAct::kPurge) truth.counters.purged += visited->count;
    if (visited->act == DeadAct::kReplay) {
      truth.pending += visited->count;
      truth.counters.pending_bytes += visited->bytes;
    }
  } else if (const auto* purged = std::get_if<DeadPurged>(&completion)) {
    Truth& truth = truth_[purged->endpoint];
    truth.counters.dead -= purged->count;
    truth.counters.purged += purged->count;
    truth.dead_bytes -= purged->bytes;
  } else if (const auto* lost = std::get_if<LostDone>(&completion)) {
    Truth& truth = truth_[lost->endpoint];
    truth.counters.accepted -= lost->count;
    truth.pending -= lost->count;
    truth.counters.pending_bytes -= lost->bytes;
  } else if (const auto* imported = std::get_if<ImportDone>(&completion)) {
    Truth& truth = truth_[imported->endpoint];
    truth.counters.accepted += imported->pending + imported->dead;
    truth.pending += imported->pending;
    truth.counters.pending_bytes += imported->bytes;
    truth.counters.dead += imported->dead;
    truth.dead_bytes += imported->dead_bytes;
  }
}

void SpoolWorker::Tick(bool idle) {
  const Millis now = clock_.MonotonicMs();
  if (!store_ && retry_ms_ && now >= *retry_ms_) Reopen();
  if (store_ && merging_) MergeSlice();
  if (store_ && (!store_->ok() || store_->dirty() || LazyIsDue()) && !CommitIfDue(true)) Fail({});
  if (store_ && !merging_ && idle && shrinking_ && now >= last_work_ms_ + kIdleMs) {
    shrinking_ = store_->Shrink(kShrinkPages);
    if (!shrinking_) store_->ReleasePages();
    if (!store_->ok()) Fail({});
  }
  if (now >= next_look_ms_ && !health_.disk_has_room) LookAtDisk();
  Release();
}

std::optional<Millis> SpoolWorker::NextMs() const {
  std::optional<Millis> next;
  const auto consider = [&next](Millis at) { next = next ? std::min(*next, at) : at; };
  if (!store_ && retry_ms_) consider(*retry_ms_);
  if (store_ && merging_) consider(0);
  if (store_ && lazy_since_ms_) consider(*lazy_since_ms_ + kLazyMs);
  if (store_ && store_->dirty()) consider(0);
  if (store_ && shrinking_) consider(last_work_ms_ + kIdleMs);
  if (!health_.disk_has_room) consider(next_look_ms_);
  return next;
}

void SpoolWorker::LookAtDisk() {
  const Millis now = clock_.MonotonicMs();
  if (now < next_look_ms_) return;
  next_look_ms_ = now + kLookMs;
  if (store_) {
    health_.disk_bytes = store_->FileBytes();
    PublishOldest();
  }
  struct statvfs disk {};
  if (statvfs(options_.directory.c_str(), &disk) != 0) return;
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  const bool room = free >= options_.min_free_bytes;
  const bool had_room = health_.disk_has_room.exchange(room);
  if (room && !had_room) {
    Say(Notice::Level::kInfo, "there is room again on the disk of " + options_.directory);
  }
  if (!room) {
    Say(Notice::Level::kError,
        "only " + std::to_string(free) + " bytes are free on the disk of " + options_.directory +
            ", and spool_min_free leaves " + std::to_string(options_.min_free_bytes) +
            " to others: new notifications are rejected until there is more",
        "spool disk space");
  }
}

void SpoolWorker::PublishOldest() {
  std::map<EndpointId, Millis> oldest;
  for (const auto& [id, truth] : truth_) {
    if (truth.pending > 0) oldest[id] = store_->OldestUnixMs(id);
  }
  health_.SetOldest(std::move(oldest));
}

void SpoolWorker::Close() {
  if (!store_) Reopen();
  while (store_ && merging_) MergeSlice();
  if (store_ && CommitIfDue(true)) store_->Checkpoint();
  Release();
  store_.reset();
}

}  // namespace offline_post
