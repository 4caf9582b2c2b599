// The process that is killed: submits numbered events without a pause and says, in one write each,
//
//   start BOOK     what it found; the book as BookText has it
//   try FROM TO    numbers that are about to be submitted
//   a NUMBER ID    accepted, under this id
//   c NUMBER       committed
//   v NUMBER       not committed: the disk refused
//
// and, when it is told to come to an end, `dead NUMBER` for each dead letter and `end BOOK`.
#include <algorithm>
#include <chrono>
#include <future>
#include <iostream>
#include <random>
#include <thread>

#include "child.hpp"
#include "node.hpp"
#include "roles.hpp"

namespace offline_post::proof {

namespace {

constexpr std::uint64_t kRecipients = 64;
constexpr std::uint64_t kMostPending = 3'000;

EndpointConfig KillConfig(const std::string& url, const std::string& directory) {
  EndpointConfig config = MakeConfig(url, directory);
  // So short that a run of a tenth of a second sees several attempts.
  config.schedule.waits_ms = {10, 20, 40};
  config.max_connections = 16;
  return config;
}

bool Start(Service& service, const EndpointConfig& config) {
  if (const Status status = service.Configure(config)) {
    std::cerr << "configure: " << status->text << "\n";
    return false;
  }
  if (service.spool_state() != SpoolState::kDurable) {
    std::cerr << "the spool is not durable\n";
    return false;
  }
  WriteLine("start " + BookText(*service.GetStats(kKey)));
  return true;
}

void SubmitOne(Service& service, std::uint64_t number, std::uint64_t recipient) {
  const auto event = MakeEvent(number, "u" + std::to_string(recipient));
  const auto admission = service.Submit(kKey, event, [number](bool durable) {
    WriteLine((durable ? "c " : "v ") + std::to_string(number));
  });
  if (admission == Admission::kAccepted) WriteLine("a " + std::to_string(number) + " " + event->id);
}

void Load(Service& service, std::uint64_t number, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  while (true) {
    const std::uint64_t end = number + 1 + random() % 200;
    WriteLine("try " + std::to_string(number) + " " + std::to_string(end));
    for (; number < end; ++number) SubmitOne(service, number, random() % kRecipients);
    const std::chrono::microseconds pause(random() % 4'000);
    do {
      std::this_thread::sleep_for(pause);
    } while (service.GetStats(kKey)->pending > kMostPending);
  }
}

void SayDead(Service& service) {
  std::optional<Sequence> after = 0;
  while (after) {
    std::promise<std::optional<Sequence>> page;
    service.ListDead(
        kKey, {}, *after, 100,
        [&page](std::vector<DeadLetter> letters, std::optional<Sequence> next) {
          for (const DeadLetter& letter : letters) {
            WriteLine("dead " + std::to_string(EventNumber(letter.delivery.event->body)));
          }
          page.set_value(next);
        });
    after = page.get_future().get();
  }
}

}  // namespace

int KillDriver(const std::vector<std::string>& args) {
  DieWithParent();
  const EndpointConfig config = KillConfig(args.at(0), args.at(1));
  const std::uint64_t first = std::stoull(args.at(2));
  const std::uint64_t seed = std::stoull(args.at(3));
  Service service(&PrintNotices);
  if (!Start(service, config)) return 1;
  if (args.at(4) == "load") Load(service, first, seed);
  if (!Drain(service, 60'000)) std::cerr << "not drained within a minute\n";
  SayDead(service);
  WriteLine("end " + BookText(*service.GetStats(kKey)));
  TakeDown(service);
  return 0;
}

}  // namespace offline_post::proof
