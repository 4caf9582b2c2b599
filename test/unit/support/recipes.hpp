// Recipes and the requests they make, for the tests of the payload room.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "payload/recipe.hpp"
#include "payload/request_builder.hpp"
#include "support/values.hpp"

namespace offline_post::test {

inline constexpr Millis kNowMs = 1'614'265'330'000;

// It has everything that an event can have.
inline Delivery FullDelivery() {
  auto event = std::make_shared<Event>();
  event->id = "msg_1";
  event->accepted_unix_ms = 1'700'000'000'123;
  event->kind = "text";
  event->to = {"juliet", "capulet.example", "balcony"};
  event->from = {"room", "muc.example", "Romeo M."};
  event->message_id = "m1";
  event->body = "But soft!";
  event->attributes = {{"trigger", "groupchat"}, {"stored", "archive"},
                       {"resource", "phone"},    {"room", "room@muc.example"},
                       {"nick", "Romeo M."},     {"sender", "romeo@montague.example"},
                       {"stanza_id", "s1"},      {"origin_id", "o1"},
                       {"call_id", "c1"},        {"badge", "3"},
                       {"text", "soft!"},        {"subject", "News"},
                       {"thread", "t1"},         {"stanza", "<message/>"}};
  Delivery delivery;
  delivery.sequence = 9;
  delivery.endpoint = 1;
  delivery.event = event;
  delivery.stands_for = 2;
  return delivery;
}

// It has nothing that an event can be without.
inline Delivery BareDelivery() {
  auto event = std::make_shared<Event>();
  event->id = "msg_2";
  event->kind = "text";
  event->to = {"juliet", "capulet.example", ""};
  Delivery delivery;
  delivery.sequence = 10;
  delivery.endpoint = 1;
  delivery.event = event;
  return delivery;
}

inline RecipeConfig ConfigOf(Format format) {
  RecipeConfig config;
  config.format = format;
  config.post_url = "https://backend/push";
  return config;
}

inline RecipeConfig ConfigOf(Format format, FieldMap fields) {
  RecipeConfig config = ConfigOf(format);
  config.fields = std::move(fields);
  return config;
}

inline std::shared_ptr<Endpoint> EndpointOf(const RecipeConfig& config,
                                            const std::string& token = "secret") {
  auto endpoint = MakeEndpoint();
  endpoint->key.vhost = "capulet.example";
  endpoint->post_url = config.post_url;
  endpoint->auth_token = token;
  auto recipe = CompileRecipe(config);
  INFO((recipe.ok() ? "" : recipe.error().text));
  REQUIRE(recipe.ok());
  endpoint->recipe = recipe.value();
  return endpoint;
}

inline Request RequestOf(const RecipeConfig& config, const Delivery& delivery = FullDelivery(),
                         const std::string& token = "secret") {
  return BuildRequest(1, EndpointOf(config, token), {delivery}, kNowMs);
}

// "": there is no such header; the test fails if there are several.
inline std::string HeaderOf(const Request& request, const std::string& name) {
  std::string value;
  int found = 0;
  for (const std::string& line : request.headers) {
    if (line.rfind(name + ": ", 0) != 0) continue;
    value = line.substr(name.size() + 2);
    ++found;
  }
  CHECK(found <= 1);
  return value;
}

// Why there is no recipe; "": there is one.
inline std::string ErrorOf(const RecipeConfig& config) {
  auto recipe = CompileRecipe(config);
  return recipe.ok() ? "" : recipe.error().text;
}

inline bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace offline_post::test
