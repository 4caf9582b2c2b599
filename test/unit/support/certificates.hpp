// Certificates for tests, made when they are needed.
#pragma once

#include <string>

#include "http/x509.hpp"

namespace offline_post::test {

struct Certified {
  std::string certificate;  // PEM, as `key`
  std::string key;
};

class Authority {
 public:
  explicit Authority(const std::string& name = "test authority");

  const std::string& certificate() const { return pem_; }

  // For `name` as a host. Valid from and until, in seconds from now.
  Certified Issue(const std::string& name, long from_s = -3'600, long until_s = 3'600) const;

 private:
  OpenSslPtr<EVP_PKEY> key_;
  OpenSslPtr<X509> certificate_;
  std::string pem_;
};

// The key as PEM, encrypted with a pass phrase.
std::string Encrypted(const std::string& key_pem);

}  // namespace offline_post::test
