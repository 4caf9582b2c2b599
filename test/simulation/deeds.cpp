// What people, disks and networks do to the engine.
#include <algorithm>
#include <utility>

#include "world.hpp"

namespace offline_post::simulation {

namespace {

constexpr Millis kEarliestMs = 1'000'000'000'000;  // 2001
constexpr Millis kLatestMs = 2'000'000'000'000;    // 2033
constexpr const char* kTopics[] = {"call", "conversation"};

}  // namespace

void World::Repeat(Millis most, std::function<void()> what) {
  At(clock_.now + random_.Spread(1, std::max<Millis>(most, 1)),
     [this, most, what = std::move(what)] {
       if (faults_ended_) return;
       Repeat(most, what);  // first: what follows may be the process's end
       what();
     });
}

void World::PlanDeeds() {
  for (std::uint64_t left = plan_.events, bursts = plan_.bursts; left > 0; --bursts) {
    const std::uint64_t events = bursts <= 1 ? left : random_.Below(2 * left / bursts + 1);
    At(random_.Between(0, plan_.duration * 9 / 10), [this, events] { Burst(events); });
    left -= events;
  }
  const auto any = [this] { return static_cast<EndpointId>(random_.Int(1, plan_.endpoints)); };
  const Millis calm = plan_.calm_ms;
  if (plan_.moods || plan_.paths) Repeat(calm / 4, [this] { ChangeMood(); });
  if (plan_.crashes) {
    Repeat(calm * 2, [this] {
      if (random_.Percent(20)) throw Crash{};
      fuse_.Set(1 + random_.Below(100));
    });
  }
  if (plan_.stops) Repeat(calm * 2, [this] { StopOrderly(); });
  if (plan_.disk_full) Repeat(calm, [this] { FillDisk(); });
  if (plan_.corruption) Repeat(calm * 2, [this, any] { outbox_->Corrupt(any()); });
  if (plan_.pauses) Repeat(calm, [this, any] { PauseOrResume(any()); });
  if (plan_.hastes) Repeat(calm / 2, [this, any] { Hasten(any()); });
  if (plan_.withdrawals) Repeat(calm / 4, [this, any] { Withdraw(any()); });
  if (plan_.dead_letters) Repeat(calm / 2, [this, any] { TouchDead(any()); });
  if (plan_.jumps) {
    Repeat(calm, [this] {
      const Millis jump = random_.Spread(1'000, 300'000'000'000);
      // Within years that two digits name: an obsolete form of a date has no more.
      clock_.wall_offset = std::clamp(clock_.wall_offset + (random_.Percent(50) ? jump : -jump),
                                      kEarliestMs, kLatestMs);
      Trace("the wall clock jumps");
    });
  }
  if (plan_.reconfiguration) {
    Repeat(calm, [this, any] {
      const EndpointId id = any();
      if (slots_[id].wanted) Configure(id, true);
    });
  }
  if (plan_.removal) {
    Repeat(calm, [this, any] { Reload(any(), random_.Spread(1, 100'000'000)); });
  }
}

// Removed, and back after a while: at once, as in a reload, or after all that it left is dead.
void World::Reload(EndpointId id, Millis away) {
  if (!slots_[id].wanted || !configured(id)) return;
  Remove(id);
  At(clock_.now + away, [this, id] {
    slots_[id].wanted = true;
    if (!configured(id)) Configure(id, random_.Percent(50));
  });
}

void World::Burst(std::uint64_t events) {
  Trace(std::to_string(events) + " events");
  const Millis soon = clock_.now + random_.Spread(1, 60'000);
  const auto id = static_cast<EndpointId>(random_.Int(1, plan_.endpoints));
  // Faults are worst while much is going on.
  if (plan_.removal && random_.Percent(50)) {
    At(soon, [this, id] { Reload(id, random_.Spread(1, 20)); });
  }
  if (plan_.crashes && random_.Percent(20)) At(soon, [this] { fuse_.Set(1 + random_.Below(100)); });
  if (plan_.disk_full && random_.Percent(20)) At(soon, [this] { FillDisk(); });
  // While some of them wait, and some are on their way.
  if (plan_.withdrawals) {
    for (int n = random_.Int(0, 5); n > 0; --n) {
      At(clock_.now + random_.Spread(1, 120'000), [this, id] { Withdraw(id); });
    }
  }
  for (; events > 0; --events) {
    const auto to = static_cast<EndpointId>(random_.Int(1, plan_.endpoints));
    if (events % 3 == 0 && events > 30) {
      Submit(to);
    } else {  // over a while, so that others act in between
      At(clock_.now + random_.Spread(1, 60'000), [this, to] { Submit(to); });
    }
  }
}

void World::Submit(EndpointId id) {
  Site& site = book_.site(id);
  const std::shared_ptr<Event> event = book_.NewEvent(
      random_.Int(0, plan_.users - 1), static_cast<std::size_t>(random_.Spread(1, 300)));
  if (plan_.topics && random_.Percent(70)) {
    event->topic = plan_.rates.collapse && random_.Percent(40)
                       ? RateTopic(*event)
                       : TopicKey(RecipientKey(*event), kTopics[random_.Below(2)]);
  }
  const bool of_call =
      event->topic != 0 && event->topic == TopicKey(RecipientKey(*event), kTopics[0]);
  if (of_call || (plan_.lifetimes && random_.Percent(30))) event->kind = "call";
  if (of_call && plan_.call_ends && random_.Percent(40)) event->kind = "call_end";
  const bool room = outbox_->HasRoom();
  const Admission admission = site.ledger->Reserve(EventBytes(*event), room);
  if (admission != Admission::kAccepted) {
    ++tally_.rejected;
    return;
  }
  if (!room) Fail("an event was accepted without room in the outbox");
  if (!site.config) Fail("an event was accepted for a removed endpoint");
  if (site.ledger->Snapshot().pending > site.config->limits.events)
    Fail("more events were accepted than the queue's limit");
  book_.Submitted(id, event);
  ++untold_;
  engine_->Accept(id, event, [this, event](bool durable) {
    --untold_;
    book_.ToldCommitted(*event, durable);
  });
}

void World::Configure(EndpointId id, bool anew) {
  Slot& slot = slots_[id];
  Site& site = book_.site(id);
  if (anew) slot.config = MakeConfig(plan_, random_, static_cast<int>(id), ++slot.version);
  Trace("endpoint " + std::to_string(id) + " is configured for " + slot.config->post_url);
  engine_->Configure(id, slot.config, site.ledger);
  site.ledger->Open(slot.config->limits);
  book_.Configured(id, slot.config);
}

void World::Remove(EndpointId id) {
  Trace("endpoint " + std::to_string(id) + " is removed");
  slots_[id].wanted = false;
  book_.site(id).ledger->Close();
  engine_->Remove(id);
  book_.Removed(id);
}

void World::PauseOrResume(EndpointId id) {
  if (!configured(id)) return;
  Site& site = book_.site(id);
  if (site.pause == Pause::kNone) {
    Trace("endpoint " + std::to_string(id) + " is paused");
    site.pause = Pause::kOperator;
    engine_->Pause(id);
    if (site.stored_pause != Pause::kOperator) Fail("a pause will not outlive the process");
  } else {
    Resume(id);
  }
}

void World::Resume(EndpointId id) {
  Trace("endpoint " + std::to_string(id) + " is resumed");
  book_.Resumed(id);
  engine_->Resume(id);
}

void World::Hasten(EndpointId id) {
  if (!configured(id)) return;
  Trace("endpoint " + std::to_string(id) + " is hastened");
  book_.Hastened(id);
  engine_->Hasten(id);
}

void World::TouchDead(EndpointId id) {
  if (!configured(id)) return;
  const char* const reasons[] = {"", "", "HTTP 4", "HTTP 404", "expired", "no such reason"};
  DeadFilter filter;
  filter.reason = random_.Pick(reasons);
  const Store* store = outbox_->store(id);
  if (store != nullptr && !store->dead.empty() && random_.Percent(30)) {
    filter.event_id = store->dead.begin()->second.letter.delivery.event->id;
  }
  ++unanswered_;
  const auto counted = [this](std::uint64_t /*count*/) { --unanswered_; };
  switch (random_.Int(0, 2)) {
    case 0: {
      const std::size_t limit = 1 + random_.Below(20);
      engine_->ListDead(id, filter, 0, limit,
                        [this, limit](const std::vector<DeadLetter>& letters, auto /*next*/) {
                          --unanswered_;
                          if (letters.size() > limit) Fail("more dead letters than asked for");
                        });
      break;
    }
    case 1:
      engine_->ReplayDead(id, filter, counted);
      break;
    default:
      engine_->DropDead(id, filter, counted);
  }
}

void World::Withdraw(EndpointId id) {
  if (!configured(id)) return;
  const Jid user = book_.NewEvent(random_.Int(0, plan_.users - 1), 1)->to;
  Withdrawal withdrawal;
  withdrawal.recipient = RecipientKey(user.user, user.server);
  if (random_.Percent(50))
    withdrawal.topic = TopicKey(withdrawal.recipient, kTopics[random_.Below(2)]);
  if (random_.Percent(40)) withdrawal.how = Final::kPurged;
  book_.Withdrawn(id, withdrawal);
  engine_->Withdraw(id, withdrawal);
}

void World::ChangeMood() {
  if (plan_.moods && random_.Percent(70)) {
    const std::string host = "host" + std::to_string(random_.Int(1, plan_.hosts));
    const auto mood =
        random_.Percent(40)
            ? HostMood::kWell
            : static_cast<HostMood>(random_.Int(0, static_cast<int>(HostMood::kLast)));
    hosts_[host] = mood;
    Trace(host + " is in mood " + std::to_string(static_cast<int>(mood)));
  }
  if (plan_.paths && random_.Percent(70)) {
    const auto id = static_cast<EndpointId>(random_.Int(1, plan_.endpoints));
    const auto mood =
        random_.Percent(40)
            ? PathMood::kWell
            : static_cast<PathMood>(random_.Int(0, static_cast<int>(PathMood::kLast)));
    paths_[id] = mood;
    Trace("endpoint " + std::to_string(id) + "'s path is in mood " +
          std::to_string(static_cast<int>(mood)));
  }
  transport_->hosts = hosts_;
  transport_->paths = paths_;
}

void World::FillDisk() {
  if (disk_.full) return;
  Trace("the disk is full");
  disk_.full = true;
  disk_.blind = random_.Percent(50);
  At(clock_.now + random_.Spread(100, 3'600'000), [this] {
    Trace("the disk has room");
    disk_.full = false;
    outbox_->Recover();
  });
}

void World::StopOrderly() {
  for (const auto& [id, slot] : slots_) {
    book_.site(id).ledger->Close();
    engine_->Remove(id);
    book_.Removed(id);
  }
  if (transport_->in_flight() > 0) Fail("requests are in flight after all endpoints were removed");
  outbox_->Close();
  Die("orderly");
}

void World::EndFaults() {
  Trace("the faults end");
  faults_ended_ = true;
  ended_ms_ = clock_.now;
  agenda_.clear();
  fuse_.Set(0);
  hosts_.clear();
  paths_.clear();
  disk_.full = false;
  plan_.backend = BackendHabits();
  plan_.backend.knows_all = true;
  plan_.backend.moody = false;
  plan_.crashes = plan_.jumps = false;
  for (auto& [id, slot] : slots_) slot.wanted = true;
  outbox_->Recover();
  transport_->hosts = hosts_;
  transport_->paths = paths_;
  transport_->set_habits(plan_.backend);
  for (auto& [id, slot] : slots_) {
    if (!configured(id)) Configure(id, false);
    Resume(id);
  }
}

}  // namespace offline_post::simulation
