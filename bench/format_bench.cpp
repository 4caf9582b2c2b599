// What a request costs before it is sent: of one event with a text of 300 bytes, on one core.
//
// format_bench
//   Prints lines "NAME VALUE"; the smallest of several rounds, for what else the machine does only
//   adds to it. A request is a body with its headers.
//   format_form_ns, format_json_ns  the default form and JSON, of an English text
//   format_json_utf8_ns             JSON, of a text in which every other word is not ASCII
//   format_fields_ns                fields, headers and a URL of templates
//   format_floor_ns                 the form's bytes, copied: what no formatter can be faster than
//   sign_v1_ns, sign_v1a_ns         a signature of such a body
//   gzip_batch100_us                a hundred events of JSON, compressed
//   gzip_us_4k, gzip_floor_us_4k    4 KiB of JSON, compressed; and by deflateReset and deflate
//                                   alone
//   submit_256k_*_us                what a NIF call does with an event whose body and one attribute
//                                   have 256 KiB each, up to the mailbox; all of them are kept
//   submit_256k_floor_us            the same bytes copied, and kept
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "payload/gzip.hpp"
#include "payload/recipe.hpp"
#include "payload/request_builder.hpp"
#include "payload/signer.hpp"
#include "service/service.hpp"

namespace {

using namespace offline_post;  // NOLINT(google-build-using-namespace): a program and no more

constexpr Millis kNowMs = 1'700'000'000'000;
constexpr std::size_t kTextBytes = 300;
constexpr const char* kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
// RFC 8032, section 7.1, test 1.
constexpr const char* kEd25519 =
    "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";

std::string Text(std::string_view sentence) {
  std::string text;
  while (text.size() <= kTextBytes) text += sentence;
  std::size_t end = kTextBytes;
  while ((static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;  // at a character
  text.resize(end);
  return text;
}

Delivery MakeDelivery(std::string text, Sequence sequence = 1) {
  auto event = std::make_shared<Event>();
  event->id = "msg_0123456789abcdef_" + std::to_string(sequence);
  event->accepted_unix_ms = kNowMs;
  event->kind = "text";
  event->to = {"juliet", "capulet.example", ""};
  event->from = {"romeo", "montague.example", "orchard"};
  event->message_id = "b9f8b6a4-57b5-4f8e-9a0e-1f6b1a1d2c3d";
  event->body = std::move(text);
  event->attributes = {{"trigger", "offline"},
                       {"stored", "archive"},
                       {"stanza_id", "1700000000123456"},
                       {"origin_id", "b9f8b6a4-57b5-4f8e-9a0e-1f6b1a1d2c3d"},
                       {"badge", "3"}};
  Delivery delivery;
  delivery.sequence = sequence;
  delivery.event = std::move(event);
  return delivery;
}

std::shared_ptr<const Endpoint> MakeEndpoint(const RecipeConfig& config) {
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->key = {"capulet.example", "mod_offline_post"};
  endpoint->post_url = config.post_url;
  endpoint->auth_token = "0123456789abcdef0123456789abcdef";
  endpoint->batch.max_events = config.batch ? 100 : 1;
  auto recipe = CompileRecipe(config);
  if (!recipe.ok()) throw std::runtime_error(recipe.error().text);
  endpoint->recipe = recipe.value();
  return endpoint;
}

// What it cost at best. The compiler cannot leave out what is added to `used`.
template <typename Act>
double Nanoseconds(int calls, const Act& act) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRounds = 200;  // short ones: in some of them nobody else had the core
  static volatile std::size_t used = 0;
  double best = std::numeric_limits<double>::max();
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) used = used + act();
    const std::chrono::duration<double, std::nano> took = Clock::now() - start;
    best = std::min(best, took.count() / calls);
  }
  return best;
}

double Format(const RecipeConfig& config, const std::vector<Delivery>& deliveries,
              int calls = 1'000) {
  const auto endpoint = MakeEndpoint(config);
  return Nanoseconds(calls, [&endpoint, &deliveries] {
    const Request request = BuildRequest(1, endpoint, deliveries, kNowMs);
    return request.body.size() + request.headers.size() + request.url.size();
  });
}

