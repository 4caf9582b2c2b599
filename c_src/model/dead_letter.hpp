// DeadLetter: a delivery that failed for good, kept with its reason until somebody replays or drops
// it, or its retention ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "model/clock.hpp"
#include "model/delivery.hpp"

namespace offline_post {

// What the last attempt brought.
struct Note {
  int status = 0;      // HTTP status; 0: no final answer came
  std::string reason;  // fit for a log
  std::string answer;  // the first bytes of the answer; may echo the message
};

struct DeadLetter {
  Delivery delivery;
  Millis died_unix_ms = 0;
  Note note;
};

// Recipients (each a RecipientKey), and for each the first sequence of which nothing is meant any
// more: an account that was removed may have been registered again since.
using Recipients = std::unordered_map<std::uint64_t, Sequence>;

// Which dead letters; an empty field matches all.
struct DeadFilter {
  std::string event_id;
  std::string reason;  // how the reason begins: "HTTP 4" finds all of "HTTP 404", "HTTP 413", ...
  std::shared_ptr<const Recipients> recipients = nullptr;  // of their events

  bool IsFor(std::uint64_t recipient, Sequence sequence) const {
    if (!recipients) return true;
    const auto until = recipients->find(recipient);
    return until != recipients->end() && sequence < until->second;
  }
};

// What happens to them.
enum class DeadAct {
  kShow,
  kReplay,  // they become pending again
  kDrop,    // they are cancelled
  kPurge,   // they are let go of, as at the end of their retention
};

}  // namespace offline_post
