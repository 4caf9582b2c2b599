#include "samples.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "forms.hpp"
#include "require.hpp"

namespace offline_post::fuzz {

namespace {

// Names of templates whose value is one text of the event, and how the spool names that text.
constexpr std::array<std::pair<const char*, const char*>, 12> kAttributes = {{
    {"resource", "resource"},
    {"room", "room"},
    {"nick", "nick"},
    {"sender", "sender"},
    {"stanza.id", "stanza_id"},
    {"origin.id", "origin_id"},
    {"call.id", "call_id"},
    {"trigger", "trigger"},
    {"stored", "stored"},
    {"subject", "subject"},
    {"thread", "thread"},
    {"stanza", "stanza"},
}};

Jid AnyJid(FuzzedDataProvider& input) { return {AnyText(input), AnyText(input), AnyText(input)}; }

std::string Bare(const Jid& jid) {
  return jid.user.empty() ? jid.server : jid.user + "@" + jid.server;
}

std::string Full(const Jid& jid) {
  return jid.resource.empty() ? Bare(jid) : Bare(jid) + "/" + jid.resource;
}

void AddAddress(const std::string& name, const Jid& jid, Sample& sample) {
  sample.values[name + ".user"] = jid.user;
  sample.values[name + ".server"] = jid.server;
  sample.values[name + ".resource"] = jid.resource;
  sample.values[name + ".bare"] = Bare(jid);
  sample.values[name + ".full"] = Full(jid);
}

}  // namespace

std::string AnyText(FuzzedDataProvider& input) { return input.ConsumeRandomLengthString(300); }

std::string LiteralText(FuzzedDataProvider& input) {
  std::string text = input.ConsumeRandomLengthString(20);
  std::erase_if(text, [](char c) { return c == '{' || c == '}' || !IsOneLine({&c, 1}); });
  return !text.empty() && IsUtf8(text) ? text : "x";
}

Sample AnySample(FuzzedDataProvider& input, const Endpoint& endpoint) {
  Sample sample;
  auto event = std::make_shared<Event>();
  event->id = "0123456789abcdef" + std::to_string(input.ConsumeIntegralInRange<unsigned>(0, 9));
  event->accepted_unix_ms = input.ConsumeIntegralInRange<Millis>(0, 253'402'300'799'000);
  event->kind = AnyText(input);
  event->to = AnyJid(input);
  event->from = AnyJid(input);
  event->message_id = AnyText(input);
  const std::string body = AnyText(input);
  // Long enough to be compressed, or cut, now and then.
  const auto times = input.ConsumeBool() ? 1 : input.ConsumeIntegralInRange(1, 40);
  for (int i = 0; i < times; ++i) event->body += body;
  for (const auto& [name, attribute] : kAttributes) {
    if (!input.ConsumeBool()) continue;
    event->attributes.push_back({attribute, AnyText(input)});
    sample.values[name] = event->attributes.back().value;
  }
  if (input.ConsumeBool()) {
    event->attributes.push_back({"badge", std::to_string(input.ConsumeIntegral<std::uint16_t>())});
    sample.values["badge"] = event->attributes.back().value;
  }
  sample.values["text"] = event->body;
  if (input.ConsumeBool()) {
    event->attributes.push_back({"text", AnyText(input)});
    sample.values["text"] = event->attributes.back().value;
  }
  sample.delivery.sequence = input.ConsumeIntegral<Sequence>();
  sample.delivery.stands_for = input.ConsumeIntegralInRange<std::uint32_t>(1, 1000);
  AddAddress("to", event->to, sample);
  AddAddress("from", event->from, sample);
  sample.values["id"] = event->id;
  sample.values["kind"] = event->kind;
  sample.values["body"] = event->body;
  sample.values["message.id"] = event->message_id;
  sample.values["count"] = std::to_string(sample.delivery.stands_for);
  sample.values["timestamp.unix"] = std::to_string(event->accepted_unix_ms / 1000);
  sample.values["host"] = endpoint.key.vhost;
  sample.values["token"] = endpoint.auth_token;
  sample.delivery.event = std::move(event);
  return sample;
}

Endpoint AnyEndpoint(FuzzedDataProvider& input) {
  Endpoint endpoint;
  endpoint.key = {AnyText(input), "mod_offline_post"};
  endpoint.post_url = "http://backend.example:8080/offline";
  endpoint.auth_token = AnyText(input);
  return endpoint;
}

Pieces AnyPieces(FuzzedDataProvider& input) {
  static const std::vector<std::string> names = [] {
    FuzzedDataProvider nothing(nullptr, 0);
    std::vector<std::string> all;
    for (const auto& [name, value] : AnySample(nothing, Endpoint()).values) all.push_back(name);
    for (const auto& [name, attribute] : kAttributes) all.emplace_back(name);
    all.emplace_back("badge");
    return all;
  }();
  Pieces pieces(input.ConsumeIntegralInRange<std::size_t>(0, 3));
  for (Piece& piece : pieces) {
    piece.is_name = input.ConsumeBool();
    piece.text = piece.is_name
                     ? names[input.ConsumeIntegralInRange<std::size_t>(0, names.size() - 1)]
                     : LiteralText(input);
  }
  return pieces;
}

std::string TemplateText(const Pieces& pieces) {
  std::string text;
  for (const Piece& piece : pieces) text += piece.is_name ? "{{" + piece.text + "}}" : piece.text;
  return text;
}

namespace {

std::string Value(const Piece& piece, const Sample& sample) {
  if (!piece.is_name) return piece.text;
  const auto found = sample.values.find(piece.text);
  return found == sample.values.end() ? "" : found->second;
}

}  // namespace

std::string Rendered(const Pieces& pieces, const Sample& sample) {
  std::string text;
  for (const Piece& piece : pieces) text += Value(piece, sample);
  return text;
}

bool IsClean(const Pieces& pieces, const Sample& sample) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [&sample](const Piece& piece) { return IsUtf8(Value(piece, sample)); });
}

