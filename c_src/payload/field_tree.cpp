#include "payload/field_tree.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace offline_post {

namespace {

using Json = nlohmann::json;

// No receiver wants more, and whoever reads them calls itself for each.
constexpr int kDeepest = 20;

template <typename T>
const T* As(const FieldValue& value) {
  return std::get_if<T>(&value.value);
}

Error WrongField(const std::string& path, const std::string& what) {
  return {Error::Kind::kInvalid, Shown(path) + ": " + what};
}

std::string Nested(std::string path, std::string_view before, std::string_view name,
                   std::string_view after = {}) {
  return path.append(before).append(name).append(after);
}

Error TooDeep(const std::string& path) {
  return WrongField(path, "there are more than " + std::to_string(kDeepest) + " levels");
}

// Of a literal: true, 12, 0.5, null.
std::string LiteralText(const FieldValue& value) {
  if (const auto* boolean = As<bool>(value)) return *boolean ? "true" : "false";
  if (const auto* integer = As<std::int64_t>(value)) return std::to_string(*integer);
  if (const auto* number = As<double>(value)) return Json(*number).dump();
  return "null";
}

// Both trees: what is compiled, and where the compiler is.
class Form {
 public:
  // `path` is what stands before the '=', encoded.
  Status AddMap(const FieldMap& fields, const std::string& path, int depth) {
    for (const auto& [name, value] : fields) {
      std::string inner;
      AppendEncoded(name, Encoding::kPercent, inner);
      if (Status status = Add(value, path.empty() ? inner : Nested(path, "[", inner, "]"), depth)) {
        return status;
      }
    }
    return std::nullopt;
  }

  Program Take() { return std::move(program_); }

 private:
  Status Add(const FieldValue& value, const std::string& path, int depth) {
    if (depth >= kDeepest) return TooDeep(path);
    if (const auto* map = As<FieldMap>(value)) return AddMap(*map, path, depth + 1);
    if (const auto* list = As<FieldList>(value)) {
      for (const FieldValue& element : *list) {
        if (Status status = Add(element, path + "[]", depth + 1)) return status;
      }
      return std::nullopt;
    }
    program_.AddLiteral((std::exchange(first_, false) ? "" : "&") + path + "=");
    if (const auto* text = As<std::string>(value)) {
      Result<Template> parts = ParseTemplate(*text);
      if (!parts.ok()) return WrongField(path, parts.error().text);
      program_.AddTemplate(parts.value(), Encoding::kPercent, Encoding::kPercent);
    } else if (As<std::nullptr_t>(value) == nullptr) {
      program_.AddLiteral(LiteralText(value));
    }
    return std::nullopt;
  }

  Program program_;
  bool first_ = true;
};

class JsonTree {
 public:
  Status AddMap(const FieldMap& fields, const std::string& path, int depth) {
    std::set<std::string_view> names;
    program_.AddLiteral("{");
    for (const auto& [name, value] : fields) {
      const std::string inner = path.empty() ? name : Nested(path, ".", name);
      if (!names.insert(name).second) return WrongField(inner, "it is there twice");
      std::string member = names.size() == 1 ? "" : ",";
      AppendEncoded(name, Encoding::kJsonString, member);
      program_.AddLiteral(member + ":");
      if (Status status = Add(value, inner, depth)) return status;
    }
    program_.AddLiteral("}");
    return std::nullopt;
  }

  Program Take() { return std::move(program_); }

 private:
  Status Add(const FieldValue& value, const std::string& path, int depth) {
    if (depth >= kDeepest) return TooDeep(path);
    if (const auto* map = As<FieldMap>(value)) return AddMap(*map, path, depth + 1);
    if (const auto* list = As<FieldList>(value)) {
      program_.AddLiteral("[");
      for (std::size_t i = 0; i < list->size(); ++i) {
        if (i > 0) program_.AddLiteral(",");
        if (Status status = Add((*list)[i], path + "[]", depth + 1)) return status;
      }
      program_.AddLiteral("]");
    } else if (const auto* text = As<std::string>(value)) {
      return AddText(*text, path);
    } else {
      program_.AddLiteral(LiteralText(value));
    }
    return std::nullopt;
  }

  Status AddText(const std::string& text, const std::string& path) {
    Result<Template> parsed = ParseTemplate(text);
    if (!parsed.ok()) return WrongField(path, parsed.error().text);
    const Template& parts = parsed.value();
    if (parts.size() == 1 && !parts[0].fields.empty() &&
        std::all_of(parts[0].fields.begin(), parts[0].fields.end(), IsNumber)) {
      program_.AddValue(parts[0].fields, Encoding::kJsonNumber);
      return std::nullopt;
    }
    program_.AddLiteral("\"");
    program_.AddTemplate(parts, Encoding::kJsonText, Encoding::kJsonText);
    program_.AddLiteral("\"");
    return std::nullopt;
  }

  Program program_;
};

template <typename Tree>
Result<Program> Compile(const FieldMap& fields) {
  Tree tree;
  if (Status status = tree.AddMap(fields, "", 0)) return *status;
  return tree.Take();
}

}  // namespace

Result<Program> CompileForm(const FieldMap& fields) { return Compile<Form>(fields); }

Result<Program> CompileJson(const FieldMap& fields) { return Compile<JsonTree>(fields); }

}  // namespace offline_post
