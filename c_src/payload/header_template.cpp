#include "payload/header_template.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "model/ascii.hpp"

namespace offline_post {

namespace {

constexpr std::array<std::string_view, 10> kRefused = {
    "Host", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Expect",
    "TE",   "Trailer",        "Upgrade",          "Keep-Alive"};
constexpr std::array<std::string_view, 2> kRefusedBeginnings = {"Proxy-", "webhook-"};

bool IsTokenCharacter(char c) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (Lower(c) >= 'a' && Lower(c) <= 'z') ||
         kMarks.find(c) != std::string_view::npos;
}

bool IsRefused(std::string_view name) {
  const auto same = [name](std::string_view refused) { return SameHeader(name, refused); };
  const auto begins = [name](std::string_view refused) {
    return SameHeader(name.substr(0, refused.size()), refused);
  };
  return std::any_of(kRefused.begin(), kRefused.end(), same) ||
         std::any_of(kRefusedBeginnings.begin(), kRefusedBeginnings.end(), begins);
}

Error WrongHeader(std::string_view name, const std::string& what) {
  return {Error::Kind::kInvalid, "headers: " + Shown(name) + ": " + what};
}

std::string Line(std::string_view name, std::string_view value) {
  value = Trimmed(value, " ");
  if (value.empty()) return {};
  std::string line;
  line.reserve(name.size() + 2 + value.size());
  return line.append(name).append(": ").append(value);
}

}  // namespace

bool SameHeader(std::string_view one, std::string_view other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](char a, char b) { return Lower(a) == Lower(b); });
}

bool IsHeaderText(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char byte) {
    return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f;
  });
}

std::string HeaderLine(std::string_view name, std::string_view value) {
  std::string text;
  AppendEncoded(value, Encoding::kHeader, text);
  return Line(name, text);
}

Result<HeaderTemplate> HeaderTemplate::Compile(const std::string& name, const std::string& value) {
  if (name.empty()) return Error{Error::Kind::kInvalid, "headers: a name is empty"};
  if (!std::all_of(name.begin(), name.end(), IsTokenCharacter)) {
    return WrongHeader(name, "a header's name has only letters, digits and !#$%&'*+-.^_`|~");
  }
  if (IsRefused(name)) return WrongHeader(name, "this header is not for configurations to set");
  if (!IsHeaderText(value)) {
    return WrongHeader(name, "a header's value is one line, without control characters");
  }
  Result<Template> parts = ParseTemplate(value);
  if (!parts.ok()) return WrongHeader(name, parts.error().text);
  HeaderTemplate header;
  header.name_ = name;
  header.value_.AddTemplate(parts.value(), Encoding::kNone, Encoding::kHeader);
  return header;
}

std::string HeaderTemplate::Render(EventFields& event) const {
  std::string value;
  value_.Render(event, value);
  return Line(name_, value);
}

Result<std::vector<HeaderTemplate>> CompileHeaders(
    const std::vector<std::pair<std::string, std::string>>& headers) {
  std::vector<HeaderTemplate> compiled;
  for (const auto& [name, value] : headers) {
    Result<HeaderTemplate> header = HeaderTemplate::Compile(name, value);
    if (!header.ok()) return header.error();
    const auto same = [&name = name](const HeaderTemplate& other) {
      return SameHeader(other.name(), name);
    };
    if (std::any_of(compiled.begin(), compiled.end(), same)) {
      return WrongHeader(name, "it is there twice");
    }
    compiled.push_back(std::move(header.value()));
  }
  return compiled;
}

}  // namespace offline_post
