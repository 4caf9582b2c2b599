// Event: what happened, once and for all. Immutable after it was accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/clock.hpp"
#include "model/siphash.hpp"

namespace offline_post {

// An XMPP address (RFC 7622), each part as the server prepared it; parts may be empty.
struct Jid {
  std::string user;
  std::string server;
  std::string resource;
};

// What else there is to say about an event, under the name by which a receiver may ask for it.
struct Attribute {
  std::string name;
  std::string value;
};

struct Event {
  // Unique over nodes and restarts, the same for every attempt, without '.', so that it can be the
  // `webhook-id` by which a receiver drops a double.
  std::string id;
  Millis accepted_unix_ms = 0;
  std::string kind;  // text, encrypted, call, ...
  Jid to;
  Jid from;
  std::string message_id;  // the stanza's id attribute; may be empty
  std::string body;        // UTF-8; empty for what has no text
  // TopicKey of what it collapses with and is withdrawn by; 0: nothing. The text itself is not
  // kept.
  std::uint64_t topic = 0;
  std::vector<Attribute> attributes;  // few; their order is kept
};

// The end of a call, whose topic is that of the call's offer: it withdraws the offer, and neither
// collapses with anything nor waits for an interval.
inline bool OffersCall(const Event& event) { return event.kind == "call"; }
inline bool EndsCall(const Event& event) { return event.kind == "call_end"; }

// What the event counts for against `queue_bytes`: about what it occupies in memory.
std::size_t EventBytes(const Event& event);

// A number for a text, the same on every machine and in every version.
inline constexpr std::uint64_t kFingerprintSeed = 0xcbf29ce484222325U;
std::uint64_t Fingerprint(std::string_view text, std::uint64_t seed = kFingerprintSeed);

// What the following two are made with. It is secret: who could choose a user's name or a session's
// id so that their numbers are another's could withdraw what is not his. Set it before the first
// event; all zeros, as at first: they are fingerprints. For the whole process. Threads: any.
void SetHashKey(const HashKey& key);

// Equal for equal bare recipients.
std::uint64_t RecipientKey(std::string_view user, std::string_view server);
// The same as another process would have it, whose key that is.
std::uint64_t RecipientKey(const HashKey& key, std::string_view user, std::string_view server);
inline std::uint64_t RecipientKey(const Event& event) {
  return RecipientKey(event.to.user, event.to.server);
}

// A number for a topic of a recipient (a RecipientKey): never 0, but for no text.
std::uint64_t TopicKey(std::uint64_t recipient, std::string_view topic);

// What events beyond a rate collapse with, within their recipient.
inline std::uint64_t RateTopic(const Event& event) { return TopicKey(RecipientKey(event), "rate"); }

}  // namespace offline_post
