#include "model/utf8.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

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
    for (const std::size_t end = std::min(text.size(), length + 64); length < end;) {
      const auto first = static_cast<unsigned char>(text[length]);
      if (first < 0x80) {
        ++length;
      } else if (first >= 0xc2 && first < 0xe0 && length + 1 < text.size() &&
                 IsMore(text[length + 1])) {
        length += 2;
      } else {
        const std::size_t bytes = Utf8Length(text.substr(length));
        if (bytes == 0) return length;
        length += bytes;
      }
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

namespace {

// Calls `visit(part, intact)` for each run of whole characters and for the bytes of each U+FFFD.
template <typename Visit>
void ForEachPart(std::string_view rest, const Visit& visit) {
  while (!rest.empty()) {
    // Broken bytes come in runs, too.
    const auto first = static_cast<unsigned char>(rest.front());
    const bool broken = LengthBy(first) == 0 || Utf8Length(rest) == 0;
    const std::size_t length = broken ? BrokenLength(rest) : Utf8Prefix(rest);
    visit(rest.substr(0, length), !broken);
    rest.remove_prefix(length);
  }
}

}  // namespace

void MendUtf8(std::string& text) {
  const std::size_t whole = Utf8Prefix(text);
  if (whole == text.size()) return;
  // What is appended is counted first: growing on the way would copy more than it mends.
  std::size_t size = whole;
  ForEachPart(std::string_view{text}.substr(whole), [&size](std::string_view part, bool intact) {
    size += intact ? part.size() : kReplacement.size();
  });
  std::string mended;
  mended.resize(size);
  std::memcpy(mended.data(), text.data(), whole);
  char* out = mended.data() + whole;
  ForEachPart(std::string_view{text}.substr(whole), [&out](std::string_view part, bool intact) {
    if (intact) {
      std::memcpy(out, part.data(), part.size());
      out += part.size();
    } else {
      std::memcpy(out, kReplacement.data(), kReplacement.size());
      out += kReplacement.size();
    }
  });
  text = std::move(mended);
}

}  // namespace offline_post
