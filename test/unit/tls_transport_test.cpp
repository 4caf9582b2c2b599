// TLS as the transport makes it: who is trusted, what it shows of us, and what is said when it
// fails.
#include <atomic>
#include <fstream>

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

constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

struct TlsFixture : TransportFixture {
  test::TemporaryDirectory directory;
  Authority authority;

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
  TlsFiles Showing(const Certified& certified) const {
    TlsFiles files = Trusting(authority.certificate());
    files.client_cert = Write("cert.pem", certified.certificate);
    files.client_key = Write("key.pem", certified.key);
    return files;
  }
  Outcome PostTo(const std::string& url, const TlsFiles& files) {
    endpoints.erase(url);
    EndpointOf(url, files)->timeout_ms = 5'000;
    endpoints[url]->connect_timeout_ms = 5'000;
    return Post(url);
  }
};

}  // namespace

TEST_CASE("a server of a known authority is spoken to, over TLS 1.2 at least") {
  TlsFixture f;
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    TlsServerOptions options = test::WithIdentity(f.authority.Issue("localhost"));
    options.highest_version = version;
    const TlsServer server(options, Http1(kOk));
    CHECK(f.PostTo(server.url(), f.Trusting(f.authority.certificate())).status == 200);
  }
  TlsServerOptions old = test::WithIdentity(f.authority.Issue("localhost"));
  old.highest_version = TLS1_1_VERSION;
  const TlsServer server(old, Http1(kOk));
  const Outcome outcome = f.PostTo(server.url(), f.Trusting(f.authority.certificate()));
  CHECK(outcome.kind == OutcomeClass::kTrouble);
  INFO(outcome.reason);
  CHECK(Has(outcome.reason, "protocol version"));
  CHECK(server.connections() == 0);
}

TEST_CASE("a certificate that is not accepted is named, with its date") {
  TlsFixture f;
  const Authority other("another authority");
  struct Row {
    Certified identity;
    std::string authorities;
    std::vector<std::string> said;
  };
  const std::vector<Row> rows = {
      {f.authority.Issue("localhost", -7'200, -3'600),
       f.authority.certificate(),
       {"certificate has expired", "certificate of localhost, valid until 20", " UTC"}},
      {f.authority.Issue("localhost", 3'600, 7'200),
       f.authority.certificate(),
       {"not yet valid", "certificate of localhost, valid from 20", " UTC"}},
      {f.authority.Issue("localhost"),
       other.certificate(),
       {"unable to get local issuer certificate", "certificate of localhost, valid until 20"}},
      {f.authority.Issue("elsewhere.example"),
       f.authority.certificate(),
       {"localhost", "certificate of elsewhere.example, valid until 20"}},
      {f.authority.Issue("evil\n2026 [error] \x1b[31m" + std::string(30, 'x'), -7'200, -3'600),
       f.authority.certificate(),
       {"certificate of evil?2026 [error] ?[31mxxx"}},
  };
  for (const Row& row : rows) {
    const TlsServer server(test::WithIdentity(row.identity), Http1(kOk));
    const Outcome outcome = f.PostTo(server.url(), f.Trusting(row.authorities));
    INFO(outcome.reason);
    CHECK(outcome.kind == OutcomeClass::kTrouble);
    CHECK(outcome.status == 0);
    for (const std::string& part : row.said) CHECK(Has(outcome.reason, part));
    CHECK(outcome.reason.size() <= 600);
    // Unless nobody wants to know.
    TlsFiles blind;
    blind.verify = false;
    CHECK(f.PostTo(server.url(), blind).status == 200);
    // And what was accepted blindly is not used by who wants to know.
    CHECK(f.PostTo(server.url(), f.Trusting(row.authorities)).status == 0);
  }
}

TEST_CASE("the system's authorities do not know ours, and ours are the only ones") {
  TlsFixture f;
  const TlsServer server(test::WithIdentity(f.authority.Issue("localhost")), Http1(kOk));
  CHECK(Has(f.PostTo(server.url(), {}).reason, "certificate"));
  CHECK(server.connections() == 0);
}

