#include "model/event.hpp"

#include "model/event_ids.hpp"
#include "support/values.hpp"

namespace offline_post {

TEST_CASE("the ids of events have the form that the schema promises, whatever the run") {
  EventIds small(0x1c3371078eeb57a);
  CHECK(small.Next() == "msg_01c3371078eeb57a_1");
  CHECK(small.Next() == "msg_01c3371078eeb57a_2");
  CHECK(EventIds(0).Next() == "msg_0000000000000000_1");
  EventIds large(0xffffffffffffffff);
  for (int i = 0; i < 35; ++i) large.Next();
  CHECK(large.Next() == "msg_ffffffffffffffff_24");
}

TEST_CASE("SipHash is what its paper says") {
  std::string text;
  for (char byte = 0; byte < 15; ++byte) text += byte;
  const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  CHECK(SipHash(key).Add(text).Value() == 0xa129ca6149be45e5);
  CHECK(SipHash(key).Add("").Value() == 0x726fdb47dd0e0e31);
  CHECK(SipHash(key).Add(text.substr(0, 5)).Add(text.substr(5)).Value() == 0xa129ca6149be45e5);
}

TEST_CASE("the numbers of recipients and topics are made with the key, once there is one") {
  SetHashKey({});
  const std::uint64_t unkeyed = RecipientKey("juliet", "example.org");
  CHECK(unkeyed == Fingerprint("juliet@example.org"));
  CHECK(TopicKey(unkeyed, "call:1") == Fingerprint("juliet@example.org/call:1"));
  SetHashKey({1, 2});
  const std::uint64_t keyed = RecipientKey("juliet", "example.org");
  CHECK(keyed != unkeyed);
  CHECK(keyed == RecipientKey("juliet", "example.org"));
  CHECK(keyed != RecipientKey("romeo", "example.org"));
  CHECK(TopicKey(keyed, "") == 0);
  const std::uint64_t topic = TopicKey(keyed, "call:1");
  CHECK(topic == TopicKey(keyed, "call:1"));
  CHECK(topic != TopicKey(keyed, "call:2"));
  CHECK(topic != TopicKey(keyed + 1, "call:1"));
  SetHashKey({1, 3});
  CHECK(keyed != RecipientKey("juliet", "example.org"));
  CHECK(topic != TopicKey(keyed, "call:1"));
  SetHashKey({});
}

TEST_CASE("a recipient's key ignores the resource and tells users and servers apart") {
  Event a = *test::MakeEvent("juliet");
  Event b = a;
  b.to.resource = "balcony";
  CHECK(RecipientKey(a) == RecipientKey(b));
  b.to.user = "nurse";
  CHECK(RecipientKey(a) != RecipientKey(b));
  b = a;
  b.to.server = "example.net";
  CHECK(RecipientKey(a) != RecipientKey(b));
  std::swap(a.to.user, a.to.server);
  b = a;
  std::swap(b.to.user, b.to.server);
  CHECK(RecipientKey(a) != RecipientKey(b));
}

TEST_CASE("a topic's key is its recipient's own, and none without a text") {
  const std::uint64_t juliet = RecipientKey("juliet", "example.org");
  CHECK(juliet == RecipientKey(*test::MakeEvent("juliet")));
  CHECK(TopicKey(juliet, "") == 0);
  CHECK(TopicKey(juliet, "call:1") == TopicKey(juliet, "call:1"));
  CHECK(TopicKey(juliet, "call:1") != TopicKey(juliet, "call:2"));
  CHECK(TopicKey(juliet, "call:1") != TopicKey(RecipientKey("nurse", "example.org"), "call:1"));
  CHECK(RateTopic(*test::MakeEvent("juliet")) != 0);
}

TEST_CASE("an event's bytes grow with each of its texts") {
  const Event plain = *test::MakeEvent("juliet", "");
  Event longer = plain;
  longer.body.assign(1'000, 'x');
  CHECK(EventBytes(longer) == EventBytes(plain) + 1'000);
  longer.to.resource.assign(10, 'r');
  CHECK(EventBytes(longer) == EventBytes(plain) + 1'010);
  longer.attributes = {{"nick", "jules"}};
  CHECK(EventBytes(longer) == EventBytes(plain) + 1'010 + 64 + 9);
  longer.kind = "text";  // what was stored before there were kinds counts the same
  CHECK(EventBytes(longer) == EventBytes(plain) + 1'010 + 64 + 9);
}

}  // namespace offline_post
