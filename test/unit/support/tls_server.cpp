#include "support/tls_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace offline_post::test {

namespace {

struct SslDeleter {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};

OpenSslPtr<X509> Certificate(const std::string& pem) {
  return OpenSslPtr<X509>(PEM_read_bio_X509(ReadOnly(pem).get(), nullptr, nullptr, nullptr));
}

}  // namespace

std::string TlsConnection::Read(std::size_t size) {
  std::string out;
  std::array<char, 16'384> chunk{};
  while (out.size() < size) {
    const int got =
        SSL_read(ssl_, chunk.data(), static_cast<int>(std::min(chunk.size(), size - out.size())));
    if (got <= 0) break;
    out.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return out;
}

std::string TlsConnection::ReadTo(const std::string& end) {
  std::string out;
  while (!out.ends_with(end)) {
    const std::string byte = Read(1);
    if (byte.empty()) break;
    out += byte;
  }
  return out;
}

void TlsConnection::Write(const std::string& bytes) {
  if (!bytes.empty()) SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
}

std::string TlsConnection::protocol() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsConnection::client_name() const {
  const X509* certificate = SSL_get0_peer_certificate(ssl_);
  return certificate == nullptr ? "" : SubjectText(certificate);
}

TlsServer::TlsServer(const TlsServerOptions& options, Handler handler)
    : handler_(std::move(handler)),
      context_(SSL_CTX_new(TLS_server_method())),
      alpn_(static_cast<char>(options.protocol.size()) + options.protocol) {
  const OpenSslPtr<EVP_PKEY> key(
      PEM_read_bio_PrivateKey(ReadOnly(options.identity.key).get(), nullptr, nullptr, nullptr));
  if (SSL_CTX_use_certificate(context_.get(), Certificate(options.identity.certificate).get()) !=
          1 ||
      SSL_CTX_use_PrivateKey(context_.get(), key.get()) != 1) {
    throw std::runtime_error("no certificate");
  }
  if (!options.client_authority.empty()) {
    const OpenSslPtr<X509> authority = Certificate(options.client_authority);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), authority.get());
    SSL_CTX_add_client_CA(context_.get(), authority.get());
    const int must = options.must_show ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER | must, nullptr);
  }
  if (options.highest_version != 0) {
    SSL_CTX_set_security_level(context_.get(), 0);
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), options.highest_version);
  }
  static constexpr std::array<unsigned char, 4> kContext{'t', 'e', 's', 't'};
  if (options.resumes)
    SSL_CTX_set_session_id_context(context_.get(), kContext.data(), kContext.size());
  SSL_CTX_set_alpn_select_cb(context_.get(), &TlsServer::Choose, this);
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || ::bind(listener_, generic, length) != 0 ||
      ::getsockname(listener_, generic, &length) != 0 || ::listen(listener_, 128) != 0) {
    throw std::runtime_error("cannot listen");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

int TlsServer::Choose(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                      unsigned in_size, void* self) {
  auto& server = *static_cast<TlsServer*>(self);
  const std::lock_guard lock(server.mutex_);
  const std::string& own = server.alpn_;
  const int found = SSL_select_next_proto(const_cast<unsigned char**>(out), size,
                                          reinterpret_cast<const unsigned char*>(own.data()),
                                          static_cast<unsigned>(own.size()), in, in_size);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

void TlsServer::Speak(const std::string& protocol) {
  const std::lock_guard lock(mutex_);
  alpn_ = static_cast<char>(protocol.size()) + protocol;
}

TlsServer::~TlsServer() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  for (const int socket : sockets_) ::close(socket);
  ::close(listener_);
}

void TlsServer::Accept() {
  while (!stopping_) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const std::lock_guard lock(mutex_);
    sockets_.push_back(socket);
    threads_.emplace_back([this, socket] { Serve(socket); });
  }
}

void TlsServer::Serve(int socket) {
  const std::unique_ptr<SSL, SslDeleter> ssl(SSL_new(context_.get()));
  SSL_set_fd(ssl.get(), socket);
  if (SSL_accept(ssl.get()) == 1) {
    if (SSL_session_reused(ssl.get()) == 1) ++resumed_;
    TlsConnection connection(ssl.get(), ++connections_);
    handler_(connection);
    SSL_shutdown(ssl.get());
  }
  const std::lock_guard lock(mutex_);
  if (!stopping_) {
    std::erase(sockets_, socket);
    ::close(socket);
  }
}

TlsServer::Handler Http1(std::string answer) {
  return [answer = std::move(answer)](TlsConnection& connection) {
    while (true) {
      const std::string head = connection.ReadTo("\r\n\r\n");
      const std::size_t field = head.find("Content-Length: ");
      if (field == std::string::npos) return;
      connection.Read(std::stoul(head.substr(field + 16)));
      connection.Write(answer);
    }
  };
}

}  // namespace offline_post::test
