#include "payload/recipe.hpp"

#include <algorithm>
#include <string_view>

#include "payload/compiled_recipe.hpp"
#include "payload/default_fields.hpp"
#include "payload/field_tree.hpp"

namespace offline_post {

namespace {

bool Has(const FieldSet& fields, Field field) { return fields[static_cast<std::size_t>(field)]; }

bool AreConstant(const FieldSet& fields) {
  for (std::size_t i = 0; i < kFields; ++i) {
    if (fields[i] && !IsConstant(static_cast<Field>(i))) return false;
  }
  return true;
}

bool HasHeader(const Recipe& recipe, std::string_view name) {
  return std::any_of(
      recipe.headers.begin(), recipe.headers.end(),
      [name](const HeaderTemplate& header) { return SameHeader(header.name(), name); });
}

// What the headers and the URL use: the same for all events of a batch.
FieldSet UsedOutside(const Recipe& recipe) {
  FieldSet used = recipe.url.uses();
  for (const HeaderTemplate& header : recipe.headers) used |= header.uses();
  return used;
}

std::string_view DefaultContentType(const RecipeConfig& config) {
  switch (config.format) {
    case Format::kForm:
      return "application/x-www-form-urlencoded";
    case Format::kStanza:
      return "application/xml";
    case Format::kJson:
      break;
  }
  const bool lines = config.batch && config.batch_form == BatchForm::kNdjson;
  return lines ? "application/x-ndjson" : "application/json";
}

Result<Program> CompileFields(const char* option, Format format, const FieldMap& fields) {
  Result<Program> program = format == Format::kJson ? CompileJson(fields) : CompileForm(fields);
  if (!program.ok()) return Invalid(std::string(option) + ": " + program.error().text);
  return program;
}

Program DefaultFields(const RecipeConfig& config, bool token) {
  if (config.format == Format::kForm) return DefaultForm(config.presence, token);
  if (config.format == Format::kJson) return DefaultJson(config.presence, token);
  Program stanza;
  stanza.AddValue({Field::kStanza}, Encoding::kNone);
  return stanza;
}

Status AddFields(const RecipeConfig& config, Recipe& recipe) {
  const bool token = config.auth == Auth::kBody && !Has(UsedOutside(recipe), Field::kToken);
  recipe.fields = DefaultFields(config, token);
  if (config.fields) {
    Result<Program> program = CompileFields("fields", config.format, *config.fields);
    if (!program.ok()) return program.error();
    recipe.fields = std::move(program.value());
  }
  if (config.room_fields) {
    Result<Program> program = CompileFields("room_fields", config.format, *config.room_fields);
    if (!program.ok()) return program.error();
    recipe.room_fields = std::move(program.value());
  }
  return std::nullopt;
}

// What is wrong in the options only together.
Status CheckTogether(const RecipeConfig& config, const Recipe& recipe) {
  if (config.format == Format::kStanza) {
    if (config.fields || config.room_fields) {
      return Invalid("fields, room_fields: format stanza has no fields; choose form or json");
    }
    if (config.presence) {
      return Invalid("format: a presence is posted as form or json, not as a stanza");
    }
    if (config.token && config.auth == Auth::kBody && !Has(UsedOutside(recipe), Field::kToken)) {
      return Invalid(
          "auth_token: a stanza has no place for it; choose auth: bearer, basic or header");
    }
  }
  if (config.auth != Auth::kBody && HasHeader(recipe, "Authorization")) {
    return Invalid("headers: Authorization is what auth: bearer, basic and header set; choose one");
  }
  if (config.batch) {
    if (config.format != Format::kJson) {
      return Invalid("batch: several events in one body need format: json");
    }
    if (!AreConstant(UsedOutside(recipe))) {
      return Invalid(
          "batch: a batch has one URL and one set of headers: of the names only {{host}} and "
          "{{token}} may stand in post_url and headers");
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::shared_ptr<const Recipe>> CompileRecipe(const RecipeConfig& config) {
  const auto recipe = std::make_shared<Recipe>();
  recipe->auth = config.auth;
  recipe->gzip = config.gzip;
  recipe->traceparent = config.traceparent;
  recipe->batch = config.batch;
  recipe->batch_form = config.batch_form;
  Result<UrlTemplate> url = UrlTemplate::Compile(config.post_url);
  if (!url.ok()) return url.error();
  recipe->url = std::move(url.value());
  Result<std::vector<HeaderTemplate>> headers = CompileHeaders(config.headers);
  if (!headers.ok()) return headers.error();
  recipe->headers = std::move(headers.value());
  Result<Signer> signer = Signer::Make(config.signing_secrets);
  if (!signer.ok()) return signer.error();
  recipe->signer = std::move(signer.value());
  if (Status status = CheckTogether(config, *recipe)) return *status;
  if (Status status = AddFields(config, *recipe)) return *status;

  if (!IsHeaderText(config.content_type)) {
    return Invalid("content_type: it is one line, without control characters");
  }
  if (!HasHeader(*recipe, "Content-Type")) {
    recipe->content_type =
        HeaderLine("Content-Type",
                   config.content_type.empty() ? DefaultContentType(config) : config.content_type);
  }
  if (!HasHeader(*recipe, "User-Agent")) {
    recipe->user_agent = "User-Agent: mod_offline_post/" OFFLINE_POST_VERSION;
  }
  return std::shared_ptr<const Recipe>(recipe);
}

Status CheckUrl(const std::string& post_url) {
  Result<UrlTemplate> url = UrlTemplate::Compile(post_url);
  return url.ok() ? std::nullopt : Status(url.error());
}

// JSON's rules are the stricter ones, but for them a form's fields may have one name.
Status CheckFields(const FieldMap& fields) {
  Result<Program> program = CompileForm(fields);
  return program.ok() ? std::nullopt : Status(Invalid("fields: " + program.error().text));
}

Status CheckHeaders(const std::vector<std::pair<std::string, std::string>>& headers) {
  Result<std::vector<HeaderTemplate>> compiled = CompileHeaders(headers);
  return compiled.ok() ? std::nullopt : Status(compiled.error());
}

Status CheckSecrets(const std::vector<std::string>& secrets) {
  Result<Signer> signer = Signer::Make(secrets);
  return signer.ok() ? std::nullopt : Status(signer.error());
}

std::vector<std::string> Uses(const Recipe& recipe) {
  FieldSet used = UsedOutside(recipe) | recipe.fields.uses();
  if (recipe.room_fields) {
    used |= recipe.room_fields->uses();
    used.set(static_cast<std::size_t>(Field::kRoom));  // it tells which fields are meant
  }
  return NeededFor(used);
}

// Never destroyed: the thread that uses it may outlive static values.
const Recipe& OriginalRecipe() {
  static const auto* const original =
      new std::shared_ptr<const Recipe>(CompileRecipe(RecipeConfig()).value());
  return **original;
}

}  // namespace offline_post
