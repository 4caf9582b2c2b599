#include "payload/results.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "payload/id_index.hpp"

namespace offline_post {

namespace {

using Json = nlohmann::json;

// Cut before a character that does not fit whole (UTF-8).
std::string Head(std::string text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0U) == 0x80U) --bytes;
  text.resize(bytes);
  return text;
}

// Takes the results out of the stream of a parser, and keeps nothing else of the text.
class ResultsReader final : public nlohmann::json_sax<Json> {
 public:
  explicit ResultsReader(const std::vector<std::string>& ids) : index_(ids), events_(ids.size()) {}

  // The results have begun.
  bool begun() const { return begun_; }
  std::vector<std::optional<EventResult>> TakeEvents() { return std::move(events_); }

  bool null() override { return Value(nullptr); }
  bool boolean(bool /*value*/) override { return Value(nullptr); }
  bool number_integer(std::int64_t /*value*/) override { return Value(nullptr); }  // negative
  bool number_unsigned(std::uint64_t value) override {
    constexpr std::uint64_t kLeast = 100;
    constexpr std::uint64_t kMost = 599;
    if (InResult() && member_ == Member::kStatus) {
      const bool known = value >= kLeast && value <= kMost;
      result_.says = known ? EventResult::Says::kStatus : EventResult::Says::kUnknown;
      result_.status = known ? static_cast<int>(value) : 0;
      return true;
    }
    return Value(nullptr);
  }
  bool number_float(double /*value*/, const std::string& /*text*/) override {
    return Value(nullptr);
  }
  bool string(std::string& value) override { return Value(&value); }
  bool binary(Json::binary_t& /*value*/) override { return Value(nullptr); }

  bool start_object(std::size_t /*size*/) override {
    Value(nullptr);
    ++depth_;
    if (depth_ == 1) top_is_object_ = true;
    if (InResult()) {
      id_.reset();
      result_ = {};
      member_ = Member::kOther;
    }
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ == 1) {
      results_next_ = name == "results";
    } else if (InResult()) {
      member_ = name == "id"       ? Member::kId
                : name == "status" ? Member::kStatus
                : name == "error"  ? Member::kError
                                   : Member::kOther;
    }
    return true;
  }
  bool end_object() override {
    if (InResult() && id_) {
      if (const auto place = index_.Find(*id_)) events_[*place] = std::move(result_);
    }
    --depth_;
    return true;
  }
  bool start_array(std::size_t /*size*/) override {
    Value(nullptr);
    ++depth_;
    if (depth_ == 2 && top_is_object_ && results_next_) begun_ = in_results_ = true;
    return true;
  }
  bool end_array() override {
    if (depth_ == 2) in_results_ = false;
    --depth_;
    return true;
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*what*/) override {
    return false;
  }

 private:
  enum class Member { kId, kStatus, kError, kOther };

  // Directly in one of the results: an object in the array in the object.
  bool InResult() const { return in_results_ && depth_ == 3; }

  // A value begins; `text`: it is a string.
  bool Value(std::string* text) {
    if (!InResult()) return true;
    switch (member_) {
      case Member::kId:
        id_.reset();
        if (text != nullptr) id_ = std::move(*text);
        break;
      case Member::kStatus:
        result_.status = 0;
        result_.says = EventResult::Says::kUnknown;
        if (text == nullptr) break;
        if (*text == "accepted") result_.says = EventResult::Says::kAccepted;
        if (*text == "retry") result_.says = EventResult::Says::kRetry;
        if (*text == "refused") result_.says = EventResult::Says::kRefused;
        break;
      case Member::kError:
        result_.error = text != nullptr ? Head(std::move(*text), Results::kErrorTold) : "";
        break;
      case Member::kOther:
        break;
    }
    return true;
  }

  const IdIndex<> index_;
  std::vector<std::optional<EventResult>> events_;
  std::size_t depth_ = 0;
  bool top_is_object_ = false;
  bool results_next_ = false;  // the latest member of the outermost object is "results"
  bool in_results_ = false;
  bool begun_ = false;
  Member member_ = Member::kOther;
  std::optional<std::string> id_;
  EventResult result_;
};

}  // namespace

std::optional<Results> ReadResults(std::string_view body, const std::vector<std::string>& ids) {
  // Most answers are empty, or begin as something else.
  const std::size_t first = body.find_first_not_of(" \t\r\n\xef\xbb\xbf");
  if (first == std::string_view::npos || body[first] != '{') return std::nullopt;
  ResultsReader reader(ids);
  const bool complete = Json::sax_parse(body.begin(), body.end(), &reader);
  if (!reader.begun()) return std::nullopt;
  return Results{reader.TakeEvents(), complete};
}

}  // namespace offline_post
