// Preloaded (LD_PRELOAD) into a node, it makes the disk under the spool slow, or fail, on command.
// Others' files are left alone: Mnesia's commits are not what is tested.
//
// DISK_FAULTS names a file that holds the order of the moment: `delay MS`, or `fail`, for each
// flush; `hang`: none ends before another order; anything else, or no such file, is a disk that
// works. Threads: any; there is no state.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

bool IsSpool(int fd) {
  char link[64];
  char path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = '\0';
  return std::strstr(path, "mod_offline_post.db") != nullptr;
}

struct Order {
  char word[16] = "";
  unsigned ms = 0;
  bool Is(const char* other) const { return std::strcmp(word, other) == 0; }
};

Order Read(const char* file) {
  Order order;
  std::FILE* orders = std::fopen(file, "re");
  if (orders == nullptr) return order;
  if (std::fscanf(orders, "%15s %u", order.word, &order.ms) < 1) order.word[0] = '\0';
  std::fclose(orders);
  return order;
}

// Whether the flush is to fail. The order is read each time: it is another process that gives it.
bool Obey(int fd) {
  const char* file = std::getenv("DISK_FAULTS");
  if (file == nullptr || !IsSpool(fd)) return false;
  Order order = Read(file);
  for (; order.Is("hang"); order = Read(file)) usleep(10'000);
  if (order.Is("delay")) usleep(order.ms * 1'000);
  return order.Is("fail");
}

int Flush(long call, int fd) {
  if (Obey(fd)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(call, fd));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int fsync(int fd) { return Flush(SYS_fsync, fd); }

extern "C" __attribute__((visibility("default"))) int fdatasync(int fd) {
  return Flush(SYS_fdatasync, fd);
}
