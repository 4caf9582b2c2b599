// Transfer: one easy handle of libcurl with what it reads and what it has got; used for one request
// after another.
//
// Threads: the transport's.
#pragma once

#include <curl/curl.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/peer.hpp"
#include "http/proxy.hpp"
#include "model/clock.hpp"
#include "model/request.hpp"
#include "payload/answer.hpp"

namespace offline_post {

// TLS sessions that connections of several handles resume.
struct ShareDeleter {
  void operator()(CURLSH* share) const noexcept { curl_share_cleanup(share); }
};
using TlsSessions = std::shared_ptr<CURLSH>;
// None: out of memory, and nothing is resumed.
TlsSessions MakeTlsSessions();

// What a request is sent with beside what its endpoint says.
struct Way {
  bool http2 = false;    // HTTP/2 is offered, in a handle for that
  TlsSessions sessions;  // none: without TLS
};

class Transfer {
 public:
  // What is read of an answer, headers and body each (bytes); of a body more, where more is worth
  // keeping.
  static constexpr std::size_t kRead = std::size_t{64} * 1024;

  Transfer() : easy_(curl_easy_init()) {}

  // Makes the handle ready for this request. False: libcurl refuses; give the transfer up.
  bool Prepare(Request request, const Way& way);

  // What came, after libcurl is done with it.
  const Answer& Finish(CURLcode code, Millis unix_now_ms);

  // After Finish, of an answer that the status calls the message's own fault: why it is rather the
  // configuration's. Empty: it is not.
  std::string WhoseFault(Millis unix_now_ms) const;

  // The request has a connection. Over TLS: whether HTTP/2 is spoken on it.
  bool connected() const { return attempts_ > 0; }
  bool speaks_http2() const { return speaks_http2_; }
  bool OfferedHttp2() const { return way_.http2; }

  // The server may have broken a connection that was made for this request, over its TLS.
  bool BrokenHandshake(CURLcode code) const;

  // After Finish, of a request that has made a connection of its own: not even HTTP/2 was offered,
  // though it is what the operator wants.
  bool FellBack() const;

  // Forgets the request, and what it held.
  void Clear();

  // Whether a connection to this origin may speak HTTP/2, so that many requests share it.
  static bool MaySpeakHttp2(const Origin& origin);

  CURL* handle() const { return easy_.get(); }
  const Request& request() const { return request_; }

 private:
  struct EasyDeleter {
    void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
  };
  struct UrlDeleter {
    void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
  };

  static std::size_t OnHeader(char* data, std::size_t, std::size_t size, void* self) noexcept;
  static std::size_t OnBody(char* data, std::size_t, std::size_t size, void* self) noexcept;
  static CURLcode OnContext(CURL*, void* context, void* self) noexcept;
  static int OnAttempt(void* self, char*, char*, int, int) noexcept;

  void Reset();
  void Renew();
  const SSL* Connection() const;
  void LinkHeaders();
  bool Configure();
  bool SetUrl();
  bool SetProxy();
  bool SetTls();
  bool SetAuthorities();
  const Authorities* AuthoritiesOfNext() const;
  bool SetBlob(CURLoption option, const std::string& text);
  template <typename Value>
  bool Set(CURLoption option, Value value) {
    return curl_easy_setopt(easy_.get(), option, value) == CURLE_OK;
  }
  long Info(CURLINFO info, long otherwise) const;

  bool GuardHead(std::string_view bytes) noexcept;
  bool ReadHeaderLine(std::string_view line) noexcept;
  std::size_t BodyLimit() const;
  std::string Failure(CURLcode code, Millis unix_now_ms) const;
  bool AnsweredEarly(CURLcode code) const;
  std::string Shortfall() const;
  std::string ProxyFailure(CURLcode code) const;
  std::string TlsFailure(CURLcode code, Millis unix_now_ms) const;

  std::unique_ptr<CURLU, UrlDeleter> url_;  // of configured_for_; read by easy_
  std::unique_ptr<CURL, EasyDeleter> easy_;
  Request request_;  // LIFETIME: curl reads body and headers until the transfer ends
  std::vector<curl_slist> headers_;  // of `request_`
  // Whose options the handle still has; none after an exchange that was not plain.
  std::shared_ptr<const Endpoint> configured_for_;
  bool guards_head_ = false;  // the body's callback gets the head's lines too; see GuardHead
  bool has_own_url_ = false;  // the request's, not the endpoint's
  Proxy proxy_;               // of configured_for_; an empty address: none
  Way way_;
  std::array<char, CURL_ERROR_SIZE> error_{};
  std::shared_ptr<const Peer> peer_;  // of the connection that it has made, or tried to
  int contexts_ = 0;                  // for TLS, made for this request: the proxy's, the origin's
  int attempts_ = 0;                  // libcurl's own, on one connection or another
  bool speaks_http2_ = false;

  Answer answer_;
  std::size_t kept_ = 0;  // bytes of the body that are worth keeping
  std::size_t header_bytes_ = 0;
  std::size_t body_bytes_ = 0;
  std::optional<std::uint64_t> length_;  // as the head says; none: chunked, or to the end
  bool head_ended_ = false;    // the blank line after the headers came; curl is content without
  bool header_begun_ = false;  // behind the status line
  bool chunked_ = false;
  const char* fault_ = nullptr;  // in the head: why the rest was not read
  bool wants_certificate_ = false;
};

}  // namespace offline_post
