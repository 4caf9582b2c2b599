// What a hostile or broken receiver may answer: each becomes one outcome in time, reads no more
// than the limits say, is never decompressed, and leaves the next request alone.
#include <zlib.h>

#include "http/transfer.hpp"
#include "support/http_server.hpp"
#include "support/transport_fixture.hpp"

namespace offline_post {

namespace {

using test::HttpReply;
using test::HttpRequest;
using test::HttpServer;
using test::TransportFixture;
using Then = HttpReply::Then;

HttpServer::Handler Always(HttpReply reply) {
  return [reply](const HttpRequest&) { return reply; };
}

// The first request meets the attack, the next one an honest answer.
struct Attack {
  explicit Attack(HttpReply reply)
      : server([this, reply = std::move(reply)](const HttpRequest&) {
          return ++requests == 1 ? reply : test::Status(204);
        }) {
    fixture.EndpointOf(server.url())->timeout_ms = 700;
    const Millis start = fixture.clock.MonotonicMs();
    outcome = fixture.Post(server.url());
    CHECK(fixture.clock.MonotonicMs() - start < 5'000);
    CHECK_FALSE(outcome.reason.empty());
    CHECK(outcome.reason.size() < 700);
    CHECK(outcome.answer.size() <= kAnswerTold);
    for (const char c : outcome.reason) CHECK((c >= ' ' && c <= '~'));
    CHECK(fixture.Post(server.url()).status == 204);
  }
  std::atomic<int> requests{0};
  TransportFixture fixture;
  Outcome outcome;
  HttpServer server;
};

std::string Head(const std::string& more, int status = 200) {
  return "HTTP/1.1 " + std::to_string(status) + " Reason\r\n" + more + "\r\n";
}

std::string Gzipped(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

TEST_CASE("endless headers, also as one line, as 1xx or as trailers, end at the limit") {
  for (const auto& [bytes, more] : std::vector<std::pair<std::string, std::string>>{
           {"HTTP/1.1 200 OK\r\n", "X-Filler: 0123456789\r\n"},
           {"HTTP/1.1 200 OK\r\nX-Filler: ", "0"},
           {"HTTP/1.1 ", "0"},
           {"", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"},
           {"", "HTTP/1.1 100 Continue\r\n\r\n"},
           {Head("Transfer-Encoding: chunked\r\n") + "0\r\n", "X-Trailer: 0123456789\r\n"}}) {
    INFO(bytes << "..." << more);
    const Attack attack({bytes, Then::kEndless, more});
    CHECK(attack.outcome.kind == OutcomeClass::kTrouble);
    CHECK(attack.outcome.status == 0);
  }
}

TEST_CASE("an endless body is as good as its status") {
  for (const char* head : {"", "Content-Length: 9000000000000000000\r\n"}) {
    INFO(head);
    CHECK(Attack({Head(head), Then::kEndless}).outcome.kind == OutcomeClass::kDelivered);
    CHECK(Attack({Head(head, 422), Then::kEndless}).outcome.kind == OutcomeClass::kRefused);
  }
  const std::string chunk = "4000\r\n" + std::string(0x4000, 'x') + "\r\n";
  CHECK(Attack({Head("Transfer-Encoding: chunked\r\n"), Then::kEndless, chunk}).outcome.kind ==
        OutcomeClass::kDelivered);
}

TEST_CASE("a slow answer, in its head or in its body, takes no longer than the timeout") {
  for (const std::string& bytes : {std::string(), std::string("HTTP/1.1 200 OK\r\nX-Slow: "),
                                   Head("Content-Length: 1000000\r\n"), Head("")}) {
    INFO(bytes);
    const Attack attack({bytes, Then::kTrickle, "abc"});
    CHECK(attack.outcome.kind == OutcomeClass::kTrouble);
    CHECK(attack.outcome.status == 0);
  }
}

TEST_CASE("a compression bomb stays what it is") {
  const std::string bomb = Gzipped(std::string(50'000'000, '\0'));
  for (const char* encoding : {"gzip", "deflate", "br", "gzip, gzip"}) {
    INFO(encoding);
    const Attack attack({Head("Content-Encoding: " + std::string(encoding) +
                              "\r\nContent-Length: " + std::to_string(bomb.size()) + "\r\n") +
                         bomb});
    CHECK(attack.outcome.kind == OutcomeClass::kDelivered);
    CHECK(attack.outcome.answer == bomb.substr(0, kAnswerTold));
  }
  for (const char* encoding : {"gzip", "gzip, chunked", "GZIP", "chunked, gzip"}) {
    INFO(encoding);
    const Attack attack(
        {Head("Transfer-Encoding: " + std::string(encoding) + "\r\n") + bomb, Then::kClose});
    CHECK(attack.outcome.kind == OutcomeClass::kTrouble);
    CHECK(attack.outcome.reason.find("Transfer-Encoding") != std::string::npos);
  }
}

TEST_CASE("what is no HTTP answer is trouble") {
  for (const std::string& bytes :
       {std::string("hello, this is HTTP/0.9\n"), std::string("\0\0\0\0", 4),
        std::string("HTTP/9.9 200 OK\r\n\r\n"), std::string("HTTP/1.1 2000 OK\r\n\r\n"),
        std::string("HTTP/1.1 99 Low\r\n\r\n"), std::string("HTTP/1.1 OK\r\n\r\n"),
        std::string("ICY 200 OK\r\n\r\n"), std::string("RTSP/1.0 200 OK\r\n\r\n"),
        std::string("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
        std::string("\x16\x03\x01 TLS?", 8)}) {
    INFO(bytes);
    CHECK(Attack({bytes, Then::kClose}).outcome.kind == OutcomeClass::kTrouble);
  }
}

TEST_CASE("NUL and other controls, in a header or a body, stay data") {
  const std::string nul("\0", 1);
  CHECK(
      Attack({Head("X-Nul: a" + nul + "b\r\nContent-Length: 0\r\n"), Then::kClose}).outcome.kind ==
      OutcomeClass::kTrouble);
  const std::string body = "a" + nul + "\x1b[31m\r\nb";
  const Attack attack(
      {Head("Content-Length: " + std::to_string(body.size()) + "\r\n", 400) + body});
  CHECK(attack.outcome.kind == OutcomeClass::kRefused);
  CHECK(attack.outcome.reason == "HTTP 400");
  CHECK(attack.outcome.answer == body);
  // The reason phrase is the receiver's, and comes into no log.
  CHECK(Attack({"HTTP/1.1 500 \x1b[31m" + nul + "red\r\nContent-Length: 0\r\n\r\n", Then::kClose})
            .outcome.kind == OutcomeClass::kTrouble);
}

TEST_CASE("lengths that contradict themselves or each other are trouble") {
  for (const char* head :
       {"Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: 2, 3\r\n",
        "Content-Length: -1\r\n", "Content-Length: 0x2\r\n", "Content-Length: +2\r\n",
        "Content-Length: 99999999999999999999999\r\n", "Content-Length: \r\n",
        "Content-Length: two\r\n", "content-length: 2\r\nCONTENT-LENGTH: 4\r\n"}) {
    INFO(head);
    CHECK(Attack({Head(head) + "ok", Then::kClose}).outcome.kind == OutcomeClass::kTrouble);
  }
  CHECK(Attack({Head("Content-Length: 2\r\nContent-Length: 2\r\n") + "ok"}).outcome.kind ==
        OutcomeClass::kDelivered);
}

TEST_CASE("broken chunks are trouble") {
  for (const char* body : {"zz\r\nok\r\n0\r\n\r\n", "-1\r\nok\r\n", "ffffffffffffffffffff\r\nok",
                           "2\r\nokay\r\n0\r\n\r\n", "2;", "2\r\nok", "2\r\nok\r\n", "\r\n\r\n",
                           "2\r\nok\r\n0\r\n", ""}) {
    INFO(body);
    const Attack attack({Head("Transfer-Encoding: chunked\r\n") + body, Then::kClose});
    CHECK(attack.outcome.kind == OutcomeClass::kTrouble);
  }
}

TEST_CASE("a connection closed at any byte of an answer is trouble, and the whole answer is none") {
  for (const std::string& answer :
       {Head("Content-Length: 2\r\nX-More: y\r\n") + "ok",
        "HTTP/1.1 100 Continue\r\n\r\n" + Head("Content-Length: 2\r\n") + "ok",
        Head("Transfer-Encoding: chunked\r\n") + "2\r\nok\r\n0\r\n\r\n"}) {
    for (const Then then : {Then::kClose, Then::kReset}) {
      std::atomic<std::size_t> size{0};
      HttpServer server([&](const HttpRequest&) {
        return HttpReply{answer.substr(0, size), then};
      });
      TransportFixture f;
      // libcurl does not miss the very last line feed of what comes in chunks.
      const std::size_t whole = answer.size() - (answer.ends_with("0\r\n\r\n") ? 1 : 0);
      for (size = 0; size < whole; ++size) {
        INFO(answer.substr(0, size));
        CHECK(f.Post(server.url()).kind == OutcomeClass::kTrouble);
      }
      size = answer.size();
      // A reset may overtake it.
      if (then == Then::kClose) CHECK(f.Post(server.url()).kind == OutcomeClass::kDelivered);
    }
  }
}

TEST_CASE("what follows an answer unasked is not the next request's") {
  HttpServer server(
      Always({Head("Content-Length: 2\r\n") + "ok" + Head("Content-Length: 3\r\n", 410) + "no!"}));
  TransportFixture f;
  for (int i = 0; i < 5; ++i) CHECK(f.Post(server.url()).kind == OutcomeClass::kDelivered);
}

}  // namespace offline_post
