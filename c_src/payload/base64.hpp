// Base64 (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace offline_post {

// With padding.
void AppendBase64(std::string_view bytes, std::string& out);

// Padding may be missing as a whole. Nothing for what is no base64.
std::optional<std::string> DecodeBase64(std::string_view code);

}  // namespace offline_post
