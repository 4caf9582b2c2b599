// A TLS server on loopback for one test: what is said on a connection is the test's. One thread per
// connection.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/certificates.hpp"

namespace offline_post::test {

// One connection, after its handshake.
class TlsConnection {
 public:
  TlsConnection(SSL* ssl, int number) : ssl_(ssl), number_(number) {}
  // Exactly so many bytes; fewer: the client has left.
  std::string Read(std::size_t size);
  // Up to and with `end`.
  std::string ReadTo(const std::string& end);
  void Write(const std::string& bytes);
  std::string protocol() const;           // that ALPN has settled on
  std::string client_name() const;        // of the client's certificate; empty: it has shown none
  int number() const { return number_; }  // 1 for the first

 private:
  SSL* ssl_;
  int number_;
};

struct TlsServerOptions {
  Certified identity;
  std::string protocol = "http/1.1";  // the one that it speaks
  std::string client_authority;       // PEM: clients must show a certificate of its; empty: none
  bool must_show = true;              // else they are asked, and served without
  int highest_version = 0;            // 0: any
  bool resumes = true;                // else resuming a session fails where clients are asked
};

inline TlsServerOptions WithIdentity(Certified identity) {
  TlsServerOptions options;
  options.identity = std::move(identity);
  return options;
}

class TlsServer {
 public:
  using Handler = std::function<void(TlsConnection&)>;

  TlsServer(const TlsServerOptions& options, Handler handler);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  std::string url(const std::string& host = "localhost") const {
    return "https://" + host + ":" + std::to_string(port_) + "/push";
  }
  // What new connections are to speak.
  void Speak(const std::string& protocol);
  int connections() const { return connections_; }  // that have ended their handshake
  int resumed() const { return resumed_; }          // of these, with an earlier session

 private:
  static int Choose(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned in_size, void* self);
  void Accept();
  void Serve(int socket);

  const Handler handler_;
  OpenSslPtr<SSL_CTX> context_;
  std::string alpn_;  // guarded by mutex_
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::atomic<int> resumed_{0};
  std::mutex mutex_;
  std::vector<int> sockets_;  // guarded by mutex_, as threads_
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// Answers every HTTP/1.1 request of a connection with `answer`.
TlsServer::Handler Http1(std::string answer);

}  // namespace offline_post::test
