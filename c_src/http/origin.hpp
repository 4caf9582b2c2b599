// From a URL to the Origin that it belongs to.
#pragma once

#include <string>

#include "http/tls_files.hpp"
#include "model/endpoint.hpp"
#include "model/result.hpp"

namespace offline_post {

// Accepts absolute http and https URLs, without templates. The error names what is wrong with the
// URL, never the URL: it may hold a secret.
Result<Origin> ParseOrigin(const std::string& text);

// The origin with all that divides it from others. Reads files.
Result<Origin> ReadOrigin(const std::string& post_url, const TlsFiles& files,
                          const std::string& proxy, HttpVersion version);

}  // namespace offline_post
