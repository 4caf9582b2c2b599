// What a receiver says of the single events of a batch.
#include "payload/results.hpp"

#include <string>
#include <string_view>
#include <vector>

#include "payload/answer.hpp"
#include "payload/id_index.hpp"
#include "support/values.hpp"

namespace offline_post {

namespace {

using Says = EventResult::Says;

std::string Entry(const std::string& id, const std::string& status) {
  return R"({"id":")" + id + R"(","status":)" + status + "}";
}

// Asks about a, b and c.
std::vector<Outcome> Read(const std::string& body, bool cut = false, int status = 200) {
  Request request;
  request.deliveries = {7, 8, 9};
  request.event_ids = {"a", "b", "c"};
  Answer answer;
  answer.status = status;
  answer.body = body;
  answer.cut = cut;
  return ReadAnswer(request, answer, 0);
}

std::string Kinds(const std::vector<Outcome>& outcomes) {
  std::string kinds;
  for (const Outcome& outcome : outcomes) kinds += "drgmt"[static_cast<std::size_t>(outcome.kind)];
  return kinds;
}

std::string KindsOf(const std::string& results) {
  return Kinds(Read("{\"results\":" + results + "}"));
}

}  // namespace

TEST_CASE("results: each event has what was said of it, the others are delivered") {
  const auto outcomes = Read(R"({"took_ms": 3, "results": [
      {"id": "c", "status": "refused", "error": "no such device", "more": {"id": "b"}},
      {"id": "a", "status": "retry"}], "and": ["so", "on"]})");
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[0].sequence == 7);
  CHECK(outcomes[0].kind == OutcomeClass::kTrouble);
  CHECK(outcomes[0].reason == "retry asked");
  CHECK(outcomes[0].status == 200);
  CHECK(outcomes[1].sequence == 8);
  CHECK(outcomes[1].kind == OutcomeClass::kDelivered);
  CHECK(outcomes[2].kind == OutcomeClass::kRefused);
  CHECK(outcomes[2].reason == "refused by the receiver");
  CHECK(outcomes[2].answer == "no such device");
  for (const Outcome& outcome : outcomes) CHECK(outcome.within_2xx);
}

TEST_CASE("results: an HTTP status means what it means, of this event alone") {
  const auto of = [](const std::string& status) { return KindsOf("[" + Entry("b", status) + "]"); };
  CHECK(of("200") == "ddd");
  CHECK(of("204") == "ddd");
  CHECK(of("422") == "drd");
  CHECK(of("404") == "dmd");
  CHECK(of("302") == "dmd");
  CHECK(of("429") == "dtd");
  CHECK(of("503") == "dtd");
  CHECK(of("100") == "dtd");
  CHECK(of("410") == "drd");  // his device, not the endpoint
  CHECK(Read("{\"results\":[" + Entry("b", "503") + "]}")[1].reason == "HTTP 503 in results");
  CHECK(Read("{\"results\":[" + Entry("b", "503") + "]}")[1].status == 503);
}

TEST_CASE("results: a status that nobody knows is a retry") {
  for (const char* status :
       {"\"ok\"", "\"Accepted\"", "\"\"", "\"200\"", "200.0", "-200", "0", "99", "600",
        "4294967496", "18446744073709551815", "99999999999999999999999", "true", "null", "{}", "[]",
        "[200]", "{\"status\":200}"}) {
    INFO(status);
    const auto outcomes = Read("{\"results\":[" + Entry("b", status) + "]}");
    CHECK(Kinds(outcomes) == "dtd");
    CHECK(outcomes[1].reason == "unknown status in results");
  }
  CHECK(KindsOf(R"([{"id":"b"}])") == "dtd");
  CHECK(KindsOf(R"([{"id":"b","error":"?"}])") == "dtd");
}

