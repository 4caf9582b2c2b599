// Authorities parsed once, sessions resumed, and what a reload makes new.
#include <atomic>
#include <fstream>

#include "http/authorities.hpp"
#include "support/http_server.hpp"
#include "support/spool.hpp"
#include "support/tls_server.hpp"
#include "support/transport_fixture.hpp"

namespace offline_post {

namespace {

using test::Authority;
using test::Certified;
using test::Has;
using test::Http1;
using test::TlsConnection;
using test::TlsServer;
using test::TlsServerOptions;
using test::TransportFixture;

constexpr const char* kClosing =
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

// Answers one request of each connection, then closes it.
TlsServer::Handler Once() {
  return [](TlsConnection& connection) {
    const std::string head = connection.ReadTo("\r\n\r\n");
    const std::size_t field = head.find("Content-Length: ");
    if (field == std::string::npos) return;
    connection.Read(std::stoul(head.substr(field + 16)));
    connection.Write(kClosing);
  };
}

struct AuthorityFixture : TransportFixture {
  test::TemporaryDirectory directory;
  Authority authority;
  Authority other{"another authority"};

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = directory.path + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  TlsFiles Trusting(const std::string& authorities) const {
    TlsFiles files;
    files.ca_file = Write("ca.pem", authorities);
    return files;
  }
  std::shared_ptr<Endpoint> To(const std::string& url, const TlsFiles& files) {
    endpoints.erase(url);
    std::shared_ptr<Endpoint> endpoint = EndpointOf(url, files);
    endpoint->timeout_ms = 20'000;
    endpoint->connect_timeout_ms = 20'000;
    return endpoint;
  }
  Outcome PostTo(const std::string& url, const TlsFiles& files) {
    To(url, files);
    return Post(url);
  }
};

// The system's authorities, for one test.
class SystemOf {
 public:
  explicit SystemOf(const std::string& file) { Authorities::SetSystem(file, "/nowhere"); }
  ~SystemOf() { Authorities::SetSystem("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs"); }
  SystemOf(const SystemOf&) = delete;
  SystemOf& operator=(const SystemOf&) = delete;
};

}  // namespace

TEST_CASE("equal files have one store, whatever their names, and a renewed one another") {
  AuthorityFixture f;
  const auto read = [&f](const std::string& name, const std::string& text) {
    return Authorities::FromFile("ca_file", f.Write(name, text)).value();
  };
  const std::string pem = f.authority.certificate();
  const Authorities::Shared first = read("a.pem", pem);
  CHECK(read("a.pem", pem) == first);
  CHECK(read("b.pem", pem) == first);
  const Authorities::Shared renewed = read("a.pem", pem + f.other.certificate());
  CHECK(renewed != first);
  CHECK(renewed->tag() != first->tag());
  CHECK(read("b.pem", pem) == first);
  CHECK(Authorities::System() == Authorities::System());
  CHECK(Authorities::WithSystem(first) == Authorities::WithSystem(first));
}

TEST_CASE("a bad certificate is refused by the system's authorities as by those of ca_file") {
  AuthorityFixture f;
  const SystemOf system(f.Write("system.pem", f.authority.certificate()));
  struct Row {
    Certified identity;
    bool accepted;
    const char* said;
  };
  const std::vector<Row> rows = {
      {f.authority.Issue("localhost"), true, ""},
      {f.authority.Issue("localhost", -7'200, -3'600), false, "expired"},
      {f.authority.Issue("localhost", 3'600, 7'200), false, "not yet valid"},
      {f.authority.Issue("elsewhere.example"), false, "localhost"},
      {f.other.Issue("localhost"), false, "unable to get local issuer certificate"},
  };
  for (const Row& row : rows) {
    INFO(row.said);
    const TlsServer server(test::WithIdentity(row.identity), Once());
    for (const TlsFiles& files : {TlsFiles(), f.Trusting(f.authority.certificate())}) {
      // Twice: nothing of a refused handshake is used again.
      for (int i = 0; i < 2; ++i) {
        const Outcome outcome = f.PostTo(server.url(), files);
        INFO(outcome.reason);
        CHECK(outcome.status == (row.accepted ? 200 : 0));
        CHECK(Has(outcome.reason, row.said));
      }
    }
  }
  // ca_file replaces the system's.
  const TlsServer server(test::WithIdentity(f.authority.Issue("localhost")), Once());
  CHECK(f.PostTo(server.url(), {}).status == 200);
  CHECK(f.PostTo(server.url(), f.Trusting(f.other.certificate())).status == 0);
  CHECK(f.PostTo(server.url(), {}).status == 200);
}

TEST_CASE("a proxy's certificate is verified by ca_file beside the system's, whatever tls_verify") {
  AuthorityFixture f;
  const SystemOf system(f.Write("system.pem", f.other.certificate()));
  TlsFiles files = f.Trusting(f.authority.certificate());
  const Authority stranger("a stranger");
  for (const bool verify : {true, false}) {
    files.verify = verify;
    for (const Authority* of : std::vector<const Authority*>{&f.authority, &f.other, &stranger}) {
      const TlsServer proxy(test::WithIdentity(of->Issue("localhost")), Once());
      const std::string url = "http://backend.example/push";
      f.endpoints.erase(url);
      f.EndpointOf(url, files, proxy.url().substr(0, proxy.url().rfind('/')))->timeout_ms = 20'000;
      f.endpoints[url]->connect_timeout_ms = 20'000;
      const Outcome outcome = f.Post(url);
      INFO(outcome.reason);
      CHECK(outcome.status == (of == &stranger ? 0 : 200));
    }
  }
}

TEST_CASE("TLS sessions are resumed, by the same identity alone") {
  AuthorityFixture f;
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    TlsServerOptions options = test::WithIdentity(f.authority.Issue("localhost"));
    options.highest_version = version;
    const TlsServer server(options, Once());
    const TlsFiles files = f.Trusting(f.authority.certificate());
    f.To(server.url(), files);
    for (int i = 0; i < 5; ++i) CHECK(f.Post(server.url()).status == 200);
    CHECK(server.connections() == 5);
    CHECK(server.resumed() == 4);
    // Who does not verify makes a session that nobody else resumes, and resumes no other's.
    TlsFiles blind;
    blind.verify = false;
    const int before = server.resumed();
    CHECK(f.PostTo(server.url(), blind).status == 200);
    CHECK(server.resumed() == before);
    CHECK(f.PostTo(server.url(), f.Trusting(f.other.certificate())).status == 0);
    CHECK(f.PostTo(server.url(), blind).status == 200);
    CHECK(f.PostTo(server.url(), f.Trusting(f.other.certificate())).status == 0);
    TlsFiles showing = files;
    const Certified ours = f.authority.Issue("ours");
    showing.client_cert = f.Write("cert.pem", ours.certificate);
    showing.client_key = f.Write("key.pem", ours.key);
    showing.ca_file = f.Write("ca2.pem", f.authority.certificate());
    const int now = server.resumed();
    CHECK(f.PostTo(server.url(), showing).status == 200);
    CHECK(server.resumed() == now);
  }
}

