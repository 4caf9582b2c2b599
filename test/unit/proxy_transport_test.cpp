// What a proxy gets to see of a request, and what is said when it refuses.
#include <fstream>

#include "support/http_server.hpp"
#include "support/spool.hpp"
#include "support/tls_server.hpp"
#include "support/transport_fixture.hpp"

namespace offline_post {

namespace {

using test::Has;
using test::HttpReply;
using test::HttpRequest;
using test::HttpServer;
using test::TransportFixture;

// "http://user:pass@" or nothing, then the server's address.
std::string At(const HttpServer& server, const std::string& credentials = "") {
  const std::string url = server.url();
  return "http://" + credentials + url.substr(7, url.find('/', 7) - 7);
}

}  // namespace

TEST_CASE("without TLS a proxy is told everything, with its own credentials beside ours") {
  HttpServer proxy([](const HttpRequest&) { return test::Status(202); });
  TransportFixture f;
  f.EndpointOf("http://backend.example:81/push", {}, At(proxy, "user:p%40ss@"));
  CHECK(f.Post("http://backend.example:81/push").status == 202);
  const std::string head = proxy.requests().front().head;
  CHECK(head.find("POST http://backend.example:81/push HTTP/1.1\r\n") == 0);
  CHECK(Has(head, "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"));
  CHECK(Has(head, "webhook-id: msg_1\r\n"));
}

TEST_CASE("a tunnel's proxy sees the host and its own credentials, nothing of ours") {
  HttpServer proxy([](const HttpRequest&) {
    return test::Status(503, "Retry-After: 100\r\nX-Proxy: words of a proxy\r\n");
  });
  TransportFixture f;
  f.EndpointOf("https://backend.example/secret-path?key=secret", {}, At(proxy, "user:pass@"));
  const Outcome outcome = f.Post("https://backend.example/secret-path?key=secret");
  REQUIRE(proxy.requests().size() == 1);
  const std::string head = proxy.requests().front().head;
  INFO(head);
  CHECK(head.find("CONNECT backend.example:443 HTTP/1.1\r\n") == 0);
  CHECK(Has(head, "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"));
  for (const char* ours : {"webhook-id", "Content-Type", "secret", "Expect"})
    CHECK_FALSE(Has(head, ours));
  CHECK(proxy.requests().front().body.empty());
  CHECK(outcome.kind == OutcomeClass::kTrouble);
  CHECK(outcome.status == 0);  // not the backend's
  CHECK_FALSE(outcome.retry_after_ms.has_value());
  CHECK(outcome.reason == "the proxy " + At(proxy) + " refuses to connect us (HTTP 503)");
}

TEST_CASE("a proxy that wants other credentials, or is not there, is named without them") {
  HttpServer proxy([](const HttpRequest&) {
    return test::Status(407, "Proxy-Authenticate: Basic realm=\"x\"\r\n");
  });
  const std::string dead = test::DeadUrl();
  const std::string dead_proxy = "http://" + dead.substr(7, dead.find('/', 7) - 7);
  for (const std::string scheme : {"http", "https"}) {
    struct Row {
      std::string proxy;
      std::string said;
    };
    for (const Row& row : std::vector<Row>{
             {At(proxy, "user:s3cret@"),
              "the proxy " + At(proxy) + " does not take these credentials (HTTP 407)"},
             {At(proxy), "the proxy " + At(proxy) + " wants credentials (HTTP 407)"},
             {"http://user:s3cret@" + dead_proxy.substr(7), "the proxy " + dead_proxy + ": "},
             {"http://user:s3cret@no-such-proxy.invalid:3128",
              "the proxy http://no-such-proxy.invalid:3128: "}}) {
      TransportFixture f;
      const std::string url = scheme + "://backend.example/push";
      f.EndpointOf(url, {}, row.proxy);
      const Outcome outcome = f.Post(url);
      INFO(outcome.reason);
      CHECK(outcome.kind == OutcomeClass::kTrouble);
      CHECK(outcome.reason.find(row.said) == 0);
      CHECK_FALSE(Has(outcome.reason, "s3cret"));
      CHECK_FALSE(Has(outcome.reason, "user"));
    }
  }
}

TEST_CASE("a proxy's certificate is verified as a server's is") {
  TransportFixture f;
  const test::Authority authority;
  test::TlsServerOptions options;
  options.identity = authority.Issue("localhost", -7'200, -3'600);
  const test::TlsServer proxy(options, test::Http1("HTTP/1.1 200 OK\r\n\r\n"));
  const test::TemporaryDirectory directory;
  TlsFiles files;
  files.ca_file = directory.path + "/ca.pem";
  std::ofstream(files.ca_file) << authority.certificate();
  const std::string address = proxy.url().substr(0, proxy.url().rfind('/'));
  for (const std::string scheme : {"http", "https"}) {
    const std::string url = scheme + "://backend.example/push";
    f.EndpointOf(url, files, address);
    const Outcome outcome = f.Post(url);
    INFO(outcome.reason);
    CHECK(outcome.kind == OutcomeClass::kTrouble);
    CHECK(outcome.reason.find("the proxy " + address + ": ") == 0);
    CHECK(Has(outcome.reason, "certificate of localhost, valid until 20"));
  }
  CHECK(proxy.connections() == 0);
}

}  // namespace offline_post
