#include "payload/template.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "model/ascii.hpp"
#include "model/utf8.hpp"

namespace offline_post {

namespace {

constexpr std::string_view kOpen = "{{";
constexpr std::string_view kClose = "}}";

Error WrongName(const std::string& what) {
  return {Error::Kind::kInvalid, what + "; the names are " + FieldNames()};
}

// What stands between the braces.
Result<std::vector<Field>> ParseNames(std::string_view names) {
  std::vector<Field> fields;
  while (true) {
    const std::size_t bar = names.find('|');
    const std::string_view name = Trimmed(names.substr(0, bar));
    if (name.empty()) return WrongName("a name is missing between {{ and }}");
    const std::optional<Field> field = FieldNamed(name);
    if (!field) return WrongName("{{" + Shown(name) + "}} is not known");
    fields.push_back(*field);
    if (bar == std::string_view::npos) return fields;
    names.remove_prefix(bar + 1);
  }
}

}  // namespace

std::string Shown(std::string_view words) {
  constexpr std::size_t kLongest = 60;
  std::string text;
  while (!words.empty()) {
    const std::size_t length = Utf8Length(words);
    if (text.size() + length > kLongest) return text + "...";
    if (length == 0 || words.front() == 0x7f || (length == 1 && words.front() < 0x20)) {
      text += '?';
    } else {
      text += words.substr(0, length);
    }
    words.remove_prefix(std::max<std::size_t>(1, length));
  }
  return text;
}

Result<Template> ParseTemplate(std::string_view text) {
  Template parts;
  while (!text.empty()) {
    const std::size_t open = text.find(kOpen);
    if (open != 0) parts.push_back({std::string(text.substr(0, open)), {}});
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find(kClose, open + kOpen.size());
    if (close == std::string_view::npos) return WrongName("{{ is not closed by }}");
    Result<std::vector<Field>> fields =
        ParseNames(text.substr(open + kOpen.size(), close - open - kOpen.size()));
    if (!fields.ok()) return fields.error();
    parts.push_back({{}, std::move(fields.value())});
    text.remove_prefix(close + kClose.size());
  }
  return parts;
}

}  // namespace offline_post
