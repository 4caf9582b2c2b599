#include "service/service.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "http/origin.hpp"
#include "outbox/attributes.hpp"
#include "payload/masked.hpp"
#include "payload/request_builder.hpp"
#include "service/random_bits.hpp"

namespace offline_post {

namespace {

// Removals that follow each other within this time share one deadline.
constexpr Millis kSharedDeadlineMs = 1'000;

}  // namespace

Millis Service::SystemClock::MonotonicMs() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Millis Service::SystemClock::UnixMs() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Service::Service(NoticeSink sink)
    : notices_(clock_),
      transport_(clock_, &notices_),
      sink_(std::move(sink)),
      event_ids_(RandomBits()) {}

Service::~Service() { Shutdown(); }

Status Service::Configure(const EndpointConfig& config, std::vector<std::string>* uses) {
  Result<Origin> origin =
      ReadOrigin(WithoutTemplates(config.post_url), config.tls, config.proxy, config.http_version);
  if (!origin.ok()) return origin.error();
  RecipeConfig recipe_config = config.recipe;
  recipe_config.post_url = config.post_url;
  recipe_config.batch = config.batch.any();
  recipe_config.token = !config.auth_token.empty();
  Result<std::shared_ptr<const Recipe>> recipe = CompileRecipe(recipe_config);
  if (!recipe.ok()) return recipe.error();
  if (uses != nullptr) {
    *uses = Uses(*recipe.value());
    // What comes out of a room is no sender's: whoever limits senders must be told.
    if (config.rates.sender > 0 && std::find(uses->begin(), uses->end(), "room") == uses->end()) {
      uses->emplace_back("room");
    }
  }
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->key = config.key;
  endpoint->post_url = config.post_url;
  endpoint->origin = std::move(origin.value());
  endpoint->auth_token = config.auth_token;
  endpoint->timeout_ms = config.timeout_ms;
  endpoint->connect_timeout_ms = config.connect_timeout_ms;
  endpoint->connection_max_age_ms = config.connection_max_age_ms;
  endpoint->max_connections = config.max_connections;
  endpoint->limits = config.limits;
  endpoint->schedule = config.schedule;
  endpoint->ordered = config.ordered;
  endpoint->retention = config.retention;
  endpoint->collapse_interval_ms = config.collapse_interval_ms;
  endpoint->rates = config.rates;
  endpoint->batch = config.batch;
  endpoint->recipe = std::move(recipe.value());

  std::shared_ptr<const Endpoint> masked = Masked(*endpoint, recipe_config);

  const std::lock_guard life(life_mutex_);
  if (Status status = CheckSpool(config)) return status;
  if (Status status = StartThread(config.spool)) return status;
  EndpointId id = 0;
  std::shared_ptr<Ledger> ledger;
  bool reload = false;
  Registration* registration = nullptr;
  {
    const std::unique_lock lock(registry_mutex_);
    registration = &registry_[config.key];  // never goes
    reload = registration->configured;
    if (!registration->ledger) {
      registration->ledger = std::make_shared<Ledger>();
      registration->id = ++last_id_;
    }
    registration->masked = std::move(masked);
    // A reload that leaves the rates alone leaves the buckets as full as they are.
    if (registration->rates != config.rates) registration->rate_salt = ++last_rate_salt_;
    registration->rates = config.rates;
    id = registration->id;
    ledger = registration->ledger;
  }
  const std::uint64_t reported = ledger->Snapshot().rejected_full;  // before the module was stopped
  Commands command = Command([this, id, endpoint, ledger, reported, reload] {
    // The backend's or the proxy's name may have moved to another address.
    if (reload) transport_.Reconnect();
    // Back before it was gone: what is in flight goes on.
    std::erase_if(removals_, [id, &ledger](const Removal& removal) {
      if (removal.id == id) removal.callback(ledger->Snapshot().pending);
      return removal.id == id;
    });
    removal_deadline_ms_.reset();  // a node that configures is not going down
    engine_->Configure(id, endpoint, ledger);
    WarnOfCertificate(*endpoint);
    transport_.SetConnectionLimit(engine_->ConnectionLimit());
    rejections_.try_emplace(id, Rejections{NameOf(endpoint->key), ledger, reported});
  });
  // In this order: mail for this endpoint is read after the command. And in one piece with
  // `configured`, so that a Remove comes before all of it or after.
  const std::unique_lock lock(registry_mutex_);
  registration->configured = true;
  Queue(std::move(command));
  ledger->Open(config.limits);
  return std::nullopt;
}

// Not an error: the server may not ask for it, or the new one may come any minute.
void Service::WarnOfCertificate(const Endpoint& endpoint) {
  const std::string trouble = CertificateTrouble(endpoint.origin.tls, clock_.UnixMs());
  if (trouble.empty()) return;
  const std::string name = NameOf(endpoint.key);
  notices_.AddRarely(name + " client_cert", Notice::Level::kError,
                     name + ": the certificate in client_cert " + trouble +
                         "; servers that ask for it will refuse it. Renew the file, then run "
                         "`ejabberdctl reload_config`");
}

Admission Service::Submit(EndpointKeyView key, const std::shared_ptr<Event>& event,
                          CommitCallback committed) {
  MakeStorable(event->attributes);  // may take a while: before the lock
  // Held to the end: JoinThread closes the transport, which Wakeup needs, only when nobody is in
  // here.
  const std::shared_lock lock(registry_mutex_);
  const auto found = registry_.find(key);
  if (found == registry_.end()) return Admission::kStopped;
  const Registration& registration = found->second;
  if (registration.rates.any() && registration.configured && !IsWithinRate(registration, *event)) {
    registration.ledger->Limited();
    return Admission::kLimited;
  }
  event->id = event_ids_.Next();
  event->accepted_unix_ms = clock_.UnixMs();
  const bool waits = committed != nullptr;
  // Whatever needs memory, before the event counts as accepted.
  auto letter = Mailbox<Mail>::Write({registration.id, event, std::move(committed), {}});
  const Admission admission = registration.ledger->Reserve(EventBytes(*event), has_room_);
  if (admission != Admission::kAccepted) {
    if (admission == Admission::kFull && !rejected_.exchange(true) && mailbox_.TakeSleeper()) {
      transport_.Wakeup();
    }
    return admission;
  }
  // Who waits for the commit is not kept waiting by a nap.
  const bool wake = mailbox_.Post(std::move(letter));
  if (waits) hurry_ = true;
  if (wake || (waits && mailbox_.TakeSleeper())) transport_.Wakeup();
  return Admission::kAccepted;
}

bool Service::Withdraw(EndpointKeyView key, const Withdrawal& withdrawal) {
  const std::shared_lock lock(registry_mutex_);  // held to the end, as in Submit
  const auto found = registry_.find(key);
  if (found == registry_.end() || !found->second.configured) return false;
  if (mailbox_.Push({found->second.id, nullptr, nullptr, withdrawal})) transport_.Wakeup();
  return true;
}

bool Service::Remove(EndpointKeyView key, Millis timeout_ms, RemovedCallback callback) {
  const std::unique_lock lock(registry_mutex_);
  const auto found = registry_.find(key);
  if (!serving_ || found == registry_.end() || !found->second.configured) return false;
  const EndpointId id = found->second.id;
  Commands command = Command([this, id, timeout_ms, callback = std::move(callback)] {
    const Millis now = clock_.MonotonicMs();
    if (!removal_deadline_ms_ || now - removal_seen_ms_ > kSharedDeadlineMs) {
      removal_deadline_ms_ = now + timeout_ms;
    }
    removal_seen_ms_ = now;
    removal_ends_ms_ = *removal_deadline_ms_;
    removals_.push_back({id, *removal_deadline_ms_, callback});
    engine_->Drain(id);
  });
  found->second.configured = false;
  found->second.ledger->Close();
  Queue(std::move(command));
  return true;
}

bool Service::Pause(EndpointKeyView key) {
  return CommandFor(key, [this](EndpointId id) { engine_->Pause(id); });
}

bool Service::Resume(EndpointKeyView key) {
  return CommandFor(key, [this](EndpointId id) { engine_->Resume(id); });
}

bool Service::Hasten(EndpointKeyView key) {
  return CommandFor(key, [this](EndpointId id) { engine_->Hasten(id); });
}

bool Service::Test(EndpointKeyView key, const std::shared_ptr<Event>& event,
                   std::function<void(const Tested&)> done) {
  std::shared_ptr<const Endpoint> masked;
  {
    const std::shared_lock lock(registry_mutex_);
    const auto found = registry_.find(key);
    if (found == registry_.end() || !found->second.configured) return false;
    masked = found->second.masked;
  }
  MakeStorable(event->attributes);
  event->id = event_ids_.Next();
  event->accepted_unix_ms = clock_.UnixMs();
  Delivery delivery;
  delivery.event = event;
  auto tested = std::make_shared<Tested>();
  tested->request = BuildRequest(0, masked, {delivery}, event->accepted_unix_ms);
  return CommandFor(key, [this, event, tested, done = std::move(done)](EndpointId id) {
    engine_->Test(id, event, [tested, done](const Outcome& outcome, Millis took_ms) {
      tested->outcome = outcome;
      tested->took_ms = took_ms;
      done(*tested);
    });
  });
}

bool Service::ListDead(EndpointKeyView key, DeadFilter filter, Sequence after, std::size_t limit,
                       Engine::ListCallback done) {
  return CommandFor(key, [this, filter = std::move(filter), after, limit, done = std::move(done)](
                             EndpointId id) { engine_->ListDead(id, filter, after, limit, done); });
}

bool Service::ReplayDead(EndpointKeyView key, DeadFilter filter, Engine::CountCallback done) {
  return CommandFor(key, [this, filter = std::move(filter), done = std::move(done)](EndpointId id) {
    engine_->ReplayDead(id, filter, done);
  });
}

bool Service::DropDead(EndpointKeyView key, DeadFilter filter, Engine::CountCallback done) {
  return CommandFor(key, [this, filter = std::move(filter), done = std::move(done)](EndpointId id) {
    engine_->DropDead(id, filter, done);
  });
}

void Service::Reconnect() {
  const std::shared_lock lock(registry_mutex_);
  if (serving_) Queue(Command([this] { transport_.Reconnect(); }));
}

Service::Stopped Service::Stop() {
  const std::lock_guard life(life_mutex_);
  {
    const std::shared_lock lock(registry_mutex_);
    for (const auto& [key, registration] : registry_) {
      if (registration.configured) return Stopped::kBusy;
    }
  }
  last_words_ = true;
  const bool closed = JoinThread();
  last_words_ = false;
  return closed ? Stopped::kDone : Stopped::kDiskSilent;
}

void Service::Shutdown() {
  const std::lock_guard life(life_mutex_);
  shut_down_ = true;
  JoinThread();
  CloseRooms();  // what a Stop has kept
}

std::optional<Stats> Service::GetStats(EndpointKeyView key) const {
  const std::shared_lock lock(registry_mutex_);
  const auto found = registry_.find(key);
  if (found == registry_.end()) return std::nullopt;
  return found->second.ledger->Snapshot();
}

std::optional<Observed> Service::Observe(EndpointKeyView key) const {
  std::shared_ptr<Ledger> ledger;
  Millis stored = 0;
  {
    const std::shared_lock lock(registry_mutex_);
    const auto found = registry_.find(key);
    if (found == registry_.end()) return std::nullopt;
    ledger = found->second.ledger;
    if (seen_outbox_ != nullptr) stored = seen_outbox_->OldestUnixMs(found->second.id);
  }
  Observed observed = ledger->seen().Snapshot(clock_.MonotonicMs(), clock_.UnixMs());
  const Stats stats = ledger->Snapshot();
  observed.state = stats.state;
  observed.limits = ledger->limits();
  // The outbox knows better, and what earlier runs have left, but as of its last look.
  if (stats.pending == 0) {
    observed.oldest_unix_ms = 0;
  } else if (stored != 0 && (observed.oldest_unix_ms == 0 || stored < observed.oldest_unix_ms)) {
    observed.oldest_unix_ms = stored;
  }
  return observed;
}

Histogram Service::CommitTimes() const {
  const std::shared_lock lock(registry_mutex_);
  return seen_outbox_ != nullptr ? seen_outbox_->CommitTimes() : Histogram(kCommitBoundsUs);
}

std::int64_t Service::disk_silent_s() const {
  const std::shared_lock lock(registry_mutex_);
  const Millis silent = seen_outbox_ != nullptr ? seen_outbox_->SilentMs() : 0;
  return silent < kDiskSilentMs ? 0 : silent / 1'000;
}

bool Service::running() const {
  const std::shared_lock lock(registry_mutex_);
  return serving_;
}

Status Service::StartThread(const SpoolConfig& spool) {
  if (thread_.joinable()) return std::nullopt;
  if (shut_down_) return Error{Error::Kind::kUnavailable, "the node is going down"};
  if (Status status = CurlTransport::InitLibrary()) return status;
  if (Status status = transport_.Open()) return status;
  OpenRooms(spool);
  stopping_ = false;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    transport_.Close();
    return Error{Error::Kind::kUnavailable,
                 std::string("cannot start a thread: ") + error.what() + " (ulimit -u?)"};
  }
  const std::unique_lock lock(registry_mutex_);
  serving_ = true;
  return std::nullopt;
}

