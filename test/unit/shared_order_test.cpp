#include "engine/shared_order.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {

constexpr std::uint64_t kJuliet = 7;
constexpr std::uint64_t kNurse = 8;

}  // namespace

TEST_CASE("a shared order is the order of acceptance in each lane") {
  SharedOrder order;
  CHECK(order.Add({1, 10, kJuliet}));
  CHECK(order.Add({2, 11, kJuliet}));
  CHECK(order.Add({2, 12, kNurse}));
  CHECK(order.Add({1, 13, kJuliet}));
  CHECK(order.Before(kJuliet, 10) == std::nullopt);
  CHECK(order.Before(kJuliet, 11) == 1U);
  CHECK(order.Before(kNurse, 12) == std::nullopt);
  CHECK(order.Before(kJuliet, 13) == 1U);
  order.Waits(kJuliet, 11);
  order.Waits(kJuliet, 13);
  const auto next = order.Remove(kJuliet, 10);
  REQUIRE(next);
  CHECK(next->endpoint == 2);
  CHECK(next->lane == kJuliet);
  CHECK(order.Before(kJuliet, 11) == std::nullopt);
  CHECK(order.Before(kJuliet, 13) == 2U);
  CHECK(order.Remove(kJuliet, 11)->endpoint == 1);
  CHECK_FALSE(order.Remove(kJuliet, 13));
  CHECK_FALSE(order.Remove(kNurse, 12));
  CHECK(order.size() == 0);
}

TEST_CASE("who does not wait is not woken, and one in the middle ends without waking") {
  SharedOrder order;
  order.Add({1, 10, kJuliet});
  order.Add({2, 11, kJuliet});
  order.Add({1, 12, kJuliet});
  order.Waits(kJuliet, 12);
  CHECK_FALSE(order.Remove(kJuliet, 11));
  CHECK(order.Remove(kJuliet, 10)->endpoint == 1);
  order.Add({2, 13, kJuliet});
  CHECK_FALSE(order.Remove(kJuliet, 12));
  order.Add({1, 14, kJuliet});
  order.Waits(kJuliet, 13);
  CHECK_FALSE(order.Remove(kJuliet, 14));  // the first one waits for its own time
}

TEST_CASE("what is unknown waits for nobody and holds nobody up") {
  SharedOrder order;
  order.Add({1, 10, kJuliet});
  CHECK(order.Before(kJuliet, 9) == std::nullopt);
  CHECK(order.Before(kJuliet, 11) == std::nullopt);
  CHECK_FALSE(order.Remove(kJuliet, 9));
  order.Waits(kJuliet, 9);
  CHECK(order.size() == 1);
}

TEST_CASE("an endpoint that is forgotten lets all others go") {
  SharedOrder order;
  order.Add({1, 10, kJuliet});
  order.Add({1, 11, kJuliet});
  order.Add({2, 12, kJuliet}, true);
  order.Add({2, 13, kNurse}, true);
  order.Add({1, 14, kNurse});
  const auto woken = order.Forget(1);
  REQUIRE(woken.size() == 1);  // the nurse's waits for nothing that was forgotten
  CHECK(woken[0].endpoint == 2);
  CHECK(woken[0].lane == kJuliet);
  CHECK(order.size() == 2);
  CHECK(order.Forget(1).empty());
}

TEST_CASE("what is forgotten while it waits for another one may leave, and nobody wakes it later") {
  SharedOrder order;
  order.Add({2, 11, kJuliet});
  order.Add({1, 12, kJuliet});
  order.Waits(kJuliet, 12);
  const auto woken = order.Forget(1);
  REQUIRE(woken.size() == 1);
  CHECK(woken[0].endpoint == 1);
  CHECK(woken[0].lane == kJuliet);
  CHECK_FALSE(order.Remove(kJuliet, 11).has_value());
}

TEST_CASE("a shared order is bounded, and what is beyond is free") {
  SharedOrder order;
  for (Sequence i = 1; i <= SharedOrder::kMax; ++i) REQUIRE(order.Add({1, i, kJuliet}));
  CHECK_FALSE(order.Add({2, SharedOrder::kMax + 1, kJuliet}));
  CHECK(order.Before(kJuliet, SharedOrder::kMax + 1) == std::nullopt);
  order.Remove(kJuliet, 1);
  CHECK(order.Add({2, SharedOrder::kMax + 2, kJuliet}));
  CHECK(order.Before(kJuliet, SharedOrder::kMax + 2) == 1U);
}

}  // namespace offline_post
