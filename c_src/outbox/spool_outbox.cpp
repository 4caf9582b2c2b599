#include "outbox/spool_outbox.hpp"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iterator>
#include <system_error>
#include <utility>

#include "model/no_memory.hpp"

namespace offline_post {

namespace {

// What nobody waits for, such as that deliveries are done, may lie so long before it wakes the
// storage thread.
constexpr std::chrono::milliseconds kLinger{50};
// So long after a batch is collected for the next transaction when many come, unless it is full
// before: a commit costs as much for ten events as for one.
constexpr std::chrono::milliseconds kCollectMany{2};
constexpr std::size_t kManyAppends = 16;  // in the last batch
constexpr std::chrono::hours kLongestSleep{1};

StoreOptions StoreOptionsOf(const SpoolOptions& options) {
  StoreOptions store;
  store.path = options.directory + "/" + SpoolOutbox::kFileName;
  store.vfs = options.vfs;
  store.busy_ms = options.busy_ms;
  store.memory_deliveries = options.cache_deliveries;
  store.memory_bytes = options.cache_bytes;
  return store;
}

}  // namespace

Result<std::unique_ptr<SpoolOutbox>> SpoolOutbox::Open(const SpoolOptions& options,
                                                       const Clock& clock, Notices& notices,
                                                       std::function<void()> wake) {
  const StoreOptions store_options = StoreOptionsOf(options);
  Store::Opened opened = Store::Open(store_options, clock);
  std::string set_aside;
  if (!opened.store && opened.fault.corrupt) {
    const auto aside = SetAside(store_options.path, clock.UnixMs());
    if (!aside) {
      return Error{Error::Kind::kUnavailable,
                   opened.fault.text + ", and it cannot be renamed: move it away"};
    }
    set_aside = opened.fault.text + ". It is kept as " + *aside +
                " (try: sqlite3 FILE .dump), and a new one begun";
    opened = Store::Open(store_options, clock);
  }
  if (!opened.store) {
    if (!set_aside.empty()) set_aside += ". ";
    return Error{Error::Kind::kUnavailable, set_aside + opened.fault.text};
  }
  opened.store->ChooseHashKey();
  try {
    std::unique_ptr<SpoolOutbox> outbox(
        new SpoolOutbox(options, clock, notices, std::move(wake), std::move(opened.store)));
    if (!set_aside.empty()) {
      outbox->done_.emplace_back(NoticeDone{Notice::Level::kError, "", std::move(set_aside)});
      outbox->any_done_ = true;
    }
    if (options.own_thread) outbox->Start();
    return outbox;
  } catch (const std::system_error& error) {
    return Error{Error::Kind::kUnavailable,
                 std::string("cannot start the storage thread: ") + error.what()};
  }
}

SpoolOutbox::SpoolOutbox(const SpoolOptions& options, const Clock& clock, Notices& notices,
                         std::function<void()> wake, std::unique_ptr<Store> store)
    : options_(options),
      clock_(clock),
      notices_(notices),
      wake_(std::move(wake)),
      stored_(store->Stored()),
      stored_lanes_(store->StoredLanes()),
      next_sequence_(store->last_sequence() + 1),
      hash_key_(store->hash_key()),
      worker_(std::make_unique<SpoolWorker>(
          SpoolWorkerOptions{StoreOptionsOf(options), options.directory, options.min_free_bytes,
                             options.merge_slice},
          clock, std::move(store),
          [this](std::vector<SpoolCompletion> done) { Deliver(std::move(done)); })) {}

// Every signal is the virtual machine's: the thread is born with all of them blocked.
void SpoolOutbox::Start() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

SpoolOutbox::~SpoolOutbox() {  // NOLINT(bugprone-exception-escape): without memory, the end
  HandOver();
  if (!thread_.joinable()) {
    worker_->Close();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    sleep_ = Sleep::kAwake;
  }
  changed_.notify_one();
  thread_.join();
}

void SpoolOutbox::Register(EndpointId endpoint, const EndpointKey& key) {
  collected_.emplace_back(RegisterCommand{endpoint, key});
  urgent_ = true;
}

void SpoolOutbox::SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) {
  collected_.emplace_back(SetPauseCommand{endpoint, pause, paused_url});
  urgent_ = true;
}

void SpoolOutbox::SetWithdrawal(EndpointId endpoint, std::uint64_t key, Sequence until, Final how) {
  collected_.emplace_back(SetWithdrawalCommand{endpoint, {key, until, how}});
  urgent_ = true;
}

