#include <limits>
#include <nlohmann/json.hpp>

#include "payload/template.hpp"
#include "support/recipes.hpp"

namespace offline_post {

namespace {

using test::Contains;

// What a template makes of an event, without any encoding but JSON's.
std::string Rendered(const std::string& text, const Delivery& delivery = test::FullDelivery()) {
  const Request request =
      test::RequestOf(test::ConfigOf(Format::kJson, {{"x", {"-" + text}}}), delivery);
  return nlohmann::json::parse(request.body).at("x").get<std::string>().substr(1);
}

std::string ParseError(const std::string& text) {
  auto parsed = ParseTemplate(text);
  return parsed.ok() ? "" : parsed.error().text;
}

}  // namespace

TEST_CASE("every name has its value") {
  const std::vector<std::pair<std::string, std::string>> values = {
      {"id", "msg_1"},
      {"type", "groupchat"},
      {"kind", "text"},
      {"host", "capulet.example"},
      {"trigger", "groupchat"},
      {"stored", "archive"},
      {"to", "juliet@capulet.example"},
      {"to.user", "juliet"},
      {"to.server", "capulet.example"},
      {"to.resource", "balcony"},
      {"to.bare", "juliet@capulet.example"},
      {"to.full", "juliet@capulet.example/balcony"},
      {"from", "room@muc.example/Romeo M."},
      {"from.user", "room"},
      {"from.server", "muc.example"},
      {"from.resource", "Romeo M."},
      {"from.bare", "room@muc.example"},
      {"from.full", "room@muc.example/Romeo M."},
      {"body", "But soft!"},
      {"text", "soft!"},
      {"subject", "News"},
      {"thread", "t1"},
      {"message.id", "m1"},
      {"stanza.id", "s1"},
      {"origin.id", "o1"},
      {"call.id", "c1"},
      {"room", "room@muc.example"},
      {"room.user", "room"},
      {"nick", "Romeo M."},
      {"sender", "romeo@montague.example"},
      {"sender.user", "romeo"},
      {"resource", "phone"},
      {"badge", "3"},
      {"count", "2"},
      {"stanza", "<message/>"},
      {"timestamp", "2023-11-14T22:13:20.123Z"},
      {"timestamp.unix", "1700000000"},
      {"token", "secret"}};
  CHECK(values.size() == kFields);
  for (const auto& [name, value] : values) {
    INFO(name);
    CHECK(Rendered("{{" + name + "}}") == value);
    CHECK(Rendered("a{{ " + name + "\t}}{{" + name + "}}b") == "a" + value + value + "b");
  }
}

TEST_CASE("what an event does not have is empty") {
  for (const char* name : {"trigger",     "stored",        "to.resource", "from",       "from.user",
                           "from.server", "from.resource", "from.bare",   "from.full",  "body",
                           "text",        "subject",       "thread",      "message.id", "stanza.id",
                           "origin.id",   "call.id",       "room",        "room.user",  "nick",
                           "sender",      "sender.user",   "resource",    "badge",      "stanza"}) {
    INFO(name);
    CHECK(Rendered(std::string("{{") + name + "}}", test::BareDelivery()).empty());
  }
  CHECK(Rendered("{{type}}", test::BareDelivery()) == "chat");
  CHECK(Rendered("{{to.full}}", test::BareDelivery()) == "juliet@capulet.example");
}

TEST_CASE("of alternatives the first that is not empty is taken") {
  CHECK(Rendered("{{nick|from.user}}") == "Romeo M.");
  CHECK(Rendered("{{ sender | nick | to.user }}", test::BareDelivery()) == "juliet");
  CHECK(Rendered("{{sender|nick}}", test::BareDelivery()).empty());
}

TEST_CASE("the text is the body, but for what is marked in that") {
  const auto text = [](const std::vector<Attribute>& attributes) {
    Delivery delivery = test::BareDelivery();
    auto event = std::make_shared<Event>(*delivery.event);
    event->body = "> Hi\nYes";
    event->attributes = attributes;
    delivery.event = event;
    return Rendered("{{text}}", delivery) + "," + Rendered("{{text|kind}}", delivery);
  };
  CHECK(text({}) == "> Hi\nYes,> Hi\nYes");
  CHECK(text({{"text", "Yes"}}) == "Yes,Yes");
  CHECK(text({{"text", ""}}) == ",text");
}

TEST_CASE("single braces and closing ones alone are text") {
  for (const char* text : {"{to}", "}}", "a}}b", "{ {to} }", "{", "}", "{}", "100%", ""}) {
    INFO(text);
    CHECK(Rendered(text) == text);
  }
}

TEST_CASE("a value is not a template") {
  Delivery delivery = test::BareDelivery();
  auto event = std::make_shared<Event>(*delivery.event);
  event->body = "{{token}}";
  delivery.event = event;
  CHECK(Rendered("{{body}}", delivery) == "{{token}}");
}

TEST_CASE("a timestamp is in UTC with milliseconds, whatever the clock said") {
  const auto at = [](Millis unix_ms) {
    Delivery delivery = test::BareDelivery();
    auto event = std::make_shared<Event>(*delivery.event);
    event->accepted_unix_ms = unix_ms;
    delivery.event = event;
    return Rendered("{{timestamp}}", delivery);
  };
  CHECK(at(0) == "1970-01-01T00:00:00.000Z");
  CHECK(at(951'782'400'005) == "2000-02-29T00:00:00.005Z");
  CHECK(at(1'709'251'199'999) == "2024-02-29T23:59:59.999Z");
  CHECK(at(-1) == "1969-12-31T23:59:59.999Z");
  CHECK(at(std::numeric_limits<Millis>::max()) == "9999-12-31T23:59:59.999Z");
  CHECK(at(std::numeric_limits<Millis>::min()) == "0000-01-01T00:00:00.000Z");
}

TEST_CASE("what is wrong in a template is said with all names, and without its text") {
  for (const char* text : {"hunter2 {{to", "hunter2 {{", "hunter2 {{}}", "hunter2 {{ }}",
                           "hunter2 {{to|}}", "hunter2 {{|to}}", "hunter2 {{to}} {{tu}}",
                           "hunter2 {{TO}}", "hunter2 {{to user}}", "hunter2 {{{{to}}}}"}) {
    INFO(text);
    const std::string error = ParseError(text);
    CHECK(Contains(error, FieldNames()));
    CHECK_FALSE(Contains(error, "hunter2"));
  }
  CHECK(Contains(ParseError("{{tu}}"), "{{tu}}"));
  const std::string hostile = ParseError("{{a\r\n\x1b[31m\xff" + std::string(1000, 'y') + "}}");
  CHECK(Contains(hostile, "{{a???[31m?y"));
  CHECK(hostile.size() < FieldNames().size() + 200);
}

TEST_CASE("an option's error names the option and the field") {
  const auto error = [](FieldMap fields) {
    return CheckFields(fields).value_or(Error{Error::Kind::kInvalid, ""}).text;
  };
  CHECK(error({{"a", {"{{to}}"}}}).empty());
  CHECK(Contains(error({{"a", {FieldMap{{"b", {"{{nope}}"}}}}}}), "fields: a"));
  CHECK(Contains(error({{"a", {FieldMap{{"b", {"{{nope}}"}}}}}}), "b"));
  CHECK(Contains(error({{"a", {"{{nope}}"}}}), "fields: a: {{nope}} is not known"));
  RecipeConfig config = test::ConfigOf(Format::kForm);
  config.room_fields = FieldMap{{"r", {"{{nope}}"}}};
  CHECK(Contains(test::ErrorOf(config), "room_fields: r: {{nope}} is not known"));
  FieldValue deep{"x"};
  for (int level = 0; level < 1000; ++level) deep = FieldValue{FieldList{deep}};
  CHECK(Contains(error({{"a", deep}}), "levels"));
}

TEST_CASE("a recipe says what of an event it uses") {
  const auto uses = [](const RecipeConfig& config) { return Uses(*CompileRecipe(config).value()); };
  using Names = std::vector<std::string>;
  CHECK(uses(test::ConfigOf(Format::kForm)) == Names{"body"});
  CHECK(uses(test::ConfigOf(Format::kStanza)) == Names{"stanza"});
  CHECK(uses(test::ConfigOf(Format::kJson)) ==
        Names{"body", "message_id", "trigger", "stored", "resource", "room", "nick", "sender",
              "stanza_id", "origin_id", "call_id", "badge", "text"});
  CHECK(uses(test::ConfigOf(Format::kForm, {{"a", {"{{to}}{{count}}"}}})).empty());
  CHECK(uses(test::ConfigOf(Format::kJson, {{"a", {"{{nick|sender.user}}"}}})) ==
        Names{"nick", "sender"});
  CHECK(uses(test::ConfigOf(Format::kForm, {{"a", {"{{type}}"}}})) == Names{"room"});
  CHECK(uses(test::ConfigOf(Format::kForm, {{"a", {"{{text}}"}}})) == Names{"body", "text"});
  RecipeConfig config = test::ConfigOf(Format::kForm, {});
  config.headers = {{"X-Subject", "{{subject}}"}};
  config.post_url = "http://h/{{thread}}";
  CHECK(uses(config) == Names{"subject", "thread"});
  config.room_fields = FieldMap{{"a", {"{{room.user}}"}}};
  CHECK(uses(config) == Names{"room", "subject", "thread"});
  config.room_fields = FieldMap{};
  CHECK(uses(config) == Names{"room", "subject", "thread"});
}

}  // namespace offline_post
