// Numbers in hexadecimal, small letters.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace offline_post {

class Hex {
 public:
  explicit Hex(std::uint64_t number)
      : end_(std::to_chars(digits_.data(), digits_.data() + digits_.size(), number, 16).ptr) {}
  Hex(const Hex&) = delete;
  Hex& operator=(const Hex&) = delete;

  // Without leading zeros; valid as long as this.
  std::string_view text() const {
    return {digits_.data(), static_cast<std::size_t>(end_ - digits_.data())};
  }
  // All sixteen digits.
  std::string padded() const {
    return std::string(digits_.size() - text().size(), '0').append(text());
  }

 private:
  std::array<char, 16> digits_{};
  const char* end_;
};

}  // namespace offline_post
