// Service: the one thread of a node that serves all endpoints. It owns the rooms and connects them:
// mailbox, engine, outbox, transport.
//
// After the last endpoint was removed the thread ends and the spool is closed; what is pending in
// memory outlives that, and the next Configure finds it again.
//
// Threads: any, for every public method; none waits for the network.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.hpp"
#include "http/curl_transport.hpp"
#include "http/tls_files.hpp"
#include "model/event_ids.hpp"
#include "model/result.hpp"
#include "outbox/spool_outbox.hpp"
#include "payload/recipe.hpp"
#include "service/disk_job.hpp"
#include "service/mailbox.hpp"
#include "service/rate_limiter.hpp"
#include "service/spool_import.hpp"
#include "service/turn_watch.hpp"

namespace offline_post {

// Where the node keeps what is pending: the same for all endpoints.
struct SpoolConfig {
  bool enabled = false;
  std::string directory;
  std::uint64_t min_free_bytes = 0;  // left to others on its disk
  bool operator==(const SpoolConfig&) const = default;
};

// What an operator configures for an endpoint, before it is compiled.
struct EndpointConfig {
  EndpointKey key;
  std::string post_url;
  std::string auth_token;
  Millis timeout_ms = 10'000;
  Millis connect_timeout_ms = 5'000;
  Millis connection_max_age_ms = 300'000;  // at least a second
  int max_connections = 64;
  QueueLimits limits;
  TlsFiles tls;
  std::string proxy;
  HttpVersion http_version = HttpVersion::kAuto;
  RetrySchedule schedule;
  bool ordered = true;
  Retention retention;
  Millis collapse_interval_ms = 0;
  RateLimits rates;
  BatchLimits batch;
  RecipeConfig recipe;  // without its post_url and batch, which stand above
  SpoolConfig spool;
};

enum class SpoolState { kMemory, kDurable, kDegraded };

class Service {
 public:
  // Receives log lines, on the service thread. False: nobody listens; they are kept, bounded, and
  // offered again.
  using NoticeSink = std::function<bool(const std::vector<Notice>&)>;
  // What is still pending when an endpoint is gone; called on the service thread.
  using RemovedCallback = std::function<void(std::uint64_t pending)>;

  explicit Service(NoticeSink sink);
  // Stops as Shutdown does.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // A new endpoint, or a reload. Starts the thread. `uses`: filled with what the requests will use
  // of an event, as payload/recipe.hpp names it.
  Status Configure(const EndpointConfig& config, std::vector<std::string>* uses = nullptr);

  // Gives the event its id and time and queues it. Once it is accepted it belongs to all: read it
  // only. `committed`: see the outbox; it may be called on any thread.
  Admission Submit(EndpointKeyView key, const std::shared_ptr<Event>& event,
                   CommitCallback committed = {});

  // Takes its turn behind what the same thread submitted before. False: no such endpoint.
  bool Withdraw(EndpointKeyView key, const Withdrawal& withdrawal);

  // Accepts nothing more for the endpoint, sends what can be sent, and calls back when that is done
  // or `timeout_ms` is over; what is left stays in the outbox. Removals that follow each other
  // within a second share one deadline, so that a node with many vhosts stops within one
  // `timeout_ms`. False: no such endpoint.
  bool Remove(EndpointKeyView key, Millis timeout_ms, RemovedCallback callback);

  // As the engine's; callbacks come on the service thread, none if that ends before. False: no such
  // endpoint.
  bool Pause(EndpointKeyView key);
  bool Resume(EndpointKeyView key);
  bool Hasten(EndpointKeyView key);
  // One POST of this event at once, as Engine::Test says. What it sends is shown with all that may
  // be a secret hidden; see Masked.
  struct Tested {
    Request request;
    Outcome outcome;
    Millis took_ms = 0;
  };
  bool Test(EndpointKeyView key, const std::shared_ptr<Event>& event,
            std::function<void(const Tested&)> done);
  bool ListDead(EndpointKeyView key, DeadFilter filter, Sequence after, std::size_t limit,
                Engine::ListCallback done);
  bool ReplayDead(EndpointKeyView key, DeadFilter filter, Engine::CountCallback done);
  bool DropDead(EndpointKeyView key, DeadFilter filter, Engine::CountCallback done);

  // Takes over what the file of another node's spool has left, for endpoints that are configured
  // here. First OpenImport, which waits for disks; then NextImport again and again, each time after
  // `told` was called: until it reports. One at a time: another OpenImport ends the first.
  Status OpenImport(const std::string& path);
  std::optional<SpoolImport::Report> NextImport(const std::function<void()>& told);
  void CloseImport();

  // Idle connections are closed, and names are looked up anew: they may have moved.
  void Reconnect();

  // Joins the thread and closes every descriptor. kDiskSilent: all but those of the spool, whose
  // disk hangs beyond the deadline of the last Remove (a second at least): the rest is done when it
  // answers, and until then another Configure waits in vain. kBusy: an endpoint is configured.
  enum class Stopped { kDone, kBusy, kDiskSilent };
  Stopped Stop();
  // The same without asking, for the end of the process: bounded likewise. Idempotent; nothing
  // starts the thread again.
  void Shutdown();

  std::optional<Stats> GetStats(EndpointKeyView key) const;
  std::optional<Observed> Observe(EndpointKeyView key) const;
  Histogram CommitTimes() const;
  // The longest stretch of the service thread within the last one to two minutes (microseconds).
  std::uint64_t longest_turn_us() const { return turns_.LongestUs(); }
  // The same in CPU time, since the start.
  std::uint64_t longest_turn_cpu_us() const { return turns_.LongestCpuUs(); }
  bool running() const;
  SpoolState spool_state() const { return spool_state_; }
  std::uint64_t spool_bytes() const { return spool_bytes_; }  // on the disk
  // How long the disk of the spool has not answered, whole seconds; 0: less than kDiskSilentMs.
  std::int64_t disk_silent_s() const;
  static constexpr Millis kDiskSilentMs = 5'000;

