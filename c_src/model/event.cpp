#include "model/event.hpp"

#include <string_view>

namespace offline_post {

std::size_t EventBytes(const Event& event) {
  // The strings themselves plus what the queue keeps about a delivery (measured: 600 to 700 bytes).
  constexpr std::size_t kOverhead = 512;
  return kOverhead + event.id.size() + event.to.user.size() + event.to.server.size() +
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

std::uint64_t RecipientKey(const Event& event) {
  return Fingerprint(event.to.server, Fingerprint("@", Fingerprint(event.to.user)));
}

}  // namespace offline_post
