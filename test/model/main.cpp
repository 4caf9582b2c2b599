// Generated histories of commands, run against the durable outbox and a trivial model, while its
// process is killed at random writes and the file opened again.
//
//   outbox_model [--seconds N] [SEED ...]
//
// Without seeds: as many as fit into N seconds of time (10), from 1 on. A seed that fails is
// printed, and replays when named.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "model.hpp"
#include "outbox/spool_outbox.hpp"

namespace offline_post::test {

namespace {

constexpr int kLives = 5;

struct Ended {
  bool killed = false;
  Millis now_ms = 0;
  std::string wrong;
};

WithdrawalCommand ReadCommand(const std::string& text) {
  std::istringstream words(text);
  WithdrawalCommand command;
  int how = 0;
  words >> command.endpoint >> command.key >> command.until >> how;
  command.how = static_cast<Final>(how);
  return command;
}

void Record(const std::string& line, Journal& journal, Ended& ended) {
  const std::string id = line.substr(1);
  if (line[0] == 'a') {
    journal.appended.insert(id);
    journal.appends.push_back(id);
  }
  if (line[0] == 'c') journal.committed.insert(id);
  if (line[0] == 'f') journal.ended.insert(id);
  if (line[0] == 's') {
    journal.commands.push_back(ReadCommand(id));
    journal.commands.back().appended = journal.appends.size();
  }
  if (line[0] == 'r') {
    const std::size_t space = id.find(' ');
    journal.spoken_for[id.substr(0, space)] = id.substr(space + 1);
  }
  if (line[0] == 'd') journal.durable = std::stoul(id);
  if (line[0] == 'w') ended.wrong = id;
}

Ended RunLife(Life life, const Model& model, ModelClock& clock, Journal& journal) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return {false, 0, "no pipe"};
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    life.report = ends[1];
    const std::string wrong = Live(life, model, clock);
    const std::string line = "w" + wrong + "\n";
    if (!wrong.empty() && write(ends[1], line.data(), line.size()) < 0) _exit(4);
    _exit(wrong.empty() ? 0 : 1);
  }
  close(ends[1]);
  Ended ended;
  std::string rest;
  std::array<char, 65'536> data{};
  ssize_t got = 0;
  while ((got = read(ends[0], data.data(), data.size())) > 0) {
    rest.append(data.data(), static_cast<std::size_t>(got));
    std::size_t end = 0;
    while ((end = rest.find('\n')) != std::string::npos) {
      Record(rest.substr(0, end), journal, ended);
      rest.erase(0, end + 1);
    }
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ended.killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  if (!ended.killed && status != 0 && ended.wrong.empty())
    ended.wrong = "the process ended with status " + std::to_string(status);
  return ended;
}

// What is wrong, or nothing.
std::string RunSeed(std::uint64_t seed, int& kills) {
  std::mt19937_64 random(seed);
  // In memory where that is possible: a killed process leaves the same there, at once.
  const bool shm = access("/dev/shm", W_OK) == 0;
  const auto parent =
      shm ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
  std::string name = (parent / "outbox_model_XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) return "no directory";
  Journal journal;
  Model model;
  ModelClock clock;
  std::string wrong;
  for (int life = 0; life <= kLives && wrong.empty(); ++life) {
    Life next;
    next.directory = name;
    next.seed = seed * 100 + static_cast<std::uint64_t>(life);
    next.drain = life == kLives;
    next.own_thread = random() % 4 == 0;
    next.cache = std::array<std::size_t, 3>{0, 5, 1'000}[random() % 3];
    next.merge_slice = std::array<std::size_t, 3>{1, 5, 1'000}[random() % 3];
    // Early ones hit the file's creation and its recovery.
    next.kill_after = static_cast<long>(random() % (random() % 3 == 0 ? 40 : 1'500)) + 1;
    if (next.drain) next.kill_after = 0;
    journal.withdrawals = model.withdrawals;
    journal.commands.clear();
    journal.appends.clear();
    journal.durable = 0;
    const Ended ended = RunLife(next, model, clock, journal);
    // Closed in order: all of them.
    if (!ended.killed) journal.durable = journal.commands.size();
    if (ended.killed) ++kills;
    wrong = ended.wrong;
    const std::string file = name + "/" + SpoolOutbox::kFileName;
    // Whatever the dead one's clock said, it is earlier now.
    clock.now_ms += 100'000'000;
    const bool created = std::filesystem::exists(file) && std::filesystem::file_size(file) > 0;
    if (wrong.empty() && created) wrong = Load(file, clock.MonotonicMs(), model, journal);
    if (wrong.empty() && next.drain && !model.pending.empty()) wrong = "something is left";
    if (!wrong.empty()) wrong = "life " + std::to_string(life) + ": " + wrong;
  }
  std::filesystem::remove_all(name);
  return wrong;
}

int Main(const std::vector<std::string>& arguments) {
  std::vector<std::uint64_t> seeds;
  double seconds = 10;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--seconds" && i + 1 < arguments.size()) {
      seconds = std::atof(arguments[++i].c_str());
    } else {
      seeds.push_back(std::strtoull(arguments[i].c_str(), nullptr, 10));
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  const bool named = !seeds.empty();
  int kills = 0;
  const std::uint64_t base = std::random_device{}();  // others at every run
  if (!named) {
    std::printf("histories from seed %llu on\n", static_cast<unsigned long long>(base));
    std::fflush(stdout);  // also of a run that is ended from outside
  }
  std::uint64_t run = 0;
  for (;; ++run) {
    const std::chrono::duration<double> gone = std::chrono::steady_clock::now() - begin;
    if (named ? run >= seeds.size() : gone.count() > seconds) break;
    const std::uint64_t this_seed = named ? seeds[run] : base + run;
    const std::string wrong = RunSeed(this_seed, kills);
    if (wrong.empty()) continue;
    std::printf("seed %llu fails: %s\nReplay it: outbox_model %llu\n",
                static_cast<unsigned long long>(this_seed), wrong.c_str(),
                static_cast<unsigned long long>(this_seed));
    return 1;
  }
  std::printf("%llu histories, %d kills: nothing lost, nothing out of order\n",
              static_cast<unsigned long long>(run), kills);
  return 0;
}

}  // namespace

}  // namespace offline_post::test

int main(int argc, char* argv[]) {
  return offline_post::test::Main(std::vector<std::string>(argv + 1, argv + argc));
}
