#include "receiver.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <stdexcept>
#include <utility>

namespace offline_post::proof {

namespace {

constexpr std::string_view kEndOfHead = "\r\n\r\n";

// The value of a header line whose name stands there as libcurl and we write it.
std::string_view HeaderValue(std::string_view head, std::string_view name) {
  const std::size_t at = head.find(name);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = head.substr(at + name.size());
  return rest.substr(0, rest.find('\r'));
}

std::size_t Number(std::string_view text) {
  std::size_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

struct Request {
  std::string_view head;
  std::string_view body;
  std::size_t size = 0;
};

// The first in what has come; nothing while it is not whole.
std::optional<Request> FirstRequest(std::string_view in) {
  const std::size_t end = in.find(kEndOfHead);
  if (end == std::string_view::npos) return {};
  const std::string_view head = in.substr(0, end + 2);
  const std::size_t length = Number(HeaderValue(head, "\r\nContent-Length: "));
  const std::size_t begin = end + kEndOfHead.size();
  if (in.size() < begin + length) return {};
  return Request{head, in.substr(begin, length), begin + length};
}

}  // namespace

std::string_view Post::Field(std::string_view name) const {
  std::string_view rest = body;
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=') {
      return pair.substr(name.size() + 1);
    }
  }
  return {};
}

Receiver::Receiver(Handler handler, Delay delay, std::uint16_t port)
    : handler_(std::move(handler)),
      delay_(std::move(delay)),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const int one = 1;  // the port may have been another's a moment ago
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (listener_ < 0 || epoll_ < 0 || stop_ < 0 || ::bind(listener_, generic, length) != 0 ||
      ::getsockname(listener_, generic, &length) != 0) {
    throw std::runtime_error("cannot take a port of loopback");
  }
  port_ = ntohs(address.sin_port);
}

Receiver::~Receiver() {
  if (thread_.joinable()) {
    eventfd_write(stop_, 1);
    thread_.join();
  }
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i]) ::close(static_cast<int>(i));
  }
  for (const int fd : {listener_, epoll_, stop_}) ::close(fd);
}

void Receiver::Listen() {
  if (::listen(listener_, 1024) != 0) throw std::runtime_error("cannot listen");
  Watch(stop_);
  Watch(listener_);
  thread_ = std::thread([this] { Run(); });
}

std::string Receiver::url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/push"; }

void Receiver::Watch(int socket) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = socket;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) != 0) throw std::runtime_error("no epoll");
}

void Receiver::Run() {
  std::array<epoll_event, 256> events{};
  while (true) {
    const int ready =
        epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), MillisToNext());
    for (int i = 0; i < ready; ++i) {
      const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
      if (fd == stop_) return;
      if (fd == listener_) {
        Accept();
      } else {
        Serve(fd);
      }
    }
    AnswerDue();
  }
}

int Receiver::MillisToNext() const {
  if (due_.empty()) return -1;
  const auto left = due_.begin()->first - std::chrono::steady_clock::now();
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::max<std::int64_t>(0, millis));
}

void Receiver::Accept() {
  while (true) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0) return;
    const int one = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    const auto slot = static_cast<std::size_t>(socket);
    if (connections_.size() <= slot) connections_.resize(slot + 1);
    connections_[slot] = std::make_unique<Connection>();
    connections_[slot]->due = due_.end();
    Watch(socket);
  }
}

void Receiver::Serve(int socket) {
  std::array<char, 16'384> chunk;  // NOLINT: not zeroed for each request
  const ssize_t got = ::recv(socket, chunk.data(), chunk.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return HangUp(socket);
  At(socket).in.append(chunk.data(), static_cast<std::size_t>(got));
  if (delay_) {
    Postpone(socket);
  } else if (!AnswerAll(socket)) {
    HangUp(socket);
  }
}

void Receiver::Postpone(int socket) {
  Connection& connection = At(socket);
  if (connection.due != due_.end() || !FirstRequest(connection.in)) return;
  connection.due = due_.emplace(std::chrono::steady_clock::now() + delay_(), socket);
}

void Receiver::AnswerDue() {
  const auto now = std::chrono::steady_clock::now();
  while (!due_.empty() && due_.begin()->first <= now) {
    const int socket = due_.begin()->second;
    due_.erase(due_.begin());
    At(socket).due = due_.end();
    if (!AnswerAll(socket)) HangUp(socket);
  }
}

// False: hang up.
bool Receiver::AnswerAll(int socket) {
  Connection& connection = At(socket);
  bool keep = true;
  while (keep) {
    const std::size_t before = connection.in.size();
    keep = Answer(connection);
    if (connection.in.size() == before) break;
  }
  const auto size = static_cast<ssize_t>(connection.out.size());
  if (size > 0) {
    keep =
        ::send(socket, connection.out.data(), connection.out.size(), MSG_NOSIGNAL) == size && keep;
  }
  connection.out.clear();
  return keep;
}

void Receiver::HangUp(int socket) {
  if (At(socket).due != due_.end()) due_.erase(At(socket).due);
  // Not by the close alone: a process that is just being started may still share the socket, and
  // the next file with its number would be taken for it.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
  ::close(socket);
  connections_[static_cast<std::size_t>(socket)].reset();
}

// Takes one request, if a whole one is there. False: hang up.
bool Receiver::Answer(Connection& connection) {
  const std::optional<Request> request = FirstRequest(connection.in);
  if (!request) return true;
  const int status = handler_({HeaderValue(request->head, "\r\nwebhook-id: "), request->body});
  connection.in.erase(0, request->size);
  if (status == kHangUp) return false;
  if (status == 200) {
    connection.out += "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  } else {
    connection.out +=
        "HTTP/1.1 " + std::to_string(status) + " Refused\r\nContent-Length: 0\r\n\r\n";
  }
  return true;
}

}  // namespace offline_post::proof
