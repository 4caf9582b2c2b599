#include "http/tls_files.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "http/x509.hpp"

namespace offline_post {

namespace {

// OpenSSL's queue of errors belongs to the thread, which is the host's: it is left as it was found.
class QuietErrors {
 public:
  QuietErrors() { ERR_set_mark(); }
  ~QuietErrors() { ERR_pop_to_mark(); }
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;
};

std::string LastReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? std::string(" (") + reason + ")" : "";
}

Result<std::string> ReadFile(const std::string& option, const std::string& path) {
  const std::string what = option + " " + path;
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  // Not what may block: a pipe, a terminal.
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return Invalid(what + ": is no regular file");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text(kTlsFileLimit + 1, '\0');
  if (!in || !in.read(text.data(), static_cast<std::streamsize>(text.size())).eof()) {
    if (in && in.gcount() > static_cast<std::streamsize>(kTlsFileLimit))
      return Invalid(what + ": is larger than 4 MiB");
    return Invalid(what + ": " + std::generic_category().message(errno != 0 ? errno : EIO));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::string NotPem(const std::string& what) {
  return what +
         ": no certificate in PEM format (in DER? `openssl x509 -inform der -in FILE` converts)";
}

// How many certificates it holds; none: one of them cannot be read.
std::optional<int> CountCertificates(const std::string& pem) {
  const OpenSslPtr<BIO> bio = ReadOnly(pem);
  int count = 0;
  while (OpenSslPtr<X509>(PEM_read_bio_X509_AUX(bio.get(), nullptr, nullptr, nullptr))) ++count;
  // The end is an error too: no line that begins one.
  const bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  return end ? std::optional(count) : std::nullopt;
}

Status CheckCertificates(const std::string& what, const std::string& pem) {
  const std::optional<int> count = CountCertificates(pem);
  if (!count) return Invalid(what + ": holds a certificate that cannot be read" + LastReason());
  if (*count == 0) return Invalid(NotPem(what));
  return std::nullopt;
}

OpenSslPtr<X509> FirstCertificate(const std::string& pem) {
  const OpenSslPtr<BIO> bio = ReadOnly(pem);
  return OpenSslPtr<X509>(PEM_read_bio_X509_AUX(bio.get(), nullptr, nullptr, nullptr));
}

// Nobody is there to type it, and OpenSSL must not ask the server's terminal.
int OnPassPhrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) noexcept {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Status CheckKey(const std::string& what, const TlsIdentity& identity) {
  const OpenSslPtr<BIO> bio = ReadOnly(identity.key);
  bool asked = false;
  const OpenSslPtr<EVP_PKEY> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, &OnPassPhrase, &asked));
  if (asked) {
    return Invalid(what +
                   ": the key is protected by a pass phrase: write it without one, to a "
                   "file that ejabberd alone can read (`openssl pkey -in FILE -out NEW`)");
  }
  if (!key) return Invalid(what + ": no private key in PEM format");
  // As a connection will use them, so that what TLS does not take is found now.
  const OpenSslPtr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()));
  const OpenSslPtr<X509> certificate = FirstCertificate(identity.certificate);
  if (!context || SSL_CTX_use_certificate(context.get(), certificate.get()) != 1)
    return Invalid("client_cert: the certificate cannot be used for TLS" + LastReason());
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    return Invalid(what + ": the key does not belong to the first certificate in client_cert");
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1)
    return Invalid(what + ": the key cannot be used for TLS" + LastReason());
  return std::nullopt;
}

Status ReadClientFiles(const TlsFiles& files, TlsIdentity& identity) {
  if (files.client_cert.empty()) {
    if (files.client_key.empty()) return std::nullopt;
    return Invalid("client_key is of no use without client_cert");
  }
  Result<std::string> certificate = ReadFile("client_cert", files.client_cert);
  if (!certificate.ok()) return certificate.error();
  identity.certificate = std::move(certificate.value());
  if (Status status = CheckCertificates("client_cert " + files.client_cert, identity.certificate)) {
    return status;
  }
  const bool apart = !files.client_key.empty();
  const std::string option = apart ? "client_key" : "client_cert";
  const std::string& path = apart ? files.client_key : files.client_cert;
  Result<std::string> key = ReadFile(option, path);
  if (!key.ok()) return key.error();
  identity.key = std::move(key.value());
  return CheckKey(option + " " + path, identity);
}

}  // namespace

Result<TlsIdentity> ReadTlsFiles(const TlsFiles& files) {
  const QuietErrors quiet;
  TlsIdentity identity;
  identity.verify = files.verify;
  if (!files.ca_file.empty()) {
    Result<std::string> authorities = ReadFile("ca_file", files.ca_file);
    if (!authorities.ok()) return authorities.error();
    identity.authorities = std::move(authorities.value());
    if (Status status = CheckCertificates("ca_file " + files.ca_file, identity.authorities))
      return *status;
  }
  if (Status status = ReadClientFiles(files, identity)) return *status;
  return identity;
}

std::string CertificateTrouble(const TlsIdentity& identity, Millis unix_now_ms) {
  if (identity.certificate.empty()) return "";
  const QuietErrors quiet;
  const OpenSslPtr<X509> certificate = FirstCertificate(identity.certificate);
  if (!certificate) return "";
  const auto now = static_cast<std::time_t>(unix_now_ms / 1'000);
  const ASN1_TIME* end = X509_get0_notAfter(certificate.get());
  const ASN1_TIME* begin = X509_get0_notBefore(certificate.get());
  if (ASN1_TIME_cmp_time_t(end, now) < 0) return "has expired on " + TimeText(end);
  if (ASN1_TIME_cmp_time_t(begin, now) > 0) return "is valid only from " + TimeText(begin);
  return "";
}

}  // namespace offline_post
