// The ids of events, which receivers know as `webhook-id`: `msg_RUN_N`, with RUN 16 hexadecimal
// digits drawn for this run of the node and N the event's number in it. Unique, and without a '.',
// which Standard Webhooks signs between the id and the rest. docs/event.schema.json promises their
// form.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "model/hex.hpp"

namespace offline_post {

class EventIds {
 public:
  // run: random bits.
  explicit EventIds(std::uint64_t run) : prefix_("msg_" + Hex(run).padded() + "_") {}

  // Any thread.
  std::string Next() {
    const Hex number(next_.fetch_add(1));
    std::string id;
    id.reserve(prefix_.size() + number.text().size());  // one allocation
    return id.append(prefix_).append(number.text());
  }

 private:
  const std::string prefix_;
  std::atomic<std::uint64_t> next_{1};
};

}  // namespace offline_post
