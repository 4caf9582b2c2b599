// Preloaded (LD_PRELOAD): every fsync takes 10 ms longer, as on a slow or a network disk.
#include <sys/syscall.h>
#include <unistd.h>

namespace {
constexpr useconds_t kDelayUs = 10'000;
}

extern "C" __attribute__((visibility("default"))) int fsync(int fd) {
  usleep(kDelayUs);
  return static_cast<int>(syscall(SYS_fsync, fd));
}

extern "C" __attribute__((visibility("default"))) int fdatasync(int fd) {
  usleep(kDelayUs);
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}
