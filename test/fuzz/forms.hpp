// A reader of application/x-www-form-urlencoded (WHATWG URL, section 5.1) that shares nothing with
// what writes it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offline_post::fuzz {

// Ends the program at an escape that is none.
std::string PercentDecoded(std::string_view text);

// Also at a byte that no form may hold as it is.
std::vector<std::pair<std::string, std::string>> ReadForm(std::string_view body);

bool IsUtf8(std::string_view text);

// Without control characters: no line ends, nothing that a terminal or a log would obey.
bool IsOneLine(std::string_view text);

}  // namespace offline_post::fuzz
