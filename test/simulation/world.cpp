// Time and life: the loop of the service, in a world where time jumps to whatever comes next.
#include "world.hpp"

#include <algorithm>
#include <utility>

namespace offline_post::simulation {

namespace {

// Turns that time alone brings, and that do nothing. One may come of rounding.
constexpr int kMaxIdleTurns = 3;
constexpr int kMaxIdleTurnsShort = 12;  // while memory is short, each endpoint looks whether it is
// While the disk refuses, each endpoint asks once a second: three days of that are a million.
constexpr std::uint64_t kMaxSteps = 4'000'000;

}  // namespace

void Tally::Add(const Tally& other) {
  steps += other.steps;
  events += other.events;
  rejected += other.rejected;
  requests += other.requests;
  batches += other.batches;
  doubles += other.doubles;
  crashes += other.crashes;
  delivered += other.delivered;
  dead += other.dead;
  cancelled += other.cancelled;
  purged += other.purged;
  lost += other.lost;
  gone += other.gone;
  left_order += other.left_order;
  simulated_ms += other.simulated_ms;
}

World::World(std::uint64_t seed, const Switches& switches, bool trace)
    : switches_(switches),
      random_(seed),
      plan_(MakePlan(random_)),
      book_(clock_, plan_.memory_bytes, trace) {
  for (int slot = 1; slot <= plan_.endpoints; ++slot) {
    const auto id = static_cast<EndpointId>(slot);
    slots_[id].config = MakeConfig(plan_, random_, slot, 0);
    book_.sites()[id].id = id;
    book_.sites()[id].key = slots_[id].config->key;
  }
}

std::optional<std::string> World::Run() {
  std::optional<std::string> broken;
  try {
    Live();
  } catch (const Violation& violation) {
    broken = "after " + std::to_string(clock_.now) + " ms: " + violation.text;
  } catch (const std::exception& error) {
    broken = "after " + std::to_string(clock_.now) + " ms: an exception: " + error.what();
  }
  if (broken) Trace(*broken);
  return broken;
}

Tally World::tally() const {
  Tally tally = tally_;
  tally.events = book_.entries().size();
  tally.doubles = book_.doubles();
  tally.left_order = book_.left_order();
  tally.simulated_ms = clock_.now;
  for (const Entry& entry : book_.entries()) {
    switch (entry.place) {
      case Place::kPending:
        break;
      case Place::kDelivered:
        ++tally.delivered;
        break;
      case Place::kDead:
        ++tally.dead;
        break;
      case Place::kCancelled:
        ++tally.cancelled;
        break;
      case Place::kPurged:
        ++tally.purged;
        break;
      case Place::kLost:
        ++tally.lost;
        break;
      case Place::kGone:
        ++tally.gone;
        break;
    }
  }
  return tally;
}

void World::At(Millis when, std::function<void()> what) {
  agenda_.emplace(std::pair(when, agenda_count_++), std::move(what));
}

void World::Live() {
  PlanDeeds();
  while (!Drained()) {
    try {
      if (!engine_) Open();
      if (!faults_ended_ && clock_.now >= plan_.duration) EndFaults();
      Step(plan_.duration);
    } catch (const Crash&) {
      Die("crash");
    }
  }
  CheckEnd();
}

void World::Open() {
  ++run_;
  fuse_.Set(plan_.crashes && !faults_ended_ && random_.Percent(5) ? 1 + random_.Below(200) : 0);
  clock_.monotonic_offset = random_.Spread(1, 10'000'000'000) - clock_.now;
  // The wall clock tells how long the file was closed, and may be wrong: late by all of it, or
  // early by years.
  if (plan_.jumps && run_ > 1 && random_.Percent(30))
    disk_.skew += random_.Spread(1, 100'000'000'000);
  untold_ = unanswered_ = 0;
  idle_turns_ = 0;
  opened_ms_ = degraded_ms_ = clock_.now;
  notices_.emplace(clock_);
  outbox_ =
      std::make_unique<SimOutbox>(disk_, plan_.disk, clock_, random_, book_, fuse_, switches_);
  transport_ = std::make_unique<SimTransport>(clock_, random_, book_, fuse_, plan_.backend);
  transport_->hosts = hosts_;
  transport_->paths = paths_;
  engine_ = std::make_unique<Engine>(*outbox_, *transport_, clock_, *notices_, random_.Next(),
                                     plan_.memory_bytes);
  book_.Reopened(disk_);
  for (auto& [id, site] : book_.sites()) {
    site.ledger = std::make_shared<Ledger>();
    site.pause = site.stored_pause = Pause::kNone;
  }
  for (const StoredEndpoint& stored : outbox_->Stored()) {
    Site& site = book_.site(stored.id);
    site.pause = site.stored_pause = stored.pause;
    site.paused_url = stored.paused_url;
    site.ledger->Restore(stored);
    engine_->Restore(stored, site.ledger);
  }
  for (const auto& [id, slot] : slots_) {
    if (!slot.wanted) continue;
    if (random_.Percent(80)) {
      Configure(id, false);
    } else {
      At(clock_.now + random_.Spread(1, 60'000), [this, id = id] {
        if (slots_[id].wanted && !configured(id)) Configure(id, false);
      });
    }
  }
}

void World::Die(const char* how) {
  Trace(std::string("the process ends: ") + how);
  ++tally_.crashes;
  fuse_.Set(0);
  tally_.requests += transport_->sent();
  tally_.batches += transport_->batches();
  engine_.reset();
  transport_->Die();
  outbox_->Die();
  transport_.reset();
  outbox_.reset();
  if (!faults_ended_) clock_.now += random_.Spread(1, 3'600'000);
}

void World::Step(Millis until) {
  if (++tally_.steps > kMaxSteps) Fail("too many steps, and no end");
  Millis at = faults_ended_ ? clock_.now + 3'600'000 : std::max(clock_.now, until);
  const auto consider = [&at](std::optional<Millis> when) {
    if (when) at = std::min(at, *when);
  };
  if (!agenda_.empty()) consider(agenda_.begin()->first.first);
  consider(outbox_->NextMs());
  consider(transport_->NextMs());
  bool alone = false;
  if (const auto turn = engine_->NextTurnMs()) {
    alone = clock_.FromMonotonic(*turn) < at;
    at = std::min(at, clock_.FromMonotonic(*turn));
  }
  clock_.now = std::max(clock_.now, at);
  const std::uint64_t burnt = fuse_.burnt();
  while (!agenda_.empty() && agenda_.begin()->first.first <= clock_.now) {
    const auto what = std::move(agenda_.begin()->second);
    agenda_.erase(agenda_.begin());
    what();
    if (!engine_) return;
  }
  transport_->Perform(*engine_);
  if (faults_ended_) {  // by an answer that was on its way before
    for (const auto& [id, site] : book_.sites()) {
      if (site.pause != Pause::kNone) Resume(id);
    }
  }
  Work();
  // To tell the operator something is a reason to wake, too.
  const bool idle = alone && fuse_.burnt() == burnt && notices_->empty();
  idle_turns_ = idle ? idle_turns_ + 1 : 0;
  const bool is_short = plan_.memory_bytes != Budget::kBytes;
  if (idle_turns_ > (is_short ? kMaxIdleTurnsShort : kMaxIdleTurns))
    Fail("the engine wakes again and again, and does nothing: " + Situation());
  CheckBooks();
}

std::string World::Situation() {
  std::string text;
  for (const auto& [id, site] : book_.sites()) {
    const Stats stats = site.ledger->Snapshot();
    text += "endpoint " + std::to_string(id) + ": state " +
            std::to_string(static_cast<int>(stats.state)) + ", pending " +
            std::to_string(stats.pending) + ", dead " + std::to_string(stats.dead) + ", leased " +
            std::to_string(site.leased) + ", in flight " + std::to_string(site.in_flight);
    if (site.config) text += " to " + site.config->origin.host;
    text += "; ";
  }
  return text;
}

void World::Work() {
  do {
    engine_->Turn();
  } while (outbox_->Poll(*engine_));
}

}  // namespace offline_post::simulation