TEST_CASE("a server that refuses to resume what it has offered is not asked again") {
  AuthorityFixture f;
  TlsServerOptions options = test::WithIdentity(f.authority.Issue("localhost"));
  options.client_authority = f.authority.certificate();
  options.must_show = false;
  options.resumes = false;
  const TlsServer server(options, Once());
  f.To(server.url(), f.Trusting(f.authority.certificate()));
  int failed = 0;
  for (int i = 0; i < 6; ++i) failed += f.Post(server.url()).status == 200 ? 0 : 1;
  CHECK(failed <= 1);
}

TEST_CASE("a reload closes idle connections and makes new ones, with full handshakes") {
  AuthorityFixture f;
  std::atomic<int> open{0};
  const auto handler = [&open](TlsConnection& connection) {
    ++open;
    Http1("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(connection);
    --open;
  };
  const TlsServer server(test::WithIdentity(f.authority.Issue("localhost")), handler);
  f.To(server.url(), f.Trusting(f.authority.certificate()));
  for (int i = 0; i < 3; ++i) CHECK(f.Post(server.url()).status == 200);
  CHECK(server.connections() == 2);
  const int resumed = server.resumed();
  f.transport.Reconnect();
  while (open > 0) std::this_thread::yield();  // closed by us
  CHECK(f.Post(server.url()).status == 200);
  CHECK(server.connections() == 3);
  CHECK(server.resumed() == resumed);
  f.transport.Reconnect();
  f.transport.Reconnect();  // nothing to do
  CHECK(f.Post(server.url()).status == 200);
}

TEST_CASE("what is in flight while names are looked up anew is answered all the same") {
  test::HttpServer server([](const test::HttpRequest&) { return test::Status(200); });
  TransportFixture f;
  f.EndpointOf(server.url())->timeout_ms = 20'000;
  for (int i = 0; i < 8; ++i) {
    f.Send(server.url());
    f.transport.Perform(f.listener);
    f.transport.Reconnect();
  }
  f.Run(8);
  for (const auto& [id, outcome] : f.listener.done) CHECK(outcome.status == 200);
  CHECK(f.transport.in_flight() == 0);
}

TEST_CASE("many requests to an origin that nobody knows yet are all answered, or time out") {
  AuthorityFixture f;
  {
    const TlsServer server(test::WithIdentity(f.authority.Issue("localhost")), Once());
    f.To(server.url(), f.Trusting(f.authority.certificate()));
    for (int i = 0; i < 64; ++i) f.Send(server.url());
    f.Run(64);
    for (const auto& [id, outcome] : f.listener.done) CHECK(outcome.status == 200);
    CHECK(server.connections() == 64);
  }
  f.listener.done.clear();
  const std::string dead = "https" + test::DeadUrl().substr(4);
  f.To(dead, f.Trusting(f.authority.certificate()));
  for (int i = 0; i < 64; ++i) f.Send(dead);
  f.Run(64);
  for (const auto& [id, outcome] : f.listener.done) CHECK(outcome.status == 0);
}

TEST_CASE("a withdrawn scout leaves its place to the next") {
  AuthorityFixture f;
  const TlsServer server(test::WithIdentity(f.authority.Issue("localhost")), Once());
  f.To(server.url(), f.Trusting(f.authority.certificate()));
  const RequestId scout = f.Send(server.url());
  const RequestId waiting = f.Send(server.url());
  f.Send(server.url());
  f.transport.Perform(f.listener);
  f.transport.Cancel(scout);
  f.transport.Cancel(waiting);
  f.Run(1);
  CHECK(f.listener.done.begin()->second.status == 200);
}

}  // namespace offline_post
