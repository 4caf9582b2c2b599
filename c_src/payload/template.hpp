// The templates an operator writes: text with {{name}}, or {{a|b}} for the first that is not empty.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/result.hpp"
#include "payload/event_fields.hpp"

namespace offline_post {

// Text, or a value.
struct TemplatePart {
  std::string text;
  std::vector<Field> fields;  // the value of the first that is not empty; none: it is text
};
using Template = std::vector<TemplatePart>;

// The error does not show the text, which may hold a secret, but for a name that is none.
Result<Template> ParseTemplate(std::string_view text);

// An operator's words, as they may stand in an error: one line, not long, UTF-8.
std::string Shown(std::string_view words);

}  // namespace offline_post
