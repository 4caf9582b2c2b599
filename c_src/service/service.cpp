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
  {
    const std::unique_lock lock(registry_mutex_);
    Registration& registration = registry_[config.key];
    reload = registration.configured;
    if (!registration.ledger) {
      registration.id = ++last_id_;
      registration.ledger = std::make_shared<Ledger>();
    }
    registration.configured = true;
    registration.masked = std::move(masked);
    // A reload that leaves the rates alone leaves the buckets as full as they are.
    if (registration.rates != config.rates) registration.rate_salt = ++last_rate_salt_;
    registration.rates = config.rates;
    id = registration.id;
    ledger = registration.ledger;
  }
  const std::uint64_t reported = ledger->Snapshot().rejected_full;  // before the module was stopped
  Command([this, id, endpoint, ledger, reported, reload] {
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
  // Only now: mail for this endpoint is read after the command above.
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
  const Admission admission = registration.ledger->Reserve(EventBytes(*event), has_room_);
  if (admission != Admission::kAccepted) {
    if (admission == Admission::kFull && !rejected_.exchange(true) && mailbox_.TakeSleeper()) {
      transport_.Wakeup();
    }
    return admission;
  }
  // Who waits for the commit is not kept waiting by a nap.
  const bool waits = committed != nullptr;
  const bool wake = mailbox_.Push({registration.id, event, std::move(committed), {}});
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
  const std::lock_guard life(life_mutex_);
  if (!thread_.joinable()) return false;
  EndpointId id = 0;
  {
    const std::unique_lock lock(registry_mutex_);
    const auto found = registry_.find(key);
    if (found == registry_.end() || !found->second.configured) return false;
    found->second.configured = false;
    found->second.ledger->Close();
    id = found->second.id;
  }
  Command([this, id, timeout_ms, callback = std::move(callback)] {
    const Millis now = clock_.MonotonicMs();
    if (!removal_deadline_ms_ || now - removal_seen_ms_ > kSharedDeadlineMs) {
      removal_deadline_ms_ = now + timeout_ms;
    }
    removal_seen_ms_ = now;
    removals_.push_back({id, *removal_deadline_ms_, callback});
    engine_->Drain(id);
  });
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
  const std::lock_guard life(life_mutex_);
  if (thread_.joinable()) Command([this] { transport_.Reconnect(); });
}

bool Service::Stop() {
  const std::lock_guard life(life_mutex_);
  {
    const std::shared_lock lock(registry_mutex_);
    for (const auto& [key, registration] : registry_) {
      if (registration.configured) return false;
    }
  }
  last_words_ = true;
  JoinThread();
  last_words_ = false;
  return true;
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
  const std::lock_guard life(life_mutex_);
  std::shared_ptr<Ledger> ledger;
  EndpointId id = 0;
  {
    const std::shared_lock lock(registry_mutex_);
    const auto found = registry_.find(key);
    if (found == registry_.end()) return std::nullopt;
    ledger = found->second.ledger;
    id = found->second.id;
  }
  Observed observed = ledger->seen().Snapshot(clock_.MonotonicMs(), clock_.UnixMs());
  const Stats stats = ledger->Snapshot();
  observed.state = stats.state;
  observed.limits = ledger->limits();
  // The outbox knows better, and what earlier runs have left, but as of its last look.
  const Millis stored = outbox_ ? outbox_->OldestUnixMs(id) : 0;
  if (stats.pending == 0) {
    observed.oldest_unix_ms = 0;
  } else if (stored != 0 && (observed.oldest_unix_ms == 0 || stored < observed.oldest_unix_ms)) {
    observed.oldest_unix_ms = stored;
  }
  return observed;
}

Histogram Service::CommitTimes() const {
  const std::lock_guard life(life_mutex_);
  return outbox_ ? outbox_->CommitTimes() : Histogram(kCommitBoundsUs);
}

bool Service::running() const {
  const std::lock_guard life(life_mutex_);
  return thread_.joinable();
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
  return std::nullopt;
}

void Service::JoinThread() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  transport_.Wakeup();
  thread_.join();
  thread_ = {};
  mailbox_.EndSleep();
  // Waits for those inside Submit who may still wake the thread; from here on nobody will.
  { const std::unique_lock lock(registry_mutex_); }
  CloseRooms();
  transport_.Close();
}

void Service::Command(std::function<void()> command) {
  {
    const std::lock_guard lock(command_mutex_);
    commands_.push_back(std::move(command));
  }
  transport_.Wakeup();
}

bool Service::CommandFor(EndpointKeyView key, std::function<void(EndpointId)> command) {
  const std::lock_guard life(life_mutex_);
  if (!thread_.joinable()) return false;
  EndpointId id = 0;
  {
    const std::shared_lock lock(registry_mutex_);
    const auto found = registry_.find(key);
    if (found == registry_.end()) return false;
    id = found->second.id;
  }
  Command([id, command = std::move(command)] { command(id); });
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
