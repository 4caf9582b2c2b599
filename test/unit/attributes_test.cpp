#include "outbox/attributes.hpp"

#include "catch.hpp"

namespace offline_post {

namespace {

using Attributes = std::vector<Attribute>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs PairsOf(const Attributes& attributes) {
  Pairs pairs;
  for (const Attribute& one : attributes) pairs.emplace_back(one.name, one.value);
  return pairs;
}

}  // namespace

TEST_CASE("attributes: one JSON object, in their order; no text for none") {
  CHECK(AttributesText({}).empty());
  CHECK(AttributesText({{"trigger", "offline"}, {"badge", "3"}, {"a", ""}}) ==
        R"({"trigger":"offline","badge":"3","a":""})");
  CHECK(AttributesText({{"nick", "Za\"p\\ \n\x01"}}) == R"({"nick":"Za\"p\\ \n\u0001"})");
  CHECK(ReadAttributes("").empty());
}

TEST_CASE("attributes: what is storable comes back as it was") {
  for (const std::string& value :
       {std::string(), std::string("plain"), std::string("\"\\/\b\f\n\r\t\x1f\x7f"),
        std::string("a\0b", 3), std::string("z\u00fcrich \u6f22 \U0001f600"),
        std::string(5'000, 'x')}) {
    Attributes attributes = {{"zulu", value}, {"alpha", "1"}, {value, value}};
    MakeStorable(attributes);
    CHECK(PairsOf(ReadAttributes(AttributesText(attributes))) == PairsOf(attributes));
    CHECK(PairsOf(attributes) == Pairs{{"zulu", value}, {"alpha", "1"}, {value, value}});
  }
}

TEST_CASE("attributes: what is not UTF-8 is replaced, and then stays as it is") {
  Attributes attributes = {{"a", "\xff"}, {"b", "x\xc3"}, {"c", "\xe2\x82z"}, {"\xfe", "name"}};
  MakeStorable(attributes);
  const std::string replacement = "\uFFFD";
  CHECK(PairsOf(attributes) == Pairs{{"a", replacement},
                                     {"b", "x" + replacement},
                                     {"c", replacement + "z"},
                                     {replacement, "name"}});
  CHECK(PairsOf(ReadAttributes(AttributesText(attributes))) == PairsOf(attributes));
}

TEST_CASE("attributes: a name stands once, with its last value") {
  Attributes attributes = {{"a", "1"}, {"b", "2"}, {"a", "3"}};
  MakeStorable(attributes);
  CHECK(PairsOf(attributes) == Pairs{{"a", "3"}, {"b", "2"}});
}

TEST_CASE("attributes: a text that is no object of strings gives none") {
  for (const char* text : {"[]", "1", "\"a\"", "{", "{\"a\":", "{\"a\":1}", "{\"a\":null}",
                           "{\"a\":[\"b\"]}", "{\"a\":{\"b\":\"c\"}}", "nonsense", "{} x"}) {
    INFO(text);
    CHECK(ReadAttributes(text).empty());
  }
}

}  // namespace offline_post
