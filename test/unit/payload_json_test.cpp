#include <nlohmann/json.hpp>
#include <random>

#include "payload/json_text.hpp"
#include "support/recipes.hpp"

namespace offline_post {

namespace {

using Json = nlohmann::ordered_json;
using test::ConfigOf;

std::string Body(FieldMap fields, const Delivery& delivery = test::FullDelivery()) {
  return test::RequestOf(ConfigOf(Format::kJson, std::move(fields)), delivery).body;
}

std::string JsonText(std::string_view text) {
  std::string out;
  AppendJsonText(text, out);
  return out;
}

// The same by a library.
std::string Reference(const std::string& text) {
  const std::string dumped = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return dumped.substr(1, dumped.size() - 2);
}

}  // namespace

TEST_CASE("JSON says by default all that there is about a message") {
  const Request request = test::RequestOf(ConfigOf(Format::kJson));
  CHECK(test::HeaderOf(request, "Content-Type") == "application/json");
  CHECK(
      request.body ==
      R"({"type":"message.offline","timestamp":"2023-11-14T22:13:20.123Z","data":{)"
      R"("id":"msg_1","host":"capulet.example","kind":"text","trigger":"groupchat",)"
      R"("stored":"archive","to":"juliet@capulet.example","from":"room@muc.example/Romeo M.",)"
      R"("resource":"phone","room":"room@muc.example","nick":"Romeo M.",)"
      R"("sender":"romeo@montague.example","message_id":"m1","stanza_id":"s1",)"
      R"("origin_id":"o1","call_id":"c1","body":"But soft!","text":"soft!","badge":3,"count":2},"access_token":"secret"})");
}

TEST_CASE("JSON leaves out by default what a message does not have") {
  CHECK(test::RequestOf(ConfigOf(Format::kJson), test::BareDelivery(), "").body ==
        R"({"type":"message.offline","timestamp":"1970-01-01T00:00:00.000Z","data":{)"
        R"("id":"msg_2","host":"capulet.example","kind":"text","to":"juliet@capulet.example",)"
        R"("body":"","count":1}})");
}

TEST_CASE("JSON tells a text that is not the author's from one of which nothing is marked") {
  const auto members = [](const std::vector<Attribute>& attributes) {
    Delivery delivery = test::BareDelivery();
    auto event = std::make_shared<Event>(*delivery.event);
    event->body = "> Hi\nYes";
    event->attributes = attributes;
    delivery.event = event;
    const Json data =
        Json::parse(test::RequestOf(ConfigOf(Format::kJson), delivery).body).at("data");
    CHECK(data.at("body") == "> Hi\nYes");
    return data.contains("text") ? data.at("text").dump() : "none";
  };
  CHECK(members({}) == "none");
  CHECK(members({{"text", "Yes"}}) == R"("Yes")");
  CHECK(members({{"text", ""}}) == R"("")");
  CHECK(members({{"call_id", ""}}) == "none");
}

TEST_CASE("JSON says by default whose presence it is") {
  RecipeConfig config = ConfigOf(Format::kJson);
  config.presence = true;
  Delivery delivery = test::BareDelivery();
  auto event = std::make_shared<Event>(*delivery.event);
  event->kind = "available";
  event->to.resource = "phone";
  delivery.event = event;
  CHECK(test::RequestOf(config, delivery).body ==
        R"({"type":"presence.available","timestamp":"1970-01-01T00:00:00.000Z","data":{)"
        R"("id":"msg_2","host":"capulet.example","jid":"juliet@capulet.example",)"
        R"("resource":"phone"},"access_token":"secret"})");
}

TEST_CASE("JSON fields keep their order, their nesting and their literals' types") {
  CHECK(Body({{"z", {"{{to.user}}!"}},
              {"a\"b", {FieldMap{{"list", {FieldList{{"{{nick}}"}, {std::int64_t{-1}}, {1.5}}}}}}},
              {"t", {true}},
              {"f", {false}},
              {"n", {nullptr}},
              {"empty", {FieldMap{}}},
              {"none", {FieldList{}}},
              {"s", {"a \"b\" \\ \n"}}}) ==
        R"({"z":"juliet!","a\"b":{"list":["Romeo M.",-1,1.5]},"t":true,"f":false,"n":null,)"
        R"("empty":{},"none":[],"s":"a \"b\" \\ \n"})");
  CHECK(Body({}) == "{}");
}

