#include "http/curl_transport.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include "payload/answer.hpp"

namespace offline_post {

namespace {

constexpr RequestId kGone = std::numeric_limits<RequestId>::max();  // of no request

}  // namespace

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
  waker_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (waker_ < 0)
    return Error{Error::Kind::kUnavailable, "no event descriptor (out of descriptors?)"};
  return OpenLanes();
}

Status CurlTransport::OpenLanes() {
  sockets_ = std::make_unique<Lane>(Lane::Kind::kSockets);
  streams_ = std::make_unique<Lane>(Lane::Kind::kStreams);
  for (Lane* lane : {sockets_.get(), streams_.get()}) {
    if (Status status = lane->Open()) return status;
  }
  SetConnectionLimit(connection_limit_);
  return std::nullopt;
}

void CurlTransport::Close() {
  for (auto& [id, flight] : in_flight_) flight.lane->Remove(flight.transfer->handle());
  in_flight_.clear();
  queue_.clear();
  failed_.clear();
  idle_.clear();
  retired_.clear();
  sockets_.reset();
  streams_.reset();
  scouted_.clear();
  origins_.clear();
  left_over_ = false;
  if (waker_ >= 0) close(waker_);
  waker_ = -1;
}

std::vector<Lane*> CurlTransport::Lanes() const {
  std::vector<Lane*> lanes = {sockets_.get(), streams_.get()};
  for (const auto& lane : retired_) lanes.push_back(lane.get());
  return lanes;
}

void CurlTransport::SetConnectionLimit(int limit) {
  connection_limit_ = std::max(1, limit);
  for (const Lane* lane : {sockets_.get(), streams_.get()}) {
    if (lane != nullptr && lane->multi() != nullptr)
      curl_multi_setopt(lane->multi(), CURLMOPT_MAXCONNECTS, static_cast<long>(connection_limit_));
  }
}

// libcurl 7.88 closes idle connections with their multi handle only.
void CurlTransport::Reconnect() {
  if (!sockets_ || (!sockets_->used() && !streams_->used() && origins_.empty())) return;
  auto sockets = std::exchange(sockets_, nullptr);
  auto streams = std::exchange(streams_, nullptr);
  if (OpenLanes()) {  // out of descriptors: the old ones serve on
    sockets_ = std::move(sockets);
    streams_ = std::move(streams);
    return;
  }
  retired_.push_back(std::move(sockets));
  retired_.push_back(std::move(streams));
  std::erase_if(retired_, [](const auto& lane) { return lane->in_flight() == 0; });
  for (auto& [id, flight] : in_flight_) flight.origin = nullptr;
  for (KnownOrigin* origin : std::exchange(scouted_, {})) ReleaseWaiting(*origin);
  origins_.clear();
}

// A connection with many requests is never idle, so libcurl does not find that it is too old.
void CurlTransport::RenewStreams(Millis max_age_ms, Millis now) {
  if (!streams_->used()) streams_since_ms_ = now;
  if (now - streams_since_ms_ < max_age_ms) return;
  auto fresh = std::make_unique<Lane>(Lane::Kind::kStreams);
  if (fresh->Open()) return;
  retired_.push_back(std::exchange(streams_, std::move(fresh)));
  std::erase_if(retired_, [](const auto& lane) { return lane->in_flight() == 0; });
  SetConnectionLimit(connection_limit_);
  streams_since_ms_ = now;
}

// A session is resumed no longer than a connection lives, so certificates are verified as often.
KnownOrigin* CurlTransport::Know(const Endpoint& endpoint, Millis now) {
  if (endpoint.origin.scheme != "https" && !endpoint.origin.tls.proxy_authorities) return nullptr;
  KnownOrigin& origin = origins_[endpoint.origin];
  const auto since = origin.sessions_since_ms;
  if (!since || now - *since >= endpoint.connection_max_age_ms) {
    origin.sessions = MakeTlsSessions();
    origin.sessions_since_ms = now;
  }
  return &origin;
}

void CurlTransport::Send(Request request) {
  queue_.push_back({std::move(request), clock_.MonotonicMs()});
}

