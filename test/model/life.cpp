// One life of an outbox under the model's eyes.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "engine/notices.hpp"
#include "model.hpp"
#include "outbox/spool_outbox.hpp"
#include "support/fault_vfs.hpp"

namespace offline_post::test {

namespace {

constexpr int kSteps = 120;
constexpr EndpointId kEndpoints = 2;
constexpr std::uint64_t kRecipients = 5;

class History final : public OutboxListener {
 public:
  History(const Life& life, Model model, ModelClock& clock)
      : life_(life), model_(std::move(model)), clock_(clock), random_(life.seed) {}

  std::string Run() {
    Open();
    if (!wrong_.empty()) return wrong_;
    for (int step = 0; step < kSteps && wrong_.empty(); ++step) Step();
    if (life_.drain) Drain();
    outbox_.reset();
    return wrong_;
  }

  void OnCommitted(Ticket ticket, bool durable) override {
    for (auto& [sequence, flushed] : flushed_) {
      if (flushed > ticket) continue;
      const auto found = model_.pending.find(sequence);
      if (found == model_.pending.end()) continue;
      found->second.committed = true;
      if (durable) Report('c', found->second.id);
    }
    std::erase_if(flushed_, [ticket](const auto& one) { return one.second <= ticket; });
    // Told durable once more after an outage: what was not is now.
    if (durable) {
      Report('d', std::to_string(commands_at_[ticket]));
      for (const auto& [sequence, delivery] : model_.pending)
        if (delivery.committed) Report('c', delivery.id);
    }
  }
  void OnClaimed(EndpointId endpoint, Claimed claimed) override {
    answered_ = true;
    const Millis now = clock_.MonotonicMs();
    for (Delivery& delivery : claimed.deliveries) {
      const std::string why = model_.WhyNot(delivery, now);
      if (!why.empty() || delivery.endpoint != endpoint)
        Wrong("claimed " + std::to_string(delivery.sequence) + ", but " + why);
      if (!wrong_.empty()) return;
      model_.pending[delivery.sequence].leased = true;
      leased_.push_back(std::move(delivery));
    }
    // In an outage some wait for what is on the disk.
    const bool full = claimed.deliveries.size() >= limit_;
    if (!full && !claimed.more && outbox_->IsDurable() && !outage_) {
      if (const auto left = model_.Claimable(endpoint, now))
        Wrong(std::to_string(*left) + " could be claimed, and was not");
    }
    more_ = claimed.more;
  }
  void OnDeadVisited(DeadVisited visited) override {
    answered_ = true;
    std::uint64_t count = 0;
    for (auto dead = model_.dead.begin(); dead != model_.dead.end();) {
      const bool inside =
          dead->second.endpoint == visited.endpoint && dead->first > visit_.after &&
          (!visited.next || dead->first <= *visited.next) &&
          visit_.filter.IsFor(RecipientKey(*EventNamed(dead->second.id)), dead->first);
      if (!inside) {
        ++dead;
        continue;
      }
      ++count;
      if (visited.act == DeadAct::kShow || visited.count == 0) {
        ++dead;
        continue;
      }
      if (visited.act == DeadAct::kReplay) {
        ModelDelivery again = dead->second;
        again.attempts = again.failures = 0;
        again.committed = true;
        if (again.recipient == KeyOutOfOrder(dead->first))
          again.recipient = RecipientKey(*EventNamed(again.id));
        model_.pending[visit_.first_sequence + count - 1] = again;
      }
      dead = model_.dead.erase(dead);
    }
    if (count != visited.count && outbox_->IsDurable() && !outage_)
      Wrong("visited " + std::to_string(visited.count) + " dead letters instead of " +
            std::to_string(count));
  }
  void OnPurged(const DeadPurged& purged) override {
    answered_ = true;
    std::uint64_t count = purged.count;
    for (auto dead = model_.dead.begin(); dead != model_.dead.end() && count > 0;) {
      const bool ours = dead->second.endpoint == purged.endpoint;
      dead = ours ? model_.dead.erase(dead) : std::next(dead);
      count -= ours ? 1 : 0;
    }
    if (count > 0) Wrong("purged more than there was");
  }
  void OnLost(EndpointId /*endpoint*/, std::uint64_t /*count*/, std::uint64_t /*bytes*/) override {
    Wrong("something was lost");
  }

 private:
  std::uint64_t Random(std::uint64_t below) { return random_() % below; }

