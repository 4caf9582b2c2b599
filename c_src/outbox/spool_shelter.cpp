// The worker without a store: from the failed commit on, while the disk refuses.
#include <algorithm>
#include <utility>

#include "outbox/spool_worker.hpp"

namespace offline_post {

namespace {

constexpr Millis kFirstRetryMs = 1'000;
// Beyond so many lanes a due time stands, though somebody would not wait: that costs time only.
constexpr std::size_t kMaxHastened = 100'000;

std::int64_t KeyOf(const Delivery& delivery) {
  return RowKey(delivery.endpoint, delivery.sequence);
}

// The delivery that a command takes out of its lease.
const Delivery* EndedBy(const SpoolCommand& command) {
  if (const auto* finish = std::get_if<FinishCommand>(&command)) return &finish->delivery;
  if (const auto* later = std::get_if<RescheduleCommand>(&command)) return &later->delivery;
  if (const auto* park = std::get_if<ParkCommand>(&command)) return &park->delivery;
  if (const auto* leave = std::get_if<LeaveOrderCommand>(&command)) return &leave->delivery;
  return nullptr;
}

}  // namespace

void SpoolWorker::Fail(std::span<SpoolCommand> uncommitted) {
  const StoreFault fault = store_->fault();
  failed_commit_ = store_->commits() + 1;
  known_until_ = std::max(known_until_, store_->last_sequence());
  Store::Remains remains = store_->TakeApart();
  store_.reset();
  lazy_since_ms_.reset();
  const bool again = merging_;
  EnterShelter(std::move(remains), uncommitted);
  // Also where nobody waits for a flush: the engine must know, so as to ask anew afterwards.
  Emit(CommittedDone{last_ticket_, false});
  if (again) {
    RetryLater();
  } else {
    retry_wait_ms_ = kFirstRetryMs;
    retry_ms_ = clock_.MonotonicMs() + retry_wait_ms_;
  }
  Say(Notice::Level::kError,
      fault.text +
          ". Until this is mended notifications wait in memory, and those that do are "
          "lost when the node stops",
      "spool refuses");
  // Nothing can be kept beside a damaged file, and nothing mends it.
  if (fault.corrupt) SetFileAside(fault);
}

void SpoolWorker::EnterShelter(Store::Remains remains, std::span<SpoolCommand> uncommitted) {
  health_.durable = false;
  health_.shelter_bytes = 0;
  shelter_ = std::make_unique<MemoryOutbox>(clock_);
  leased_.clear();
  for (const auto& [key, owed] : owed_)
    if (owed.dead) CountShelter(owed.dead->first, true);
  // While it merges a store reads nothing, but what it has is in memory, too.
  const bool merging = merging_;
  if (!merging) stuck_endpoints_.insert(remains.unread.begin(), remains.unread.end());
  stuck_endpoints_.insert(remains.many_lanes.begin(), remains.many_lanes.end());
  stuck_recipients_.insert(remains.lanes.begin(), remains.lanes.end());
  for (const Store::Remains::Done& done : remains.done)
    owed_[RowKey(done.endpoint, done.sequence)] = {done, std::nullopt, failed_commit_};

  // The state before the uncommitted commands, which are then carried out anew: what they ended is
  // leased, what they claimed is not, for nobody has heard of it.
  std::set<std::int64_t> again;  // comes with its command
  for (const Delivery& delivery : remains.leased) leased_.emplace(KeyOf(delivery), delivery);
  for (const SpoolCommand& command : uncommitted) {
    if (const auto* append = std::get_if<AppendCommand>(&command)) {
      again.insert(KeyOf(append->delivery));
      leased_.erase(KeyOf(append->delivery));
    }
  }
  std::vector<Delivery> waiting = std::move(remains.waiting);
  for (SpoolCompletion& completion : staged_) {
    auto* claim = std::get_if<ClaimedDone>(&completion);
    if (claim == nullptr) continue;
    for (Delivery& delivery : claim->claimed.deliveries) {
      leased_.erase(KeyOf(delivery));
      waiting.push_back(std::move(delivery));
    }
  }
  for (const SpoolCommand& command : uncommitted) {
    if (const Delivery* ended = EndedBy(command)) {
      again.insert(KeyOf(*ended));
      leased_.emplace(KeyOf(*ended), *ended);
    }
  }
  for (const auto& [key, delivery] : leased_) {
    shelter_->Adopt(delivery);
    CountShelter(delivery, true);
  }
  for (Waiting& one : std::exchange(merge_, {})) {
    if (again.insert(KeyOf(one.delivery)).second) AddWaiting(std::move(one.delivery), DueOf(one));
  }
  std::sort(waiting.begin(), waiting.end(),
            [](const Delivery& a, const Delivery& b) { return a.sequence < b.sequence; });
  for (Delivery& delivery : waiting) {
    if (again.insert(KeyOf(delivery)).second) AddWaiting(std::move(delivery), std::nullopt);
  }

  // Nobody knows whether the failed commit took effect: what it did to dead letters, or imported,
  // is told when the file can be read again.
  merging_ = false;
  awaiting_.clear();  // the commands are at hand
  for (SpoolCompletion& completion : std::exchange(staged_, {})) {
    const auto* visited = std::get_if<DeadVisited>(&completion);
    if (visited != nullptr && visited->act == DeadAct::kShow) {
      Emit(std::move(completion));
    } else if (visited != nullptr || std::holds_alternative<DeadPurged>(completion) ||
               std::holds_alternative<ImportDone>(completion)) {
      doubtful_.push_back(std::move(completion));
    }
  }
  for (SpoolCommand& command : uncommitted) {
    const auto* finish = std::get_if<FinishCommand>(&command);
    const bool put_off = merging && finish != nullptr && finish->how == Final::kCancelled;
    replay_doubt_ = put_off ? 0 : failed_commit_;
    const bool told = std::holds_alternative<VisitDeadCommand>(command) ||
                      std::holds_alternative<PurgeDeadCommand>(command) ||
                      std::holds_alternative<ImportCommand>(command);
    // What was given back and then claimed is leased again.
    const Delivery* ended = EndedBy(command);
    const bool again_leased = ended != nullptr && told_.contains(KeyOf(*ended));
    if (!told && !again_leased) Shelter(command);
  }
  told_.clear();
  replay_doubt_ = 0;
  for (const ClaimCommand& claim : std::exchange(deferred_, {}))
    ShelterClaim(claim.endpoint, claim.limit);
}

void SpoolWorker::CountShelter(const Delivery& delivery, bool in) {
  const std::uint64_t bytes = EventBytes(*delivery.event);
  if (in) {
    health_.shelter_bytes += bytes;
  } else {
    health_.shelter_bytes -= bytes;
  }
}

bool SpoolWorker::IsDeferred(EndpointId endpoint) const {
  return std::any_of(deferred_.begin(), deferred_.end(),
                     [endpoint](const ClaimCommand& claim) { return claim.endpoint == endpoint; });
}

bool SpoolWorker::IsStuck(EndpointId endpoint, std::uint64_t recipient) const {
  return stuck_endpoints_.contains(endpoint) || stuck_recipients_.contains({endpoint, recipient});
}

// What the file has of it is out of reach.
void SpoolWorker::RememberHasten(const HastenCommand& command) {
  if (hastened_.size() < kMaxHastened) hastened_.emplace(command.endpoint, command.recipient);
}

// Until when it waits, unless somebody did not want to wait.
std::optional<Millis> SpoolWorker::DueOf(const Waiting& waiting) const {
  const bool hastened = hastened_.contains({waiting.delivery.endpoint, waiting.delivery.recipient});
  return hastened ? std::nullopt : waiting.due_ms;
}

void SpoolWorker::AddWaiting(Delivery delivery, std::optional<Millis> due_ms) {
  CountShelter(delivery, true);
  if (IsStuck(delivery.endpoint, delivery.recipient)) {
    stuck_.push_back({std::move(delivery), due_ms});
  } else {
    shelter_->Restore(std::move(delivery), due_ms);
  }
}

void SpoolWorker::Shelter(SpoolCommand& command) {
  std::visit(Overloaded{
                 [&](AppendCommand& c) { AddWaiting(std::move(c.delivery), std::nullopt); },
                 [&](const FlushCommand& c) {
                   for (const CommitCallback& waiting : c.waiting) waiting(false);
                   Emit(CommittedDone{c.ticket, false});
                 },
                 [&](const ClaimCommand& c) {
                   // One that was put off is answered below all that was commanded before it, and
                   // one that was answered is not answered again.
                   if (!c.answered && !IsDeferred(c.endpoint)) ShelterClaim(c.endpoint, c.limit);
                 },
                 [&](const FinishCommand& c) { ShelterEnd(c.delivery, c.how, c.note.get()); },
                 [&](const RescheduleCommand& c) {
                   ShelterBack(c.delivery, c.delivery.recipient, c.due_ms);
                 },
                 [&](const ParkCommand& c) {
                   ShelterBack(c.delivery, c.delivery.recipient, std::nullopt);
                 },
                 [&](const LeaveOrderCommand& c) {
                   ShelterBack(c.delivery, KeyOutOfOrder(c.delivery.sequence), c.due_ms);
                 },
                 [&](const HastenCommand& c) {
                   shelter_->Hasten(c.endpoint, c.recipient);
                   if (IsStuck(c.endpoint, c.recipient)) RememberHasten(c);
                 },
                 [&](const HastenAllCommand& c) { shelter_->HastenAll(c.endpoint, c.limit); },
                 [&](const VisitDeadCommand& c) {
                   if (c.visit->act != DeadAct::kPurge) {  // else the engine tries again
                     Say(Notice::Level::kWarning,
                         "dead letters cannot be reached while the spool in " + options_.directory +
                             " refuses",
                         "spool dead letters");
                   }
                   DeadVisited visited;
                   visited.tag = c.visit->tag;
                   visited.endpoint = c.visit->endpoint;
                   visited.act = c.visit->act;
                   visited.reached = false;
                   Emit(std::move(visited));
                 },
                 [&](const PurgeDeadCommand& c) { Emit(DeadPurged{c.purge.endpoint}); },
                 // Remembered by Tally, written when there is a file again.
                 [](const RegisterCommand&) {},
                 [](const SetPauseCommand&) {},
                 [](const SetWithdrawalCommand&) {},
                 [](const ClearWithdrawalsCommand&) {},
                 [&](const ImportCommand& c) { Emit(NotImported(*c.rows)); },
             },
             command);
}

ImportDone SpoolWorker::NotImported(const ImportedRows& rows) {
  ImportDone done;
  done.tag = rows.tag;
  done.endpoint = rows.endpoint;
  done.reached = false;
  return done;
}

void SpoolWorker::ShelterClaim(EndpointId endpoint, ClaimLimit limit) {
  ClaimedDone done{endpoint, {}};
  if (!stuck_endpoints_.contains(endpoint)) {
    done.claimed = shelter_->ClaimNow(endpoint, limit);
    for (const Delivery& delivery : done.claimed.deliveries)
      leased_.emplace(KeyOf(delivery), delivery);
  }
  Emit(std::move(done));
}

void SpoolWorker::ShelterEnd(const Delivery& delivery, Final how, const Note* note) {
  if (leased_.erase(KeyOf(delivery)) == 0) return;
  shelter_->Finish(delivery, Final::kDelivered, {});
  if (how != Final::kDead) CountShelter(delivery, false);
  if (how != Final::kDead && delivery.sequence > known_until_) {
    Store::Ends& ends = ends_[delivery.endpoint];
    if (how == Final::kDelivered) ++ends.delivered;
    if (how == Final::kCancelled) ++ends.cancelled;
    if (how == Final::kPurged) ++ends.purged;
    return;
  }
  Owed& owed = owed_[KeyOf(delivery)];
  owed.done = {delivery.endpoint, delivery.sequence, delivery.recipient,
               EventBytes(*delivery.event), how};
  owed.doubt = replay_doubt_;
  if (how == Final::kDead) owed.dead.emplace(delivery, note != nullptr ? *note : Note{});
}

void SpoolWorker::ShelterBack(const Delivery& delivery, std::uint64_t recipient,
                              std::optional<Millis> due_ms) {
  if (leased_.erase(KeyOf(delivery)) == 0) return;
  CountShelter(delivery, false);
  shelter_->Finish(delivery, Final::kDelivered, {});
  if (due_ms) hastened_.erase({delivery.endpoint, recipient});  // a later word
  Delivery back = delivery;
  back.recipient = recipient;
  AddWaiting(std::move(back), due_ms);
}

}  // namespace offline_post
