// World: one history, from its seed to its end. The engine, its payload code and its books are the
// real ones; time, backends, disk and everybody's deeds are simulated.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "basics.hpp"
#include "book.hpp"
#include "disk.hpp"
#include "engine/engine.hpp"
#include "engine/notices.hpp"
#include "plan.hpp"
#include "random.hpp"
#include "sim_outbox.hpp"
#include "sim_transport.hpp"

namespace offline_post::simulation {

// What a history has seen, to show that the faults really happen.
struct Tally {
  std::uint64_t steps = 0;
  std::uint64_t events = 0;
  std::uint64_t rejected = 0;
  std::uint64_t requests = 0;
  std::uint64_t batches = 0;  // of these with more than one event
  std::uint64_t doubles = 0;
  std::uint64_t crashes = 0;
  std::uint64_t delivered = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t purged = 0;
  std::uint64_t lost = 0;  // of a ruined file
  std::uint64_t gone = 0;  // had not been committed
  std::uint64_t left_order = 0;
  Millis simulated_ms = 0;
  void Add(const Tally& other);
};

class World {
 public:
  World(std::uint64_t seed, const Switches& switches, bool trace);

  // Lives through the history. What broke, with its time; nothing: all promises were kept.
  std::optional<std::string> Run();
  Tally tally() const;

 private:
  // What an operator has set up: one of the plan's endpoints.
  struct Slot {
    bool wanted = true;
    std::shared_ptr<const Endpoint> config;
    int version = 0;
  };

  // world.cpp: time and life
  void Live();
  void Open();
  void Die(const char* how);
  void Step(Millis until);
  void Work();
  std::string Situation();
  void At(Millis when, std::function<void()> what);
  void Trace(const std::string& what) const { book_.Trace(what); }
  bool configured(EndpointId id) { return book_.site(id).config != nullptr; }

  // deeds.cpp: what people, disks and networks do
  void PlanDeeds();
  void Repeat(Millis most, std::function<void()> what);
  void Burst(std::uint64_t events);
  void Submit(EndpointId id);
  void Configure(EndpointId id, bool anew);
  void Remove(EndpointId id);
  void Reload(EndpointId id, Millis away);
  void PauseOrResume(EndpointId id);
  void Resume(EndpointId id);
  void Hasten(EndpointId id);
  void TouchDead(EndpointId id);
  void Withdraw(EndpointId id);
  void ChangeMood();
  void FillDisk();
  void StopOrderly();
  void EndFaults();

  // checks.cpp: what must hold
  void CheckBooks();
  void CheckQuiet(Site& site, const Stats& stats);
  void CheckAwake(Site& site, const Stats& stats);
  void CheckBuried(const Site& site);
  void CheckNotices();
  void CheckEnd();
  bool Drained();

  Switches switches_;
  Random random_;
  Plan plan_;
  SimClock clock_;
  Fuse fuse_;
  Disk disk_;
  Book book_;
  std::map<EndpointId, Slot> slots_;
  std::map<std::pair<Millis, std::uint64_t>, std::function<void()>> agenda_;
  std::uint64_t agenda_count_ = 0;
  std::map<std::string, HostMood> hosts_;
  std::map<EndpointId, PathMood> paths_;

  // One run of the process; in this order, for the engine refers to the others.
  int run_ = 0;
  std::optional<Notices> notices_;
  std::unique_ptr<SimOutbox> outbox_;
  std::unique_ptr<SimTransport> transport_;
  std::unique_ptr<Engine> engine_;
  std::uint64_t untold_ = 0;      // accepted, and nobody said whether it is committed
  std::uint64_t unanswered_ = 0;  // questions about dead letters
  int idle_turns_ = 0;
  bool faults_ended_ = false;
  Millis ended_ms_ = 0;
  Millis opened_ms_ = 0;
  Millis degraded_ms_ = 0;
  Tally tally_;
};

}  // namespace offline_post::simulation
