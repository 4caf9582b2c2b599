// Store: the durable outbox's state in one SQLite file, synchronous. What it does is in the file
// after the next Commit, all of it or nothing, together with the counters.
//
// The log is read once, from its beginning on, by a cursor per endpoint. A row whose recipient is
// free is leased; one whose recipient has its full lease is held in memory, within bounds; one
// whose recipient waits for a retry is noted in the small table `parked`, which is read again when
// the recipient's lane is due. Leases, cursor and what is held are memory only: after a restart the
// log is read from its beginning, and lands in the same places.
//
// Memory is bounded whatever the backlog: leases (by the claims), what is held, and the newest
// rows, kept so that they need not be read back.
//
// Threads: one at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/outbox.hpp"
#include "outbox/sqlite.hpp"
#include "outbox/store_file.hpp"
#include "outbox/store_rows.hpp"

namespace offline_post {

struct StoreOptions {
  std::string path;
  std::string vfs;      // SQLite's name of the file system layer; empty: the default
  int busy_ms = 5'000;  // how long to wait for another process's lock
  // What is kept in memory beside the leases, over all endpoints: the newest rows, and those held
  // for busy recipients.
  std::size_t memory_deliveries = 8'192;
  std::size_t memory_bytes = std::size_t{16} * 1024 * 1024;
  // Of an earlier store of this run: store time goes on where that was.
  std::optional<Millis> offset_ms = std::nullopt;
};

// One endpoint's side of the law, without pending: that is what the rest leaves.
struct Counters {
  std::uint64_t accepted = 0;
  std::uint64_t delivered = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t purged = 0;
  std::uint64_t pending_bytes = 0;
};

class Store {
 public:
  // Deliveries that one transaction appends at most; the caller counts by appended(). So many come
  // together only while a flush takes long; with fewer, a slow disk would be the limit.
  static constexpr std::size_t kAppendsPerCommit = 1'024;

  struct Opened {
    std::unique_ptr<Store> store;
    StoreFault fault;  // without a store
  };
  static Opened Open(const StoreOptions& options, const Clock& clock);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  std::vector<StoredEndpoint> Stored();
  std::vector<StoredLane> StoredLanes();  // of endpoints that share an order
  // Of a delivery or of a withdrawal.
  Sequence last_sequence() const { return std::max(last_sequence_, withdrawn_until_); }
  // Transactions that the file has seen: tells whether one of unknown fate is in it.
  std::uint64_t commits() const { return commits_; }

  // A secret for the recipients and topics that it keeps. One is chosen at random while it keeps
  // none: numbers of one recipient that were made with two would break his order.
  const HashKey& hash_key() const { return hash_key_; }
  void ChooseHashKey();
  void SetHashKey(const HashKey& key);

  void Register(EndpointId endpoint, const EndpointKey& key);
  void SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url);
  void SetWithdrawal(EndpointId endpoint, const StoredWithdrawal& withdrawal);
  void ClearWithdrawals(EndpointId endpoint);
  void Append(Delivery delivery);
  // Leases only what is committed; so the answer holds whatever becomes of the next commit.
  Claimed Claim(EndpointId endpoint, ClaimLimit limit);
  // The last Claim has left out what the next commit will bring.
  bool left_out() const { return left_out_; }
  void Finish(const Delivery& delivery, Final how, const Note& note);
  void Reschedule(const Delivery& delivery, Millis due_ms);
  void Park(const Delivery& delivery);
  void LeaveOrder(const Delivery& delivery, Millis due_ms);
  void Hasten(EndpointId endpoint, std::uint64_t recipient);
  void HastenAll(EndpointId endpoint, std::size_t limit);
  DeadVisited VisitDead(const DeadVisit& visit);
  DeadPurged PurgeDead(const DeadPurge& purge);
  ImportDone Import(const ImportedRows& rows);

  // Something awaits Commit that others wait for; and what can wait a while: rows of deliveries
  // that are done.
  bool dirty() const { return in_transaction_; }
  std::size_t lazy() const { return lazy_.size(); }
  std::size_t appended() const { return appended_; }  // since the last Commit
  // With all that is lazy. False: the file refuses, fault() says why, and the store is of no more
  // use but to be taken apart.
  bool Commit();

  bool ok() const { return database_.ok(); }
  StoreFault fault() const { return FaultOf(database_, options_.path); }

