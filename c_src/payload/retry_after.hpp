// The Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date.
#pragma once

#include <optional>
#include <string_view>

#include "model/clock.hpp"

namespace offline_post {

// How long to wait from `unix_now_ms` on; a moment in the past gives 0, nonsense nothing. Absurdly
// large numbers saturate; whoever waits has a longest interval of its own.
std::optional<Millis> ParseRetryAfter(std::string_view value, Millis unix_now_ms);

}  // namespace offline_post
