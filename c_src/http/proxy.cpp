#include "http/proxy.hpp"

#include <curl/curl.h>

#include "http/url.hpp"

namespace offline_post {

Result<Proxy> ParseProxy(const std::string& text) {
  const auto invalid = [](const std::string& why) {
    return Error{Error::Kind::kInvalid, "proxy " + why};
  };
  Url url;
  if (const std::string trouble = url.Parse(text); !trouble.empty())
    return invalid("is not an absolute http or https URL: " + trouble);
  const std::string scheme = url.Part(CURLUPART_SCHEME);
  const std::string host = url.Part(CURLUPART_HOST);
  if (scheme != "http" && scheme != "https")
    return invalid("must start with http:// or https:// (socks is not supported)");
  if (host.empty()) return invalid("names no host");
  if (const std::string trouble = url.HostTrouble(); !trouble.empty()) return invalid(trouble);
  const std::string path = url.Part(CURLUPART_PATH);
  if ((!path.empty() && path != "/") || !url.Part(CURLUPART_QUERY).empty() ||
      !url.Part(CURLUPART_FRAGMENT).empty()) {
    return invalid("must end behind host and port");
  }
  Proxy proxy;
  proxy.tls = scheme == "https";
  proxy.address = scheme + "://" + host + ":" + url.Part(CURLUPART_PORT);
  proxy.user = url.Part(CURLUPART_USER, CURLU_URLDECODE);
  proxy.password = url.Part(CURLUPART_PASSWORD, CURLU_URLDECODE);
  if (proxy.user.empty() != url.Part(CURLUPART_USER).empty() ||
      proxy.password.empty() != url.Part(CURLUPART_PASSWORD).empty()) {
    return invalid("has credentials that do not percent-decode to text");
  }
  if (proxy.user.find(':') != std::string::npos)
    return invalid("has a ':' in the user's name, which Basic authentication cannot carry");
  return proxy;
}

}  // namespace offline_post
