// The service's third part: the outbox and the engine, which are made for the first endpoint and
// unmade after the last.
#include <algorithm>
#include <string>
#include <utility>

#include "outbox/memory_outbox.hpp"
#include "outbox/spool_outbox.hpp"
#include "service/random_bits.hpp"
#include "service/service.hpp"

namespace offline_post {

namespace {

std::string Text(const SpoolConfig& spool) {
  return spool.enabled ? "spool_dir " + spool.directory : "spool: false";
}

// A start waits so long for the disk, which is more than for another process that has the file.
constexpr Millis kOpenMs = 10'000;
// A stop waits so long for it, whatever deadline there was.
constexpr Millis kLeastCloseMs = 1'000;

}  // namespace

// One file per node: whoever comes first decides.
Status Service::CheckSpool(const EndpointConfig& config) const {
  if (!thread_.joinable() || config.spool == asked_spool_) return std::nullopt;
  const bool alone = [&] {
    const std::shared_lock lock(registry_mutex_);
    return std::none_of(registry_.begin(), registry_.end(), [&](const auto& entry) {
      return entry.second.configured &&
             (entry.first.vhost != config.key.vhost || entry.first.module != config.key.module);
    });
  }();
  if (alone) {
    return Error{Error::Kind::kInvalid,
                 "a change from " + Text(asked_spool_) + " to " + Text(config.spool) +
                     " takes effect when the module or the node is restarted, not by a reload"};
  }
  return Error{Error::Kind::kInvalid,
               Text(config.spool) + ": another virtual host has " + Text(asked_spool_) +
                   ", or another spool_min_free; these options must be the same for all virtual "
                   "hosts of a node, and a change takes effect when the node is restarted"};
}

// What waits in memory is lost with its outbox.
bool Service::MustKeepRooms(const SpoolConfig& spool) {
  if (!engine_) return false;
  if (spool == spool_) return true;
  const std::shared_lock lock(registry_mutex_);
  std::uint64_t pending = 0;
  for (const auto& [key, registration] : registry_) {
    pending += registration.ledger->Snapshot().pending;
  }
  if (pending == 0) return false;
  notices_.Add(Notice::Level::kError,
               Text(spool) + " does not take effect yet: " + std::to_string(pending) +
                   " notifications wait in memory; restart the node once they are delivered");
  return true;
}

// Of rooms that others take the place of: whoever moves the spool must know what stays behind.
void Service::TellWhatStays(const SpoolConfig& spool) {
  if (spool == spool_) return;
  std::uint64_t pending = 0;
  std::uint64_t dead = 0;
  {
    const std::shared_lock lock(registry_mutex_);
    for (const auto& [key, registration] : registry_) {
      const Stats stats = registration.ledger->Snapshot();
      pending += stats.pending;
      dead += stats.dead;
    }
  }
  if (pending + dead == 0) return;
  const std::string what = std::to_string(pending) + " notifications that wait and " +
                           std::to_string(dead) + " dead letters";
  const bool on_disk = spool_enabled_ && (!outbox_ || outbox_->IsDurable());
  notices_.Add(Notice::Level::kWarning,
               on_disk ? Text(spool_) + " is not in use any more, and keeps " + what +
                             ": `ejabberdctl offline_post_import " + spool_.directory + "/" +
                             SpoolOutbox::kFileName + "` takes them over"
                       : what + " were in memory only, and are gone");
}

void Service::OpenRooms(const SpoolConfig& spool) {
  asked_spool_ = spool;
  if (MustKeepRooms(spool)) return;
  TellWhatStays(spool);
  static_cast<void>(CloseOutbox());
  outbox_ = MakeOutbox(spool);
  {
    const std::unique_lock lock(registry_mutex_);
    seen_outbox_ = outbox_.get();
  }
  // Nothing is submitted yet.
  SetHashKey(outbox_->StoredHashKey().value_or(HashKey{RandomBits(), RandomBits()}));
  engine_ = std::make_unique<Engine>(*outbox_, transport_, clock_, notices_, RandomBits());
  spool_ = spool;
  spool_enabled_ = spool.enabled;
  RestoreEndpoints();
  PublishSpool();
}

void Service::PublishSpool() {
  has_room_ = outbox_->HasRoom();
  const SpoolState enabled = outbox_->IsDurable() ? SpoolState::kDurable : SpoolState::kDegraded;
  spool_state_ = spool_enabled_ ? enabled : SpoolState::kMemory;
  spool_bytes_ = outbox_->DiskBytes();
}

void Service::SayWhenSilent() {
  const Millis silent = outbox_->SilentMs();
  if (silent < kDiskSilentMs) return;
  notices_.AddRarely(
      "disk silent", Notice::Level::kError,
      "the disk of " + Text(spool_) + " has not answered for " + std::to_string(silent / 1'000) +
          " s. New notifications wait in memory until it answers, and are lost if the node ends "
          "before. Look at the disk (dmesg)");
}

std::unique_ptr<Outbox> Service::MakeOutbox(const SpoolConfig& spool) {
  if (!spool.enabled) return std::make_unique<MemoryOutbox>(clock_);
  SpoolOptions options;
  options.directory = spool.directory;
  options.min_free_bytes = spool.min_free_bytes;
  auto opened = OpenSpool(options);
  if (opened.ok()) return std::move(opened.value());
  notices_.Add(Notice::Level::kError,
               opened.error().text +
                   ". Until the node is restarted notifications wait in memory, and those that do "
                   "are lost when it stops");
  return std::make_unique<MemoryOutbox>(clock_, options.memory_bytes);
}

void Service::RestoreEndpoints() {
  const std::vector<StoredEndpoint> all = outbox_->Stored();
  const std::unique_lock lock(registry_mutex_);
  last_id_ = 0;
  for (const StoredEndpoint& stored : all) last_id_ = std::max(last_id_, stored.id);
  // Numbers of an earlier outbox mean nothing to this one, nor what it had.
  for (auto& [key, registration] : registry_) {
    registration.id = ++last_id_;
    registration.ledger->Restore({});
  }
  rejections_.clear();
  for (const StoredEndpoint& stored : all) {
    Registration& registration = registry_[stored.key];
    if (!registration.ledger) registration.ledger = std::make_shared<Ledger>();
    registration.id = stored.id;
    registration.ledger->Restore(stored);
    engine_->Restore(stored, registration.ledger);
  }
}

// Bounded: a start does not wait for a disk that hangs. A file that is opened too late is closed.
Result<std::unique_ptr<SpoolOutbox>> Service::OpenSpool(const SpoolOptions& options) {
  struct Opening {
    std::mutex mutex;
    bool given_up = false;  // guarded by mutex, as the next
    std::optional<Result<std::unique_ptr<SpoolOutbox>>> result;
  };
  const auto opening = std::make_shared<Opening>();
  disk_job_ = std::make_shared<DiskJob>([this, opening, options, before = disk_job_]() {
    if (before) before->Wait();
    auto result = SpoolOutbox::Open(options, clock_, notices_, [this] { WakeSleeper(); });
    const std::lock_guard lock(opening->mutex);
    if (!opening->given_up) opening->result = std::move(result);
  });
  if (disk_job_->Wait(kOpenMs)) disk_job_ = nullptr;  // joins its thread
  const std::lock_guard lock(opening->mutex);
  if (opening->result) return std::move(*opening->result);
  opening->given_up = true;
  return Error{Error::Kind::kUnavailable, "the disk of spool_dir " + options.directory +
                                              " has not answered for " +
                                              std::to_string(kOpenMs / 1'000) + " s"};
}

// False: the disk hangs beyond the deadline; the outbox is closed when it answers.
bool Service::CloseOutbox() {
  engine_.reset();
  if (!outbox_) return true;
  {
    const std::unique_lock lock(registry_mutex_);
    seen_outbox_ = nullptr;
  }
  const auto closing = std::make_shared<std::unique_ptr<Outbox>>(std::move(outbox_));
  disk_job_ = std::make_shared<DiskJob>([closing, before = disk_job_]() {
    if (before) before->Wait();
    closing->reset();
  });
  if (!disk_job_->Wait(std::max(kLeastCloseMs, removal_ends_ms_ - clock_.MonotonicMs())))
    return false;
  disk_job_ = nullptr;  // joins its thread
  return true;
}

// What is in memory only is kept, except at the end of the process: then the spool has its last
// chance to write it.
bool Service::CloseRooms() {
  if (!engine_ || !spool_enabled_ || !(outbox_->IsDurable() || shut_down_)) return true;
  return CloseOutbox();
}

// For the storage thread: completions are ready.
void Service::WakeSleeper() {
  // As in Submit: the transport is closed only when nobody is in here.
  const std::shared_lock lock(registry_mutex_);
  if (mailbox_.TakeSleeper()) transport_.Wakeup();
}

}  // namespace offline_post
