// The NIF library of mod_offline_post_nif.erl: load, the function table, and nothing that another
// room could do. Every exception ends here, in Guarded.
//
// The Service lives from the first load to the end of the process. The library is never unmapped
// (linked with -z nodelete) and `upgrade` is absent, so purging or reloading the Erlang modules
// leaves it alone.

#include <curl/curl.h>
#include <erl_nif.h>
#include <sqlite3.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "http/curl_transport.hpp"
#include "nif/answer.hpp"
#include "nif/atoms.hpp"
#include "nif/config.hpp"
#include "nif/observed.hpp"
#include "nif/read.hpp"
#include "nif/terms.hpp"
#include "service/service.hpp"

namespace offline_post::nif {

namespace {

// Raise it together with -define(ABI, ...) in mod_offline_post_nif.erl whenever a function or a
// term changes.
constexpr int kAbi = 9;

// Who reads the log lines.
std::mutex listener_mutex;
ErlNifPid listener;
bool has_listener = false;

bool SendNotices(const std::vector<Notice>& notices) {
  const std::lock_guard lock(listener_mutex);
  if (!has_listener) return false;
  const Env env(enif_alloc_env());
  if (!env) return false;
  const ERL_NIF_TERM message = MakeNotices(env.get(), notices);
  // caller_env is NULL: this is not a scheduler's thread.
  has_listener = enif_send(nullptr, &listener, env.get(), message) != 0;
  return has_listener;
}

Service* service = nullptr;

// LIFETIME: never destroyed. halt() runs atexit handlers while schedulers still run; ours stops the
// thread, after which calls of the hook find an endpoint that is not accepting or a mailbox that
// nobody reads.
Service& TheService() { return *service; }

template <typename Function>
ERL_NIF_TERM Guarded(ErlNifEnv* env, Function function) noexcept {
  try {
    return function();
  } catch (...) {
    return enif_raise_exception(env, atoms.error_);
  }
}

ERL_NIF_TERM Configure(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    if (!key) return enif_make_badarg(env);
    const std::optional<EndpointConfig> config = ReadConfig(env, *key, argv[1]);
    if (!config) return enif_make_badarg(env);
    std::vector<std::string> uses;
    if (const Status status = TheService().Configure(*config, &uses)) {
      return MakeError(env, MakeBinary(env, status->text));
    }
    return enif_make_tuple2(env, atoms.ok_, MakeBinaries(env, uses));
  });
}

ERL_NIF_TERM Check(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<Status> status = CheckOption(env, argv[0], argv[1]);
    if (!status) return enif_make_badarg(env);
    return *status ? MakeError(env, MakeBinary(env, (*status)->text)) : atoms.ok_;
  });
}

ERL_NIF_TERM MakeAdmission(ErlNifEnv* env, Admission admission, ERL_NIF_TERM accepted) {
  switch (admission) {
    case Admission::kAccepted:
      return accepted;
    case Admission::kFull:
      return MakeError(env, atoms.full_);
    case Admission::kLimited:
      return MakeError(env, atoms.limited_);
    case Admission::kStopped:
      break;
  }
  return MakeError(env, atoms.stopped_);
}

// Without memory an event is refused, as when the queue is full: its message is routed all the
// same.
template <typename Function>
ERL_NIF_TERM OrNoMemory(ErlNifEnv* env, Function function) noexcept {
  try {
    return function();
  } catch (...) {
    return MakeError(env, atoms.no_memory_);
  }
}

ERL_NIF_TERM SubmitNow(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return OrNoMemory(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    const std::shared_ptr<Event> event = ReadEvent(env, argv[1]);
    if (!key || !event) return enif_make_badarg(env);
    const Admission admission = TheService().Submit(*key, event);
    return MakeAdmission(env, admission,
                         enif_make_tuple2(env, atoms.ok_, MakeBinary(env, event->id)));
  });
}

ERL_NIF_TERM SubmitSyncNow(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return OrNoMemory(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    const std::shared_ptr<Event> event = ReadEvent(env, argv[1]);
    if (!key || !event) return enif_make_badarg(env);
    const Answer answer(env, atoms.offline_post_committed_);
    const Admission admission = TheService().Submit(*key, event, [answer](bool durable) {
      answer.Send([durable](ErlNifEnv*) { return durable ? atoms.durable_ : atoms.volatile_; });
    });
    return MakeAdmission(
        env, admission, enif_make_tuple3(env, atoms.ok_, MakeBinary(env, event->id), answer.ref()));
  });
}

// What is copied into memory that the process has not had yet costs the pages, too: on some virtual
// machines 10 us each. So a large event is taken on a dirty scheduler; its process waits meanwhile,
// so that the order is kept.
template <ERL_NIF_TERM (*Now)(ErlNifEnv*, int, const ERL_NIF_TERM[])>
ERL_NIF_TERM Submit(ErlNifEnv* env, int argc, const ERL_NIF_TERM argv[]) {
  if (!IsLarge(env, argv[1])) return Now(env, argc, argv);
  return enif_schedule_nif(env, "submit_large", ERL_NIF_DIRTY_JOB_CPU_BOUND, Now, argc, argv);
}

