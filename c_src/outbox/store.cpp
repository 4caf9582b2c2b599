#include "outbox/store.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "engine/shared_order.hpp"
#include "outbox/attributes.hpp"

namespace offline_post {

namespace {

// Lanes of an endpoint whose recipients are all kept in memory, which spares a look-up per row.
constexpr std::uint64_t kKnownLanes = 65'536;

}  // namespace

Store::Store(StoreOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {}

Store::~Store() {
  if (database_.handle() == nullptr) return;
  // After a failure nothing more must be written by this connection.
  if (!database_.ok()) {
    sqlite3_db_config(database_.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
}

Store::Opened Store::Open(const StoreOptions& options, const Clock& clock) {
  std::unique_ptr<Store> store(new Store(options, clock));
  auto fault = OpenStoreFile(store->database_, options.path, options.vfs, options.busy_ms);
  if (!fault) {
    store->sql_.emplace(store->database_);
    store->Load();
    if (!store->ok()) fault = store->fault();
  }
  if (fault) {
    if (store->ok()) store->database_.Fail(SQLITE_ERROR);
    return {nullptr, *fault};
  }
  return {std::move(store), {}};
}

void Store::Load() {
  Statement run(database_,
                "SELECT store_ms, commits, last_sequence, hash_key_0, hash_key_1 FROM run");
  const bool found = run.Next();
  const Millis last_ms = found ? run.Int(0) : 0;
  commits_ = found ? run.Unsigned(1) : 0;
  last_sequence_ = found ? run.Unsigned(2) : 0;
  committed_sequence_ = last_sequence_;
  if (found) hash_key_ = {run.Unsigned(3), run.Unsigned(4)};
  run.Reset();
  const Millis now_ms = clock_.MonotonicMs();
  offset_ms_ = std::max(options_.offset_ms.value_or(clock_.UnixMs() - now_ms), last_ms - now_ms);

  Statement endpoints(database_,
                      "SELECT id, vhost, module, accepted, delivered, dead, cancelled, purged,"
                      " pending_bytes, pause, paused_url FROM endpoint");
  while (endpoints.Next()) {
    Book& book = BookOf(static_cast<EndpointId>(endpoints.Int(0)));
    book.key = {endpoints.Text(1), endpoints.Text(2)};
    book.counters = {endpoints.Unsigned(3), endpoints.Unsigned(4), endpoints.Unsigned(5),
                     endpoints.Unsigned(6), endpoints.Unsigned(7), endpoints.Unsigned(8)};
    book.pause = static_cast<Pause>(endpoints.Int(9));
    book.paused_url = endpoints.Unsigned(10);
  }
  Statement withdrawn(database_, "SELECT DISTINCT endpoint FROM withdrawal");
  while (withdrawn.Next()) BookOf(static_cast<EndpointId>(withdrawn.Int(0))).withdrawals = true;
  for (auto& [id, book] : books_) {
    book.caught_up = LogIsEmpty(id);
    LoadLanes(book);
  }
}

bool Store::LogIsEmpty(EndpointId endpoint) {
  sql_->scan_log.Start(RowKey(endpoint, 0), RowKey(endpoint + 1, 0));
  const bool found = sql_->scan_log.Next();
  sql_->scan_log.Reset();
  return ok() && !found;
}

void Store::LoadLanes(Book& book) {
  Statement count(database_, "SELECT count(*) FROM lane WHERE endpoint = ?1");
  count.Start(book.id);
  book.lanes = count.Next() ? count.Unsigned(0) : 0;
  if (book.lanes == 0) return;
  // What was leased or about to be when the last run ended may go on at once.
  Begin();
  Statement wake(database_, "UPDATE lane SET due_ms = 0 WHERE endpoint = ?1 AND due_ms IS NULL");
  wake.Run(book.id);
  // ~sequence: KeyOutOfOrder; in its own lane nobody waits for it.
  Statement parked(database_,
                   "SELECT max(sequence), sum(failures > 0 AND recipient NOT IN (sequence,"
                   " ~sequence)), sum(recipient = ~sequence) FROM parked WHERE endpoint = ?1");
  parked.Start(book.id);
  if (parked.Next()) {
    book.rescan_until = parked.Unsigned(0);
    book.recipients_waiting = parked.Unsigned(1);
    book.out_of_order = parked.Unsigned(2);
  }
  parked.Reset();
  book.lanes_known = book.lanes <= kKnownLanes;
  if (!book.lanes_known) return;
  Statement all(database_, "SELECT recipient FROM lane WHERE endpoint = ?1");
  all.Start(book.id);
  while (all.Next()) book.lane_set.insert(all.Unsigned(0));
}

std::vector<StoredEndpoint> Store::Stored() {
  std::vector<StoredEndpoint> stored;
  for (const auto& [id, book] : books_) {
    const Counters& c = book.counters;
    stored.push_back({id, book.key, c.accepted, c.delivered, c.dead, c.cancelled, c.purged,
                      c.pending_bytes, book.pause, book.paused_url, StoredWithdrawals(book),
                      book.recipients_waiting, book.out_of_order, DeadBytes(id)});
  }
  return stored;
}

std::vector<StoredLane> Store::StoredLanes() {
  std::vector<StoredLane> lanes;
  Statement rows(database_,
                 "SELECT key, recipient, EXISTS (SELECT 1 FROM parked WHERE endpoint = ?4 AND"
                 " recipient = log.recipient AND sequence = key - ?1 AND attempts > 0) FROM log"
                 " WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3");
  for (const auto& [id, book] : books_) {
    if (!SharesOrder(book.key) || lanes.size() > SharedOrder::kMax) continue;
    rows.Start(RowKey(id, 0), RowKey(id + 1, 0), SharedOrder::kMax + 1 - lanes.size(), id);
    while (rows.Next()) {
      lanes.push_back({id, SequenceOf(rows.Int(0)), rows.Unsigned(1), rows.Int(2) != 0});
    }
    rows.Reset();
  }
  return lanes;
}

std::vector<StoredWithdrawal> Store::StoredWithdrawals(const Book& book) {
  std::vector<StoredWithdrawal> stored;
  if (!book.withdrawals) return stored;
  Statement rows(database_, "SELECT key, until, how FROM withdrawal WHERE endpoint = ?1");
  rows.Start(book.id);
  while (rows.Next()) {
    stored.push_back({rows.Unsigned(0), rows.Unsigned(1), static_cast<Final>(rows.Int(2))});
  }
  return stored;
}

Store::Book& Store::BookOf(EndpointId endpoint) {
  Book& book = books_[endpoint];
  book.id = endpoint;
  return book;
}

void Store::Begin() {
  if (in_transaction_) return;
  in_transaction_ = true;
  sql_->begin.Run();
}

void Store::ChooseHashKey() {
  // A file of an older version has none until its backlog is gone, and what may come back to it.
  if (hash_key_ != HashKey{}) return;
  if (database_.Query("SELECT EXISTS (SELECT 1 FROM log) OR EXISTS (SELECT 1 FROM withdrawal) OR "
                      "EXISTS (SELECT 1 FROM dead)") > 0)
    return;
  HashKey key;
  sqlite3_randomness(sizeof key, &key);
  SetHashKey(key);
}

void Store::SetHashKey(const HashKey& key) {
  if (key == hash_key_) return;
  hash_key_ = key;
  Begin();
  Statement save(database_, "UPDATE run SET hash_key_0 = ?1, hash_key_1 = ?2 WHERE id = 1");
  save.Run(key.k0, key.k1);
}

void Store::Register(EndpointId endpoint, const EndpointKey& key) {
  if (books_.contains(endpoint)) return;
  Book& book = BookOf(endpoint);
  book.key = key;
  book.caught_up = true;
  Begin();
  sql_->add_endpoint.Run(endpoint, key.vhost, key.module);
}

void Store::SetPause(EndpointId endpoint, Pause pause, std::uint64_t paused_url) {
  Book& book = BookOf(endpoint);
  if (book.pause == pause && book.paused_url == paused_url) return;
  book.pause = pause;
  book.paused_url = paused_url;
  Begin();
  MarkChanged(book);
}

void Store::SetWithdrawal(EndpointId endpoint, const StoredWithdrawal& withdrawal) {
  Begin();
  sql_->set_withdrawal.Run(endpoint, withdrawal.key, withdrawal.until,
                           static_cast<int>(withdrawal.how));
  BookOf(endpoint).withdrawals = true;
  // Nothing that comes later is meant, whatever the sequences in between were reserved for.
  withdrawn_until_ = std::max(withdrawn_until_, withdrawal.until);
}

void Store::ClearWithdrawals(EndpointId endpoint) {
  Book& book = BookOf(endpoint);
  if (!std::exchange(book.withdrawals, false)) return;
  Begin();
  sql_->clear_withdrawals.Run(endpoint);
}

bool Store::InsertLog(const Delivery& d) {
  const Event& e = *d.event;
  sql_->add_log.Run(RowKey(d.endpoint, d.sequence), d.recipient, ToStore(d.accepted_ms),
                    d.stands_for, e.id, e.accepted_unix_ms, e.to.user, e.to.server, e.to.resource,
                    e.from.user, e.from.server, e.from.resource, e.message_id, e.body, e.kind,
                    e.topic, AttributesText(e.attributes));
  last_sequence_ = std::max(last_sequence_, d.sequence);
  return database_.ok() && database_.Changes() > 0;
}

void Store::Append(Delivery delivery) {
  Begin();
  Book& book = BookOf(delivery.endpoint);
  InsertLog(delivery);
  ++book.counters.accepted;
  book.counters.pending_bytes += EventBytes(*delivery.event);
  MarkChanged(book);
  ++appended_;
  Remember(book, std::move(delivery));
}

void Store::Finish(const Delivery& delivery, Final how, const Note& note) {
  Book& book = BookOf(delivery.endpoint);
  const std::optional<Lease> lease = EndLease(book, delivery);
  if (!lease) return;
  if (lease->parked) {
    Begin();
    sql_->unpark.Run(delivery.endpoint, delivery.recipient, delivery.sequence);
  }
  if (how == Final::kDead) Bury(delivery, note);
  const std::uint64_t bytes = EventBytes(*delivery.event);
  if (delivery.sequence <= book.cursor) {
    lazy_.push_back({delivery.endpoint, delivery.sequence, delivery.recipient, bytes, how});
    return;
  }
  // Leased by an earlier store of this run: the cursor has yet to pass its row, and must not find
  // it.
  Begin();
  DropLog(delivery.endpoint, delivery.sequence, delivery.sequence);
  book.counters.pending_bytes -= bytes;
  Count(book, how);
}

void Store::Bury(const Delivery& delivery, const Note& note) {
  InsertDead(delivery, note, clock_.UnixMs(), clock_.MonotonicMs());
}

void Store::InsertDead(const Delivery& d, const Note& note, Millis died_unix_ms, Millis died_ms) {
  Begin();
  const Event& e = *d.event;
  sql_->add_dead.Run(RowKey(d.endpoint, d.sequence), d.endpoint, ToStore(died_ms), died_unix_ms,
                     d.attempts, note.status, note.reason, note.answer, d.recipient,
                     ToStore(d.accepted_ms), d.stands_for, EventBytes(e), e.id, e.accepted_unix_ms,
                     e.to.user, e.to.server, e.to.resource, e.from.user, e.from.server,
                     e.from.resource, e.message_id, e.body, e.kind, e.topic,
                     AttributesText(e.attributes));
}

void Store::KeepParked(Book& book, const Delivery& d) {
  Begin();
  // Leased by an earlier store of this run: what comes before it has yet to be read.
  if (d.sequence > book.cursor) book.rescan_until = std::max(book.rescan_until, d.sequence);
  sql_->repark.Run(d.endpoint, d.recipient, d.sequence, d.attempts, d.misconfigured,
                   d.delivered_at_misconfigured, d.failures, d.delivered_at_failure);
}

// What is parked under another ordering key is so no more.
void Store::KeepRecipient(const Delivery& delivery) {
  const auto before = StoredRecipient(delivery.endpoint, delivery.sequence);
  if (!before || *before == delivery.recipient) return;
  Begin();
  sql_->unpark.Run(delivery.endpoint, *before, delivery.sequence);
  sql_->set_recipient.Run(RowKey(delivery.endpoint, delivery.sequence), delivery.recipient);
}

std::optional<std::uint64_t> Store::StoredRecipient(EndpointId endpoint, Sequence sequence) {
  std::optional<std::uint64_t> recipient;
  sql_->get_log.Start(RowKey(endpoint, sequence));
  if (sql_->get_log.Next()) recipient = sql_->get_log.Unsigned(1);
  sql_->get_log.Reset();
  return recipient;
}

void Store::KeepStandsFor(const Delivery& delivery) {
  Begin();
  sql_->set_stands_for.Run(RowKey(delivery.endpoint, delivery.sequence), delivery.stands_for);
}

void Store::Reschedule(const Delivery& delivery, Millis due_ms) {
  Book& book = BookOf(delivery.endpoint);
  const std::optional<Lease> lease = EndLease(book, delivery);
  if (!lease) return;
  if (lease->delivery.stands_for != delivery.stands_for) KeepStandsFor(delivery);
  KeepParked(book, delivery);
  SetLane(book, delivery.recipient, due_ms);
}

void Store::Park(const Delivery& delivery) {
  Book& book = BookOf(delivery.endpoint);
  const std::optional<Lease> lease = EndLease(book, delivery);
  if (!lease) return;
  if (lease->delivery.stands_for != delivery.stands_for) KeepStandsFor(delivery);
  const bool lane = HasLane(book, delivery.recipient);
  const bool untried = delivery.attempts == 0 && delivery.misconfigured == 0;
  if (!lane && !lease->parked && untried && HasMemory()) {
    Hold(book, delivery);
  } else {
    KeepParked(book, delivery);
    if (!lane) SetLane(book, delivery.recipient, std::nullopt);
  }
  MakeReady(book, delivery.recipient);
}

void Store::LeaveOrder(const Delivery& delivery, Millis due_ms) {
  Book& book = BookOf(delivery.endpoint);
  const std::optional<Lease> lease = EndLease(book, delivery);
  if (!lease) return;
  Delivery alone = delivery;
  alone.recipient = KeyOutOfOrder(delivery.sequence);
  if (lease->delivery.stands_for != alone.stands_for) KeepStandsFor(alone);
  KeepRecipient(alone);
  KeepParked(book, alone);
  SetLane(book, alone.recipient, due_ms);
}

void Store::Hasten(EndpointId endpoint, std::uint64_t recipient) {
  const auto book = books_.find(endpoint);
  if (book == books_.end() || !HasLane(book->second, recipient)) return;
  Begin();
  sql_->hasten_lane.Run(endpoint, recipient);
}

void Store::HastenAll(EndpointId endpoint, std::size_t limit) {
  const auto book = books_.find(endpoint);
  if (book == books_.end() || book->second.lanes == 0) return;
  Begin();
  sql_->hasten_lanes.Run(endpoint, ToStore(clock_.MonotonicMs()), limit);
}

Millis Store::OldestUnixMs(EndpointId endpoint) {
  sql_->oldest.Start(RowKey(endpoint, 0), RowKey(endpoint + 1, 0));
  Millis oldest = 0;
  // Not when its event came: what was replayed waits since then.
  if (sql_->oldest.Next()) {
    oldest = clock_.UnixMs() - (clock_.MonotonicMs() - FromStore(sql_->oldest.Int(0)));
  }
  sql_->oldest.Reset();
  return oldest;
}

bool Store::HasLane(Book& book, std::uint64_t recipient) {
  if (book.lanes == 0) return false;
  if (book.lanes_known) return book.lane_set.contains(recipient);
  sql_->lane_due_of.Start(book.id, recipient);
  const bool found = sql_->lane_due_of.Next();
  sql_->lane_due_of.Reset();
  return found;
}

void Store::SetLane(Book& book, std::uint64_t recipient, std::optional<Millis> due_ms) {
  Begin();
  if (!HasLane(book, recipient)) {
    ++book.lanes;
    if (book.lanes_known) book.lane_set.insert(recipient);
    if (book.lane_set.size() > kKnownLanes) {
      book.lanes_known = false;
      book.lane_set = {};
    }
    // What was held goes on behind what made the lane.
    const auto found = book.recipients.find(recipient);
    if (found != book.recipients.end()) {
      Held held = std::exchange(found->second.held, {});
      for (; !held.empty(); ++held.first) {
        const Delivery& delivery = held.deliveries[held.first];
        UncountMemory(delivery);
        sql_->park.Run(book.id, recipient, delivery.sequence);
      }
    }
  }
  if (due_ms) {
    sql_->set_lane.Run(book.id, recipient, ToStore(*due_ms));
  } else {
    sql_->set_lane.Run(book.id, recipient, std::nullopt);
  }
}

void Store::DropLane(Book& book, std::uint64_t recipient) {
  Begin();
  sql_->drop_lane.Run(book.id, recipient);
  --book.lanes;
  book.lane_set.erase(recipient);
  if (book.lanes == 0) book.lanes_known = true;
}

// Rows that stand beside each other, as most do that were claimed together, go in one statement.
void Store::DropDone() {
  std::sort(lazy_.begin(), lazy_.end(), [](const Remains::Done& a, const Remains::Done& b) {
    return std::pair(a.endpoint, a.sequence) < std::pair(b.endpoint, b.sequence);
  });
  for (std::size_t first = 0; first < lazy_.size();) {
    const EndpointId endpoint = lazy_[first].endpoint;
    const Sequence begin = lazy_[first].sequence;
    Book& book = BookOf(endpoint);
    MarkChanged(book);
    std::size_t end = first;
    for (; end < lazy_.size() && lazy_[end].endpoint == endpoint &&
           lazy_[end].sequence == begin + (end - first);
         ++end) {
      book.counters.pending_bytes -= lazy_[end].bytes;
      Count(book, lazy_[end].how);
    }
    DropLog(endpoint, begin, begin + (end - first) - 1);
    first = end;
  }
}

void Store::Count(Book& book, Final how) {
  if (how == Final::kDelivered) ++book.counters.delivered;
  if (how == Final::kDead) ++book.counters.dead;
  if (how == Final::kCancelled) ++book.counters.cancelled;
  if (how == Final::kPurged) ++book.counters.purged;
  MarkChanged(book);
}

void Store::MarkChanged(Book& book) {
  if (!std::exchange(book.changed, true)) changed_.push_back(&book);
}

bool Store::DropLog(EndpointId endpoint, Sequence first, Sequence last) {
  sql_->drop_log.Run(RowKey(endpoint, first), RowKey(endpoint, last));
  return ok() && database_.Changes() > 0;
}

bool Store::Commit() {
  if (!in_transaction_ && lazy_.empty()) return ok();
  Begin();
  DropDone();
  for (const Book* book : changed_) {
    const Counters& c = book->counters;
    sql_->save_endpoint.Run(book->id, c.accepted, c.delivered, c.dead, c.cancelled, c.purged,
                            c.pending_bytes, static_cast<int>(book->pause), book->paused_url);
  }
  sql_->save_run.Run(ToStore(clock_.MonotonicMs()), commits_ + 1, last_sequence());
  sql_->commit.Run();
  if (!ok()) return false;
  ++commits_;
  committed_sequence_ = last_sequence_;
  in_transaction_ = false;
  appended_ = 0;
  lazy_.clear();
  for (Book* book : std::exchange(changed_, {})) book->changed = false;
  return true;
}

std::uint64_t Store::FileBytes() const {
  std::uint64_t bytes = 0;
  for (const char* suffix : {"", "-wal"}) {
    struct stat found {};
    if (stat((options_.path + suffix).c_str(), &found) == 0)
      bytes += static_cast<std::uint64_t>(found.st_size);
  }
  return bytes;
}

bool Store::Shrink(int pages) {
  constexpr std::int64_t kKeep = 256;  // pages: soon used again
  if (database_.Query("PRAGMA freelist_count") <= kKeep) return false;
  database_.Exec("PRAGMA incremental_vacuum(" + std::to_string(pages) + ")");
  return ok();
}

void Store::ReleasePages() { sqlite3_db_release_memory(database_.handle()); }

void Store::Checkpoint() { database_.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); }

}  // namespace offline_post
