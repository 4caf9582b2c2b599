// What a template, or a tree of them, is compiled into: literal bytes and values, one after
// another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "payload/event_fields.hpp"
#include "payload/template.hpp"

namespace offline_post {

// How a value keeps to its place.
enum class Encoding : std::uint8_t {
  kNone,        // it is the place: a stanza
  kPercent,     // form and URL
  kJsonText,    // inside the quotes of a JSON string
  kJsonString,  // with them
  kJsonNumber,  // digits, else null
  kHeader,      // controls are blanks
};

// Of one header, at most so many bytes of values: 8 KiB for all headers is what receivers take.
inline constexpr std::size_t kHeaderBytes = 4096;

class Program {
 public:
  // As it is.
  void AddLiteral(std::string_view bytes);
  // The first of `fields` that is not empty.
  void AddValue(const std::vector<Field>& fields, Encoding encoding);
  // `before` and the value, if the event has it.
  void AddOptional(std::string_view before, Field field, Encoding encoding);
  void AddTemplate(const Template& parts, Encoding texts, Encoding values);

  void Render(EventFields& event, std::string& out) const;

  const FieldSet& uses() const { return uses_; }
  std::size_t literal_bytes() const { return literals_.size(); }

 private:
  // A literal, then a value.
  struct Step {
    std::uint32_t literal_end = 0;  // in literals_; it begins where the step's before it ends
    std::uint32_t fields_end = 0;   // in fields_, likewise
    Encoding encoding = Encoding::kNone;
    bool optional = false;
  };

  void Close(Encoding encoding, bool optional);

  std::string literals_;
  std::vector<Field> fields_;
  std::vector<Step> steps_;
  FieldSet uses_;
};

// `text` behind what `out` holds.
void AppendEncoded(std::string_view text, Encoding encoding, std::string& out);

}  // namespace offline_post
