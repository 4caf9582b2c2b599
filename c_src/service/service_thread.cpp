// The service's second half: what the service thread does, and nobody else.
#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <utility>

#include "model/no_memory.hpp"
#include "service/service.hpp"

namespace offline_post {

namespace {

// A turn reads at most so much mail, so that answers are not kept waiting by a flood of events.
constexpr std::size_t kMailPerTurn = 512;
// After work the loop naps once, so that nobody need wake it: a wake-up costs the session that
// submits 20 us and more, and this thread a turn for each event.
constexpr Millis kNapMs = 10;
constexpr Millis kLongestSleepMs = 60'000;
constexpr Millis kRejectionReportMs = 10'000;
constexpr Millis kNoticesMs = 200;
constexpr Millis kSilentLookMs = 1'000;  // while the disk is at work
constexpr Millis kTrimMs = 10'000;
// So long after the last work the storage thread, too, has freed what it kept.
constexpr Millis kSettledMs = 2'000;

}  // namespace

void Service::Run() noexcept {
  pthread_setname_np(pthread_self(), "offline_post");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  while (!stopping_) {
    try {
      RunOnce();
    } catch (...) {
      EndWithoutMemory("the service thread");  // an event or a completion would be lost
    }
  }
  // Whoever stops us did not wait: what was accepted, and what is in flight, comes into the outbox
  // all the same.
  try {
    RunCommands();
    while (ReadMail() || TakeMail()) {
    }
    for (const Removal& removal : std::exchange(removals_, {})) FinishRemoval(removal);
    if (last_words_) DeliverNotices(true);
  } catch (...) {
    EndWithoutMemory("the service thread");
  }
}

void Service::RunOnce() {
  turns_.Begin();
  // Mail is taken before the commands are read, and opened after: an endpoint's first event never
  // overtakes its configuration.
  TakeMail();
  RunCommands();
  bool worked = ReadMail();
  FinishRemovals();
  Work();
  if (transport_.Perform(*engine_)) {
    worked = true;
    Work();
  }
  ReportRejections();
  DeliverNotices(false);
  turns_.End();
  Wait(worked);
}

bool Service::TakeMail() {
  if (inbox_read_ < inbox_.size()) return false;
  inbox_.clear();
  inbox_read_ = 0;
  mailbox_.TakeAll(inbox_);
  return !inbox_.empty();
}

void Service::RunCommands() {
  while (true) {
    std::function<void()> command;
    {
      const std::lock_guard lock(command_mutex_);
      if (commands_.empty()) return;
      command = std::move(commands_.front());
      commands_.pop_front();
    }
    command();
  }
}

bool Service::ReadMail() {
  const std::size_t end = std::min(inbox_.size(), inbox_read_ + kMailPerTurn);
  const bool any = inbox_read_ < end;
  for (; inbox_read_ < end; ++inbox_read_) {
    const Mail& mail = inbox_[inbox_read_];
    // Should it throw, the mail is still there.
    if (mail.event) {
      engine_->Accept(mail.endpoint, mail.event, mail.committed);
    } else {
      engine_->Withdraw(mail.endpoint, mail.withdrawal);
    }
  }
  return any;
}

void Service::Work() {
  do {
    engine_->Turn();
  } while (outbox_->Poll(*engine_));
  PublishSpool();
  SayWhenSilent();
}

void Service::FinishRemovals() {
  if (removals_.empty()) return;
  const Millis now = clock_.MonotonicMs();
  removal_seen_ms_ = now;
  // What was submitted before the removal is in the mailbox at the latest now.
  const bool read = inbox_read_ == inbox_.size() && mailbox_.empty();
  std::erase_if(removals_, [this, now, read](const Removal& removal) {
    if (now < removal.deadline_ms && !(read && engine_->Idle(removal.id))) return false;
    FinishRemoval(removal);
    return true;
  });
}

void Service::FinishRemoval(const Removal& removal) {
  engine_->Remove(removal.id);
  transport_.SetConnectionLimit(engine_->ConnectionLimit());
  removal.callback(rejections_.at(removal.id).ledger->Snapshot().pending);
}

void Service::ReportRejections() {
  if (!rejected_.load(std::memory_order_relaxed)) return;
  const Millis now = clock_.MonotonicMs();
  if (now < next_rejection_report_ms_) return;
  next_rejection_report_ms_ = now + kRejectionReportMs;
  rejected_ = false;
  for (auto& [id, entry] : rejections_) {
    const Stats stats = entry.ledger->Snapshot();
    if (stats.rejected_full == entry.reported) continue;
    notices_.Add(
        Notice::Level::kError,
        entry.name + ": " + std::to_string(stats.rejected_full - entry.reported) +
            " notifications were rejected, " +
            (has_room_ ? "the queue is full (" : "the spool has no room (") +
            std::to_string(stats.pending) + " pending, " + std::to_string(stats.pending_bytes) +
            " bytes): is the backend up? " +
            (has_room_ ? "Else raise queue_limit or queue_bytes"
                       : "The disk of spool_dir is short of room, slow or refuses: see the "
                         "error about it"));
    entry.reported = stats.rejected_full;
  }
}

void Service::DeliverNotices(bool last) {
  if (notices_.empty()) return;
  const Millis now = clock_.MonotonicMs();
  if (now < next_notices_ms_ && !last) return;
  next_notices_ms_ = now + kNoticesMs;
  if (sink_(notices_.Waiting())) notices_.Clear();
}

// What a backlog leaves free in the heaps of many threads would stay with the process. Giving it
// back takes milliseconds, in which others' allocations may have to wait: so now and then, and only
// while there is nothing to do.
void Service::GiveBackMemory(Millis now) {
  if (!untrimmed_ || now < next_trim_ms_) return;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  untrimmed_ = now < last_work_ms_ + kSettledMs;  // then once more, should nothing come any more
  next_trim_ms_ = now + kTrimMs;
}

void Service::Wait(bool worked) {
  const Millis now = clock_.MonotonicMs();
  if (worked) {
    last_work_ms_ = now;
    untrimmed_ = true;
  }
  if (inbox_read_ < inbox_.size()) return;
  const bool nap = now - last_work_ms_ < kNapMs;
  if (!nap) GiveBackMemory(now);
  // Before a look at what may wake us: who changes it later finds a sleeper.
  if (nap) {
    mailbox_.PrepareNap();
  } else if (!mailbox_.PrepareSleep()) {
    return;
  }
  if (hurry_.exchange(false) || outbox_->Poll(*engine_)) {
    mailbox_.EndSleep();
    return;
  }
  Millis until = now + (nap ? kNapMs : kLongestSleepMs);
  if (const auto next = engine_->NextTurnMs()) until = std::min(until, *next);
  for (const Removal& removal : removals_) until = std::min(until, removal.deadline_ms);
  if (rejected_) until = std::min(until, next_rejection_report_ms_);
  if (!notices_.empty()) until = std::min(until, next_notices_ms_);
  if (!nap && outbox_->SilentMs() > 0) until = std::min(until, now + kSilentLookMs);
  if (untrimmed_ && !nap) until = std::min(until, next_trim_ms_);
  transport_.Wait(std::max<Millis>(0, until - now));
  mailbox_.EndSleep();
}

}  // namespace offline_post
