#include "http/tls_files.hpp"

#include <openssl/pem.h>

#include <ctime>

#include "http/x509.hpp"

namespace offline_post {

namespace {

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
  Result<std::string> certificate = ReadTlsFile("client_cert", files.client_cert);
  if (!certificate.ok()) return certificate.error();
  identity.certificate = std::move(certificate.value());
  if (Status status = CheckCertificates("client_cert " + files.client_cert, identity.certificate)) {
    return status;
  }
  const bool apart = !files.client_key.empty();
  const std::string option = apart ? "client_key" : "client_cert";
  const std::string& path = apart ? files.client_key : files.client_cert;
  Result<std::string> key = ReadTlsFile(option, path);
  if (!key.ok()) return key.error();
  identity.key = std::move(key.value());
  return CheckKey(option + " " + path, identity);
}

}  // namespace

Result<TlsIdentity> ReadTlsFiles(const TlsFiles& files) {
  const QuietErrors quiet;
  TlsIdentity identity;
  identity.verify = files.verify;
  if (files.ca_file.empty()) {
    if (files.verify) identity.authorities = Authorities::System();
  } else {
    Result<Authorities::Shared> authorities = Authorities::FromFile("ca_file", files.ca_file);
    if (!authorities.ok()) return authorities.error();
    identity.authorities = std::move(authorities.value());
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
