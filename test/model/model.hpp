// The trivial model of an outbox, and the lives of one that is killed.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

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
  int failures = 0;
  std::uint32_t stands_for = 1;
  bool committed = false;
  bool leased = false;
};

// The event of this id: the same in every life, with all that an event may have.
std::shared_ptr<const Event> EventNamed(const std::string& id);

// What is withdrawn: by endpoint and key, up to which sequence, and how.
using Withdrawals = std::map<std::pair<EndpointId, std::uint64_t>, std::pair<Sequence, Final>>;

struct WithdrawalCommand {
  EndpointId endpoint = 0;
  std::uint64_t key = 0;
  Sequence until = 0;  // 0: all of the endpoint's are cleared
  Final how = Final::kCancelled;
  std::size_t appended = 0;  // how many of this life's appends came before it
};
void Carry(const WithdrawalCommand& command, Withdrawals& withdrawals);

using Lane = std::pair<EndpointId, std::uint64_t>;

// What an outbox holds, by its port's words.
struct Model {
  std::map<Sequence, ModelDelivery> pending;
  std::map<Sequence, ModelDelivery> dead;
  std::map<Lane, Millis> due;  // recipients that wait
  Withdrawals withdrawals;
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
  std::set<std::string> ended;      // delivered, dropped or purged: by command
  // Cancelled: one that was appended later speaks for it.
  std::map<std::string, std::string> spoken_for;
  std::set<std::string> gone;  // seen to be gone
  // Of this life: what the file had when it began, the commands, and how many of them are durable,
  // as the outbox told.
  Withdrawals withdrawals;
  std::vector<std::string> appends;
  std::vector<WithdrawalCommand> commands;
  std::size_t durable = 0;
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
  std::size_t merge_slice = 0;
};
std::string Live(const Life& life, Model model, ModelClock& clock);

}  // namespace offline_post::test
