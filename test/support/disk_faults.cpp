// Preloaded (LD_PRELOAD) into a node, it makes the disk under the spool slow, or fail, on command.
// Others' files are left alone: Mnesia's commits are not what is tested.
//
// DISK_FAULTS names a file that holds the order of the moment: `delay MS`, or `fail`, for each
// flush; anything else, or no such file, is a disk that works. Threads: any; there is no state.
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

// Whether the flush is to fail. The order is read each time: it is another process that gives it.
bool Obey(int fd) {
  const char* file = std::getenv("DISK_FAULTS");
  if (file == nullptr || !IsSpool(fd)) return false;
  std::FILE* orders = std::fopen(file, "re");
  if (orders == nullptr) return false;
  char word[16] = "";
  unsigned ms = 0;
  const int read = std::fscanf(orders, "%15s %u", word, &ms);
  std::fclose(orders);
  if (read == 2 && std::strcmp(word, "delay") == 0) usleep(ms * 1'000);
  return read >= 1 && std::strcmp(word, "fail") == 0;
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
