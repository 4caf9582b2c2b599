// Dead letters, which wait in the outbox for an operator or for the end of their retention.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/engine.hpp"

namespace offline_post {

namespace {

constexpr Millis kRepeatMs =
    1'000;  // until letters that the outbox could not reach are tried again
// A list ends early once it has letters of so many bytes: somebody holds it as a whole.
constexpr std::uint64_t kListBytes = std::uint64_t{1} << 20U;

}  // namespace

void Engine::ListDead(EndpointId id, DeadFilter filter, Sequence after, std::size_t limit,
                      ListCallback done) {
  DeadJob job;
  job.visit.after = after;
  job.visit.limit = limit;
  job.visit.bytes = kListBytes;
  job.listed = std::move(done);
  AddDeadJob(id, DeadAct::kShow, std::move(filter), std::move(job));
}

void Engine::ReplayDead(EndpointId id, DeadFilter filter, CountCallback done) {
  DeadJob job;
  job.visit.limit = kSlice;
  job.counted = std::move(done);
  AddDeadJob(id, DeadAct::kReplay, std::move(filter), std::move(job));
}

void Engine::DropDead(EndpointId id, DeadFilter filter, CountCallback done) {
  DeadJob job;
  job.visit.limit = kSlice;
  job.counted = std::move(done);
  AddDeadJob(id, DeadAct::kDrop, std::move(filter), std::move(job));
}

void Engine::AddDeadJob(EndpointId id, DeadAct act, DeadFilter filter, DeadJob job) {
  if (!endpoints_.contains(id)) {  // of an outbox that could not be opened
    if (job.listed) job.listed({}, std::nullopt);
    if (job.counted) job.counted(0);
    return;
  }
  job.visit.tag = next_job_++;
  // What dies from now on is not meant: it would be replayed again and again.
  job.visit.before = next_sequence_;
  job.visit.endpoint = id;
  job.visit.act = act;
  job.visit.filter = std::move(filter);
  dead_jobs_.emplace(job.visit.tag, std::move(job));
}

// A pass through all letters costs the same for one removed account as for thousands: those that
// are removed during one are the next one's.
void Engine::PurgeRemoved(EndpointRecord& endpoint) {
  if (endpoint.purging_removed || endpoint.removed.empty()) return;
  endpoint.purging_removed = true;
  DeadFilter filter;
  filter.recipients =
      std::make_shared<const Recipients>(std::exchange(endpoint.removed, Recipients()));
  DeadJob job;
  job.visit.limit = kSlice;
  AddDeadJob(endpoint.id, DeadAct::kPurge, std::move(filter), std::move(job));
}

// A replay that went on would post what a removed account has left.
bool Engine::MustWait(const DeadJob& job) const {
  return job.visit.act == DeadAct::kReplay && endpoints_.at(job.visit.endpoint).purging_removed;
}

void Engine::VisitDead() {
  const Millis now = clock_.MonotonicMs();
  for (auto& [tag, job] : dead_jobs_) {
    if (job.visiting || now < job.next_ms || MustWait(job)) continue;
    job.visiting = true;
    if (job.visit.act == DeadAct::kReplay) {
      job.visit.first_sequence = next_sequence_;
      job.visit.accepted_ms = now;
      next_sequence_ += job.visit.limit;
    }
    outbox_.VisitDead(job.visit);
  }
}

void Engine::OnDeadVisited(DeadVisited visited) {
  const auto found = dead_jobs_.find(visited.tag);
  if (found == dead_jobs_.end()) return;
  DeadJob& job = found->second;
  EndpointRecord& endpoint = At(visited.endpoint);
  if (!visited.reached && visited.act == DeadAct::kPurge) {
    // Nobody will ask again: an account is removed once.
    job.visiting = false;
    job.next_ms = clock_.MonotonicMs() + kRepeatMs;
    return;
  }
  switch (visited.act) {
    case DeadAct::kShow:
      break;
    case DeadAct::kReplay:
      endpoint.ledger->Replayed(visited.count, visited.bytes, visited.dead_bytes);
      endpoint.ledger->seen().Replayed(job.visit.accepted_ms, visited.count);
      endpoint.in_outbox += visited.count;
      endpoint.claimable = true;
      break;
    case DeadAct::kDrop:
      endpoint.ledger->Dropped(visited.count, visited.dead_bytes);
      break;
    case DeadAct::kPurge:
      endpoint.ledger->Purged(visited.count, visited.dead_bytes);
      break;
  }
  job.count += visited.count;
  std::move(visited.letters.begin(), visited.letters.end(), std::back_inserter(job.letters));
  if (visited.act == DeadAct::kShow) {
    job.visit.limit -= visited.count;
    job.visit.bytes -= std::min(visited.bytes, job.visit.bytes);
  } else {
    endpoint.dead -= visited.count;
    endpoint.dead_bytes -= visited.dead_bytes;
  }
  if (visited.next && job.visit.limit > 0 && job.visit.bytes > 0) {
    job.visiting = false;
    job.visit.after = *visited.next;
    job.next_ms = clock_.MonotonicMs() + 1;
    return;
  }
  DeadJob done = std::move(job);
  dead_jobs_.erase(found);
  if (done.visit.act == DeadAct::kPurge) endpoint.purging_removed = false;
  if (done.listed) done.listed(std::move(done.letters), visited.next);
  if (done.counted) done.counted(done.count);
}

bool Engine::IsCrowded(const EndpointRecord& endpoint) {
  const Retention& retention = endpoint.config->retention;
  return endpoint.dead > retention.letters || endpoint.dead_bytes > retention.bytes;
}

void Engine::PurgeDead(EndpointRecord& endpoint) {
  const Millis now = clock_.MonotonicMs();
  if (endpoint.dead == 0 || endpoint.purging || now < endpoint.purge_ms) return;
  endpoint.purging = true;
  const Retention& retention = endpoint.config->retention;
  outbox_.PurgeDead({endpoint.id, now - retention.age_ms,
                     endpoint.dead - std::min(endpoint.dead, retention.letters),
                     endpoint.dead_bytes - std::min(endpoint.dead_bytes, retention.bytes), kSlice});
}

void Engine::OnPurged(const DeadPurged& purged) {
  EndpointRecord& endpoint = At(purged.endpoint);
  endpoint.ledger->Purged(purged.count, purged.bytes);
  endpoint.dead -= purged.count;
  endpoint.dead_bytes -= purged.bytes;
  endpoint.purging = false;
  // More may have died meanwhile; or the outbox cannot reach them now.
  const bool more = purged.more || IsCrowded(endpoint);
  const Millis soon = purged.count > 0 ? 1 : kRepeatMs;
  endpoint.purge_ms = clock_.MonotonicMs() + (more ? soon : kPurgeMs);
}

void Engine::OnLost(EndpointId id, std::uint64_t count, std::uint64_t bytes) {
  EndpointRecord& endpoint = At(id);
  endpoint.ledger->Forget(count, bytes);
  endpoint.in_outbox -= count;
  endpoint.topics.Lost();
  endpoint.failing.Clear();
  PublishFailing(endpoint);
  if (endpoint.shares_order) ForgetShared(endpoint);
}

}  // namespace offline_post
