#include <atomic>
#include <map>
#include <mutex>

#include "support/http_server.hpp"
#include "support/transport_fixture.hpp"

namespace offline_post {

namespace {

using test::HttpReply;
using test::HttpRequest;
using test::HttpServer;

using test::TransportFixture;

HttpServer::Handler Always(HttpReply reply) {
  return [reply](const HttpRequest&) { return reply; };
}

}  // namespace

TEST_CASE("a POST arrives as it was built") {
  HttpServer server(Always(test::Status(200)));
  TransportFixture f;
  const Outcome outcome = f.Post(server.url(), "to=juliet&body=hi");
  CHECK(outcome.kind == OutcomeClass::kDelivered);
  CHECK(outcome.status == 200);
  const std::vector<HttpRequest> requests = server.requests();
  REQUIRE(requests.size() == 1);
  CHECK(requests[0].head.find("POST /push HTTP/1.1\r\n") == 0);
  CHECK(requests[0].head.find("webhook-id: msg_1\r\n") != std::string::npos);
  CHECK(requests[0].head.find("Content-Type: application/x-www-form-urlencoded\r\n") !=
        std::string::npos);
  CHECK(requests[0].head.find("Expect") == std::string::npos);
  CHECK(requests[0].body == "to=juliet&body=hi");
}

TEST_CASE("a request may have a URL of its own, and the next one has none") {
  HttpServer server(Always(test::Status(200)));
  TransportFixture f;
  const std::string own = server.url() + "/juliet?host=a%26b";
  for (const std::string& url : {std::string(), own, own, std::string()}) {
    CHECK(f.Post(server.url(), "x", url).kind == OutcomeClass::kDelivered);
    const std::string path = url.empty() ? "/push" : "/push/juliet?host=a%26b";
    CHECK(server.requests().back().head.find("POST " + path + " HTTP/1.1\r\n") == 0);
  }
  CHECK(server.connections() == 1);
}

TEST_CASE("a request that cannot be sent is trouble that says why, and costs no connection") {
  HttpServer server(Always(test::Status(200)));
  TransportFixture f;
  for (const char* fault : {"", "it cannot be signed now", ""}) {
    Request request;
    request.id = f.next_id++;
    request.fault = fault;
    request.endpoint = f.EndpointOf(server.url());
    request.body = "to=juliet";
    request.deliveries = {request.id};
    const RequestId id = request.id;
    f.transport.Send(std::move(request));
    f.Run(f.listener.done.size() + 1);
    const Outcome& outcome = f.listener.done.at(id);
    const bool sent = *fault == '\0';
    CHECK(outcome.kind == (sent ? OutcomeClass::kDelivered : OutcomeClass::kTrouble));
    CHECK(outcome.reason == (sent ? "HTTP 200" : fault));
  }
  CHECK(server.requests().size() == 2);
}

TEST_CASE("a large body arrives whole") {
  HttpServer server(Always(test::Status(200)));
  TransportFixture f;
  std::string body(3'000'000, 'x');
  body.back() = 'y';
  CHECK(f.Post(server.url(), body).kind == OutcomeClass::kDelivered);
  CHECK(server.requests().front().body == body);
}

TEST_CASE("one connection serves many requests") {
  HttpServer server(Always(test::Status(204)));
  TransportFixture f;
  for (int i = 0; i < 20; ++i) CHECK(f.Post(server.url()).kind == OutcomeClass::kDelivered);
  CHECK(server.connections() == 1);
}

TEST_CASE("what a backend does wrong is a classified outcome") {
  struct Row {
    const char* what;
    HttpReply reply;
    OutcomeClass kind;
    int status;
  };
  using Then = HttpReply::Then;
  const std::vector<Row> rows = {
      {"refuses the message", test::Status(400), OutcomeClass::kRefused, 400},
      {"is gone", test::Status(410), OutcomeClass::kGone, 410},
      {"redirects", test::Status(302, "Location: http://127.0.0.1:1/\r\n"),
       OutcomeClass::kMisconfigured, 302},
      {"is overloaded", test::Status(503, "Retry-After: 7\r\n"), OutcomeClass::kTrouble, 503},
      {"closes without a word", {"", Then::kClose}, OutcomeClass::kTrouble, 0},
      {"resets", {"", Then::kReset}, OutcomeClass::kTrouble, 0},
      {"is silent", {"", Then::kHang}, OutcomeClass::kTrouble, 0},
      {"answers garbage",
       {"\x01\x02 not HTTP \xff\r\n\r\n", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"has a status line with a version that is none",
       {"HTTP/x 503 No\r\nContent-Length: 0\r\n\r\n", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"has a status line with no version and no status",
       {"HTTP/\r\nContent-Length: 0\r\n\r\n", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"has a status line with its name in small letters",
       {"http/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"has a status line with a status of two digits",
       {"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"answers HTTP/0.9", {"hello", Then::kClose}, OutcomeClass::kTrouble, 0},
      {"stops within the headers",
       {"HTTP/1.1 200 OK\r\nContent-", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"stops within the body",
       {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"stops after 100 Continue",
       {"HTTP/1.1 100 Continue\r\n\r\n", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"sends headers for ever",
       {"HTTP/1.1 200 OK\r\n" + std::string(2'000'000, 'h'), Then::kHang},
       OutcomeClass::kTrouble,
       0},
      {"says 100 Continue first",
       {"HTTP/1.1 100 Continue\r\n\r\n" + test::Status(202).bytes, Then::kKeep},
       OutcomeClass::kDelivered,
       202},
      {"answers in chunks with a trailer",
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        Then::kKeep},
       OutcomeClass::kDelivered,
       200},
      {"stops within a chunk",
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", Then::kClose},
       OutcomeClass::kTrouble,
       0},
      {"sends a body for ever",
       {"HTTP/1.1 200 OK\r\n\r\n", Then::kEndless},
       OutcomeClass::kDelivered,
       200},
      {"fails with a body for ever",
       {"HTTP/1.1 500 No\r\nContent-Length: 100000000\r\n\r\n", Then::kEndless},
       OutcomeClass::kTrouble,
       500},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    HttpServer server(Always(row.reply));
    TransportFixture f;
    const Outcome outcome = f.Post(server.url());
    CHECK(outcome.kind == row.kind);
    CHECK(outcome.status == row.status);
    CHECK_FALSE(outcome.reason.empty());
    CHECK(outcome.answer.size() <= kAnswerTold);
  }
}

// libcurl before 8.1 writes to memory that it has given back, if a handle is used again.
TEST_CASE("an answer whose first header is a folded line does no harm") {
  const std::string good =
      "HTTP/1.1 200 OK\r\nX-Long: 0123456789012345678901234567890123456789\r\n"
      "Content-Length: 0\r\n\r\n";
  for (const std::string& head :
       {std::string("HTTP/1.1 200 OK\r\n"), std::string("HTTP/1.1 103 Early Hints\r\n"),
        std::string("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")}) {
    for (const char* folded : {"\tX-Folded: 1\r\n\tX-Too: 2\r\n", " X-Folded: 1\r\n", " : \r\n"}) {
      INFO(head << folded);
      std::atomic<int> count{0};
      // Of one connection, and of one handle: the third answer is plain too.
      HttpServer server([&](const HttpRequest&) {
        const bool bad = ++count % 4 == 0;
        return HttpReply{bad ? head + folded + "Content-Length: 0\r\n\r\n" : good};
      });
      TransportFixture f;
      for (int i = 1; i <= 20; ++i) {
        const bool bad = i % 4 == 0;
        CHECK(f.Post(server.url()).kind ==
              (bad ? OutcomeClass::kTrouble : OutcomeClass::kDelivered));
      }
      CHECK(server.connections() == 5);
    }
  }
}

TEST_CASE("of an answer the body alone is kept, whatever its head is like") {
  for (const std::string& head :
       {std::string("HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\n"),
        std::string("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                    "HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\n"),
        std::string("HTTP/1.1 400 No\r\nX-Folded: 1\r\n 2\r\nContent-Length: 4\r\n\r\n"),
        "HTTP/1.1 400 No\r\nX-Long: " + std::string(40'000, ' ') +
            "\r\nContent-Length: 4\r\n\r\n"}) {
    INFO(head.substr(0, 100));
    HttpServer server(Always({head + " Why"}));
    TransportFixture f;
    for (int i = 0; i < 4; ++i) {
      const Outcome outcome = f.Post(server.url());
      CHECK(outcome.status == 400);
      CHECK(outcome.answer == " Why");
    }
    CHECK(server.connections() == 1);
  }
}

TEST_CASE("Retry-After comes with its outcome") {
  HttpServer server(Always(test::Status(429, "Retry-After: 7\r\n")));
  TransportFixture f;
  CHECK(f.Post(server.url()).retry_after_ms == 7'000);
}

TEST_CASE("a backend that is not there is trouble with a reason") {
  TransportFixture f;
  const Outcome refused = f.Post(test::DeadUrl());
  CHECK(refused.kind == OutcomeClass::kTrouble);
  CHECK(refused.reason.find("connect") != std::string::npos);
  const Outcome unknown = f.Post("http://no-such-host.invalid/");
  CHECK(unknown.kind == OutcomeClass::kTrouble);
  CHECK(unknown.reason.find("no-such-host.invalid") != std::string::npos);
}

TEST_CASE("a backend that closes idle connections gets every request all the same") {
  HttpServer server([](const HttpRequest&) {
    return HttpReply{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HttpReply::Then::kClose};
  });
  TransportFixture f;
  // More than five: libcurl 7.88 would refuse a handle that is not reset after the fifth dead
  // connection.
  for (int i = 0; i < 12; ++i) CHECK(f.Post(server.url()).kind == OutcomeClass::kDelivered);
}

TEST_CASE("an idle connection that the server closes keeps nobody awake") {
  HttpServer server([](const HttpRequest&) {
    return HttpReply{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HttpReply::Then::kClose};
  });
  TransportFixture f;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(f.Post(server.url()).kind == OutcomeClass::kDelivered);
    int turns = 0;
    const Millis until = f.clock.MonotonicMs() + 100;
    for (; f.clock.MonotonicMs() < until; ++turns) {
      CHECK_FALSE(f.transport.Perform(f.listener));
      f.transport.Wait(50);
    }
    CHECK(turns < 10);  // a socket that stays ready would make thousands
  }
}

TEST_CASE("a kept connection that dies under a request costs nothing but the connection") {
  // The second request of each connection is reset without an answer.
  std::mutex mutex;
  std::map<int, int> seen;
  HttpServer server([&](const HttpRequest& request) {
    const std::lock_guard lock(mutex);
    return ++seen[request.connection] == 2 ? HttpReply{"", HttpReply::Then::kReset}
                                           : test::Status(200);
  });
  TransportFixture f;
  for (int i = 0; i < 30; ++i) {
    INFO(i);
    CHECK(f.Post(server.url()).kind == OutcomeClass::kDelivered);
  }
  CHECK(server.connections() > 10);
}

TEST_CASE("a handle forgets the request before") {
  HttpServer server([](const HttpRequest& request) {
    return request.body == "bad" ? HttpReply{"HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\nno!"}
                                 : test::Status(200);
  });
  TransportFixture f;
  const std::string large(200'000, 'x');
  for (const std::string& body :
       {large, std::string("small"), std::string("bad"), std::string(""), large}) {
    const Outcome outcome = f.Post(server.url(), body);
    CHECK(outcome.kind == (body == "bad" ? OutcomeClass::kRefused : OutcomeClass::kDelivered));
    CHECK(outcome.answer == (body == "bad" ? "no!" : ""));
    CHECK(server.requests().back().body == body);
  }
}

TEST_CASE("a cancelled request reports nothing") {
  HttpServer server(Always({"", HttpReply::Then::kHang}));
  TransportFixture f;
  const RequestId id = f.Send(server.url());
  f.transport.Perform(f.listener);
  f.transport.Cancel(id);
  CHECK(f.transport.in_flight() == 0);
  f.Post(test::DeadUrl());
  CHECK(f.listener.done.count(id) == 0);
}

TEST_CASE("closing with requests in flight, and opening again") {
  HttpServer server(Always({"", HttpReply::Then::kHang}));
  HttpServer good(Always(test::Status(200)));
  TransportFixture f;
  for (int i = 0; i < 8; ++i) f.Send(server.url());
  f.transport.Perform(f.listener);
  f.transport.Close();
  REQUIRE_FALSE(f.transport.Open().has_value());
  CHECK(f.Post(good.url()).kind == OutcomeClass::kDelivered);
  CHECK(f.listener.done.size() == 1);
}

}  // namespace offline_post
