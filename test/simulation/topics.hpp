// What a configuration makes of topics: DESIGN's rules once more, apart from the engine's.
#pragma once

#include <algorithm>
#include <cstdint>

#include "model/endpoint.hpp"
#include "model/event.hpp"

namespace offline_post::simulation {

// Between two events of this one's topic.
inline Millis IntervalOf(const Endpoint& config, const Event& event) {
  if (event.topic == 0) return 0;
  const RateLimits& rates = config.rates;
  if (rates.collapse && event.topic == RateTopic(event)) {
    std::uint64_t least = 0;
    for (const std::uint64_t rate : {rates.sender, rates.recipient}) {
      if (rate > 0 && (least == 0 || rate < least)) least = rate;
    }
    if (least > 0) return 60'000 / static_cast<Millis>(least);
  }
  return config.collapse_interval_ms;
}

// Within what an order is kept; 0: with nobody.
inline std::uint64_t LaneKeyOf(const Endpoint& config, const Event& event) {
  if (IntervalOf(config, event) > 0) return event.topic;
  if (config.ordered) return RecipientKey(event);
  return event.topic;
}

}  // namespace offline_post::simulation
