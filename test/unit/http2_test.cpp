// HTTP/2 as servers that no one else has would speak it: streams that are reset or refused, GOAWAY,
// limits, answers that come early.
#include <atomic>
#include <fstream>
#include <mutex>
#include <set>

#include "support/http2_server.hpp"
#include "support/spool.hpp"
#include "support/transport_fixture.hpp"

namespace offline_post {

namespace {

using test::Frame;
using test::FrameType;
using test::Http2;
using test::Http2Answer;
using test::Http2GoAway;
using test::Http2Head;
using test::Http2Reset;

constexpr std::uint32_t kNoError = 0;
constexpr std::uint32_t kInternal = 2;
constexpr std::uint32_t kRefusedStream = 7;

struct Http2Fixture : test::TransportFixture {
  explicit Http2Fixture(const Http2Answer& answer, bool at_head = false,
                        const std::string& settings = "")
      : Http2Fixture(Http2(answer, at_head, settings)) {}
  explicit Http2Fixture(test::TlsServer::Handler handler)
      : server(Options(authority), std::move(handler)) {
    const std::string path = directory.path + "/ca.pem";
    std::ofstream(path) << authority.certificate();
    TlsFiles files;
    files.ca_file = path;
    Endpoint& endpoint = *EndpointOf(server.url(), files, "", HttpVersion::k2);
    // However long it takes: what hangs is TransportFixture::Run's to find.
    endpoint.timeout_ms = endpoint.connect_timeout_ms = 60'000;
  }
  static test::TlsServerOptions Options(const test::Authority& authority) {
    test::TlsServerOptions options;
    options.identity = authority.Issue("localhost");
    options.protocol = "h2";
    return options;
  }
  Outcome Post(const std::string& body = "to=juliet") {
    return TransportFixture::Post(server.url(), body);
  }
  std::size_t Delivered() const {
    std::size_t count = 0;
    for (const auto& [id, outcome] : listener.done)
      count += outcome.kind == OutcomeClass::kDelivered ? 1 : 0;
    return count;
  }

