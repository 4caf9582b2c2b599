// JSON: whatever events and the operator's fields hold, an independent reader gets the same
// document back, by itself and in a batch of either form, compressed or not.
#include <nlohmann/json.hpp>

#include "forms.hpp"
#include "payload/request_builder.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

using Json = nlohmann::ordered_json;

bool IsNumber(const Pieces& pieces) {
  return pieces.size() == 1 && pieces.front().is_name &&
         (pieces.front().text == "badge" || pieces.front().text == "count" ||
          pieces.front().text == "timestamp.unix");
}

void CheckText(const Json& got, const Pieces& pieces, const Sample& sample) {
  if (IsNumber(pieces)) {
    const std::string value = Rendered(pieces, sample);
    Require(value.empty() ? got.is_null() : got.is_number() && got.dump() == value,
            "a count is a number");
    return;
  }
  Require(got.is_string(), "a text is a string");
  // What is not UTF-8 comes with U+FFFD in it; how many is the writer's choice.
  if (IsClean(pieces, sample)) {
    Require(got.get_ref<const std::string&>() == Rendered(pieces, sample), "a text comes as it is");
  } else {
    Require(got.get_ref<const std::string&>().find("\xEF\xBF\xBD") != std::string::npos,
            "what is not UTF-8 is replaced");
  }
}

void Check(const Json& got, const Field& field, const Sample& sample) {
  switch (field.kind) {
    case Field::Kind::kMap: {
      Require(got.is_object() && got.size() == field.members.size(), "a map has its members");
      auto next = got.begin();
      for (const auto& [name, member] : field.members) {
        Require(next.key() == name, "a map keeps its order");
        Check(next.value(), member, sample);
        ++next;
      }
      break;
    }
    case Field::Kind::kList:
      Require(got.is_array() && got.size() == field.elements.size(), "a list has its elements");
      for (std::size_t i = 0; i < got.size(); ++i) Check(got[i], field.elements[i], sample);
      break;
    case Field::Kind::kScalar:
      if (field.is_template) {
        CheckText(got, field.pieces, sample);
      } else if (const bool* flag = std::get_if<bool>(&field.literal.value)) {
        Require(got == *flag, "true and false keep their type");
      } else if (const auto* number = std::get_if<std::int64_t>(&field.literal.value)) {
        Require(got == *number, "numbers keep their type");
      } else {
        Require(got.is_null(), "null stays null");
      }
      break;
  }
}

// The format's own fields: what must be there, and nothing that the event has not.
void CheckDefault(const Json& got, const Sample& sample, const std::string& token) {
  const Event& event = *sample.delivery.event;
  Require(got.is_object() && got.at("type") == "message.offline", "it has its type");
  const Json& data = got.at("data");
  Require(data.at("id") == event.id, "it has its id");
  Require(data.at("count") == sample.delivery.stands_for, "it has its count");
  if (IsUtf8(event.body)) Require(data.at("body") == event.body, "it has its body");
  Require(data.at("body").is_string() && data.at("to").is_string(), "texts are strings");
  if (token.empty()) {
    Require(!got.contains("access_token"), "there is no token");
  } else if (IsUtf8(token)) {
    Require(got.back() == token && got.contains("access_token"), "the token is the last");
  }
}

std::vector<Json> Documents(std::string_view body, const RecipeConfig& config) {
  std::vector<Json> documents;
  if (!config.batch || config.batch_form == BatchForm::kArray) {
    const Json json = Json::parse(body, nullptr, false);
    Require(!json.is_discarded(), "the body is JSON");
    if (!config.batch) return {json};
    Require(json.is_array(), "a batch is an array");
    for (const Json& element : json) documents.push_back(element);
    return documents;
  }
  Require(body.ends_with('\n'), "a line ends");
  while (!body.empty()) {
    const std::string_view line = body.substr(0, body.find('\n'));
    body.remove_prefix(line.size() + 1);
    documents.push_back(Json::parse(line, nullptr, false));
    Require(!documents.back().is_discarded(), "each line is JSON");
  }
  return documents;
}

}  // namespace

}  // namespace offline_post::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace offline_post;
  using namespace offline_post::fuzz;
  FuzzedDataProvider input(data, size);
  auto endpoint = std::make_shared<Endpoint>(AnyEndpoint(input));
  RecipeConfig config;
  config.post_url = endpoint->post_url;
  config.format = Format::kJson;
  config.gzip = input.ConsumeBool();
  config.batch = input.ConsumeBool();
  config.batch_form = input.ConsumeBool() ? BatchForm::kArray : BatchForm::kNdjson;
  if (config.batch) {
    endpoint->batch.max_events = input.ConsumeIntegralInRange<std::size_t>(2, 4);
    endpoint->batch.max_bytes = input.ConsumeIntegralInRange<std::size_t>(1, 4000);
  }
  const bool own = input.ConsumeIntegralInRange(0, 3) == 3;
  Field fields;
  if (!own) {
    fields = AnyMap(input, 3);
    config.fields = AsFieldMap(fields);
  }
  auto recipe = CompileRecipe(config);
  Require(recipe.ok(), "fields of good names are taken");
  endpoint->recipe = recipe.value();
  std::vector<Sample> samples;
  std::vector<Delivery> deliveries;
  const std::size_t most = endpoint->batch.max_events;
  for (std::size_t i = 0; i < most; ++i) {
    samples.push_back(AnySample(input, *endpoint));
    deliveries.push_back(samples.back().delivery);
  }
  const Request request = BuildRequest(1, endpoint, deliveries, 1'700'000'000'000);
  const bool packed = Header(request.headers, "content-encoding") == "gzip";
  const std::string body = packed ? Inflated(request.body) : request.body;
  Require(packed == (config.gzip && body.size() > 1024),
          "what is long is compressed, if asked for");
  const std::vector<Json> documents = Documents(body, config);
  const std::size_t count = documents.size();
  Require(count >= 1 && count == request.deliveries.size(), "there is one document per event");
  Require(count == 1 || body.size() <= endpoint->batch.max_bytes,
          "a batch is no longer than it may");
  Require(request.event_ids.size() == (config.batch ? count : 0), "a batch knows its events");
  for (std::size_t i = 0; i < count; ++i) {
    Require(request.deliveries[i] == deliveries[i].sequence, "they are the first, in their order");
    if (own) {
      CheckDefault(documents[i], samples[i], endpoint->auth_token);
    } else {
      Check(documents[i], fields, samples[i]);
    }
  }
  return 0;
}