ERL_NIF_TERM Withdraw(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    const std::optional<Withdrawal> withdrawal = ReadWithdrawal(env, argv[1], argv[2], argv[3]);
    if (!key || !withdrawal) return enif_make_badarg(env);
    return TheService().Withdraw(*key, *withdrawal) ? atoms.ok_ : MakeError(env, atoms.unknown_);
  });
}

ERL_NIF_TERM Remove(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    ErlNifSInt64 timeout_ms = 0;
    if (!key || enif_get_int64(env, argv[1], &timeout_ms) == 0 || timeout_ms < 0) {
      return enif_make_badarg(env);
    }
    const Answer answer(env, atoms.offline_post_removed_);
    const bool known = TheService().Remove(*key, timeout_ms, [answer](std::uint64_t pending) {
      answer.Send([pending](ErlNifEnv* to) { return enif_make_uint64(to, pending); });
    });
    return known ? answer.MakeOk(env) : MakeError(env, atoms.unknown_);
  });
}

template <typename Function>
ERL_NIF_TERM OnEndpoint(ErlNifEnv* env, ERL_NIF_TERM term, Function function) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, term);
    if (!key) return enif_make_badarg(env);
    return function(*key) ? atoms.ok_ : MakeError(env, atoms.unknown_);
  });
}

ERL_NIF_TERM Pause(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return OnEndpoint(env, argv[0], [](EndpointKeyView key) { return TheService().Pause(key); });
}

ERL_NIF_TERM Resume(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return OnEndpoint(env, argv[0], [](EndpointKeyView key) { return TheService().Resume(key); });
}

ERL_NIF_TERM Hasten(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return OnEndpoint(env, argv[0], [](EndpointKeyView key) { return TheService().Hasten(key); });
}

ERL_NIF_TERM Test(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    const std::shared_ptr<Event> event = ReadEvent(env, argv[1]);
    if (!key || !event) return enif_make_badarg(env);
    const Answer answer(env, atoms.offline_post_tested_);
    const bool known = TheService().Test(*key, event, [answer](const Service::Tested& tested) {
      answer.Send([&](ErlNifEnv* to) { return MakeTested(to, tested); });
    });
    return known ? answer.MakeOk(env) : MakeError(env, atoms.unknown_);
  });
}

ERL_NIF_TERM Observe(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    if (!key) return enif_make_badarg(env);
    const std::optional<Observed> observed = TheService().Observe(*key);
    return observed ? MakeObserved(env, *observed) : atoms.undefined_;
  });
}

ERL_NIF_TERM Dead(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    const std::optional<DeadRequest> request = ReadDeadRequest(env, argv[1]);
    if (!key || !request) return enif_make_badarg(env);
    const Answer answer(env, atoms.offline_post_dead_);
    const auto counted = [answer](std::uint64_t count) {
      answer.Send([count](ErlNifEnv* to) { return enif_make_uint64(to, count); });
    };
    bool known = false;
    switch (request->act) {
      case DeadAct::kShow:
        known = TheService().ListDead(
            *key, request->filter, request->after, request->limit,
            [answer](const std::vector<DeadLetter>& letters, std::optional<Sequence> next) {
              answer.Send([&](ErlNifEnv* to) { return MakeLetters(to, letters, next); });
            });
        break;
      case DeadAct::kReplay:
        known = TheService().ReplayDead(*key, request->filter, counted);
        break;
      case DeadAct::kDrop:
        known = TheService().DropDead(*key, request->filter, counted);
        break;
      case DeadAct::kPurge:
        break;  // comes with a withdrawal
    }
    return known ? answer.MakeOk(env) : MakeError(env, atoms.unknown_);
  });
}

ERL_NIF_TERM ImportOpen(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    std::string path;
    if (!Read(env, argv[0], path)) return enif_make_badarg(env);
    const Status status = TheService().OpenImport(path);
    return status ? MakeError(env, MakeBinary(env, status->text)) : atoms.ok_;
  });
}

ERL_NIF_TERM ImportNext(ErlNifEnv* env, int, const ERL_NIF_TERM[]) {
  return Guarded(env, [&] {
    const Answer answer(env, atoms.offline_post_imported_);
    const auto report =
        TheService().NextImport([answer] { answer.Send([](ErlNifEnv*) { return atoms.ok_; }); });
    if (!report) return answer.MakeOk(env);
    return enif_make_tuple2(env, atoms.done_, MakeReport(env, *report));
  });
}

ERL_NIF_TERM ImportClose(ErlNifEnv* env, int, const ERL_NIF_TERM[]) {
  return Guarded(env, [&] {
    TheService().CloseImport();
    return atoms.ok_;
  });
}

ERL_NIF_TERM Stop(ErlNifEnv* env, int, const ERL_NIF_TERM[]) {
  return Guarded(env, [&] {
    switch (TheService().Stop()) {
      case Service::Stopped::kDone:
        return atoms.ok_;
      case Service::Stopped::kBusy:
        return MakeError(env, atoms.busy_);
      case Service::Stopped::kDiskSilent:
        break;
    }
    return MakeError(env, atoms.disk_silent_);
  });
}

