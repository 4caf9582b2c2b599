// What the proofs with a large backlog share: a node in a process of its own, and a backend that
// counts. The node's commands:
//
//   accept COUNT TENTHS   submits that many events, TENTHS in ten of them for the recipient "bad",
//                         and says `accepted SECONDS` when all are committed
//   steady MS             keeps some thousand events pending for that long, says `steady RATE`
//   book                  says `book BOOK`, as BookText has it
//   stop                  goes down as a node does
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "child.hpp"
#include "node.hpp"
#include "receiver.hpp"

namespace offline_post::proof {

constexpr std::uint64_t kDefaultEvents = 1'000'000;  // the full size

// Who the numbered event is for.
std::string RecipientOf(std::uint64_t number, std::uint64_t bad_tenths);

// Answers 503 to the recipient "bad" and counts what all others get.
class CountingBackend {
 public:
  // Waits for `expected` different events with numbers below `numbers`.
  CountingBackend(std::uint64_t numbers, std::uint64_t expected);

  void Listen() { receiver_.Listen(); }
  std::string url() const { return receiver_.url(); }
  // False: not all came in time.
  bool WaitForAll(std::chrono::seconds limit);
  // Once all have come.
  double SecondsToFirst(SteadyClock::time_point since) const;
  double SecondsToAll() const;  // from the first
  std::uint64_t count() const { return count_; }
  std::uint64_t doubles() const { return doubles_; }
  std::uint64_t refused() const { return refused_; }

 private:
  int Receive(const Post& post);

  const std::uint64_t expected_;
  std::mutex mutex_;
  std::condition_variable all_;
  std::vector<bool> seen_;  // the receiver's
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> doubles_{0};
  std::atomic<std::uint64_t> refused_{0};
  SteadyClock::time_point first_;
  SteadyClock::time_point last_;
  bool done_ = false;  // guarded by mutex_
  Receiver receiver_;  // last: its thread uses the others
};

class BacklogChild {
 public:
  // Waits until the service has started.
  BacklogChild(const std::string& url, const std::string& directory);

  double Accept(std::uint64_t count, std::uint64_t bad_tenths);  // seconds
  double Steady(std::chrono::milliseconds run);                  // delivered per second
  std::string Book();                                            // as BookText has it
  void Stop();
  std::uint64_t ResidentBytes() const { return child_.ResidentBytes(); }

 private:
  std::string Ask(const std::string& command, const std::string& answer);

  Child child_;
};

// The most memory that a process has, sampled every 10 ms.
class MemoryWatch {
 public:
  explicit MemoryWatch(const BacklogChild& child);
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;
  std::uint64_t MostBytes() const { return most_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> most_{0};
  std::thread thread_;
};

}  // namespace offline_post::proof
