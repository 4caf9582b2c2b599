// Notices: what the operator should read in the log, as finished lines. Bounded in number and in
// rate; never with a token, a message's text, an answer's body or more of a URL than its origin.
//
// Threads: the engine's.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "model/clock.hpp"

namespace offline_post {

struct Notice {
  enum class Level { kError, kWarning, kInfo };
  Level level;
  std::string line;
};

class Notices {
 public:
  // Lines that wait for a reader; more are counted and dropped.
  static constexpr std::size_t kMaxWaiting = 2000;
  // A line that repeats under one topic appears once in this time, with the number of those left
  // out.
  static constexpr Millis kQuietMs = 60'000;

  explicit Notices(const Clock& clock) : clock_(clock) {}

  void Add(Notice::Level level, std::string line);
  // At most one line per `topic` and kQuietMs. Topics are few: an endpoint's name and a fixed word.
  // False: it was left out.
  bool AddRarely(const std::string& topic, Notice::Level level, std::string line);

  bool empty() const { return waiting_.empty(); }
  // All that wait; with a line that says how many were dropped, if any. Clear them when they were
  // read.
  std::vector<Notice> Waiting() const;
  void Clear();

 private:
  struct Topic {
    Millis quiet_until_ms = 0;
    std::size_t left_out = 0;
  };
  const Clock& clock_;
  std::vector<Notice> waiting_;
  std::size_t dropped_ = 0;
  std::map<std::string, Topic> topics_;
};

}  // namespace offline_post