void CurlTransport::Start(QueuedRequest queued) {
  const Endpoint& endpoint = *queued.request.endpoint;
  const Millis now = clock_.MonotonicMs();
  KnownOrigin* origin = Know(endpoint, now);
  if (origin == nullptr || !Transfer::MaySpeakHttp2(endpoint.origin))
    return Launch(std::move(queued.request), origin, false);
  RenewStreams(endpoint.connection_max_age_ms, now);
  if (origin->speaks == KnownOrigin::Speaks::kHttp2)
    return Launch(std::move(queued.request), origin, true);
  const bool known = origin->speaks == KnownOrigin::Speaks::kHttp1;
  const bool old = known && now - origin->learned_ms >= endpoint.connection_max_age_ms;
  if (origin->scout == 0 && (!known || old)) {
    origin->scout = queued.request.id;
    scouted_.push_back(origin);
    return Launch(std::move(queued.request), origin, true);
  }
  if (known) return Launch(std::move(queued.request), origin, false);
  origin->waiting.push_back(std::move(queued));
}

void CurlTransport::Launch(Request request, KnownOrigin* origin, bool http2) {
  const RequestId id = request.id;
  Flight flight{nullptr, http2 ? streams_.get() : sockets_.get(), origin};
  if (idle_.empty()) {
    flight.transfer = std::make_unique<Transfer>();
  } else {
    flight.transfer = std::move(idle_.back());
    idle_.pop_back();
  }
  const Way way{http2, origin == nullptr ? nullptr : origin->sessions};
  if (flight.transfer->Prepare(std::move(request), way) &&
      flight.lane->Add(flight.transfer->handle())) {
    in_flight_.emplace(id, std::move(flight));
    return;
  }
  Leave(id, flight);
  failed_.push_back(std::move(flight.transfer));
}

// False: some are left over. Each may be a new connection, with a handshake to begin.
bool CurlTransport::StartQueued(SteadyTime until) {
  constexpr int kTogether = 8;
  constexpr std::size_t kScouts = 2;
  const std::size_t most_scouts = scouted_.size() + kScouts;
  while (!queue_.empty()) {
    for (int i = 0; i < kTogether && !queue_.empty() && scouted_.size() < most_scouts; ++i) {
      QueuedRequest queued = std::move(queue_.front());
      queue_.pop_front();
      Start(std::move(queued));
    }
    sockets_->Begin();
    if (scouted_.size() >= most_scouts || std::chrono::steady_clock::now() >= until) break;
  }
  return queue_.empty();
}

// To be started, in their order; or given up by those that have waited long enough.
void CurlTransport::ReleaseWaiting(KnownOrigin& origin) {
  const Millis now = clock_.MonotonicMs();
  std::vector<QueuedRequest> waiting = std::exchange(origin.waiting, {});
  std::reverse(waiting.begin(), waiting.end());
  for (QueuedRequest& queued : waiting) {
    Request& request = queued.request;
    const Millis waited = now - queued.since_ms;
    if (origin.speaks == KnownOrigin::Speaks::kUnknown &&
        waited >= request.endpoint->connect_timeout_ms) {
      request.fault = "no connection within " + std::to_string(waited) + " ms";
    }
    queue_.push_front(std::move(queued));
  }
}

// What a scout's connection shows, and the end of a wait for it.
void CurlTransport::WatchScouts() {
  if (scouted_.empty()) return;
  const Millis now = clock_.MonotonicMs();
  std::erase_if(scouted_, [this, now](KnownOrigin* origin) {
    const auto scout = in_flight_.find(origin->scout);
    if (scout != in_flight_.end() && !scout->second.transfer->connected()) {
      const bool late = std::any_of(
          origin->waiting.begin(), origin->waiting.end(), [now](const QueuedRequest& queued) {
            return now - queued.since_ms >= queued.request.endpoint->connect_timeout_ms;
          });
      if (late) ReleaseWaiting(*origin);
      return false;
    }
    if (scout != in_flight_.end()) {
      origin->speaks = scout->second.transfer->speaks_http2() ? KnownOrigin::Speaks::kHttp2
                                                              : KnownOrigin::Speaks::kHttp1;
      origin->learned_ms = now;
    }
    origin->scout = 0;
    ReleaseWaiting(*origin);
    return true;
  });
}

