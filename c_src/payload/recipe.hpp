// Recipe: how an endpoint's requests are made, compiled once from what the operator wrote: the
// format, the templates of fields, headers and URL, the token's place, the signatures. Immutable.
//
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "model/endpoint.hpp"
#include "model/result.hpp"

namespace offline_post {

enum class Format { kForm, kJson, kStanza };

// Where the token goes. Wherever else a template says {{token}}, there, too.
enum class Auth {
  kBody,    // field `access_token` of the format's own fields, unless a header or the URL bears it
  kBearer,  // Authorization: Bearer <token>
  kBasic,   // Authorization: Basic <token>, base64 of it if it has a ':'
  kHeader,  // Authorization: <token>
};

// How several events make one body, where they may.
enum class BatchForm { kArray, kNdjson };

// What an operator wrote for a field: a template, a literal, or more of them in a list or a map. A
// map keeps its order.
struct FieldValue;
struct NamedField;
using FieldList = std::vector<FieldValue>;
using FieldMap = std::vector<NamedField>;
struct FieldValue {
  // The text is a template.
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, FieldList, FieldMap> value;
};
// Not std::pair: clang 14 cannot complete one of an incomplete type.
struct NamedField {
  std::string first;
  FieldValue second;
};

struct RecipeConfig {
  bool token = false;     // auth_token is not empty
  bool presence = false;  // the default fields are mod_available_post's, not mod_offline_post's
  std::string post_url;   // a template
  Format format = Format::kForm;
  std::string content_type;             // empty: the format's
  std::optional<FieldMap> fields;       // none: the format's own
  std::optional<FieldMap> room_fields;  // for what was said in a room; none: `fields`
  std::vector<std::pair<std::string, std::string>> headers;  // name and template, in their order
  Auth auth = Auth::kBody;
  std::vector<std::string> signing_secrets;  // whsec_..., whsk_...
  bool gzip = false;
  bool traceparent = false;  // the header of W3C Trace Context
  bool batch = false;
  BatchForm batch_form = BatchForm::kArray;
};

// The error says which option, what is wrong in it and what would be right; never a secret.
Result<std::shared_ptr<const Recipe>> CompileRecipe(const RecipeConfig& config);

// One option by itself, for whoever reads a configuration: what CompileRecipe would say of it.
Status CheckUrl(const std::string& post_url);
Status CheckFields(const FieldMap& fields);
Status CheckHeaders(const std::vector<std::pair<std::string, std::string>>& headers);
Status CheckSecrets(const std::vector<std::string>& secrets);

// A URL with the same origin and no templates: it says whether they stand in a valid one.
std::string WithoutTemplates(const std::string& url);

// What of an event the recipe uses: "body", "message_id", and names of attributes.
std::vector<std::string> Uses(const Recipe& recipe);

}  // namespace offline_post
