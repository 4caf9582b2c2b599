// DiskJob: work that waits for a disk, on a thread of its own, so that nobody else must wait longer
// than he wants to: a disk can hang for minutes.
//
// Threads: any. Errors: the constructor throws std::system_error where no thread can be started.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "model/clock.hpp"

namespace offline_post {

class DiskJob {
 public:
  // Starts at once. `work` ends the process if it throws.
  explicit DiskJob(std::function<void()> work);
  // Waits for the work, however long that takes.
  ~DiskJob() { thread_.join(); }
  DiskJob(const DiskJob&) = delete;
  DiskJob& operator=(const DiskJob&) = delete;

  // Whether the work was done within the time.
  bool Wait(Millis limit_ms) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(limit_ms), [this] { return done_; });
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }

 private:
  void Run() noexcept;

  std::function<void()> work_;  // the thread's own
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace offline_post
