// kill -9: a process with the real outbox and real curl is killed at random moments under load and
// started again on the same spool. This process is its backend and outlives it, so all that either
// of them has said is known here.
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <utility>

#include "child.hpp"
#include "node.hpp"
#include "receiver.hpp"
#include "roles.hpp"
#include "spool_file.hpp"

namespace offline_post::proof {

namespace {

using std::chrono::milliseconds;

constexpr int kDefaultKills = 300;
constexpr std::chrono::seconds kLongestStart{30};
constexpr int kFilesToOpen = 20;  // copies of killed processes' files that are looked into

struct Book {
  std::uint64_t accepted = 0, delivered = 0, pending = 0, dead = 0, cancelled = 0, purged = 0,
                pending_bytes = 0;
};

// One event, as both sides have told.
struct Fate {
  std::string accepted_id;  // empty: killed before it could say so
  std::string received_id;  // empty: never received
  bool committed = false;
  bool letter = false;   // listed as a dead letter at the end
  bool refused = false;  // answered as the message's own fault
  std::uint32_t arrivals = 0;
  std::uint32_t delivered = 0;  // arrivals that were answered with 200
  // Nothing more is to come, but doubles.
  bool settled() const { return delivered > 0 || refused; }
};

class KillProof {
 public:
  KillProof(int kills, std::uint64_t seed)
      : kills_(kills),
        seed_(seed),
        random_(seed),
        receiver_([this](const Post& post) { return Receive(post); }) {}

  int Run();

 private:
  int Receive(const Post& post);
  int Status(std::uint64_t number, std::uint32_t arrival) const;
  void CheckOrder(std::uint64_t number, const std::string& recipient);
  void OneKill(int index);
  void LastRun();
  void Note(const std::string& line);
  void CheckStart(const Book& book);
  void LookIntoCopy();
  void CheckEnd();
  void Fail(const std::string& text);