// Nobody waits for it: marks that outlive their use say nothing about what comes later.
void SpoolOutbox::ClearWithdrawals(EndpointId endpoint) {
  collected_.emplace_back(ClearWithdrawalsCommand{endpoint});
}

void SpoolOutbox::Append(Delivery delivery) {
  ++collected_appends_;
  collected_bytes_ += EventBytes(*delivery.event);
  collected_.emplace_back(AppendCommand{std::move(delivery)});
  urgent_ = true;
}

Ticket SpoolOutbox::Flush(std::vector<CommitCallback> waiting) {
  hurry_ = hurry_ || !waiting.empty();
  collected_.emplace_back(FlushCommand{++last_ticket_, std::move(waiting)});
  urgent_ = true;
  return last_ticket_;
}

void SpoolOutbox::Claim(EndpointId endpoint, ClaimLimit limit) {
  collected_.emplace_back(ClaimCommand{endpoint, limit});
  urgent_ = true;
}

void SpoolOutbox::Finish(const Delivery& delivery, Final how, const Note& note) {
  collected_.emplace_back(FinishCommand{
      delivery, how, how == Final::kDead ? std::make_unique<const Note>(note) : nullptr});
}

void SpoolOutbox::Reschedule(const Delivery& delivery, Millis due_ms, const Note& /*note*/) {
  collected_.emplace_back(RescheduleCommand{delivery, due_ms});
}

void SpoolOutbox::Park(const Delivery& delivery) { collected_.emplace_back(ParkCommand{delivery}); }

void SpoolOutbox::LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& /*note*/) {
  collected_.emplace_back(LeaveOrderCommand{delivery, due_ms});
}

void SpoolOutbox::HastenAll(EndpointId endpoint, std::size_t limit) {
  collected_.emplace_back(HastenAllCommand{endpoint, limit});
}

void SpoolOutbox::Hasten(EndpointId endpoint, std::uint64_t recipient) {
  collected_.emplace_back(HastenCommand{endpoint, recipient});
}

void SpoolOutbox::VisitDead(const DeadVisit& visit) {
  collected_.emplace_back(VisitDeadCommand{std::make_unique<const DeadVisit>(visit)});
  hurry_ = true;
  urgent_ = true;
}

void SpoolOutbox::PurgeDead(const DeadPurge& purge) {
  collected_.emplace_back(PurgeDeadCommand{purge});
  urgent_ = true;
}

bool SpoolOutbox::Import(const ImportedRows& rows) {
  collected_.emplace_back(ImportCommand{std::make_unique<const ImportedRows>(rows)});
  hurry_ = true;
  urgent_ = true;
  return true;
}

bool SpoolOutbox::HasRoom() const {
  const SpoolHealth& health = worker_->health();
  return health.disk_has_room &&
         collected_bytes_ + inbox_bytes_ + health.shelter_bytes < options_.memory_bytes;
}

Millis SpoolOutbox::SilentMs() const {
  const Millis asked = asked_ms_;
  return asked == 0 ? 0 : std::max<Millis>(0, clock_.MonotonicMs() - asked);
}

bool SpoolOutbox::Poll(OutboxListener& listener) {
  HandOver();
  if (!options_.own_thread) worker_->Tick(true);
  return HandOut(listener);
}

void SpoolOutbox::HandOver() {
  if (collected_.empty()) return;
  inbox_bytes_ += std::exchange(collected_bytes_, 0);
  const std::size_t appends = std::exchange(collected_appends_, 0);
  const bool urgent = std::exchange(urgent_, false);
  const bool hurry = std::exchange(hurry_, false);
  if (!options_.own_thread) {
    Carry(std::exchange(collected_, {}));
    return;
  }
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (inbox_.empty()) {
      inbox_.swap(collected_);
    } else {
      std::move(collected_.begin(), collected_.end(), std::back_inserter(inbox_));
    }
    inbox_appends_ += appends;
    inbox_urgent_ = inbox_urgent_ || urgent;
    inbox_hurry_ = inbox_hurry_ || hurry;
    const bool full = inbox_appends_ >= Store::kAppendsPerCommit;
    wake = sleep_ == Sleep::kForAny || (sleep_ == Sleep::kForUrgent && inbox_urgent_) ||
           (sleep_ == Sleep::kForHurry && (inbox_hurry_ || full)) ||
           (sleep_ == Sleep::kForBatch && full);
    if (wake) sleep_ = Sleep::kAwake;
  }
  if (wake) changed_.notify_one();
  collected_.clear();
}

