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

std::size_t BrokenLength(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t whole = LengthBy(first);
  if (whole < 3 || text.size() < 2 || !MayFollow(first, static_cast<unsigned char>(text[1]))) {
    return 1;
  }
  return whole == 4 && text.size() > 2 && IsMore(text[2]) ? 3 : 2;
}

namespace {

// Calls `intact(bytes)` for whole characters, one or several, and `broken()` for each U+FFFD, in
// their order; ends where `broken()` says so (false). The bytes that were walked through.
template <typename Intact, typename Broken>
std::size_t Walk(std::string_view text, const Intact& intact, const Broken& broken) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (at + 16 <= text.size() && SixteenAreAscii(text.data() + at)) {
      intact(text.substr(at, 16));
      at += 16;
      continue;
    }
    // One after another up to where sixteen may be ASCII again.
    for (const std::size_t end = std::min(text.size(), at + 64); at < end;) {
      const auto first = static_cast<unsigned char>(text[at]);
      std::size_t length = 0;
      if (first < 0x80) {
        length = 1;
      } else if (first >= 0xc2 && first < 0xe0) {
        length = at + 1 < text.size() && IsMore(text[at + 1]) ? 2 : 0;
      } else if (first >= 0xe0 && first < 0xf5) {
        length = Utf8Length(text.substr(at));
      }
      if (length != 0) {
        intact(text.substr(at, length));
        at += length;
      } else if (broken()) {
        at += BrokenLength(text.substr(at));
      } else {
        return at;
      }
    }
  }
  return at;
}

}  // namespace

std::size_t Utf8Prefix(std::string_view text) {
  return Walk(
      text, [](std::string_view) {}, [] { return false; });
}

void MendUtf8(std::string& text) {
  const std::size_t whole = Utf8Prefix(text);
  if (whole == text.size()) return;
  const std::string_view rest = std::string_view{text}.substr(whole);
  // What is to be written is counted first: growing on the way would copy more than it mends.
  std::size_t size = whole;
  Walk(
      rest, [&size](std::string_view part) { size += part.size(); },
      [&size] {
        size += kReplacement.size();
        return true;
      });
  std::string mended(size, '\0');
  std::memcpy(mended.data(), text.data(), whole);
  char* out = mended.data() + whole;
  Walk(
      rest, [&out](std::string_view part) { out = std::copy(part.begin(), part.end(), out); },
      [&out] {
        out = std::copy(kReplacement.begin(), kReplacement.end(), out);
        return true;
      });
  text = std::move(mended);
}

}  // namespace offline_post
