// Deliveries + Endpoint -> Request. Pure: the same input gives the same bytes.
#pragma once

#include <memory>
#include <vector>

#include "model/clock.hpp"
#include "model/delivery.hpp"
#include "model/endpoint.hpp"
#include "model/request.hpp"

namespace offline_post {

// `deliveries`: at least one, all to this endpoint. Takes as many of them, from the first on, as
// its batch limits allow in one body: request.deliveries says which; always the first. Signed as of
// `unix_now_ms`.
Request BuildRequest(RequestId id, std::shared_ptr<const Endpoint> endpoint,
                     const std::vector<Delivery>& deliveries, Millis unix_now_ms);

}  // namespace offline_post
