#include "http/peer.hpp"

#include <openssl/x509_vfy.h>

#include <ctime>
#include <new>

#include "http/x509.hpp"

namespace offline_post {

namespace {

using Held = std::shared_ptr<Peer>;

void Release(void* /*parent*/, void* held, CRYPTO_EX_DATA* /*data*/, int /*index*/, long /*argl*/,
             void* /*argp*/) noexcept {
  delete static_cast<Held*>(held);
}

int Index() noexcept {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, &Release);
  return index;
}

Peer* Find(const SSL* connection) noexcept {
  if (connection == nullptr || Index() < 0) return nullptr;
  const SSL_CTX* context = SSL_get_SSL_CTX(connection);
  const auto* held = static_cast<const Held*>(SSL_CTX_get_ex_data(context, Index()));
  return held == nullptr ? nullptr : held->get();
}

std::string Describe(const X509* certificate) {
  std::string text = "certificate of " + SubjectText(certificate);
  const ASN1_TIME* begin = X509_get0_notBefore(certificate);
  if (X509_cmp_current_time(begin) > 0) text += ", valid from " + TimeText(begin);
  return text + ", valid until " + TimeText(X509_get0_notAfter(certificate));
}

// Called for each certificate of the chain, the server's last, and for each fault.
int OnVerify(int accepted, X509_STORE_CTX* store) noexcept {
  try {
    const auto* connection = static_cast<const SSL*>(
        X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    Peer* peer = Find(connection);
    const X509* certificate = X509_STORE_CTX_get_current_cert(store);
    if (peer != nullptr && certificate != nullptr) {
      if (X509_STORE_CTX_get_error_depth(store) == 0) peer->certificate = Describe(certificate);
      if (accepted == 0 && peer->problem.empty()) peer->problem = Describe(certificate);
    }
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): a text less
  }
  return accepted;
}

int SessionIndex() noexcept {
  static const int index = SSL_SESSION_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// A server asks only when a session is new, so the session keeps that, for connections that resume
// it. OpenSSL copies it to the sessions that follow.
int OnCertificateWanted(SSL* connection, void* /*arg*/) noexcept {
  static char wanted = 1;
  if (Peer* peer = Find(connection)) peer->wants_certificate = true;
  if (SSL_SESSION* session = SSL_get_session(connection))
    SSL_SESSION_set_ex_data(session, SessionIndex(), &wanted);
  return 1;
}

}  // namespace

std::shared_ptr<const Peer> WatchPeer(SSL_CTX* context) noexcept {
  try {
    auto held = std::make_unique<Held>(std::make_shared<Peer>());
    Held peer = *held;
    if (Index() < 0 || SSL_CTX_set_ex_data(context, Index(), held.get()) != 1) return nullptr;
    held.release();  // NOLINT(bugprone-unused-return-value): the context's now
    // In any mode: later versions of libcurl let the handshake pass, and ask for the verdict then.
    SSL_CTX_set_verify(context, SSL_CTX_get_verify_mode(context), &OnVerify);
    SSL_CTX_set_cert_cb(context, &OnCertificateWanted, nullptr);
    return peer;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool WantsCertificate(const SSL* connection) noexcept {
  if (connection == nullptr) return false;
  const Peer* peer = Find(connection);
  if (peer != nullptr && peer->wants_certificate) return true;
  const SSL_SESSION* session = SSL_get_session(connection);
  return session != nullptr && SSL_SESSION_get_ex_data(session, SessionIndex()) != nullptr;
}

}  // namespace offline_post
