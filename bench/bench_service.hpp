// What the benchmark's programs share: endpoints, events, and what they cost.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "service/service.hpp"

namespace offline_post::bench {

using SteadyClock = std::chrono::steady_clock;
using Us = std::chrono::duration<double, std::micro>;
using Args = std::vector<std::string>;

inline constexpr const char* kModule = "bench";
inline constexpr std::uint64_t kRecipients = 1'000;
inline constexpr const char* kText =
    "Wherefore art thou Romeo? Deny thy father & refuse thy name, or, if thou wilt not, be but "
    "sworn my love.";

// An endpoint with a spool in `directory`, or in memory (-).
inline EndpointConfig Config(const std::string& vhost, const std::string& url,
                             const std::string& directory, int connections) {
  EndpointConfig config;
  config.key = {vhost, kModule};
  config.post_url = url;
  config.auth_token = "0123456789abcdef0123456789abcdef";
  config.max_connections = connections;
  config.limits = {10'000'000, std::uint64_t{1} << 40U};
  config.spool = {directory != "-", directory == "-" ? "" : directory, 0};
  return config;
}

inline void Configure(Service& service, const EndpointConfig& config) {
  if (const Status status = service.Configure(config)) throw std::runtime_error(status->text);
  if (config.spool.enabled && service.spool_state() != SpoolState::kDurable) {
    throw std::runtime_error("the spool in " + config.spool.directory + " is not durable");
  }
}

inline bool PrintErrors(const std::vector<Notice>& notices) {
  for (const Notice& notice : notices) {
    if (notice.level == Notice::Level::kError) std::cerr << notice.line << "\n";
  }
  return true;
}

inline void Submit(Service& service, const std::string& vhost, std::uint64_t number,
                   CommitCallback committed = {}, const std::string& text = kText) {
  const auto event = std::make_shared<Event>();
  event->to = {"user" + std::to_string(number % kRecipients), vhost, ""};
  event->from = {"juliet", vhost, "balcony"};
  event->message_id = "message-" + std::to_string(number);
  event->body = text;
  service.Submit(EndpointKeyView{vhost, kModule}, event, std::move(committed));
}

inline Stats StatsOf(const Service& service, const std::string& vhost) {
  return service.GetStats(EndpointKeyView{vhost, kModule}).value();
}

// CPU time of the process without that of the calling thread, which feeds it.
inline double CpuWithoutCallerUs() {
  const auto us = [](clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
  };
  return us(CLOCK_PROCESS_CPUTIME_ID) - us(CLOCK_THREAD_CPUTIME_ID);
}

// Resident memory of the process.
inline double ResidentMb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) * 1024 / 1e6;
  }
  throw std::runtime_error("no VmRSS in /proc/self/status");
}

// Runs the mode that the first argument names.
template <typename Modes>
int Run(const char* program, const Modes& modes, int argc, char** argv) {
  const Args args(argv + 1, argv + argc);
  const auto mode = args.empty() ? modes.end() : modes.find(args.front());
  if (mode == modes.end()) {
    std::cerr << "usage: " << program << " MODE ARGUMENT..., with MODE one of:";
    for (const auto& [name, function] : modes) std::cerr << " " << name;
    std::cerr << "\n";
    return 2;
  }
  try {
    return mode->second({args.begin() + 1, args.end()});
  } catch (const std::exception& error) {
    std::cerr << program << " " << args.front() << ": " << error.what() << "\n";
    return 1;
  }
}

}  // namespace offline_post::bench
