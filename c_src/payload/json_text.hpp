// Texts as they stand in JSON (RFC 8259): what is not UTF-8 becomes U+FFFD.
#pragma once

#include <string>
#include <string_view>

namespace offline_post {

// The text's characters without the quotes around them.
void AppendJsonText(std::string_view text, std::string& out);

// Whether it stands in JSON as a number that a count can be: digits, and few.
bool IsJsonCount(std::string_view text);

}  // namespace offline_post
