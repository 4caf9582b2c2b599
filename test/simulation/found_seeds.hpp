// Seeds of histories that once failed. Each run of many begins with them. What a seed means changes
// with the plans that are drawn from it: so what was found has a unit test of its own, too.
#pragma once

#include <array>
#include <cstdint>

namespace offline_post::simulation {

inline constexpr std::array<std::uint64_t, 8> kFoundSeeds = {
    // A dead letter of an account that was registered again was purged with those from before.
    0xdaa31dd63018c91e,
    0x5b35a7791bb8b4b1,
    // Requests in flight that ended in 410, one by one, had the outbox claimed from after each.
    0xe60d54e2a3df2e74,
    0x10694416e6f4e1e5,
    // Two of a topic were in flight at a time: the newest was counted as if it waited.
    0x840355ad9da50b79,
    // A delivery that had failed was forgotten once a later one of its topic had ended meanwhile:
    // the next one did not speak for it.
    0x175e0409ad4b6b20,
    0x96c682bf613db6da,
    // Endpoints whose files were ruined looked once more each for what had been in them.
    0x8fb678a8e6da8f52,
};

}  // namespace offline_post::simulation
