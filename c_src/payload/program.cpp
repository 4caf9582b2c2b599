#include "payload/program.hpp"

#include <algorithm>

#include "payload/json_text.hpp"
#include "payload/percent.hpp"

namespace offline_post {

namespace {

void AppendHeaderText(std::string_view text, std::string& out) {
  const std::size_t start = out.size();
  out += text;
  const auto is_control = [](char byte) { return (byte >= 0 && byte < 0x20) || byte == 0x7f; };
  std::replace_if(out.begin() + static_cast<std::ptrdiff_t>(start), out.end(), is_control, ' ');
}

// The longest beginning of `text` that has no more than `bytes`, and no half character at its end.
std::string_view CutAtCharacter(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  constexpr std::size_t kLongestCharacter = 4;
  std::size_t end = bytes;
  while (end > 0 && bytes - end < kLongestCharacter &&
         (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) {
    --end;
  }
  return text.substr(0, end);
}

}  // namespace

void AppendEncoded(std::string_view text, Encoding encoding, std::string& out) {
  switch (encoding) {
    case Encoding::kNone:
      out += text;
      return;
    case Encoding::kPercent:
      AppendPercentEncoded(text, out);
      return;
    case Encoding::kJsonText:
      AppendJsonText(text, out);
      return;
    case Encoding::kJsonString:
      out += '"';
      AppendJsonText(text, out);
      out += '"';
      return;
    case Encoding::kJsonNumber:
      out += IsJsonCount(text) ? text : "null";
      return;
    case Encoding::kHeader:
      AppendHeaderText(text, out);
      return;
  }
}

void Program::Close(Encoding encoding, bool optional) {
  steps_.push_back({static_cast<std::uint32_t>(literals_.size()),
                    static_cast<std::uint32_t>(fields_.size()), encoding, optional});
}

void Program::AddLiteral(std::string_view bytes) { literals_ += bytes; }

void Program::AddValue(const std::vector<Field>& fields, Encoding encoding) {
  for (const Field field : fields) {
    fields_.push_back(field);
    uses_.set(static_cast<std::size_t>(field));
  }
  Close(encoding, false);
}

void Program::AddOptional(std::string_view before, Field field, Encoding encoding) {
  // What was written before must not depend on the value.
  if (steps_.empty() ? !literals_.empty() : literals_.size() > steps_.back().literal_end) {
    Close(Encoding::kNone, false);
  }
  literals_ += before;
  fields_.push_back(field);
  uses_.set(static_cast<std::size_t>(field));
  Close(encoding, true);
}

void Program::AddTemplate(const Template& parts, Encoding texts, Encoding values) {
  for (const TemplatePart& part : parts) {
    if (part.fields.empty()) {
      AppendEncoded(part.text, texts, literals_);
    } else {
      AddValue(part.fields, values);
    }
  }
}

void Program::Render(EventFields& event, std::string& out) const {
  const std::string_view literals = literals_;
  const std::size_t start = out.size();
  std::size_t literal = 0;
  std::size_t field = 0;
  for (const Step& step : steps_) {
    std::string_view value;
    Field source = Field::kEnd;
    for (; field < step.fields_end && value.empty(); ++field) {
      source = fields_[field];
      value = event.Value(source);
    }
    field = step.fields_end;
    if (!step.optional || event.Has(source)) {
      out += literals.substr(literal, step.literal_end - literal);
      // A token that is cut is none; it is no event's either.
      if (step.encoding == Encoding::kHeader && source != Field::kToken) {
        const std::size_t used = out.size() - start;
        value = CutAtCharacter(value, kHeaderBytes - std::min(used, kHeaderBytes));
      }
      AppendEncoded(value, step.encoding, out);
    }
    literal = step.literal_end;
  }
  out += literals.substr(literal);
}

}  // namespace offline_post
