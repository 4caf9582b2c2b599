#include "payload/event_fields.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace offline_post {

namespace {

constexpr std::array<std::string_view, kFields> kNames = {
    "id",          "type",           "kind",        "host",      "trigger", "stored", "to",
    "to.user",     "to.server",      "to.resource", "to.bare",   "to.full", "from",   "from.user",
    "from.server", "from.resource",  "from.bare",   "from.full", "body",    "text",   "subject",
    "thread",      "message.id",     "stanza.id",   "origin.id", "call.id", "room",   "room.user",
    "nick",        "sender",         "sender.user", "resource",  "badge",   "count",  "stanza",
    "timestamp",   "timestamp.unix", "token"};

struct AttributeField {
  Field field;
  std::string_view name;
};
// About in the order in which events have them.
constexpr std::array<AttributeField, 14> kAttributeFields = {{{Field::kTrigger, "trigger"},
                                                              {Field::kStored, "stored"},
                                                              {Field::kResource, "resource"},
                                                              {Field::kRoom, "room"},
                                                              {Field::kNick, "nick"},
                                                              {Field::kSender, "sender"},
                                                              {Field::kStanzaId, "stanza_id"},
                                                              {Field::kOriginId, "origin_id"},
                                                              {Field::kCallId, "call_id"},
                                                              {Field::kBadge, "badge"},
                                                              {Field::kText, "text"},
                                                              {Field::kSubject, "subject"},
                                                              {Field::kThread, "thread"},
                                                              {Field::kStanza, "stanza"}}};

constexpr std::size_t kNone = kAttributeFields.size();

// Where in kAttributeFields a field stands; kNone: it is no attribute.
constexpr std::array<std::size_t, kFields> kAttributeOf = [] {
  std::array<std::size_t, kFields> table{};
  table.fill(kNone);
  for (std::size_t i = 0; i < kAttributeFields.size(); ++i) {
    table[static_cast<std::size_t>(kAttributeFields[i].field)] = i;
  }
  return table;
}();

std::string_view UserOf(std::string_view address) {
  const std::size_t at = address.find('@');
  return at == std::string_view::npos ? std::string_view() : address.substr(0, at);
}

}  // namespace

std::optional<Field> FieldNamed(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Field>(i);
  }
  return std::nullopt;
}

std::string FieldNames() {
  std::string names;
  for (const std::string_view name : kNames) {
    if (!names.empty()) names += ", ";
    names += name;
  }
  return names;
}

bool IsNumber(Field field) {
  return field == Field::kBadge || field == Field::kCount || field == Field::kTimestampUnix;
}

bool IsConstant(Field field) { return field == Field::kHost || field == Field::kToken; }

std::vector<std::string> NeededFor(const FieldSet& fields) {
  FieldSet needed = fields;
  const auto implies = [&needed](Field field, Field other) {
    if (needed[static_cast<std::size_t>(field)]) needed.set(static_cast<std::size_t>(other));
  };
  implies(Field::kType, Field::kRoom);
  implies(Field::kRoomUser, Field::kRoom);
  implies(Field::kSenderUser, Field::kSender);
  implies(Field::kText, Field::kBody);
  std::vector<std::string> names;
  if (needed[static_cast<std::size_t>(Field::kBody)]) names.emplace_back("body");
  if (needed[static_cast<std::size_t>(Field::kMessageId)]) names.emplace_back("message_id");
  for (const AttributeField& attribute : kAttributeFields) {
    if (needed[static_cast<std::size_t>(attribute.field)]) names.emplace_back(attribute.name);
  }
  return names;
}

const std::string* EventFields::Find(Field field) {
  static_assert(kAttributes == kAttributeFields.size());
  if (!indexed_) {
    indexed_ = true;
    std::size_t expected = 0;
    for (const offline_post::Attribute& attribute : event_.attributes) {
      for (std::size_t i = 0; i < kAttributes; ++i) {
        const std::size_t index = (expected + i) % kAttributes;
        if (kAttributeFields[index].name != attribute.name) continue;
        attributes_[index] = &attribute.value;
        expected = index + 1;
        break;
      }
    }
  }
  return attributes_[kAttributeOf[static_cast<std::size_t>(field)]];
}

