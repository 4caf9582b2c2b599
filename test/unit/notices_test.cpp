#include "engine/notices.hpp"

#include "support/values.hpp"

namespace offline_post {

TEST_CASE("waiting lines are bounded, and the dropped ones are counted") {
  const test::ManualClock clock;
  Notices notices(clock);
  for (std::size_t i = 0; i < Notices::kMaxWaiting + 7; ++i)
    notices.Add(Notice::Level::kInfo, "line");
  const std::vector<Notice> waiting = notices.Waiting();
  REQUIRE(waiting.size() == Notices::kMaxWaiting + 1);
  CHECK(waiting.back().line == "7 log lines were left out");
  notices.Clear();
  CHECK(notices.empty());
}

TEST_CASE("a line that repeats appears once a minute, with the number of those left out") {
  test::ManualClock clock;
  Notices notices(clock);
  for (int i = 0; i < 5; ++i) notices.AddRarely("a", Notice::Level::kError, "dead");
  notices.AddRarely("b", Notice::Level::kError, "other");
  CHECK(notices.Waiting().size() == 2);
  clock.Advance(Notices::kQuietMs);
  notices.AddRarely("a", Notice::Level::kError, "dead");
  REQUIRE(notices.Waiting().size() == 3);
  CHECK(notices.Waiting().back().line == "dead (and 4 more like it)");
}

}  // namespace offline_post
