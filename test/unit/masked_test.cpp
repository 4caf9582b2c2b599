#include "payload/masked.hpp"

#include "payload/request_builder.hpp"
#include "support/recipes.hpp"
#include "support/values.hpp"

namespace offline_post {

TEST_CASE(
    "of a request that is shown, all that an operator wrote is hidden, and all of the event is "
    "not") {
  RecipeConfig config;
  config.token = true;
  config.format = Format::kJson;
  config.auth = Auth::kBearer;
  config.post_url = "https://user:pass@backend.example:8443/s3cret/{{to.user}}?key=s3cret";
  config.headers = {{"X-Key", "s3cret"}, {"X-User", "{{to.user}} s3cret {{token}}"}};
  config.signing_secrets = {"whsec_bm90IGEgc2VjcmV0OiBtYWtlIG9uZSBvZiB5b3VyIG93bg=="};
  config.fields = FieldMap{{"key", {std::string("s3cret")}},
                           {"pin", {std::int64_t{4711}}},
                           {"text", {std::string("{{body}}")}},
                           {"list", {FieldList{{std::string("s3cret {{kind}}")}, {true}}}},
                           {"map", {FieldMap{{"token", {std::string("{{token}}")}}}}}};
  Endpoint endpoint;
  endpoint.auth_token = "s3cret";
  endpoint.post_url = config.post_url;
  endpoint.origin.scheme = "https";
  endpoint.origin.host = "backend.example";
  endpoint.origin.port = 8443;
  const std::shared_ptr<const Endpoint> masked = Masked(endpoint, config);
  const Delivery delivery = test::MakeDelivery(1, "juliet");
  const Request request = BuildRequest(0, masked, {delivery}, 1'700'000'000'000);
  const std::string url = request.url.empty() ? masked->post_url : request.url;
  CHECK(url == "https://backend.example:8443/(hidden)juliet(hidden)");
  std::string all = url + request.body;
  for (const std::string& header : request.headers) all += header + "\n";
  CHECK_FALSE(test::Has(all, "s3cret"));
  CHECK_FALSE(test::Has(all, "pass"));
  CHECK_FALSE(test::Has(all, "4711"));
  CHECK(test::Has(all, "X-Key: (hidden)\n"));
  CHECK(test::Has(all, "Authorization: Bearer (hidden)\n"));
  CHECK(test::Has(request.body, R"("text":"1")"));
  CHECK(test::Has(request.body, R"json("key":"(hidden)")json"));
}

TEST_CASE(
    "a request that bears the token in its URL is shown without one in its body, as it is sent") {
  Endpoint endpoint;
  endpoint.auth_token = "s3cret";
  endpoint.origin.scheme = "https";
  endpoint.origin.host = "backend.example";
  endpoint.origin.port = 443;
  for (const Format format : {Format::kForm, Format::kStanza}) {
    RecipeConfig config;
    config.token = true;
    config.format = format;
    config.post_url = "https://backend.example/{{token}}";
    endpoint.recipe = CompileRecipe(config).value();
    const std::shared_ptr<const Endpoint> masked = Masked(endpoint, config);
    const Delivery delivery = test::MakeDelivery(1, "juliet");
    const Request shown = BuildRequest(0, masked, {delivery}, 1'700'000'000'000);
    const Request sent =
        BuildRequest(0, std::make_shared<Endpoint>(endpoint), {delivery}, 1'700'000'000'000);
    CHECK(shown.body == sent.body);
    CHECK(shown.headers == sent.headers);
    CHECK_FALSE(test::Has(shown.url, "s3cret"));
  }
}

}  // namespace offline_post
