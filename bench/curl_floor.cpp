// curl_floor [http1|http2 CA_FILE] URL IN_FLIGHT WARM_MS RUN_MS BODY [HEADER]...
//
// The least that a POST through libcurl costs: one thread, easy handles that are set up once, no
// queue, no answer read but its status. Over HTTP/1.1 with as many connections as are in flight and
// epoll; or over HTTP/2 on one connection with curl_multi_perform (with curl_multi_socket_action
// libcurl 7.88 loses streams). Prints "REQUESTS_PER_SECOND CPU_US_PER_REQUEST".
#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Loop {
  CURLM* multi = nullptr;
  int epoll = -1;
  long timeout_ms = -1;
  std::vector<std::uint32_t> watched;  // by the socket's number: what epoll looks for
};

// A socket stays in epoll between two requests: taking it out and back costs a third of the rate.
int OnSocket(CURL* /*easy*/, curl_socket_t socket, int what, void* user, void* /*known*/) {
  Loop& loop = *static_cast<Loop*>(user);
  const auto place = static_cast<std::size_t>(socket);
  if (loop.watched.size() <= place) loop.watched.resize(place + 1);
  if (what == CURL_POLL_REMOVE) return 0;
  epoll_event event{};
  event.data.fd = socket;
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  std::uint32_t& watched = loop.watched[place];
  if (event.events == watched) return 0;
  const int action = watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  watched = event.events;
  return epoll_ctl(loop.epoll, action, socket, &event);
}

int OnClose(void* user, curl_socket_t socket) {
  Loop& loop = *static_cast<Loop*>(user);
  const auto place = static_cast<std::size_t>(socket);
  if (place < loop.watched.size()) loop.watched[place] = 0;
  return close(socket);  // which takes it out of epoll
}

int OnTimer(CURLM* /*multi*/, long timeout_ms, void* user) {
  static_cast<Loop*>(user)->timeout_ms = timeout_ms;
  return 0;
}

std::size_t OnBody(char* /*data*/, std::size_t /*one*/, std::size_t size, void* /*user*/) {
  return size;
}

double CpuUs() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

void TurnSockets(Loop& loop) {
  int running = 0;
  std::array<epoll_event, 64> events{};
  const int timeout =
      loop.timeout_ms < 0 || loop.timeout_ms > 100 ? 100 : static_cast<int>(loop.timeout_ms);
  const int ready = epoll_wait(loop.epoll, events.data(), static_cast<int>(events.size()), timeout);
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events.at(static_cast<std::size_t>(i));
    const int mask = ((event.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                     ((event.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                     ((event.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(loop.multi, event.data.fd, mask, &running);
  }
  if (loop.timeout_ms == 0 || ready == 0) {
    loop.timeout_ms = -1;
    curl_multi_socket_action(loop.multi, CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

void TurnAll(Loop& loop) {
  int running = 0;
  curl_multi_poll(loop.multi, nullptr, 0, 100, nullptr);
  curl_multi_perform(loop.multi, &running);
}

// Requests that ended until `until`; -1: one failed.
std::int64_t RunUntil(Loop& loop, SteadyClock::time_point until) {
  CURLM* multi = loop.multi;
  std::int64_t done = 0;
  while (SteadyClock::now() < until) {
    if (loop.epoll >= 0) {
      TurnSockets(loop);
    } else {
      TurnAll(loop);
    }
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      // libcurl 7.88 says so of an HTTP/2 answer that came before the body was sent.
      const bool early = code == CURLE_HTTP2_STREAM;
      if ((code != CURLE_OK && !early) || status != 200) {
        std::cerr << "curl_floor: HTTP " << status << ", " << curl_easy_strerror(code) << "\n";
        return -1;
      }
      ++done;
      curl_multi_remove_handle(multi, easy);
      curl_multi_add_handle(multi, easy);
    }
  }
  return done;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  std::string ca_file;
  bool http2 = false;
  if (args.size() > 2 && (args[0] == "http2" || args[0] == "http1")) {
    http2 = args[0] == "http2";
    ca_file = args[1];
    args.erase(args.begin(), args.begin() + 2);
  }
  if (args.size() < 5) {
    std::cerr << "usage: curl_floor [http1|http2 CA_FILE] URL IN_FLIGHT WARM_MS RUN_MS BODY "
                 "[HEADER]...\n";
    return 2;
  }
  const long in_flight = std::strtol(args[1].c_str(), nullptr, 10);
  const std::chrono::milliseconds warm(std::strtol(args[2].c_str(), nullptr, 10));
  const std::chrono::milliseconds run(std::strtol(args[3].c_str(), nullptr, 10));
  curl_slist* headers = nullptr;
  for (std::size_t i = 5; i < args.size(); ++i)
    headers = curl_slist_append(headers, args[i].c_str());

  curl_global_init(CURL_GLOBAL_DEFAULT);
  Loop loop;
  CURLM* multi = curl_multi_init();
  loop.multi = multi;
  if (!http2) {
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &OnSocket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, static_cast<void*>(&loop));
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &OnTimer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, static_cast<void*>(&loop));
  }
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, http2 ? 1L : in_flight);
  std::vector<CURL*> handles;
  for (long i = 0; i < in_flight; ++i) {
    CURL* easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, args[0].c_str());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(args[4].size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, args[4].c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, &OnClose);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&loop));
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (http2) {
      curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
      curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    } else {
      curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    }
    if (!ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file.c_str());
    curl_multi_add_handle(multi, easy);
    handles.push_back(easy);
  }

  if (RunUntil(loop, SteadyClock::now() + warm) < 0) return 1;
  const SteadyClock::time_point start = SteadyClock::now();
  const double cpu = CpuUs();
  const std::int64_t done = RunUntil(loop, start + run);
  if (done <= 0) return 1;
  const std::chrono::duration<double> took = SteadyClock::now() - start;
  std::cout << std::fixed << static_cast<double>(done) / took.count() << " "
            << (CpuUs() - cpu) / static_cast<double>(done) << "\n";

  for (CURL* easy : handles) {
    curl_multi_remove_handle(multi, easy);
    curl_easy_cleanup(easy);
  }
  curl_multi_cleanup(multi);
  curl_slist_free_all(headers);
  if (loop.epoll >= 0) close(loop.epoll);
  curl_global_cleanup();
  return 0;
}
