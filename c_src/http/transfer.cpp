#include "http/transfer.hpp"

#include <algorithm>
#include <utility>

#include "http/authorities.hpp"

namespace offline_post {

namespace {

bool Has(int feature) {
  static const int features = curl_version_info(CURLVERSION_NOW)->features;
  return (features & feature) != 0;
}

// Before 8.1 libcurl keeps in an easy handle, even over curl_easy_reset, a pointer to the last
// header of the answer before. A folded line with no header before it makes it write there.
enum class Lingering { kNone, kGuarded, kUnknown };

Lingering LingeringPointer() {
  constexpr unsigned kMended = 0x080100;
  constexpr unsigned kRead = 0x075801;  // whose source was read for GuardHead
  static const unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;
  if (version >= kMended) return Lingering::kNone;
  return version == kRead ? Lingering::kGuarded : Lingering::kUnknown;
}

}  // namespace

std::size_t Transfer::OnBody(char* data, std::size_t, std::size_t size, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  if (transfer.guards_head_ && !transfer.head_ended_)
    return transfer.GuardHead({data, size}) ? size : 0;
  transfer.body_bytes_ += size;
  std::string& kept = transfer.answer_.body;  // has room reserved: append cannot throw
  const std::size_t room = transfer.kept_ - std::min(transfer.kept_, kept.size());
  kept.append(data, std::min(size, room));
  transfer.answer_.cut = transfer.answer_.cut || size > room;
  return transfer.body_bytes_ > transfer.BodyLimit() ? 0 : size;
}

int Transfer::OnAttempt(void* self, char*, char*, int, int) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  ++transfer.attempts_;
  if (transfer.way_.http2) {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    if (const SSL* connection = transfer.Connection())
      SSL_get0_alpn_selected(connection, &name, &size);
    transfer.speaks_http2_ = std::string_view(reinterpret_cast<const char*>(name), size) == "h2";
  }
  return CURL_PREREQFUNC_OK;
}

CURLcode Transfer::OnContext(CURL*, void* context, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  auto* tls = static_cast<SSL_CTX*>(context);
  if (const Authorities* authorities = transfer.AuthoritiesOfNext()) authorities->UseIn(tls);
  transfer.peer_ = WatchPeer(tls);
  ++transfer.contexts_;
  return CURLE_OK;
}

// The first handshake is with the proxy, if it speaks TLS. Who may be mistaken here is trusted by
// the origin's authorities, which are the fewer.
const Authorities* Transfer::AuthoritiesOfNext() const {
  const Origin& origin = request_.endpoint->origin;
  const bool to_proxy = proxy_.tls && (origin.scheme != "https" ||
                                       (contexts_ == 0 && Info(CURLINFO_HTTP_CONNECTCODE, 0) == 0));
  return (to_proxy ? origin.tls.proxy_authorities : origin.tls.authorities).get();
}

std::size_t Transfer::BodyLimit() const { return std::max(kRead, kept_); }

// The list of headers without a copy: curl only reads it.
void Transfer::LinkHeaders() {
  // An empty Expect keeps curl from waiting for "100 Continue" before a large body.
  static std::array<char, 8> no_expect{"Expect:"};
  headers_.clear();
  headers_.push_back({no_expect.data(), nullptr});
  for (std::string& header : request_.headers) headers_.push_back({header.data(), nullptr});
  for (std::size_t i = 1; i < headers_.size(); ++i) headers_[i - 1].next = &headers_[i];
}

void Transfer::Reset() {
  answer_.status = 0;
  answer_.failure.clear();
  answer_.retry_after.clear();
  answer_.body.clear();
  answer_.cut = false;
  kept_ = AnswerKept(request_);
  answer_.body.reserve(kept_);
  error_.front() = '\0';
  peer_.reset();
  contexts_ = 0;
  attempts_ = 0;
  speaks_http2_ = false;
  header_bytes_ = 0;
  body_bytes_ = 0;
  length_.reset();
  head_ended_ = false;
  header_begun_ = false;
  chunked_ = false;
  fault_ = nullptr;
  wants_certificate_ = false;
}

// What a handle has left lingering is harmless to the next answer only where GuardHead sees that
// answer whole: not through a proxy, which answers CONNECT itself.
void Transfer::Clear() {
  request_ = {};
  const bool plain = configured_for_ != nullptr && proxy_.address.empty();
  if (LingeringPointer() == Lingering::kNone || (guards_head_ && plain)) return;
  Renew();
}

