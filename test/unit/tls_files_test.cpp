#include "http/tls_files.hpp"

#include <sys/stat.h>

#include <ctime>
#include <fstream>

#include "support/certificates.hpp"
#include "support/spool.hpp"

namespace offline_post {

namespace {

using test::Has;

struct Files {
  test::TemporaryDirectory directory;
  test::Authority authority;
  test::Certified certified = authority.Issue("ejabberd.example");

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = directory.path + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  std::string ErrorOf(const TlsFiles& files) const {
    Result<TlsIdentity> identity = ReadTlsFiles(files);
    REQUIRE_FALSE(identity.ok());
    CHECK(identity.error().kind == Error::Kind::kInvalid);
    // Whatever is wrong, nobody reads a key in a log.
    CHECK(identity.error().text.find("-----") == std::string::npos);
    CHECK(identity.error().text.find(certified.key.substr(60, 20)) == std::string::npos);
    return identity.error().text;
  }
  TlsFiles Client(const std::string& certificate, const std::string& key) const {
    TlsFiles files;
    files.client_cert = Write("cert.pem", certificate);
    files.client_key = Write("key.pem", key);
    return files;
  }
};

}  // namespace

TEST_CASE("TLS files become an identity by what they hold") {
  Files f;
  TlsFiles files = f.Client(f.certified.certificate, f.certified.key);
  files.ca_file = f.Write("ca.pem", "a comment\n" + f.authority.certificate());
  const TlsIdentity identity = ReadTlsFiles(files).value();
  CHECK(identity.verify);
  REQUIRE(identity.authorities);
  CHECK(identity.certificate == f.certified.certificate);
  CHECK(identity.key == f.certified.key);
  CHECK(ReadTlsFiles(files).value() == identity);
  const test::Certified renewed = f.authority.Issue("ejabberd.example");
  CHECK(ReadTlsFiles(f.Client(renewed.certificate, renewed.key)).value() != identity);
  TlsIdentity system;
  system.authorities = Authorities::System();
  CHECK(ReadTlsFiles({}).value() == system);
}

TEST_CASE("a key may stand in the certificate's file, before it or behind it") {
  Files f;
  for (const std::string& both :
       {f.certified.certificate + f.certified.key, f.certified.key + f.certified.certificate}) {
    TlsFiles files;
    files.client_cert = f.Write("both.pem", both);
    const TlsIdentity identity = ReadTlsFiles(files).value();
    CHECK(identity.certificate == both);
    CHECK(identity.key == both);
  }
}

TEST_CASE("what is wrong with a TLS file is said with option and file, never with its contents") {
  Files f;
  const auto authorities = [&f](const std::string& text) {
    TlsFiles files;
    files.ca_file = f.Write("ca.pem", text);
    const std::string error = f.ErrorOf(files);
    CHECK(Has(error, "ca_file " + files.ca_file));
    return error;
  };
  CHECK(Has(authorities(""), "no certificate in PEM format"));
  CHECK(Has(authorities("\x30\x82\x01\x01"), "inform der"));
  CHECK(Has(authorities(f.certified.key), "no certificate in PEM format"));
  std::string broken = f.authority.certificate();
  broken.replace(100, 8, "AAAAAAAA");
  CHECK(Has(authorities(broken), "cannot be read"));
  CHECK(Has(authorities(f.authority.certificate() + broken), "cannot be read"));
  CHECK(Has(authorities(std::string(kTlsFileLimit + 1, ' ')), "larger than 4 MiB"));

  TlsFiles files;
  files.ca_file = f.directory.path + "/missing.pem";
  CHECK(Has(f.ErrorOf(files), "missing.pem: No such file"));
  files.ca_file = f.directory.path;
  CHECK(Has(f.ErrorOf(files), "no regular file"));
  files.ca_file = f.directory.path + "/pipe";
  REQUIRE(::mkfifo(files.ca_file.c_str(), 0600) == 0);
  CHECK(Has(f.ErrorOf(files), "no regular file"));

  const std::string& certificate = f.certified.certificate;
  CHECK(Has(f.ErrorOf(f.Client(certificate, f.authority.Issue("other").key)),
            "key.pem: the key does not belong to the first certificate in client_cert"));
  CHECK(Has(f.ErrorOf(f.Client(certificate, test::Encrypted(f.certified.key))), "pass phrase"));
  CHECK(Has(f.ErrorOf(f.Client(certificate, certificate)), "key.pem: no private key"));
  CHECK(Has(f.ErrorOf(f.Client("nothing", f.certified.key)), "client_cert"));
  TlsFiles alone = f.Client(certificate, f.certified.key);
  alone.client_cert.clear();
  CHECK(Has(f.ErrorOf(alone), "client_key is of no use without client_cert"));
  TlsFiles no_key = f.Client(certificate, "");
  no_key.client_key.clear();
  CHECK(Has(f.ErrorOf(no_key), "client_cert " + no_key.client_cert + ": no private key"));
}

TEST_CASE("a certificate that has expired is read, and named with its date") {
  Files f;
  const Millis now = std::time(nullptr) * 1'000LL;
  const auto trouble = [&](long from_s, long until_s) {
    const test::Certified certified = f.authority.Issue("ejabberd.example", from_s, until_s);
    return CertificateTrouble(ReadTlsFiles(f.Client(certified.certificate, certified.key)).value(),
                              now);
  };
  CHECK(trouble(-3'600, 3'600).empty());
  const std::string expired = trouble(-7'200, -3'600);
  std::array<char, 32> date{};
  const std::time_t day = now / 1'000 - 3'600;
  std::tm parts{};
  std::strftime(date.data(), date.size(), "%Y-%m-%d %H:", gmtime_r(&day, &parts));
  CHECK(Has(expired, std::string("has expired on ") + date.data()));
  CHECK(Has(trouble(3'600, 7'200), "is valid only from "));
  CHECK(CertificateTrouble({}, now).empty());
}

}  // namespace offline_post
