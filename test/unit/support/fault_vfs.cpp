#include "support/fault_vfs.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <new>
#include <thread>

namespace offline_post::test {

namespace {

// Our file in front of the real one, in one piece of memory that SQLite allocates.
struct FaultFile {
  sqlite3_file base;
  sqlite3_file* real;
};

Faults& Orders() {
  static Faults faults;
  return faults;
}

sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<FaultFile*>(file)->real; }
sqlite3_vfs* RealVfs(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

// True: the operation is to fail. Half of it may have happened when the process is killed.
bool Count() {
  Faults& faults = Orders();
  const long now = ++faults.operations;
  const long kill_at = faults.kill_after_writes;
  if (kill_at > 0 && now >= kill_at) ::kill(getpid(), SIGKILL);
  const long fail_at = faults.fail_after_writes;
  return fail_at > 0 && now >= fail_at;
}

int Close(sqlite3_file* file) {
  sqlite3_file* real = Real(file);
  return real->pMethods != nullptr ? real->pMethods->xClose(real) : SQLITE_OK;
}

int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  return Real(file)->pMethods->xRead(Real(file), data, size, offset);
}

int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const Faults& faults = Orders();
  const long kill_at = faults.kill_after_writes;
  if (kill_at > 0 && faults.operations + 1 >= kill_at) {
    Real(file)->pMethods->xWrite(Real(file), data, size / 2, offset);  // torn
  }
  if (Count()) return SQLITE_FULL;
  if (faults.full) return SQLITE_FULL;
  if (faults.write_error) return SQLITE_IOERR_WRITE;
  return Real(file)->pMethods->xWrite(Real(file), data, size, offset);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  return Real(file)->pMethods->xTruncate(Real(file), size);
}

int Sync(sqlite3_file* file, int flags) {
  const Faults& faults = Orders();
  if (Count()) return SQLITE_IOERR_FSYNC;
  if (faults.sync_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(faults.sync_ms));
  if (faults.sync_error) return SQLITE_IOERR_FSYNC;
  return Real(file)->pMethods->xSync(Real(file), flags);
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Real(file)->pMethods->xFileSize(Real(file), size);
}
int Lock(sqlite3_file* file, int level) { return Real(file)->pMethods->xLock(Real(file), level); }
int Unlock(sqlite3_file* file, int level) {
  return Real(file)->pMethods->xUnlock(Real(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* out) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), out);
}
int FileControl(sqlite3_file* file, int op, void* arg) {
  return Real(file)->pMethods->xFileControl(Real(file), op, arg);
}
int SectorSize(sqlite3_file* file) { return Real(file)->pMethods->xSectorSize(Real(file)); }
int Characteristics(sqlite3_file* file) {
  return Real(file)->pMethods->xDeviceCharacteristics(Real(file));
}

// Version 1: no shared memory, which the store does without.
sqlite3_io_methods Methods() {
  sqlite3_io_methods methods = {};
  methods.iVersion = 1;
  methods.xClose = Close;
  methods.xRead = Read;
  methods.xWrite = Write;
  methods.xTruncate = Truncate;
  methods.xSync = Sync;
  methods.xFileSize = FileSize;
  methods.xLock = Lock;
  methods.xUnlock = Unlock;
  methods.xCheckReservedLock = CheckReservedLock;
  methods.xFileControl = FileControl;
  methods.xSectorSize = SectorSize;
  methods.xDeviceCharacteristics = Characteristics;
  return methods;
}
const sqlite3_io_methods kMethods = Methods();

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* ours = reinterpret_cast<FaultFile*>(file);
  ours->real = reinterpret_cast<sqlite3_file*>(ours + 1);
  ours->real->pMethods = nullptr;
  const int code = RealVfs(vfs)->xOpen(RealVfs(vfs), name, ours->real, flags, out_flags);
  ours->base.pMethods = code == SQLITE_OK ? &kMethods : nullptr;
  return code;
}

sqlite3_vfs* Register() {
  static sqlite3_vfs vfs;
  sqlite3_vfs* real = sqlite3_vfs_find(nullptr);
  vfs = *real;  // what is not replaced takes no account of whose it is
  vfs.pNext = nullptr;
  vfs.zName = kFaultVfs;
  vfs.pAppData = real;
  vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + real->szOsFile;
  vfs.xOpen = Open;
  sqlite3_vfs_register(&vfs, 0);
  return &vfs;
}

}  // namespace

Faults& TheFaults() {
  static sqlite3_vfs* const registered = Register();
  static_cast<void>(registered);
  return Orders();
}

}  // namespace offline_post::test
