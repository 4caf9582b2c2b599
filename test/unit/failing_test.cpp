#include "engine/failing.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {

Delivery Failed(Sequence sequence, const std::string& to) {
  Delivery delivery = test::MakeDelivery(sequence, to);
  delivery.attempts = delivery.failures = 1;
  return delivery;
}

Delivery OutOfOrder(Sequence sequence, const std::string& to) {
  Delivery delivery = Failed(sequence, to);
  delivery.recipient = KeyOutOfOrder(sequence);
  return delivery;
}

}  // namespace

TEST_CASE("failing: each is counted once, on one side") {
  Failing failing;
  for (int i = 0; i < 2; ++i) {
    failing.Claimed(test::MakeDelivery(1, "juliet"));  // has not failed
    failing.Add(Failed(2, "juliet"));
    failing.Claimed(Failed(2, "juliet"));
    failing.Add(OutOfOrder(3, "juliet"));
    failing.Add(OutOfOrder(4, "juliet"));
    failing.Add(OutOfOrder(5, "nurse"));
  }
  CHECK(failing.recipients() == 1);
  CHECK(failing.out_of_order() == 3);
  CHECK(failing.KeysOf(RecipientKey("juliet", "example.org")).size() == 2);
  failing.Add(OutOfOrder(2, "juliet"));  // it has left
  CHECK(failing.recipients() == 0);
  CHECK(failing.out_of_order() == 4);
  failing.Remove(OutOfOrder(2, "juliet"));
  failing.Remove(OutOfOrder(3, "juliet"));
  failing.Remove(OutOfOrder(3, "juliet"));
  CHECK(failing.out_of_order() == 2);
  CHECK(failing.KeysOf(RecipientKey("juliet", "example.org")) ==
        std::vector<std::uint64_t>{KeyOutOfOrder(4)});
  failing.Clear();
  CHECK(failing.out_of_order() == 0);
}

TEST_CASE("failing: nobody waits behind one for which no order is asked") {
  Failing failing;
  Delivery alone = Failed(7, "juliet");
  alone.recipient = alone.sequence;
  failing.Add(alone);
  CHECK(failing.recipients() == 0);
}

TEST_CASE("failing: what an earlier run has left is counted before it is claimed, and once") {
  Failing failing;
  failing.Restore(2, 1);
  CHECK(failing.recipients() == 2);
  CHECK(failing.out_of_order() == 1);
  failing.Add(Failed(9, "nurse"));  // of this run
  CHECK(failing.recipients() == 3);
  failing.Claimed(Failed(1, "juliet"));
  failing.Claimed(Failed(2, "paris"));
  failing.Claimed(OutOfOrder(3, "romeo"));
  CHECK(failing.recipients() == 3);
  CHECK(failing.out_of_order() == 1);
  failing.Remove(Failed(1, "juliet"));
  failing.Remove(OutOfOrder(3, "romeo"));
  CHECK(failing.recipients() == 2);
  CHECK(failing.out_of_order() == 0);
}

TEST_CASE("failing: bounded, whatever fails") {
  Failing failing;
  for (Sequence n = 1; n <= Failing::kMax + 10; ++n) {
    failing.Add(Failed(2 * n, "juliet"));
    failing.Add(OutOfOrder(2 * n + 1, "user" + std::to_string(n)));
  }
  CHECK(failing.recipients() == Failing::kMax);
  CHECK(failing.out_of_order() == Failing::kMax);
}

}  // namespace offline_post
