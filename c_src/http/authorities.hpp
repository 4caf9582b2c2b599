// The certificate authorities that may have signed a server's certificate, parsed once per node and
// content: parsing 140 of them takes 30 ms, which libcurl would spend on each new connection.
//
// Threads: any.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "http/x509.hpp"
#include "model/result.hpp"

namespace offline_post {

class Authorities {
 public:
  using Shared = std::shared_ptr<const Authorities>;

  // Of the PEM file that an operator named in `option`. Equal contents give the same object while
  // somebody holds it. A file that has not changed is not read again. The error names the file.
  static Result<Shared> FromFile(const std::string& option, const std::string& path);
  // Those of the system: what libcurl uses by default.
  static Shared System();
  // What takes the place of these two files of the system's, for tests.
  static void SetSystem(const std::string& file, const std::string& directory);
  // Those of the system and `own`.
  static Shared WithSystem(const Shared& own);

  // OpenSSL counts references to the store and locks it, so one store serves all connections.
  void UseIn(SSL_CTX* context) const noexcept { SSL_CTX_set1_cert_store(context, store_.get()); }

  // Different for different contents. libcurl takes it for a directory of authorities and compares
  // it when it looks for a connection to use again; the directory cannot exist.
  const std::string& tag() const { return tag_; }

  // Both use Of and the functions above instead.
  Authorities(OpenSslPtr<X509_STORE> store, const std::string& digest)
      : store_(std::move(store)), digest_(digest), tag_("/dev/null/" + digest) {}
  const std::string& digest() const { return digest_; }

 private:
  OpenSslPtr<X509_STORE> store_;
  std::string digest_;
  std::string tag_;
};

// Whether libcurl's TLS is OpenSSL's, in which the authorities are parsed.
Status CheckTlsLibrary();

// Of one file at most so many bytes are read. All authorities of the world have 250 kB.
inline constexpr std::size_t kTlsFileLimit = std::size_t{4} * 1024 * 1024;

// The text of a file with TLS certificates or keys. The error names the option and the file.
Result<std::string> ReadTlsFile(const std::string& option, const std::string& path);

// Whether the text holds certificates, and only such as can be read.
Status CheckCertificates(const std::string& what, std::string_view pem);

}  // namespace offline_post