  // What a failed store still knows, and what follows it needs; see store_merge.cpp.
  struct Remains {
    std::vector<Delivery> leased;   // in order of sequence
    std::vector<Delivery> waiting;  // in memory and not leased, in order of sequence
    struct Done {
      EndpointId endpoint;
      Sequence sequence;
      std::uint64_t recipient;
      std::uint64_t bytes;  // as EventBytes counts
      Final how;
    };
    std::vector<Done> done;  // whose rows are still there, or are gone with the last transaction
    // Whose deliveries may be on the disk only: endpoints whose log was not read to its end, those
    // with more lanes than are known, and else some recipients.
    std::vector<EndpointId> unread;
    std::vector<EndpointId> many_lanes;
    std::vector<std::pair<EndpointId, std::uint64_t>> lanes;
  };
  Remains TakeApart();
  // Makes what an earlier store's file may hold safe: a failed fsync leaves pages that look
  // written.
  void Settle();
  // Counters of a file that replaces a lost one.
  void SetCounters(EndpointId endpoint, const Counters& counters);
  // A delivery that an earlier store may have appended, or not: it is accepted once. `due_ms`: it
  // waits, and its recipient with it.
  void Merge(const Delivery& delivery, std::optional<Millis> due_ms);
  // The same, and it is leased.
  void MergeLeased(const Delivery& delivery);
  // Ends the lease of a merged one, of which nothing more is said. False: it is not leased.
  bool GiveUp(const Delivery& delivery);
  // The end of such a delivery.
  void MergeDone(const Remains::Done& done);
  void MergeDead(const Delivery& delivery, const Note& note);
  // Ends of deliveries that no store has seen.
  struct Ends {
    std::uint64_t delivered = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t purged = 0;
    void Add(const Ends& other);
  };
  void MergeCounts(EndpointId endpoint, const Ends& ends);

  Millis offset_ms() const { return offset_ms_; }
  std::uint64_t FileBytes() const;
  // When the first delivery of its log was accepted; 0: there is none.
  Millis OldestUnixMs(EndpointId endpoint);
  // Gives at most so many free pages back to the file system. False: there are few.
  bool Shrink(int pages);
  // Frees the pages that SQLite keeps in memory, up to 8 MB; the next transaction reads what it
  // needs.
  void ReleasePages();
  // Copies the write-ahead log back and empties it.
  void Checkpoint();

  Database& database() { return database_; }  // for tests

 private:
  struct Lease {
    Delivery delivery;
    bool parked = false;  // it has a row in `parked`
  };

  // Deliveries of one recipient that are held, in order of sequence.
  struct Held {
    std::vector<Delivery> deliveries;
    std::size_t first = 0;  // those before it were taken
    bool empty() const { return first == deliveries.size(); }
    std::size_t size() const { return deliveries.size() - first; }
  };

  struct Recipient {
    std::size_t leased = 0;
    bool ready = false;  // stands in Book::ready
    Held held;           // only while it has no lane
  };

  struct Book {
    EndpointId id = 0;
    EndpointKey key;
    Counters counters;
    Pause pause = Pause::kNone;
    std::uint64_t paused_url = 0;
    bool withdrawals = false;  // the file may have some
    bool changed = false;      // against the file

    Sequence cursor = 0;  // the log was read up to here
    // What follows the cursor: first `fresh`, then, unless caught up, rows that are on disk only.
    std::deque<Delivery> fresh;
    bool caught_up = false;
    // Rows up to here may stand in `parked` already, or were leased by an earlier run: lanes wait
    // until all earlier rows of their recipients are parked too.
    Sequence rescan_until = 0;

    // When the file was opened, of what is parked (see StoredEndpoint).
    std::uint64_t recipients_waiting = 0;
    std::uint64_t out_of_order = 0;

    std::uint64_t lanes = 0;  // rows in `lane`
    bool lanes_known = true;  // lane_set is complete
    std::unordered_set<std::uint64_t> lane_set;

    std::unordered_map<std::uint64_t, Recipient> recipients;  // with a lease, held or ready
    std::deque<std::uint64_t> ready;  // recipients that may have something claimable
  };

  // One Claim's work.
  struct Search {
    ClaimLimit limit;
    std::size_t look;  // rows that it may still look at
    std::vector<Delivery> taken;
    std::size_t bytes = 0;  // of those
    bool full_of_bytes() const { return !taken.empty() && bytes >= limit.bytes; }
    bool full() const { return taken.size() >= limit.deliveries || full_of_bytes(); }
  };

