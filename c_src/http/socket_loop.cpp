#include "http/socket_loop.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <cstddef>

namespace offline_post {

namespace {

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
  watched_.clear();
  next_ready_ = ready_count_ = 0;
  if (epoll_ >= 0) close(epoll_);
  epoll_ = -1;
}

void SocketLoop::Prepare(CURL* easy) {
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, &SocketLoop::OnOpen);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, this);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, &SocketLoop::OnClose);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, this);
}

void SocketLoop::Release(CURL* easy) {
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, nullptr);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, nullptr);
}

// None: out of memory.
SocketLoop::Watched* SocketLoop::Find(curl_socket_t socket) noexcept {
  const auto place = static_cast<std::size_t>(socket);
  try {
    if (watched_.size() <= place) watched_.resize(place + 1);
  } catch (...) {
    return nullptr;
  }
  return &watched_[place];
}

int SocketLoop::OnOpen(void* self, curl_socket_t socket, curlsocktype /*purpose*/) noexcept {
  if (Watched* watched = static_cast<SocketLoop*>(self)->Find(socket)) {
    *watched = {};
    watched->connection = true;
  }
  return CURL_SOCKOPT_OK;
}

int SocketLoop::OnClose(void* self, curl_socket_t socket) noexcept {
  if (Watched* watched = static_cast<SocketLoop*>(self)->Find(socket)) *watched = {};
  return close(socket);  // which takes it out of epoll
}

// A connection stays in epoll between two requests, which saves the system calls that take it out
// and back. The resolver's sockets do not: nobody tells of their end. Never fails: libcurl would
// give the whole handle up. What cannot be watched, for lack of memory, runs into its timeout.
int SocketLoop::OnSocket(CURL* /*easy*/, curl_socket_t socket, int what, void* self,
                         void* /*known*/) noexcept {
  SocketLoop& loop = *static_cast<SocketLoop*>(self);
  Watched* watched = loop.Find(socket);
  if (watched == nullptr) return 0;
  watched->wanted = what != CURL_POLL_REMOVE;
  epoll_event event{};
  event.data.fd = socket;
  if (what == CURL_POLL_REMOVE) {
    if (watched->connection) return 0;
    epoll_ctl(loop.epoll_, EPOLL_CTL_DEL, socket, nullptr);
    *watched = {};
    return 0;
  }
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  if (event.events == watched->events) return 0;
  const int action = watched->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  watched->events = epoll_ctl(loop.epoll_, action, socket, &event) == 0 ? event.events : 0;
  return 0;
}

Millis SocketLoop::DueMs() const {
  long due_ms = -1;
  curl_multi_timeout(multi_.get(), &due_ms);
  return due_ms;
}

void SocketLoop::Begin() {
  int running = 0;
  if (DueMs() == 0) curl_multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running);
}

// What is not taken this time is still ready the next time. A socket that was closed, and another
// made under its number, since epoll told of it is only looked at in vain.
bool SocketLoop::Perform(SteadyTime until) {
  if (next_ready_ == ready_count_) {
    const int ready = epoll_wait(epoll_, ready_.data(), kEventsPerTurn, 0);
    next_ready_ = 0;
    ready_count_ = ready > 0 ? static_cast<std::size_t>(ready) : 0;
  }
  while (next_ready_ < ready_count_) {
    Handle(ready_.at(next_ready_++));
    if (std::chrono::steady_clock::now() >= until) break;
  }
  Begin();
  return next_ready_ == ready_count_;
}

void SocketLoop::Handle(const epoll_event& event) {
  const int socket = event.data.fd;
  Watched* watched = Find(socket);
  if (watched == nullptr || !watched->wanted) {  // closed by the server, as a rule
    epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
    if (watched != nullptr) watched->events = 0;
    return;
  }
  int running = 0;
  curl_multi_socket_action(multi_.get(), socket, SelectBits(event.events), &running);
}

}  // namespace offline_post
