// What another node has left, and this one takes over.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/engine.hpp"

namespace offline_post {

namespace {

std::shared_ptr<const Event> WithoutTopic(const std::shared_ptr<const Event>& event) {
  if (event->topic == 0) return event;
  auto copy = std::make_shared<Event>(*event);
  copy->topic = 0;
  return copy;
}

}  // namespace

void Engine::Import(EndpointId id, ImportSlice slice, ImportCallback done) {
  ImportJob job;
  job.endpoint = id;
  job.done = std::move(done);
  EndpointRecord* found = Find(id);
  if (found == nullptr || !outbox_.IsDurable()) {
    job.result.end = ImportResult::End::kRefused;
    job.done(job.result);
    return;
  }
  EndpointRecord& endpoint = *found;
  ImportedRows rows;
  rows.endpoint = id;
  rows.source = std::move(slice.source);
  rows.position = slice.position;
  for (Delivery& delivery : slice.pending) {
    const std::uint64_t bytes = EventBytes(*delivery.event);
    const Admission admission = endpoint.ledger->ReserveImported(bytes, outbox_.HasRoom());
    if (admission != Admission::kAccepted) {
      job.result.end =
          admission == Admission::kFull ? ImportResult::End::kFull : ImportResult::End::kStopped;
      rows.position.pending = delivery.sequence - 1;
      if (!slice.dead.empty()) rows.position.dead = slice.dead.front().delivery.sequence - 1;
      break;
    }
    ++job.reserved;
    job.bytes += bytes;
    delivery.sequence = next_sequence_++;
    delivery.endpoint = id;
    delivery.event = WithoutTopic(delivery.event);
    delivery.recipient = LaneOf(*endpoint.config, *delivery.event, delivery.sequence);
    rows.pending.push_back(std::move(delivery));
  }
  if (job.result.end == ImportResult::End::kAll && !slice.dead.empty() && !outbox_.HasRoom()) {
    job.result.end = ImportResult::End::kFull;
    rows.position.dead = slice.dead.front().delivery.sequence - 1;
  }
  if (job.result.end == ImportResult::End::kAll) {
    rows.dead = std::move(slice.dead);
    for (DeadLetter& letter : rows.dead) {
      Delivery& delivery = letter.delivery;
      delivery.sequence = next_sequence_++;
      delivery.endpoint = id;
      delivery.event = WithoutTopic(delivery.event);
      delivery.recipient = LaneOf(*endpoint.config, *delivery.event, delivery.sequence);
    }
  }
  rows.tag = next_job_++;
  const std::uint64_t tag = rows.tag;
  import_jobs_.emplace(tag, std::move(job));
  if (outbox_.Import(rows)) return;
  ImportDone refused;
  refused.tag = tag;
  refused.endpoint = id;
  refused.reached = false;
  OnImported(refused);
}

void Engine::OnImported(const ImportDone& done) {
  auto node = import_jobs_.extract(done.tag);
  if (node.empty()) return;
  ImportJob& job = node.mapped();
  EndpointRecord& endpoint = At(done.endpoint);
  if (done.reached) {
    endpoint.in_outbox += done.pending;
    endpoint.claimable = endpoint.claimable || done.pending > 0;
    endpoint.ledger->ImportedDead(done.dead, done.dead_bytes);
    endpoint.dead += done.dead;
    endpoint.dead_bytes += done.dead_bytes;
    if (done.dead > 0) endpoint.purge_ms = std::min(endpoint.purge_ms, clock_.MonotonicMs());
    // The outbox may know that it has taken this slice before.
    endpoint.ledger->Forget(job.reserved - done.pending, job.bytes - done.bytes);
    job.result.pending = done.pending;
    job.result.dead = done.dead;
    job.result.position = done.position;
  } else {
    endpoint.ledger->Forget(job.reserved, job.bytes);
    job.result.end = ImportResult::End::kRefused;
  }
  job.done(job.result);
}

}  // namespace offline_post
