#include <openssl/evp.h>

#include "payload/base64.hpp"
#include "payload/signer.hpp"
#include "support/recipes.hpp"

namespace offline_post {

namespace {

using test::ConfigOf;
using test::Contains;
using test::HeaderOf;

// Of Standard Webhooks' own documents, with the id, time and body below.
constexpr const char* kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
constexpr const char* kId = "msg_p5jXN8AQM9LWM0D4loKWxJek";
constexpr std::int64_t kTime = 1'614'265'330;
constexpr const char* kBody = R"({"test": 2432232314})";
constexpr const char* kSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

// RFC 8032, section 7.1, test 1.
const std::string kSeed = *DecodeBase64("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
const std::string kPublic = *DecodeBase64("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");

std::string Encoded(const std::string& bytes) {
  std::string code;
  AppendBase64(bytes, code);
  return code;
}

std::string Unpadded(std::string code) {
  while (!code.empty() && code.back() == '=') code.pop_back();
  return code;
}

bool Verifies(const std::string& signature, const std::string& text) {
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(
      EVP_PKEY_ED25519, nullptr, reinterpret_cast<const unsigned char*>(kPublic.data()),
      kPublic.size());
  EVP_MD_CTX* digest = EVP_MD_CTX_new();
  const bool good =
      EVP_DigestVerifyInit(digest, nullptr, nullptr, nullptr, key) == 1 &&
      EVP_DigestVerify(digest, reinterpret_cast<const unsigned char*>(signature.data()),
                       signature.size(), reinterpret_cast<const unsigned char*>(text.data()),
                       text.size()) == 1;
  EVP_MD_CTX_free(digest);
  EVP_PKEY_free(key);
  return good;
}

std::string Sign(const std::vector<std::string>& secrets, const std::string& body = kBody) {
  auto signer = Signer::Make(secrets);
  REQUIRE(signer.ok());
  return signer.value().Sign(kId, kTime, body).value();
}

std::string SecretError(const std::vector<std::string>& secrets) {
  return CheckSecrets(secrets).value_or(Error{Error::Kind::kInvalid, ""}).text;
}

}  // namespace

TEST_CASE("a v1 signature is that of Standard Webhooks' vector") {
  CHECK(Sign({kSecret}) == kSignature);
  // A key is used any number of times.
  auto signer = Signer::Make({kSecret});
  for (int i = 0; i < 3; ++i) CHECK(signer.value().Sign(kId, kTime, kBody) == kSignature);
}

TEST_CASE("a v1a signature is verified with the public key") {
  const std::string signature = Sign({"whsk_" + Encoded(kSeed + kPublic)});
  REQUIRE(signature.rfind("v1a,", 0) == 0);
  const auto bytes = DecodeBase64(signature.substr(4));
  REQUIRE(bytes.has_value());
  CHECK(bytes->size() == 64);
  const std::string text = std::string(kId) + ".1614265330." + kBody;
  CHECK(Verifies(*bytes, text));
  CHECK_FALSE(Verifies(*bytes, text + " "));
}

TEST_CASE("all secrets sign side by side, in their order") {
  const std::string old = "whsec_" + Encoded(std::string(24, 'o'));
  const std::string ed25519 = "whsk_" + Encoded(kSeed + kPublic);
  CHECK(Sign({kSecret, old, ed25519}) == kSignature + (" " + Sign({old})) + " " + Sign({ed25519}));
}

TEST_CASE("a secret's padding may be missing") {
  for (const std::size_t size : {24U, 25U, 26U, 63U, 64U}) {
    const std::string code = Encoded(std::string(size, 'k'));
    CHECK(Sign({"whsec_" + code}) == Sign({"whsec_" + Unpadded(code)}));
  }
  const std::string code = Encoded(kSeed + kPublic);
  CHECK(Sign({"whsk_" + code}) == Sign({"whsk_" + Unpadded(code)}));
}

TEST_CASE("a secret that is none is refused, and not shown") {
  std::string other = kPublic;
  other.front() = static_cast<char>(other.front() ^ 1);
  const std::string good = Encoded(std::string(32, 'k'));
  for (const std::string& secret : {std::string(),
                                    std::string("hunter2"),
                                    good,
                                    "WHSEC_" + good,
                                    " whsec_" + good,
                                    std::string("whsec_"),
                                    std::string("whsec_="),
                                    std::string("whsec_===="),
                                    std::string("whsk_"),
                                    "whsec_" + good + "=",
                                    "whsec_" + good + "\n",
                                    "whsec_ " + good,
                                    "whsec_" + good.substr(0, 20) + "!" + good.substr(21),
                                    "whsec_" + good.substr(0, 20) + "-" + good.substr(21),
                                    "whsec_" + good.substr(0, 20) + "=" + good.substr(21),
                                    "whsec_" + Unpadded(good) + "aa",
                                    "whsec_" + Encoded(std::string(23, 'k')),
                                    "whsec_" + Encoded(std::string(65, 'k')),
                                    "whsk_" + Encoded(kSeed),
                                    "whsk_" + Encoded(kSeed + kPublic + "x"),
                                    "whsk_" + Encoded(kSeed + other),
                                    "whsk_" + Encoded(kPublic + kSeed)}) {
    INFO(secret);
    const std::string error = SecretError({kSecret, secret});
    CHECK(Contains(error, "signing_secrets: number 2: "));
    for (const std::string& part : {std::string("hunter2"), good.substr(0, 8), good.substr(30, 8),
                                    Encoded(kSeed).substr(0, 8), Encoded(kPublic).substr(0, 8)}) {
      CHECK_FALSE(Contains(error, part));
    }
    RecipeConfig config = ConfigOf(Format::kForm);
    config.signing_secrets = {kSecret, secret};
    CHECK(test::ErrorOf(config) == error);
  }
  CHECK(SecretError({kSecret}).empty());
  CHECK(SecretError({}).empty());
}

TEST_CASE("a request is signed with its id, the attempt's time and its bytes") {
  RecipeConfig config = ConfigOf(Format::kJson);
  config.signing_secrets = {kSecret};
  const Request request = test::RequestOf(config);
  CHECK(HeaderOf(request, "webhook-id") == "msg_1");
  CHECK(HeaderOf(request, "webhook-timestamp") == "1614265330");
  auto signer = Signer::Make({kSecret});
  CHECK(HeaderOf(request, "webhook-signature") ==
        signer.value().Sign("msg_1", kTime, request.body));
  config.signing_secrets.clear();
  const Request unsigned_request = test::RequestOf(config);
  CHECK(HeaderOf(unsigned_request, "webhook-id") == "msg_1");
  CHECK(HeaderOf(unsigned_request, "webhook-timestamp").empty());
  CHECK(HeaderOf(unsigned_request, "webhook-signature").empty());
}

TEST_CASE("base64 is RFC 4648's") {
  const std::vector<std::pair<std::string, std::string>> vectors = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, code] : vectors) {
    CHECK(Encoded(bytes) == code);
    CHECK(DecodeBase64(code) == bytes);
    CHECK(DecodeBase64(Unpadded(code)) == bytes);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes(5, static_cast<char>(byte));
    CHECK(DecodeBase64(Encoded(bytes)) == bytes);
  }
  for (const char* code : {"Z", "Zm9vY", "Zg=", "Zg===", "=", "Zm=v", "Zm9v=", "Zm 9v", "Zm9_"}) {
    INFO(code);
    CHECK_FALSE(DecodeBase64(code).has_value());
  }
}

}  // namespace offline_post