  void Wrong(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }

  // One write each: a line is in the pipe as a whole or not at all, whenever we are killed.
  void Report(char kind, const std::string& id) {
    const std::string line = kind + id + "\n";
    if (write(life_.report, line.data(), line.size()) < 0) _exit(4);
  }

  void Open() {
    TheFaults().kill_after_writes = life_.kill_after;
    SpoolOptions options;
    options.directory = life_.directory;
    options.min_free_bytes = 0;
    options.own_thread = life_.own_thread;
    options.vfs = kFaultVfs;
    options.cache_deliveries = life_.cache;
    options.merge_slice = life_.merge_slice;
    auto opened = SpoolOutbox::Open(options, clock_, notices_, {});
    if (!opened.ok()) {
      Wrong(opened.error().text);
      return;
    }
    outbox_ = std::move(opened.value());
    if (outbox_->NextSequence() != model_.next)
      Wrong("the next sequence is " + std::to_string(outbox_->NextSequence()));
    Withdrawals stored;
    for (const StoredEndpoint& endpoint : outbox_->Stored()) {
      for (const StoredWithdrawal& one : endpoint.withdrawals)
        stored[{endpoint.id, one.key}] = {one.until, one.how};
    }
    if (stored != model_.withdrawals) Wrong("other withdrawals than the file has");
    for (const StoredEndpoint& endpoint : outbox_->Stored()) CheckFailing(endpoint);
    for (EndpointId id = 1; id <= kEndpoints; ++id)
      outbox_->Register(id, {"host" + std::to_string(id), "module"});
  }

  void CheckFailing(const StoredEndpoint& stored) {
    std::uint64_t waited_for = 0;
    std::uint64_t out_of_order = 0;
    for (const auto& [sequence, known] : model_.pending) {
      const bool alone = known.recipient == sequence;  // as where no order is asked for
      if (known.endpoint != stored.id || known.failures == 0 || alone) continue;
      ++(known.recipient == KeyOutOfOrder(sequence) ? out_of_order : waited_for);
    }
    if (stored.recipients_waiting != waited_for || stored.out_of_order != out_of_order)
      Wrong("other failing deliveries than the file has");
  }

