#include "node.hpp"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <iostream>
#include <stdexcept>
#include <thread>

namespace offline_post::proof {

EndpointConfig MakeConfig(const std::string& url, const std::string& directory) {
  EndpointConfig config;
  config.key = {std::string(kKey.vhost), std::string(kKey.module)};
  config.post_url = url;
  config.auth_token = "0123456789abcdef";
  config.max_connections = 32;
  config.limits = {100'000'000, std::uint64_t{1} << 40};
  config.spool.enabled = !directory.empty();
  config.spool.directory = directory;
  return config;
}

bool PrintNotices(const std::vector<Notice>& notices) {
  for (const Notice& notice : notices) {
    if (notice.level == Notice::Level::kError) std::cerr << notice.line << "\n";
  }
  return true;
}

std::shared_ptr<Event> MakeEvent(std::uint64_t number, std::string recipient) {
  auto event = std::make_shared<Event>();
  event->to = {std::move(recipient), "vhost", ""};
  event->from = {"juliet", "vhost", "balcony"};
  event->message_id = "message-" + std::to_string(number);
  event->body = std::to_string(number) +
                " Wherefore art thou Romeo? Deny thy father & refuse thy name, or, if thou wilt "
                "not, be but sworn my love.";
  return event;
}

std::uint64_t EventNumber(std::string_view body) {
  std::uint64_t number = 0;
  std::from_chars(body.data(), body.data() + body.size(), number);
  return number;
}

std::string BookText(const Stats& stats) {
  std::string text;
  for (const std::uint64_t count : {stats.accepted, stats.delivered, stats.pending, stats.dead,
                                    stats.cancelled, stats.purged, stats.pending_bytes}) {
    text += (text.empty() ? "" : " ") + std::to_string(count);
  }
  return text;
}

bool Drain(Service& service, Millis timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (service.GetStats(kKey)->pending > 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

void TakeDown(Service& service) {
  std::promise<void> removed;
  service.Remove(kKey, 5'000, [&removed](std::uint64_t) { removed.set_value(); });
  removed.get_future().wait();
  service.Stop();
}

WorkDirectory::WorkDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "offline-post-proof.XXXXXX").string();
  if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
}

WorkDirectory::~WorkDirectory() {
  std::error_code ignored;
  if (!keep_) std::filesystem::remove_all(path_, ignored);
}

void WorkDirectory::Clear() const {
  std::filesystem::remove_all(path_);
  std::filesystem::create_directory(path_);
}

std::uint64_t Mix(std::uint64_t seed, std::uint64_t a, std::uint64_t b) {
  // SplitMix64's finalizer (Steele, Lea, Flood 2014).
  std::uint64_t z = seed + 0x9e3779b97f4a7c15U * (a + 1) + 0xd1b54a32d192ed03U * b;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

}  // namespace offline_post::proof
