// From a URL to the Origin that it belongs to.
#pragma once

#include <string>

#include "model/endpoint.hpp"
#include "model/result.hpp"

namespace offline_post {

// Accepts absolute http and https URLs. The error names what is wrong with the URL, never the URL:
// it may hold a secret.
Result<Origin> ParseOrigin(const std::string& url, bool tls_verify, const std::string& ca_file);

}  // namespace offline_post
