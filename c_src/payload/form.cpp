#include "payload/form.hpp"

#include "payload/percent.hpp"

namespace offline_post {

std::string FormBody(const Event& event, const Endpoint& endpoint) {
  std::string out;
  // Escapes triple a text at worst: one allocation, which lives as long as the attempt.
  constexpr std::size_t kNames = 32;
  out.reserve(kNames + 3 * (event.to.user.size() + event.from.user.size() + event.body.size() +
                            endpoint.auth_token.size()));
  out += "to=";
  AppendPercentEncoded(event.to.user, out);
  out += "&from=";
  AppendPercentEncoded(event.from.user, out);
  out += "&body=";
  AppendPercentEncoded(event.body, out);
  out += "&access_token=";
  AppendPercentEncoded(endpoint.auth_token, out);
  return out;
}

std::string PresenceBody(const Event& event, const Endpoint& endpoint) {
  std::string out = "jabber_id=";
  AppendPercentEncoded(event.to.user, out);
  out += "&access_token=";
  AppendPercentEncoded(endpoint.auth_token, out);
  return out;
}

}  // namespace offline_post
