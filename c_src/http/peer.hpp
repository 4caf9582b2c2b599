// What a TLS handshake shows of the other side, kept for error texts. It watches; what is accepted
// is OpenSSL's and libcurl's decision alone.
//
// Threads: the one that runs the transfers.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace offline_post {

struct Peer {
  // "certificate of NAME, valid until DATE".
  std::string certificate;
  // The same of the one that was not accepted, the server's own or an authority's: libcurl says
  // why. Empty: all were.
  std::string problem;
  bool wants_certificate = false;  // it asked for one of ours
};

// Watches the connections that are made with `context`; none: out of memory. Both the context and
// the caller keep what is returned.
std::shared_ptr<const Peer> WatchPeer(SSL_CTX* context) noexcept;

// The server has asked for a certificate of ours, on this connection or on one whose session this
// connection resumes.
bool WantsCertificate(const SSL* connection) noexcept;

}  // namespace offline_post
