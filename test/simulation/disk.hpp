// Disk: what survives a crash. Times are store times: the world's plus a skew, since who reopens a
// file cannot tell for sure how long it was closed.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "engine/outbox.hpp"

namespace offline_post::simulation {

struct Row {
  Delivery delivery;
  std::optional<Millis> due;
};

struct Letter {
  DeadLetter letter;
  Millis died = 0;
};

struct Store {
  StoredEndpoint endpoint;
  std::map<Sequence, Row> rows;
  std::map<Sequence, Letter> dead;
  std::set<std::pair<Millis, Sequence>> died;  // the same, in order of death
};

struct Disk {
  std::map<EndpointId, Store> stores;
  Sequence next = 1;
  Millis skew = 0;

  // Faults, which are no content.
  bool full = false;
  bool blind = false;  // while it is full, nothing can be read either
};

// How a disk behaves in one history.
struct DiskHabits {
  Millis commit_ms = 0;    // at most this long
  Millis lazy_ms = 100;    // deletes alone may wait so long
  bool piecemeal = false;  // some commands of a batch at a time
};

}  // namespace offline_post::simulation
