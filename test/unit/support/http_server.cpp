#include "support/http_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

namespace offline_post::test {

namespace {

int BindLoopback(std::uint16_t& port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (socket < 0 || ::bind(socket, generic, length) != 0 ||
      ::getsockname(socket, generic, &length) != 0) {
    throw std::runtime_error("cannot bind to loopback");
  }
  port = ntohs(address.sin_port);
  return socket;
}

// Reads one request; false at the end of the connection.
bool ReadRequest(int socket, std::string& buffer, HttpRequest& request) {
  std::array<char, 65'536> chunk{};
  const auto more = [&] {
    const ssize_t got = ::recv(socket, chunk.data(), chunk.size(), 0);
    if (got > 0) buffer.append(chunk.data(), static_cast<std::size_t>(got));
    return got > 0;
  };
  std::size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return false;
  }
  request.head = buffer.substr(0, end + 2);
  buffer.erase(0, end + 4);
  const std::size_t field = request.head.find("Content-Length: ");
  const std::size_t length =
      field == std::string::npos ? 0 : std::stoul(request.head.substr(field + 16));
  while (buffer.size() < length) {
    if (!more()) return false;
  }
  request.body = buffer.substr(0, length);
  buffer.erase(0, length);
  return true;
}

bool SendAll(int socket, const std::string& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

// Until the client leaves.
void Trickle(int socket, const std::string& more) {
  constexpr int kPauseMs = 20;
  pollfd leaves{socket, POLLIN, 0};
  for (std::size_t i = 0; ::poll(&leaves, 1, kPauseMs) == 0; ++i) {
    if (!SendAll(socket, more.substr(i % more.size(), 1))) return;
  }
}

}  // namespace

HttpReply Status(int status, const std::string& more_headers) {
  return {"HTTP/1.1 " + std::to_string(status) + " Some Reason\r\nContent-Length: 0\r\n" +
              more_headers + "\r\n",
          HttpReply::Then::kKeep};
}

HttpServer::HttpServer(Handler handler)
    : handler_(std::move(handler)), listener_(BindLoopback(port_)) {
  if (::listen(listener_, 128) != 0) throw std::runtime_error("cannot listen");
  acceptor_ = std::thread([this] { Accept(); });
}

HttpServer::~HttpServer() {
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

std::vector<HttpRequest> HttpServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void HttpServer::Accept() {
  while (!stopping_) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int number = ++connections_;
    const std::lock_guard lock(mutex_);
    sockets_.push_back(socket);
    threads_.emplace_back([this, socket, number] { Serve(socket, number); });
  }
}

void HttpServer::Serve(int socket, int number) {
  std::string buffer;
  HttpRequest request;
  request.connection = number;
  while (ReadRequest(socket, buffer, request)) {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const HttpReply reply = handler_(request);
    if (!SendAll(socket, reply.bytes)) break;
    if (reply.then == HttpReply::Then::kEndless) {
      std::string many;
      while (many.size() < 65'536) many += reply.more;
      while (SendAll(socket, many)) {
      }
    }
    if (reply.then == HttpReply::Then::kTrickle) Trickle(socket, reply.more);
    if (reply.then == HttpReply::Then::kHang) {
      char byte = 0;
      while (::recv(socket, &byte, 1, 0) > 0) {
      }
    }
    if (reply.then == HttpReply::Then::kReset) {
      const linger at_once{1, 0};
      ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    if (reply.then != HttpReply::Then::kKeep) break;
  }
  // The destructor closes what is left; a reset or close must show now.
  const std::lock_guard lock(mutex_);
  if (!stopping_) {
    std::erase(sockets_, socket);
    ::close(socket);
  }
}

std::string DeadUrl() {
  // Bound and never listening: nobody else gets the port, and connections are refused.
  static std::uint16_t port = 0;
  static const int socket = BindLoopback(port);
  if (socket < 0) throw std::runtime_error("no dead port");
  return "http://127.0.0.1:" + std::to_string(port) + "/push";
}

}  // namespace offline_post::test
