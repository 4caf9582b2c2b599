#include "http/curl_transport.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "payload/answer.hpp"

namespace offline_post {

namespace {

struct EasyDeleter {
  void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
};

}  // namespace

struct CurlTransport::Transfer {
  std::unique_ptr<CURL, EasyDeleter> easy;
  Request request;                  // LIFETIME: curl reads body and headers until the transfer ends
  std::vector<curl_slist> headers;  // of `request`
  // Whose options the handle still has; none after an exchange that was not plain.
  std::shared_ptr<const Endpoint> configured_for;
  std::array<char, CURL_ERROR_SIZE> error{};
  Answer answer;
  std::size_t header_bytes = 0;
  std::size_t body_bytes = 0;
  bool head_ended = false;  // the blank line after the headers came; curl is content without
  bool cut = false;         // the answer was longer than we read

  static std::size_t OnHeader(char* data, std::size_t, std::size_t size, void* self) noexcept;
  static std::size_t OnBody(char* data, std::size_t, std::size_t size, void* self) noexcept;
  void LinkHeaders();
  bool Configure();
  bool Prepare();
};

std::size_t CurlTransport::Transfer::OnHeader(char* data, std::size_t, std::size_t size,
                                              void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.header_bytes += size;
  const std::string_view line(data, size);
  if (line.starts_with("HTTP/")) transfer.head_ended = false;  // behind a 1xx comes another head
  if (line == "\r\n" || line == "\n") transfer.head_ended = true;
  return transfer.header_bytes > kAnswerRead ? 0 : size;
}

std::size_t CurlTransport::Transfer::OnBody(char* data, std::size_t, std::size_t size,
                                            void* self) noexcept {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.body_bytes += size;
  if (transfer.body_bytes > kAnswerRead) {
    transfer.cut = true;
    return 0;
  }
  std::string& kept = transfer.answer.body;  // has room reserved: append cannot throw
  kept.append(data, std::min(size, kAnswerKept - std::min(kAnswerKept, kept.size())));
  return size;
}

// The list of headers without a copy: curl only reads it.
void CurlTransport::Transfer::LinkHeaders() {
  // An empty Expect keeps curl from waiting for "100 Continue" before a large body.
  static std::array<char, 8> no_expect{"Expect:"};
  headers.clear();
  headers.push_back({no_expect.data(), nullptr});
  for (std::string& header : request.headers) headers.push_back({header.data(), nullptr});
  for (std::size_t i = 1; i < headers.size(); ++i) headers[i - 1].next = &headers[i];
}

bool CurlTransport::Transfer::Prepare() {
  answer.status = 0;
  answer.failure.clear();
  answer.retry_after.clear();
  answer.body.clear();
  answer.body.reserve(kAnswerKept);
  error.front() = '\0';
  header_bytes = 0;
  body_bytes = 0;
  head_ended = false;
  cut = false;
  LinkHeaders();
  if (configured_for != request.endpoint && !Configure()) return false;
  configured_for = request.endpoint;
  CURL* handle = easy.get();
  return curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
                          static_cast<curl_off_t>(request.body.size())) == CURLE_OK &&
         // Not copied.
         curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request.body.data()) == CURLE_OK &&
         curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.data()) == CURLE_OK;
}

// Sets every option anew: libcurl 7.88 clears an easy handle's count of retries in curl_easy_reset
// alone, and after five dead connections would refuse the handle for good.
bool CurlTransport::Transfer::Configure() {
  const Endpoint& endpoint = *request.endpoint;
  const bool verify = endpoint.origin.tls_verify;
  CURL* handle = easy.get();
  curl_easy_reset(handle);
  bool ok = true;
  const auto set = [&ok, handle](CURLoption option, auto value) {
    ok = curl_easy_setopt(handle, option, value) == CURLE_OK && ok;
  };
  set(CURLOPT_URL, endpoint.post_url.c_str());
  set(CURLOPT_POST, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(endpoint.timeout_ms));
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(endpoint.connect_timeout_ms));
  set(CURLOPT_NOSIGNAL, 1L);    // this is somebody else's process
  set(CURLOPT_QUICK_EXIT, 1L);  // a name server that does not answer must not hold up a stop
  set(CURLOPT_PROXY, "");       // what the environment says is not the operator's configuration
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  if (endpoint.origin.scheme == "https") {
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
    set(CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    if (!endpoint.origin.ca_file.empty()) {
      set(CURLOPT_CAINFO, endpoint.origin.ca_file.c_str());
      set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));  // these authorities, and no others
    }
  }
  set(CURLOPT_ERRORBUFFER, error.data());
  set(CURLOPT_PRIVATE, static_cast<void*>(this));
  set(CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
  set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  set(CURLOPT_WRITEDATA, static_cast<void*>(this));
  return ok;
}

CurlTransport::CurlTransport(const Clock& clock) : clock_(clock) {}

CurlTransport::~CurlTransport() { Close(); }

