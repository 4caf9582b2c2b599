#include "engine/withdrawals.hpp"

#include "support/values.hpp"

namespace offline_post {

TEST_CASE("marks of different kinds do not meet") {
  const std::uint64_t key = 0xfedcba9876543210U;
  CHECK(MarkKey(Marked::kRecipient, key) != MarkKey(Marked::kTopic, key));
  CHECK(MarkKey(Marked::kTopic, key) != MarkKey(Marked::kSuperseded, key));
  CHECK(MarkKey(Marked::kTopic, key) != MarkKey(Marked::kTopic, key + 4));
}

TEST_CASE("a mark is about what is not later, and a later one replaces it") {
  Withdrawals marks;
  CHECK(marks.empty());
  marks.Add({7, 10, Final::kPurged});
  CHECK(marks.Find(7, 10) == Final::kPurged);
  CHECK_FALSE(marks.Find(7, 11).has_value());
  CHECK_FALSE(marks.Find(8, 1).has_value());
  marks.Add({7, 20, Final::kCancelled});
  CHECK(marks.Find(7, 11) == Final::kCancelled);
  CHECK(marks.Until(7) == 20);
  CHECK(marks.Until(8) == 0);
  CHECK(marks.All().size() == 1);
  marks.Clear();
  CHECK(marks.empty());
}

TEST_CASE("marks are bounded: the older half is forgotten, even of those made at one time") {
  Withdrawals marks;
  for (std::uint64_t key = 1; key <= Withdrawals::kMax; ++key) {
    REQUIRE_FALSE(marks.Add({key, 10, Final::kCancelled}));
  }
  CHECK_FALSE(marks.Add({1, 10, Final::kCancelled}));  // young again
  CHECK(marks.Add({Withdrawals::kMax + 1, 10, Final::kCancelled}));
  CHECK(marks.All().size() == Withdrawals::kMax / 2 + 1);
  CHECK(marks.Find(1, 5).has_value());
  CHECK_FALSE(marks.Find(2, 5).has_value());
  CHECK(marks.Find(Withdrawals::kMax, 5).has_value());
}

}  // namespace offline_post
