#include "http/origin.hpp"

#include <curl/curl.h>

#include <cstdlib>
#include <memory>
#include <optional>

namespace offline_post {

namespace {

struct UrlDeleter {
  void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
};

struct CurlFree {
  void operator()(char* text) const noexcept { curl_free(text); }
};

std::optional<std::string> Part(CURLU* url, CURLUPart part) {
  char* raw = nullptr;
  if (curl_url_get(url, part, &raw, CURLU_DEFAULT_PORT) != CURLUE_OK) return std::nullopt;
  const std::unique_ptr<char, CurlFree> text(raw);
  return std::string(text.get());
}

}  // namespace

Result<Origin> ParseOrigin(const std::string& url, bool tls_verify, const std::string& ca_file) {
  const std::unique_ptr<CURLU, UrlDeleter> handle(curl_url());
  if (!handle) return Error{Error::Kind::kUnavailable, "post_url: out of memory"};
  const CURLUcode parsed = curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0);
  if (parsed != CURLUE_OK) {
    return Error{
        Error::Kind::kInvalid,
        std::string("post_url is not an absolute http or https URL: ") + curl_url_strerror(parsed)};
  }
  const auto scheme = Part(handle.get(), CURLUPART_SCHEME);
  const auto host = Part(handle.get(), CURLUPART_HOST);
  const auto port = Part(handle.get(), CURLUPART_PORT);
  if (!scheme || (*scheme != "http" && *scheme != "https")) {
    return Error{Error::Kind::kInvalid, "post_url must start with http:// or https://"};
  }
  if (!host || host->empty() || !port)
    return Error{Error::Kind::kInvalid, "post_url names no host"};
  Origin origin;
  origin.scheme = *scheme;
  origin.host = *host;
  for (char& c : origin.host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  origin.port = static_cast<std::uint16_t>(std::strtoul(port->c_str(), nullptr, 10));
  // Without TLS its settings divide nothing.
  if (origin.scheme == "https") {
    origin.tls_verify = tls_verify;
    origin.ca_file = ca_file;
  }
  return origin;
}

}  // namespace offline_post