TEST_CASE("a client certificate is shown to who asks for it") {
  TlsFixture f;
  TlsServerOptions options = test::WithIdentity(f.authority.Issue("localhost"));
  options.client_authority = f.authority.certificate();
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    options.highest_version = version;
    std::string name;
    const TlsServer server(options, [&name](TlsConnection& connection) {
      name = connection.client_name();
      Http1(kOk)(connection);
    });
    CHECK(f.PostTo(server.url(), f.Showing(f.authority.Issue("ejabberd.example"))).status == 200);
    CHECK(name == "ejabberd.example");
    const std::string without =
        f.PostTo(server.url(), f.Trusting(f.authority.certificate())).reason;
    INFO(without);
    CHECK(Has(without, "the server wants a client certificate: set client_cert and client_key"));
    const std::string expired =
        f.PostTo(server.url(), f.Showing(f.authority.Issue("ejabberd.example", -7'200, -3'600)))
            .reason;
    INFO(expired);
    CHECK(Has(expired, "our client_cert has expired on 20"));
  }
}

TEST_CASE("a 400 for want of a certificate is not the message's fault") {
  TlsFixture f;
  TlsServerOptions options = test::WithIdentity(f.authority.Issue("localhost"));
  options.client_authority = f.authority.certificate();
  options.must_show = false;
  const TlsServer server(options, Http1("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"));
  const Outcome without = f.PostTo(server.url(), f.Trusting(f.authority.certificate()));
  CHECK(without.kind == OutcomeClass::kMisconfigured);
  CHECK(without.reason == "HTTP 400: the server wants a client certificate: set client_cert");
  // Also on a connection that is used again.
  CHECK(f.Post(server.url()).kind == OutcomeClass::kMisconfigured);
  // With a good one it is.
  CHECK(f.PostTo(server.url(), f.Showing(f.authority.Issue("e"))).kind == OutcomeClass::kRefused);
  // And where nobody asks.
  const TlsServer plain(test::WithIdentity(f.authority.Issue("localhost")),
                        Http1("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"));
  CHECK(f.PostTo(plain.url(), f.Trusting(f.authority.certificate())).kind ==
        OutcomeClass::kRefused);
}

TEST_CASE("renewed files are another identity: connections made with the old one are not used") {
  TlsFixture f;
  TlsServerOptions options = test::WithIdentity(f.authority.Issue("localhost"));
  options.client_authority = f.authority.certificate();
  std::atomic<int> connections{0};
  std::string name;
  const TlsServer server(options, [&](TlsConnection& connection) {
    ++connections;
    name = connection.client_name();
    Http1(kOk)(connection);
  });
  const Certified first = f.authority.Issue("first");
  for (int i = 0; i < 3; ++i) CHECK(f.PostTo(server.url(), f.Showing(first)).status == 200);
  CHECK(connections == 2);  // the first one has shown that it is HTTP/1.1
  CHECK(name == "first");
  for (int i = 0; i < 3; ++i)
    CHECK(f.PostTo(server.url(), f.Showing(f.authority.Issue("second"))).status == 200);
  CHECK(name == "second");
  CHECK(connections == 5);  // each has another serial number
}

TEST_CASE("who speaks no HTTP/2 gets HTTP/1.1, and who wanted it is told once") {
  TlsFixture f;
  const TlsServer server(test::WithIdentity(f.authority.Issue("localhost")), Http1(kOk));
  const TlsFiles files = f.Trusting(f.authority.certificate());
  f.EndpointOf(server.url(), files, "", HttpVersion::kAuto)->connect_timeout_ms = 5'000;
  CHECK(f.Post(server.url()).status == 200);
  CHECK(f.notices.empty());
  f.endpoints.clear();
  f.transport.Close();
  REQUIRE_FALSE(f.transport.Open().has_value());
  f.EndpointOf(server.url(), files, "", HttpVersion::k2)->connect_timeout_ms = 5'000;
  for (int i = 0; i < 3; ++i) CHECK(f.Post(server.url()).status == 200);
  f.transport.Close();
  REQUIRE_FALSE(f.transport.Open().has_value());
  CHECK(f.Post(server.url()).status == 200);
  REQUIRE(f.notices.Waiting().size() == 1);
  CHECK(Has(f.notices.Waiting().front().line, "does not speak HTTP/2"));
}

}  // namespace offline_post
