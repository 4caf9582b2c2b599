// The headers an operator adds to requests, or puts in the place of ours.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/result.hpp"
#include "payload/program.hpp"

namespace offline_post {

class HeaderTemplate {
 public:
  // Refuses names that are no tokens (RFC 9110, section 5.1), those that HTTP itself or a signature
  // needs, and values with control characters.
  static Result<HeaderTemplate> Compile(const std::string& name, const std::string& value);

  const std::string& name() const { return name_; }
  const FieldSet& uses() const { return value_.uses(); }

  // "Name: value" on one line, without blanks around the value (RFC 9113, section 8.2.1, forbids
  // them). Empty: there is no value, and the header is not sent.
  std::string Render(EventFields& event) const;

 private:
  std::string name_;
  Program value_;
};

Result<std::vector<HeaderTemplate>> CompileHeaders(
    const std::vector<std::pair<std::string, std::string>>& headers);

bool SameHeader(std::string_view one, std::string_view other);
// Neither a control character nor DEL is in it.
bool IsHeaderText(std::string_view text);
// "Name: value" of a value from elsewhere; empty: there is none.
std::string HeaderLine(std::string_view name, std::string_view value);

}  // namespace offline_post