 private:
  struct SystemClock final : Clock {
    Millis MonotonicMs() const override;
    Millis UnixMs() const override;
  };

  struct Registration {
    EndpointId id = 0;
    std::shared_ptr<Ledger> ledger;
    RateLimits rates;
    std::uint64_t rate_salt = 0;  // of its buckets in rates_
    std::shared_ptr<const Endpoint> masked;
    bool configured = false;
  };

  struct Mail {
    EndpointId endpoint;
    std::shared_ptr<const Event> event;  // none: a withdrawal
    CommitCallback committed;
    Withdrawal withdrawal;
  };

  struct Removal {
    EndpointId id;
    Millis deadline_ms;
    RemovedCallback callback;
  };

  // With life_mutex_ held.
  Status StartThread(const SpoolConfig& spool);
  bool JoinThread();
  Status CheckSpool(const EndpointConfig& config) const;
  void OpenRooms(const SpoolConfig& spool);
  bool MustKeepRooms(const SpoolConfig& spool);
  void TellWhatStays(const SpoolConfig& spool);
  std::unique_ptr<Outbox> MakeOutbox(const SpoolConfig& spool);
  void RestoreEndpoints();
  bool CloseRooms();
  bool CloseOutbox();
  Result<std::unique_ptr<SpoolOutbox>> OpenSpool(const SpoolOptions& options);
  void PublishSpool();
  void SayWhenSilent();

  // Commands for the service thread. They are queued with registry_mutex_ held and while serving_,
  // so that the thread runs each, the last ones at its end.
  using Commands = std::list<std::function<void()>>;
  static Commands Command(std::function<void()> command);
  void Queue(Commands commands) noexcept;
  bool CommandFor(EndpointKeyView key, std::function<void(EndpointId)> command);
  void WakeSleeper();

  void WarnOfCertificate(const Endpoint& endpoint);  // the service thread
  bool IsWithinRate(const Registration& registration, Event& event);

  // The service thread.
  void Run() noexcept;
  void RunOnce();
  void RunCommands();
  bool TakeMail();
  bool ReadMail();
  void Work();
  void FinishRemovals();
  void FinishRemoval(const Removal& removal);
  void ReportRejections();
  void DeliverNotices(bool last);
  void GiveBackMemory(Millis now);
  void Wait(bool worked);

  SystemClock clock_;
  Notices notices_;
  CurlTransport transport_;
  // Made and unmade with life_mutex_ held and no thread running; else the service thread's.
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<Engine> engine_;
  SpoolConfig spool_;           // guarded by life_mutex_: what outbox_ was made for
  SpoolConfig asked_spool_;     // guarded by life_mutex_: what it should be made for
  bool spool_enabled_ = false;  // of spool_, for the service thread
  bool untrimmed_ = false;      // there was work since memory was given back
  NoticeSink sink_;
  EventIds event_ids_;

  // The hook's way: a read lock, a ledger's lock, a push.
  mutable std::shared_mutex registry_mutex_;
  std::map<EndpointKey, Registration, EndpointKeyLess>
      registry_;                         // guarded by registry_mutex_; never shrinks
  EndpointId last_id_ = 0;               // guarded by it too
  std::uint64_t last_rate_salt_ = 0;     // guarded by it too
  bool serving_ = false;                 // guarded by it too: commands are run
  const Outbox* seen_outbox_ = nullptr;  // guarded by it too: outbox_, while it lives
  RateLimiter rates_;
  Mailbox<Mail> mailbox_;
  std::atomic<bool> rejected_{false};  // since the last report
  std::atomic<bool> hurry_{false};     // somebody waits for what is in the mailbox
  std::atomic<bool> has_room_{true};   // as the outbox says
  std::atomic<SpoolState> spool_state_{SpoolState::kMemory};
  std::atomic<std::uint64_t> spool_bytes_{0};

  // The way of everything else.
  mutable std::mutex life_mutex_;  // one start, stop or reload at a time; before registry_mutex_
  std::thread thread_;             // guarded by life_mutex_
  bool shut_down_ = false;         // guarded by life_mutex_
  std::mutex command_mutex_;
  Commands commands_;  // guarded by command_mutex_
  std::atomic<bool> stopping_{false};
  bool last_words_ = false;  // set before stopping_: somebody still reads the notices

  std::atomic<Millis> removal_ends_ms_{0};  // of the last removal: what a stop may wait for

  std::mutex import_mutex_;
  std::shared_ptr<SpoolImport> import_;  // guarded by import_mutex_

  // The service thread's own.
  std::vector<Mail> inbox_;
  std::size_t inbox_read_ = 0;
  std::vector<Removal> removals_;
  std::optional<Millis> removal_deadline_ms_;  // shared by removals that follow each other
  Millis removal_seen_ms_ = 0;
  struct Rejections {
    std::string name;  // of the endpoint, in the log
    std::shared_ptr<Ledger> ledger;
    std::uint64_t reported = 0;
  };
  std::map<EndpointId, Rejections> rejections_;
  TurnWatch turns_;
  Millis last_work_ms_ = 0;
  Millis next_rejection_report_ms_ = 0;
  Millis next_notices_ms_ = 0;
  Millis next_trim_ms_ = 0;

  // The last that opened or closed the spool; each waits for the one before. The last member: what
  // such a job uses outlives it.
  std::shared_ptr<DiskJob> disk_job_;  // guarded by life_mutex_
};

}  // namespace offline_post