bool SpoolOutbox::HandOut(OutboxListener& listener) {
  if (!any_done_) return false;
  std::vector<SpoolCompletion> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
    any_done_ = false;
  }
  for (SpoolCompletion& completion : done) {
    std::visit(Overloaded{
                   [&](CommittedDone& d) { listener.OnCommitted(d.ticket, d.durable); },
                   [&](ClaimedDone& d) { listener.OnClaimed(d.endpoint, std::move(d.claimed)); },
                   [&](DeadVisited& d) { listener.OnDeadVisited(std::move(d)); },
                   [&](DeadPurged& d) { listener.OnPurged(d); },
                   [&](LostDone& d) { listener.OnLost(d.endpoint, d.count, d.bytes); },
                   [&](const ImportDone& d) { listener.OnImported(d); },
                   [&](NoticeDone& d) {
                     if (d.topic.empty()) {
                       notices_.Add(d.level, std::move(d.line));
                     } else {
                       notices_.AddRarely(d.topic, d.level, std::move(d.line));
                     }
                   },
               },
               completion);
  }
  return true;
}

void SpoolOutbox::Deliver(std::vector<SpoolCompletion> completions) {
  {
    const std::lock_guard lock(mutex_);
    std::move(completions.begin(), completions.end(), std::back_inserter(done_));
    any_done_ = true;
  }
  if (options_.own_thread && wake_) wake_();
}

void SpoolOutbox::Run() noexcept {
  pthread_setname_np(pthread_self(), "offline_post_db");
  while (true) {
    try {
      std::vector<SpoolCommand> commands;
      if (!AwaitCommands(commands)) break;
      const bool idle = commands.empty();
      asked_ms_ = clock_.MonotonicMs();
      if (!idle) Carry(std::move(commands));
      worker_->Tick(idle);
      asked_ms_ = 0;
    } catch (...) {
      EndWithoutMemory("the storage thread");  // a command or its completion would be lost
    }
  }
  try {
    asked_ms_ = clock_.MonotonicMs();
    worker_->Close();
  } catch (...) {
    EndWithoutMemory("the storage thread");
  }
}

void SpoolOutbox::Carry(std::vector<SpoolCommand> commands) {
  std::uint64_t bytes = 0;
  last_appends_ = 0;
  for (const SpoolCommand& command : commands) {
    const auto* append = std::get_if<AppendCommand>(&command);
    if (append == nullptr) continue;
    ++last_appends_;
    bytes += EventBytes(*append->delivery.event);
  }
  if (!commands.empty()) worker_->Run(std::move(commands));
  inbox_bytes_ -= bytes;
  last_batch_ = std::chrono::steady_clock::now();
}

// Of what is urgent, with the mutex held. When few come, claims alone are no reason to wait: they
// commit nothing.
SpoolOutbox::SteadyTime SpoolOutbox::CollectUntil() const {
  if (inbox_appends_ >= Store::kAppendsPerCommit) return SteadyTime::min();
  if (last_appends_ >= kManyAppends) return last_batch_ + kCollectMany;
  const bool few = inbox_appends_ > 0 && !inbox_hurry_;
  return few ? last_batch_ + options_.collect_few : SteadyTime::min();
}

// False: it is time to stop, and nothing is left to do.
bool SpoolOutbox::AwaitCommands(std::vector<SpoolCommand>& commands) {
  const SteadyTime begun = std::chrono::steady_clock::now();
  SteadyTime due = begun + kLongestSleep;
  if (const auto next_ms = worker_->NextMs())
    due = std::min(due, begun + std::chrono::milliseconds(*next_ms - clock_.MonotonicMs()));
  std::optional<SteadyTime> linger_until;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const SteadyTime now = std::chrono::steady_clock::now();
    SteadyTime until = due;
    if (inbox_urgent_) {
      const SteadyTime collect_until = CollectUntil();
      if (now >= collect_until) break;
      until = std::min(until, collect_until);
      sleep_ = last_appends_ >= kManyAppends ? Sleep::kForBatch : Sleep::kForHurry;
    } else if (!inbox_.empty()) {
      if (!linger_until) linger_until = now + kLinger;
      until = std::min(until, *linger_until);
      sleep_ = Sleep::kForUrgent;
    } else {
      sleep_ = Sleep::kForAny;
    }
    if (now >= until) break;
    changed_.wait_until(lock, until);
  }
  sleep_ = Sleep::kAwake;
  commands.swap(inbox_);
  inbox_urgent_ = false;
  inbox_hurry_ = false;
  inbox_appends_ = 0;
  return !stopping_ || !commands.empty();
}

}  // namespace offline_post
