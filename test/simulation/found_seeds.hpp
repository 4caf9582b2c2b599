// Seeds of histories that once failed. Each run of many begins with them. What a seed means changes
// with the plans that are drawn from it: so what was found has a unit test of its own, too.
#pragma once

#include <array>
#include <cstdint>

namespace offline_post::simulation {

inline constexpr std::array<std::uint64_t, 5> kFoundSeeds = {
    // A dead letter of an account that was registered again was purged with those from before.
    0xdaa31dd63018c91e,
    0x5b35a7791bb8b4b1,
    // Requests in flight that ended in 410, one by one, had the outbox claimed from after each.
    0xe60d54e2a3df2e74,
    0x10694416e6f4e1e5,
    // Two of a topic were in flight at a time: the newest was counted as if it waited.
    0x840355ad9da50b79,
};

}  // namespace offline_post::simulation
