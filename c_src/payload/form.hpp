// The original mod_offline_post's body, application/x-www-form-urlencoded:
//   to=<user>&from=<user>&body=<text>&access_token=<token>
// in this order, each value percent-encoded; a space is %20, which every form parser reads.
#pragma once

#include <string>

#include "model/endpoint.hpp"
#include "model/event.hpp"

namespace offline_post {

std::string FormBody(const Event& event, const Endpoint& endpoint);

// The original mod_available_post's and mod_unavailable_post's: whose presence it is, and the
// token.
//   jabber_id=<user>&access_token=<token>
std::string PresenceBody(const Event& event, const Endpoint& endpoint);

}  // namespace offline_post