TEST_CASE("results: the last one of an id counts, and the last member of a name") {
  CHECK(KindsOf("[" + Entry("b", "\"retry\"") + "," + Entry("b", "\"accepted\"") + "]") == "ddd");
  CHECK(KindsOf("[" + Entry("b", "200") + "," + Entry("b", "\"refused\"") + "]") == "drd");
  CHECK(KindsOf(R"([{"id":"a","id":"b","status":"refused","status":"retry"}])") == "dtd");
  CHECK(KindsOf(R"([{"id":"a","id":1,"status":"refused"}])") == "ddd");
  CHECK(Kinds(Read("{\"results\":[" + Entry("a", "500") + "],\"results\":[" + Entry("a", "200") +
                   "," + Entry("b", "500") + "]}")) == "dtd");
}

TEST_CASE("results: what names nobody says nothing") {
  for (const char* results :
       {"[]", "[null,1,\"b\",[],{}]", R"([["id","b","status","retry"]])",
        R"([[{"id":"b","status":"retry"}]])", R"([{"status":"retry"}])",
        R"([{"id":"B","status":"retry"}])", R"([{"id":["b"],"status":"retry"}])",
        R"([{"id":"bb","status":"retry"},{"id":"","status":"retry"}])",
        R"([{"event":{"id":"b","status":"retry"}}])"}) {
    INFO(results);
    CHECK(KindsOf(results) == "ddd");
  }
}

TEST_CASE("results: what is no results at all is delivered") {
  for (const char* body :
       {"", "   ", "OK", "null", "200", "\"results\"", "<html></html>", "{}", "{", "{\"a\"",
        R"({"ok":true})", R"({"results":null})", R"({"results":{"b":"retry"}})",
        R"({"results":{"results":[{"id":"b","status":"retry"}]}})",
        R"({"x":{"results":[{"id":"b","status":"retry"}]}})",
        R"([{"results":[{"id":"b","status":"retry"}]}])", R"([{"id":"b","status":"retry"}])",
        R"({"Results":[{"id":"b","status":"retry"}]})"}) {
    INFO(body);
    CHECK(Kinds(Read(body)) == "ddd");
  }
}

TEST_CASE("results: broken ones are everybody's trouble, and the origin's") {
  const std::string good = "{\"results\":[" + Entry("a", "200") + "," + Entry("b", "\"refused\"");
  for (const std::string& body :
       {good, good + "]", good + "}", good + "]}}", good + "]} x", good + ",]}", good + ",1e999]}",
        good + ",\"\xff\"]}", good + std::string("\0]}", 3), std::string("{\"results\":["),
        good + "," + Entry("c", "01") + "]}", good + ",\"\\ud800\"]}"}) {
    INFO(body);
    const auto outcomes = Read(body);
    CHECK(Kinds(outcomes) == "ttt");
    CHECK(outcomes[1].reason == "results that cannot be read");
    CHECK_FALSE(outcomes[1].within_2xx);
    CHECK(outcomes[1].answer.substr(0, 10) == body.substr(0, 10));
  }
}

TEST_CASE("results: of those that we have cut, what was read stands") {
  const std::string body = "{\"results\":[" + Entry("a", "200") + "," + Entry("b", "\"refused\"") +
                           R"(,{"id":"c","status":200)";
  const auto outcomes = Read(body, true);
  CHECK(Kinds(outcomes) == "drt");
  CHECK(outcomes[2].reason == "results that cannot be read");
  CHECK(outcomes[2].within_2xx);
  CHECK(Kinds(Read("<html>...", true)) == "ddd");
}

TEST_CASE("results: only a 2xx has them, and only a batch") {
  const std::string body = "{\"results\":[" + Entry("b", "\"retry\"") + "]}";
  CHECK(Kinds(Read(body, false, 202)) == "dtd");
  CHECK(Kinds(Read(body, false, 400)) == "rrr");
  CHECK(Kinds(Read(body, false, 503)) == "ttt");
  CHECK(Read(body, false, 503)[1].reason == "HTTP 503");
  CHECK_FALSE(Read(body, false, 400)[1].within_2xx);
  Request request;
  request.deliveries = {1};
  Answer answer;
  answer.status = 200;
  answer.body = body;
  CHECK(Kinds(ReadAnswer(request, answer, 0)) == "d");
  answer.failure = "Connection reset";
  request.event_ids = {"b"};
  CHECK(ReadAnswer(request, answer, 0)[0].reason == "Connection reset");
}

