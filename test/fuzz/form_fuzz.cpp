// Forms: whatever an event and the operator's fields hold, a reader gets exactly the names and the
// values back, in their order.
#include <cmath>

#include "forms.hpp"
#include "payload/request_builder.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

using Form = std::vector<std::pair<std::string, std::string>>;

std::string LiteralAsText(const FieldValue& literal) {
  if (const bool* flag = std::get_if<bool>(&literal.value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&literal.value)) {
    return std::to_string(*number);
  }
  return "";
}

void Expect(const std::string& name, const Field& field, const Sample& sample, Form& out) {
  switch (field.kind) {
    case Field::Kind::kMap:
      for (const auto& [key, member] : field.members) {
        Expect(name.empty() ? key : name + "[" + key + "]", member, sample, out);
      }
      break;
    case Field::Kind::kList:
      for (const Field& element : field.elements) Expect(name + "[]", element, sample, out);
      break;
    case Field::Kind::kScalar:
      out.emplace_back(
          name, field.is_template ? Rendered(field.pieces, sample) : LiteralAsText(field.literal));
      break;
  }
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
  config.presence = input.ConsumeIntegralInRange(0, 7) == 7;
  const bool original = input.ConsumeIntegralInRange(0, 3) == 3;
  Field fields;
  if (!original) {
    fields = AnyMap(input, 2);
    config.fields = AsFieldMap(fields);
  }
  auto recipe = CompileRecipe(config);
  Require(recipe.ok(), "fields of good names are taken");
  endpoint->recipe = recipe.value();
  const Sample sample = AnySample(input, *endpoint);
  const Event& event = *sample.delivery.event;
  const Request request = BuildRequest(1, endpoint, {sample.delivery}, 1'700'000'000'000);
  Form expected;
  if (!original) {
    Expect("", fields, sample, expected);
  } else if (config.presence) {
    expected = {{"jabber_id", event.to.user}, {"access_token", endpoint->auth_token}};
  } else {
    expected = {{"to", event.to.user},
                {"from", event.from.user},
                {"body", event.body},
                {"access_token", endpoint->auth_token}};
  }
  Require(ReadForm(request.body) == expected, "a reader gets the fields as they are");
  return 0;
}
