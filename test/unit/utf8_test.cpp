#include "model/utf8.hpp"

#include <nlohmann/json.hpp>
#include <random>

#include "catch.hpp"
#include "payload/json_text.hpp"

namespace offline_post {

namespace {

std::string Mended(std::string text) {
  MendUtf8(text);
  return text;
}

// What another implementation makes of it, which ends each run of broken bytes where the standard
// says.
std::string Reference(const std::string& text) {
  return nlohmann::json::parse(
             nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
      .get<std::string>();
}

}  // namespace

TEST_CASE("UTF-8: what is intact stays") {
  for (const std::string& text :
       {std::string(), std::string("plain"), std::string("a\0b", 3), std::string(100, 'x'),
        std::string("\u043f\u0443\u0441\u0442\u044c \u6f22\u5b57 \U0001f339\x7f"
                    "\u0080\u07ff\u0800"
                    "\xed\x9f\xbf"
                    "\ue000\uffff\U00010000\U0010ffff")}) {
    CHECK(Utf8Prefix(text) == text.size());
    CHECK(Mended(text) == text);
  }
}

TEST_CASE("UTF-8: broken bytes are replaced as the standard says") {
  CHECK(Mended("\xff") == "\ufffd");
  CHECK(Mended("x\xc3") == "x\ufffd");
  CHECK(Mended("\xe2\x82z") == "\ufffdz");
  CHECK(Mended("\xf0\x9f\x8c") == "\ufffd");
  CHECK(Mended("\xf0\x9f\x8cz") == "\ufffdz");
  CHECK(Mended("\xed\xa0\x80") == "\ufffd\ufffd\ufffd");  // a surrogate
  CHECK(Mended("\xc0\xaf") == "\ufffd\ufffd");            // overlong
  CHECK(Mended("\xf4\x90\x80\x80") == "\ufffd\ufffd\ufffd\ufffd");
}

TEST_CASE("UTF-8: any bytes are mended as another implementation does") {
  // Mostly bytes that begin and continue characters, in every place relative to blocks of ASCII.
  std::mt19937 random(1);
  const std::string some =
      "\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xe1\xed\xef\xf0\xf1\xf4\xf5\xff";
  for (int round = 0; round < 20'000; ++round) {
    std::string text(random() % 20, 'a');
    for (std::size_t left = random() % 24; left > 0; --left) {
      text += random() % 4 == 0 ? static_cast<char>(random() % 256) : some[random() % some.size()];
    }
    text.append(random() % 20, 'z');
    const std::string mended = Mended(text);
    REQUIRE(mended == Reference(text));
    REQUIRE(Utf8Prefix(mended) == mended.size());
    std::string json = "\"";
    AppendJsonText(text, json);
    json += '"';
    REQUIRE(nlohmann::json::parse(json).get<std::string>() == mended);
  }
}

}  // namespace offline_post
