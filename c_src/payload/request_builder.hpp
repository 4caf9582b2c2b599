// Deliveries + Endpoint -> Request. Pure: the same input gives the same bytes.
#pragma once

#include <memory>
#include <vector>

#include "model/delivery.hpp"
#include "model/endpoint.hpp"
#include "model/request.hpp"

namespace offline_post {

// `deliveries`: at least one, all to this endpoint. The form format carries exactly one.
Request BuildRequest(RequestId id, std::shared_ptr<const Endpoint> endpoint,
                     const std::vector<Delivery>& deliveries);

}  // namespace offline_post
