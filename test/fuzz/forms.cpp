#include "forms.hpp"

#include <algorithm>
#include <cctype>
#include <cstdint>

#include "require.hpp"

namespace offline_post::fuzz {

namespace {

unsigned Digit(char c) {
  Require(std::isxdigit(static_cast<unsigned char>(c)) != 0, "an escape has hexadecimal digits");
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  return static_cast<unsigned>(std::tolower(static_cast<unsigned char>(c)) - 'a' + 10);
}

}  // namespace

std::string PercentDecoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    Require(i + 2 < text.size(), "an escape is complete");
    out.push_back(static_cast<char>(Digit(text[i + 1]) * 16 + Digit(text[i + 2])));
    i += 2;
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> ReadForm(std::string_view body) {
  std::vector<std::pair<std::string, std::string>> fields;
  Require(std::all_of(body.begin(), body.end(), [](char c) { return c > ' ' && c < '\x7f'; }),
          "a form is printable ASCII");
  while (!body.empty()) {
    const std::string_view field = body.substr(0, body.find('&'));
    body.remove_prefix(std::min(body.size(), field.size() + 1));
    const std::size_t equals = field.find('=');
    Require(equals != std::string_view::npos, "a field has a name and a value");
    Require(field.find('+') == std::string_view::npos, "a plus sign is escaped: it means a blank");
    fields.emplace_back(PercentDecoded(field.substr(0, equals)),
                        PercentDecoded(field.substr(equals + 1)));
  }
  return fields;
}

bool IsUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&text](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    const unsigned lead = byte(i);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0) return false;
    std::uint32_t point = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0U) != 0x80U) return false;
      point = point << 6U | (byte(i + k) & 0x3FU);
    }
    const bool shortest = length < 3 || point >= (length == 3 ? 0x800U : 0x10000U);
    if (!shortest || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return false;
    i += length;
  }
  return true;
}

bool IsOneLine(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; });
}

}  // namespace offline_post::fuzz
