// What a Recipe is inside its room.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "payload/header_template.hpp"
#include "payload/program.hpp"
#include "payload/recipe.hpp"
#include "payload/signer.hpp"
#include "payload/url_template.hpp"

namespace offline_post {

class Recipe {
 public:
  Program fields;                      // of one event
  std::optional<Program> room_fields;  // of one from a room, where that differs
  // Whole lines; empty where `headers` has one of that name.
  std::string content_type;
  std::string user_agent;
  std::vector<HeaderTemplate> headers;
  Auth auth = Auth::kBody;
  UrlTemplate url;
  Signer signer;
  bool traceparent = false;
  bool gzip = false;
  bool batch = false;
  BatchForm batch_form = BatchForm::kArray;
};

// What an endpoint without a recipe has: the original's form.
const Recipe& OriginalRecipe();

}  // namespace offline_post
