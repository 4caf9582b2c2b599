#include "model.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "outbox/sqlite.hpp"
#include "outbox/store_file.hpp"
#include "outbox/store_rows.hpp"
#include "support/spool_file.hpp"

namespace offline_post::test {

std::shared_ptr<const Event> EventNamed(const std::string& id) {
  constexpr std::array kTexts = {"plain",        "",    "a \"quoted\" \\ one", "z\u00fcrich \u6f22",
                                 "two\nlines\t", "\x01"};
  const std::uint64_t chance = Fingerprint(id);
  auto event = std::make_shared<Event>();
  event->id = id;
  event->to = {"user" + std::to_string(chance % 3), "example.org", ""};
  event->body = std::string(chance / 3 % 300, 'x');
  event->kind = chance % 2 == 0 ? "text" : "encrypted";
  event->topic = chance % 5 == 0 ? chance : 0;
  for (std::uint64_t n = chance / 7 % 4; n > 0; --n) {
    const std::string name = "name" + std::to_string(n);
    event->attributes.push_back({name, kTexts.at((chance >> (8 * n)) % kTexts.size())});
  }
  return event;
}

void Carry(const WithdrawalCommand& command, Withdrawals& withdrawals) {
  if (command.until > 0) {
    withdrawals[{command.endpoint, command.key}] = {command.until, command.how};
  } else {
    std::erase_if(withdrawals,
                  [&command](const auto& one) { return one.first.first == command.endpoint; });
  }
}

namespace {

bool IsWhole(const Event& event) {
  const std::shared_ptr<const Event> same = EventNamed(event.id);
  const auto equal = [](const Attribute& a, const Attribute& b) {
    return a.name == b.name && a.value == b.value;
  };
  return event.to.user == same->to.user && event.body == same->body && event.kind == same->kind &&
         event.topic == same->topic &&
         std::equal(event.attributes.begin(), event.attributes.end(), same->attributes.begin(),
                    same->attributes.end(), equal);
}

// The file has what some number of the commands makes, all durable ones among them: how many, at
// least.
std::optional<std::size_t> Carried(const Withdrawals& found, const Journal& journal) {
  Withdrawals made = journal.withdrawals;
  for (std::size_t n = 0;; ++n) {
    if (n >= journal.durable && made == found) return n;
    if (n == journal.commands.size()) return std::nullopt;
    Carry(journal.commands[n], made);
  }
}

// It is in the file, or has ended, or so is what speaks for it.
bool IsKept(const std::string& id, const std::set<std::string>& found, const Journal& journal) {
  if (found.contains(id) || journal.ended.contains(id)) return true;
  const auto later = journal.spoken_for.find(id);
  return later != journal.spoken_for.end() && IsKept(later->second, found, journal);
}

}  // namespace

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
  if (!IsWhole(*delivery.event)) return "it is not what it was";
  if (known.stands_for != delivery.stands_for)
    return "it stands for " + std::to_string(delivery.stands_for) + " instead of " +
           std::to_string(known.stands_for);
  if (known.attempts != delivery.attempts)
    return "it has " + std::to_string(delivery.attempts) + " attempts instead of " +
           std::to_string(known.attempts);
  if (known.failures != delivery.failures) return "it has another number of failures";
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
  const auto version = static_cast<long>(StoreMigrations().size());
  if (NumberFrom(path, "PRAGMA user_version") < version) {  // killed while it was created
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
  Statement log(database,
                "SELECT l.key, l.recipient, l.event_id, coalesce(p.attempts, 0), stands_for,"
                " coalesce(p.failures, 0) FROM log l"
                " LEFT JOIN"
                " parked p ON p.endpoint = l.key >> 44 AND p.recipient = l.recipient"
                " AND p.sequence = l.key & ((1 << 44) - 1)");
  while (log.Next()) {
    const Sequence sequence = SequenceOf(log.Int(0));
    model.pending[sequence] = {log.Text(2),
                               static_cast<EndpointId>(log.Int(0) >> kSequenceBits),
                               log.Unsigned(1),
                               static_cast<int>(log.Int(3)),
                               static_cast<int>(log.Int(5)),
                               static_cast<std::uint32_t>(log.Int(4)),
                               true,
                               false};
    see(log.Text(2));
  }
  Statement dead(database, "SELECT key, recipient, event_id, endpoint, stands_for FROM dead");
  while (dead.Next()) {
    model.dead[SequenceOf(dead.Int(0))] = {dead.Text(2),
                                           static_cast<EndpointId>(dead.Int(3)),
                                           dead.Unsigned(1),
                                           0,
                                           0,
                                           static_cast<std::uint32_t>(dead.Int(4)),
                                           true,
                                           false};
    see(dead.Text(2));
  }
  Statement lanes(database,
                  "SELECT endpoint, recipient, due_ms FROM lane WHERE due_ms IS NOT NULL");
  while (lanes.Next()) {
    const Millis due = lanes.Int(2) - kEpoch;  // store time began with the epoch
    if (due > now_ms) model.due[{static_cast<EndpointId>(lanes.Int(0)), lanes.Unsigned(1)}] = due;
  }
  Statement withdrawn(database, "SELECT endpoint, key, until, how FROM withdrawal");
  while (withdrawn.Next()) {
    model.withdrawals[{static_cast<EndpointId>(withdrawn.Int(0)), withdrawn.Unsigned(1)}] = {
        withdrawn.Unsigned(2), static_cast<Final>(withdrawn.Int(3))};
  }
  const std::optional<std::size_t> carried = Carried(model.withdrawals, journal);
  if (!carried) wrong += "withdrawals nobody made, or lost ones; ";
  // A mark never comes before what it may make way for.
  const std::size_t before = carried.value_or(0) > 0 ? journal.commands[*carried - 1].appended : 0;
  for (std::size_t n = 0; n < before; ++n) {
    if (!IsKept(journal.appends[n], found, journal))
      wrong += journal.appends[n] + " comes after a withdrawal that it came before; ";
  }
  model.next = static_cast<Sequence>(database.Query("SELECT last_sequence FROM run")) + 1;
  if (!database.ok()) return database.message();
  for (const std::string& id : journal.committed) {
    if (!IsKept(id, found, journal)) wrong += id + " is lost; ";
  }
  for (const std::string& id : journal.committed)
    if (!found.contains(id)) journal.gone.insert(id);
  return wrong;
}

}  // namespace offline_post::test
