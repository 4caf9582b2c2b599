// An engine with nothing real around it: the transport is answered by hand, the outbox is the one
// in memory with what a durable one would say and remember.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.hpp"
#include "outbox/memory_outbox.hpp"
#include "payload/answer.hpp"
#include "support/values.hpp"

namespace offline_post::test {

struct FakeTransport final : Transport {
  void Send(Request request) override { sent.push_back(std::move(request)); }
  void Cancel(RequestId id) override {
    cancelled.push_back(id);
    std::erase_if(sent, [id](const Request& request) { return request.id == id; });
  }
  std::deque<Request> sent;  // and not answered
  std::vector<RequestId> cancelled;
};

struct FakeOutbox final : Outbox {
  static constexpr Sequence kFirstSequence = 100;

  explicit FakeOutbox(const Clock& clock) : inner(clock) {}
  std::vector<StoredEndpoint> Stored() const override { return {}; }
  Sequence NextSequence() const override { return kFirstSequence; }
  void Register(EndpointId /*endpoint*/, const EndpointKey& key) override {
    registered.push_back(key.vhost);
  }
  void SetPause(EndpointId /*endpoint*/, Pause why, std::uint64_t url) override {
    pause = why;
    paused_url = url;
  }
  void SetWithdrawal(EndpointId /*endpoint*/, std::uint64_t key, Sequence until,
                     Final how) override {
    withdrawals[key] = {key, until, how};
  }
  void ClearWithdrawals(EndpointId /*endpoint*/) override { withdrawals.clear(); }
  void Append(Delivery delivery) override { inner.Append(std::move(delivery)); }
  Ticket Flush(std::vector<CommitCallback> callbacks) override {
    std::move(callbacks.begin(), callbacks.end(), std::back_inserter(waiting));
    return ++ticket;
  }
  void Claim(EndpointId endpoint, ClaimLimit limit) override {
    ++claims;
    inner.Claim(endpoint, limit);
  }
  void Finish(const Delivery& delivery, Final how, const Note& note) override {
    finished.emplace_back(delivery, how);
    inner.Finish(delivery, how, note);
  }
  void Reschedule(const Delivery& delivery, Millis due_ms, const Note& note) override {
    inner.Reschedule(delivery, due_ms, note);
  }
  void Park(const Delivery& delivery) override { inner.Park(delivery); }
  void LeaveOrder(const Delivery& delivery, Millis due_ms, const Note& note) override {
    inner.LeaveOrder(delivery, due_ms, note);
  }
  void Hasten(EndpointId endpoint, std::uint64_t recipient) override {
    inner.Hasten(endpoint, recipient);
  }
  void HastenAll(EndpointId endpoint, std::size_t limit) override {
    inner.HastenAll(endpoint, limit);
  }
  void VisitDead(const DeadVisit& visit) override {
    dead_visits.push_back(visit.act);
    inner.VisitDead(visit);
  }
  void PurgeDead(const DeadPurge& purge) override { inner.PurgeDead(purge); }
  bool Poll(OutboxListener& listener) override { return inner.Poll(listener); }
  bool HasRoom() const override { return true; }
  bool IsDurable() const override { return true; }

  MemoryOutbox inner;
  std::vector<std::string> registered;
  Pause pause = Pause::kNone;
  std::uint64_t paused_url = 0;
  std::map<std::uint64_t, StoredWithdrawal> withdrawals;
  int claims = 0;
  std::vector<std::pair<Delivery, Final>> finished;
  std::vector<DeadAct> dead_visits;
  Ticket ticket = 0;
  std::vector<CommitCallback> waiting;
};

// An engine whose endpoint 1 is not configured yet.
struct BareEngine {
  explicit BareEngine(std::size_t memory_bytes = Budget::kBytes)
      : engine{outbox, transport, clock, notices, 42, memory_bytes} {}
  ManualClock clock;
  Notices notices{clock};
  FakeOutbox outbox{clock};
  FakeTransport transport;
  Engine engine;
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
  std::shared_ptr<Endpoint> endpoint = MakeEndpoint();

  ~BareEngine() { CheckLaw(ledger->Snapshot()); }

  void Configure() { Configure(1, endpoint, ledger); }

  void Configure(EndpointId id, const std::shared_ptr<Endpoint>& config,
                 const std::shared_ptr<Ledger>& book) {
    book->Open(config->limits);
    engine.Configure(id, config, book);
    Turn();
  }

  void Turn() {
    do {
      engine.Turn();
    } while (outbox.Poll(engine));
  }

  void Accept(const std::shared_ptr<Event>& event, CommitCallback committed = {}) {
    event->accepted_unix_ms = clock.UnixMs();
    REQUIRE(ledger->Reserve(EventBytes(*event)) == Admission::kAccepted);
    engine.Accept(1, event, std::move(committed));
    Turn();
  }

  void Accept(const std::string& to, const std::string& body = "hello",
              CommitCallback committed = {}) {
    Accept(MakeEvent(to, body), std::move(committed));
  }

  void Answer(int status, const std::string& retry_after = "", const std::string& failure = "") {
    offline_post::Answer answer;
    answer.status = status;
    answer.retry_after = retry_after;
    answer.failure = failure;
    Answer(answer);
  }

  void Answer(const offline_post::Answer& answer) {
    REQUIRE_FALSE(transport.sent.empty());
    const Request request = std::move(transport.sent.front());
    transport.sent.pop_front();
    engine.OnDone(request.id, ReadAnswer(request, answer, clock.UnixMs()));
    Turn();
  }

  void Advance(Millis ms) {
    clock.Advance(ms);
    Turn();
  }

  // Lets time pass to the next thing that time alone brings.
  void AdvanceToNext() {
    REQUIRE(engine.NextTurnMs().has_value());
    Advance(std::max<Millis>(0, *engine.NextTurnMs() - clock.MonotonicMs()));
  }

  // Runs what is due until there is nothing to do but wait for longer than `ms`.
  void Settle(Millis ms = 10) {
    for (int i = 0; i < 100'000; ++i) {
      const auto next = engine.NextTurnMs();
      if (!next || *next > clock.MonotonicMs() + ms) return;
      AdvanceToNext();
    }
    FAIL("the engine never rests");
  }

  std::vector<DeadLetter> Dead(const DeadFilter& filter = {}) {
    std::vector<DeadLetter> dead;
    engine.ListDead(1, filter, 0, 100'000,
                    [&dead](std::vector<DeadLetter> letters, std::optional<Sequence>) {
                      dead = std::move(letters);
                    });
    Turn();
    return dead;
  }

  Stats stats() const { return ledger->Snapshot(); }
  std::string sent_body(std::size_t i) const { return transport.sent.at(i).body; }
  // The text of the message that is out, if only one is.
  std::string sent_text() const {
    if (transport.sent.size() != 1) return std::to_string(transport.sent.size()) + " requests";
    const std::string& body = transport.sent.front().body;
    const std::size_t begin = body.find("&body=") + 6;
    return body.substr(begin, body.find('&', begin) - begin);
  }
};

struct ConfiguredEngine : BareEngine {
  explicit ConfiguredEngine(int connections = 64) {
    endpoint->max_connections = connections;
    Configure();
  }
};

}  // namespace offline_post::test
