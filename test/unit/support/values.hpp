// Values that most tests need, and the law that all of them check.
#pragma once

#include <memory>
#include <string>

#include "catch.hpp"
#include "engine/ledger.hpp"
#include "model/clock.hpp"
#include "model/delivery.hpp"
#include "model/endpoint.hpp"

namespace offline_post::test {

// Time goes by when a test says so.
class ManualClock final : public Clock {
 public:
  Millis MonotonicMs() const override { return monotonic_ms; }
  Millis UnixMs() const override { return unix_ms; }
  void Advance(Millis ms) {
    monotonic_ms += ms;
    unix_ms += ms;
  }
  Millis monotonic_ms = 1'000;
  Millis unix_ms = 1'700'000'000'000;
};

inline bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline std::shared_ptr<Event> MakeEvent(const std::string& to, const std::string& body = "hello") {
  auto event = std::make_shared<Event>();
  event->id = "msg_" + to + "_" + body;
  event->accepted_unix_ms = 1'700'000'000'000;
  event->to = {to, "example.org", ""};
  event->from = {"romeo", "example.org", "orchard"};
  event->body = body;
  return event;
}

inline Delivery MakeDelivery(Sequence sequence, const std::string& to, EndpointId endpoint = 1) {
  Delivery delivery;
  delivery.sequence = sequence;
  delivery.endpoint = endpoint;
  delivery.event = MakeEvent(to, std::to_string(sequence));
  delivery.recipient = RecipientKey(*delivery.event);
  return delivery;
}

inline std::shared_ptr<Endpoint> MakeEndpoint(const std::string& host = "backend",
                                              int connections = 64) {
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->key = {"example.org", "mod_offline_post"};
  endpoint->post_url = "http://" + host + "/push";
  endpoint->origin.scheme = "http";
  endpoint->origin.host = host;
  endpoint->origin.port = 80;
  endpoint->auth_token = "secret";
  endpoint->max_connections = connections;
  return endpoint;
}

inline void CheckLaw(const Stats& stats) {
  CHECK(stats.accepted ==
        stats.delivered + stats.pending + stats.dead + stats.cancelled + stats.purged);
  CHECK(stats.in_flight <= stats.pending);
}

}  // namespace offline_post::test
