// A URL with values in its path and query.
#pragma once

#include <string>

#include "model/result.hpp"
#include "payload/program.hpp"

namespace offline_post {

class UrlTemplate {
 public:
  // Templates elsewhere are an error: a value must not choose the server.
  static Result<UrlTemplate> Compile(const std::string& url);

  // Whether it has templates; else the URL is what it was compiled from.
  bool any() const { return uses_.any(); }
  const FieldSet& uses() const { return uses_; }

  // Values are percent-encoded. A segment of the path that they make "." or ".." would be resolved
  // away (RFC 3986, section 5.2.4) by whoever reads the URL, and "%2E" is the same to them: its
  // dots are encoded twice.
  std::string Render(EventFields& event) const;

 private:
  std::string origin_;
  Program path_;
  Program rest_;  // from the '?' on
  FieldSet uses_;
};

}  // namespace offline_post