// False: the disk hangs, and the spool is still open.
bool Service::JoinThread() {
  if (!thread_.joinable()) return true;
  {
    // What was queued before is run: the thread has not been told to stop yet.
    const std::unique_lock lock(registry_mutex_);
    serving_ = false;
  }
  stopping_ = true;
  transport_.Wakeup();
  thread_.join();
  thread_ = {};
  mailbox_.EndSleep();
  // Waits for those inside Submit who may still wake the thread; from here on nobody will.
  { const std::unique_lock lock(registry_mutex_); }
  const bool closed = CloseRooms();
  transport_.Close();
  return closed;
}

Service::Commands Service::Command(std::function<void()> command) {
  Commands commands;
  commands.push_back(std::move(command));
  return commands;
}

void Service::Queue(Commands commands) noexcept {
  {
    const std::lock_guard lock(command_mutex_);
    commands_.splice(commands_.end(), commands);
  }
  transport_.Wakeup();
}

bool Service::CommandFor(EndpointKeyView key, std::function<void(EndpointId)> command) {
  const std::shared_lock lock(registry_mutex_);
  const auto found = registry_.find(key);
  if (!serving_ || found == registry_.end()) return false;
  Queue(Command([id = found->second.id, command = std::move(command)] { command(id); }));
  return true;
}

// Beyond a rate, where events are to collapse, one gets the topic for that. But a call that waits
// is worth nothing, and must be withdrawn by its own topic; its end is never too much. What a room
// says comes to each of its members: it is not held against the room.
bool Service::IsWithinRate(const Registration& registration, Event& event) {
  if (EndsCall(event)) return true;
  // Who sent it may be kept from us.
  const bool room =
      std::any_of(event.attributes.begin(), event.attributes.end(),
                  [](const Attribute& attribute) { return attribute.name == "room"; });
  const std::uint64_t sender =
      room || event.from.server.empty() ? 0 : RecipientKey(event.from.user, event.from.server);
  const RateLimits& rates = registration.rates;
  if (rates_.Admit(rates, registration.rate_salt, sender, RecipientKey(event),
                   clock_.MonotonicMs())) {
    return true;
  }
  if (!rates.collapse || event.kind == "call") return false;
  event.topic = RateTopic(event);
  return true;
}

}  // namespace offline_post
