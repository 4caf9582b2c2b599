// Plan: what one seed makes of a history before it begins. Each fault is in about half of them, so
// that some histories have few and long ones have time to unfold.
#pragma once

#include <cstdint>
#include <memory>

#include "backend.hpp"
#include "disk.hpp"
#include "engine/budget.hpp"
#include "model/endpoint.hpp"
#include "random.hpp"

namespace offline_post::simulation {

struct Plan {
  Millis duration = 0;
  int endpoints = 1;
  int hosts = 1;
  int users = 1;
  std::uint64_t events = 0;
  std::uint64_t bursts = 1;  // in which they come
  bool overload = false;     // small queues
  DiskHabits disk;
  BackendHabits backend;

  bool moods = false;  // of hosts
  bool paths = false;  // moods of endpoints' URLs
  bool jumps = false;  // of the wall clock
  bool crashes = false;
  bool stops = false;  // orderly ones
  bool disk_full = false;
  bool corruption = false;
  bool reconfiguration = false;
  bool removal = false;
  bool pauses = false;
  bool hastes = false;        // somebody wants all that waits to be tried now
  bool dead_letters = false;  // somebody lists, replays and drops them
  bool topics = false;        // events have some
  bool withdrawals = false;
  bool batches = false;    // some endpoints have them
  bool lifetimes = false;  // calls have one of their own
  bool call_ends = false;
  bool siblings = false;  // the first two endpoints are the presence modules of one virtual host
  // The same in all configurations: what they promise must not change while it is measured.
  Millis collapse_interval_ms = 0;
  RateLimits rates;
  std::size_t memory_bytes = Budget::kBytes;  // of the engine
  Millis calm_ms = 0;                         // between two faults of a kind, at most
};

Plan MakePlan(Random& random);

// A configuration for the endpoint; `version` shows in its URL and token.
std::shared_ptr<const Endpoint> MakeConfig(const Plan& plan, Random& random, int slot, int version);

}  // namespace offline_post::simulation