void Transfer::Renew() {
  configured_for_ = nullptr;
  easy_.reset(curl_easy_init());
}

bool Transfer::Prepare(Request request, const Way& way) {
  request_ = std::move(request);
  Reset();
  const bool new_here = configured_for_ != request_.endpoint || way_.http2 != way.http2 ||
                        way_.sessions != way.sessions;
  if (new_here && configured_for_ != nullptr && LingeringPointer() != Lingering::kNone) Renew();
  error_[request_.fault.copy(error_.data(), error_.size() - 1)] = '\0';
  if (!easy_ || !request_.fault.empty()) return false;
  LinkHeaders();
  if (new_here) {
    configured_for_ = nullptr;
    // The handle leaves the sessions of before while these still exist.
    curl_easy_setopt(handle(), CURLOPT_SHARE, nullptr);
    way_ = way;
    if (!Configure()) return false;
    configured_for_ = request_.endpoint;
  }
  if ((has_own_url_ || !request_.url.empty()) && !SetUrl()) return false;
  return Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size())) &&
         // Not copied.
         Set(CURLOPT_POSTFIELDS, request_.body.data()) && Set(CURLOPT_HTTPHEADER, headers_.data());
}

bool Transfer::SetUrl() {
  has_own_url_ = !request_.url.empty();
  CURLU* parsed = has_own_url_ ? nullptr : url_.get();
  const std::string& url = has_own_url_ ? request_.url : request_.endpoint->post_url;
  // In this order: from 8 on, libcurl forgets the text when it is told of a parsed one, or of none.
  return Set(CURLOPT_CURLU, parsed) && (parsed != nullptr || Set(CURLOPT_URL, url.c_str()));
}

// Sets every option anew: libcurl 7.88 clears an easy handle's count of retries in curl_easy_reset
// alone, and after five dead connections would refuse the handle for good.
bool Transfer::Configure() {
  const Endpoint& endpoint = *request_.endpoint;
  curl_easy_reset(handle());
  // libcurl parses a URL that it has as a text alone for every request; this one once.
  url_.reset(curl_url());
  if (curl_url_set(url_.get(), CURLUPART_URL, endpoint.post_url.c_str(), 0) != CURLUE_OK)
    url_.reset();
  char* zone = nullptr;  // of an IPv6 address: libcurl before 8 does not copy it
  if (url_ && curl_url_get(url_.get(), CURLUPART_ZONEID, &zone, 0) == CURLUE_OK) url_.reset();
  curl_free(zone);
  guards_head_ = LingeringPointer() == Lingering::kGuarded;
  if (guards_head_ && !Set(CURLOPT_HEADER, 1L)) return false;
  return SetUrl() && Set(CURLOPT_POST, 1L) && Set(CURLOPT_PROTOCOLS_STR, "http,https") &&
         Set(CURLOPT_FOLLOWLOCATION, 0L) &&
         Set(CURLOPT_HTTP_CONTENT_DECODING, 0L) &&  // what is kept of an answer is what came
         Set(CURLOPT_TIMEOUT_MS, static_cast<long>(endpoint.timeout_ms)) &&
         Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(endpoint.connect_timeout_ms)) &&
         Set(CURLOPT_MAXLIFETIME_CONN, endpoint.connection_max_age_ms / 1'000) &&
         Set(CURLOPT_NOSIGNAL, 1L) &&  // this is somebody else's process
         // A name server that does not answer must not hold up a stop.
         Set(CURLOPT_QUICK_EXIT, 1L) && Set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED)) &&
         SetProxy() && SetTls() && Set(CURLOPT_ERRORBUFFER, error_.data()) &&
         Set(CURLOPT_PRIVATE, static_cast<void*>(this)) &&
         Set(CURLOPT_HEADERFUNCTION, &Transfer::OnHeader) &&
         Set(CURLOPT_HEADERDATA, static_cast<void*>(this)) &&
         Set(CURLOPT_WRITEFUNCTION, &Transfer::OnBody) &&
         Set(CURLOPT_WRITEDATA, static_cast<void*>(this)) &&
         Set(CURLOPT_PREREQFUNCTION, &Transfer::OnAttempt) &&
         Set(CURLOPT_PREREQDATA, static_cast<void*>(this));
}

