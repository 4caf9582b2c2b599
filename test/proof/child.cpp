#include "child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace offline_post::proof {

Child::Child(const std::vector<std::string>& arguments) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe");
  }
  std::string self = "/proc/self/exe";
  std::vector<std::string> copies = arguments;
  std::vector<char*> argv = {self.data()};
  for (std::string& copy : copies) argv.push_back(copy.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  const int error = posix_spawn(&pid_, self.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  in_ = in[1];
  out_ = out[0];
  if (error != 0) throw std::runtime_error("cannot start another process");
}

Child::~Child() {
  if (pid_ > 0) {
    Kill();
    Wait();
  }
  ::close(in_);
  ::close(out_);
}

void Child::Write(const std::string& line) const {
  const std::string text = line + "\n";
  if (::write(in_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw std::runtime_error("the child does not read");
  }
}

std::optional<std::string> Child::Read(SteadyClock::time_point until) {
  while (true) {
    const std::size_t end = buffer_.find('\n', read_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(read_, end - read_);
      read_ = end + 1;
      return line;
    }
    buffer_.erase(0, read_);
    read_ = 0;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - SteadyClock::now()).count();
    if (left < 0) return std::nullopt;
    pollfd ready{out_, POLLIN, 0};
    const int wait = static_cast<int>(std::min<std::int64_t>(left, 1'000)) + 1;
    if (poll(&ready, 1, wait) <= 0) continue;
    std::array<char, 65'536> chunk;  // NOLINT: not zeroed
    const ssize_t got = ::read(out_, chunk.data(), chunk.size());
    if (got <= 0) {
      ended_ = true;
      return std::nullopt;
    }
    buffer_.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

void Child::Kill() { ::kill(pid_, SIGKILL); }

int Child::Wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::uint64_t Child::ResidentBytes() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
  std::string word;
  while (file >> word) {
    std::uint64_t kib = 0;
    if (word == "VmRSS:" && file >> kib) return kib * 1024;
  }
  return 0;
}

void DieWithParent() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) std::_Exit(1);
}

void WriteLine(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    std::_Exit(1);
  }
}

}  // namespace offline_post::proof
