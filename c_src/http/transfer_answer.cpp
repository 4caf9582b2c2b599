// Transfer: the answer that came, and what is wrong with it.
#include <algorithm>
#include <charconv>

#include "http/tls_files.hpp"
#include "http/transfer.hpp"
#include "http/x509.hpp"
#include "model/ascii.hpp"

namespace offline_post {

namespace {

constexpr std::size_t kLongestFailure = 600;

bool IsSame(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(),
                    [](char x, char y) { return Lower(x) == y; });
}

// RFC 9112, section 4; HTTP/2's has no minor version. One that it cannot read libcurl 7.88 takes
// for "HTTP/1.0 200".
bool IsStatusLine(std::string_view line) {
  if (!line.starts_with("HTTP/")) return false;
  line.remove_prefix(5);
  const std::size_t blank = std::min(line.find(' '), line.size());
  const std::string_view version = line.substr(0, blank);
  const std::string_view rest = line.substr(blank);
  const bool known = (version.size() == 1 || (version.size() == 3 && version[1] == '.')) &&
                     IsDigit(version.front()) && IsDigit(version.back());
  return known && rest.size() > 4 && IsDigit(rest[1]) && IsDigit(rest[2]) && IsDigit(rest[3]) &&
         !IsDigit(rest[4]);
}

}  // namespace

std::size_t Transfer::OnHeader(char* data, std::size_t, std::size_t size, void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  const bool guarded = transfer.guards_head_ && !transfer.head_ended_;
  if (!guarded && !transfer.GuardHead({data, size})) return 0;
  return transfer.ReadHeaderLine({data, size}) ? size : 0;
}

// A folded line in the first header's place is refused, as RFC 9112, 2.2, allows. With
// CURLOPT_HEADER the body's callback is given every line of the head, a long one in pieces. libcurl
// 7.88.1 does so before it stores the line and calls OnHeader, and stops there if this refuses
// (lib/sendf.c, chop_write). In HTTP/2 there are no such lines: nghttp2 refuses them.
bool Transfer::GuardHead(std::string_view bytes) noexcept {
  header_bytes_ += bytes.size();
  if (header_bytes_ > kRead) fault_ = "the answer's headers are endless";
  if (!header_begun_ && (bytes.starts_with(' ') || bytes.starts_with('\t')))
    fault_ = "the answer's first header is a folded line";
  header_begun_ = true;
  return fault_ == nullptr;
}