bool Transfer::SetProxy() {
  const Endpoint& endpoint = *request_.endpoint;
  proxy_ = {};
  // What the environment says is not the operator's configuration.
  if (endpoint.origin.proxy.empty()) return Set(CURLOPT_PROXY, "");
  Result<Proxy> proxy = ParseProxy(endpoint.origin.proxy);
  if (!proxy.ok()) return false;
  proxy_ = std::move(proxy.value());
  if (!proxy_.user.empty() || !proxy_.password.empty()) {
    // Not in the proxy's URL, which libcurl may repeat in an error.
    if (!Set(CURLOPT_PROXYUSERNAME, proxy_.user.c_str()) ||
        !Set(CURLOPT_PROXYPASSWORD, proxy_.password.c_str()) ||
        !Set(CURLOPT_PROXYAUTH, static_cast<long>(CURLAUTH_BASIC))) {
      return false;
    }
  }
  // With CONNECT, what we tell the backend is not for the proxy, and what the proxy says is not the
  // backend's answer.
  return Set(CURLOPT_PROXY, proxy_.address.c_str()) && Set(CURLOPT_NOPROXY, "") &&
         Set(CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE)) &&
         Set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

// Not copied: the request holds the endpoint as long as the handle is in use.
bool Transfer::SetBlob(CURLoption option, const std::string& text) {
  if (text.empty()) return true;
  curl_blob blob{const_cast<char*>(text.data()), text.size(), CURL_BLOB_NOCOPY};
  return Set(option, &blob);
}

// Through ALPN alone: libcurl 7.88 fails with it on a connection without TLS.
bool Transfer::MaySpeakHttp2(const Origin& origin) {
  return origin.scheme == "https" && origin.http_version != HttpVersion::k1 &&
         Has(CURL_VERSION_HTTP2);
}

bool Transfer::SetTls() {
  const Origin& origin = request_.endpoint->origin;
  const bool secure = origin.scheme == "https";
  const long verify = origin.tls.verify ? 1L : 0L;
  const bool two = way_.http2;
  if (!Set(CURLOPT_HTTP_VERSION,
           static_cast<long>(two ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1))) {
    return false;
  }
  // While the first connection is being made, nobody knows whether it will carry many requests.
  if (two && !Set(CURLOPT_PIPEWAIT, 1L)) return false;
  if (proxy_.tls) {
    // Always verified: tls_verify is about the backend, not about who gets the proxy's credentials.
    if (!Set(CURLOPT_PROXY_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2)) ||
        !Set(CURLOPT_PROXY_SSL_VERIFYPEER, 1L) || !Set(CURLOPT_PROXY_SSL_VERIFYHOST, 2L)) {
      return false;
    }
  }
  if (!secure && !proxy_.tls) return true;
  if (!Set(CURLOPT_SSL_CTX_FUNCTION, &Transfer::OnContext) ||
      !Set(CURLOPT_SSL_CTX_DATA, static_cast<void*>(this)) || !SetAuthorities() ||
      !Set(CURLOPT_SHARE, way_.sessions.get()) ||
      !Set(CURLOPT_SSL_SESSIONID_CACHE, way_.sessions ? 1L : 0L)) {
    return false;
  }
  if (!secure) return true;
  return Set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2)) &&
         Set(CURLOPT_SSL_VERIFYPEER, verify) && Set(CURLOPT_SSL_VERIFYHOST, 2 * verify) &&
         SetBlob(CURLOPT_SSLCERT_BLOB, origin.tls.certificate) &&
         SetBlob(CURLOPT_SSLKEY_BLOB, origin.tls.key);
}

// libcurl parses nothing itself: OnContext gives every context what was parsed. The tags keep
// connections and sessions apart that were made with other authorities.
bool Transfer::SetAuthorities() {
  const TlsIdentity& tls = request_.endpoint->origin.tls;
  const auto tag = [](const std::shared_ptr<const Authorities>& authorities) {
    return authorities ? authorities->tag().c_str() : static_cast<const char*>(nullptr);
  };
  const char* const none = nullptr;
  return Set(CURLOPT_CAINFO, none) && Set(CURLOPT_CAPATH, tag(tls.authorities)) &&
         Set(CURLOPT_PROXY_CAINFO, none) && Set(CURLOPT_PROXY_CAPATH, tag(tls.proxy_authorities));
}

TlsSessions MakeTlsSessions() {
  TlsSessions sessions(curl_share_init(), ShareDeleter());
  if (sessions) curl_share_setopt(sessions.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  return sessions;
}

}  // namespace offline_post
