#include <algorithm>

#include "support/recipes.hpp"

namespace offline_post {

namespace {

using test::ConfigOf;

std::string Form(FieldMap fields, const Delivery& delivery = test::FullDelivery()) {
  return test::RequestOf(ConfigOf(Format::kForm, std::move(fields)), delivery).body;
}

Delivery WithBody(std::string body) {
  Delivery delivery = test::BareDelivery();
  auto event = std::make_shared<Event>(*delivery.event);
  event->body = std::move(body);
  delivery.event = event;
  return delivery;
}

}  // namespace

TEST_CASE("a form's fields keep their order and have no more than what is configured") {
  CHECK(Form({{"z", {"{{from.user}}"}}, {"a", {"{{to.user}}"}}, {"token", {"{{token}}"}}}) ==
        "z=room&a=juliet&token=secret");
  CHECK(Form({{"a", {""}}}) == "a=");
  CHECK(Form({}).empty());
}

TEST_CASE("a form's literals are their text") {
  CHECK(Form({{"t", {true}},
              {"f", {false}},
              {"i", {std::int64_t{-7}}},
              {"d", {0.5}},
              {"n", {nullptr}},
              {"s", {"a b&c=d"}}}) == "t=true&f=false&i=-7&d=0.5&n=&s=a%20b%26c%3Dd");
}

TEST_CASE("a form's maps and lists are named as Rails and PHP read them") {
  CHECK(
      Form({{"info", {FieldMap{{"from", {"{{from.user}}"}}, {"a&b", {"x"}}}}},
            {"to", {FieldList{{"{{to.user}}"}, {"romeo"}, {FieldMap{{"n", {"1"}}}}}}},
            {"none", {FieldList{}}},
            {"deep", {FieldMap{{"er", {FieldMap{{"still", {std::int64_t{1}}}}}}}}},
            {"last", {"!"}}}) ==
      "info[from]=room&info[a%26b]=x&to[]=juliet&to[]=romeo&to[][n]=1&deep[er][still]=1&last=%21");
  CHECK(Form({{"a=b&c", {"1"}}}) == "a%3Db%26c=1");
}

TEST_CASE("no value leaves its field of a form") {
  for (const std::string& hostile :
       {std::string("&to=x"), std::string("a=b"), std::string("%26to%3Dx"), std::string("\r\n\r\n"),
        std::string("\0a", 2), std::string("\xff\xfe"), std::string("]]>\"'<"), std::string("+ #;"),
        std::string(65'536, '&')}) {
    const std::string body = Form({{"a", {"<{{body}}>"}}, {"b", {"1"}}}, WithBody(hostile));
    CHECK(std::count(body.begin(), body.end(), '&') == 1);
    CHECK(std::count(body.begin(), body.end(), '=') == 2);
    CHECK(body.substr(body.size() - 7) == "%3E&b=1");
    for (const char byte : body) {
      CHECK((byte > 0x20 && byte < 0x7f && byte != '#' && byte != '+' && byte != ';'));
      if (byte <= 0x20 || byte >= 0x7f) break;
    }
  }
  CHECK(Form({{"a", {"{{body}}"}}}, WithBody(std::string("\0\xff%", 3))) == "a=%00%FF%25");
}

TEST_CASE("what was said in a room has its own fields") {
  RecipeConfig config = ConfigOf(Format::kForm, {{"to", {"{{to.user}}"}}});
  config.room_fields = FieldMap{{"room", {"{{room.user}}"}}, {"nick", {"{{nick}}"}}};
  CHECK(test::RequestOf(config, test::FullDelivery()).body == "room=room&nick=Romeo%20M.");
  CHECK(test::RequestOf(config, test::BareDelivery()).body == "to=juliet");
  config.fields.reset();
  CHECK(test::RequestOf(config, test::FullDelivery()).body == "room=room&nick=Romeo%20M.");
  CHECK(test::RequestOf(config, test::BareDelivery()).body ==
        "to=juliet&from=&body=&access_token=secret");
  config.room_fields.reset();
  config.fields = FieldMap{{"to", {"{{to.user}}"}}};
  CHECK(test::RequestOf(config, test::FullDelivery()).body == "to=juliet");
}

TEST_CASE("the token is not in the body where a header or the URL bears it") {
  RecipeConfig config = ConfigOf(Format::kForm);
  config.headers = {{"X-Api-Key", "{{token}}"}};
  CHECK(test::RequestOf(config, test::BareDelivery()).body == "to=juliet&from=&body=");
  config.headers.clear();
  config.auth = Auth::kHeader;
  CHECK(test::RequestOf(config, test::BareDelivery()).body == "to=juliet&from=&body=");
}

TEST_CASE("a stanza is posted as it is") {
  RecipeConfig config = ConfigOf(Format::kStanza);
  const Request request = test::RequestOf(config);
  CHECK(request.body == "<message/>");
  CHECK(test::HeaderOf(request, "Content-Type") == "application/xml");
  CHECK(test::RequestOf(config, test::BareDelivery()).body.empty());
}

TEST_CASE("a stanza has no place for fields, a presence or a token") {
  RecipeConfig config = ConfigOf(Format::kStanza);
  config.token = true;
  CHECK(test::Contains(test::ErrorOf(config), "choose auth: bearer, basic or header"));
  config.headers = {{"X-Token", "{{token}}"}};
  CHECK(test::ErrorOf(config).empty());
  config.headers.clear();
  config.auth = Auth::kBearer;
  CHECK(test::ErrorOf(config).empty());
  config.presence = true;
  CHECK(test::Contains(test::ErrorOf(config), "not as a stanza"));
  config.presence = false;
  config.room_fields = FieldMap{};
  CHECK(test::Contains(test::ErrorOf(config), "format stanza has no fields"));
  config.room_fields.reset();
  config.fields = FieldMap{};
  CHECK(test::Contains(test::ErrorOf(config), "format stanza has no fields"));
}

}  // namespace offline_post
