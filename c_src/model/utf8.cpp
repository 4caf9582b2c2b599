#include "model/utf8.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace offline_post {

namespace {

bool SixteenAreAscii(const char* text) {
  std::uint64_t words[2];
  std::memcpy(words, text, sizeof(words));
  return ((words[0] | words[1]) & 0x8080808080808080U) == 0;
}

bool IsMore(char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80U; }

// Whether `second` may follow `first`, which begins a character of three or four bytes: neither
// overlong, nor a surrogate, nor beyond U+10FFFF.
bool MayFollow(unsigned first, unsigned second) {
  switch (first) {
    case 0xe0:
      return second >= 0xa0 && second <= 0xbf;
    case 0xed:
      return second >= 0x80 && second <= 0x9f;
    case 0xf0:
      return second >= 0x90 && second <= 0xbf;
    case 0xf4:
      return second >= 0x80 && second <= 0x8f;
    default:
      return second >= 0x80 && second <= 0xbf;
  }
}

// The bytes that a character has which begins with `first`; 0: none does.
std::size_t LengthBy(unsigned first) {
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  if (first < 0xe0) return 2;
  return first < 0xf0 ? 3 : 4;
}

}  // namespace

std::size_t Utf8Length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t length = LengthBy(first);
  if (length > text.size()) return 0;
  switch (length) {
    case 2:
      return IsMore(text[1]) ? 2 : 0;
    case 3:
      return MayFollow(first, static_cast<unsigned char>(text[1])) && IsMore(text[2]) ? 3 : 0;
    case 4:
      return MayFollow(first, static_cast<unsigned char>(text[1])) && IsMore(text[2]) &&
                     IsMore(text[3])
                 ? 4
                 : 0;
    default:
      return length;
  }
}

std::size_t Utf8Prefix(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    if (length + 16 <= text.size() && SixteenAreAscii(text.data() + length)) {
      length += 16;
      continue;
    }
    // One after another up to where sixteen may be ASCII again.
    for (const std::size_t end = std::min(text.size(), length + 16); length < end;) {
      const std::size_t bytes = Utf8Length(text.substr(length));
      if (bytes == 0) return length;
      length += bytes;
    }
  }
  return length;
}

std::size_t BrokenLength(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t whole = LengthBy(first);
  if (whole < 3 || text.size() < 2 || !MayFollow(first, static_cast<unsigned char>(text[1]))) {
    return 1;
  }
  return whole == 4 && text.size() > 2 && IsMore(text[2]) ? 3 : 2;
}

void MendUtf8(std::string& text) {
  std::string_view rest = text;
  std::size_t whole = Utf8Prefix(rest);
  if (whole == rest.size()) return;
  std::string mended;
  mended.reserve(text.size() + text.size() / 2);
  while (true) {
    mended += rest.substr(0, whole);
    rest.remove_prefix(whole);
    if (rest.empty()) break;
    rest.remove_prefix(BrokenLength(rest));
    mended += kReplacement;
    whole = rest.empty() ? 0 : Utf8Prefix(rest);
  }
  text = std::move(mended);
}

}  // namespace offline_post