  const int kills_;
  const std::uint64_t seed_;
  std::mt19937_64 random_;
  WorkDirectory spool_;
  WorkDirectory copy_;
  std::mutex mutex_;
  std::deque<Fate> fates_;  // by number; guarded by mutex_, as below
  std::uint64_t settled_ = 0;
  std::map<std::string, std::uint64_t> newest_;  // received, by recipient
  std::vector<std::string> failures_;
  // The controller's own.
  std::uint64_t announced_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t early_kills_ = 0;  // before the service had started
  std::uint64_t files_ = 0;
  bool started_ = false;  // the process of now
  std::optional<Book> end_;
  Receiver receiver_;  // last: its thread uses all the others
};

Book ParseBook(std::istream& text) {
  Book book;
  text >> book.accepted >> book.delivered >> book.pending >> book.dead >> book.cancelled >>
      book.purged >> book.pending_bytes;
  if (!text) throw std::runtime_error("not a book");
  return book;
}

void KillProof::Fail(const std::string& text) {
  constexpr std::size_t kMostFailures = 20;
  if (failures_.size() < kMostFailures) failures_.push_back(text);
}

// What the backend answers, drawn from the seed.
int KillProof::Status(std::uint64_t number, std::uint32_t arrival) const {
  if (Mix(seed_, number) % 200 == 0) return 400;
  const std::uint64_t dice = Mix(seed_, number, arrival + 1) % 100;
  if (dice < 4) return 503;
  if (dice < 5) return Receiver::kHangUp;
  return 200;
}

int KillProof::Receive(const Post& post) {
  const std::uint64_t number = EventNumber(post.Field("body"));
  const std::string recipient(post.Field("to"));
  const std::lock_guard lock(mutex_);
  if (fates_.size() <= number) fates_.resize(number + 1);
  Fate& fate = fates_[number];
  if (fate.arrivals++ == 0) {
    fate.received_id = post.id;
    CheckOrder(number, recipient);
  } else if (fate.received_id != post.id) {
    Fail("event " + std::to_string(number) + " came under two ids");
  }
  const int status = Status(number, fate.arrivals);
  const bool was_settled = fate.settled();
  if (status == 200) ++fate.delivered;
  if (status == 400) fate.refused = true;
  settled_ += fate.settled() && !was_settled ? 1 : 0;
  return status;
}

// Who comes for the first time comes after all that came before, and those are settled.
void KillProof::CheckOrder(std::uint64_t number, const std::string& recipient) {
  const auto [newest, first] = newest_.try_emplace(recipient, number);
  if (first) return;
  if (newest->second > number || !fates_[newest->second].settled()) {
    Fail("order: " + recipient + " got " + std::to_string(number) + " after " +
         std::to_string(newest->second));
  }
  newest->second = std::max(newest->second, number);
}

void KillProof::Note(const std::string& line) {
  std::istringstream text(line);
  std::string word;
  text >> word;
  const std::lock_guard lock(mutex_);
  if (word == "start") return CheckStart(ParseBook(text));
  if (word == "end") {
    end_ = ParseBook(text);
    return;
  }
  std::uint64_t number = 0;
  text >> number;
  if (word == "try") {
    text >> announced_;
    return;
  }
  if (fates_.size() <= number) fates_.resize(number + 1);
  Fate& fate = fates_[number];
  if (word == "a") {
    text >> fate.accepted_id;
  } else if (word == "c") {
    fate.committed = true;
    ++committed_;
  } else if (word == "dead") {
    fate.letter = true;
  } else {
    Fail("the driver said: " + line);
  }
}

// The law, and that the counters stand where the rows do: in the same transaction.
void KillProof::CheckStart(const Book& book) {
  started_ = true;
  const std::string where = "start after " + std::to_string(announced_) + " events: ";
  if (book.accepted != book.delivered + book.pending + book.dead + book.cancelled + book.purged) {
    Fail(where + "the law is broken");
  }
  if (book.accepted < committed_ || book.accepted > announced_) {
    Fail(where + std::to_string(book.accepted) + " in the book, " + std::to_string(committed_) +
         " known to be committed");
  }
  if (book.delivered + book.dead > settled_) Fail(where + "the book is ahead of the backend");
  if ((book.pending == 0) != (book.pending_bytes == 0)) Fail(where + "bytes without events");
}

void KillProof::OneKill(int index) {
  // Some during the start and the recovery of the file, most under load.
  const bool early = random_() % 8 == 0;
  const milliseconds after(random_() % (early ? 25 : 250));
  const bool look = index % std::max(1, kills_ / kFilesToOpen) == 0;
  started_ = false;
  Child child({"kill-driver", receiver_.url(), spool_.path(), std::to_string(announced_),
               std::to_string(Mix(seed_, static_cast<std::uint64_t>(index))), "load"});
  SteadyClock::time_point kill_at = SteadyClock::now() + (early ? after : kLongestStart);
  bool armed = early;
  while (const auto line = child.Read(kill_at)) {
    Note(*line);
    if (started_ && !std::exchange(armed, true)) kill_at = SteadyClock::now() + after;
  }
  const bool ended = child.ended();
  child.Kill();
  while (const auto line = child.Read(SteadyClock::time_point::max())) Note(*line);
  const int status = child.Wait();
  if (ended || !armed) {
    const std::lock_guard lock(mutex_);
    Fail("kill " + std::to_string(index) + ": the driver " +
         (ended ? "ended by itself, status " + std::to_string(status) : "did not start"));
  }
  if (!started_) ++early_kills_;
  if (look) LookIntoCopy();
}

// The rows of a killed process's file, in a copy: whoever opens the file itself would mend it.
void KillProof::LookIntoCopy() {
  copy_.Clear();
  std::filesystem::copy(spool_.path(), copy_.path(), std::filesystem::copy_options::recursive);
  const std::lock_guard lock(mutex_);
  const SpoolFile file(copy_.path());
  if (!file.there()) return;
  ++files_;
  if (const std::string fault = file.Fault(); !fault.empty()) Fail("a killed file: " + fault);
}

void KillProof::LastRun() {
  Child child(
      {"kill-driver", receiver_.url(), spool_.path(), std::to_string(announced_), "0", "drain"});
  const auto until = SteadyClock::now() + std::chrono::minutes(2);
  while (const auto line = child.Read(until)) Note(*line);
  if (!child.ended()) child.Kill();
  const int status = child.Wait();
  if (status != 0) Fail("the last run ended with status " + std::to_string(status));
  const SpoolFile file(spool_.path());
  if (const std::string fault = file.Fault(); !fault.empty()) Fail("the file at the end: " + fault);
  if (file.Rows("log") + file.Rows("parked") != 0) {
    Fail("rows are left in the drained file");
  }
}

void KillProof::CheckEnd() {
  std::uint64_t accepted = 0;
  std::uint64_t lost = 0;
  std::uint64_t doubles = 0;
  std::uint64_t unknown = 0;
  std::uint64_t delivered = 0;
  std::uint64_t letters = 0;
  std::uint64_t uncommitted = 0;
  for (std::size_t i = 0; i < fates_.size(); ++i) {
    const Fate& fate = fates_[i];
    accepted += fate.accepted_id.empty() ? 0 : 1;
    lost += fate.committed && fate.delivered == 0 && !fate.letter ? 1 : 0;
    uncommitted += !fate.accepted_id.empty() && !fate.committed && !fate.settled() ? 1 : 0;
    doubles += fate.delivered > 1 ? fate.delivered - 1 : 0;
    delivered += fate.delivered > 0 ? 1 : 0;
    letters += fate.letter ? 1 : 0;
    const bool known = i < announced_ && (fate.accepted_id.empty() || fate.arrivals == 0 ||
                                          fate.accepted_id == fate.received_id);
    unknown += known ? 0 : 1;
    if (fate.refused != fate.letter) {
      Fail("event " + std::to_string(i) + (fate.letter ? " is" : " is not") + " a dead letter");
    }
  }
  if (committed_ < static_cast<std::uint64_t>(kills_)) Fail("too few commits to prove anything");
  if (lost > 0) Fail(std::to_string(lost) + " committed events are lost");
  if (unknown > 0) Fail(std::to_string(unknown) + " events came under unknown ids");
  if (!end_) {
    Fail("the last run did not come to its end");
  } else if (end_->pending != 0 || end_->pending_bytes != 0 || end_->delivered != delivered ||
             end_->dead != letters || end_->accepted != delivered + letters) {
    Fail("the book at the end differs from what the backend saw");
  }
  std::cout << "  " << announced_ << " events tried, " << accepted << " known to be accepted, "
            << committed_ << " known to be committed, " << delivered << " delivered, " << letters
            << " dead letters\n"
            << "  committed and lost: " << lost << " (target 0)\n"
            << "  doubles: " << doubles << ", ids that nobody knows: " << unknown
            << " (target 0); not committed when killed, and gone: " << uncommitted << "\n"
            << "  kills before the service had started: " << early_kills_
            << "; killed files looked into: " << files_ << "\n";
}

int KillProof::Run() {
  std::cout << "kill -9: " << kills_ << " kills, seed " << seed_ << std::endl;
  const auto start = SteadyClock::now();
  receiver_.Listen();
  for (int i = 0; i < kills_; ++i) OneKill(i);
  LastRun();
  const std::lock_guard lock(mutex_);
  CheckEnd();
  const std::chrono::duration<double> took = SteadyClock::now() - start;
  std::cout << "  took " << took.count() << " s\n";
  for (const std::string& failure : failures_) std::cout << "  FAILED: " << failure << "\n";
  if (!failures_.empty()) {
    spool_.Keep();
    std::cout << "  again: offline_post_proof kill " << kills_ << " " << seed_
              << "; the spool: " << spool_.path() << "\n";
  }
  std::cout << (failures_.empty() ? "1 passed, 0 failed" : "0 passed, 1 failed") << std::endl;
  return failures_.empty() ? 0 : 1;
}

}  // namespace

int Kill(const std::vector<std::string>& args) {
  const int kills = args.empty() ? kDefaultKills : std::stoi(args[0]);
  const std::uint64_t seed = args.size() > 1 ? std::stoull(args[1]) : std::random_device{}();
  return KillProof(kills, seed).Run();
}

}  // namespace offline_post::proof
