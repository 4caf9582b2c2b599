#include "support/certificates.hpp"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdexcept>

namespace offline_post::test {

namespace {

template <typename T>
T* Made(T* made) {
  if (made == nullptr) throw std::runtime_error("OpenSSL refuses");
  return made;
}

OpenSslPtr<EVP_PKEY> NewKey() { return OpenSslPtr<EVP_PKEY>(Made(EVP_EC_gen("P-256"))); }

OpenSslPtr<X509> NewCertificate(const std::string& name, EVP_PKEY* key, long from_s, long until_s) {
  static long serial = 0;
  OpenSslPtr<X509> certificate(Made(X509_new()));
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from_s);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until_s);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.data()),
                             static_cast<int>(name.size()), -1, 0);
  return certificate;
}

void Extend(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* extension = Made(X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()));
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

template <typename Write>
std::string Pem(Write write) {
  const OpenSslPtr<BIO> bio(Made(BIO_new(BIO_s_mem())));
  if (write(bio.get()) != 1) throw std::runtime_error("OpenSSL does not write");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string Pem(X509* certificate) {
  return Pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

}  // namespace

Authority::Authority(const std::string& name)
    : key_(NewKey()), certificate_(NewCertificate(name, key_.get(), -7'200, 7'200)) {
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  Extend(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  X509_sign(certificate_.get(), key_.get(), EVP_sha256());
  pem_ = Pem(certificate_.get());
}

Certified Authority::Issue(const std::string& name, long from_s, long until_s) const {
  const OpenSslPtr<EVP_PKEY> key = NewKey();
  const OpenSslPtr<X509> certificate = NewCertificate(name, key.get(), from_s, until_s);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  Extend(certificate.get(), NID_subject_alt_name, "DNS:" + name);
  X509_sign(certificate.get(), key_.get(), EVP_sha256());
  return {Pem(certificate.get()), Pem([&](BIO* bio) {
            return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                 nullptr);
          })};
}

std::string Encrypted(const std::string& key_pem) {
  const OpenSslPtr<BIO> in = ReadOnly(key_pem);
  const OpenSslPtr<EVP_PKEY> key(
      Made(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr)));
  return Pem([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), EVP_aes_128_cbc(), "pass phrase", 11,
                                         nullptr, nullptr);
  });
}

}  // namespace offline_post::test