double Sign(const char* secret, const std::string& body, int calls) {
  auto signer = Signer::Make({secret});
  if (!signer.ok()) throw std::runtime_error(signer.error().text);
  return Nanoseconds(calls, [&signer, &body] {
    return signer.value().Sign("msg_0123456789abcdef_1", kNowMs / 1'000, body).value().size();
  });
}

void Print(const char* name, double value) {
  std::cout << name << ' ' << static_cast<std::int64_t>(value) << '\n';
}

std::string Repeated(std::string_view some, std::size_t bytes) {
  std::string text;
  while (text.size() + some.size() <= bytes) text += some;
  return text;
}

void RunGzip(const std::string& json) {
  const std::string body = Repeated(json, 4 * 1'024);
  Print("gzip_us_4k", Nanoseconds(100, [&body] { return Gzip(body).value().size(); }) / 1'000);
  z_stream stream{};
  if (deflateInit2(&stream, 3, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  std::string in = body;
  std::string out(body.size(), '\0');
  const double floor = Nanoseconds(100, [&] {
    deflateReset(&stream);
    stream.next_in = reinterpret_cast<Bytef*>(in.data());
    stream.avail_in = static_cast<uInt>(in.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FINISH);
    return out.size() - stream.avail_out;
  });
  deflateEnd(&stream);
  Print("gzip_floor_us_4k", floor / 1'000);
}

// Beside Service::Submit itself, which is measured with it, reading a term is a copy of each text.
void RunSubmit() {
  constexpr std::size_t kBytes = 256 * 1'024;
  const auto submit = [](const std::string& text) {
    Service service([](const std::vector<Notice>&) { return true; });
    EndpointConfig config;
    config.key = {"capulet.example", "mod_offline_post"};
    config.post_url = "http://localhost:9/";
    config.limits = {1'000'000, std::uint64_t{1} << 40U};
    if (const Status status = service.Configure(config)) throw std::runtime_error(status->text);
    service.Pause({"capulet.example", "mod_offline_post"});
    using Clock = std::chrono::steady_clock;
    double best = std::numeric_limits<double>::max();
    for (int i = 0; i < 100; ++i) {
      const auto start = Clock::now();
      auto event = std::make_shared<Event>();
      event->to = {"juliet", "capulet.example", ""};
      event->body = text;
      event->attributes.push_back({"subject", text});
      if (service.Submit({"capulet.example", "mod_offline_post"}, event) != Admission::kAccepted) {
        throw std::runtime_error("not accepted");
      }
      const std::chrono::duration<double, std::micro> took = Clock::now() - start;
      best = std::min(best, took.count());
    }
    return best;
  };
  Print("submit_256k_ascii_us", submit(Repeated("Wherefore art thou Romeo? ", kBytes)));
  const std::string cyrillic = Repeated("Пусть роза пахнет ", kBytes);
  Print("submit_256k_cyrillic_us", submit(cyrillic));
  Print("submit_256k_emoji_us", submit(Repeated("🌹", kBytes)));
  Print("submit_256k_invalid_us", submit(Repeated("\xff", kBytes)));
  Print("submit_256k_mixed_us", submit(Repeated("a\xff", kBytes)));
  // As the queue does, the copies stay: what they take are pages that the process has not had yet.
  std::vector<std::string> kept;
  double floor = std::numeric_limits<double>::max();
  for (int i = 0; i < 100; ++i) {
    const auto start = std::chrono::steady_clock::now();
    kept.push_back(cyrillic);
    kept.push_back(cyrillic);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    floor = std::min(floor, took.count());
  }
  Print("submit_256k_floor_us", floor);
}

void Run() {
  const std::string english = Text("Wherefore art thou Romeo? Deny thy father & refuse thy name. ");
  const std::vector<Delivery> one = {MakeDelivery(english)};
  RecipeConfig config;
  config.post_url = "https://backend.example/push";
  Print("format_form_ns", Format(config, one));
  const std::string form = BuildRequest(1, MakeEndpoint(config), one, kNowMs).body;
  Print("format_floor_ns", Nanoseconds(1'000, [&form] { return std::string(form).size(); }));

  config.format = offline_post::Format::kJson;
  Print("format_json_ns", Format(config, one));
  Print("format_json_utf8_ns",
        Format(config, {MakeDelivery(Text("Пусть \"роза\" named otherwise 🌹 пахнет\n"))}));
  const std::string json = BuildRequest(1, MakeEndpoint(config), one, kNowMs).body;
  Print("sign_v1_ns", Sign(kSecret, json, 500));
  Print("sign_v1a_ns", Sign(kEd25519, json, 10));

  RecipeConfig fields = config;
  fields.post_url = "https://backend.example/{{to.user}}/push?kind={{kind}}";
  fields.headers = {{"X-From", "{{from.bare}}"}, {"X-Key", "{{token}}"}};
  fields.fields = FieldMap{{"to", {"{{to}}"}},
                           {"alert", {"{{nick|from.user}}: {{body}}"}},
                           {"aps", {FieldMap{{"badge", {"{{badge}}"}}}}}};
  Print("format_fields_ns", Format(fields, one));

  config.batch = true;
  config.gzip = true;
  std::vector<Delivery> hundred;
  for (Sequence i = 1; i <= 100; ++i) hundred.push_back(MakeDelivery(english, i));
  Print("gzip_batch100_us", Format(config, hundred, 3) / 1'000);
  RunGzip(json);
  RunSubmit();
}

}  // namespace

int main() {
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "format_bench: " << error.what() << '\n';
    return 1;
  }
}
