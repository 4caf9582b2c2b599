// Endpoint: one vhost's configuration of one module, compiled once and then shared, immutable.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "model/clock.hpp"

namespace offline_post {

struct EndpointKey {
  std::string vhost;
  std::string module;
};

// As the log names it.
inline std::string NameOf(const EndpointKey& key) { return key.module + " for " + key.vhost; }

// The same without owning it, for a look-up that copies nothing.
struct EndpointKeyView {
  std::string_view vhost;
  std::string_view module;
};

struct EndpointKeyLess {
  using is_transparent = void;
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    using View = std::tuple<std::string_view, std::string_view>;
    return View(a.vhost, a.module) < View(b.vhost, b.module);
  }
};

// A number for an EndpointKey, valid as long as the process runs.
using EndpointId = std::uint32_t;

// Which HTTP a connection speaks.
enum class HttpVersion {
  kAuto,  // 2 where the server offers it (over TLS), else 1.1
  k1,     // 1.1
  k2,     // 2, over TLS; a server that has only 1.1 gets that
};

// Who may have signed a server's certificate: one object for equal contents. See
// http/authorities.hpp.
class Authorities;

// How a TLS connection is made: PEM texts, not file names, so that a renewed file is another
// identity, and connections made with the old one are not used again.
struct TlsIdentity {
  bool verify = true;
  std::shared_ptr<const Authorities> authorities;        // of the server; none: nothing is verified
  std::shared_ptr<const Authorities> proxy_authorities;  // of a proxy that is spoken to over TLS
  std::string certificate;  // ours, for servers that ask for one; empty: none
  std::string key;          // its private key
  auto operator<=>(const TlsIdentity&) const = default;  // NOLINT: clang-tidy 14 misreads it
};

// What endpoints must agree in to share connections and a breaker.
struct Origin {
  std::string scheme;  // http or https
  std::string host;    // lower case; an IPv6 address in brackets
  std::uint16_t port = 0;
  TlsIdentity tls;    // without TLS as it is made
  std::string proxy;  // a URL, perhaps with credentials: never for a log; empty: none
  HttpVersion http_version = HttpVersion::kAuto;
  auto operator<=>(const Origin&) const = default;  // NOLINT: clang-tidy 14 misreads it
};

// "scheme://host:port": what may stand in a log. A URL's path, query and user part may be secrets.
inline std::string OriginText(const Origin& origin) {
  return origin.scheme + "://" + origin.host + ":" + std::to_string(origin.port);
}

// How long notifications of a kind are of use.
struct Lifetime {
  std::string kind;
  Millis ms = 0;  // from acceptance
};

struct RetrySchedule {
  // The wait before the second attempt, the third, ...; the last one repeats. Never empty.
  std::vector<Millis> waits_ms = {1'000,  2'000,   4'000,   8'000,   16'000, 32'000,
                                  64'000, 128'000, 256'000, 512'000, 600'000};
  Millis max_age_ms = 24LL * 3'600'000;  // from acceptance; then a failure is final
  // Kinds with a lifetime of their own: nothing of them is sent later than that. Few, so a list.
  std::vector<Lifetime> max_ages;
};

// The kind's own lifetime, if it has one.
inline std::optional<Millis> LifetimeOf(const RetrySchedule& schedule, std::string_view kind) {
  for (const Lifetime& lifetime : schedule.max_ages)
    if (lifetime.kind == kind) return lifetime.ms;
  return std::nullopt;
}

// How long dead letters are kept, and how many.
struct Retention {
  Millis age_ms = 7LL * 24 * 3'600'000;
  std::uint64_t letters = 100'000;
  std::uint64_t bytes = std::uint64_t{1} << 30U;  // of them all, as EventBytes counts
};

struct QueueLimits {
  std::uint64_t events = 1'000'000;            // pending
  std::uint64_t bytes = 256ULL * 1024 * 1024;  // pending, as EventBytes counts
};

// Events per minute; 0: any number.
struct RateLimits {
  std::uint64_t sender = 0;     // of one bare address
  std::uint64_t recipient = 0;  // for one bare address
  // Beyond it events collapse per recipient, each the later ones' place holder; else they are
  // dropped.
  bool collapse = false;

  bool any() const { return sender > 0 || recipient > 0; }
  bool operator==(const RateLimits&) const = default;
};

// Several events in one request; off where max_events is 1.
struct BatchLimits {
  std::size_t max_events = 1;
  Millis max_delay_ms = 100;          // how long an event may wait for others, from acceptance
  std::size_t max_bytes = 1'048'576;  // of a body with more than one event, before compression

  bool any() const { return max_events > 1; }
};

// How the requests are made: formats, templates, headers, signatures. See payload/recipe.hpp.
class Recipe;

struct Endpoint {
  EndpointKey key;
  std::string post_url;
  Origin origin;
  std::string auth_token;
  Millis timeout_ms = 10'000;              // a whole attempt
  Millis connect_timeout_ms = 5'000;       // name, TCP and TLS
  Millis connection_max_age_ms = 300'000;  // then a new one is made; whole seconds, at least one
  int max_connections = 64;                // an origin gets the largest that its endpoints ask for
  QueueLimits limits;
  RetrySchedule schedule;
  bool ordered = true;  // deliveries to one recipient leave one after another
  Retention retention;
  // After one event of a topic was sent, the next leaves no sooner; 0: at once.
  Millis collapse_interval_ms = 0;
  RateLimits rates;
  BatchLimits batch;
  std::shared_ptr<const Recipe> recipe;  // none: the original's form
};

}  // namespace offline_post
