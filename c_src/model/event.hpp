// Event: what happened, once and for all. Immutable after it was accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/clock.hpp"

namespace offline_post {

// An XMPP address (RFC 7622), each part as the server prepared it; parts may be empty.
struct Jid {
  std::string user;
  std::string server;
  std::string resource;
};

struct Event {
  // Unique over nodes and restarts, the same for every attempt, without '.', so that it can be the
  // `webhook-id` by which a receiver drops a double.
  std::string id;
  Millis accepted_unix_ms = 0;
  Jid to;
  Jid from;
  std::string message_id;  // the stanza's id attribute; may be empty
  std::string body;        // UTF-8, not empty
};

// What the event counts for against `queue_bytes`: about what it occupies in memory.
std::size_t EventBytes(const Event& event);

// A number for a text, the same on every machine and in every version.
inline constexpr std::uint64_t kFingerprintSeed = 0xcbf29ce484222325U;
std::uint64_t Fingerprint(std::string_view text, std::uint64_t seed = kFingerprintSeed);

// Equal for equal bare recipients. Two recipients with equal keys would merely be served one after
// another.
std::uint64_t RecipientKey(const Event& event);

}  // namespace offline_post