  Store(StoreOptions options, const Clock& clock);
  void Load();
  void LoadLanes(Book& book);

  void Begin();
  Book& BookOf(EndpointId endpoint);
  std::vector<StoredWithdrawal> StoredWithdrawals(const Book& book);
  bool InsertLog(const Delivery& delivery);
  Book& MergeRow(const Delivery& delivery);
  void Bury(const Delivery& delivery, const Note& note);
  // `died_unix_ms`: by the wall clock; `died_ms`: monotonic.
  void InsertDead(const Delivery& delivery, const Note& note, Millis died_unix_ms, Millis died_ms);
  ImportPosition PositionOf(const ImportedRows& rows);
  void DropDone();
  void Count(Book& book, Final how);
  void MarkChanged(Book& book);

  // Claims (store_claim.cpp).
  void ClaimReady(Book& book, Search& search);
  void ClaimHeld(Book& book, std::uint64_t recipient, Search& search);
  void ClaimParked(Book& book, std::uint64_t recipient, Search& search);
  void ClaimDue(Book& book, Search& search);
  void ClaimLog(Book& book, Search& search);
  bool ReadLog(Book& book, Search& search);
  void ParkRow(Book& book, std::uint64_t recipient, Sequence sequence);
  void LeaseOut(Book& book, Delivery delivery, bool parked, Search& search);
  std::optional<Lease> EndLease(Book& book, const Delivery& delivery);
  void MakeReady(Book& book, std::uint64_t recipient);
  void Forget(Book& book, std::uint64_t recipient);

  // Where a row of the log goes.
  enum class Place { kLease, kHold, kPark };
  Place PlaceFor(Book& book, std::uint64_t recipient);
  void Hold(Book& book, Delivery delivery);
  void Remember(Book& book, Delivery delivery);  // a row just appended
  bool HasMemory() const;
  void CountMemory(const Delivery& delivery);
  void UncountMemory(const Delivery& delivery);

  bool HasLane(Book& book, std::uint64_t recipient);
  void SetLane(Book& book, std::uint64_t recipient, std::optional<Millis> due_ms);
  void DropLane(Book& book, std::uint64_t recipient);
  void KeepParked(Book& book, const Delivery& delivery);
  // In its row, which is there.
  void KeepStandsFor(const Delivery& delivery);
  void KeepRecipient(const Delivery& delivery);
  std::optional<std::uint64_t> StoredRecipient(EndpointId endpoint, Sequence sequence);
  std::uint64_t DeadBytes(EndpointId endpoint);
  template <typename Goes>
  void DropOldest(Statement& rows, const DeadPurge& purge, DeadPurged& purged, const Goes& goes);
  bool LogIsEmpty(EndpointId endpoint);
  bool DropLog(EndpointId endpoint, Sequence first, Sequence last);

  Millis ToStore(Millis monotonic_ms) const { return monotonic_ms + offset_ms_; }
  Millis FromStore(Millis store_ms) const { return store_ms - offset_ms_; }

  const StoreOptions options_;
  const Clock& clock_;
  Database database_;
  std::optional<StoreStatements> sql_;
  // Store time is the one base for all times in the file: the wall clock when the file was opened,
  // or the last store time that the file knows if that is later, and from there on the monotonic
  // clock, over all stores of a run. So a wall clock that jumps within a run changes nothing, and
  // one that went back while we were away makes nobody wait.
  Millis offset_ms_ = 0;  // store time less monotonic time
  Sequence last_sequence_ = 0;
  Sequence withdrawn_until_ = 0;
  HashKey hash_key_;
  Sequence committed_sequence_ = 0;  // what came later waits for the next commit
  bool left_out_ = false;
  std::uint64_t commits_ = 0;
  bool in_transaction_ = false;
  std::size_t appended_ = 0;
  std::map<EndpointId, Book> books_;
  std::vector<Book*> changed_;  // those whose counters or pause the file does not have
  std::unordered_map<std::int64_t, Lease> leases_;  // by RowKey
  std::vector<Remains::Done> lazy_;
  std::size_t memory_deliveries_ = 0;
  std::size_t memory_bytes_ = 0;
};

}  // namespace offline_post
