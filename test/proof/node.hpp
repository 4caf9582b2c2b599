// What a process under proof is made of: a real Service with a real spool, and its numbered events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "service/service.hpp"

namespace offline_post::proof {

inline constexpr EndpointKeyView kKey{"vhost", "proof"};

// An endpoint whose spool is in `directory`; none: in memory. Without limits that would reject.
EndpointConfig MakeConfig(const std::string& url, const std::string& directory);

// Errors go to the standard error output; that the backend has trouble is meant to be.
bool PrintNotices(const std::vector<Notice>& notices);

// An event whose body begins with `number`, and is as long as a usual message.
std::shared_ptr<Event> MakeEvent(std::uint64_t number, std::string recipient);
// The number in a body, as it was sent.
std::uint64_t EventNumber(std::string_view body);

// "accepted delivered pending dead cancelled purged pending_bytes"
std::string BookText(const Stats& stats);

// Waits until nothing is pending; false: `timeout_ms` was not enough.
bool Drain(Service& service, Millis timeout_ms);
// Takes the endpoint away and stops the service, as a node does that goes down.
void TakeDown(Service& service);

// A directory for one proof, removed with all that is in it.
class WorkDirectory {
 public:
  WorkDirectory();
  ~WorkDirectory();
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;

  const std::string& path() const { return path_; }
  void Clear() const;
  void Keep() { keep_ = true; }

 private:
  std::string path_;
  bool keep_ = false;
};

// The same for the same three numbers, evenly spread.
std::uint64_t Mix(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0);

}  // namespace offline_post::proof
