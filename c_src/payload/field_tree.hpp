// A body's fields, as an operator wrote them, compiled: into a form or a JSON object.
#pragma once

#include <string>

#include "model/result.hpp"
#include "payload/program.hpp"
#include "payload/recipe.hpp"

namespace offline_post {

// a=1&b[c]=2&d[]=3&d[]=4, as Rails, PHP and others read it. Names and values are percent-encoded; a
// space is %20, which every form parser reads.
Result<Program> CompileForm(const FieldMap& fields);

// A string that is nothing but {{badge}}, {{count}} or {{timestamp.unix}} is a number, or null.
Result<Program> CompileJson(const FieldMap& fields);

}  // namespace offline_post
