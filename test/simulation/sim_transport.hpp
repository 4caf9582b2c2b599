// SimTransport: the transport port over simulated backends.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backend.hpp"
#include "basics.hpp"
#include "book.hpp"
#include "engine/transport.hpp"
#include "random.hpp"

namespace offline_post::simulation {

class SimTransport final : public Transport {
 public:
  SimTransport(const SimClock& clock, Random& random, Book& book, Fuse& fuse,
               const BackendHabits& habits)
      : clock_(clock), random_(random), book_(book), fuse_(fuse), habits_(habits) {}

  // The world's side.
  std::map<std::string, HostMood> hosts;
  std::map<EndpointId, PathMood> paths;
  std::optional<Millis> NextMs() const;
  // Hands over the answers that have come. False: none.
  bool Perform(TransportListener& listener);
  // The process dies; the backend may have what was in flight.
  void Die();
  std::size_t in_flight() const { return flights_.size(); }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t batches() const { return batches_; }  // of these with more than one event
  void set_habits(const BackendHabits& habits) { habits_ = habits; }

  void Send(Request request) override;
  void Cancel(RequestId id) override;

 private:
  struct Flight {
    Request request;
    Fate fate;
    std::vector<std::shared_ptr<const Event>> events;
    Millis due = 0;
  };
  void Received(const Flight& flight);

  const SimClock& clock_;
  Random& random_;
  Book& book_;
  Fuse& fuse_;
  BackendHabits habits_;
  std::map<RequestId, Flight> flights_;
  std::set<std::pair<Millis, RequestId>> due_;
  std::uint64_t sent_ = 0;
  std::uint64_t batches_ = 0;
};

}  // namespace offline_post::simulation
