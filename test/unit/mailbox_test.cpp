#include "service/mailbox.hpp"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "catch.hpp"

namespace offline_post {

TEST_CASE("a mailbox keeps the order of the pushes") {
  Mailbox<std::unique_ptr<int>> mailbox;
  for (int i = 0; i < 100; ++i) CHECK_FALSE(mailbox.Push(std::make_unique<int>(i)));
  std::vector<std::unique_ptr<int>> read;
  mailbox.TakeAll(read);
  mailbox.TakeAll(read);
  REQUIRE(read.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(*read[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("unread mail is freed with its mailbox") {
  const auto value = std::make_shared<int>(1);
  {
    Mailbox<std::shared_ptr<int>> mailbox;
    for (int i = 0; i < 10; ++i) CHECK_FALSE(mailbox.Push(value));
  }
  CHECK(value.use_count() == 1);
}

TEST_CASE("exactly one push wakes a sleeper, and none a reader that is awake") {
  Mailbox<int> mailbox;
  CHECK_FALSE(mailbox.Push(1));
  CHECK_FALSE(mailbox.PrepareSleep());  // there is mail
  std::vector<int> read;
  mailbox.TakeAll(read);
  CHECK(mailbox.PrepareSleep());
  CHECK(mailbox.Push(2));
  CHECK_FALSE(mailbox.Push(3));
  mailbox.EndSleep();
  CHECK_FALSE(mailbox.Push(4));
}

TEST_CASE("nothing is lost or doubled between many writers and a reader that sleeps") {
  Mailbox<int> mailbox;
  constexpr int kWriters = 4;
  constexpr int kEach = 20'000;
  std::atomic<int> wakes{0};
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&mailbox, &wakes, w] {
      for (int i = 0; i < kEach; ++i) {
        if (mailbox.Push(w * kEach + i)) {
          ++wakes;
          wakes.notify_one();
        }
      }
    });
  }
  std::vector<int> read;
  int slept = 0;
  while (read.size() < static_cast<std::size_t>(kWriters) * kEach) {
    mailbox.TakeAll(read);
    if (read.size() == static_cast<std::size_t>(kWriters) * kEach) break;
    if (mailbox.PrepareSleep()) {
      wakes.wait(slept);  // hangs here, and the test times out, if a wake-up is missed
      slept = wakes;
    }
  }
  for (std::thread& writer : writers) writer.join();
  std::vector<int> last(kWriters, -1);
  bool in_order = true;
  for (const int value : read) {
    int& before = last[static_cast<std::size_t>(value / kEach)];
    in_order = in_order && value % kEach == before + 1;
    before = value % kEach;
  }
  CHECK(in_order);
}

}  // namespace offline_post
