// Percent-encoding (RFC 3986, section 2): everything but the unreserved characters, byte by byte.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace offline_post {

inline constexpr std::array<bool, 256> kUnreserved = [] {
  std::array<bool, 256> table{};
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

inline void AppendPercentEncoded(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (kUnreserved[byte]) {
      out.push_back(c);
    } else {
      const std::array<char, 3> escape{'%', kHex[byte >> 4U], kHex[byte & 15U]};
      out.append(escape.data(), escape.size());
    }
  }
}

}  // namespace offline_post
