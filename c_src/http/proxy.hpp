// The proxy that an operator named.
//
// Threads: any.
#pragma once

#include <string>

#include "model/result.hpp"

namespace offline_post {

struct Proxy {
  std::string address;  // "scheme://host:port": what may stand in a log
  bool tls = false;     // to the proxy itself
  std::string user;     // empty, with an empty password: no credentials
  std::string password;
};

// Accepts http and https URLs with credentials (percent-encoded) and without a path; the port is
// the scheme's, if none is said. The error names what is wrong, never the URL.
Result<Proxy> ParseProxy(const std::string& text);

}  // namespace offline_post
