#include "http/socket_loop.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cstddef>

namespace offline_post {

namespace {

constexpr std::size_t kEventsPerTurn = 256;

// What libcurl is told of a socket; 0: it looks itself. So it tells an answer that came before the
// connection broke from one that did not.
int SelectBits(std::uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return 0;
  return ((events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
         ((events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0);
}

}  // namespace

Status SocketLoop::Open() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ >= 0) multi_.reset(curl_multi_init());
  if (!multi_ ||
      curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &SocketLoop::OnSocket) != CURLM_OK ||
      curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this) != CURLM_OK) {
    Close();
    return Error{Error::Kind::kUnavailable, "no epoll or multi handle (out of descriptors?)"};
  }
  return std::nullopt;
}

void SocketLoop::Close() {
  multi_.reset();  // which still tells of its sockets
  if (epoll_ >= 0) close(epoll_);
  epoll_ = -1;
}

// A socket stays in epoll between two requests, which saves two system calls each; the kernel takes
// out what is closed. Whether it is still the same one, only the kernel knows. Never fails: libcurl
// would give the whole handle up. What cannot be watched, for lack of memory, runs into its
// timeout.
int SocketLoop::OnSocket(CURL* /*easy*/, curl_socket_t socket, int what, void* self,
                         void* /*known*/) noexcept {
  SocketLoop& loop = *static_cast<SocketLoop*>(self);
  const auto place = static_cast<std::size_t>(socket);
  try {
    if (loop.wanted_.size() <= place) loop.wanted_.resize(place + 1);
  } catch (...) {
    return 0;
  }
  loop.wanted_[place] = what != CURL_POLL_REMOVE;
  if (what == CURL_POLL_REMOVE) return 0;
  epoll_event event{};
  event.data.fd = socket;
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  if (epoll_ctl(loop.epoll_, EPOLL_CTL_MOD, socket, &event) != 0)
    epoll_ctl(loop.epoll_, EPOLL_CTL_ADD, socket, &event);
  return 0;
}

Millis SocketLoop::DueMs() const {
  long due_ms = -1;
  curl_multi_timeout(multi_.get(), &due_ms);
  return due_ms;
}

// What is not taken this time is still ready the next time. A socket that was closed, and another
// made under its number, since epoll told of it is only looked at in vain.
void SocketLoop::Perform() {
  int running = 0;
  std::array<epoll_event, kEventsPerTurn> events{};
  const int ready = epoll_wait(epoll_, events.data(), kEventsPerTurn, 0);
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (!wanted_[static_cast<std::size_t>(event.data.fd)]) {  // closed by the server, as a rule
      epoll_ctl(epoll_, EPOLL_CTL_DEL, event.data.fd, nullptr);
      continue;
    }
    curl_multi_socket_action(multi_.get(), event.data.fd, SelectBits(event.events), &running);
  }
  if (DueMs() == 0) curl_multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running);
}

}  // namespace offline_post
