#include "payload/default_fields.hpp"

#include <string>
#include <string_view>

namespace offline_post {

namespace {

void AddMember(std::string_view before, Field field, Program& program) {
  program.AddLiteral(before);
  program.AddValue({field}, field == Field::kCount ? Encoding::kJsonNumber : Encoding::kJsonString);
}

void AddIfAny(std::string_view name, Field field, Program& program) {
  program.AddOptional(R"(,")" + std::string(name) + R"(":)", field,
                      IsNumber(field) ? Encoding::kJsonNumber : Encoding::kJsonString);
}

void AddPresence(Program& program) {
  program.AddLiteral(R"({"type":"presence.)");
  program.AddValue({Field::kKind}, Encoding::kJsonText);
  AddMember(R"(","timestamp":)", Field::kTimestamp, program);
  AddMember(R"(,"data":{"id":)", Field::kId, program);
  AddMember(R"(,"host":)", Field::kHost, program);
  AddMember(R"(,"jid":)", Field::kToBare, program);
  AddIfAny("resource", Field::kToResource, program);
}

void AddMessage(Program& program) {
  AddMember(R"({"type":"message.offline","timestamp":)", Field::kTimestamp, program);
  AddMember(R"(,"data":{"id":)", Field::kId, program);
  AddMember(R"(,"host":)", Field::kHost, program);
  AddMember(R"(,"kind":)", Field::kKind, program);
  AddIfAny("trigger", Field::kTrigger, program);
  AddIfAny("stored", Field::kStored, program);
  AddMember(R"(,"to":)", Field::kTo, program);
  AddIfAny("from", Field::kFrom, program);
  AddIfAny("resource", Field::kResource, program);
  AddIfAny("room", Field::kRoom, program);
  AddIfAny("nick", Field::kNick, program);
  AddIfAny("sender", Field::kSender, program);
  AddIfAny("message_id", Field::kMessageId, program);
  AddIfAny("stanza_id", Field::kStanzaId, program);
  AddIfAny("origin_id", Field::kOriginId, program);
  AddIfAny("call_id", Field::kCallId, program);
  AddMember(R"(,"body":)", Field::kBody, program);
  AddIfAny("text", Field::kText, program);
  AddIfAny("badge", Field::kBadge, program);
  AddMember(R"(,"count":)", Field::kCount, program);
}

}  // namespace

Program DefaultForm(bool presence, bool token) {
  const auto add = [](std::string_view before, Field field, Program& program) {
    program.AddLiteral(before);
    program.AddValue({field}, Encoding::kPercent);
  };
  Program program;
  if (presence) {
    add("jabber_id=", Field::kToUser, program);
  } else {
    add("to=", Field::kToUser, program);
    add("&from=", Field::kFromUser, program);
    add("&body=", Field::kBody, program);
  }
  if (token) add("&access_token=", Field::kToken, program);
  return program;
}

Program DefaultJson(bool presence, bool token) {
  Program program;
  presence ? AddPresence(program) : AddMessage(program);
  program.AddLiteral("}");
  if (token) AddIfAny("access_token", Field::kToken, program);
  program.AddLiteral("}");
  return program;
}

}  // namespace offline_post
