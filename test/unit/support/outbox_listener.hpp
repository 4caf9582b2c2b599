// What an outbox reports, kept for a look.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/outbox.hpp"

namespace offline_post::test {

struct RecordingListener : OutboxListener {
  void OnCommitted(Ticket ticket, bool is_durable) override {
    committed.push_back(ticket);
    durable = is_durable;
  }
  void OnClaimed(EndpointId, Claimed answer) override {
    ++claims;
    claimed = std::move(answer.deliveries);
    next_due = answer.next_due;
    more = answer.more;
  }
  void OnDeadVisited(DeadVisited answer) override { visited.push_back(std::move(answer)); }
  void OnPurged(const DeadPurged& done) override {
    purged += done.count;
    purged_bytes += done.bytes;
  }
  void OnLost(EndpointId, std::uint64_t count, std::uint64_t bytes) override {
    lost += count;
    lost_bytes += bytes;
  }

  std::vector<Ticket> committed;
  bool durable = false;  // of the last commit
  int claims = 0;
  std::vector<Delivery> claimed;  // by the last of them, as the next two
  std::optional<Millis> next_due;
  bool more = false;
  std::vector<DeadVisited> visited;
  std::uint64_t purged = 0;
  std::uint64_t purged_bytes = 0;
  std::uint64_t lost = 0;
  std::uint64_t lost_bytes = 0;
};

}  // namespace offline_post::test
