// Endpoint: one vhost's configuration of one module, compiled once and then shared, immutable.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>

#include "model/clock.hpp"

namespace offline_post {

struct EndpointKey {
  std::string vhost;
  std::string module;
};

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

// What endpoints must agree in to share connections and a breaker.
struct Origin {
  std::string scheme;  // http or https
  std::string host;    // lower case; an IPv6 address in brackets
  std::uint16_t port = 0;
  bool tls_verify = true;
  std::string ca_file;                              // empty: the system's authorities
  auto operator<=>(const Origin&) const = default;  // NOLINT: clang-tidy 14 misreads it
};

// "scheme://host:port": what may stand in a log. A URL's path, query and user part may be secrets.
inline std::string OriginText(const Origin& origin) {
  return origin.scheme + "://" + origin.host + ":" + std::to_string(origin.port);
}

struct RetrySchedule {
  Millis first_ms = 1'000;               // before the second attempt; doubles from there
  Millis longest_ms = 600'000;           // no wait is longer, whatever a receiver asks for
  Millis max_age_ms = 24LL * 3'600'000;  // from acceptance; then a failure is final
};

struct QueueLimits {
  std::uint64_t events = 1'000'000;            // pending
  std::uint64_t bytes = 256ULL * 1024 * 1024;  // pending, as EventBytes counts
};

struct Endpoint {
  EndpointKey key;
  std::string post_url;
  Origin origin;
  std::string auth_token;
  Millis timeout_ms = 10'000;         // a whole attempt
  Millis connect_timeout_ms = 5'000;  // name, TCP and TLS
  int max_connections = 64;           // an origin gets the largest that its endpoints ask for
  QueueLimits limits;
  RetrySchedule schedule;
};

}  // namespace offline_post
