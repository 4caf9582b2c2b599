#include "backlog.hpp"

#include <algorithm>
#include <stdexcept>

namespace offline_post::proof {

CountingBackend::CountingBackend(std::uint64_t numbers, std::uint64_t expected)
    : expected_(expected),
      seen_(numbers),
      receiver_([this](const Post& post) { return Receive(post); }) {}

int CountingBackend::Receive(const Post& post) {
  if (count_ + refused_ == 0) first_ = SteadyClock::now();
  if (post.Field("to") == "bad") {
    ++refused_;
    return 503;
  }
  const std::uint64_t number = EventNumber(post.Field("body"));
  if (number >= seen_.size()) return 200;
  if (seen_[number]) {
    ++doubles_;
    return 200;
  }
  seen_[number] = true;
  if (++count_ == expected_) {
    last_ = SteadyClock::now();
    const std::lock_guard lock(mutex_);
    done_ = true;
    all_.notify_all();
  }
  return 200;
}

bool CountingBackend::WaitForAll(std::chrono::seconds limit) {
  std::unique_lock lock(mutex_);
  return all_.wait_for(lock, limit, [this] { return done_; });
}

double CountingBackend::SecondsToFirst(SteadyClock::time_point since) const {
  return std::chrono::duration<double>(first_ - since).count();
}

double CountingBackend::SecondsToAll() const {
  return std::chrono::duration<double>(last_ - first_).count();
}

BacklogChild::BacklogChild(const std::string& url, const std::string& directory)
    : child_({"backlog-driver", url, directory}) {
  const auto line = child_.Read(SteadyClock::now() + std::chrono::minutes(1));
  if (!line || !line->starts_with("start ")) throw std::runtime_error("the node does not start");
}

std::string BacklogChild::Ask(const std::string& command, const std::string& answer) {
  child_.Write(command);
  const auto line = child_.Read(SteadyClock::now() + std::chrono::minutes(10));
  if (!line || !line->starts_with(answer + " ")) {
    throw std::runtime_error("no answer to: " + command);
  }
  return line->substr(answer.size() + 1);
}

double BacklogChild::Accept(std::uint64_t count, std::uint64_t bad_tenths) {
  return std::stod(
      Ask("accept " + std::to_string(count) + " " + std::to_string(bad_tenths), "accepted"));
}

double BacklogChild::Steady(std::chrono::milliseconds run) {
  return std::stod(Ask("steady " + std::to_string(run.count()), "steady"));
}

std::string BacklogChild::Book() { return Ask("book", "book"); }

void BacklogChild::Stop() {
  child_.Write("stop");
  if (const int status = child_.Wait(); status != 0) {
    throw std::runtime_error("the node went down with status " + std::to_string(status));
  }
}

MemoryWatch::MemoryWatch(const BacklogChild& child) {
  thread_ = std::thread([this, &child] {
    while (!stop_) {
      most_ = std::max<std::uint64_t>(most_, child.ResidentBytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
}

MemoryWatch::~MemoryWatch() {
  stop_ = true;
  thread_.join();
}

}  // namespace offline_post::proof
