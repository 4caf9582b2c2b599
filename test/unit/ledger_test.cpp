#include "engine/ledger.hpp"

#include <thread>
#include <vector>

#include "support/values.hpp"

namespace offline_post {

TEST_CASE("a closed ledger accepts nothing") {
  Ledger ledger;
  CHECK(ledger.Reserve(1) == Admission::kStopped);
  ledger.Open({});
  CHECK(ledger.Reserve(1) == Admission::kAccepted);
  ledger.Close();
  CHECK(ledger.Reserve(1) == Admission::kStopped);
  CHECK(ledger.Snapshot().accepted == 1);
  CHECK(ledger.Snapshot().rejected == 2);
}

TEST_CASE("a ledger is bounded in events and in bytes") {
  Ledger ledger;
  ledger.Open({3, 1'000});
  CHECK(ledger.Reserve(400) == Admission::kAccepted);
  CHECK(ledger.Reserve(400) == Admission::kAccepted);
  CHECK(ledger.Reserve(201) == Admission::kFull);
  CHECK(ledger.Reserve(200) == Admission::kAccepted);
  CHECK(ledger.Reserve(0) == Admission::kFull);
  ledger.Settle(Final::kDelivered, 400);
  CHECK(ledger.Reserve(400) == Admission::kAccepted);
  test::CheckLaw(ledger.Snapshot());
}

TEST_CASE("smaller limits keep what is pending") {
  Ledger ledger;
  ledger.Open({10, 1'000});
  for (int i = 0; i < 5; ++i) ledger.Reserve(10);
  ledger.Open({2, 1'000});
  CHECK(ledger.Snapshot().pending == 5);
  CHECK(ledger.Reserve(10) == Admission::kFull);
}

TEST_CASE("each end has its place in the law") {
  Ledger ledger;
  ledger.Open({});
  for (int i = 0; i < 5; ++i) ledger.Reserve(10);
  ledger.Settle(Final::kDelivered, 10);
  ledger.Settle(Final::kDead, 10);
  ledger.Settle(Final::kCancelled, 10);
  ledger.Settle(Final::kPurged, 10);
  CHECK(ledger.Snapshot().dead_bytes == 10);
  ledger.Purged(1, 10);  // the dead letter
  ledger.Limited();      // outside of the law
  const Stats stats = ledger.Snapshot();
  CHECK(stats.delivered == 1);
  CHECK(stats.dead == 0);
  CHECK(stats.dead_bytes == 0);
  CHECK(stats.given_up == 1);
  CHECK(stats.cancelled == 1);
  CHECK(stats.purged == 2);
  CHECK(stats.limited == 1);
  CHECK(stats.pending == 1);
  CHECK(stats.pending_bytes == 10);
  test::CheckLaw(stats);
}

TEST_CASE("the law holds in every snapshot while threads reserve and settle") {
  Ledger ledger;
  ledger.Open({100, 1'000'000});
  constexpr int kThreads = 4;
  constexpr int kRounds = 20'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&ledger] {
      for (int i = 0; i < kRounds; ++i) {
        if (ledger.Reserve(10) == Admission::kAccepted) ledger.Settle(Final::kDelivered, 10);
      }
    });
  }
  bool lawful = true;
  for (int i = 0; i < kRounds; ++i) {
    const Stats stats = ledger.Snapshot();
    lawful = lawful && stats.accepted == stats.delivered + stats.pending;
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(lawful);
  CHECK(ledger.Snapshot().delivered + ledger.Snapshot().rejected == kThreads * kRounds);
}

}  // namespace offline_post
