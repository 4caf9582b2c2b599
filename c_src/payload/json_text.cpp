#include "payload/json_text.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "model/utf8.hpp"

namespace offline_post {

namespace {

enum Class : std::uint8_t { kPlain, kEscape, kMore };

constexpr std::array<Class, 256> kClasses = [] {
  std::array<Class, 256> classes{};
  for (std::size_t byte = 0; byte < classes.size(); ++byte) {
    if (byte < 0x20 || byte == '"' || byte == '\\') classes[byte] = kEscape;
    if (byte >= 0x80) classes[byte] = kMore;
  }
  return classes;
}();

Class ClassOf(char byte) { return kClasses[static_cast<unsigned char>(byte)]; }

// Whether the eight bytes at `text` are plain, all at once: none has its highest bit set, is less
// than 0x20, or is '"' or '\\'. A byte borrows from the next one only where it is special itself.
bool EightArePlain(const char* text) {
  constexpr std::uint64_t kOnes = 0x0101010101010101U;
  constexpr std::uint64_t kHigh = 0x8080808080808080U;
  std::uint64_t x = 0;
  std::memcpy(&x, text, sizeof(x));
  const auto is = [](std::uint64_t bytes, std::uint64_t byte) {
    const std::uint64_t zero = bytes ^ (kOnes * byte);
    return zero - kOnes;
  };
  const std::uint64_t special = x | (x - kOnes * 0x20) | is(x, '"') | is(x, '\\');
  return (special & kHigh) == 0;
}

// The bytes at `text`'s beginning that stand in JSON as they are.
std::size_t CleanLength(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    if (length + 8 <= text.size() && EightArePlain(text.data() + length)) {
      length += 8;
      continue;
    }
    // Not eight at once: one after another up to where eight may be plain again.
    const std::size_t end = std::min(text.size(), length + 8);
    while (length < end) {
      const Class kind = ClassOf(text[length]);
      if (kind == kEscape) return length;
      const std::size_t bytes = kind == kPlain ? 1 : Utf8Length(text.substr(length));
      if (bytes == 0) return length;
      length += bytes;
    }
  }
  return length;
}

void AppendEscape(char byte, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  switch (byte) {
    case '"':
    case '\\':
      out.append(1, '\\').append(1, byte);
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default: {
      const auto code = static_cast<unsigned char>(byte);
      out.append("\\u00").append(1, kHex[code >> 4U]).append(1, kHex[code & 15U]);
    }
  }
}

}  // namespace

void AppendJsonText(std::string_view text, std::string& out) {
  while (true) {
    const std::size_t clean = CleanLength(text);
    out += text.substr(0, clean);
    text.remove_prefix(clean);
    if (text.empty()) return;
    if (ClassOf(text.front()) == kEscape) {
      AppendEscape(text.front(), out);
      text.remove_prefix(1);
    } else {
      out += kReplacement;
      text.remove_prefix(BrokenLength(text));
    }
  }
}

bool IsJsonCount(std::string_view text) {
  constexpr std::size_t kLongest = 18;  // what 64 bits hold, whoever reads it
  if (text.empty() || text.size() > kLongest) return false;
  if (text.front() == '0' && text.size() > 1) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace offline_post
