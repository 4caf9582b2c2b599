// What must hold after every step, whenever nothing is on its way to the disk, and at the end.
#include <algorithm>
#include <string>

#include "world.hpp"

namespace offline_post::simulation {

namespace {

// Once faults have ended: the longest wait of any schedule, jittered, for a recipient's first, and
// some time to send all others.
constexpr Millis kDrainMs = 2LL * 3'600'000;

constexpr Millis kPurgeSlackMs = 5LL * 60'000;
constexpr Millis kHastenSlackMs = 60'000;

std::uint64_t Count(const Site& site, Place place) {
  return site.count[static_cast<std::size_t>(place)];
}

}  // namespace

void World::CheckBooks() {
  const bool quiet = outbox_->idle();
  for (auto& [id, site] : book_.sites()) {
    const Stats stats = site.ledger->Snapshot();
    const std::string who = "endpoint " + std::to_string(id);
    if (stats.accepted !=
        stats.delivered + stats.pending + stats.dead + stats.cancelled + stats.purged) {
      Fail(who + ": the law is broken: accepted " + std::to_string(stats.accepted) +
           ", delivered " + std::to_string(stats.delivered) + ", pending " +
           std::to_string(stats.pending) + ", dead " + std::to_string(stats.dead) + ", cancelled " +
           std::to_string(stats.cancelled) + ", purged " + std::to_string(stats.purged));
    }
    if (stats.in_flight != static_cast<std::uint64_t>(site.out))
      Fail(who + ": another number is in flight than the ledger says");
    if (stats.in_flight > stats.pending) Fail(who + ": more in flight than pending");
    if (!quiet) continue;
    CheckQuiet(site, stats);
    if (site.config) {
      CheckAwake(site, stats);
    } else {
      CheckBuried(site);
    }
  }
  if (quiet && !outbox_->degraded()) {
    book_.BecomeSure();
  } else if (outbox_->degraded()) {
    degraded_ms_ = clock_.now;
  }
  if (quiet && untold_ > 0) Fail("somebody was not told of a commit");
  CheckNotices();
}

// Nothing is under way to the disk: the ledger, the disk and the book tell the same story.
void World::CheckQuiet(Site& site, const Stats& stats) {
  const std::string who = "endpoint " + std::to_string(site.id) + ": ";
  const auto agree = [&who](const char* what, std::uint64_t ledger, std::uint64_t truth) {
    if (ledger == truth) return;
    Fail(who + what + ": the ledger says " + std::to_string(ledger) + ", it is " +
         std::to_string(truth));
  };
  agree("delivered", stats.delivered, Count(site, Place::kDelivered));
  agree("pending", stats.pending, Count(site, Place::kPending));
  agree("dead", stats.dead, Count(site, Place::kDead));
  agree("cancelled", stats.cancelled, Count(site, Place::kCancelled));
  agree("purged", stats.purged, Count(site, Place::kPurged));
  agree("pending bytes", stats.pending_bytes, site.pending_bytes);
  if (!site.lost) {
    agree("recipients waiting", stats.recipients_waiting, site.waited_for.size());
    agree("out of order", stats.out_of_order, site.out_of_order.size());
  }
  const Store* store = outbox_->store(site.id);
  if (store == nullptr) return;
  agree("rows", store->rows.size(), Count(site, Place::kPending));
  agree("letters", store->dead.size(), Count(site, Place::kDead));
  agree("stored delivered", store->endpoint.delivered, stats.delivered);
  agree("stored accepted", store->endpoint.accepted, stats.accepted);
  agree("bytes of letters", store->endpoint.dead_bytes, stats.dead_bytes);
  if (!site.config || (store->dead.size() <= site.config->retention.letters &&
                       store->endpoint.dead_bytes <= site.config->retention.bytes)) {
    site.crowded.reset();
  } else if (!site.crowded) {
    site.crowded = clock_.now;
  }
  if (!site.config || clock_.now - site.configured < kPurgeSlackMs) return;
  if (site.crowded && clock_.now - *site.crowded > kPurgeSlackMs)
    Fail(who + std::to_string(store->dead.size()) + " dead letters of " +
         std::to_string(store->endpoint.dead_bytes) + " bytes are kept, not " +
         std::to_string(site.config->retention.letters) + " of " +
         std::to_string(site.config->retention.bytes));
  if (!store->died.empty() && store->died.begin()->first - disk_.skew <
                                  clock_.now - site.config->retention.age_ms - kPurgeSlackMs) {
    Fail(who + "a dead letter is kept after its retention");
  }
}

// What can be done is being done, and what waits for a time will be woken for it.
void World::CheckAwake(Site& site, const Stats& stats) {
  if (site.pause != Pause::kNone || outbox_->blinded()) return;
  const std::string who = "endpoint " + std::to_string(site.id) + " ";
  const int out = book_.in_flight(site.config->origin.host) + site.in_flight;
  if (stats.state == EndpointState::kProbing && out == 0)
    Fail(who + "waits for a probe that is not");
  if (stats.state == EndpointState::kStopped || stats.state == EndpointState::kPaused)
    Fail(who + "has a wrong state");
  const auto turn = engine_->NextTurnMs();
  const Millis next = turn ? clock_.FromMonotonic(*turn) : clock_.now + 1'000'000'000'000;
  if (next <= clock_.now + 1) return;
  // While memory is short, others come first, as long as they hold something.
  const bool memory = plan_.memory_bytes == Budget::kBytes ||
                      (stats.state == EndpointState::kHealthy && !outbox_->claiming() &&
                       std::all_of(book_.sites().begin(), book_.sites().end(),
                                   [](const auto& one) { return one.second.leased == 0; }));
  const bool room = memory && site.leased <= WindowOf(*site.config) / 2;
  const Millis well_since = std::max({site.configured, degraded_ms_, opened_ms_});
  const Millis slack = kHastenSlackMs + 200 * plan_.disk.commit_ms;
  if (room && well_since < clock_.now - slack) {
    if (const Entry* entry = book_.Overdue(site.id, clock_.now - slack))
      Fail(who + "has " + entry->event->id + ", withdrawn long ago, and does not end it");
    if (const Entry* entry = book_.Forgotten(site.id, clock_.now - slack))
      Fail(who + "has " + entry->event->id + ", which waits for nobody, and does not look");
  }
  if (room && outbox_->HasReady(site.id)) Fail(who + "could claim, and sleeps");
  if (out > 0) return;
  if (stats.state == EndpointState::kHealthy && site.leased > 0 &&
      next > book_.LatestSend(site) + 1)
    Fail(who + "could send, and sleeps");
  if (stats.state == EndpointState::kBroken && site.leased > 0 && !turn)
    Fail(who + "has a broken origin, and no probe planned");
  const auto due = outbox_->NextDue(site.id);
  if (room && due && next > std::max(*due, clock_.now) + 1) {
    Fail(who + "sleeps " + std::to_string(next - *due) + " ms beyond a retry's time");
  }
}

// What an endpoint left is buried when its time has come.
void World::CheckBuried(const Site& site) {
  // While memory is short, it waits for its turn.
  if (plan_.memory_bytes != Budget::kBytes) return;
  if (clock_.now < site.removed + site.kept_for || outbox_->blinded()) return;
  const auto turn = engine_->NextTurnMs();
  if (turn && clock_.FromMonotonic(*turn) <= clock_.now + 1) return;
  if (outbox_->HasReady(site.id)) {
    Fail("endpoint " + std::to_string(site.id) + " is long removed, and what it left stays");
  }
}

void World::CheckNotices() {
  for (const Notice& notice : notices_->Waiting()) {
    Trace("notice: " + notice.line);
    for (const char* secret : {"b0dy", "t0ken", "/push"}) {
      if (notice.line.find(secret) != std::string::npos)
        Fail("a notice tells a secret: " + notice.line);
    }
  }
  notices_->Clear();
}

bool World::Drained() {
  if (!faults_ended_ || !engine_) return false;
  // With one connection and one recipient each event takes a claim of its own, and a claim a
  // commit.
  const Millis claims = plan_.disk.commit_ms * static_cast<Millis>(plan_.events);
  if (clock_.now > std::max(plan_.duration, ended_ms_) + kDrainMs + claims) {
    std::string left;
    int named = 0;
    for (const Entry& entry : book_.entries()) {
      if (entry.place == Place::kPending && named++ < 10) left += " " + entry.event->id;
    }
    for (const auto& [id, site] : book_.sites())
      left += " endpoint " + std::to_string(id) + " has " +
              std::to_string(site.ledger->Snapshot().pending);
    left += ", " + std::to_string(unanswered_) + " unanswered, " +
            std::to_string(transport_->in_flight()) + " in flight";
    if (!outbox_->idle()) left += ", the outbox works";
    Fail("not drained in time:" + left);
  }
  if (!outbox_->idle() || transport_->in_flight() > 0 || unanswered_ > 0) return false;
  return std::all_of(book_.sites().begin(), book_.sites().end(),
                     [](const auto& site) { return site.second.ledger->Snapshot().pending == 0; });
}

void World::CheckEnd() {
  CheckBooks();
  for (const Entry& entry : book_.entries()) {
    if (entry.place == Place::kPending) Fail(entry.event->id + " is pending, and nobody knows");
  }
  book_.CheckPurged();
  for (const auto& [id, site] : book_.sites()) {
    if (site.leased > 0) Fail("a lease was never given back");
    const Store* store = outbox_->store(id);
    if (store != nullptr && !store->rows.empty()) Fail("rows were left on the disk");
  }
}

}  // namespace offline_post::simulation
