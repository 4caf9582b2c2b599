#include "service/disk_job.hpp"

#include <pthread.h>

#include <csignal>
#include <utility>

namespace offline_post {

DiskJob::DiskJob(std::function<void()> work) : work_(std::move(work)) {
  thread_ = std::thread([this] { Run(); });
}

void DiskJob::Run() noexcept {
  pthread_setname_np(pthread_self(), "offline_post_fs");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  work_();
  work_ = nullptr;  // what it holds is not kept until the next job
  const std::lock_guard lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

}  // namespace offline_post
