// What a thread of ours does when memory runs out in the middle of a change that must be whole.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace offline_post {

// Ends the process, with a line on standard error. What was half done is lost with it, and the disk
// has what was committed; going on would lose the other half: an answer that never comes, a
// notification that is pending for ever. The virtual machine, too, ends when it gets no memory.
[[noreturn]] inline void EndWithoutMemory(const char* where) noexcept {
  static_cast<void>(std::fprintf(
      stderr,
      "mod_offline_post: no memory in %s. The node ends. Notifications that are on the "
      "disk are delivered after its next start.\n",
      where));
  static_cast<void>(std::fflush(stderr));
  std::abort();
}

}  // namespace offline_post
