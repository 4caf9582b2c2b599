#include "http/origin.hpp"

#include <cstdlib>

#include "http/proxy.hpp"
#include "http/url.hpp"

namespace offline_post {

Result<Origin> ParseOrigin(const std::string& text) {
  const auto invalid = [](const std::string& why) {
    return Error{Error::Kind::kInvalid, "post_url " + why};
  };
  Url url;
  if (const std::string trouble = url.Parse(text); !trouble.empty())
    return invalid("is not an absolute http or https URL: " + trouble);
  Origin origin;
  origin.scheme = url.Part(CURLUPART_SCHEME);
  if (origin.scheme != "http" && origin.scheme != "https")
    return invalid("must start with http:// or https://");
  origin.host = url.Part(CURLUPART_HOST);
  const std::string port = url.Part(CURLUPART_PORT);
  if (origin.host.empty() || port.empty()) return invalid("names no host");
  if (const std::string trouble = url.HostTrouble(); !trouble.empty()) return invalid(trouble);
  for (char& c : origin.host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  origin.port = static_cast<std::uint16_t>(std::strtoul(port.c_str(), nullptr, 10));
  return origin;
}

Result<Origin> ReadOrigin(const std::string& post_url, const TlsFiles& files,
                          const std::string& proxy, HttpVersion version) {
  Result<Origin> origin = ParseOrigin(post_url);
  if (!origin.ok()) return origin;
  const bool secure = origin.value().scheme == "https";
  if (version == HttpVersion::k2 && !secure) {
    return Error{Error::Kind::kInvalid,
                 "http_version 2 is spoken over TLS alone: post_url must start with https://"};
  }
  // Without TLS, that and the version of HTTP over it divide nothing.
  if (secure) origin.value().http_version = version;
  bool secure_proxy = false;
  if (!proxy.empty()) {
    Result<Proxy> parsed = ParseProxy(proxy);
    if (!parsed.ok()) return parsed.error();
    secure_proxy = parsed.value().tls;
    origin.value().proxy = proxy;
  }
  if (secure || secure_proxy) {
    if (Status status = CheckTlsLibrary()) return *status;
    Result<TlsIdentity> tls = ReadTlsFiles(files);
    if (!tls.ok()) return tls.error();
    origin.value().tls = std::move(tls.value());
    if (secure_proxy) {
      // The operator's authorities beside the system's: none are named for the proxy alone.
      TlsIdentity& identity = origin.value().tls;
      identity.proxy_authorities = files.ca_file.empty()
                                       ? Authorities::System()
                                       : Authorities::WithSystem(identity.authorities);
    }
  }
  return origin;
}

}  // namespace offline_post
