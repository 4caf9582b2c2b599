#include "nif/terms.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
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

// Ten years: sums of a few never overflow. What an option allows is checked where it is read.
constexpr ErlNifSInt64 kLongestMs = 10LL * 366 * 86'400'000;

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Millis& out) {
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

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, RetrySchedule& out) {
  out.waits_ms.clear();
  ERL_NIF_TERM head = 0;
  Millis wait = 0;
  for (; enif_get_list_cell(env, term, &head, &term) != 0; out.waits_ms.push_back(wait)) {
    if (!Read(env, head, wait)) return false;
  }
  return enif_is_empty_list(env, term) != 0 && !out.waits_ms.empty();
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

// A field that may be 0.
bool ReadCount(ErlNifEnv* env, ERL_NIF_TERM map, ERL_NIF_TERM name, std::uint64_t& out) {
  ERL_NIF_TERM term = 0;
  ErlNifUInt64 value = 0;
  if (enif_get_map_value(env, map, name, &term) == 0 || enif_get_uint64(env, term, &value) == 0) {
    return false;
  }
  out = value;
  return true;
}

// A field that is one of two atoms: whether it is the second.
bool ReadChoice(ErlNifEnv* env, ERL_NIF_TERM map, ERL_NIF_TERM name,
                const std::array<ERL_NIF_TERM, 2>& choices, bool& out) {
  ERL_NIF_TERM term = 0;
  if (enif_get_map_value(env, map, name, &term) == 0) return false;
  out = enif_is_identical(term, choices[1]) != 0;
  return out || enif_is_identical(term, choices[0]) != 0;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::vector<Attribute>& out) {
  unsigned count = 0;
  if (enif_get_list_length(env, term, &count) == 0) return false;
  out.resize(count);
  ERL_NIF_TERM head = 0;
  for (Attribute& attribute : out) {
    enif_get_list_cell(env, term, &head, &term);
    const ERL_NIF_TERM* pair = Tuple<2>(env, head);
    if (pair == nullptr || !Read(env, pair[0], attribute.name) ||
        !Read(env, pair[1], attribute.value)) {
      return false;
    }
  }
  return true;
}

ERL_NIF_TERM MakeAttributes(ErlNifEnv* env, const std::vector<Attribute>& attributes) {
  ERL_NIF_TERM list = enif_make_list(env, 0);
  std::for_each(attributes.rbegin(), attributes.rend(), [env, &list](const Attribute& attribute) {
    list = enif_make_list_cell(
        env,
        enif_make_tuple2(env, MakeBinary(env, attribute.name), MakeBinary(env, attribute.value)),
        list);
  });
  return list;
}

ERL_NIF_TERM MakeAddress(ErlNifEnv* env, const Jid& jid) {
  return enif_make_tuple3(env, MakeBinary(env, jid.user), MakeBinary(env, jid.server),
                          MakeBinary(env, jid.resource));
}

ERL_NIF_TERM MakeLetter(ErlNifEnv* env, const DeadLetter& letter) {
  const Event& event = *letter.delivery.event;
  return MakeMap(env, {{atoms.id_, MakeBinary(env, event.id)},
                       {atoms.sequence_, enif_make_uint64(env, letter.delivery.sequence)},
                       {atoms.kind_, MakeBinary(env, event.kind)},
                       {atoms.to_, MakeAddress(env, event.to)},
                       {atoms.from_, MakeAddress(env, event.from)},
                       {atoms.message_id_, MakeBinary(env, event.message_id)},
                       {atoms.body_, MakeBinary(env, event.body)},
                       {atoms.attributes_, MakeAttributes(env, event.attributes)},
                       {atoms.count_, enif_make_uint(env, letter.delivery.stands_for)},
                       {atoms.attempts_, enif_make_int(env, letter.delivery.attempts)},
                       {atoms.status_, enif_make_int(env, letter.note.status)},
                       {atoms.reason_, MakeBinary(env, letter.note.reason)},
                       {atoms.answer_, MakeBinary(env, letter.note.answer)},
                       {atoms.accepted_, enif_make_int64(env, event.accepted_unix_ms)},
                       {atoms.died_, enif_make_int64(env, letter.died_unix_ms)}});
}

ERL_NIF_TERM SpoolAtom(SpoolState state) {
  switch (state) {
    case SpoolState::kMemory:
      return atoms.memory_;
    case SpoolState::kDurable:
      return atoms.durable_;
    case SpoolState::kDegraded:
      return atoms.degraded_;
  }
  return atoms.undefined_;
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
      field(atoms.tls_verify_, config.tls_verify) && field(atoms.ca_file_, config.ca_file) &&
      field(atoms.retry_schedule_, config.schedule) &&
      field(atoms.max_age_, config.schedule.max_age_ms) &&
      field(atoms.dead_letter_retention_, config.retention.age_ms) &&
      field(atoms.spool_, config.spool.enabled) && field(atoms.spool_dir_, config.spool.directory);
  std::uint64_t interval_ms = 0;
  bool presence = false;
  if (!complete || !ReadCount(env, term, atoms.dead_letter_limit_, config.retention.letters) ||
      !ReadCount(env, term, atoms.spool_min_free_, config.spool.min_free_bytes) ||
      !ReadCount(env, term, atoms.collapse_interval_, interval_ms) || interval_ms > kLongestMs ||
      !ReadCount(env, term, atoms.rate_sender_, config.rates.sender) ||
      !ReadCount(env, term, atoms.rate_recipient_, config.rates.recipient) ||
      !ReadChoice(env, term, atoms.order_, {atoms.none_, atoms.recipient_}, config.ordered) ||
      !ReadChoice(env, term, atoms.rate_beyond_, {atoms.drop_, atoms.collapse_},
                  config.rates.collapse) ||
      !ReadChoice(env, term, atoms.form_, {atoms.message_, atoms.presence_}, presence)) {
    return std::nullopt;
  }
  config.collapse_interval_ms = static_cast<Millis>(interval_ms);
  config.form = presence ? Form::kPresence : Form::kMessage;
  return config;
}

std::optional<DeadRequest> ReadDeadRequest(ErlNifEnv* env, ERL_NIF_TERM term) {
  int arity = 0;
  const ERL_NIF_TERM* elements = nullptr;
  if (enif_get_tuple(env, term, &arity, &elements) == 0 || (arity != 2 && arity != 4)) {
    return std::nullopt;
  }
  DeadRequest request;
  ERL_NIF_TERM id = 0;
  ERL_NIF_TERM reason = 0;
  if (enif_get_map_value(env, elements[1], atoms.id_, &id) == 0 ||
      enif_get_map_value(env, elements[1], atoms.reason_, &reason) == 0 ||
      !Read(env, id, request.filter.event_id) || !Read(env, reason, request.filter.reason)) {
    return std::nullopt;
  }
  const auto is = [elements](ERL_NIF_TERM atom) {
    return enif_is_identical(elements[0], atom) != 0;
  };
  if (arity == 4) {
    // A list is sent as one message.
    constexpr ErlNifSInt64 kLongestList = 1'000;
    ErlNifSInt64 limit = 0;
    ErlNifUInt64 after = 0;
    if (!is(atoms.list_) || enif_get_uint64(env, elements[2], &after) == 0 ||
        !ReadPositive(env, elements[3], kLongestList, limit)) {
      return std::nullopt;
    }
    request.after = after;
    request.limit = static_cast<std::size_t>(limit);
    return request;
  }
  if (!is(atoms.replay_) && !is(atoms.drop_)) return std::nullopt;
  request.act = is(atoms.replay_) ? DeadAct::kReplay : DeadAct::kDrop;
  return request;
}

std::shared_ptr<Event> ReadEvent(ErlNifEnv* env, ERL_NIF_TERM term) {
  const ERL_NIF_TERM* fields = Tuple<7>(env, term);
  if (fields == nullptr) return nullptr;
  auto event = std::make_shared<Event>();
  ErlNifBinary topic;
  const bool complete =
      Read(env, fields[0], event->kind) && Read(env, fields[1], event->to) &&
      Read(env, fields[2], event->from) && Read(env, fields[3], event->message_id) &&
      Read(env, fields[4], event->body) && enif_inspect_binary(env, fields[5], &topic) != 0 &&
      Read(env, fields[6], event->attributes);
  if (!complete) return nullptr;
  if (topic.size > 0) event->topic = TopicKey(RecipientKey(*event), View(topic));
  return event;
}

std::optional<Withdrawal> ReadWithdrawal(ErlNifEnv* env, ERL_NIF_TERM recipient, ERL_NIF_TERM what,
                                         ERL_NIF_TERM how) {
  const ERL_NIF_TERM* parts = Tuple<2>(env, recipient);
  ErlNifBinary user;
  ErlNifBinary server;
  if (parts == nullptr || enif_inspect_binary(env, parts[0], &user) == 0 ||
      enif_inspect_binary(env, parts[1], &server) == 0) {
    return std::nullopt;
  }
  Withdrawal withdrawal;
  withdrawal.recipient = RecipientKey(View(user), View(server));
  ErlNifBinary topic;
  if (enif_inspect_binary(env, what, &topic) != 0) {
    if (topic.size == 0) return std::nullopt;
    withdrawal.topic = TopicKey(withdrawal.recipient, View(topic));
  } else if (enif_is_identical(what, atoms.all_) == 0) {
    return std::nullopt;
  }
  const bool purge = enif_is_identical(how, atoms.purge_) != 0;
  if (!purge && enif_is_identical(how, atoms.cancel_) == 0) return std::nullopt;
  withdrawal.how = purge ? Final::kPurged : Final::kCancelled;
  return withdrawal;
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

ERL_NIF_TERM MakeMap(ErlNifEnv* env, std::initializer_list<MapEntry> entries) {
  ERL_NIF_TERM map = enif_make_new_map(env);
  for (const MapEntry& entry : entries) {
    enif_make_map_put(env, map, entry.first, entry.second, &map);
  }
  return map;
}

ERL_NIF_TERM MakeStats(ErlNifEnv* env, const Stats& stats, SpoolState spool,
                       std::uint64_t spool_bytes) {
  const auto count = [env](std::uint64_t value) { return enif_make_uint64(env, value); };
  return MakeMap(env, {{atoms.accepted_, count(stats.accepted)},
                       {atoms.delivered_, count(stats.delivered)},
                       {atoms.pending_, count(stats.pending)},
                       {atoms.dead_, count(stats.dead)},
                       {atoms.cancelled_, count(stats.cancelled)},
                       {atoms.purged_, count(stats.purged)},
                       {atoms.rejected_, count(stats.rejected)},
                       {atoms.limited_, count(stats.limited)},
                       {atoms.in_flight_, count(stats.in_flight)},
                       {atoms.pending_bytes_, count(stats.pending_bytes)},
                       {atoms.attempts_, count(stats.attempts)},
                       {atoms.retries_, count(stats.retries)},
                       {atoms.state_, StateAtom(stats.state)},
                       {atoms.spool_, SpoolAtom(spool)},
                       {atoms.spool_bytes_, count(spool_bytes)}});
}

ERL_NIF_TERM MakeNotices(ErlNifEnv* env, const std::vector<Notice>& notices) {
  ERL_NIF_TERM list = enif_make_list(env, 0);
  std::for_each(notices.rbegin(), notices.rend(), [env, &list](const Notice& notice) {
    const ERL_NIF_TERM line = MakeBinary(env, notice.line);
    list = enif_make_list_cell(env, enif_make_tuple2(env, LevelAtom(notice.level), line), list);
  });
  return enif_make_tuple2(env, atoms.offline_post_, list);
}

ERL_NIF_TERM MakeLetters(ErlNifEnv* env, const std::vector<DeadLetter>& letters,
                         std::optional<Sequence> next) {
  ERL_NIF_TERM list = enif_make_list(env, 0);
  std::for_each(letters.rbegin(), letters.rend(), [env, &list](const DeadLetter& letter) {
    list = enif_make_list_cell(env, MakeLetter(env, letter), list);
  });
  return enif_make_tuple2(env, list, next ? enif_make_uint64(env, *next) : atoms.undefined_);
}

}  // namespace offline_post::nif
