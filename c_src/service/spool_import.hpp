// SpoolImport: takes over what another node's spool has left, endpoint by endpoint, a slice at a
// time. How far it came is in this node's own spool with what it took, so it may be begun again at
// any time. One at a time.
//
// Threads: Next on the caller's, which waits for disks; what it sends for is told on the service
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/engine.hpp"
#include "outbox/spool_reader.hpp"

namespace offline_post {

class SpoolImport : public std::enable_shared_from_this<SpoolImport> {
 public:
  // Events a turn.
  static constexpr std::size_t kSlice = 500;

  struct Report {
    std::uint64_t pending = 0;    // taken over
    std::uint64_t dead = 0;       // the same, of dead letters
    std::uint64_t withdrawn = 0;  // had been, and were left out
    std::uint64_t before = 0;     // taken over by an earlier import
    std::uint64_t left = 0;       // still to be taken over: `trouble` says why
    std::string trouble;
    std::string file;  // its name now
  };

  // Hands a slice to the engine, for an endpoint that is configured. False: it is not.
  using Send = std::function<bool(const EndpointKey& key, Engine::ImportSlice slice,
                                  Engine::ImportCallback done)>;

  SpoolImport(std::string path, std::unique_ptr<SpoolReader> reader)
      : file_(std::move(path)), reader_(std::move(reader)) {}

  // Sends for the next slice; `told` when it is safe, on the service thread, and never if that
  // ends. The report, once all is done or it cannot go on: then it is over.
  std::optional<Report> Next(const Send& send, const std::function<void()>& told);
  // Lets go of the file, whatever is still on its way.
  void Close();

 private:
  enum class Step { kSent, kRead, kUnknown };
  Step SendNext(const SpoolReader::Endpoint& endpoint, const Send& send,
                const std::function<void()>& told);
  void Leave(const SpoolReader::Endpoint& endpoint, const std::string& why);
  bool HasEnded(const Engine::ImportResult& result);
  Report Finish();

  std::mutex mutex_;
  std::string file_;
  std::unique_ptr<SpoolReader> reader_;  // none: closed
  Report report_;
  std::size_t endpoint_ = 0;                // of the reader's
  std::optional<ImportPosition> position_;  // in that; none: it was not asked for yet
  bool failed_ = false;
  std::optional<Engine::ImportResult> result_;  // of what was sent for
  std::uint64_t withdrawn_ = 0;                 // in that
};

}  // namespace offline_post