void CurlTransport::Cancel(RequestId id) {
  std::erase_if(failed_, [id](const auto& transfer) { return transfer->request().id == id; });
  const auto is_it = [id](const QueuedRequest& queued) { return queued.request.id == id; };
  std::erase_if(queue_, is_it);
  for (KnownOrigin* origin : scouted_) std::erase_if(origin->waiting, is_it);
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) return;
  found->second.lane->Remove(found->second.transfer->handle());
  Leave(id, found->second);
  in_flight_.erase(found);
}

// A request ends. WatchScouts sees that its origin has no scout any more.
void CurlTransport::Leave(RequestId id, const Flight& flight) {
  if (flight.origin == nullptr) return;
  KnownOrigin& origin = *flight.origin;
  if (flight.transfer->connected() && flight.transfer->OfferedHttp2()) {
    origin.speaks =
        flight.transfer->speaks_http2() ? KnownOrigin::Speaks::kHttp2 : KnownOrigin::Speaks::kHttp1;
    origin.learned_ms = clock_.MonotonicMs();
  }
  // An id that no request has: the scout is gone.
  if (origin.scout == id) origin.scout = kGone;
}

bool CurlTransport::Perform(TransportListener& listener) {
  const SteadyTime until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kSliceMs);
  bool done = false;
  WatchScouts();
  bool all = StartQueued(until);
  for (auto& transfer : std::exchange(failed_, {})) {
    done = true;
    Finish(*transfer, CURLE_FAILED_INIT, listener);
  }
  for (Lane* lane : Lanes()) {
    all = lane->Perform(until) && all;
    done = HandOver(*lane, listener) || done;
  }
  WatchScouts();
  std::erase_if(retired_, [](const auto& lane) { return lane->in_flight() == 0; });
  left_over_ = !all;
  return done;
}

bool CurlTransport::HandOver(Lane& lane, TransportListener& listener) {
  bool done = false;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(lane.multi(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    done = true;
    CURL* easy = message->easy_handle;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    lane.Remove(easy);
    const RequestId id = transfer->request().id;
    auto node = in_flight_.extract(id);
    Leave(id, node.mapped());
    if (node.mapped().origin != nullptr && transfer->BrokenHandshake(code))
      node.mapped().origin->sessions.reset();
    Finish(*transfer, code, listener);
    Recycle(std::move(node.mapped().transfer));
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
  // While streams of a retired lane run, nobody waits for their sockets; while requests wait for a
  // scout, nobody but WatchScouts has their time-outs.
  constexpr Millis kShort = 10;
  constexpr Millis kScoutMs = 50;
  if (left_over_ || !queue_.empty() || !failed_.empty()) timeout_ms = 0;
  if (!scouted_.empty()) timeout_ms = std::min(timeout_ms, kScoutMs);
  std::vector<curl_waitfd> descriptors;
  descriptors.push_back({waker_, CURL_WAIT_POLLIN, 0});
  for (const Lane* lane : Lanes()) {
    const Millis due = lane->DueMs();
    if (due >= 0) timeout_ms = std::min(timeout_ms, due);
    if (lane->descriptor() >= 0) {
      descriptors.push_back({lane->descriptor(), CURL_WAIT_POLLIN, 0});
    } else if (lane != streams_.get()) {
      timeout_ms = std::min(timeout_ms, kShort);
    }
  }
  curl_multi_poll(streams_->multi(), descriptors.data(), static_cast<unsigned>(descriptors.size()),
                  static_cast<int>(std::clamp<Millis>(timeout_ms, 0, kLongest)), nullptr);
  if (descriptors.front().revents != 0) {
    std::uint64_t count = 0;
    while (read(waker_, &count, sizeof(count)) > 0) {
    }
  }
}

void CurlTransport::Wakeup() const {
  const std::uint64_t one = 1;
  while (write(waker_, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

}  // namespace offline_post
