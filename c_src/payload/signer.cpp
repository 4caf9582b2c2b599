#include "payload/signer.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "payload/base64.hpp"

namespace offline_post {

namespace {

constexpr std::string_view kHmacPrefix = "whsec_";
constexpr std::string_view kEd25519Prefix = "whsk_";
constexpr std::size_t kShortestHmacKey = 24;
constexpr std::size_t kLongestHmacKey = 64;
constexpr std::size_t kEd25519Half = 32;

struct MacFree {
  void operator()(EVP_MAC* mac) const noexcept { EVP_MAC_free(mac); }
};
struct DigestFree {
  void operator()(EVP_MD_CTX* digest) const noexcept { EVP_MD_CTX_free(digest); }
};

Error Refused() {
  return {Error::Kind::kUnavailable, "the OpenSSL library does not take this kind of key"};
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// Nothing where the library refuses.
std::optional<std::string> Hmac(EVP_MAC_CTX* mac, std::string_view head, std::string_view body) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  std::size_t size = 0;
  if (mac == nullptr || EVP_MAC_update(mac, Bytes(head), head.size()) != 1 ||
      EVP_MAC_update(mac, Bytes(body), body.size()) != 1 ||
      EVP_MAC_final(mac, bytes.data(), &size, bytes.size()) != 1) {
    return std::nullopt;
  }
  return std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

std::optional<std::string> Ed25519(EVP_PKEY* key, const std::string& text) {
  const std::unique_ptr<EVP_MD_CTX, DigestFree> digest(EVP_MD_CTX_new());
  std::array<unsigned char, 2 * kEd25519Half> bytes{};
  std::size_t size = bytes.size();
  if (!digest || EVP_DigestSignInit(digest.get(), nullptr, nullptr, nullptr, key) != 1 ||
      EVP_DigestSign(digest.get(), bytes.data(), &size, Bytes(text), text.size()) != 1) {
    return std::nullopt;
  }
  return std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

}  // namespace

Result<Signer::Key> Signer::MakeKey(std::string_view secret) {
  const bool hmac = secret.substr(0, kHmacPrefix.size()) == kHmacPrefix;
  if (!hmac && secret.substr(0, kEd25519Prefix.size()) != kEd25519Prefix) {
    return Invalid("it must begin with whsec_ (HMAC-SHA256) or whsk_ (Ed25519)");
  }
  const std::string_view code = secret.substr((hmac ? kHmacPrefix : kEd25519Prefix).size());
  if (code.empty()) return Invalid("there is nothing behind whsec_ or whsk_");
  std::optional<std::string> decoded = DecodeBase64(code);
  if (!decoded) return Invalid("what is behind whsec_ or whsk_ is not base64");
  const std::unique_ptr<std::string, void (*)(std::string*)> bytes(
      &*decoded, [](std::string* text) { OPENSSL_cleanse(text->data(), text->size()); });
  Key key;
  if (hmac) {
    if (bytes->size() < kShortestHmacKey || bytes->size() > kLongestHmacKey) {
      return Invalid("the key has " + std::to_string(bytes->size()) +
                     " bytes, and must have 24 to 64 (openssl rand -base64 32)");
    }
    const std::unique_ptr<EVP_MAC, MacFree> mac(
        EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr));
    if (!mac) return Refused();
    key.mac.reset(EVP_MAC_CTX_new(mac.get()));
    std::string digest = "SHA256";
    const std::array<OSSL_PARAM, 2> parameters = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
        OSSL_PARAM_construct_end()};
    if (!key.mac ||
        EVP_MAC_init(key.mac.get(), Bytes(*bytes), bytes->size(), parameters.data()) != 1) {
      return Refused();
    }
    return key;
  }
  if (bytes->size() != 2 * kEd25519Half) {
    return Invalid("the key has " + std::to_string(bytes->size()) +
                   " bytes, and must have 64: the seed and the public key");
  }
  key.ed25519.reset(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, Bytes(*bytes), kEd25519Half));
  std::array<unsigned char, kEd25519Half> of_seed{};
  std::size_t size = of_seed.size();
  if (!key.ed25519 || EVP_PKEY_get_raw_public_key(key.ed25519.get(), of_seed.data(), &size) != 1) {
    return Refused();
  }
  if (CRYPTO_memcmp(of_seed.data(), bytes->data() + kEd25519Half, kEd25519Half) != 0) {
    return Invalid("its second half is not the public key of the first");
  }
  return key;
}

Result<Signer> Signer::Make(const std::vector<std::string>& secrets) {
  Signer signer;
  for (const std::string& secret : secrets) {
    Result<Key> key = MakeKey(secret);
    if (!key.ok()) {
      Error error = key.error();
      error.text =
          "signing_secrets: number " + std::to_string(signer.keys_.size() + 1) + ": " + error.text;
      return error;
    }
    signer.keys_.push_back(std::move(key.value()));
  }
  // A library may load a key that its policy does not let it use.
  if (signer.any() && !signer.Sign("msg_0", 0, "")) return Refused();
  return signer;
}

std::optional<std::string> Signer::Sign(std::string_view id, std::int64_t timestamp,
                                        std::string_view body) const {
  std::string head(id);
  head.append(1, '.').append(std::to_string(timestamp)).append(1, '.');
  std::string signatures;
  for (const Key& key : keys_) {
    const std::unique_ptr<EVP_MAC_CTX, MacDeleter> mac(key.mac ? EVP_MAC_CTX_dup(key.mac.get())
                                                               : nullptr);
    const std::optional<std::string> signature =
        key.ed25519 ? Ed25519(key.ed25519.get(), head + std::string(body))
                    : Hmac(mac.get(), head, body);
    if (!signature) return std::nullopt;
    if (!signatures.empty()) signatures += ' ';
    signatures += key.ed25519 ? "v1a," : "v1,";
    AppendBase64(*signature, signatures);
  }
  return signatures;
}

}  // namespace offline_post
