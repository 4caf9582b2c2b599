#include "payload/masked.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace offline_post {

namespace {

constexpr const char* kHidden = "(hidden)";

// What stands between templates may be a secret; the templates are not, but for {{token}}, whose
// value is masked too.
std::string Mask(std::string_view text) {
  std::string masked;
  while (!text.empty()) {
    const std::size_t open = text.find("{{");
    const std::size_t close = open == std::string_view::npos ? open : text.find("}}", open);
    if (close == std::string_view::npos) return masked + kHidden;
    if (open > 0) masked += kHidden;
    masked += text.substr(open, close + 2 - open);
    text.remove_prefix(close + 2);
  }
  return masked;
}

// What follows the server, without the slash; its templates say what the rest of a request has.
std::string_view PathOf(std::string_view url) {
  const std::size_t server = url.find("://");
  const std::size_t slash = server == std::string_view::npos ? server : url.find('/', server + 3);
  return slash == std::string_view::npos ? std::string_view() : url.substr(slash + 1);
}

void Mask(FieldValue& field);

void Mask(FieldMap& fields) {
  for (NamedField& field : fields) Mask(field.second);
}

void Mask(FieldValue& field) {
  if (auto* text = std::get_if<std::string>(&field.value)) {
    *text = Mask(std::string_view{*text});
  } else if (std::holds_alternative<std::int64_t>(field.value) ||
             std::holds_alternative<double>(field.value)) {
    field.value = std::string{kHidden};
  } else if (auto* list = std::get_if<FieldList>(&field.value)) {
    for (FieldValue& element : *list) Mask(element);
  } else if (auto* map = std::get_if<FieldMap>(&field.value)) {
    Mask(*map);
  }
}

}  // namespace

std::shared_ptr<const Endpoint> Masked(const Endpoint& endpoint, const RecipeConfig& config) {
  RecipeConfig shown = config;
  if (shown.fields) Mask(*shown.fields);
  if (shown.room_fields) Mask(*shown.room_fields);
  for (auto& [name, text] : shown.headers) text = Mask(std::string_view{text});
  shown.post_url = OriginText(endpoint.origin) + "/" + Mask(PathOf(config.post_url));
  shown.signing_secrets.clear();
  shown.gzip = false;
  auto masked = std::make_shared<Endpoint>();
  masked->key = endpoint.key;
  masked->post_url = shown.post_url;
  masked->origin.scheme = endpoint.origin.scheme;
  masked->origin.host = endpoint.origin.host;
  masked->origin.port = endpoint.origin.port;
  masked->batch = endpoint.batch;
  if (!endpoint.auth_token.empty()) masked->auth_token = kHidden;
  if (Result<std::shared_ptr<const Recipe>> recipe = CompileRecipe(shown); recipe.ok()) {
    masked->recipe = std::move(recipe.value());
  }
  return masked;
}

}  // namespace offline_post
