#include "breaker_model.hpp"

#include <algorithm>
#include <utility>

#include "basics.hpp"

namespace offline_post::simulation {

namespace {

// DESIGN: several deliveries' trouble opens it; probes back off from 1 s to 60 s, jittered by a
// quarter; a passed probe lets two out, and every answer one more.
constexpr int kTroublesToOpen = 5;
constexpr Millis kFirstProbeMs = 1'000;
constexpr Millis kLongestProbeMs = 60'000;
constexpr int kRampFrom = 2;

}  // namespace

void BreakerModel::Reset(std::string name) {
  const Sequence last = last_;
  *this = BreakerModel(std::move(name));
  last_ = last;
}

void BreakerModel::SetLimit(int limit) {
  allowed_ = allowed_ == limit_ ? limit : std::min(allowed_, limit);
  limit_ = limit;
}

void BreakerModel::Hasten() {
  failed_probes_ = 0;
  earliest_ = 0;
}

void BreakerModel::Send(Millis now, RequestId id, int in_flight) {
  if (!open_) {
    if (in_flight >= allowed_) {
      Fail(name_ + " has " + std::to_string(in_flight) + " in flight, may have " +
           std::to_string(allowed_) + ", and got one more");
    }
    return;
  }
  if (probe_) Fail(name_ + " is open with a probe out, and got another request");
  if (now < earliest_) {
    Fail(name_ + " is open and got a probe " + std::to_string(earliest_ - now) + " ms early");
  }
  probe_ = id;
}

void BreakerModel::Alive(RequestId /*id*/) {
  troubles_ = 0;
  if (!open_) {
    allowed_ = std::min(limit_, allowed_ + 1);
    return;
  }
  open_ = false;
  probe_.reset();
  failed_probes_ = 0;
  allowed_ = std::min(limit_, kRampFrom);
}

void BreakerModel::Trouble(Millis now, RequestId id, std::optional<Sequence> sequence,
                           Millis retry_after) {
  const bool is_probe = probe_ == id;
  if (!is_probe && (!sequence || last_ == sequence)) return;
  if (!is_probe) last_ = *sequence;
  ++troubles_;
  if (!open_) {
    if (troubles_ < kTroublesToOpen) return;
    failed_probes_ = 0;
  } else if (!is_probe) {
    return;
  }
  open_ = true;
  probe_.reset();
  ++failed_probes_;
  const Millis wait = std::min(kLongestProbeMs, kFirstProbeMs << std::min(failed_probes_ - 1, 10));
  earliest_ = now + std::max(wait * 3 / 4, retry_after);
}

void BreakerModel::Cancelled(RequestId id) {
  if (probe_ == id) probe_.reset();
}

}  // namespace offline_post::simulation
