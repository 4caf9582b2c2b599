// Child: another process of this program, in another role, which reads commands from its standard
// input and writes lines to its standard output.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace offline_post::proof {

using SteadyClock = std::chrono::steady_clock;

class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments);
  // Kills it.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Write(const std::string& line) const;
  // The next line; none when `until` is past or the output has ended.
  std::optional<std::string> Read(SteadyClock::time_point until);
  bool ended() const { return ended_; }  // the output

  void Kill();  // SIGKILL; what it wrote before can still be read
  int Wait();   // for its end: the exit status, or 128 and the signal
  std::uint64_t ResidentBytes() const;

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  bool ended_ = false;
  std::string buffer_;
  std::size_t read_ = 0;  // of buffer_
};

// For the child: dies when its parent does, however that happens.
void DieWithParent();
// In one write(2), so that a line is there as a whole or not at all.
void WriteLine(const std::string& line);

}  // namespace offline_post::proof
