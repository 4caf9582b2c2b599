#include "engine/window.hpp"

#include "support/values.hpp"

namespace offline_post {

using test::MakeDelivery;

TEST_CASE("one recipient's deliveries leave one after another, others do not wait") {
  Window window;
  window.Add(MakeDelivery(1, "juliet"));
  window.Add(MakeDelivery(2, "juliet"));
  window.Add(MakeDelivery(3, "nurse"));
  const auto first = window.Take();
  const auto second = window.Take();
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->sequence == 1);
  CHECK(second->sequence == 3);
  CHECK_FALSE(window.Take());
  window.Advance(first->recipient);
  CHECK(window.Take()->sequence == 2);
  CHECK(window.size() == 2);
}

TEST_CASE("what is returned is the first to run again, before its followers") {
  Window window;
  window.Add(MakeDelivery(1, "juliet"));
  window.Add(MakeDelivery(2, "nurse"));
  auto first = window.Take();
  window.Add(MakeDelivery(3, "juliet"));
  window.Return(std::move(*first));
  CHECK(window.Take()->sequence == 1);
  CHECK(window.Take()->sequence == 2);
  CHECK_FALSE(window.runnable());
  CHECK(window.size() == 3);
}

TEST_CASE("what is extracted leaves its lane, unless it was taken") {
  for (const bool all : {true, false}) {
    Window window;
    window.Add(MakeDelivery(1, "juliet"));
    window.Add(MakeDelivery(2, "juliet"));
    window.Add(MakeDelivery(3, "juliet"));
    window.Add(MakeDelivery(4, "nurse"));
    const auto taken = window.Take();
    const auto early = [&](const Delivery& d) { return d.sequence <= 2; };
    const auto extract = [&](const Window::Predicate& leaves) {
      return all ? window.ExtractAll(leaves) : window.Extract(taken->recipient, leaves);
    };
    const std::vector<Delivery> left = extract(early);
    REQUIRE(left.size() == 1);
    CHECK(left[0].sequence == 2);
    CHECK(window.size() == 3);
    window.Advance(taken->recipient);
    const auto is_third = [](const Delivery& d) { return d.sequence == 3; };
    CHECK(extract(is_third).size() == 1);  // the lane is gone, and is not run
    CHECK(extract(is_third).empty());
    CHECK(window.size() == 1);
    CHECK(window.Take()->sequence == 4);
    CHECK_FALSE(window.runnable());
    window.Add(MakeDelivery(5, "juliet"));
    CHECK(window.Take()->sequence == 5);
  }
}

TEST_CASE("a dissolved lane hands its followers over in order") {
  Window window;
  for (Sequence s = 1; s <= 4; ++s) window.Add(MakeDelivery(s, "juliet"));
  const auto first = window.Take();
  const std::vector<Delivery> followers = window.Dissolve(first->recipient);
  REQUIRE(followers.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(followers[i].sequence == i + 2);
  CHECK(window.size() == 0);
  CHECK_FALSE(window.runnable());
}

TEST_CASE("clearing leaves what was taken") {
  Window window;
  window.Add(MakeDelivery(1, "juliet"));
  window.Add(MakeDelivery(2, "juliet"));
  window.Add(MakeDelivery(3, "nurse"));
  const auto taken = window.Take();
  CHECK(window.Clear().size() == 2);
  CHECK(window.size() == 1);
  CHECK_FALSE(window.runnable());
  window.Advance(taken->recipient);
  CHECK(window.size() == 0);
}

}  // namespace offline_post
