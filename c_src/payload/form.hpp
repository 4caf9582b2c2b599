// The original mod_offline_post's body, application/x-www-form-urlencoded:
//   to=<user>&from=<user>&body=<text>&access_token=<token>
// in this order, each value percent-encoded; a space is %20, which every form parser reads.
#pragma once

#include <string>

#include "model/endpoint.hpp"
#include "model/event.hpp"

namespace offline_post {

std::string FormBody(const Event& event, const Endpoint& endpoint);

}  // namespace offline_post
