#include "payload/form.hpp"

#include "payload/percent.hpp"

namespace offline_post {

std::string FormBody(const Event& event, const Endpoint& endpoint) {
  std::string out;
  // Escapes triple a text at worst; chat text in Latin script needs about a third more.
  out.reserve(64 + event.body.size() * 3 / 2 + endpoint.auth_token.size());
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

}  // namespace offline_post
