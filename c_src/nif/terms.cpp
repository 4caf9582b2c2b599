#include "nif/terms.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "nif/atoms.hpp"

namespace offline_post::nif {

Atoms atoms;

void InitAtoms(ErlNifEnv* env) {
#define ATOM(name) atoms.name##_ = enif_make_atom(env, #name);
#include "nif/atoms.inc"
#undef ATOM
}

namespace {

std::string_view View(const ErlNifBinary& binary) {
  return {reinterpret_cast<const char*>(binary.data), binary.size};
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::string& out) {
  ErlNifBinary binary;
  if (enif_inspect_binary(env, term, &binary) == 0) return false;
  out = View(binary);
  return true;
}

bool Read(ErlNifEnv* /*env*/, ERL_NIF_TERM term, bool& out) {
  out = enif_is_identical(term, atoms.true_) != 0;
  return out || enif_is_identical(term, atoms.false_) != 0;
}

// A count, a size or a span: 1 or more.
bool ReadPositive(ErlNifEnv* env, ERL_NIF_TERM term, ErlNifSInt64 largest, ErlNifSInt64& out) {
  return enif_get_int64(env, term, &out) != 0 && out >= 1 && out <= largest;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Millis& out) {
  // A day: no attempt takes longer, and curl's `long` holds it everywhere.
  constexpr ErlNifSInt64 kLongestMs = 86'400'000;
  ErlNifSInt64 value = 0;
  if (!ReadPositive(env, term, kLongestMs, value)) return false;
  out = value;
  return true;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, int& out) {
  ErlNifSInt64 value = 0;
  if (!ReadPositive(env, term, std::numeric_limits<int>::max(), value)) return false;
  out = static_cast<int>(value);
  return true;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::uint64_t& out) {
  ErlNifSInt64 value = 0;
  if (!ReadPositive(env, term, std::numeric_limits<ErlNifSInt64>::max(), value)) return false;
  out = static_cast<std::uint64_t>(value);
  return true;
}

template <std::size_t N>
const ERL_NIF_TERM* Tuple(ErlNifEnv* env, ERL_NIF_TERM term) {
  int arity = 0;
  const ERL_NIF_TERM* elements = nullptr;
  if (enif_get_tuple(env, term, &arity, &elements) == 0 || arity != static_cast<int>(N))
    return nullptr;
  return elements;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Jid& out) {
  const ERL_NIF_TERM* jid = Tuple<3>(env, term);
  return jid != nullptr && Read(env, jid[0], out.user) && Read(env, jid[1], out.server) &&
         Read(env, jid[2], out.resource);
}

ERL_NIF_TERM StateAtom(EndpointState state) {
  switch (state) {
    case EndpointState::kHealthy:
      return atoms.healthy_;
    case EndpointState::kProbing:
      return atoms.probing_;
    case EndpointState::kBroken:
      return atoms.broken_;
    case EndpointState::kPaused:
      return atoms.paused_;
    case EndpointState::kStopped:
      return atoms.stopped_;
  }
  return atoms.undefined_;
}

ERL_NIF_TERM LevelAtom(Notice::Level level) {
  switch (level) {
    case Notice::Level::kError:
      return atoms.error_;
    case Notice::Level::kWarning:
      return atoms.warning_;
    case Notice::Level::kInfo:
      return atoms.info_;
  }
  return atoms.undefined_;
}

}  // namespace

std::optional<EndpointKeyView> ReadKey(ErlNifEnv* env, ERL_NIF_TERM term) {
  const ERL_NIF_TERM* key = Tuple<2>(env, term);
  ErlNifBinary vhost;
  ErlNifBinary module;
  if (key == nullptr || enif_inspect_binary(env, key[0], &vhost) == 0 ||
      enif_inspect_binary(env, key[1], &module) == 0) {
    return std::nullopt;
  }
  return EndpointKeyView{View(vhost), View(module)};
}

std::optional<EndpointConfig> ReadConfig(ErlNifEnv* env, EndpointKeyView key, ERL_NIF_TERM term) {
  EndpointConfig config;
  config.key = {std::string(key.vhost), std::string(key.module)};
  const auto field = [env, term](ERL_NIF_TERM name, auto& out) {
    ERL_NIF_TERM value = 0;
    return enif_get_map_value(env, term, name, &value) != 0 && Read(env, value, out);
  };
  const bool complete =
      field(atoms.post_url_, config.post_url) && field(atoms.auth_token_, config.auth_token) &&
      field(atoms.timeout_, config.timeout_ms) &&
      field(atoms.connect_timeout_, config.connect_timeout_ms) &&
      field(atoms.max_connections_, config.max_connections) &&
      field(atoms.queue_limit_, config.limits.events) &&
      field(atoms.queue_bytes_, config.limits.bytes) &&
      field(atoms.tls_verify_, config.tls_verify) && field(atoms.ca_file_, config.ca_file);
  if (!complete) return std::nullopt;
  return config;
}

std::shared_ptr<Event> ReadEvent(ErlNifEnv* env, ERL_NIF_TERM term) {
  const ERL_NIF_TERM* fields = Tuple<4>(env, term);
  if (fields == nullptr) return nullptr;
  auto event = std::make_shared<Event>();
  const bool complete = Read(env, fields[0], event->to) && Read(env, fields[1], event->from) &&
                        Read(env, fields[2], event->message_id) &&
                        Read(env, fields[3], event->body);
  return complete ? event : nullptr;
}

ERL_NIF_TERM MakeBinary(ErlNifEnv* env, std::string_view text) {
  ERL_NIF_TERM term = 0;
  unsigned char* data = enif_make_new_binary(env, text.size(), &term);
  if (!text.empty()) std::memcpy(data, text.data(), text.size());
  return term;
}

ERL_NIF_TERM MakeError(ErlNifEnv* env, ERL_NIF_TERM reason) {
  return enif_make_tuple2(env, atoms.error_, reason);
}

ERL_NIF_TERM MakeStats(ErlNifEnv* env, const Stats& stats) {
  ERL_NIF_TERM map = enif_make_new_map(env);
  const auto put = [env, &map](ERL_NIF_TERM name, ERL_NIF_TERM value) {
    enif_make_map_put(env, map, name, value, &map);
  };
  const auto put_count = [env, &put](ERL_NIF_TERM name, std::uint64_t value) {
    put(name, enif_make_uint64(env, value));
  };
  put_count(atoms.accepted_, stats.accepted);
  put_count(atoms.delivered_, stats.delivered);
  put_count(atoms.pending_, stats.pending);
  put_count(atoms.dead_, stats.dead);
  put_count(atoms.cancelled_, stats.cancelled);
  put_count(atoms.purged_, stats.purged);
  put_count(atoms.rejected_, stats.rejected);
  put_count(atoms.in_flight_, stats.in_flight);
  put_count(atoms.pending_bytes_, stats.pending_bytes);
  put_count(atoms.attempts_, stats.attempts);
  put_count(atoms.retries_, stats.retries);
  put(atoms.state_, StateAtom(stats.state));
  return map;
}

ERL_NIF_TERM MakeNotices(ErlNifEnv* env, const std::vector<Notice>& notices) {
  ERL_NIF_TERM list = enif_make_list(env, 0);
  std::for_each(notices.rbegin(), notices.rend(), [env, &list](const Notice& notice) {
    const ERL_NIF_TERM line = MakeBinary(env, notice.line);
    list = enif_make_list_cell(env, enif_make_tuple2(env, LevelAtom(notice.level), line), list);
  });
  return enif_make_tuple2(env, atoms.offline_post_, list);
}

ERL_NIF_TERM MakeRemoved(ErlNifEnv* env, ERL_NIF_TERM ref, std::uint64_t pending) {
  return enif_make_tuple3(env, atoms.offline_post_removed_, ref, enif_make_uint64(env, pending));
}

}  // namespace offline_post::nif
