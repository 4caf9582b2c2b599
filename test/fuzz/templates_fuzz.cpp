// Templates as an operator may write them, well or badly, in URL, headers and fields, for events
// that hold anything: a recipe is refused, or its requests are safe.
#include <curl/curl.h>

#include <array>
#include <cctype>
#include <memory>
#include <nlohmann/json.hpp>

#include "forms.hpp"
#include "http/origin.hpp"
#include "payload/request_builder.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

struct UrlDeleter {
  void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
};

std::string Part(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

std::unique_ptr<CURLU, UrlDeleter> Parsed(const std::string& text, unsigned flags) {
  std::unique_ptr<CURLU, UrlDeleter> url(curl_url());
  Require(curl_url_set(url.get(), CURLUPART_URL, text.c_str(), flags) == CURLUE_OK, "a URL is one");
  return url;
}

void CheckUrl(const std::string& text) {
  Require(IsOneLine(text) && text.find(' ') == std::string::npos, "a URL has no blank");
  const auto url = Parsed(text, CURLU_PATH_AS_IS);
  Require(Part(url.get(), CURLUPART_SCHEME) == "http", "the scheme stays");
  Require(Part(url.get(), CURLUPART_HOST) == "backend.example", "the host stays");
  Require(Part(url.get(), CURLUPART_PORT) == "8080", "the port stays");
  Require(Part(url.get(), CURLUPART_USER).empty(), "there is no user");
  Require(Part(url.get(), CURLUPART_FRAGMENT).empty(), "there is no fragment");
}

bool IsDots(std::string segment) {
  for (std::size_t at = 0; (at = segment.find('%', at)) != std::string::npos; ++at) {
    const bool dot = segment.compare(at, 3, "%2E") == 0 || segment.compare(at, 3, "%2e") == 0;
    if (dot) segment.replace(at, 3, ".");
  }
  return segment == "." || segment == "..";
}

// Path and query around values that must stay within their segment and their field.
void CheckPlaces(FuzzedDataProvider& input, const Endpoint& endpoint) {
  const Pieces in_path = AnyPieces(input);
  const Pieces in_query = AnyPieces(input);
  const auto plain = [](Pieces pieces) {
    for (Piece& piece : pieces) {
      if (piece.is_name) continue;
      std::erase_if(piece.text, [](unsigned char c) { return c > 0x7e || std::isalnum(c) == 0; });
    }
    return pieces;
  };
  const Pieces path = plain(in_path);
  const Pieces query = plain(in_query);
  RecipeConfig config;
  config.post_url =
      endpoint.post_url + "/" + TemplateText(path) + "/end?a=" + TemplateText(query) + "&z=1";
  auto recipe = CompileRecipe(config);
  Require(recipe.ok(), "templates in path and query are taken");
  auto with = std::make_shared<Endpoint>(endpoint);
  with->post_url = config.post_url;
  with->recipe = recipe.value();
  const Sample sample = AnySample(input, endpoint);
  const Request request = BuildRequest(1, with, {sample.delivery}, 0);
  const std::string& text = request.url.empty() ? config.post_url : request.url;
  CheckUrl(text);
  const auto url = Parsed(text, CURLU_PATH_AS_IS);
  const std::string whole = Part(url.get(), CURLUPART_PATH);
  Require(whole.starts_with("/offline/") && whole.ends_with("/end"), "the path keeps its ends");
  const std::string segment = whole.substr(9, std::max<std::size_t>(whole.size(), 13) - 13);
  Require(segment.find('/') == std::string::npos, "a value is within its segment");
  Require(!IsDots(segment), "a value does not climb");
  const std::string rendered = Rendered(path, sample);
  if (rendered != "." && rendered != "..") {
    Require(PercentDecoded(segment) == rendered, "a reader gets the value of the path");
  }
  const auto fields = ReadForm(Part(url.get(), CURLUPART_QUERY));
  Require(fields.size() == 2 && fields[0].first == "a" && fields[1].first == "z" &&
              fields[0].second == Rendered(query, sample),
          "a reader gets the value of the query");
}

void CheckHeaders(const Request& request) {
  constexpr std::array<std::string_view, 10> kOurs = {
      "host", "content-length", "transfer-encoding", "connection", "expect",
      "te",   "trailer",        "upgrade",           "keep-alive", "content-encoding"};
  for (const std::string& header : request.headers) {
    if (header == "Content-Type:") continue;  // for curl: none at all
    Require(IsOneLine(header), "a header is one line");
    const std::size_t colon = header.find(": ");
    Require(colon != std::string::npos && colon > 0, "a header has a name and a value");
    // An event's values; beside them the operator's own words and token.
    Require(header.size() - colon - 2 <= 4096 + 1000, "a header's value is short");
    std::string name;
    for (const char c : header.substr(0, colon)) {
      const auto byte = static_cast<unsigned char>(c);
      const bool mark = std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
      Require(byte < 0x80 && (mark || std::isalnum(byte) != 0), "a header's name is a token");
      name.push_back(static_cast<char>(std::tolower(byte)));
    }
    const bool packed = header == "Content-Encoding: gzip";
    Require(packed || std::find(kOurs.begin(), kOurs.end(), name) == kOurs.end(),
            "it is none of curl's");
  }
}

// A header between two others keeps its place and its value.
void CheckHeader(FuzzedDataProvider& input, const Endpoint& endpoint) {
  RecipeConfig config;
  config.post_url = endpoint.post_url;
  const Pieces pieces = AnyPieces(input);
  config.headers = {{"X-First", "1"}, {"X-Value", TemplateText(pieces)}, {"X-Last", "1"}};
  auto recipe = CompileRecipe(config);
  Require(recipe.ok(), "templates in headers are taken");
  auto with = std::make_shared<Endpoint>(endpoint);
  with->recipe = recipe.value();
  const Sample sample = AnySample(input, endpoint);
  const Request request = BuildRequest(1, with, {sample.delivery}, 0);
  CheckHeaders(request);
  Require(Header(request.headers, "x-first") == "1" && Header(request.headers, "x-last") == "1",
          "its neighbours stay");
  const std::string rendered = Rendered(pieces, sample);
  if (!IsOneLine(rendered) || rendered.size() > 4096) return;
  const std::size_t first = std::min(rendered.find_first_not_of(' '), rendered.size());
  const std::size_t end = rendered.find_last_not_of(' ') + 1;  // 0 where there is none
  Require(Header(request.headers, "x-value") == rendered.substr(first, end - std::min(first, end)),
          "a header says what it shall");
}

// However odd the operator's URL: no event chooses the server.
void CheckOrigin(FuzzedDataProvider& input, const Endpoint& endpoint) {
  RecipeConfig config;
  config.post_url =
      input.PickValueInArray({"http://", "https:", "http:", "HTTP://u:p@", "http:\\\\", ""});
  for (const Piece& piece : AnyPieces(input)) {
    config.post_url +=
        input.PickValueInArray({"", "/", "//", "?", "#", "@", ":", "\\", ";", "host"});
    config.post_url += TemplateText({piece});
  }
  auto recipe = CompileRecipe(config);
  auto before = ParseOrigin(config.post_url);
  if (!recipe.ok() || !before.ok()) return;
  auto with = std::make_shared<Endpoint>(endpoint);
  with->post_url = config.post_url;
  with->recipe = recipe.value();
  std::string user;
  for (int i = 0; i < 2; ++i) {
    const Request request = BuildRequest(1, with, {AnySample(input, endpoint).delivery}, 0);
    if (request.url.empty()) return;
    auto after = ParseOrigin(request.url);
    Require(after.ok(), "a URL stays one");
    Require(OriginText(after.value()) == OriginText(before.value()), "no event chooses the server");
    const std::string who = Part(Parsed(request.url, CURLU_PATH_AS_IS).get(), CURLUPART_USER);
    Require(i == 0 || who == user, "nor the user");
    user = who;
  }
}

// Anything at all.
void CheckAny(FuzzedDataProvider& input, const Endpoint& endpoint) {
  constexpr const char* kSecret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  RecipeConfig config;
  config.format = input.PickValueInArray({Format::kForm, Format::kJson, Format::kStanza});
  config.auth = input.PickValueInArray({Auth::kBody, Auth::kBearer, Auth::kBasic, Auth::kHeader});
  config.presence = input.ConsumeIntegralInRange(0, 7) == 0;
  config.gzip = input.ConsumeBool();
  config.batch = input.ConsumeIntegralInRange(0, 3) == 0;
  if (input.ConsumeIntegralInRange(0, 3) == 0) config.content_type = AnyText(input);
  const auto fields = [&input] {
    FieldMap map(input.ConsumeIntegralInRange<std::size_t>(1, 2));
    for (NamedField& field : map) field = {AnyText(input), {AnyText(input)}};
    return map;
  };
  if (input.ConsumeBool()) config.fields = fields();
  if (input.ConsumeIntegralInRange(0, 3) == 0) config.room_fields = fields();
  if (input.ConsumeBool()) config.headers = {{AnyText(input), AnyText(input)}};
  if (input.ConsumeIntegralInRange(0, 3) == 0) {
    config.signing_secrets = {AnyText(input) + kSecret + AnyText(input)};
  }
  config.post_url = endpoint.post_url + (input.ConsumeBool() ? AnyText(input) : "");
  auto recipe = CompileRecipe(config);
  if (!recipe.ok()) {
    Require(!recipe.error().text.empty(), "who is refused is told why");
    RecipeConfig without = config;
    without.signing_secrets.clear();
    // It may also stand where it is no secret, by the fuzzer's own doing.
    const bool is_open = !CompileRecipe(without).ok();
    Require(is_open || recipe.error().text.find(kSecret) == std::string::npos,
            "no error tells a secret");
    return;
  }
  (void)Uses(*recipe.value());
  // What templates cannot do, the literal text of the operator may: another host.
  if (auto origin = ParseOrigin(config.post_url); !origin.ok()) return;
  auto with = std::make_shared<Endpoint>(endpoint);
  with->post_url = config.post_url;
  with->recipe = recipe.value();
  const Sample sample = AnySample(input, endpoint);
  const Request request = BuildRequest(1, with, {sample.delivery}, 0);
  CheckHeaders(request);
  if (config.format != Format::kStanza || config.gzip) return;
  const auto stanza = sample.values.find("stanza");
  Require(request.body == (stanza == sample.values.end() ? "" : stanza->second),
          "it is the stanza");
}

}  // namespace

}  // namespace offline_post::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace offline_post::fuzz;
  FuzzedDataProvider input(data, size);
  const int subject = input.ConsumeIntegralInRange(0, 4);
  const auto endpoint = AnyEndpoint(input);
  if (subject == 0) {
    CheckPlaces(input, endpoint);
  } else if (subject == 1) {
    CheckHeader(input, endpoint);
  } else if (subject == 2) {
    CheckOrigin(input, endpoint);
  } else {
    CheckAny(input, endpoint);
  }
  return 0;
}
