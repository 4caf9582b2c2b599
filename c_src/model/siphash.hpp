// SipHash-2-4 (Aumasson and Bernstein, https://www.aumasson.jp/siphash/siphash.pdf): a number for a
// text that nobody can choose who does not know the key. For texts in pieces.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace offline_post {

struct HashKey {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
  bool operator==(const HashKey&) const = default;
};

class SipHash {
 public:
  explicit SipHash(const HashKey& key)
      : v0_(key.k0 ^ 0x736f6d6570736575U),
        v1_(key.k1 ^ 0x646f72616e646f6dU),
        v2_(key.k0 ^ 0x6c7967656e657261U),
        v3_(key.k1 ^ 0x7465646279746573U) {}

  SipHash& Add(std::string_view text) {
    for (const char byte : text) {
      word_ |= std::uint64_t{static_cast<unsigned char>(byte)} << (8 * (size_ % 8));
      if (++size_ % 8 == 0) Compress();
    }
    return *this;
  }

  // Once, at the end.
  std::uint64_t Value() {
    word_ |= size_ << 56U;
    Compress();
    v2_ ^= 0xffU;
    for (int i = 0; i < 4; ++i) Round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  void Compress() {
    v3_ ^= word_;
    Round();
    Round();
    v0_ ^= word_;
    word_ = 0;
  }
  void Round() {
    v0_ += v1_;
    v2_ += v3_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v1_;
    v0_ += v3_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ = std::rotl(v2_, 32);
  }

  std::uint64_t v0_, v1_, v2_, v3_;
  std::uint64_t word_ = 0;  // the bytes since the last eight
  std::uint64_t size_ = 0;
};

}  // namespace offline_post
