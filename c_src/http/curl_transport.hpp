// CurlTransport: requests through libcurl, by two lanes: one for connections over HTTP/1.1, one for
// those that may share a connection. It starts whatever it is given as soon as a turn has room, so
// the caller keeps within SetConnectionLimit.
//
// An origin whose protocol is not known yet is asked by one request; the others wait until it has a
// connection. So many new connections to one origin are made over HTTP/1.1 alone, which can be
// handled one by one.
//
// Threads: the engine's; Wakeup any, between Open and Close.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/notices.hpp"
#include "engine/transport.hpp"
#include "http/known_origin.hpp"
#include "http/lane.hpp"
#include "http/transfer.hpp"
#include "model/clock.hpp"
#include "model/result.hpp"

namespace offline_post {

class CurlTransport final : public Transport {
 public:
  // What is read of an answer (see Transfer) is bounded: one whose body is longer is as good as its
  // status; its connection is closed. `notices`, if any, outlives this.
  explicit CurlTransport(const Clock& clock, Notices* notices = nullptr);
  ~CurlTransport() override;
  CurlTransport(const CurlTransport&) = delete;
  CurlTransport& operator=(const CurlTransport&) = delete;

  // Initialises libcurl for the process. Before any other thread uses it; again is harmless.
  static Status InitLibrary();

  Status Open();
  // Drops what is in flight and closes every descriptor. Send only after another Open.
  void Close();

  // How many connections may be kept open, over all origins; by either handle.
  void SetConnectionLimit(int limit);

  void Send(Request request) override;
  void Cancel(RequestId id) override;

  // From now on requests are sent over new connections, with new look-ups of names and new TLS
  // sessions. Idle connections are closed at once; the others when their requests end.
  void Reconnect();

  // Reads and writes what is ready, and hands over what is done. Takes about kSliceMs at most, but
  // for what libcurl does in one call; the rest is left to the next call. True: something was done.
  static constexpr Millis kSliceMs = 2;
  bool Perform(TransportListener& listener);
  // Waits for a socket, a Wakeup, or `timeout_ms`.
  void Wait(Millis timeout_ms);
  void Wakeup() const;

  std::size_t in_flight() const { return in_flight_.size(); }  // started

 private:
  struct Flight {
    std::unique_ptr<Transfer> transfer;
    Lane* lane = nullptr;
    KnownOrigin* origin = nullptr;  // none: without TLS, or from before a Reconnect
  };

  Status OpenLanes();
  KnownOrigin* Know(const Endpoint& endpoint, Millis now);
  void Start(QueuedRequest queued);
  void Launch(Request request, KnownOrigin* origin, bool http2);
  bool StartQueued(SteadyTime until);
  void RenewStreams(Millis max_age_ms, Millis now);
  void ReleaseWaiting(KnownOrigin& origin);
  void WatchScouts();
  bool HandOver(Lane& lane, TransportListener& listener);
  void Leave(RequestId id, const Flight& flight);
  void Finish(Transfer& transfer, CURLcode code, TransportListener& listener);
  void SayFallback(const Endpoint& endpoint);
  void Recycle(std::unique_ptr<Transfer> transfer);
  std::vector<Lane*> Lanes() const;

  const Clock& clock_;
  Notices* const notices_;
  std::set<std::string> fallbacks_;  // origins of which it was said; as many as are configured
  std::map<Origin, KnownOrigin> origins_;  // with TLS
  std::vector<KnownOrigin*> scouted_;      // with a scout
  std::deque<QueuedRequest> queue_;
  std::unordered_map<RequestId, Flight> in_flight_;
  std::vector<std::unique_ptr<Transfer>> idle_;    // easy handles to use again
  std::vector<std::unique_ptr<Transfer>> failed_;  // never started; reported by the next Perform
  // After the transfers: they leave these before they go.
  std::unique_ptr<Lane> sockets_;               // HTTP/1.1
  std::unique_ptr<Lane> streams_;               // what may speak HTTP/2
  Millis streams_since_ms_ = 0;                 // when the first request was added
  std::vector<std::unique_ptr<Lane>> retired_;  // with requests in flight, and no new ones
  bool left_over_ = false;                      // by the last Perform
  int waker_ = -1;                              // an eventfd
  int connection_limit_ = 1;
};

}  // namespace offline_post
