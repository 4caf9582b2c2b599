#include <zlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "payload/gzip.hpp"
#include "payload/signer.hpp"
#include "support/recipes.hpp"

namespace offline_post {

namespace {

using nlohmann::json;
using test::ConfigOf;
using test::Contains;
using test::HeaderOf;

RecipeConfig BatchConfig(BatchForm form = BatchForm::kArray) {
  RecipeConfig config = ConfigOf(Format::kJson, {{"id", {"{{id}}"}}, {"text", {"{{body}}"}}});
  config.batch = true;
  config.batch_form = form;
  return config;
}

std::vector<Delivery> Deliveries(std::size_t count) {
  std::vector<Delivery> deliveries;
  for (std::size_t i = 1; i <= count; ++i) {
    deliveries.push_back(test::MakeDelivery(i, "user" + std::to_string(i)));
  }
  return deliveries;
}

Request Batch(const RecipeConfig& config, const std::vector<Delivery>& deliveries,
              std::size_t max_bytes = 1'048'576) {
  const auto endpoint = test::EndpointOf(config);
  endpoint->batch.max_events = 100;
  endpoint->batch.max_bytes = max_bytes;
  return BuildRequest(1, endpoint, deliveries, test::kNowMs);
}

std::string Unpacked(const std::string& packed) {
  z_stream stream{};
  REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK);
  std::string out(1'048'576, '\0');
  std::string in = packed;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
  CHECK(stream.avail_in == 0);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

}  // namespace

TEST_CASE("a batch is a JSON array of its events") {
  const Request request = Batch(BatchConfig(), Deliveries(3));
  CHECK(request.body == R"([{"id":"msg_user1_1","text":"1"},{"id":"msg_user2_2","text":"2"},)"
                        R"({"id":"msg_user3_3","text":"3"}])");
  CHECK(request.deliveries == std::vector<Sequence>{1, 2, 3});
  CHECK(request.event_ids == std::vector<std::string>{"msg_user1_1", "msg_user2_2", "msg_user3_3"});
  CHECK(HeaderOf(request, "Content-Type") == "application/json");
}

TEST_CASE("a batch is a line for each of its events") {
  const Request request = Batch(BatchConfig(BatchForm::kNdjson), Deliveries(2));
  CHECK(request.body ==
        "{\"id\":\"msg_user1_1\",\"text\":\"1\"}\n{\"id\":\"msg_user2_2\",\"text\":\"2\"}\n");
  CHECK(HeaderOf(request, "Content-Type") == "application/x-ndjson");
  auto deliveries = Deliveries(2);
  auto event = std::make_shared<Event>(*deliveries[0].event);
  event->body = "a\nb\r\n\xe2\x80\xa8";
  deliveries[0].event = event;
  const std::string body = Batch(BatchConfig(BatchForm::kNdjson), deliveries).body;
  CHECK(std::count(body.begin(), body.end(), '\n') == 2);
}

TEST_CASE("an event alone is a batch, under its own id") {
  const Request array = Batch(BatchConfig(), Deliveries(1));
  CHECK(array.body == R"([{"id":"msg_user1_1","text":"1"}])");
  CHECK(HeaderOf(array, "webhook-id") == "msg_user1_1");
  CHECK(array.event_ids == std::vector<std::string>{"msg_user1_1"});
  CHECK(Batch(BatchConfig(BatchForm::kNdjson), Deliveries(1)).body ==
        "{\"id\":\"msg_user1_1\",\"text\":\"1\"}\n");
}

TEST_CASE("without batching one event is sent, and it is no list") {
  RecipeConfig config = BatchConfig();
  config.batch = false;
  const Request request = Batch(config, Deliveries(3));
  CHECK(request.body == R"({"id":"msg_user1_1","text":"1"})");
  CHECK(request.deliveries == std::vector<Sequence>{1});
  CHECK(request.event_ids.empty());
}

TEST_CASE("the same events are a batch of the same id, others are not") {
  const auto id = [](const std::vector<Delivery>& deliveries) {
    return HeaderOf(Batch(BatchConfig(), deliveries), "webhook-id");
  };
  const std::string one = id(Deliveries(3));
  CHECK(one.size() == 6 + 32);
  CHECK(one.rfind("batch_", 0) == 0);
  CHECK(one.find_first_not_of("0123456789abcdef", 6) == std::string::npos);
  CHECK(id(Deliveries(3)) == one);
  // Whatever else changes between two attempts.
  auto later = Deliveries(3);
  for (Delivery& delivery : later) delivery.attempts = 7;
  RecipeConfig other = BatchConfig(BatchForm::kNdjson);
  CHECK(HeaderOf(Batch(other, later), "webhook-id") == one);
  const std::set<std::string> ids = {one, id(Deliveries(2)), id(Deliveries(4)),
                                     id({Deliveries(3)[0], Deliveries(3)[2]}),
                                     id({Deliveries(3)[1], Deliveries(3)[2]})};
  CHECK(ids.size() == 5);
}

TEST_CASE("a batch has no more bytes than it may") {
  for (const BatchForm form : {BatchForm::kArray, BatchForm::kNdjson}) {
    const auto deliveries = Deliveries(9);
    const std::size_t three = Batch(BatchConfig(form), Deliveries(3)).body.size();
    const Request exact = Batch(BatchConfig(form), deliveries, three);
    CHECK(exact.deliveries == std::vector<Sequence>{1, 2, 3});
    CHECK(exact.event_ids.size() == 3);
    CHECK(exact.body == Batch(BatchConfig(form), Deliveries(3)).body);
    const Request less = Batch(BatchConfig(form), deliveries, three - 1);
    CHECK(less.body == Batch(BatchConfig(form), Deliveries(2)).body);
    CHECK(HeaderOf(less, "webhook-id") ==
          HeaderOf(Batch(BatchConfig(form), Deliveries(2)), "webhook-id"));
    // One that is too large alone is sent alone.
    const Request one = Batch(BatchConfig(form), deliveries, 1);
    CHECK(one.body == Batch(BatchConfig(form), Deliveries(1)).body);
    CHECK(HeaderOf(one, "webhook-id") == "msg_user1_1");
  }
}

TEST_CASE("a batch has no more events than it may") {
  CHECK(Batch(BatchConfig(), Deliveries(101)).deliveries.size() == 100);
}

TEST_CASE("events of rooms have their own fields in a batch, too") {
  RecipeConfig config = BatchConfig();
  config.room_fields = FieldMap{{"room", {"{{room.user}}"}}};
  CHECK(Batch(config, {test::BareDelivery(), test::FullDelivery()}).body ==
        R"([{"id":"msg_2","text":""},{"room":"room"}])");
}

TEST_CASE("what cannot be a batch is refused") {
  RecipeConfig config = BatchConfig();
  CHECK(test::ErrorOf(config).empty());
  config.headers = {{"X-Host", "{{host}} {{token}}"}};
  config.post_url = "http://h/{{host}}?{{token}}";
  CHECK(test::ErrorOf(config).empty());
  config.headers.emplace_back("X-To", "{{host|to.user}}");
  CHECK(Contains(test::ErrorOf(config), "batch: "));
  config.headers.pop_back();
  config.post_url = "http://h/{{id}}";
  CHECK(Contains(test::ErrorOf(config), "batch: "));
  config = ConfigOf(Format::kForm);
  config.batch = true;
  CHECK(Contains(test::ErrorOf(config), "format: json"));
}

TEST_CASE("only bodies of more than 1024 bytes are compressed") {
  RecipeConfig config = ConfigOf(Format::kForm, {{"a", {"{{body}}"}}});
  config.gzip = true;
  for (const std::size_t size : {1'024U, 1'025U, 65'536U}) {
    Delivery delivery = test::BareDelivery();
    auto event = std::make_shared<Event>(*delivery.event);
    event->body = std::string(size - 2, 'x');
    delivery.event = event;
    const Request request = test::RequestOf(config, delivery);
    if (size <= 1'024) {
      CHECK(request.body == "a=" + event->body);
      CHECK(HeaderOf(request, "Content-Encoding").empty());
    } else {
      CHECK(request.body.size() < size / 4);
      CHECK(Unpacked(request.body) == "a=" + event->body);
      CHECK(HeaderOf(request, "Content-Encoding") == "gzip");
    }
    CHECK(HeaderOf(request, "Content-Type") == "application/x-www-form-urlencoded");
  }
}

TEST_CASE("what compression does not shorten is sent as it is") {
  std::string noise;
  std::uint64_t state = 1;
  while (noise.size() < 2'000) {
    state = state * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
    noise += static_cast<char>(state >> 56U);
  }
  CHECK_FALSE(Gzip(noise).has_value());
  CHECK(Unpacked(Gzip(noise + noise).value()) == noise + noise);
  // The kept state of one body does not show in the next, after a failure either.
  const std::string first = Gzip(std::string(100, 'a')).value();
  CHECK_FALSE(Gzip(noise).has_value());
  CHECK(Gzip(std::string(100, 'a')).value() == first);
}

TEST_CASE("a signature is of the compressed bytes") {
  const std::string secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  RecipeConfig config = BatchConfig();
  config.gzip = true;
  config.signing_secrets = {secret};
  const Request request = Batch(config, Deliveries(100));
  CHECK(HeaderOf(request, "Content-Encoding") == "gzip");
  CHECK(json::parse(Unpacked(request.body)).size() == 100);
  auto signer = Signer::Make({secret});
  CHECK(HeaderOf(request, "webhook-signature") ==
        signer.value().Sign(HeaderOf(request, "webhook-id"), test::kNowMs / 1'000, request.body));
}

}  // namespace offline_post
