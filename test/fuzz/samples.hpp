// Events and templates made from a fuzzer's bytes, each with what it must become.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <map>
#include <memory>
#include <string>

#include "model/delivery.hpp"
#include "model/endpoint.hpp"
#include "payload/recipe.hpp"

namespace offline_post::fuzz {

// Any bytes, mostly short.
std::string AnyText(FuzzedDataProvider& input);
// What an operator may write for a literal: UTF-8, without braces and control characters.
std::string LiteralText(FuzzedDataProvider& input);

// A delivery whose event holds anything, and what each name of a template means in it.
struct Sample {
  Delivery delivery;
  std::map<std::string, std::string> values;
};
Sample AnySample(FuzzedDataProvider& input, const Endpoint& endpoint);

// An endpoint without a recipe.
Endpoint AnyEndpoint(FuzzedDataProvider& input);

// A template of literals and names, as a list of both.
struct Piece {
  bool is_name = false;
  std::string text;
};
using Pieces = std::vector<Piece>;
Pieces AnyPieces(FuzzedDataProvider& input);
// What an operator writes.
std::string TemplateText(const Pieces& pieces);
// What it becomes, before any encoding.
std::string Rendered(const Pieces& pieces, const Sample& sample);
// Whether each part of it is UTF-8 by itself.
bool IsClean(const Pieces& pieces, const Sample& sample);

// A value of `fields`: a scalar is a template, or a literal (a number, true, false or null).
struct NamedSample;
struct Field {
  enum class Kind { kScalar, kMap, kList } kind = Kind::kScalar;
  bool is_template = false;
  Pieces pieces;
  FieldValue literal;
  std::vector<NamedSample> members;  // of a map
  std::vector<Field> elements;       // of a list
};
struct NamedSample {
  std::string name;
  Field field;
};
// At most `depth` maps and lists within each other. A map's names are all different.
Field AnyField(FuzzedDataProvider& input, int depth);
Field AnyMap(FuzzedDataProvider& input, int depth);
FieldValue AsFieldValue(const Field& field);
FieldMap AsFieldMap(const Field& map);

std::string Inflated(std::string_view gzip);
// The value of the request's header of this name, in lower case; empty: none.
std::string Header(const std::vector<std::string>& headers, std::string_view name);

}  // namespace offline_post::fuzz
