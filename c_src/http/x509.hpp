// What OpenSSL says of certificates, as texts for an operator.
//
// Threads: any.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

namespace offline_post {

struct OpenSslDeleter {
  void operator()(BIO* bio) const noexcept { BIO_free(bio); }
  void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
  void operator()(X509* certificate) const noexcept { X509_free(certificate); }
  void operator()(X509_STORE* store) const noexcept { X509_STORE_free(store); }
};
template <typename T>
using OpenSslPtr = std::unique_ptr<T, OpenSslDeleter>;

// OpenSSL's queue of errors belongs to the thread, which is the host's: it is left as it was found.
class QuietErrors {
 public:
  QuietErrors() { ERR_set_mark(); }
  ~QuietErrors() { ERR_pop_to_mark(); }
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;
};

// " (REASON)" of the newest error in the queue, or nothing.
std::string LastReason();

// The text must outlive the BIO.
OpenSslPtr<BIO> ReadOnly(std::string_view text);

// "2026-11-20 10:11:12 UTC".
std::string TimeText(const ASN1_TIME* time);

// The subject's common name, or what else it consists of: printable ASCII, bounded, as it may be a
// stranger's words.
std::string SubjectText(const X509* certificate);

// For a log: what is not printable ASCII becomes '?', and what is long is cut.
std::string Printable(std::string_view text, std::size_t limit);

}  // namespace offline_post
