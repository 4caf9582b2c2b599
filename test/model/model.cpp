#include "model.hpp"

#include <algorithm>

#include "outbox/sqlite.hpp"
#include "outbox/store_rows.hpp"
#include "support/spool_file.hpp"

namespace offline_post::test {

std::size_t Model::Leased(const Lane& lane) const {
  return static_cast<std::size_t>(
      std::count_if(pending.begin(), pending.end(), [&lane](const auto& entry) {
        return entry.second.leased && Lane(entry.second.endpoint, entry.second.recipient) == lane;
      }));
}

bool Model::Waits(const Lane& lane, Millis now) const {
  const auto found = due.find(lane);
  return found != due.end() && found->second > now;
}

std::string Model::WhyNot(const Delivery& delivery, Millis now) const {
  const auto found = pending.find(delivery.sequence);
  if (found == pending.end()) return "it is not pending";
  const ModelDelivery& known = found->second;
  if (known.leased) return "it is leased";
  if (!known.committed) return "it is not committed";
  if (known.id != delivery.event->id || known.recipient != delivery.recipient)
    return "it is another event";
  if (known.attempts != delivery.attempts)
    return "it has " + std::to_string(delivery.attempts) + " attempts instead of " +
           std::to_string(known.attempts);
  const Lane lane(known.endpoint, known.recipient);
  if (Waits(lane, now)) return "its recipient waits";
  if (Leased(lane) >= Outbox::kLeasedPerRecipient) return "its recipient has its leases";
  for (const auto& [sequence, other] : pending) {
    if (sequence >= delivery.sequence) break;
    if (!other.leased && Lane(other.endpoint, other.recipient) == lane)
      return std::to_string(sequence) + " comes before it";
  }
  return "";
}

std::optional<Sequence> Model::Claimable(EndpointId endpoint, Millis now) const {
  for (const auto& [sequence, delivery] : pending) {
    const Lane lane(delivery.endpoint, delivery.recipient);
    if (delivery.endpoint == endpoint && !delivery.leased && delivery.committed &&
        !Waits(lane, now) && Leased(lane) < Outbox::kLeasedPerRecipient)
      return sequence;
  }
  return std::nullopt;
}

std::string Load(const std::string& path, Millis now_ms, Model& model, Journal& journal) {
  model = {};
  if (NumberFrom(path, "PRAGMA user_version") == 0) {  // killed while it was created
    return journal.committed.empty() ? "" : "the file is empty";
  }
  std::string wrong = FaultsOfFile(path);
  if (!wrong.empty()) return "the file is not lawful: " + wrong;
  Database database;
  database.Open(path, "", 5'000);
  std::set<std::string> found;
  const auto see = [&](const std::string& id) {
    if (!found.insert(id).second) wrong += id + " is there twice; ";
    if (!journal.appended.contains(id)) wrong += id + " was never appended; ";
    if (journal.gone.contains(id)) wrong += id + " has come back; ";
  };
  Statement log(
      database,
      "SELECT l.key, l.recipient, l.event_id, coalesce(p.attempts, 0) FROM log l LEFT JOIN"
      " parked p ON p.endpoint = l.key >> 44 AND p.recipient = l.recipient"
      " AND p.sequence = l.key & ((1 << 44) - 1)");
  while (log.Next()) {
    const Sequence sequence = SequenceOf(log.Int(0));
    model.pending[sequence] = {log.Text(2),
                               static_cast<EndpointId>(log.Int(0) >> kSequenceBits),
                               log.Unsigned(1),
                               static_cast<int>(log.Int(3)),
                               true,
                               false};
    see(log.Text(2));
  }
  Statement dead(database, "SELECT key, recipient, event_id, endpoint FROM dead");
  while (dead.Next()) {
    model.dead[SequenceOf(dead.Int(0))] = {
        dead.Text(2), static_cast<EndpointId>(dead.Int(3)), dead.Unsigned(1), 0, true, false};
    see(dead.Text(2));
  }
  Statement lanes(database,
                  "SELECT endpoint, recipient, due_ms FROM lane WHERE due_ms IS NOT NULL");
  while (lanes.Next()) {
    const Millis due = lanes.Int(2) - kEpoch;  // store time began with the epoch
    if (due > now_ms) model.due[{static_cast<EndpointId>(lanes.Int(0)), lanes.Unsigned(1)}] = due;
  }
  model.next = static_cast<Sequence>(database.Query("SELECT last_sequence FROM run")) + 1;
  if (!database.ok()) return database.message();
  for (const std::string& id : journal.committed) {
    if (!found.contains(id) && !journal.ended.contains(id)) wrong += id + " is lost; ";
  }
  for (const std::string& id : journal.committed)
    if (!found.contains(id)) journal.gone.insert(id);
  return wrong;
}

}  // namespace offline_post::test
