// The ids of events, which receivers know as `webhook-id`: `msg_RUN_N`, with RUN 16 hexadecimal
// digits drawn for this run of the node and N the event's number in it. Unique, and without a '.',
// which Standard Webhooks signs between the id and the rest. docs/event.schema.json promises their
// form.
#pragma once

#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace offline_post {

class EventIds {
 public:
  // run: random bits.
  explicit EventIds(std::uint64_t run) {
    std::array<char, kDigits> digits{};
    const std::string_view hex = Hex(run, digits);
    prefix_.append("msg_").append(kDigits - hex.size(), '0').append(hex).append("_");
  }

  // Any thread.
  std::string Next() {
    std::array<char, kDigits> digits{};
    std::string id;
    id.reserve(prefix_.size() + kDigits);  // one allocation
    return id.append(prefix_).append(Hex(next_.fetch_add(1), digits));
  }

 private:
  static constexpr std::size_t kDigits = 16;

  static std::string_view Hex(std::uint64_t number, std::array<char, kDigits>& digits) {
    const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
    return {digits.data(), static_cast<std::size_t>(end - digits.data())};
  }

  std::string prefix_;  // never changes: read by any thread
  std::atomic<std::uint64_t> next_{1};
};

}  // namespace offline_post
