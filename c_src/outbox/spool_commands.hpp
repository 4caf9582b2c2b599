// What goes between the engine's thread and the storage thread: commands one way, completions the
// other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/notices.hpp"
#include "engine/outbox.hpp"

namespace offline_post {

struct RegisterCommand {
  EndpointId endpoint;
  EndpointKey key;
};
struct SetPauseCommand {
  EndpointId endpoint;
  Pause pause;
  std::uint64_t paused_url;
};
struct SetWithdrawalCommand {
  EndpointId endpoint;
  StoredWithdrawal withdrawal;
};
struct ClearWithdrawalsCommand {
  EndpointId endpoint;
};
struct AppendCommand {
  Delivery delivery;
};
struct FlushCommand {
  Ticket ticket;
  std::vector<CommitCallback> waiting;
};
struct ClaimCommand {
  EndpointId endpoint;
  ClaimLimit limit;
  bool answered = false;  // before the commit
};
struct FinishCommand {
  Delivery delivery;
  Final how;
  std::unique_ptr<const Note> note;  // kDead
};
struct RescheduleCommand {
  Delivery delivery;
  Millis due_ms;
};
struct ParkCommand {
  Delivery delivery;
};
struct LeaveOrderCommand {
  Delivery delivery;  // with its old ordering key
  Millis due_ms;
};
struct HastenCommand {
  EndpointId endpoint;
  std::uint64_t recipient;
};
struct HastenAllCommand {
  EndpointId endpoint;
  std::size_t limit;
};
struct VisitDeadCommand {
  std::unique_ptr<const DeadVisit> visit;
};
struct PurgeDeadCommand {
  DeadPurge purge;
};
struct ImportCommand {
  std::unique_ptr<const ImportedRows> rows;
};

using SpoolCommand =
    std::variant<AppendCommand, FlushCommand, ClaimCommand, FinishCommand, RescheduleCommand,
                 ParkCommand, LeaveOrderCommand, HastenCommand, HastenAllCommand, VisitDeadCommand,
                 PurgeDeadCommand, RegisterCommand, SetPauseCommand, SetWithdrawalCommand,
                 ClearWithdrawalsCommand, ImportCommand>;

struct CommittedDone {
  Ticket ticket;
  bool durable;
};
struct ClaimedDone {
  EndpointId endpoint;
  Claimed claimed;
};
struct LostDone {
  EndpointId endpoint;
  std::uint64_t count;
  std::uint64_t bytes;
};
// A line for the log; with a topic it is said rarely.
struct NoticeDone {
  Notice::Level level;
  std::string topic;
  std::string line;
};

using SpoolCompletion = std::variant<CommittedDone, ClaimedDone, DeadVisited, DeadPurged, LostDone,
                                     ImportDone, NoticeDone>;

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
// For clang 14, which does not find it by itself.
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace offline_post
