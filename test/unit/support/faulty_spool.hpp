// A spool whose disk fails when a test says so.
#pragma once

#include <vector>

#include "support/fault_vfs.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post::test {

// A spool on a disk that fails on command, and is well again at the end.
struct FaultySpool : Spool {
  Faults& faults = TheFaults();
  FaultySpool() {
    Heal();
    options.vfs = kFaultVfs;
    Open();
    Commit();
  }
  ~FaultySpool() { Heal(); }
  FaultySpool(const FaultySpool&) = delete;
  FaultySpool& operator=(const FaultySpool&) = delete;

  void Heal() const {
    faults.full = false;
    faults.write_error = false;
    faults.sync_error = false;
    faults.sync_ms = 0;
    faults.fail_after_writes = 0;
    faults.kill_after_writes = 0;
  }
  void FinishAll(const std::vector<Delivery>& deliveries) {
    for (const Delivery& delivery : deliveries) Finish(delivery);
  }
  void WaitForRetry() {
    clock.Advance(31'000);
    for (int i = 0; i < 100 && !outbox->IsDurable(); ++i) Poll();
  }
  // What the file says after all is closed.
  StoredEndpoint Closed() {
    outbox.reset();
    CHECK(FaultsOfFile(File()).empty());
    return Reopen();
  }
};

}  // namespace offline_post::test
