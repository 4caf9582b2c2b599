#include "engine/topics.hpp"

#include "support/values.hpp"

namespace offline_post {

namespace {

Delivery Of(std::uint64_t topic, Sequence sequence, std::uint32_t stands_for = 1) {
  Delivery delivery = test::MakeDelivery(sequence, "juliet");
  auto event = test::MakeEvent("juliet");
  event->topic = topic;
  delivery.event = std::move(event);
  delivery.stands_for = stands_for;
  return delivery;
}

}  // namespace

TEST_CASE("a topic counts what waits, and not what is in flight, was sent or withdrawn") {
  Topics topics;
  CHECK(topics.Accept(7, 1, 0, 0).stands_for == 1);
  const Topics::Place second = topics.Accept(7, 2, 0, 0);
  CHECK(second.stands_for == 2);
  CHECK(second.supersedes);
  topics.Sent(Of(7, 2), 1'000);
  const Topics::Place third = topics.Accept(7, 3, 0, 0);
  CHECK(third.stands_for == 1);
  CHECK_FALSE(third.supersedes);
  const Topics::Place fourth = topics.Accept(7, 4, 3, 0);  // the third is withdrawn
  CHECK(fourth.stands_for == 1);
  CHECK_FALSE(fourth.supersedes);
  topics.Ended(Of(7, 4), true);
  CHECK(topics.Accept(7, 5, 0, 0).stands_for == 1);
}

TEST_CASE("the newest of a topic is in flight whatever else of it is, and is not counted twice") {
  Topics topics;
  topics.Accept(7, 1, 0, 0);
  topics.Sent(Of(7, 1), 1'000);
  topics.Accept(7, 2, 0, 0);
  topics.Sent(Of(7, 2), 1'000);  // a reload has given it a lane of its own
  topics.Sent(Of(7, 1), 2'000);  // and a redirection sends the first again
  CHECK(topics.Accept(7, 3, 0, 0).stands_for == 1);
  topics.CountInFlight(Of(7, 2));
  CHECK(topics.StandsFor(Of(7, 3)) == 2);
  topics.Landed(Of(7, 2));
  CHECK(topics.OfferOf(7, 0) == Topics::Offer::kMixed);
  topics.Landed(Of(7, 1));
  CHECK(topics.OfferOf(7, 0) == Topics::Offer::kWaits);
}

TEST_CASE("a delivery that failed is the newest again when the later one has ended meanwhile") {
  Topics topics;
  topics.Accept(7, 1, 0, 0);
  topics.Sent(Of(7, 1), 1'000);
  topics.Accept(7, 2, 0, 0);
  topics.Sent(Of(7, 2), 1'000);
  topics.Landed(Of(7, 2));
  topics.Ended(Of(7, 2), false);
  topics.Landed(Of(7, 1, 3));
  CHECK(topics.OfferOf(7, 0) == Topics::Offer::kWaits);
  const Topics::Place third = topics.Accept(7, 3, 0, 0);
  CHECK(third.supersedes);
  CHECK(third.earlier == 1);
  CHECK(third.stands_for == 4);
  CHECK(topics.IsSuperseded(7, 1));
}

TEST_CASE("a call's end is no topic's newest, whatever becomes of it") {
  Topics topics;
  topics.Accept(7, 1, 0, 0);
  topics.Sent(Of(7, 1), 1'000);
  Delivery end = Of(7, 2);
  auto event = std::make_shared<Event>(*end.event);
  event->kind = "call_end";
  end.event = std::move(event);
  topics.Sent(end, 1'000);
  topics.Landed(Of(7, 1));
  topics.Ended(Of(7, 1), true);
  topics.Landed(end);
  CHECK(topics.OfferOf(7, 0) == Topics::Offer::kNone);
}

TEST_CASE("a topic of which nothing is left is forgotten") {
  Topics topics;
  topics.Accept(7, 1, 0, 0);
  topics.Sent(Of(7, 1), 1'000);
  topics.Landed(Of(7, 1));
  topics.Ended(Of(7, 1), true);
  CHECK(topics.size() == 1);
  CHECK(topics.EarliestMs(Of(7, 2), 60'000) == 61'000);
  CHECK(topics.EarliestMs(Of(7, 1), 60'000) == 0);  // its own retry
  topics.Ended(Of(7, 1), false);
  CHECK(topics.size() == 0);
}

TEST_CASE("of an earlier run's deliveries none is counted twice") {
  Topics topics;
  topics.SetIncomplete(true);
  const Topics::Place place = topics.Accept(7, 10, 0, 4);
  CHECK(place.supersedes);
  CHECK(place.stands_for == 1);
  topics.CountWaiting(Of(7, 4, 3));  // the fifth speaks for it
  topics.CountWaiting(Of(7, 5, 4));
  CHECK(topics.StandsFor(Of(7, 10)) == 5);
  CHECK(topics.StandsFor(Of(7, 5, 4)) == 4);
  CHECK_FALSE(topics.Accept(7, 11, 10, 0).supersedes);
}

TEST_CASE("what was lost is forgotten when nothing is pending, but for the time of the last one") {
  Topics topics;
  topics.Accept(7, 1, 0, 0);
  topics.Accept(8, 2, 0, 0);
  topics.Sent(Of(8, 2), 1'000);
  topics.Landed(Of(8, 2));
  topics.Waits(Of(8, 2), Topics::Wait::kRetry);
  topics.NothingPending(true);  // as the caller says; but nothing was lost
  CHECK(topics.size() == 2);
  topics.Lost();
  CHECK(topics.uncertain());
  CHECK(topics.Accept(7, 3, 0, 0).stands_for == 2);  // what it speaks for may still be there
  topics.NothingPending(true);
  CHECK_FALSE(topics.uncertain());
  CHECK(topics.size() == 1);
  CHECK(topics.EarliestMs(Of(8, 4), 60'000) == 61'000);
  CHECK_FALSE(topics.WaitingOf(8).has_value());
  const Topics::Place place = topics.Accept(8, 4, 0, 0);
  CHECK(place.stands_for == 1);
  CHECK_FALSE(place.supersedes);
  topics.Lost();
  topics.NothingPending(false);
  CHECK(topics.size() == 0);
}

TEST_CASE("topics are bounded: first those go of which nothing is pending") {
  Topics topics;
  const Sequence half = Topics::kMax / 2;
  Sequence sequence = 0;
  while (sequence < half) {
    ++sequence;
    topics.Accept(sequence, sequence, 0, 0);
    topics.Sent(Of(sequence, sequence), 1'000);
    topics.Landed(Of(sequence, sequence));
    topics.Ended(Of(sequence, sequence), true);
  }
  for (const Sequence end = Topics::kMax + 1; sequence < end;) {
    ++sequence;
    topics.Accept(sequence, sequence, 0, 0);
  }
  CHECK(topics.size() == half + 1);
  CHECK_FALSE(topics.incomplete());
  CHECK(topics.Accept(half + 1, ++sequence, 0, 0).supersedes);
  for (const Sequence end = sequence + half; sequence < end;) {
    ++sequence;
    topics.Accept(sequence, sequence, 0, 0);
  }
  CHECK(topics.size() <= half + 2);
  CHECK(topics.incomplete());
  CHECK(topics.Accept(half + 2, ++sequence, 0, 0).supersedes);  // it may wait
}

}  // namespace offline_post
