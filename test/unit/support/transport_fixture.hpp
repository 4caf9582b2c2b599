// A CurlTransport with real sockets, driven by hand.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "http/curl_transport.hpp"
#include "http/origin.hpp"
#include "support/system_clock.hpp"
#include "support/values.hpp"

namespace offline_post::test {

struct DoneListener final : TransportListener {
  void OnDone(RequestId id, std::vector<Outcome> outcomes) override { done[id] = outcomes.front(); }
  std::map<RequestId, Outcome> done;
};

struct TransportFixture {
  TransportFixture() {
    REQUIRE_FALSE(CurlTransport::InitLibrary().has_value());
    REQUIRE_FALSE(transport.Open().has_value());
  }

  // One endpoint per URL, as the service has it: handles are used again with their options.
  std::shared_ptr<Endpoint>& EndpointOf(const std::string& url, const TlsFiles& tls = {},
                                        const std::string& proxy = "",
                                        HttpVersion version = HttpVersion::kAuto) {
    std::shared_ptr<Endpoint>& endpoint = endpoints[url];
    if (!endpoint) {
      Result<Origin> origin = ReadOrigin(url, tls, proxy, version);
      if (!origin.ok()) FAIL(origin.error().text);
      endpoint = test::MakeEndpoint();
      endpoint->origin = origin.value();
      endpoint->post_url = url;
      endpoint->timeout_ms = 1'000;
      endpoint->connect_timeout_ms = 500;
    }
    return endpoint;
  }

  RequestId Send(const std::string& url, const std::string& body = "to=juliet",
                 const std::string& own_url = "") {
    Request request;
    request.id = next_id++;
    request.endpoint = EndpointOf(url);
    request.url = own_url;
    request.headers = {"Content-Type: application/x-www-form-urlencoded", "webhook-id: msg_1"};
    request.body = body;
    request.deliveries = {request.id};
    transport.Send(std::move(request));
    return next_id - 1;
  }

  // Runs until `count` requests are done.
  void Run(std::size_t count) {
    const Millis deadline = clock.MonotonicMs() + 60'000;  // on a busy machine
    while (listener.done.size() < count) {
      REQUIRE(clock.MonotonicMs() < deadline);
      if (!transport.Perform(listener)) transport.Wait(100);
    }
  }

  Outcome Post(const std::string& url, const std::string& body = "to=juliet",
               const std::string& own_url = "") {
    const RequestId id = Send(url, body, own_url);
    Run(listener.done.size() + 1);
    return listener.done.at(id);
  }

  test::RealClock clock;
  Notices notices{clock};
  CurlTransport transport{clock, &notices};
  DoneListener listener;
  RequestId next_id = 1;
  std::map<std::string, std::shared_ptr<Endpoint>> endpoints;
};

}  // namespace offline_post::test
