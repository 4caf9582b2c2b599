#include "http/curl_transport.hpp"

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "payload/answer.hpp"

namespace offline_post {

CurlTransport::CurlTransport(const Clock& clock, Notices* notices)
    : clock_(clock), notices_(notices) {}

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
  if (Status status = sockets_.Open()) return status;
  streams_.reset(curl_multi_init());
  if (!streams_)
    return Error{Error::Kind::kUnavailable, "libcurl: no multi handle (out of descriptors?)"};
  SetConnectionLimit(connection_limit_);
  return std::nullopt;
}

void CurlTransport::Close() {
  for (auto& [id, transfer] : in_flight_)
    curl_multi_remove_handle(MultiOf(*transfer), transfer->handle());
  in_flight_.clear();
  failed_.clear();
  idle_.clear();
  sockets_.Close();
  streams_.reset();
}

void CurlTransport::SetConnectionLimit(int limit) {
  connection_limit_ = std::max(1, limit);
  for (CURLM* multi : {sockets_.multi(), streams_.get()}) {
    if (multi != nullptr)
      curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(connection_limit_));
  }
}

CURLM* CurlTransport::MultiOf(const Transfer& transfer) const {
  return Transfer::MaySpeakHttp2(transfer.request()) ? streams_.get() : sockets_.multi();
}

void CurlTransport::Send(Request request) {
  std::unique_ptr<Transfer> transfer;
  if (idle_.empty()) {
    transfer = std::make_unique<Transfer>();
  } else {
    transfer = std::move(idle_.back());
    idle_.pop_back();
  }
  const RequestId id = request.id;
  const bool started = transfer->Prepare(std::move(request)) &&
                       curl_multi_add_handle(MultiOf(*transfer), transfer->handle()) == CURLM_OK;
  if (started) {
    in_flight_.emplace(id, std::move(transfer));
  } else {
    failed_.push_back(std::move(transfer));
  }
}

void CurlTransport::Cancel(RequestId id) {
  std::erase_if(failed_, [id](const auto& transfer) { return transfer->request().id == id; });
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) return;
  curl_multi_remove_handle(MultiOf(*found->second), found->second->handle());
  in_flight_.erase(found);
}

bool CurlTransport::Perform(TransportListener& listener) {
  bool done = false;
  for (auto& transfer : std::exchange(failed_, {})) {
    done = true;
    Finish(*transfer, CURLE_FAILED_INIT, listener);
  }
  sockets_.Perform();
  int running = 0;
  curl_multi_perform(streams_.get(), &running);
  for (CURLM* multi : {sockets_.multi(), streams_.get()}) done = HandOver(multi, listener) || done;
  return done;
}

bool CurlTransport::HandOver(CURLM* multi, TransportListener& listener) {
  bool done = false;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    done = true;
    CURL* easy = message->easy_handle;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi, easy);
    auto node = in_flight_.extract(transfer->request().id);
    Finish(*transfer, code, listener);
    Recycle(std::move(node.mapped()));
  }
  return done;
}

void CurlTransport::Finish(Transfer& transfer, CURLcode code, TransportListener& listener) {
  const Millis now = clock_.UnixMs();
  const Answer& answer = transfer.Finish(code, now);
  std::vector<Outcome> outcomes = ReadAnswer(transfer.request(), answer, now);
  if (answer.failure.empty() && answer.status == 400) {
    // Some servers answer so to whoever has not shown them a certificate.
    if (const std::string fault = transfer.WhoseFault(now); !fault.empty()) {
      for (Outcome& outcome : outcomes) {
        outcome.kind = OutcomeClass::kMisconfigured;
        outcome.reason += ": " + fault;
      }
    }
  }
  if (transfer.FellBack()) SayFallback(*transfer.request().endpoint);
  listener.OnDone(transfer.request().id, std::move(outcomes));
}

// Once: what an operator wants and does not get, though all works.
void CurlTransport::SayFallback(const Endpoint& endpoint) {
  const std::string origin = OriginText(endpoint.origin);
  if (notices_ == nullptr || !fallbacks_.insert(origin).second) return;
  notices_->Add(Notice::Level::kWarning,
                endpoint.key.vhost + ": " + origin +
                    " does not speak HTTP/2, and gets HTTP/1.1 instead (http_version: auto does "
                    "so without this line)");
}

void CurlTransport::Recycle(std::unique_ptr<Transfer> transfer) {
  transfer->Clear();
  idle_.push_back(std::move(transfer));
}

void CurlTransport::Wait(Millis timeout_ms) {
  constexpr Millis kLongest = 60'000;
  const Millis due = sockets_.DueMs();
  if (due >= 0) timeout_ms = std::min(timeout_ms, due);
  curl_waitfd sockets{sockets_.descriptor(), CURL_WAIT_POLLIN, 0};
  curl_multi_poll(streams_.get(), &sockets, 1,
                  static_cast<int>(std::clamp<Millis>(timeout_ms, 0, kLongest)), nullptr);
}

void CurlTransport::Wakeup() { curl_multi_wakeup(streams_.get()); }

}  // namespace offline_post
