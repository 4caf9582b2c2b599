// A body compressed for `Content-Encoding: gzip` (RFC 1952).
//
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace offline_post {

// Nothing where it would not be shorter, or there is no memory.
std::optional<std::string> Gzip(std::string_view text);

}  // namespace offline_post
