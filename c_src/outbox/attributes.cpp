#include "outbox/attributes.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "model/utf8.hpp"

namespace offline_post {

namespace {

using OrderedJson = nlohmann::ordered_json;

// It stands in JSON as it is.
bool IsPlain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char byte) {
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
  });
}

// Most texts are plain, and this is done for every row: a value of the library's own would cost as
// much as the rest of an insert.
void AddText(const std::string& text, std::string& json) {
  if (IsPlain(text)) {
    json.append(1, '"').append(text).append(1, '"');
  } else {
    json += OrderedJson(text).dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }
}

// Takes the strings of one object as the parser comes by them. What is not one ends the parsing.
class Reader final : public nlohmann::json_sax<OrderedJson> {
 public:
  std::vector<Attribute> Take() { return std::move(attributes_); }

  bool start_object(std::size_t /*elements*/) override { return !std::exchange(inside_, true); }
  bool key(std::string& name) override {
    const auto same = [&name](const Attribute& other) { return other.name == name; };
    at_ = static_cast<std::size_t>(std::find_if(attributes_.begin(), attributes_.end(), same) -
                                   attributes_.begin());
    if (at_ == attributes_.size()) attributes_.push_back({std::move(name), {}});
    return true;
  }
  bool string(std::string& value) override {
    if (inside_) attributes_[at_].value = std::move(value);
    return inside_;
  }
  bool end_object() override { return true; }

  bool null() override { return false; }
  bool boolean(bool /*value*/) override { return false; }
  bool number_integer(OrderedJson::number_integer_t /*value*/) override { return false; }
  bool number_unsigned(OrderedJson::number_unsigned_t /*value*/) override { return false; }
  bool number_float(OrderedJson::number_float_t /*value*/, const std::string& /*text*/) override {
    return false;
  }
  bool binary(OrderedJson::binary_t& /*value*/) override { return false; }
  bool start_array(std::size_t /*elements*/) override { return false; }
  bool end_array() override { return false; }
  bool parse_error(std::size_t /*position*/, const std::string& /*last*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return false;
  }

 private:
  std::vector<Attribute> attributes_;
  std::size_t at_ = 0;  // whose value comes next
  bool inside_ = false;
};

}  // namespace

std::string AttributesText(const std::vector<Attribute>& attributes) {
  std::string json;
  if (attributes.empty()) return json;
  std::size_t size = 2;
  for (const Attribute& one : attributes) size += one.name.size() + one.value.size() + 6;
  json.reserve(size);
  for (const Attribute& one : attributes) {
    json += json.empty() ? '{' : ',';
    AddText(one.name, json);
    json += ':';
    AddText(one.value, json);
  }
  json += '}';
  return json;
}

std::vector<Attribute> ReadAttributes(std::string_view text) {
  if (text.empty()) return {};
  Reader reader;
  if (!OrderedJson::sax_parse(text, &reader)) return {};
  return reader.Take();
}

void MakeStorable(std::vector<Attribute>& attributes) {
  auto end = attributes.begin();
  for (auto one = attributes.begin(); one != attributes.end(); ++one) {
    MendUtf8(one->name);
    MendUtf8(one->value);
    const auto same = [one](const Attribute& other) { return other.name == one->name; };
    const auto earlier = std::find_if(attributes.begin(), end, same);
    if (earlier != end) {
      earlier->value = std::move(one->value);
    } else {
      if (end != one) *end = std::move(*one);
      ++end;
    }
  }
  attributes.erase(end, attributes.end());
}

}  // namespace offline_post
