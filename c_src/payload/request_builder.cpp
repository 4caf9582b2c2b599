#include "payload/request_builder.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "model/hex.hpp"
#include "payload/base64.hpp"
#include "payload/compiled_recipe.hpp"
#include "payload/gzip.hpp"

namespace offline_post {

namespace {

// A shorter body goes in one packet anyway.
constexpr std::size_t kWorthCompressing = 1024;

void AppendBody(const Recipe& recipe, const Delivery& delivery, const Endpoint& endpoint,
                std::string& body) {
  EventFields fields(delivery, endpoint);
  const bool room = recipe.room_fields && !fields.Value(Field::kRoom).empty();
  (room ? *recipe.room_fields : recipe.fields).Render(fields, body);
}

// As many as fit, but at least one.
void AppendBatch(const Recipe& recipe, const Endpoint& endpoint,
                 const std::vector<Delivery>& deliveries, Request& request) {
  const bool array = recipe.batch_form == BatchForm::kArray;
  std::string& body = request.body;
  std::size_t size = 0;
  for (const Delivery& delivery : deliveries) {
    if (!request.deliveries.empty() && request.deliveries.size() >= endpoint.batch.max_events)
      break;
    if (array) body += request.deliveries.empty() ? '[' : ',';
    AppendBody(recipe, delivery, endpoint, body);
    if (!array) body += '\n';
    if (!request.deliveries.empty() && body.size() + (array ? 1 : 0) > endpoint.batch.max_bytes) {
      break;
    }
    size = body.size();
    request.deliveries.push_back(delivery.sequence);
    request.event_ids.push_back(delivery.event->id);
  }
  body.resize(size);
  if (array) body += ']';
}

// The same events have the same one, whatever else a batch of them says.
std::string BatchId(const std::vector<std::string>& event_ids) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::size_t kBytes = 16;
  std::string text;
  for (const std::string& id : event_ids) text.append(id).append(1, '\n');
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return event_ids.front();
  }
  std::string id = "batch_";
  for (std::size_t i = 0; i < kBytes; ++i) {
    id.append(1, kHex[digest[i] >> 4U]).append(1, kHex[digest[i] & 15U]);
  }
  return id;
}

std::string Authorization(Auth auth, const std::string& token) {
  std::string value;
  if (token.empty()) return value;
  switch (auth) {
    case Auth::kBody:
      break;
    case Auth::kBearer:
      value = "Bearer " + token;
      break;
    case Auth::kBasic:
      // user:password, or already what RFC 7617 makes of it.
      value = "Basic ";
      if (token.find(':') == std::string::npos) {
        value += token;
      } else {
        AppendBase64(token, value);
      }
      break;
    case Auth::kHeader:
      value = token;
      break;
  }
  return value;
}

// W3C Trace Context, version 00: one trace for all attempts of an event, or of a batch of the same
// events, a span for each, and sampled. Neither may be all zeros.
std::string TraceParent(const std::string& id, const Delivery& delivery) {
  const std::uint64_t trace = Fingerprint(id);
  const std::uint64_t more = Fingerprint(id, trace);
  const std::uint64_t span = Fingerprint(std::to_string(delivery.attempts + 1), more);
  return "traceparent: 00-" + Hex(std::max<std::uint64_t>(1, trace)).padded() + Hex(more).padded() +
         "-" + Hex(std::max<std::uint64_t>(1, span)).padded() + "-01";
}

void AddHeader(std::string line, Request& request) {
  if (!line.empty()) request.headers.push_back(std::move(line));
}

void AddHeaders(const Recipe& recipe, const Delivery& delivery, const std::string& id,
                Millis unix_now_ms, Request& request) {
  const Endpoint& endpoint = *request.endpoint;
  request.headers.reserve(recipe.headers.size() + 7);
  AddHeader(recipe.content_type, request);
  request.headers.push_back("webhook-id: " + id);
  AddHeader(recipe.user_agent, request);
  if (recipe.signer.any()) {
    const std::int64_t seconds = unix_now_ms / 1'000;
    request.headers.push_back("webhook-timestamp: " + std::to_string(seconds));
    if (const auto signature = recipe.signer.Sign(id, seconds, request.body)) {
      request.headers.push_back("webhook-signature: " + *signature);
    } else {
      request.fault = "it cannot be signed now (OpenSSL refuses)";
    }
  }
  if (recipe.traceparent) request.headers.push_back(TraceParent(id, delivery));
  AddHeader(HeaderLine("Authorization", Authorization(recipe.auth, endpoint.auth_token)), request);
  EventFields fields(delivery, endpoint);
  for (const HeaderTemplate& header : recipe.headers) {
    std::string line = header.Render(fields);
    // Without a value curl would put in one of its own.
    if (line.empty() && SameHeader(header.name(), "Content-Type")) line = "Content-Type:";
    AddHeader(std::move(line), request);
  }
}

}  // namespace

Request BuildRequest(RequestId id, std::shared_ptr<const Endpoint> endpoint,
                     const std::vector<Delivery>& deliveries, Millis unix_now_ms) {
  const Recipe& recipe = endpoint->recipe ? *endpoint->recipe : OriginalRecipe();
  const Delivery& first = deliveries.front();
  Request request;
  request.id = id;
  request.endpoint = std::move(endpoint);
  // Escapes triple a text at worst: one allocation, which lives as long as the attempt.
  request.body.reserve(recipe.fields.literal_bytes() + 3 * first.event->body.size() + 512);
  if (recipe.batch) {
    AppendBatch(recipe, *request.endpoint, deliveries, request);
  } else {
    AppendBody(recipe, first, *request.endpoint, request.body);
    request.deliveries.push_back(first.sequence);
  }
  std::optional<std::string> packed;
  if (recipe.gzip && request.body.size() > kWorthCompressing) packed = Gzip(request.body);
  if (packed) request.body = std::move(*packed);
  const bool several = request.deliveries.size() > 1;
  AddHeaders(recipe, first, several ? BatchId(request.event_ids) : first.event->id, unix_now_ms,
             request);
  if (packed) request.headers.emplace_back("Content-Encoding: gzip");
  if (recipe.url.any()) {
    EventFields fields(first, *request.endpoint);
    request.url = recipe.url.Render(fields);
  }
  return request;
}

}  // namespace offline_post
