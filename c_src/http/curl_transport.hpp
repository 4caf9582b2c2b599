// CurlTransport: requests through one libcurl multi handle. It starts whatever it is given at once,
// so the caller keeps within SetConnectionLimit.
//
// Threads: the engine's; Wakeup any, between Open and Close.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/transport.hpp"
#include "model/clock.hpp"
#include "model/result.hpp"

namespace offline_post {

class CurlTransport final : public Transport {
 public:
  // What is kept of an answer's body, and what is read of one at all, headers and body each
  // (bytes). An answer that is longer is as good as its status; its connection is closed.
  static constexpr std::size_t kAnswerKept = 512;
  static constexpr std::size_t kAnswerRead = std::size_t{64} * 1024;

  explicit CurlTransport(const Clock& clock);
  ~CurlTransport() override;
  CurlTransport(const CurlTransport&) = delete;
  CurlTransport& operator=(const CurlTransport&) = delete;

  // Initialises libcurl for the process. Before any other thread uses it; again is harmless.
  static Status InitLibrary();

  Status Open();
  // Drops what is in flight and closes every descriptor. Send only after another Open.
  void Close();

  // How many connections may be kept open, over all origins.
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
  struct Transfer;
  struct MultiDeleter {
    void operator()(CURLM* multi) const noexcept { curl_multi_cleanup(multi); }
  };

  void Finish(Transfer& transfer, CURLcode code, TransportListener& listener);
  void Recycle(std::unique_ptr<Transfer> transfer);

  const Clock& clock_;
  std::unordered_map<RequestId, std::unique_ptr<Transfer>> in_flight_;
  std::vector<std::unique_ptr<Transfer>> idle_;    // easy handles to use again
  std::vector<std::unique_ptr<Transfer>> failed_;  // never started; reported by the next Perform
  std::unique_ptr<CURLM, MultiDeleter> multi_;  // after the transfers: they leave it before it goes
  int connection_limit_ = 1;
};

}  // namespace offline_post
