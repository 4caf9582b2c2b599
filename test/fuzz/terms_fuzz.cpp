// What Erlang gives to the NIF: terms of the right shape are read as they are, terms of any other
// shape are refused, and none does harm.
#include "enif.hpp"
#include "forms.hpp"
#include "nif/atoms.hpp"
#include "nif/config.hpp"
#include "nif/terms.hpp"
#include "require.hpp"
#include "samples.hpp"

namespace offline_post::fuzz {

namespace {

using Input = FuzzedDataProvider;

ERL_NIF_TERM AnyTerm(Input& input, int depth) {
  static const std::vector<std::string> atoms = {
#define ATOM(name) #name,
#include "nif/atoms.inc"
#undef ATOM
      "nonsense"};
  const auto several = [&input, depth] {
    std::vector<ERL_NIF_TERM> terms(input.ConsumeIntegralInRange<std::size_t>(0, 8));
    for (ERL_NIF_TERM& term : terms) term = AnyTerm(input, depth - 1);
    return terms;
  };
  switch (input.ConsumeIntegralInRange(0, depth > 0 ? 9 : 5)) {
    case 0:
      return Binary(AnyText(input));
    case 1:
      return Integer(input.ConsumeIntegral<ErlNifSInt64>());
    case 2:
      return enif_make_uint64(nullptr, input.ConsumeIntegral<ErlNifUInt64>());
    case 3:
      return input.ConsumeBool() ? BigInteger() : Pid();
    case 4:
      return Float(input.ConsumeFloatingPoint<double>());
    case 5:
      return Atom(atoms[input.ConsumeIntegralInRange<std::size_t>(0, atoms.size() - 1)]);
    case 6:
      return List(several());
    case 7:
      return List(several(), AnyTerm(input, 0));
    case 8:
      return Tuple(several());
    default: {
      std::vector<std::pair<ERL_NIF_TERM, ERL_NIF_TERM>> entries;
      for (const ERL_NIF_TERM key : several()) entries.emplace_back(key, AnyTerm(input, depth - 1));
      return Map(entries);
    }
  }
}

// A term of the right shape; now and then any other, of which `good` tells.
class Shaper {
 public:
  explicit Shaper(Input& input) : input_(input), spoils_(input.ConsumeBool()) {}
  bool good() const { return good_; }
  Input& input() { return input_; }

  ERL_NIF_TERM Or(ERL_NIF_TERM right) {
    if (!spoils_ || input_.ConsumeIntegralInRange(0, 15) != 0) return right;
    good_ = false;
    return AnyTerm(input_, 3);
  }
  ERL_NIF_TERM Text(const std::string& text) { return Or(Binary(text)); }
  ERL_NIF_TERM Text() { return Text(AnyText(input_)); }
  ERL_NIF_TERM Number(ErlNifSInt64 least, ErlNifSInt64 most) {
    return Or(Integer(input_.ConsumeIntegralInRange(least, most)));
  }
  ERL_NIF_TERM OneOf(std::initializer_list<const char*> names) {
    return Or(Atom(names.begin()[input_.ConsumeIntegralInRange<std::size_t>(0, names.size() - 1)]));
  }
  template <typename Make>
  ERL_NIF_TERM Several(std::size_t least, std::size_t most, Make make) {
    std::vector<ERL_NIF_TERM> terms(input_.ConsumeIntegralInRange(least, most));
    for (ERL_NIF_TERM& term : terms) term = make();
    return Or(List(terms));
  }
  ERL_NIF_TERM Pair(ERL_NIF_TERM first, ERL_NIF_TERM second) { return Or(Tuple({first, second})); }

