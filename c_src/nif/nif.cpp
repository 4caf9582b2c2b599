// The NIF library of mod_offline_post_nif.erl: load, the function table, and nothing that another
// room could do. Every exception ends here, in Guarded.
//
// The Service lives from the first load to the end of the process. The library is never unmapped
// (linked with -z nodelete) and `upgrade` is absent, so purging or reloading the Erlang modules
// leaves it alone.

#include <curl/curl.h>
#include <erl_nif.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "http/curl_transport.hpp"
#include "nif/atoms.hpp"
#include "nif/terms.hpp"
#include "service/service.hpp"

namespace offline_post::nif {

namespace {

// Raise it together with -define(ABI, ...) in mod_offline_post_nif.erl whenever a function or a
// term changes.
constexpr int kAbi = 1;

struct EnvDeleter {
  void operator()(ErlNifEnv* env) const noexcept { enif_free_env(env); }
};
using Env = std::unique_ptr<ErlNifEnv, EnvDeleter>;

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
    if (const Status status = TheService().Configure(*config)) {
      return MakeError(env, MakeBinary(env, status->text));
    }
    return atoms.ok_;
  });
}

ERL_NIF_TERM Submit(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    const std::shared_ptr<Event> event = ReadEvent(env, argv[1]);
    if (!key || !event) return enif_make_badarg(env);
    switch (TheService().Submit(*key, event)) {
      case Admission::kAccepted:
        return enif_make_tuple2(env, atoms.ok_, MakeBinary(env, event->id));
      case Admission::kFull:
        return MakeError(env, atoms.full_);
      case Admission::kStopped:
        break;
    }
    return MakeError(env, atoms.stopped_);
  });
}

ERL_NIF_TERM Remove(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    ErlNifSInt64 timeout_ms = 0;
    ErlNifPid caller;
    if (!key || enif_get_int64(env, argv[1], &timeout_ms) == 0 || timeout_ms < 0 ||
        enif_self(env, &caller) == nullptr) {
      return enif_make_badarg(env);
    }
    const std::shared_ptr<ErlNifEnv> message_env(enif_alloc_env(), EnvDeleter());
    const ERL_NIF_TERM ref = enif_make_ref(env);
    const ERL_NIF_TERM sent_ref = enif_make_copy(message_env.get(), ref);
    const bool known = TheService().Remove(
        *key, timeout_ms, [message_env, sent_ref, caller](std::uint64_t pending) {
          const ERL_NIF_TERM message = MakeRemoved(message_env.get(), sent_ref, pending);
          enif_send(nullptr, &caller, message_env.get(),
                    message);  // a caller that died needs no answer
        });
    if (!known) return MakeError(env, atoms.unknown_);
    return enif_make_tuple2(env, atoms.ok_, ref);
  });
}

ERL_NIF_TERM Stop(ErlNifEnv* env, int, const ERL_NIF_TERM[]) {
  return Guarded(env,
                 [&] { return TheService().Stop() ? atoms.ok_ : MakeError(env, atoms.busy_); });
}

ERL_NIF_TERM GetStats(ErlNifEnv* env, int, const ERL_NIF_TERM argv[]) {
  return Guarded(env, [&] {
    const std::optional<EndpointKeyView> key = ReadKey(env, argv[0]);
    if (!key) return enif_make_badarg(env);
    const std::optional<Stats> stats = TheService().GetStats(*key);
    return stats ? MakeStats(env, *stats) : atoms.undefined_;
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
    ERL_NIF_TERM map = enif_make_new_map(env);
    const auto put = [env, &map](ERL_NIF_TERM name, ERL_NIF_TERM value) {
      enif_make_map_put(env, map, name, value, &map);
    };
    put(atoms.version_, MakeBinary(env, OFFLINE_POST_VERSION));
    put(atoms.curl_, MakeBinary(env, curl_version_info(CURLVERSION_NOW)->version));
    put(atoms.threads_, enif_make_uint(env, running ? 1 : 0));
    put(atoms.running_, running ? atoms.true_ : atoms.false_);
    return map;
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

// Dirty: what may wait for a start or a stop to end.
ErlNifFunc functions[] = {
    {"configure", 2, Configure, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"submit", 2, Submit, 0},
    {"remove", 2, Remove, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"stop", 0, Stop, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"stats", 1, GetStats, 0},
    {"attach", 1, Attach, 0},
    {"info", 0, Info, ERL_NIF_DIRTY_JOB_IO_BOUND},
};

}  // namespace

}  // namespace offline_post::nif

ERL_NIF_INIT(mod_offline_post_nif, offline_post::nif::functions, offline_post::nif::Load, nullptr,
             nullptr, nullptr)
