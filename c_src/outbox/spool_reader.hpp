// SpoolReader: reads the file that another node's outbox has left, to take it over. Nothing in that
// file is changed. While it is open it is locked: no node can open it, and none has it open. A file
// of an older schema is brought to the present one in a copy that has no name.
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/outbox.hpp"
#include "engine/withdrawals.hpp"
#include "model/result.hpp"
#include "outbox/sqlite.hpp"

namespace offline_post {

class SpoolReader {
 public:
  // Endpoints by the number that they have in the file.
  struct Endpoint {
    EndpointId id = 0;
    EndpointKey key;
    std::uint64_t rows = 0;  // pending and dead, by its counters
  };

  // `own`: this node's own file; never opened here. "": there is none.
  static Result<std::unique_ptr<SpoolReader>> Open(const std::string& path, const std::string& own,
                                                   const Clock& clock);
  ~SpoolReader();
  SpoolReader(const SpoolReader&) = delete;
  SpoolReader& operator=(const SpoolReader&) = delete;

  // Names the file in the state in which it was left: another one after any change, the same for
  // every copy.
  const std::string& source() const { return source_; }
  const std::vector<Endpoint>& endpoints() const { return endpoints_; }

  struct Slice {
    std::vector<Delivery> pending;  // sequences and endpoints of the file
    std::vector<DeadLetter> dead;   // not before all that is pending was read
    std::uint64_t withdrawn = 0;    // left out, as the node would have done
    ImportPosition position;        // after this slice
    bool ended = false;             // nothing came after it
  };
  // At most so many rows, and no more once they hold kSliceBytes.
  Result<Slice> Read(EndpointId endpoint, ImportPosition after, std::size_t limit);
  // Rows up to the position.
  std::uint64_t CountUntil(EndpointId endpoint, ImportPosition until);

  // Renames the file, with its log, so that no node opens it again: PATH.imported, or, where that
  // is taken, with a number. The new name.
  Result<std::string> Retire();

 private:
  SpoolReader(std::string path, const Clock& clock) : path_(std::move(path)), clock_(clock) {}
  Status OpenFile();
  void Load();
  bool IsWithdrawn(EndpointId endpoint, const Delivery& delivery) const;
  void ReadPending(EndpointId endpoint, Sequence after, std::size_t limit, Slice& slice);
  void ReadDead(EndpointId endpoint, Sequence after, std::size_t limit, Slice& slice);
  Millis AgeMs(Millis unix_ms) const;
  Error Trouble() const;

  std::string path_;
  const Clock& clock_;
  Database file_;
  Database copy_;
  Database* database_ = &file_;  // the one that is read
  bool had_log_ = false;         // a write-ahead log with something in it
  HashKey hash_key_;             // that node's
  std::string source_;
  std::vector<Endpoint> endpoints_;
  std::map<EndpointId, Withdrawals> withdrawals_;
};

}  // namespace offline_post
