// BreakerModel: what a breaker promises, as seen from outside. It is told what the engine is told,
// and objects to a request that the promise forbids; where jitter leaves a choice, it allows the
// earliest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/clock.hpp"
#include "model/delivery.hpp"
#include "model/request.hpp"

namespace offline_post::simulation {

class BreakerModel {
 public:
  explicit BreakerModel(std::string name) : name_(std::move(name)) {}

  // Begins anew. Who failed last is remembered: its next failure is no news.
  void Reset(std::string name);
  void SetLimit(int limit);
  // Something was changed by hand: the next probe may leave at once.
  void Hasten();
  // Objects by throwing a Violation. `in_flight`: before this one.
  void Send(Millis now, RequestId id, int in_flight);
  void Alive(RequestId id);
  // Without a sequence it is a delivery's own trouble, unless it is the probe.
  void Trouble(Millis now, RequestId id, std::optional<Sequence> sequence, Millis retry_after);
  void Cancelled(RequestId id);

  bool open() const { return open_; }

 private:
  std::string name_;
  bool open_ = false;
  int limit_ = 1;
  int allowed_ = 1;
  int troubles_ = 0;
  int failed_probes_ = 0;
  Sequence last_ = 0;
  std::optional<RequestId> probe_;
  Millis earliest_ = 0;
};

}  // namespace offline_post::simulation
