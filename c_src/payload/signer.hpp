// Signatures of Standard Webhooks 1.0 (https://www.standardwebhooks.com): of
// "{id}.{timestamp}.{body}".
//
// Threads: any; a Signer never changes.
#pragma once

#include <openssl/evp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/result.hpp"

namespace offline_post {

class Signer {
 public:
  // Each secret is one of
  //   whsec_<base64 of 24 to 64 bytes>   signs with HMAC-SHA256, "v1,..."
  //   whsk_<base64 of 64 bytes>          Ed25519, seed and public key: "v1a,..."
  // with or without base64's padding. The error does not show any of them.
  static Result<Signer> Make(const std::vector<std::string>& secrets);

  // Whether there is anything to sign with.
  bool any() const { return !keys_.empty(); }

  // The value of webhook-signature: one for each secret, in their order. `timestamp`: seconds since
  // 1970. Nothing: the library refuses to sign (there is no memory).
  std::optional<std::string> Sign(std::string_view id, std::int64_t timestamp,
                                  std::string_view body) const;

 private:
  struct MacDeleter {
    void operator()(EVP_MAC_CTX* mac) const noexcept { EVP_MAC_CTX_free(mac); }
  };
  struct KeyDeleter {
    void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
  };
  // One of the two.
  struct Key {
    std::unique_ptr<EVP_MAC_CTX, MacDeleter> mac;  // has taken the key and nothing else
    std::unique_ptr<EVP_PKEY, KeyDeleter> ed25519;
  };

  static Result<Key> MakeKey(std::string_view secret);

  std::vector<Key> keys_;
};

}  // namespace offline_post