 private:
  Input& input_;
  bool spoils_;
  bool good_ = true;
};

ERL_NIF_TERM FieldTerm(Shaper& shape, int depth);

ERL_NIF_TERM FieldMapTerm(Shaper& shape, int depth) {
  return shape.Several(1, 3, [&] { return shape.Pair(shape.Text(), FieldTerm(shape, depth)); });
}

ERL_NIF_TERM FieldTerm(Shaper& shape, int depth) {
  Input& input = shape.input();
  switch (input.ConsumeIntegralInRange(0, depth > 0 ? 5 : 3)) {
    case 0:
      return shape.OneOf({"true", "false", "null"});
    case 1:
      return shape.Or(Integer(input.ConsumeIntegral<ErlNifSInt64>()));
    case 2:
      return shape.Or(Float(input.ConsumeFloatingPoint<double>()));
    case 4:
      return shape.Pair(Atom("map"), FieldMapTerm(shape, depth - 1));
    case 5:
      return shape.Pair(Atom("list"),
                        shape.Several(0, 3, [&] { return FieldTerm(shape, depth - 1); }));
    default:
      return shape.Text();
  }
}

ERL_NIF_TERM BatchTerm(Shaper& shape) {
  if (shape.input().ConsumeBool()) return Atom("none");
  return shape.Or(Tuple({shape.Number(2, 1000), shape.Number(1, 60'000), shape.Number(1, 1 << 30),
                         shape.OneOf({"array", "ndjson"})}));
}

// The map of mod_offline_post_nif:config().
ERL_NIF_TERM ConfigTerm(Shaper& shape, const std::string& url, const std::string& token) {
  const auto text = [&] { return shape.Text(); };
  const auto fields = [&] {
    return shape.input().ConsumeBool() ? Atom("none") : FieldMapTerm(shape, 2);
  };
  const auto span = [&] { return shape.Number(1, 86'400'000); };
  const auto count = [&] { return shape.Number(0, 1'000'000); };
  std::vector<std::pair<const char*, ERL_NIF_TERM>> entries = {
      {"post_url", shape.Text(url)},
      {"auth_token", shape.Text(token)},
      {"timeout", span()},
      {"connect_timeout", span()},
      {"connection_max_age", span()},
      {"max_connections", shape.Number(1, 1000)},
      {"queue_limit", shape.Number(1, 1'000'000)},
      {"queue_bytes", shape.Number(1, 1 << 30)},
      {"tls_verify", shape.OneOf({"true", "false"})},
      {"ca_file", text()},
      {"client_cert", text()},
      {"client_key", text()},
      {"proxy", text()},
      {"http_version", shape.OneOf({"auto", "http1", "http2"})},
      {"retry_schedule", shape.Several(1, 4, span)},
      {"max_age", span()},
      {"max_ages", shape.Several(0, 3, [&] { return shape.Pair(text(), span()); })},
      {"dead_letter_retention", span()},
      {"dead_letter_limit", count()},
      {"spool", shape.OneOf({"true", "false"})},
      {"spool_dir", text()},
      {"spool_min_free", count()},
      {"collapse_interval", count()},
      {"rate_sender", count()},
      {"rate_recipient", count()},
      {"order", shape.OneOf({"none", "recipient"})},
      {"rate_beyond", shape.OneOf({"drop", "collapse"})},
      {"form", shape.OneOf({"message", "presence"})},
      {"format", shape.OneOf({"form", "json", "stanza"})},
      {"content_type", text()},
      {"fields", fields()},
      {"room_fields", fields()},
      {"headers", shape.Several(0, 3, [&] { return shape.Pair(text(), text()); })},
      {"auth", shape.OneOf({"body", "bearer", "basic", "header"})},
      {"signing_secrets", shape.Several(0, 2, text)},
      {"compress", shape.OneOf({"none", "gzip"})},
      {"traceparent", shape.OneOf({"true", "false"})},
      {"batch", BatchTerm(shape)}};
  std::vector<std::pair<ERL_NIF_TERM, ERL_NIF_TERM>> map;
  for (const auto& [name, value] : entries) {
    // A key that is missing is replaced by something else.
    map.emplace_back(shape.Or(Atom(name)), value);
  }
  return shape.Or(Map(map));
}

void CheckConfig(Input& input) {
  Shaper shape(input);
  const std::string url = AnyText(input);
  const std::string token = AnyText(input);
  const ERL_NIF_TERM term = ConfigTerm(shape, url, token);
  const auto config = nif::ReadConfig(nullptr, {"host", "module"}, term);
  if (!shape.good()) return;
  Require(config.has_value(), "a configuration of the right shape is read");
  Require(config->post_url == url && config->auth_token == token, "texts are read as they are");
  Require(!config->schedule.waits_ms.empty() && config->max_connections >= 1, "numbers, too");
}

ERL_NIF_TERM AddressTerm(Shaper& shape, const Jid& jid) {
  return shape.Or(Tuple({shape.Text(jid.user), shape.Text(jid.server), shape.Text(jid.resource)}));
}

void CheckEvent(Input& input) {
  Shaper shape(input);
  const Sample sample = AnySample(input, Endpoint());
  const Event& given = *sample.delivery.event;
  std::vector<ERL_NIF_TERM> attributes;
  for (const Attribute& attribute : given.attributes) {
    attributes.push_back(shape.Pair(shape.Text(attribute.name), shape.Text(attribute.value)));
  }
  const ERL_NIF_TERM term =
      shape.Or(Tuple({shape.Text(given.kind), AddressTerm(shape, given.to),
                      AddressTerm(shape, given.from), shape.Text(given.message_id),
                      shape.Text(given.body), shape.Text(), shape.Or(List(attributes))}));
  const std::shared_ptr<Event> event = nif::ReadEvent(nullptr, term);
  if (!shape.good()) return;
  Require(event != nullptr, "an event of the right shape is read");
  Require(event->body == given.body && event->to.resource == given.to.resource &&
              event->attributes.size() == given.attributes.size(),
          "an event is read as it is");
  // And the way back, as a dead letter.
  DeadLetter letter;
  letter.delivery.event = event;
  const ERL_NIF_TERM letters = nif::MakeLetters(nullptr, {letter, letter}, 7);
  int arity = 0;
  const ERL_NIF_TERM* parts = nullptr;
  Require(enif_get_tuple(nullptr, letters, &arity, &parts) != 0 && arity == 2, "letters and next");
  ERL_NIF_TERM head = 0;
  ERL_NIF_TERM tail = 0;
  ERL_NIF_TERM body = 0;
  Require(enif_get_list_cell(nullptr, parts[0], &head, &tail) != 0 &&
              enif_get_map_value(nullptr, head, nif::atoms.body_, &body) != 0 &&
              Same(body, Binary(given.body)),
          "a letter has the event's body");
}

void CheckRequests(Input& input) {
  Shaper shape(input);
  const std::string host = AnyText(input);
  const ERL_NIF_TERM key_term = shape.Pair(shape.Text(host), shape.Text());
  const auto key = nif::ReadKey(nullptr, key_term);
  if (key) Require(key->vhost.size() + key->module.size() < (1U << 20U), "a key is readable");
  const auto withdrawal = nif::ReadWithdrawal(
      nullptr, shape.Pair(shape.Text(), shape.Text()),
      input.ConsumeBool() ? shape.OneOf({"all"}) : shape.Text("x" + AnyText(input)),
      shape.OneOf({"cancel", "purge"}));
  const ERL_NIF_TERM filter = shape.Or(Map(
      {{shape.Or(nif::atoms.id_), shape.Text()}, {shape.Or(nif::atoms.reason_), shape.Text()}}));
  const ERL_NIF_TERM asked =
      input.ConsumeBool()
          ? shape.Or(Tuple({Atom("list"), filter, shape.Number(0, 1 << 30), shape.Number(1, 1000)}))
          : shape.Pair(shape.OneOf({"replay", "drop"}), filter);
  const auto request = nif::ReadDeadRequest(nullptr, asked);
  if (request) Require(request->limit <= 1000, "a list is bounded");
  if (!shape.good()) return;
  Require(key && key->vhost == host && withdrawal && request, "what is right is read");
}

void CheckOptions(Input& input) {
  Shaper shape(input);
  const auto text = [&] { return shape.Text(); };
  ERL_NIF_TERM name = 0;
  ERL_NIF_TERM value = 0;
  switch (input.ConsumeIntegralInRange(0, 3)) {
    case 0:
      name = nif::atoms.post_url_;
      value = text();
      break;
    case 1:
      name = nif::atoms.fields_;
      value = FieldMapTerm(shape, 3);
      break;
    case 2:
      name = nif::atoms.headers_;
      value = shape.Several(0, 3, [&] { return shape.Pair(text(), text()); });
      break;
    default:
      name = nif::atoms.signing_secrets_;
      value = shape.Several(0, 2, text);
      break;
  }
  const auto status = nif::CheckOption(nullptr, shape.Or(name), value);
  if (shape.good()) Require(status.has_value(), "an option of the right shape is checked");
}

void CheckAny(Input& input) {
  const ERL_NIF_TERM term = AnyTerm(input, 5);
  (void)nif::ReadKey(nullptr, term);
  (void)nif::ReadConfig(nullptr, {"host", "module"}, term);
  (void)nif::CheckOption(nullptr, AnyTerm(input, 0), term);
  (void)nif::ReadEvent(nullptr, term);
  (void)nif::ReadWithdrawal(nullptr, term, AnyTerm(input, 1), AnyTerm(input, 1));
  (void)nif::ReadDeadRequest(nullptr, term);
}

}  // namespace

}  // namespace offline_post::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace offline_post;
  using namespace offline_post::fuzz;
  [[maybe_unused]] static const bool ready = [] {
    nif::InitAtoms(nullptr);
    return true;
  }();
  FuzzedDataProvider input(data, size);
  switch (input.ConsumeIntegralInRange(0, 4)) {
    case 0:
      CheckConfig(input);
      break;
    case 1:
      CheckEvent(input);
      break;
    case 2:
      CheckRequests(input);
      break;
    case 3:
      CheckOptions(input);
      break;
    default:
      CheckAny(input);
      break;
  }
  ForgetTerms();
  return 0;
}