  void Step() {
    switch (Random(23)) {
      case 0:
        clock_.now_ms += static_cast<Millis>(Random(3'000));
        break;
      case 1:
        Outage();
        break;
      case 2:
        Visit();
        break;
      case 3:
        Purge();
        break;
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
        Claim(1 + static_cast<EndpointId>(Random(kEndpoints)), Random(12));
        break;
      case 9:
      case 10:
      case 11:
      case 12:
        End();
        break;
      case 13:
        Poll();
        break;
      case 20:
      case 21:
        Withdraw();
        break;
      case 22:
        Hasten();
        break;
      default:
        Append();
    }
  }

  void Append() {
    for (std::uint64_t n = 1 + Random(6); n > 0; --n) {
      const auto event =
          EventNamed("e" + std::to_string(life_.seed) + "-" + std::to_string(model_.next));
      Delivery delivery;
      delivery.sequence = model_.next++;
      delivery.endpoint = 1 + static_cast<EndpointId>(Random(kEndpoints));
      delivery.recipient = Random(kRecipients);
      delivery.accepted_ms = clock_.MonotonicMs();
      delivery.event = event;
      delivery.stands_for = static_cast<std::uint32_t>(1 + Random(3));
      Report('a', event->id);
      model_.pending[delivery.sequence] = {
          event->id, delivery.endpoint, delivery.recipient, 0, 0, delivery.stands_for, false,
          false};
      unflushed_.push_back(delivery.sequence);
      outbox_->Append(std::move(delivery));
    }
    Flush();
  }

  void Flush() {
    const Ticket ticket = outbox_->Flush({});
    commands_at_[ticket] = commands_;
    for (const Sequence sequence : unflushed_) flushed_[sequence] = ticket;
    unflushed_.clear();
  }

  // Keys are few, so that they meet again.
  void Withdraw() {
    WithdrawalCommand command;
    command.endpoint = 1 + static_cast<EndpointId>(Random(kEndpoints));
    if (Random(4) > 0) {
      command.key = Random(4) * 0x5555555555555555;
      command.until = 1 + Random(model_.next);
      command.how = Random(2) == 0 ? Final::kCancelled : Final::kPurged;
    }
    Report('s', std::to_string(command.endpoint) + " " + std::to_string(command.key) + " " +
                    std::to_string(command.until) + " " +
                    std::to_string(static_cast<int>(command.how)));
    ++commands_;
    if (command.until > 0) {
      outbox_->SetWithdrawal(command.endpoint, command.key, command.until, command.how);
    } else {
      outbox_->ClearWithdrawals(command.endpoint);
    }
  }

  void Hasten() {
    const Lane lane(1 + static_cast<EndpointId>(Random(kEndpoints + 1)), Random(kRecipients + 1));
    model_.due.erase(lane);
    outbox_->Hasten(lane.first, lane.second);
  }

  void Poll() { outbox_->Poll(*this); }

  // Until the answer to the last command that has one is there.
  void Await() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (int tries = 0; !answered_ && wrong_.empty(); ++tries) {
      Poll();
      if (answered_) break;
      // What waits for the disk may need time to go by.
      if (tries > 2 && !outbox_->IsDurable() && !outage_) {
        clock_.now_ms += 31'000;
        Flush();
      }
      if (std::chrono::steady_clock::now() > deadline) Wrong("no answer");
      if (life_.own_thread) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  void Claim(EndpointId endpoint, std::size_t limit) {
    limit_ = limit;
    answered_ = false;
    // What is due by now does not wait any more, once one of it was handed out.
    outbox_->Claim(endpoint, {limit});
    Await();
  }

  void End() {
    for (std::uint64_t n = Random(6); n > 0 && !leased_.empty(); --n) {
      // For each recipient in order, as the engine does.
      Delivery delivery = std::move(leased_.front());
      leased_.erase(leased_.begin());
      ModelDelivery& known = model_.pending[delivery.sequence];
      known.leased = false;
      const Lane lane(known.endpoint, known.recipient);
      switch (Random(9)) {
        case 0:
          known.attempts = ++delivery.attempts;
          known.failures = delivery.failures += static_cast<int>(Random(2));
          known.stands_for = delivery.stands_for += static_cast<std::uint32_t>(Random(2));
          Later(delivery, lane);
          break;
        case 1:
          known.stands_for = delivery.stands_for += static_cast<std::uint32_t>(Random(2));
          outbox_->Park(delivery);
          ParkFollowers(lane);
          break;
        case 2:
          model_.dead[delivery.sequence] = known;
          model_.pending.erase(delivery.sequence);
          outbox_->Finish(delivery, Final::kDead, {400, "HTTP 400", "x"});
          break;
        case 3:
          if (IsOutOfOrder(delivery)) {
            Finish(delivery);
          } else {
            LeaveOrder(delivery, known);
          }
          break;
        default:
          Finish(delivery);
      }
    }
  }

  void Finish(const Delivery& delivery) {
    constexpr std::array kEnds = {Final::kCancelled, Final::kPurged, Final::kDelivered};
    const Final how = kEnds.at(std::min<std::size_t>(Random(5), 2));
    const std::string id = model_.pending[delivery.sequence].id;
    const auto& [newest, later] = *model_.pending.rbegin();
    if (how == Final::kCancelled && newest > delivery.sequence) {
      Report('r', id + " " + later.id);
    } else {
      Report('f', id);
    }
    model_.pending.erase(delivery.sequence);
    outbox_->Finish(delivery, how, {});
  }

  void Later(const Delivery& delivery, const Lane& lane) {
    const Millis due = clock_.MonotonicMs() + static_cast<Millis>(Random(2'000));
    model_.due[lane] = due;
    outbox_->Reschedule(delivery, due, {});
    ParkFollowers(lane);
  }

  // Its followers stay leased.
  void LeaveOrder(Delivery delivery, ModelDelivery& known) {
    known.attempts = ++delivery.attempts;
    known.failures = ++delivery.failures;
    known.stands_for = delivery.stands_for += static_cast<std::uint32_t>(Random(2));
    known.recipient = KeyOutOfOrder(delivery.sequence);
    const Millis due = clock_.MonotonicMs() + static_cast<Millis>(Random(2'000));
    model_.due[Lane(known.endpoint, known.recipient)] = due;
    outbox_->LeaveOrder(delivery, due, {});
  }

  void ParkFollowers(const Lane& lane) {
    for (auto follower = leased_.begin(); follower != leased_.end();) {
      if (Lane(follower->endpoint, follower->recipient) != lane) {
        ++follower;
        continue;
      }
      model_.pending[follower->sequence].leased = false;
      outbox_->Park(*follower);
      follower = leased_.erase(follower);
    }
  }

  void Visit() {
    visit_ = {};
    visit_.endpoint = 1 + static_cast<EndpointId>(Random(kEndpoints));
    visit_.act = static_cast<DeadAct>(Random(4));
    if (Random(3) == 0) {
      Recipients some;
      for (int i = 0; i < 2; ++i)
        some[RecipientKey("user" + std::to_string(Random(3)), "example.org")] = Random(model_.next);
      visit_.filter.recipients = std::make_shared<const Recipients>(std::move(some));
    }
    visit_.limit = 1 + Random(4);
    visit_.first_sequence = model_.next;
    visit_.accepted_ms = clock_.MonotonicMs();
    if (visit_.act == DeadAct::kReplay) model_.next += visit_.limit;
    if (visit_.act == DeadAct::kDrop || visit_.act == DeadAct::kPurge) MayEnd(visit_.endpoint);
    answered_ = false;
    outbox_->VisitDead(visit_);
    Await();
  }

  void Purge() {
    const EndpointId endpoint = 1 + static_cast<EndpointId>(Random(kEndpoints));
    MayEnd(endpoint);
    answered_ = false;
    // All of them: which died first depends on when the storage thread heard of it.
    outbox_->PurgeDead({endpoint, clock_.MonotonicMs() + 1, 0, 0, 10'000});
    Await();
  }

  void MayEnd(EndpointId endpoint) {
    for (const auto& [sequence, dead] : model_.dead)
      if (dead.endpoint == endpoint) Report('f', dead.id);
  }

  void Outage() {
    if (life_.drain) return;
    Faults& faults = TheFaults();
    outage_ = true;
    const bool sync = Random(2) == 0;
    (sync ? faults.sync_error : faults.full) = true;
    for (int step = 0; step < 10 && wrong_.empty(); ++step) {
      if (Random(2) == 0) {
        Append();
      } else if (Random(2) == 0) {
        End();
      } else if (Random(3) == 0) {
        Withdraw();
      } else if (Random(3) == 0) {
        Hasten();
      } else {
        Claim(1 + static_cast<EndpointId>(Random(kEndpoints)), Random(12));
      }
    }
    faults.sync_error = false;
    faults.full = false;
    // A recovery is short: few would be killed in one by chance.
    if (life_.kill_after > 0 && Random(3) == 0)
      faults.kill_after_writes = faults.operations + 1 + static_cast<long>(Random(40));
    // The outage is over when the next commit went well, or the file was opened anew.
    Flush();
    Poll();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (wrong_.empty() && (!flushed_.empty() || !outbox_->IsDurable())) {
      if (!outbox_->IsDurable()) clock_.now_ms += 31'000;
      Flush();  // wakes the storage thread, which does not know of our clock
      Poll();
      if (std::chrono::steady_clock::now() > deadline) Wrong("the outage does not end");
      if (life_.own_thread) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    Poll();
    outage_ = false;
  }

  void Drain() {
    Flush();
    for (int turn = 0; turn < 10'000 && wrong_.empty(); ++turn) {
      for (EndpointId id = 1; id <= kEndpoints; ++id) Claim(id, 100);
      for (const Delivery& delivery : leased_) {
        Report('f', delivery.event->id);
        outbox_->Finish(delivery, Final::kDelivered, {});
        model_.pending.erase(delivery.sequence);
      }
      const bool none = leased_.empty();
      leased_.clear();
      if (none && model_.pending.empty()) return;
      clock_.now_ms += 500;
    }
    Wrong(std::to_string(model_.pending.size()) + " are never handed out");
  }

  const Life life_;
  Model model_;
  ModelClock& clock_;
  std::mt19937_64 random_;
  Notices notices_{clock_};
  std::unique_ptr<SpoolOutbox> outbox_;
  std::vector<Delivery> leased_;
  std::vector<Sequence> unflushed_;
  std::map<Sequence, Ticket> flushed_;
  std::size_t commands_ = 0;  // on withdrawals
  std::map<Ticket, std::size_t> commands_at_;
  DeadVisit visit_;
  std::size_t limit_ = 0;
  bool answered_ = false;
  bool more_ = false;
  bool outage_ = false;
  std::string wrong_;
};

}  // namespace

std::string Live(const Life& life, Model model, ModelClock& clock) {
  return History(life, std::move(model), clock).Run();
}

}  // namespace offline_post::test
