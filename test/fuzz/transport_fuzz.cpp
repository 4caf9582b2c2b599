// Whatever bytes a receiver sends for an answer, in whatever pieces, before it closes: the
// transport's callbacks, and what they make of it. Two plain answers on the same connection come
// first, so that libcurl's handle is one that was used before. A listener of our own, on loopback;
// one thread.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "forms.hpp"
#include "http/curl_transport.hpp"
#include "payload/answer.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

class RealClock final : public Clock {
 public:
  Millis MonotonicMs() const override { return UnixMs(); }
  Millis UnixMs() const override { return 1'700'000'000'000; }
};

class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    Require(::bind(socket_, any, size) == 0 && ::listen(socket_, 16) == 0 &&
                ::getsockname(socket_, any, &size) == 0,
            "there is a port");
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/offline";
  }
  const std::string& url() const { return url_; }
  // Waits for the next connection.
  int Accept() const { return ::accept(socket_, nullptr, nullptr); }
  bool HasConnection() const {
    pollfd poll{socket_, POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  }

 private:
  int socket_;
  std::string url_;
};

class Book final : public TransportListener {
 public:
  void OnDone(RequestId /*id*/, std::vector<Outcome> outcomes) override {
    Require(outcome_.empty() && outcomes.size() == 1, "one outcome, once");
    outcome_ = std::move(outcomes);
  }
  bool done() const { return !outcome_.empty(); }
  const Outcome& outcome() const { return outcome_.front(); }

 private:
  std::vector<Outcome> outcome_;
};

void Take(int connection) {
  std::array<char, 4096> asked{};
  while (::recv(connection, asked.data(), asked.size(), MSG_DONTWAIT) > 0) {
  }
}

void AwaitRequest(int connection, CurlTransport& transport, Book& book) {
  pollfd poll{connection, POLLIN, 0};
  while (!book.done() && ::poll(&poll, 1, 0) == 0) transport.Perform(book);
}

// Sends the input's bytes, takes what the other side has sent, and closes. Returns what was sent.
std::string AnswerWith(int connection, FuzzedDataProvider& input, CurlTransport& transport,
                       Book& book) {
  AwaitRequest(connection, transport, book);
  Take(connection);
  std::string all;
  const int parts = input.ConsumeIntegralInRange(1, 4);
  for (int i = 1; i <= parts; ++i) {
    const std::string part =
        i < parts ? input.ConsumeRandomLengthString(2000) : input.ConsumeRemainingBytesAsString();
    all += part;
    // What does not fit at once is lost, which is an answer too.
    (void)::send(connection, part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (i < parts) transport.Perform(book);
  }
  ::shutdown(connection, SHUT_WR);
  return all;
}

void AnswerPlainly(int connection, CurlTransport& transport, Book& book) {
  constexpr std::string_view kPlain =
      "HTTP/1.1 200 OK\r\nX-Header: 0123456789\r\nContent-Length: 0\r\n\r\n";
  AwaitRequest(connection, transport, book);
  Take(connection);
  Require(::send(connection, kPlain.data(), kPlain.size(), MSG_NOSIGNAL) == kPlain.size(),
          "a plain answer is sent");
  while (!book.done()) {
    transport.Perform(book);
    if (!book.done()) transport.Wait(5);
  }
  Require(book.outcome().kind == OutcomeClass::kDelivered, "a plain answer delivers");
}

Request MakeRequest(const std::shared_ptr<const Endpoint>& endpoint) {
  Request request;
  request.id = 1;
  request.endpoint = endpoint;
  request.headers = {"webhook-id: 1"};
  request.body = "body=1";
  request.deliveries = {7};
  return request;
}

}  // namespace

}  // namespace offline_post::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace offline_post;
  using namespace offline_post::fuzz;
  static const Listener listener;
  static const RealClock clock;
  static const Status library = CurlTransport::InitLibrary();
  static CurlTransport* const transport = [] {
    auto* made = new CurlTransport(clock);
    Require(!library && !made->Open(), "there is a transport");
    return made;
  }();
  static const std::shared_ptr<const Endpoint> endpoint = [] {
    auto made = std::make_shared<Endpoint>();
    made->post_url = listener.url();
    made->origin = {.scheme = "http", .host = "127.0.0.1", .port = 0, .tls = {}, .proxy = ""};
    made->timeout_ms = 5'000;
    return made;
  }();
  FuzzedDataProvider input(data, size);
  int connection = -1;
  for (int plain = 0; plain < 2; ++plain) {
    Book book;
    transport->Send(MakeRequest(endpoint));
    while (connection < 0 && !book.done() && !listener.HasConnection()) transport->Perform(book);
    Require(!book.done(), "it has connected");
    if (connection < 0) connection = listener.Accept();
    AnswerPlainly(connection, *transport, book);
  }
  Book book;
  transport->Send(MakeRequest(endpoint));
  const std::string sent = AnswerWith(connection, input, *transport, book);
  while (!book.done()) {
    transport->Perform(book);
    if (!book.done()) transport->Wait(5);
    // A dead connection is asked once more, and finds nobody who answers.
    if (listener.HasConnection()) ::close(listener.Accept());
  }
  ::close(connection);
  const Outcome& outcome = book.outcome();
  Require(outcome.sequence == 7, "it is the outcome of what was sent");
  Require(outcome.answer.size() <= kAnswerTold, "little is kept");
  Require(IsOneLine(outcome.reason) && outcome.reason.size() < 512, "a reason fits a log");
  Require(outcome.status == 0 || (outcome.status >= 200 && outcome.status <= 999),
          "a final status");
  if (outcome.kind == OutcomeClass::kDelivered) {
    const std::string said = " " + std::to_string(outcome.status);
    const auto is_status_line = [&](std::string_view version) {
      return sent.find(std::string("HTTP/").append(version) + said) != std::string::npos;
    };
    Require(is_status_line("1.0") || is_status_line("1.1") || is_status_line("2") ||
                is_status_line("2.0"),
            "only a status delivers");
  }
  return 0;
}