std::string_view EventFields::Attribute(Field field) {
  const std::string* value = Find(field);
  return value == nullptr ? std::string_view() : *value;
}

bool EventFields::Has(Field field) {
  return field == Field::kText ? Find(field) != nullptr : !Value(field).empty();
}

// RFC 7622, section 3.1. Nobody's is empty.
std::string_view EventFields::Address(const Jid& jid, bool full) {
  made_.clear();
  if (!jid.user.empty()) made_.append(jid.user).append(1, '@');
  made_ += jid.server;
  if (full && !jid.resource.empty()) made_.append(1, '/').append(jid.resource);
  return made_;
}

// ISO 8601, UTC, with milliseconds. A clock out of all bounds reads as the nearest of these years.
std::string_view EventFields::Timestamp() {
  using namespace std::chrono;  // NOLINT(google-build-using-namespace): much of it, and only here
  constexpr sys_time<milliseconds> kFirst = sys_days(year(0) / 1 / 1);
  constexpr sys_time<milliseconds> kEnd = sys_days(year(10'000) / 1 / 1);
  const auto time = std::clamp<sys_time<milliseconds>>(
      sys_time<milliseconds>(milliseconds(event_.accepted_unix_ms)), kFirst,
      kEnd - milliseconds(1));
  const auto day = floor<days>(time);
  const year_month_day date(day);
  auto rest = static_cast<unsigned>((time - day).count());
  made_.assign("0000-00-00T00:00:00.000Z");
  const auto put = [this](std::size_t end, unsigned number) {
    for (; number > 0; number /= 10) made_[--end] = static_cast<char>('0' + number % 10);
  };
  put(4, static_cast<unsigned>(static_cast<int>(date.year())));
  put(7, static_cast<unsigned>(date.month()));
  put(10, static_cast<unsigned>(date.day()));
  put(23, rest % 1'000);
  rest /= 1'000;
  put(19, rest % 60);
  put(16, rest / 60 % 60);
  put(13, rest / 3'600);
  return made_;
}

std::string_view EventFields::Value(Field field) {
  switch (field) {
    case Field::kId:
      return event_.id;
    case Field::kType:
      return Attribute(Field::kRoom).empty() ? "chat" : "groupchat";
    case Field::kKind:
      return event_.kind;
    case Field::kHost:
      return endpoint_.key.vhost;
    case Field::kToUser:
      return event_.to.user;
    case Field::kToServer:
      return event_.to.server;
    case Field::kToResource:
      return event_.to.resource;
    case Field::kTo:
    case Field::kToBare:
      return Address(event_.to, false);
    case Field::kToFull:
      return Address(event_.to, true);
    case Field::kFromUser:
      return event_.from.user;
    case Field::kFromServer:
      return event_.from.server;
    case Field::kFromResource:
      return event_.from.resource;
    case Field::kFromBare:
      return Address(event_.from, false);
    case Field::kFrom:
    case Field::kFromFull:
      return Address(event_.from, true);
    case Field::kBody:
      return event_.body;
    case Field::kText:
      // Nothing in the body is marked as anything but the author's.
      if (Find(field) == nullptr) return event_.body;
      return Attribute(field);
    case Field::kMessageId:
      return event_.message_id;
    case Field::kRoomUser:
      return UserOf(Attribute(Field::kRoom));
    case Field::kSenderUser:
      return UserOf(Attribute(Field::kSender));
    case Field::kTimestamp:
      return Timestamp();
    case Field::kTimestampUnix:
      return made_ = std::to_string(event_.accepted_unix_ms / 1'000);
    case Field::kCount:
      return made_ = std::to_string(delivery_.stands_for);
    case Field::kToken:
      return endpoint_.auth_token;
    case Field::kTrigger:
    case Field::kStored:
    case Field::kSubject:
    case Field::kThread:
    case Field::kStanzaId:
    case Field::kOriginId:
    case Field::kCallId:
    case Field::kRoom:
    case Field::kNick:
    case Field::kSender:
    case Field::kResource:
    case Field::kBadge:
    case Field::kStanza:
      return Attribute(field);
    case Field::kEnd:
      break;
  }
  return {};
}

}  // namespace offline_post
