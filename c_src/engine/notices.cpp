#include "engine/notices.hpp"

#include <utility>

namespace offline_post {

void Notices::Add(Notice::Level level, std::string line) {
  if (waiting_.size() >= kMaxWaiting) {
    ++dropped_;
    return;
  }
  waiting_.push_back({level, std::move(line)});
}

bool Notices::AddRarely(const std::string& topic, Notice::Level level, std::string line) {
  const Millis now = clock_.MonotonicMs();
  const auto [found, is_new] = topics_.try_emplace(topic);
  Topic& seen = found->second;
  if (!is_new && now < seen.quiet_until_ms) {
    ++seen.left_out;
    return false;
  }
  if (seen.left_out > 0) line += " (and " + std::to_string(seen.left_out) + " more like it)";
  seen = {now + kQuietMs, 0};
  Add(level, std::move(line));
  return true;
}

std::vector<Notice> Notices::Waiting() const {
  std::vector<Notice> all = waiting_;
  if (dropped_ > 0) {
    all.push_back({Notice::Level::kWarning, std::to_string(dropped_) + " log lines were left out"});
  }
  return all;
}

void Notices::Clear() {
  waiting_.clear();
  dropped_ = 0;
}

}  // namespace offline_post
