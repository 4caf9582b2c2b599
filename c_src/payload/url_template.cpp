#include "payload/url_template.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "payload/recipe.hpp"

namespace offline_post {

namespace {

// One segment; "%2E" is a dot.
void KeepSegment(std::string_view segment, std::string& out) {
  std::size_t dots = 0;
  for (std::string_view rest = segment; !rest.empty(); ++dots) {
    const bool encoded =
        rest.size() >= 3 && rest[0] == '%' && rest[1] == '2' && (rest[2] | 0x20) == 'e';
    if (rest[0] != '.' && !encoded) {
      out += segment;
      return;
    }
    rest.remove_prefix(encoded ? 3 : 1);
  }
  // Three dots are a name like others.
  for (std::size_t i = 0; i < dots; ++i) out += dots <= 2 ? "%252E" : ".";
}

std::string WithoutDotSegments(std::string_view path) {
  std::string out;
  while (true) {
    const std::size_t slash = path.find('/');
    KeepSegment(path.substr(0, slash), out);
    if (slash == std::string_view::npos) return out;
    out += '/';
    path.remove_prefix(slash + 1);
  }
}

Result<Program> CompilePart(std::string_view text) {
  Result<Template> parts = ParseTemplate(text);
  if (!parts.ok()) return Error{Error::Kind::kInvalid, "post_url: " + parts.error().text};
  Program program;
  program.AddTemplate(parts.value(), Encoding::kNone, Encoding::kPercent);
  return program;
}

}  // namespace

Result<UrlTemplate> UrlTemplate::Compile(const std::string& url) {
  const std::string_view text = url;
  const std::size_t scheme = text.find("://");
  // Without a scheme it is no URL; of three slashes libcurl takes what is behind for the server.
  const bool has_server = scheme != std::string_view::npos && text.substr(scheme).find(":///") != 0;
  const std::size_t path =
      has_server ? std::min(text.find_first_of("/?#", scheme + 3), text.size()) : text.size();
  const std::size_t fragment = std::min(text.find('#', path), text.size());
  const std::size_t query = std::min(text.find('?', path), fragment);
  if (text.substr(0, path).find("{{") != std::string_view::npos ||
      text.substr(fragment).find("{{") != std::string_view::npos) {
    return Error{
        Error::Kind::kInvalid,
        "post_url: {{...}} may stand in the path and in the query, behind the server's name"};
  }
  const std::string plain = WithoutTemplates(url);
  if (std::any_of(plain.begin(), plain.end(),
                  [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
    return Error{Error::Kind::kInvalid,
                 "post_url: blanks and control characters must be percent-encoded (%20)"};
  }
  UrlTemplate compiled;
  Result<Program> path_program = CompilePart(text.substr(path, query - path));
  if (!path_program.ok()) return path_program.error();
  Result<Program> rest_program = CompilePart(text.substr(query));
  if (!rest_program.ok()) return rest_program.error();
  compiled.origin_ = text.substr(0, path);
  compiled.path_ = std::move(path_program.value());
  compiled.rest_ = std::move(rest_program.value());
  compiled.uses_ = compiled.path_.uses() | compiled.rest_.uses();
  return compiled;
}

std::string UrlTemplate::Render(EventFields& event) const {
  std::string path;
  path_.Render(event, path);
  std::string url = origin_;
  url += path_.uses().any() ? WithoutDotSegments(path) : path;
  rest_.Render(event, url);
  return url;
}

std::string WithoutTemplates(const std::string& url) {
  std::string plain;
  std::string_view rest = url;
  while (true) {
    const std::size_t open = rest.find("{{");
    const std::size_t close = open == std::string_view::npos ? open : rest.find("}}", open);
    if (close == std::string_view::npos) return plain.append(rest);
    plain.append(rest.substr(0, open)).append(1, 'x');
    rest.remove_prefix(close + 2);
  }
}

}  // namespace offline_post
