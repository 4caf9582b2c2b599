// A SQLite file system layer that fails, delays or kills on command: what disks do.
//
// Registered under kFaultVfs for the whole process; its orders are one set, for all files.
// Threads: any.
#pragma once

#include <atomic>

namespace offline_post::test {

inline constexpr const char* kFaultVfs = "fault";

struct Faults {
  std::atomic<bool> full{false};           // writes and truncations fail with SQLITE_FULL
  std::atomic<bool> write_error{false};    // with SQLITE_IOERR_WRITE
  std::atomic<bool> sync_error{false};     // fsync fails with SQLITE_IOERR_FSYNC
  std::atomic<int> sync_ms{0};             // fsync takes so much longer
  std::atomic<long> kill_after_writes{0};  // SIGKILLs the process within the nth write or fsync
  std::atomic<long> fail_after_writes{0};  // the nth write or fsync and all later ones fail
  std::atomic<long> operations{0};         // writes and fsyncs so far
};

// Registers the layer at its first call.
Faults& TheFaults();

}  // namespace offline_post::test
