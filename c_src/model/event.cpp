#include "model/event.hpp"

#include <functional>
#include <string_view>

namespace offline_post {

std::size_t EventBytes(const Event& event) {
  // The strings themselves plus what the queue keeps about a delivery (measured: 600 to 700 bytes).
  constexpr std::size_t kOverhead = 512;
  return kOverhead + event.id.size() + event.to.user.size() + event.to.server.size() +
         event.to.resource.size() + event.from.user.size() + event.from.server.size() +
         event.from.resource.size() + event.message_id.size() + event.body.size();
}

std::uint64_t RecipientKey(const Event& event) {
  const std::hash<std::string_view> hash;
  const std::uint64_t server = hash(event.to.server);
  return hash(event.to.user) ^ (server + 0x9e3779b97f4a7c15U + (server << 6U) + (server >> 2U));
}

}  // namespace offline_post
