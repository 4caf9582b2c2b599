#include "payload/request_builder.hpp"

#include <utility>

#include "payload/form.hpp"

namespace offline_post {

Request BuildRequest(RequestId id, std::shared_ptr<const Endpoint> endpoint,
                     const std::vector<Delivery>& deliveries) {
  const Event& event = *deliveries.front().event;
  Request request;
  request.id = id;
  request.body = endpoint->form == Form::kPresence ? PresenceBody(event, *endpoint)
                                                   : FormBody(event, *endpoint);
  request.headers.reserve(3);
  request.headers.emplace_back("Content-Type: application/x-www-form-urlencoded");
  request.headers.emplace_back("webhook-id: " + event.id);
  request.headers.emplace_back("User-Agent: mod_offline_post/" OFFLINE_POST_VERSION);
  for (const Delivery& delivery : deliveries) request.deliveries.push_back(delivery.sequence);
  request.endpoint = std::move(endpoint);
  return request;
}

}  // namespace offline_post