Status CurlTransport::InitLibrary() {
  static std::once_flag once;
  static Status status;
  std::call_once(once, [] {
    const curl_version_info_data* version = curl_version_info(CURLVERSION_NOW);
    if ((version->features & CURL_VERSION_THREADSAFE) == 0) {
      status = Error{Error::Kind::kUnavailable, std::string("libcurl ") + version->version +
                                                    " cannot be initialised beside other threads: "
                                                    "install one built thread-safe (7.84 on)"};
    } else if (const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT); code != CURLE_OK) {
      status =
          Error{Error::Kind::kUnavailable, std::string("libcurl: ") + curl_easy_strerror(code)};
    }
  });
  return status;
}

Status CurlTransport::Open() {
  multi_.reset(curl_multi_init());
  if (!multi_)
    return Error{Error::Kind::kUnavailable, "libcurl: no multi handle (out of descriptors?)"};
  SetConnectionLimit(connection_limit_);
  return std::nullopt;
}

void CurlTransport::Close() {
  for (auto& [id, transfer] : in_flight_)
    curl_multi_remove_handle(multi_.get(), transfer->easy.get());
  in_flight_.clear();
  failed_.clear();
  idle_.clear();
  multi_.reset();
}

void CurlTransport::SetConnectionLimit(int limit) {
  connection_limit_ = std::max(1, limit);
  if (multi_)
    curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, static_cast<long>(connection_limit_));
}

void CurlTransport::Send(Request request) {
  std::unique_ptr<Transfer> transfer;
  if (idle_.empty()) {
    transfer = std::make_unique<Transfer>();
    transfer->easy.reset(curl_easy_init());
  } else {
    transfer = std::move(idle_.back());
    idle_.pop_back();
  }
  transfer->request = std::move(request);
  const bool started = transfer->easy && transfer->Prepare() &&
                       curl_multi_add_handle(multi_.get(), transfer->easy.get()) == CURLM_OK;
  if (started) {
    const RequestId id = transfer->request.id;
    in_flight_.emplace(id, std::move(transfer));
  } else {
    failed_.push_back(std::move(transfer));
  }
}

void CurlTransport::Cancel(RequestId id) {
  std::erase_if(failed_, [id](const auto& transfer) { return transfer->request.id == id; });
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) return;
  curl_multi_remove_handle(multi_.get(), found->second->easy.get());
  in_flight_.erase(found);
}

bool CurlTransport::Perform(TransportListener& listener) {
  bool done = false;
  for (auto& transfer : std::exchange(failed_, {})) {
    done = true;
    Finish(*transfer, CURLE_FAILED_INIT, listener);
  }
  int running = 0;
  curl_multi_perform(multi_.get(), &running);
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    done = true;
    CURL* easy = message->easy_handle;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi_.get(), easy);
    auto node = in_flight_.extract(transfer->request.id);
    Finish(*transfer, code, listener);
    Recycle(std::move(node.mapped()));
  }
  return done;
}

void CurlTransport::Finish(Transfer& transfer, CURLcode code, TransportListener& listener) {
  Answer& answer = transfer.answer;
  const bool cut_by_us = code == CURLE_WRITE_ERROR && transfer.cut;
  if (code == CURLE_OK || cut_by_us) {
    long status = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
    answer.status = static_cast<int>(status);
    curl_header* retry_after = nullptr;
    if (curl_easy_header(transfer.easy.get(), "Retry-After", 0, CURLH_HEADER, -1, &retry_after) ==
        CURLHE_OK) {
      answer.retry_after = retry_after->value;
    }
  }
  if (code == CURLE_OK || cut_by_us) {
    if (answer.status < 200 || !transfer.head_ended)
      answer.failure = "no complete HTTP answer came";
  } else if (transfer.header_bytes > kAnswerRead) {
    answer.failure = "the answer's headers are endless";
  } else {
    answer.failure =
        transfer.error.front() != '\0' ? transfer.error.data() : curl_easy_strerror(code);
  }
  // A connection that was made anew may have replaced a dead one, which the handle counts.
  long new_connections = 1;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_NUM_CONNECTS, &new_connections);
  if (code != CURLE_OK || new_connections != 0) transfer.configured_for = nullptr;
  const RequestId id = transfer.request.id;
  listener.OnDone(id, ReadAnswer(transfer.request, answer, clock_.UnixMs()));
}

void CurlTransport::Recycle(std::unique_ptr<Transfer> transfer) {
  transfer->request = {};
  idle_.push_back(std::move(transfer));
}

void CurlTransport::Wait(Millis timeout_ms) {
  constexpr Millis kLongest = 60'000;
  curl_multi_poll(multi_.get(), nullptr, 0,
                  static_cast<int>(std::clamp<Millis>(timeout_ms, 0, kLongest)), nullptr);
}

void CurlTransport::Wakeup() { curl_multi_wakeup(multi_.get()); }

}  // namespace offline_post
