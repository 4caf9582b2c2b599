#include "model/event.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <string_view>

namespace offline_post {

namespace {

// Two words, since a lock would cost more than the hash; they change only while nothing is
// submitted.
std::atomic<std::uint64_t> hash_key_0{0};
std::atomic<std::uint64_t> hash_key_1{0};

HashKey CurrentHashKey() {
  return {hash_key_0.load(std::memory_order_relaxed), hash_key_1.load(std::memory_order_relaxed)};
}

}  // namespace

void SetHashKey(const HashKey& key) {
  hash_key_0 = key.k0;
  hash_key_1 = key.k1;
}

std::size_t EventBytes(const Event& event) {
  // The strings themselves plus what the queue keeps about a delivery (measured: 600 to 700 bytes).
  constexpr std::size_t kOverhead = 512;
  constexpr std::size_t kAttributeOverhead = 64;  // of an attribute; the kind is part of the first
  std::size_t attributes = 0;
  for (const Attribute& attribute : event.attributes) {
    attributes += kAttributeOverhead + attribute.name.size() + attribute.value.size();
  }
  return kOverhead + attributes + event.id.size() + event.to.user.size() + event.to.server.size() +
         event.to.resource.size() + event.from.user.size() + event.from.server.size() +
         event.from.resource.size() + event.message_id.size() + event.body.size();
}

// FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv: what a disk remembers must not change with the
// standard library.
std::uint64_t Fingerprint(std::string_view text, std::uint64_t seed) {
  std::uint64_t hash = seed;
  for (const char byte : text) {
    hash ^= static_cast<unsigned char>(byte);
    hash *= 0x100000001b3U;
  }
  return hash;
}

std::uint64_t RecipientKey(std::string_view user, std::string_view server) {
  return RecipientKey(CurrentHashKey(), user, server);
}

std::uint64_t RecipientKey(const HashKey& key, std::string_view user, std::string_view server) {
  if (key == HashKey{}) return Fingerprint(server, Fingerprint("@", Fingerprint(user)));
  return SipHash(key).Add(user).Add("@").Add(server).Value();
}

std::uint64_t TopicKey(std::uint64_t recipient, std::string_view topic) {
  if (topic.empty()) return 0;
  const HashKey key = CurrentHashKey();
  if (key == HashKey{})
    return std::max<std::uint64_t>(1, Fingerprint(topic, Fingerprint("/", recipient)));
  const auto bytes = std::bit_cast<std::array<char, sizeof(recipient)>>(recipient);
  const std::string_view prefix(bytes.data(), bytes.size());
  return std::max<std::uint64_t>(1, SipHash(key).Add(prefix).Add("/").Add(topic).Value());
}

}  // namespace offline_post
