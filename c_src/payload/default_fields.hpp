// The bodies that go out where no fields are configured.
#pragma once

#include "payload/program.hpp"

namespace offline_post {

// The original modules' forms:
//   to=<user>&from=<user>&body=<text>&access_token=<token>      mod_offline_post
//   jabber_id=<user>&access_token=<token>                       mod_available_post, ..unavailable..
// each value percent-encoded. Without `token` its field is missing.
Program DefaultForm(bool presence, bool token);

// {"type":"message.offline","timestamp":...,"data":{...}}, as Standard Webhooks asks for; see
// docs/formats.md. What the event does not have is missing. With `token`, one that is not empty is
// the last member, "access_token".
Program DefaultJson(bool presence, bool token);

}  // namespace offline_post