TEST_CASE("what counts is a number where nothing else stands beside it") {
  const FieldMap fields = {{"b", {"{{badge}}"}},          {"c", {"{{ count }}"}},
                           {"t", {"{{timestamp.unix}}"}}, {"x", {"{{badge|count}}"}},
                           {"s", {"{{badge}} new"}},      {"m", {"{{badge|body}}"}}};
  CHECK(Body(fields) == R"({"b":3,"c":2,"t":1700000000,"x":3,"s":"3 new","m":"3"})");
  CHECK(Body(fields, test::BareDelivery()) == R"({"b":null,"c":1,"t":0,"x":1,"s":" new","m":""})");
}

TEST_CASE("a badge that is no count is null") {
  for (const char* badge : {"-1", "1e5", "01", "1.5", "NaN", "1,\"x\":2", "3 ", " 3", "+3", "x",
                            "1234567890123456789"}) {
    INFO(badge);
    Delivery delivery = test::BareDelivery();
    auto event = std::make_shared<Event>(*delivery.event);
    event->attributes = {{"badge", badge}};
    delivery.event = event;
    CHECK(Body({{"b", {"{{badge}}"}}}, delivery) == R"({"b":null})");
  }
  CHECK(IsJsonCount("0"));
  CHECK(IsJsonCount("123456789012345678"));
}

TEST_CASE("no value leaves its string in JSON") {
  for (const std::string& hostile :
       {std::string("\",\"to\":\"x"), std::string("\\"), std::string("\r\n\t\b\f"),
        std::string("\0", 1), std::string("\xff\xfe"), std::string("]]>'<"), std::string("\x7f"),
        std::string("\xed\xa0\x80"), std::string("\xf0\x9f\x98"), std::string(4'096, '"'),
        std::string(4'096, '\xc3')}) {
    Delivery delivery = test::FullDelivery();
    auto event = std::make_shared<Event>(*delivery.event);
    event->body = hostile;
    event->to = event->from = {hostile, hostile, hostile};
    event->kind = event->id = event->message_id = hostile;
    for (Attribute& attribute : event->attributes) attribute.value = hostile;
    delivery.event = event;
    for (const bool fields : {false, true}) {
      RecipeConfig config = ConfigOf(Format::kJson);
      if (fields) config.fields = FieldMap{{"a", {"<{{body}}>"}}, {"b", {"{{nick}}"}}};
      const Json json =
          Json::parse(test::RequestOf(config, delivery, hostile).body, nullptr, false);
      REQUIRE(json.is_object());
      CHECK(json.size() == (fields ? 2 : 4));
      const Json whole = Json::parse("\"" + Reference(hostile) + "\"");
      CHECK((fields ? json.at("b") : json.at("data").at("body")) == whole);
    }
  }
}

TEST_CASE("a literal that is not UTF-8 does not break JSON") {
  const Json json = Json::parse(Body({{"a\xff", {"b\xc3{{to.user}}"}}}), nullptr, false);
  REQUIRE(json.is_object());
  CHECK(json.at("a\xEF\xBF\xBD") == "b\xEF\xBF\xBDjuliet");
}

TEST_CASE("a member that is there twice is an error") {
  RecipeConfig config = ConfigOf(Format::kJson, {{"a", {FieldMap{{"b", {"1"}}, {"b", {"2"}}}}}});
  CHECK(test::Contains(test::ErrorOf(config), "fields: a.b: it is there twice"));
}

TEST_CASE("texts stand in JSON as a library would write them") {
  std::mt19937 random(5);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same texts each time
  const std::vector<std::string> pieces = {"a",
                                           " ",
                                           "\"",
                                           "\\",
                                           "\n",
                                           "\x01",
                                           "\x1f",
                                           "\x7f",
                                           "~",
                                           "/",
                                           "\xc3\xa9",
                                           "\xe2\x82\xac",
                                           "\xf0\x9f\x98\x80",
                                           "plain text",
                                           "\xc0\x80",
                                           "\xed\xa0\x80",
                                           "\xf4\x90\x80\x80",
                                           "\xe2\x82",
                                           "\xff",
                                           "\x80",
                                           std::string("\0", 1)};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    // Every other text is UTF-8.
    const std::size_t kinds = round % 2 == 0 ? pieces.size() : 14;
    for (std::size_t count = random() % 24; count > 0; --count) text += pieces[random() % kinds];
    if (JsonText(text) == Reference(text)) continue;
    INFO(Reference(text));
    REQUIRE(JsonText(text) == Reference(text));
  }
  for (int byte = 0; byte < 256; ++byte) {
    for (std::size_t before = 0; before < 9; ++before) {
      const std::string text =
          std::string(before, 'a') + static_cast<char>(byte) + std::string(9, 'b');
      REQUIRE(JsonText(text) == Reference(text));
    }
  }
}

}  // namespace offline_post
