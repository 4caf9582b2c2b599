// Percent-encoding (RFC 3986, section 2): everything but the unreserved characters, byte by byte.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace offline_post {

// What a byte becomes.
struct PercentCode {
  std::array<char, 3> text{};
  std::uint8_t length = 0;
};

inline constexpr std::array<PercentCode, 256> kPercentCodes = [] {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::array<PercentCode, 256> codes{};
  for (std::size_t byte = 0; byte < codes.size(); ++byte) {
    codes[byte] = {{'%', kHex[byte >> 4U], kHex[byte & 15U]}, 3};
  }
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")) {
    codes[static_cast<unsigned char>(c)] = {{c, 0, 0}, 1};
  }
  return codes;
}();

// Three bytes are written for each, of which one or three stay: where a text's blanks stand no
// processor can guess.
inline void AppendPercentEncoded(std::string_view text, std::string& out) {
  const std::size_t start = out.size();
  out.resize(start + 3 * text.size());  // at worst; cut to what it took
  char* next = out.data() + start;
  for (const char c : text) {
    const PercentCode& code = kPercentCodes[static_cast<unsigned char>(c)];
    std::memcpy(next, code.text.data(), code.text.size());
    next += code.length;
  }
  out.resize(static_cast<std::size_t>(next - out.data()));
}

}  // namespace offline_post