Field AnyMap(FuzzedDataProvider& input, int depth) {
  Field field;
  field.kind = Field::Kind::kMap;
  const auto count = input.ConsumeIntegralInRange<std::size_t>(1, 4);
  for (std::size_t i = 0; i < count; ++i) {
    // An array's element, in a form, has the name of its array: a map's names shall not look so.
    std::string name = LiteralText(input);
    std::erase_if(name, [](char c) { return c == '[' || c == ']'; });
    field.members.push_back({std::to_string(i) + name, AnyField(input, depth)});
  }
  return field;
}

Field AnyField(FuzzedDataProvider& input, int depth) {
  Field field;
  const int choice = input.ConsumeIntegralInRange(0, depth > 0 ? 7 : 5);
  switch (choice) {
    case 0:
      field.literal.value = nullptr;
      break;
    case 1:
      field.literal.value = input.ConsumeBool();
      break;
    case 2:
      field.literal.value = input.ConsumeIntegral<std::int64_t>();
      break;
    case 6:
      return AnyMap(input, depth - 1);
    case 7:
      field.kind = Field::Kind::kList;
      field.elements.resize(input.ConsumeIntegralInRange<std::size_t>(1, 3));
      for (Field& element : field.elements) element = AnyField(input, depth - 1);
      break;
    default:
      field.is_template = true;
      field.pieces = AnyPieces(input);
      break;
  }
  return field;
}

FieldMap AsFieldMap(const Field& map) {
  FieldMap fields;
  for (const auto& [name, member] : map.members) fields.push_back({name, AsFieldValue(member)});
  return fields;
}

FieldValue AsFieldValue(const Field& field) {
  switch (field.kind) {
    case Field::Kind::kMap:
      return {AsFieldMap(field)};
    case Field::Kind::kList: {
      FieldList list;
      for (const Field& element : field.elements) list.push_back(AsFieldValue(element));
      return {std::move(list)};
    }
    case Field::Kind::kScalar:
      break;
  }
  return field.is_template ? FieldValue{TemplateText(field.pieces)} : field.literal;
}

std::string Inflated(std::string_view gzip) {
  z_stream stream{};
  Require(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK, "zlib is there");
  std::string in(gzip);
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  std::string out;
  std::array<char, 4096> part{};
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(part.data());
    stream.avail_out = part.size();
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(part.data(), part.size() - stream.avail_out);
  }
  const bool all = stream.avail_in == 0;
  inflateEnd(&stream);
  Require(result == Z_STREAM_END && all, "a compressed body is one gzip member");
  return out;
}

std::string Header(const std::vector<std::string>& headers, std::string_view name) {
  for (const std::string& header : headers) {
    std::string lower = header.substr(0, header.find(':'));
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower == name) return header.substr(std::min(header.size(), lower.size() + 2));
  }
  return "";
}

}  // namespace offline_post::fuzz