// False: the answer cannot be trusted, see fault_.
bool Transfer::ReadHeaderLine(std::string_view line) noexcept {
  if (IsSame(line.substr(0, 5), "http/")) {
    if (!IsStatusLine(line)) {
      fault_ = "the answer's status line is invalid";
      return false;
    }
    head_ended_ = false;
    header_begun_ = false;
    chunked_ = false;
    length_.reset();
    return true;
  }
  if (head_ended_) return true;  // a trailer
  if (line == "\r\n" || line == "\n") {
    const long status = Info(CURLINFO_RESPONSE_CODE, 0);
    head_ended_ = status >= 200;  // else another head comes
    if (status == 400) wants_certificate_ = WantsCertificate(Connection());
    return true;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = Trimmed(line.substr(colon + 1));
  if (IsSame(name, "content-length")) {
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    // RFC 9112, 6.3: an answer with another length than it says has no end that can be found.
    if (error != std::errc() || end != value.data() + value.size() ||
        (length_ && *length_ != length)) {
      fault_ = "the answer's Content-Length is invalid";
      return false;
    }
    length_ = length;
  } else if (IsSame(name, "transfer-encoding")) {
    // libcurl decodes others too, though it has not asked for any.
    if (!IsSame(value, "chunked") && !IsSame(value, "identity")) {
      fault_ = "the answer's Transfer-Encoding is not chunked, the only one there is by default";
      return false;
    }
    chunked_ = IsSame(value, "chunked");
  }
  return true;
}

// While the transfer has one; none: it is without TLS.
const SSL* Transfer::Connection() const {
  curl_tlssessioninfo* tls = nullptr;
  curl_easy_getinfo(handle(), CURLINFO_TLS_SSL_PTR, &tls);
  const bool known = tls != nullptr && tls->backend == CURLSSLBACKEND_OPENSSL;
  return known ? static_cast<const SSL*>(tls->internals) : nullptr;
}

long Transfer::Info(CURLINFO info, long otherwise) const {
  long value = otherwise;
  curl_easy_getinfo(easy_.get(), info, &value);
  return value;
}

const Answer& Transfer::Finish(CURLcode code, Millis unix_now_ms) {
  const bool left_rest = code == CURLE_WRITE_ERROR && body_bytes_ > BodyLimit();
  if ((code == CURLE_OK || left_rest || AnsweredEarly(code)) && fault_ == nullptr) {
    answer_.status = static_cast<int>(Info(CURLINFO_RESPONSE_CODE, 0));
    curl_header* retry_after = nullptr;
    if (curl_easy_header(handle(), "Retry-After", 0, CURLH_HEADER, -1, &retry_after) == CURLHE_OK)
      answer_.retry_after = retry_after->value;
    answer_.failure = left_rest ? "" : Shortfall();
    if (answer_.status < 200 || !head_ended_) answer_.failure = "no complete HTTP answer came";
    // Without a tunnel the proxy's own word comes as an answer.
    if (answer_.status == 407 && !proxy_.address.empty()) answer_.failure = ProxyFailure(code);
  } else {
    answer_.failure = Printable(Failure(code, unix_now_ms), kLongestFailure);
  }
  // A connection that was made anew may have replaced a dead one, which the handle counts; so it
  // does an attempt that was repeated on another connection.
  const bool connected = Info(CURLINFO_NUM_CONNECTS, 1) != 0;
  const bool failed = code != CURLE_OK && !AnsweredEarly(code);
  if (failed || attempts_ > 1 || connected) configured_for_ = nullptr;
  return answer_;
}

// An HTTP/2 server may answer before it has our body, and close the stream (RFC 9113, 8.1): libcurl
// 7.88 then fails over the rest of the body, without a word in the error's text.
bool Transfer::AnsweredEarly(CURLcode code) const {
  return (code == CURLE_HTTP2_STREAM || code == CURLE_PARTIAL_FILE) && head_ended_ &&
         Info(CURLINFO_HTTP_VERSION, 0) == CURL_HTTP_VERSION_2_0 &&
         (error_.front() == '\0' || (length_ && *length_ == body_bytes_));
}

// libcurl 7.88 calls an HTTP/2 stream complete that was reset within its answer.
std::string Transfer::Shortfall() const {
  const bool has_body = answer_.status != 204 && answer_.status != 304;
  if (!has_body || chunked_ || !length_ || *length_ == body_bytes_) return "";
  return "the answer has " + std::to_string(body_bytes_) + " of " + std::to_string(*length_) +
         " bytes";
}

std::string Transfer::Failure(CURLcode code, Millis unix_now_ms) const {
  if (fault_ != nullptr) return fault_;
  if (std::string text = ProxyFailure(code); !text.empty()) return text;
  std::string text = error_.front() != '\0' ? error_.data() : curl_easy_strerror(code);
  return text + TlsFailure(code, unix_now_ms);
}

std::string Transfer::ProxyFailure(CURLcode code) const {
  if (proxy_.address.empty()) return "";
  const std::string who = "the proxy " + proxy_.address;
  const long tunnel = Info(CURLINFO_HTTP_CONNECTCODE, 0);
  // 401: tinyproxy's word for credentials that are wrong.
  if (tunnel == 407 || tunnel == 401 ||
      (code == CURLE_OK && Info(CURLINFO_RESPONSE_CODE, 0) == 407)) {
    return who + (proxy_.user.empty() ? " wants credentials" : " does not take these credentials") +
           " (HTTP " + std::to_string(tunnel >= 300 ? tunnel : 407) + ")";
  }
  if (code == CURLE_OK) return "";
  const char* text = error_.front() != '\0' ? error_.data() : curl_easy_strerror(code);
  if (tunnel >= 300) return who + " refuses to connect us (HTTP " + std::to_string(tunnel) + ")";
  const bool own =
      code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT || code == CURLE_PROXY;
  if (own) return who + ": " + text;
  // The first handshake is with the proxy.
  if (proxy_.tls && tunnel == 0 && contexts_ == 1 && code == CURLE_PEER_FAILED_VERIFICATION)
    return who + ": " + text + TlsFailure(code, 0);
  return "";
}

// What libcurl does not say: whose certificate, and until when it was valid; what ours has to do
// with it.
std::string Transfer::TlsFailure(CURLcode code, Millis unix_now_ms) const {
  if (peer_ == nullptr) return "";
  const bool refused = code == CURLE_PEER_FAILED_VERIFICATION;
  const std::string& theirs = peer_->problem.empty() ? peer_->certificate : peer_->problem;
  std::string text = refused && !theirs.empty() ? " (" + theirs + ")" : "";
  const bool handshake = code == CURLE_SSL_CONNECT_ERROR || code == CURLE_RECV_ERROR ||
                         code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING ||
                         code == CURLE_HTTP2;
  // libcurl also says that it was we who refused, when the server tells why it has.
  if (!(handshake || (refused && peer_->problem.empty())) || !peer_->wants_certificate) return text;
  const TlsIdentity& ours = request_.endpoint->origin.tls;
  if (ours.certificate.empty())
    return text + " (the server wants a client certificate: set client_cert and client_key)";
  const std::string trouble = CertificateTrouble(ours, unix_now_ms);
  return trouble.empty() ? text : " (our client_cert " + trouble + ")";
}

std::string Transfer::WhoseFault(Millis unix_now_ms) const {
  if (!wants_certificate_) return "";
  const TlsIdentity& ours = request_.endpoint->origin.tls;
  if (ours.certificate.empty()) return "the server wants a client certificate: set client_cert";
  const std::string trouble = CertificateTrouble(ours, unix_now_ms);
  return trouble.empty() ? "" : "our client_cert " + trouble;
}

bool Transfer::BrokenHandshake(CURLcode code) const {
  return contexts_ > 0 && (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_RECV_ERROR ||
                           code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING);
}

bool Transfer::FellBack() const {
  return request_.endpoint->origin.http_version == HttpVersion::k2 && answer_.status != 0 &&
         Info(CURLINFO_NUM_CONNECTS, 0) != 0 &&
         Info(CURLINFO_HTTP_VERSION, 0) != CURL_HTTP_VERSION_2_0;
}

}  // namespace offline_post
