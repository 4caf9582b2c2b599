// What a template can name: the table of names, and their values for one delivery.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/delivery.hpp"
#include "model/endpoint.hpp"

namespace offline_post {

enum class Field : std::uint8_t {
  kId,
  kType,
  kKind,
  kHost,
  kTrigger,
  kStored,
  kTo,
  kToUser,
  kToServer,
  kToResource,
  kToBare,
  kToFull,
  kFrom,
  kFromUser,
  kFromServer,
  kFromResource,
  kFromBare,
  kFromFull,
  kBody,
  kText,
  kSubject,
  kThread,
  kMessageId,
  kStanzaId,
  kOriginId,
  kCallId,
  kRoom,
  kRoomUser,
  kNick,
  kSender,
  kSenderUser,
  kResource,
  kBadge,
  kCount,
  kStanza,
  kTimestamp,
  kTimestampUnix,
  kToken,
  kEnd,
};
inline constexpr std::size_t kFields = static_cast<std::size_t>(Field::kEnd);
using FieldSet = std::bitset<kFields>;

std::optional<Field> FieldNamed(std::string_view name);
// Of all fields, for an error: "id, type, ...".
std::string FieldNames();
// Its value is a number, or nothing.
bool IsNumber(Field field);
// The same for every event of an endpoint.
bool IsConstant(Field field);
// What the fields need of an event that may be left out of it: "body", "message_id", and names of
// attributes.
std::vector<std::string> NeededFor(const FieldSet& fields);

// The fields of one delivery. It must outlive this.
class EventFields {
 public:
  EventFields(const Delivery& delivery, const Endpoint& endpoint)
      : delivery_(delivery), event_(*delivery.event), endpoint_(endpoint) {}

  // Empty for what the event does not have. Valid until the next call.
  std::string_view Value(Field field);
  // Whether JSON has a member for it, where that is optional: not if it is empty. But a text that
  // is empty, because the author has written no part of the body, is not the body.
  bool Has(Field field);

 private:
  static constexpr std::size_t kAttributes = 14;

  // nullptr: the event has none.
  const std::string* Find(Field field);
  std::string_view Attribute(Field field);
  std::string_view Address(const Jid& jid, bool full);
  std::string_view Timestamp();

  const Delivery& delivery_;
  const Event& event_;
  const Endpoint& endpoint_;
  bool indexed_ = false;  // the attributes have been looked through
  std::array<const std::string*, kAttributes> attributes_{};
  std::string made_;  // a value that is not in the event as such
};

}  // namespace offline_post
