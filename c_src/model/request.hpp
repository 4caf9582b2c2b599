// Request: the bytes that go out for one or more deliveries to one endpoint.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/delivery.hpp"
#include "model/endpoint.hpp"

namespace offline_post {

// Unique among the requests that one engine ever sends.
using RequestId = std::uint64_t;

struct Request {
  RequestId id = 0;
  std::string fault;                         // not empty: why it cannot be sent now, fit for a log
  std::shared_ptr<const Endpoint> endpoint;  // URL, time limits and TLS settings of this attempt
  std::string url;                           // empty: the endpoint's, which names the same origin
  std::vector<std::string> headers;  // "Name: value", complete but for Host and Content-Length
  std::string body;
  std::vector<Sequence> deliveries;    // at least one; the order of the outcomes
  std::vector<std::string> event_ids;  // of a batch, in the order of deliveries; else empty
};

}  // namespace offline_post
