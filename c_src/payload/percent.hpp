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
  const std::size_t start = out.size();
  out.resize(start + 3 * text.size());  // at worst; cut to what it took
  char* next = out.data() + start;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (kUnreserved[byte]) {
      *next++ = c;
    } else {
      *next++ = '%';
      *next++ = kHex[byte >> 4U];
      *next++ = kHex[byte & 15U];
    }
  }
  out.resize(static_cast<std::size_t>(next - out.data()));
}

}  // namespace offline_post
