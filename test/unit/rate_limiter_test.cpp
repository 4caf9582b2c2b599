#include "service/rate_limiter.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {

// An endpoint's view of the node's limiter.
struct Limited {
  RateLimiter& limiter;
  RateLimits limits;
  std::uint64_t salt = 1;

  bool Admit(std::uint64_t sender, std::uint64_t recipient, Millis now) const {
    return limiter.Admit(limits, salt, sender, recipient, now);
  }
};

int Admitted(const Limited& endpoint, std::uint64_t sender, std::uint64_t recipient, Millis now,
             int tries) {
  int admitted = 0;
  for (int i = 0; i < tries; ++i) admitted += endpoint.Admit(sender, recipient, now) ? 1 : 0;
  return admitted;
}

}  // namespace

TEST_CASE("a recipient gets a minute's worth at once, and then its rate") {
  RateLimiter node;
  const Limited limiter{node, {0, 6, false}};
  CHECK(Admitted(limiter, 1, 2, 1'000, 10) == 6);
  CHECK(Admitted(limiter, 1, 2, 10'999, 10) == 0);
  CHECK(Admitted(limiter, 1, 2, 11'000, 10) == 1);
  CHECK(Admitted(limiter, 1, 2, 41'000, 10) == 3);
  CHECK(Admitted(limiter, 1, 3, 41'000, 10) == 6);  // somebody else
  CHECK(Admitted(limiter, 1, 2, 1'000'000, 10) == 6);
}

TEST_CASE("senders and recipients are limited apart, and both must agree") {
  RateLimiter node;
  const Limited limiter{node, {3, 5, false}};
  CHECK(Admitted(limiter, 1, 9, 0, 10) == 3);
  CHECK(Admitted(limiter, 2, 9, 0, 10) == 2);  // what the first was refused was not counted
  CHECK(Admitted(limiter, 2, 8, 0, 10) == 1);
}

TEST_CASE("who is unknown is not limited") {
  RateLimiter node;
  const Limited limiter{node, {1, 0, false}};
  CHECK(Admitted(limiter, 0, 9, 0, 10) == 10);
  CHECK(Admitted(limiter, 5, 0, 0, 10) == 1);
}

TEST_CASE("where events collapse, none is within the rate while more come") {
  RateLimiter node;
  const Limited limiter{node, {0, 6, true}};
  CHECK(Admitted(limiter, 1, 2, 0, 10) == 6);
  for (Millis now = 0; now < 120'000; now += 5'000) CHECK(Admitted(limiter, 1, 2, now, 1) == 0);
  CHECK(Admitted(limiter, 1, 2, 125'000, 1) == 1);  // ten seconds after the last one
}

TEST_CASE("any rate is possible") {
  RateLimiter node;
  const Limited one{node, {1, 0, false}};
  CHECK(Admitted(one, 1, 2, 0, 3) == 1);
  CHECK(Admitted(one, 1, 2, 59'999, 3) == 0);
  CHECK(Admitted(one, 1, 2, 60'000, 3) == 1);
  const Limited many{node, {0, 1'000'000'000'000, false}};
  CHECK(Admitted(many, 1, 2, 0, 1'000) == 1'000);
}

TEST_CASE("endpoints share the memory, and no bucket") {
  RateLimiter node;
  const Limited one{node, {0, 6, false}, 1};
  const Limited other{node, {0, 2, false}, 2};
  CHECK(Admitted(one, 1, 2, 0, 10) == 6);
  CHECK(Admitted(other, 1, 2, 0, 10) == 2);
  CHECK(Admitted(other, 1, 2, 30'000, 10) == 1);
  CHECK(Admitted(one, 1, 2, 30'000, 10) == 3);
}

TEST_CASE("memory is fixed: of more than there are places the emptiest buckets are remembered") {
  RateLimiter node;
  const Limited limiter{node, {0, 2, false}};
  CHECK(Admitted(limiter, 1, 8, 0, 2) == 2);
  for (std::uint64_t key = 1; key <= 2 * RateLimiter::kPlaces; ++key) {
    REQUIRE(limiter.Admit(1, 8 + 8 * key, 0));
  }
  CHECK(Admitted(limiter, 1, 8, 0, 2) == 0);
}

}  // namespace offline_post
