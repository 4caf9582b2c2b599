// CurlTransport: requests through libcurl, by a SocketLoop those over HTTP/1.1, by a multi handle
// of their own those that may share a connection. It starts whatever it is given at once, so the
// caller keeps within SetConnectionLimit.
//
// Threads: the engine's; Wakeup any, between Open and Close.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/notices.hpp"
#include "engine/transport.hpp"
#include "http/socket_loop.hpp"
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

  // Reads and writes what is ready, and hands over what is done. True: something was.
  bool Perform(TransportListener& listener);
  // Waits for a socket, a Wakeup, or `timeout_ms`.
  void Wait(Millis timeout_ms);
  void Wakeup();

  std::size_t in_flight() const { return in_flight_.size(); }

 private:
  CURLM* MultiOf(const Transfer& transfer) const;
  bool HandOver(CURLM* multi, TransportListener& listener);
  void Finish(Transfer& transfer, CURLcode code, TransportListener& listener);
  void SayFallback(const Endpoint& endpoint);
  void Recycle(std::unique_ptr<Transfer> transfer);

  const Clock& clock_;
  Notices* const notices_;
  std::set<std::string> fallbacks_;  // origins of which it was said; as many as are configured
  std::unordered_map<RequestId, std::unique_ptr<Transfer>> in_flight_;
  std::vector<std::unique_ptr<Transfer>> idle_;    // easy handles to use again
  std::vector<std::unique_ptr<Transfer>> failed_;  // never started; reported by the next Perform
  // After the transfers: they leave these before they go.
  SocketLoop sockets_;   // HTTP/1.1
  MultiHandle streams_;  // what may speak HTTP/2; also what Wait waits with
  int connection_limit_ = 1;
};

}  // namespace offline_post