ERL_NIF_TERM GetStats(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    if (!key) return enif_make_badarg(env);
    const std::optional<Stats> stats = TheService().GetStats(*key);
    if (!stats) return atoms.undefined_;
    return MakeStats(env, *stats, TheService().spool_state(), TheService().spool_bytes(),
                     TheService().disk_silent_s());
  });
}

ERL_NIF_TERM Attach(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::lock_guard lock(listener_mutex);
    if (enif_get_local_pid(env, argv[0], &listener) == 0) return enif_make_badarg(env);
    has_listener = true;
    return atoms.ok_;
  });
}

ERL_NIF_TERM Info(ErlNifEnv* env, int, const ERL_NIF_TERM[]) {
  return Guarded(env, [&] {
    const bool running = TheService().running();
    const unsigned threads = TheService().spool_state() == SpoolState::kMemory ? 1 : 2;
    return MakeMap(env,
                   {{atoms.version_, MakeBinary(env, OFFLINE_POST_VERSION)},
                    {atoms.curl_, MakeBinary(env, curl_version_info(CURLVERSION_NOW)->version)},
                    {atoms.sqlite_, MakeBinary(env, sqlite3_libversion())},
                    {atoms.threads_, enif_make_uint(env, running ? threads : 0)},
                    {atoms.commit_us_, MakeHistogram(env, TheService().CommitTimes())},
                    {atoms.longest_turn_us_, enif_make_uint64(env, TheService().longest_turn_us())},
                    {atoms.running_, running ? atoms.true_ : atoms.false_}});
  });
}

ERL_NIF_TERM Reconnect(ErlNifEnv* env, int, const ERL_NIF_TERM[]) {
  return Guarded(env, [] {
    TheService().Reconnect();
    return atoms.ok_;
  });
}

int Load(ErlNifEnv* env, void** /*private_data*/, ERL_NIF_TERM load_info) noexcept {
  int abi = 0;
  if (enif_get_int(env, load_info, &abi) == 0 || abi != kAbi) return kAbi;
  InitAtoms(env);
  try {
    static std::once_flag once;
    static bool stops_at_exit = false;
    std::call_once(once, [] {
      // First libcurl (and with it OpenSSL), then our handler: handlers run in reverse order, so
      // the thread is joined before OpenSSL tears itself down.
      CurlTransport::InitLibrary();
      service = new Service(SendNotices);
      stops_at_exit = std::atexit([] { TheService().Shutdown(); }) == 0;
    });
    if (!stops_at_exit) return -1;
  } catch (...) {
    return -1;
  }
  return 0;
}

// Dirty: what may take over 1 ms, or wait. Only configure, stop and import_* wait for a disk: for
// 10 s, for the deadline of the last remove (a second at least), and for the file that is imported.
// Times are medians at the size named, on a shared core:
//
// | function         | scheduler | at worst                                                     |
// | ---              | ---       | ---                                                          |
// | submit,          | normal    | 64 KiB: 20 us of ASCII, 80 us of emoji, and 16 new pages     |
// | submit_sync      | dirty     | more: body and an attribute of 256 KiB each 0.5 ms of emoji, |
// |                  |           | 1.8 ms of what is not UTF-8; and up to 260 new pages         |
// | withdraw         | normal    | 1 us; with a topic of 256 KiB, which is hashed, 0.21 ms      |
// | stats, attach    | normal    | 1 us; of one endpoint, however many there are                |
// | check            | dirty     | 1,000 fields: 0.4 ms; one template of 10,000 fields: 2.1 ms  |
// | configure        | dirty     | 1,000 fields: 1.2 ms, and the disk at a start                |
// | test             | dirty     | builds a request of any size                                 |
// | observe, info    | dirty     | 10 us: nothing is waited for                                 |
// | remove, pause,   | dirty     | a command is queued: nothing is waited for                   |
// | resume, hasten,  |           |                                                              |
// | dead             |           |                                                              |
ErlNifFunc functions[] = {
    {"configure", 2, Configure, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"check", 2, Check, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"submit", 2, Submit<SubmitNow>, 0},
    {"submit_sync", 2, Submit<SubmitSyncNow>, 0},
    {"withdraw", 4, Withdraw, 0},
    {"remove", 2, Remove, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"pause", 1, Pause, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"resume", 1, Resume, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"hasten", 1, Hasten, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"test", 2, Test, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"observe", 1, Observe, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"dead", 2, Dead, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"import_open", 1, ImportOpen, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"import_next", 0, ImportNext, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"import_close", 0, ImportClose, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"stop", 0, Stop, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"stats", 1, GetStats, 0},
    {"attach", 1, Attach, 0},
    {"info", 0, Info, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"reconnect", 0, Reconnect, ERL_NIF_DIRTY_JOB_IO_BOUND},
};

}  // namespace

}  // namespace offline_post::nif

ERL_NIF_INIT(mod_offline_post_nif, offline_post::nif::functions, offline_post::nif::Load, nullptr,
             nullptr, nullptr)
