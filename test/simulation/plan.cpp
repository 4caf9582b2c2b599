#include "plan.hpp"

#include <algorithm>
#include <string>

#include "payload/recipe.hpp"

namespace offline_post::simulation {

namespace {

constexpr Millis kSecond = 1'000;
constexpr Millis kHour = 3'600'000;
constexpr Millis kMostAttempts = 200;

RetrySchedule MakeSchedule(Random& random) {
  RetrySchedule schedule;
  switch (random.Int(0, 4)) {
    case 0:
      break;  // the default
    case 1:
      schedule.waits_ms = {100, 200, 400, 800, 1'600, 3'200};
      break;
    case 2:
      schedule.waits_ms = {random.Spread(100, 600'000)};
      break;
    case 3:
      schedule.waits_ms = {5'000, 5'000, 60'000, 3'600'000};
      break;
    default:
      schedule.waits_ms = {random.Spread(10, 1'000)};
      for (int i = random.Int(1, 12); i > 0; --i) {
        schedule.waits_ms.push_back(schedule.waits_ms.back() + random.Spread(1, 120'000));
      }
  }
  schedule.max_age_ms = random.Percent(30) ? 24 * kHour : random.Spread(10 * kSecond, 24 * kHour);
  // A lonely message must not take up the history with its retries.
  schedule.waits_ms.push_back(
      std::max(schedule.waits_ms.back(), schedule.max_age_ms / kMostAttempts));
  return schedule;
}

void MakeBatch(Random& random, Endpoint& config) {
  config.batch.max_events = static_cast<std::size_t>(random.Spread(2, 100));
  config.batch.max_delay_ms =
      random.Percent(80) ? random.Spread(1, 1'000) : random.Spread(1, 60'000);
  config.batch.max_bytes = static_cast<std::size_t>(random.Spread(500, 1'000'000));
  RecipeConfig recipe;
  recipe.post_url = config.post_url;
  recipe.format = Format::kJson;
  recipe.token = true;
  recipe.batch = true;
  recipe.batch_form = random.Percent(50) ? BatchForm::kArray : BatchForm::kNdjson;
  config.recipe = CompileRecipe(recipe).value();
}

}  // namespace

Plan MakePlan(Random& random) {
  Plan plan;
  plan.duration = random.Spread(kHour, 72 * kHour);
  plan.endpoints = random.Int(1, 4);
  plan.hosts = random.Int(1, 3);
  plan.users = static_cast<int>(random.Spread(1, 200));
  plan.events = static_cast<std::uint64_t>(random.Spread(20, 800));
  plan.bursts = static_cast<std::uint64_t>(random.Spread(1, 100));
  plan.overload = random.Percent(20);
  if (random.Percent(2)) {  // more than the engine may hold
    plan.events = 3'000;
    plan.bursts = 2;
    plan.users = 2'000;
  }
  if (random.Percent(70)) plan.disk.commit_ms = random.Spread(1, 50);
  if (random.Percent(10)) plan.disk.commit_ms = random.Spread(1'000, 20'000);
  if (random.Percent(30)) plan.disk.lazy_ms = random.Spread(1, 60'000);
  plan.disk.piecemeal = random.Percent(30);
  plan.backend.latency_ms = random.Spread(1, 2'000);
  plan.backend.loses_answers = random.Percent(50) ? random.Int(0, 100) : 0;
  plan.backend.odd_retry_after = random.Percent(50);
  plan.moods = random.Percent(70);
  plan.paths = random.Percent(40);
  plan.jumps = random.Percent(50);
  plan.crashes = random.Percent(50);
  plan.stops = random.Percent(25);
  plan.disk_full = random.Percent(30);
  plan.corruption = random.Percent(3);
  plan.reconfiguration = random.Percent(40);
  plan.removal = random.Percent(30);
  plan.pauses = random.Percent(30);
  plan.dead_letters = random.Percent(40);
  plan.topics = random.Percent(50);
  plan.withdrawals = random.Percent(40);
  if (plan.topics && random.Percent(40)) {
    plan.collapse_interval_ms = random.Spread(100, 600'000);
  }
  if (plan.topics && random.Percent(40)) {
    plan.rates = {0, static_cast<std::uint64_t>(random.Spread(1, 100)), true};
  }
  plan.batches = random.Percent(40);
  plan.backend.results = random.Pick({0, 50, 100});
  if (random.Percent(30)) {
    plan.backend.body_limit = static_cast<std::size_t>(random.Spread(500, 20'000));
  }
  plan.calm_ms = random.Spread(60 * kSecond, plan.duration);
  plan.hastes = random.Percent(30);
  plan.lifetimes = random.Percent(40);
  plan.call_ends = plan.topics && random.Percent(60);
  plan.siblings = plan.endpoints > 1 && random.Percent(50);
  // Where a claim takes seconds, a few deliveries at a time would take longer than a history.
  if (plan.disk.commit_ms < 1'000 && random.Percent(30))
    plan.memory_bytes = static_cast<std::size_t>(random.Spread(1'000, 200'000));
  return plan;
}

std::shared_ptr<const Endpoint> MakeConfig(const Plan& plan, Random& random, int slot,
                                           int version) {
  auto config = std::make_shared<Endpoint>();
  const std::string host = "host" + std::to_string(random.Int(1, plan.hosts));
  config->key = {"vhost" + std::to_string(slot), "mod_offline_post"};
  if (plan.siblings && slot <= 2)
    config->key = {"vhost1", slot == 1 ? "mod_available_post" : "mod_unavailable_post"};
  config->post_url = "http://" + host + "/push" + std::to_string(random.Int(0, 2));
  config->origin.scheme = "http";
  config->origin.host = host;
  config->origin.port = 80;
  config->auth_token = "t0ken" + std::to_string(slot) + "v" + std::to_string(version);
  config->timeout_ms = random.Spread(500, 60'000);
  config->max_connections = static_cast<int>(random.Spread(1, 64));
  config->schedule = MakeSchedule(random);
  config->ordered = random.Percent(75);
  config->collapse_interval_ms = plan.collapse_interval_ms;
  config->rates = plan.rates;
  if (plan.overload) {
    config->limits.events = static_cast<std::uint64_t>(random.Spread(1, 200));
    config->limits.bytes = static_cast<std::uint64_t>(random.Spread(2'000, 200'000));
  }
  if (random.Percent(50)) {
    config->retention.age_ms = random.Spread(60 * kSecond, 7 * 24 * kHour);
    config->retention.letters = static_cast<std::uint64_t>(random.Spread(1, 200));
    config->retention.bytes = static_cast<std::uint64_t>(random.Spread(500, 200'000));
  }
  if (plan.lifetimes) {
    for (const char* kind : {"call", "call_end"})
      config->schedule.max_ages.push_back({kind, random.Spread(kSecond, kHour)});
  }
  if (plan.batches && random.Percent(75)) MakeBatch(random, *config);
  return config;
}

}  // namespace offline_post::simulation