TEST_CASE("results: Retry-After is about those who are to be tried again") {
  Request request;
  request.deliveries = {1, 2};
  request.event_ids = {"a", "b"};
  Answer answer;
  answer.status = 200;
  answer.retry_after = "17";
  answer.body = "{\"results\":[" + Entry("b", "429") + "]}";
  CHECK(ReadAnswer(request, answer, 0)[1].retry_after_ms == 17'000);
}

TEST_CASE("results: neither depth nor length is too much") {
  const std::string deep(1'000'000, '[');
  CHECK(Kinds(Read("{\"results\":" + deep)) == "ttt");
  CHECK(Kinds(Read("{\"x\":" + deep)) == "ddd");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"results\":";
  CHECK(Kinds(Read(objects)) == "ddd");
  std::string many = "{\"results\":[";
  for (int i = 0; i < 50'000; ++i) many += Entry("x" + std::to_string(i), "503") + ",";
  CHECK(Kinds(Read(many + Entry("c", "503") + "]}")) == "ddt");
}

TEST_CASE("results: however many are named, one is kept for each event, and the last counts") {
  const std::vector<std::string> ids = {"c", "a", "b"};
  std::string body = "{\"results\":[";
  for (int i = 0; i < 10'000; ++i) {
    body += Entry("x" + std::to_string(i), "503") + "," + Entry("b", std::to_string(100 + i % 500));
    body += ",";
  }
  const auto results = ReadResults(body + Entry("a", "204") + "]}", ids);
  REQUIRE(results);
  CHECK(results->complete);
  REQUIRE(results->events.size() == ids.size());
  CHECK_FALSE(results->events[0].has_value());
  CHECK(results->events[1].value().status == 204);
  CHECK(results->events[2].value().status == 100 + 9'999 % 500);
}

// A receiver who knows our hashes could name thousands of ids that are alike in them: what it costs
// to look one up must not depend on which it is, nor on those before it.
TEST_CASE("an event is found among a thousand by a dozen comparisons, whatever is asked") {
  struct CountingLess {
    int* count;
    bool operator()(std::string_view a, std::string_view b) const {
      ++*count;
      return a < b;
    }
  };
  std::vector<std::string> ids;
  for (int i = 0; i < 1'000; ++i) ids.push_back("msg_" + std::to_string(i * 7'919 % 1'000));
  int comparisons = 0;
  const IdIndex<CountingLess> index(ids, CountingLess{&comparisons});
  const auto find = [&](std::string_view id) {
    comparisons = 0;
    const auto place = index.Find(id);
    CHECK(comparisons <= 12);
    return place;
  };
  for (std::size_t i = 0; i < ids.size(); ++i) CHECK(find(ids[i]) == i);
  for (const char* id : {"", "a", "msg_", "msg_1000", "msg_5x", "z"})
    CHECK(find(id) == std::nullopt);
  CHECK(IdIndex<>({}).Find("a") == std::nullopt);
}

TEST_CASE("results: an error's text is cut between characters, an answer to what is told") {
  const std::string text = std::string(Results::kErrorTold - 1, 'x') + "\xc3\xa4\xc3\xa4";
  const auto outcomes =
      Read(R"({"results":[{"id":"a","status":"refused","error":")" + text + "\"}]}");
  CHECK(outcomes[0].answer == std::string(Results::kErrorTold - 1, 'x'));
  CHECK(outcomes[1].answer.empty());
  CHECK(Read(std::string(5'000, 'x'), false, 500)[0].answer.size() == kAnswerTold);
  CHECK(Read(R"({"results":[)" + std::string(5'000, '-'))[0].answer.size() == kAnswerTold);
  CHECK(Read(R"({"results":[{"id":"a","status":"refused","error":7}]})")[0].answer.empty());
}

TEST_CASE("of an answer to a batch more is kept, for each event") {
  Request request;
  request.deliveries = {1};
  CHECK(AnswerKept(request) == kAnswerTold);
  request.event_ids = {"a"};
  CHECK(AnswerKept(request) == std::size_t{64} * 1024);  // whatever else the receiver says
  request.event_ids.resize(1'000);
  CHECK(AnswerKept(request) == kAnswerTold + 256'000);
}

}  // namespace offline_post
