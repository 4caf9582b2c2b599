// A spool in a directory of its own, driven by hand: no thread, a clock that the test moves.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "engine/notices.hpp"
#include "outbox/spool_outbox.hpp"
#include "support/outbox_listener.hpp"
#include "support/values.hpp"

namespace offline_post::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "offline_post_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

inline std::vector<Sequence> Sequences(const std::vector<Delivery>& deliveries) {
  std::vector<Sequence> out;
  for (const Delivery& delivery : deliveries) out.push_back(delivery.sequence);
  return out;
}

struct Spool {
  TemporaryDirectory directory;
  ManualClock clock;
  Notices notices{clock};
  RecordingListener listener;
  SpoolOptions options;
  std::unique_ptr<SpoolOutbox> outbox;

  Spool() {
    options.directory = directory.path;
    options.min_free_bytes = 0;
    options.own_thread = false;
    options.busy_ms = 0;
  }

  std::string File() const { return directory.path + "/" + SpoolOutbox::kFileName; }

  Result<std::unique_ptr<SpoolOutbox>> TryOpen() {
    outbox.reset();
    return SpoolOutbox::Open(options, clock, notices, {});
  }
  SpoolOutbox& Open() {
    auto opened = TryOpen();
    if (!opened.ok()) FAIL(opened.error().text);
    outbox = std::move(opened.value());
    outbox->Register(1, {"example.org", "mod_offline_post"});
    return *outbox;
  }

  void Append(Sequence sequence, const std::string& to, EndpointId endpoint = 1) {
    Delivery delivery = MakeDelivery(sequence, to, endpoint);
    delivery.accepted_ms = clock.MonotonicMs();
    outbox->Append(std::move(delivery));
  }
  // With a text of so many bytes.
  void AppendLarge(Sequence sequence, const std::string& to, std::size_t bytes) {
    Delivery delivery = MakeDelivery(sequence, to, 1);
    delivery.accepted_ms = clock.MonotonicMs();
    auto event = std::make_shared<Event>(*delivery.event);
    event->body.assign(bytes, 'x');
    delivery.event = std::move(event);
    outbox->Append(std::move(delivery));
  }
  // Commits what was appended.
  void Commit() {
    outbox->Flush({});
    Poll();
  }
  void Poll() {
    while (outbox->Poll(listener)) {
    }
  }
  std::vector<Delivery> Claim(std::size_t limit = 1'000, EndpointId endpoint = 1) {
    outbox->Claim(endpoint, {limit});
    Poll();
    return std::move(listener.claimed);
  }
  void Finish(const Delivery& delivery, Final how = Final::kDelivered, const Note& note = {}) {
    outbox->Finish(delivery, how, note);
  }
  StoredEndpoint Stored(EndpointId endpoint = 1) {
    for (const StoredEndpoint& stored : outbox->Stored())
      if (stored.id == endpoint) return stored;
    return {};
  }
  // Closes, opens, and looks.
  StoredEndpoint Reopen() {
    Open();
    return Stored();
  }
  bool HasNotice(const std::string& text) const {
    for (const Notice& notice : notices.Waiting())
      if (notice.line.find(text) != std::string::npos) return true;
    return false;
  }
};

}  // namespace offline_post::test
