// The trivial model of an outbox, and the lives of one that is killed.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "engine/outbox.hpp"

namespace offline_post::test {

inline constexpr Millis kEpoch = 1'700'000'000'000;

// Moved by the history; read by the storage thread too.
class ModelClock final : public Clock {
 public:
  Millis MonotonicMs() const override { return now_ms; }
  Millis UnixMs() const override { return kEpoch + now_ms; }
  std::atomic<Millis> now_ms{1'000};
};

struct ModelDelivery {
  std::string id;
  EndpointId endpoint = 0;
  std::uint64_t recipient = 0;
  int attempts = 0;
  bool committed = false;
  bool leased = false;
};

using Lane = std::pair<EndpointId, std::uint64_t>;

// What an outbox holds, by its port's words.
struct Model {
  std::map<Sequence, ModelDelivery> pending;
  std::map<Sequence, ModelDelivery> dead;
  std::map<Lane, Millis> due;  // recipients that wait
  Sequence next = 1;

  std::size_t Leased(const Lane& lane) const;
  bool Waits(const Lane& lane, Millis now) const;
  // Why the delivery may not be claimed now; empty: it may.
  std::string WhyNot(const Delivery& delivery, Millis now) const;
  // Something that could be claimed now, if anything.
  std::optional<Sequence> Claimable(EndpointId endpoint, Millis now) const;
};

// What was commanded and told, over all lives, by event id.
struct Journal {
  std::set<std::string> appended;
  std::set<std::string> committed;  // as the outbox told
  std::set<std::string> ended;      // delivered, cancelled, dropped or purged: by command
  std::set<std::string> gone;       // seen to be gone
};

// Loads what a closed file holds, checks it against the journal, and adds to the journal what is
// gone. What is wrong, or nothing.
std::string Load(const std::string& path, Millis now_ms, Model& model, Journal& journal);

// One life: carries out random commands on the outbox in `directory` until it is killed or its
// steps are over. Lines for the journal go to `report`. Returns only with the steps over; what is
// wrong, or nothing.
struct Life {
  std::string directory;
  std::uint64_t seed = 0;
  int report = -1;
  bool own_thread = false;
  bool drain = false;  // the last life: no faults, everything is delivered
  long kill_after = 0;
  std::size_t cache = 0;
};
std::string Live(const Life& life, Model model, ModelClock& clock);

}  // namespace offline_post::test
