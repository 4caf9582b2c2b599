// What another node's spool has left is taken over: all of it, once, and that file stays as it was.
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <map>

#include "outbox/spool_reader.hpp"
#include "outbox/store_file.hpp"
#include "outbox/store_rows.hpp"
#include "service/service.hpp"
#include "support/http_server.hpp"
#include "support/service_fixture.hpp"
#include "support/spool.hpp"
#include "support/spool_file.hpp"

namespace offline_post {

namespace {

using test::Has;
using test::HttpRequest;
using test::HttpServer;
using test::kKey;
using test::Spool;
using test::TemporaryDirectory;
using Report = SpoolImport::Report;

constexpr EndpointKeyView kOther{"other.org", "mod_offline_post"};

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// This node: with a spool of its own, and nothing is sent before Deliver.
struct Importer : test::ServiceFixture {
  TemporaryDirectory directory;
  HttpServer server{[](const HttpRequest&) { return test::Status(200); }};

  explicit Importer(bool enabled = true) { Configure(1'000'000, kKey, enabled); }

  void Configure(std::uint64_t limit, EndpointKeyView key = kKey, bool enabled = true) {
    EndpointConfig config = test::Config(server.url(), key);
    config.limits.events = limit;
    config.retention.age_ms = Millis{100} * 365 * 86'400'000;  // the tests' letters died long ago
    config.spool = {enabled, directory.path, 0};
    REQUIRE_FALSE(service.Configure(config).has_value());
    service.Pause(key);
  }
  std::string Refused(const std::string& path) {
    const Status status = service.OpenImport(path);
    REQUIRE(status.has_value());
    return status->text;
  }
  // At most so many turns; none of it at first.
  std::optional<Report> Go(int turns) {
    for (int turn = 0; turn < turns; ++turn) {
      auto told = std::make_shared<std::promise<void>>();
      auto report = service.NextImport([told] { told->set_value(); });
      if (report) return report;
      REQUIRE(told->get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready);
    }
    return std::nullopt;
  }
  Report Import(const std::string& path) {
    if (const Status status = service.OpenImport(path)) FAIL(status->text);
    return Go(10'000).value();
  }
  // What each recipient got, in order.
  std::map<std::string, std::vector<std::string>> Deliver(std::uint64_t events) {
    service.Resume(kKey);
    REQUIRE(test::Eventually([&] { return stats().delivered == events; }));
    const auto part = [](const std::string& body, const std::string& name) {
      const std::size_t at = body.find(name) + name.size();
      return body.substr(at, body.find('&', at) - at);
    };
    std::map<std::string, std::vector<std::string>> got;
    for (const HttpRequest& request : server.requests())
      got[part(request.body, "to=")].push_back(part(request.body, "body="));
    return got;
  }
};

// The node that is no more.
struct Left : Spool {
  Left() { Open(); }
  // u0 to u3 in turn; the text is the number.
  void Fill(Sequence from, Sequence to) {
    for (Sequence n = from; n <= to; ++n) Append(n, "u" + std::to_string(n % 4));
    Commit();
  }
  // Ends as a process that is killed: its log is not copied back.
  std::string Kill() {
    const std::string copy = directory.path + "/killed.db";
    for (const char* suffix : {"", "-wal"})
      std::filesystem::copy_file(File() + suffix, copy + suffix);
    outbox.reset();
    return copy;
  }
};

}  // namespace

TEST_CASE("import: the backlog of every version, and the file stays as it was") {
  Importer node;
  node.Configure(1'000'000, kOther);
  const std::string file = node.directory.path + "/other.db";
  std::string fixture = OFFLINE_POST_TEST_DATA "/backlog-v1.db";
  SECTION("1") {}
  SECTION("2") { fixture = OFFLINE_POST_TEST_DATA "/backlog-v2.db"; }
  SECTION("3") { fixture = OFFLINE_POST_TEST_DATA "/backlog-v3.db"; }
  SECTION("4") { fixture = OFFLINE_POST_TEST_DATA "/backlog-v4.db"; }
  std::filesystem::copy_file(fixture, file);
  const Report report = node.Import(file);
  CHECK(report.trouble.empty());
  CHECK(report.pending == 9);
  CHECK(report.dead == 1);
  CHECK(report.left == 0);
  CHECK(report.file == file + ".imported");
  CHECK_FALSE(std::filesystem::exists(file));
  CHECK(Bytes(report.file) == Bytes(fixture));
  CHECK(node.stats().accepted == 9);
  CHECK(node.stats().pending == 8);
  CHECK(node.stats().dead == 1);
  CHECK(node.stats(kOther).accepted == 1);
  CHECK(node.stats().state == EndpointState::kPaused);  // as here, whatever it was there

  std::filesystem::copy_file(fixture, file);
  const Report again = node.Import(file);
  CHECK(again.pending + again.dead + again.left == 0);
  CHECK(again.before == 10);
  CHECK(again.file == file + ".imported-1");
  CHECK(node.Import(again.file).file == again.file);
  CHECK(node.stats().accepted == 9);
  // 1 and 2 were delivered, 3 is dead, 4 was cancelled there.
  const auto got = node.Deliver(8);
  CHECK(got.at("user0") == std::vector<std::string>{"8", "12"});
  CHECK(got.at("user1") == std::vector<std::string>{"5", "9"});
  for (const HttpRequest& request : node.server.requests())
    CHECK(Has(request.head, "webhook-id: msg_user"));  // as it was
}

TEST_CASE("import: again after it was interrupted, also by the end of the node") {
  Left left;
  left.Fill(1, 1'700);
  const std::string file = left.Kill();
  Importer node;
  for (const int events : {500, 1'000}) {
    REQUIRE_FALSE(node.service.OpenImport(file).has_value());
    CHECK_FALSE(node.Go(2).has_value());  // a question, and a slice
    CHECK(node.stats().accepted == static_cast<std::uint64_t>(events));
    node.service.CloseImport();
    CHECK(std::filesystem::exists(file));
  }
  CHECK(node.Remove(50) == 1'000);
  REQUIRE(node.service.Stop() == Service::Stopped::kDone);
  CHECK(test::FaultsOfFile(node.directory.path + "/mod_offline_post.db").empty());
  node.Configure(1'000'000);
  const Report report = node.Import(file);
  CHECK(report.before == 1'000);
  CHECK(report.pending == 700);
  CHECK(std::filesystem::exists(file + ".imported-wal"));  // it was not copied back
  const auto got = node.Deliver(1'700);
  CHECK(node.server.requests().size() == 1'700);
  for (const auto& [user, texts] : got) {
    CHECK(texts.size() == 425);
    CHECK(std::is_sorted(texts.begin(), texts.end(),
                         [](const auto& a, const auto& b) { return std::stoi(a) < std::stoi(b); }));
  }
}

TEST_CASE("import: a slice is bounded in bytes, and nothing is left between two") {
  constexpr Sequence kEvents = 60;
  constexpr std::size_t kText = 256 * 1024;
  Left left;
  for (Sequence n = 1; n <= kEvents; ++n) left.AppendLarge(n, "user" + std::to_string(n), kText);
  left.Commit();
  for (const Delivery& delivery : left.Claim(kEvents / 2))
    left.Finish(delivery, Final::kDead, {400, "HTTP 400", ""});
  left.Commit();
  const test::ManualClock clock;
  auto reader = SpoolReader::Open(left.Kill(), "", clock);
  REQUIRE(reader.ok());
  ImportPosition position;
  std::size_t pending = 0;
  std::size_t dead = 0;
  int slices = 0;
  for (bool ended = false; !ended; ++slices) {
    auto read = reader.value()->Read(1, position, 500);
    REQUIRE(read.ok());
    const SpoolReader::Slice& slice = read.value();
    std::size_t bytes = 0;
    for (const Delivery& delivery : slice.pending) bytes += EventBytes(*delivery.event);
    for (const DeadLetter& letter : slice.dead) bytes += EventBytes(*letter.delivery.event);
    CHECK(bytes < 2 * (kSliceBytes + 2 * kText));  // the last that wait, and the first dead
    pending += slice.pending.size();
    dead += slice.dead.size();
    position = slice.position;
    ended = slice.ended;
  }
  CHECK(pending == kEvents / 2);
  CHECK(dead == kEvents / 2);
  CHECK(slices >= 3);
}

TEST_CASE("import: as far as there is room") {
  Left left;
  left.Fill(1, 700);
  left.Finish(left.Claim(1)[0], Final::kDead, {400, "HTTP 400", "no"});
  left.Commit();
  const std::string file = left.Kill();
  Importer node;
  node.Configure(100);
  const Report full = node.Import(file);
  CHECK(full.pending == 100);
  CHECK(full.dead == 0);
  CHECK(full.left == 600);
  CHECK(Has(full.trouble, "no more room for example.org"));
  CHECK(full.file == file);
  CHECK(std::filesystem::exists(file));
  CHECK(node.stats().rejected == 0);
  node.Configure(10'000);
  const Report rest = node.Import(file);
  CHECK(rest.before == 100);
  CHECK(rest.pending == 599);
  CHECK(rest.dead == 1);
  CHECK(rest.left == 0);
  CHECK(node.stats().accepted == 700);
  CHECK(node.Deliver(699).size() == 4);
  CHECK(node.stats().dead == 1);
}

TEST_CASE("import: what has no endpoint here is left, and said") {
  Importer node;
  const std::string file = node.directory.path + "/other.db";
  std::filesystem::copy_file(OFFLINE_POST_TEST_DATA "/backlog-v3.db", file);
  const Report some = node.Import(file);
  CHECK(some.pending == 8);
  CHECK(some.left == 1);
  CHECK(some.trouble ==
        "mod_offline_post does not run here for other.org: configure it, or do without");
  CHECK(some.file == file);
  node.Configure(10, kOther);
  const Report rest = node.Import(file);
  CHECK(rest.before == 9);
  CHECK(rest.pending == 1);
  CHECK(rest.file == file + ".imported");
}

TEST_CASE("import: what was withdrawn there is not sent here") {
  Left left;
  left.Fill(1, 8);
  const std::uint64_t juliet = RecipientKey(*left.outbox->StoredHashKey(), "u1", "example.org");
  left.outbox->SetWithdrawal(1, MarkKey(Marked::kRecipient, juliet), 6, Final::kCancelled);
  left.Fill(9, 9);
  Importer node;
  const Report report = node.Import(left.Kill());
  CHECK(report.withdrawn == 2);  // 1 and 5, but not 9
  CHECK(report.pending == 7);
  CHECK(report.left == 0);
  CHECK(node.Deliver(7).at("u1") == std::vector<std::string>{"9"});
}

TEST_CASE("import: it comes behind what waits here, with the attempts that it has had") {
  Left left;
  left.Fill(1, 8);
  std::vector<Delivery> claimed = left.Claim(4);
  claimed[0].attempts = 7;
  left.outbox->Reschedule(claimed[0], left.clock.MonotonicMs() + 600'000, {});
  left.Commit();
  const std::string file = left.Kill();
  auto reader = SpoolReader::Open(file, "", left.clock);
  REQUIRE(reader.ok());
  auto slice = reader.value()->Read(1, {}, 500);
  REQUIRE(slice.ok());
  CHECK(slice.value().pending.size() == 8);
  CHECK(slice.value().pending[0].attempts == 7);

  Spool here;
  here.Open();
  here.Append(1, "u1");
  ImportedRows rows;
  rows.endpoint = 1;
  rows.source = reader.value()->source();
  Sequence next = 2;
  for (Delivery& delivery : slice.value().pending) {
    delivery.sequence = next++;
    delivery.recipient = RecipientKey(*delivery.event);
    rows.pending.push_back(delivery);
  }
  rows.position = slice.value().position;
  REQUIRE(here.outbox->Import(rows));
  here.Append(next, "u1");
  here.Commit();
  std::vector<std::pair<Sequence, int>> to_u1;
  SECTION("at once") {}
  SECTION("by the next run") { here.Open(); }
  for (int turn = 0; turn < 10; ++turn) {
    for (const Delivery& delivery : here.Claim()) {
      if (delivery.event->to.user == "u1") to_u1.emplace_back(delivery.sequence, delivery.attempts);
      here.Finish(delivery);
    }
    here.Commit();
  }
  CHECK(to_u1 == std::vector<std::pair<Sequence, int>>{{1, 0}, {2, 7}, {6, 0}, {10, 0}});
  here.outbox.reset();
  CHECK(test::FaultsOfFile(here.File()).empty());
}

TEST_CASE("import: what is refused, and why") {
  Importer node;
  const std::string file = node.directory.path + "/other.db";
  const auto write = [&file](const std::string& bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
  };
  CHECK(Has(node.Refused(file), "cannot find"));
  CHECK(Has(node.Refused(node.directory.path), "is not a file"));
  CHECK(Has(node.Refused(node.directory.path + "/mod_offline_post.db"), "this node's own"));
  const std::string link = node.directory.path + "/link.db";
  std::filesystem::create_symlink("mod_offline_post.db", link);
  CHECK(Has(node.Refused(link), "this node's own"));
  write("");
  CHECK(Has(node.Refused(file), "is no spool"));
  write("a text of somebody, which is no database at all" + std::string(4'096, '.'));
  CHECK(Has(node.Refused(file), "is no spool"));
  Left left;
  left.Fill(1, 3);
  CHECK(Has(node.Refused(left.File()), "a node that runs has it"));
  CHECK_FALSE(test::Has(left.Kill(), " "));
  {
    Database database;
    database.Open(left.File(), "", 0);
    database.Exec("PRAGMA user_version = 99");
  }
  CHECK(Has(node.Refused(left.File()), "newer version (schema 99, this one knows"));
  CHECK(node.Go(1).value().trouble == "no import was begun");
  CHECK(node.stats().accepted == 0);
}

TEST_CASE("import: not into memory") {
  Importer node(false);
  CHECK(Has(node.Refused(OFFLINE_POST_TEST_DATA "/backlog-v3.db"), "keeps what waits in memory"));
}

TEST_CASE("import: a damaged file, as far as it can be read") {
  Left left;
  left.Fill(1, 4'000);
  left.outbox.reset();
  std::string bytes = Bytes(left.File());
  REQUIRE(bytes.size() > 400'000);
  std::memset(bytes.data() + bytes.size() / 2, 0xff, 40'960);
  std::ofstream(left.File(), std::ios::binary) << bytes;
  Importer node;
  const Report report = node.Import(left.File());
  CHECK(report.pending > 0);
  CHECK(report.pending < 4'000);
  CHECK(Has(report.trouble, "malformed"));
  CHECK(Has(report.trouble, ".dump"));
  CHECK(report.file == left.File());
  CHECK(node.stats().accepted == report.pending);
}

TEST_CASE("import: what had left its recipient's order there is in it here") {
  Left left;
  left.Fill(1, 8);
  Delivery claimed = left.Claim(1).at(0);  // 1, to u1
  claimed.attempts = claimed.failures = 5;
  left.outbox->LeaveOrder(claimed, left.clock.MonotonicMs() + 600'000, {});
  left.Commit();
  const std::string file = left.Kill();
  auto reader = SpoolReader::Open(file, "", left.clock);
  REQUIRE(reader.ok());
  auto slice = reader.value()->Read(1, {}, 500);
  REQUIRE(slice.ok());
  CHECK(slice.value().pending.at(0).attempts == 5);
  CHECK(slice.value().pending.at(0).failures == 0);
  reader.value().reset();
  Importer node;
  CHECK(node.Import(file).pending == 8);
  CHECK(node.stats().out_of_order == 0);
  CHECK(node.Deliver(8).at("u1") == std::vector<std::string>{"1", "5"});
}

}  // namespace offline_post