  test::TemporaryDirectory directory;
  test::Authority authority;
  test::TlsServer server;
};

std::string Data(std::uint32_t stream, const std::string& bytes, bool end) {
  return Frame(FrameType::kData, end ? test::kEndStream : 0, stream, bytes);
}

}  // namespace

TEST_CASE("many requests share one HTTP/2 connection") {
  Http2Fixture f([](int, std::uint32_t stream) { return Http2Head(stream, 204, {}, true); });
  for (int i = 0; i < 60; ++i) f.Send(f.server.url());
  f.Run(60);
  CHECK(f.Delivered() == 60);
  CHECK(f.server.connections() == 1);
  CHECK(f.notices.empty());
}

TEST_CASE("an HTTP/2 answer counts when it is whole") {
  struct Row {
    const char* what;
    std::function<std::string(std::uint32_t)> answer;
    OutcomeClass kind;
  };
  const std::vector<Row> rows = {
      {"whole",
       [](auto s) {
         return Http2Head(s, 200, {{"content-length", "2"}}, false) + Data(s, "ok", true);
       },
       OutcomeClass::kDelivered},
      {"reset within the body without an error",
       [](auto s) {
         return Http2Head(s, 200, {{"content-length", "9"}}, false) + Data(s, "half", false) +
                Http2Reset(s, kNoError);
       },
       OutcomeClass::kTrouble},
      {"reset within the body",
       [](auto s) {
         return Http2Head(s, 200, {{"content-length", "9"}}, false) + Data(s, "half", false) +
                Http2Reset(s, kInternal);
       },
       OutcomeClass::kTrouble},
      {"reset after the head, of unknown length",
       [](auto s) { return Http2Head(s, 200, {}, false) + Http2Reset(s, kInternal); },
       OutcomeClass::kTrouble},
      {"reset instead of an answer", [](auto s) { return Http2Reset(s, kInternal); },
       OutcomeClass::kTrouble},
      {"reset instead of an answer, without an error",
       [](auto s) { return Http2Reset(s, kNoError); }, OutcomeClass::kTrouble},
      {"refused for ever", [](auto s) { return Http2Reset(s, kRefusedStream); },
       OutcomeClass::kTrouble},
      {"shorter than it says",
       [](auto s) {
         return Http2Head(s, 200, {{"content-length", "9"}}, false) + Data(s, "half", true);
       },
       OutcomeClass::kTrouble},
      {"nothing but 103",
       [](auto s) { return Http2Head(s, 103, {}, false) + Http2Reset(s, kNoError); },
       OutcomeClass::kTrouble},
      {"103 and then whole",
       [](auto s) { return Http2Head(s, 103, {}, false) + Http2Head(s, 202, {}, true); },
       OutcomeClass::kDelivered},
      {"no frame at all", [](auto) { return std::string("\0\0\0 garbage, and more of it", 25); },
       OutcomeClass::kTrouble},
      {"a header with a line break",
       [](auto s) {
         return Http2Head(s, 200, {{"x", "a\r\nb: c"}}, true);
       },
       OutcomeClass::kTrouble},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Http2Fixture f([&row](int, std::uint32_t stream) { return row.answer(stream); });
    const Outcome outcome = f.Post();
    INFO(outcome.reason);
    CHECK(outcome.kind == row.kind);
  }
}

TEST_CASE("an HTTP/2 answer that comes before the body was read is an answer") {
  for (const int status : {200, 413, 401}) {
    Http2Fixture f(
        [status](int, std::uint32_t stream) {
          return Http2Head(stream, status, {{"content-length", "0"}}, true) +
                 Http2Reset(stream, kNoError);
        },
        true);
    for (const std::size_t size : {std::size_t{10}, std::size_t{60'000}, std::size_t{1'000'000}}) {
      INFO(status << " to " << size);
      const Outcome outcome = f.Post(std::string(size, 'x'));
      INFO(outcome.reason);
      // libcurl 7.88 may lose it if it comes before any of the body has left; then it is asked for
      // again.
      if (outcome.kind != OutcomeClass::kTrouble) CHECK(outcome.status == status);
      CHECK(outcome.reason.find("timed out") == std::string::npos);
    }
  }
}

TEST_CASE("what GOAWAY leaves out is sent on another connection, and nothing is sent twice") {
  // Each connection serves five requests and says so with the fifth.
  std::mutex mutex;
  std::map<int, int> served;
  Http2Fixture f([&](int connection, std::uint32_t stream) {
    const std::lock_guard lock(mutex);
    const int count = ++served[connection];
    if (count > 5) return std::string();
    return Http2Head(stream, 200, {}, true) + (count == 5 ? Http2GoAway(stream) : "");
  });
  for (int round = 1; round <= 10; ++round) {
    for (int i = 0; i < 20; ++i) f.Send(f.server.url());
    f.Run(20 * static_cast<std::size_t>(round));
  }
  CHECK(f.Delivered() == 200);
  CHECK(f.server.connections() >= 40);
}

// An easy handle of libcurl before 8.1 that has had an answer must not have one in HTTP/1.
TEST_CASE("a server may go from HTTP/2 to HTTP/1.1 and back") {
  const auto http1 =
      test::Http1("HTTP/1.1 202 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  std::atomic<int> answered{0};
  const auto http2 = Http2([&answered](int, std::uint32_t stream) {
    return Http2Head(stream, 200, {{"x-long", std::string(60, 'x')}}, true) +
           (++answered % 3 == 0 ? Http2GoAway(stream) : "");
  });
  Http2Fixture f([&](test::TlsConnection& connection) {
    connection.protocol() == "h2" ? http2(connection) : http1(connection);
  });
  for (int i = 0; i < 30; ++i) {
    const bool two = i % 3 != 0;
    f.server.Speak(two ? "h2" : "http/1.1");
    for (int j = 0; j < 3; ++j) f.Send(f.server.url());
    f.Run(3 * static_cast<std::size_t>(i + 1));
  }
  for (const auto& [id, outcome] : f.listener.done) {
    INFO(id << ": " << outcome.reason);
    CHECK(outcome.kind == OutcomeClass::kDelivered);
  }
}

TEST_CASE("a server's limit of streams is kept") {
  // SETTINGS_MAX_CONCURRENT_STREAMS = 2. The answers of two come when both are there.
  std::mutex mutex;
  std::map<int, std::vector<std::uint32_t>> open;
  std::size_t most = 0;
  Http2Fixture f(
      [&](int connection, std::uint32_t stream) {
        const std::lock_guard lock(mutex);
        std::vector<std::uint32_t>& streams = open[connection];
        streams.push_back(stream);
        most = std::max(most, streams.size());
        std::string out;
        for (const std::uint32_t each : std::exchange(streams, {}))
          out += Http2Head(each, 200, {}, true);
        return out;
      },
      false, test::Number(3, 2) + test::Number(2, 4));
  for (int i = 0; i < 100; ++i) f.Send(f.server.url());
  f.Run(100);
  CHECK(f.Delivered() == 100);
  CHECK(most <= 2);
}

}  // namespace offline_post
