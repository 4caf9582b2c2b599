#include "nif/terms.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "nif/atoms.hpp"
#include "nif/read.hpp"

namespace offline_post::nif {

Atoms atoms;

void InitAtoms(ErlNifEnv* env) {
#define ATOM(name) atoms.name##_ = enif_make_atom(env, #name);
#include "nif/atoms.inc"
#undef ATOM
}

namespace {

using nif::Read;  // beside those below

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

bool IsLarge(ErlNifEnv* env, ERL_NIF_TERM term) {
  const ERL_NIF_TERM* fields = Tuple<7>(env, term);
  if (fields == nullptr) return false;
  std::size_t bytes = 0;
  const auto add = [env, &bytes](ERL_NIF_TERM text) {
    ErlNifBinary binary;
    if (enif_inspect_binary(env, text, &binary) != 0) bytes += binary.size;
  };
  add(fields[4]);
  ERL_NIF_TERM rest = fields[6];
  for (ERL_NIF_TERM head = 0; enif_get_list_cell(env, rest, &head, &rest) != 0;) {
    if (const ERL_NIF_TERM* pair = Tuple<2>(env, head)) add(pair[1]);
  }
  return bytes > kLargeEvent;
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

ERL_NIF_TERM MakeBinaries(ErlNifEnv* env, const std::vector<std::string>& texts) {
  ERL_NIF_TERM list = enif_make_list(env, 0);
  std::for_each(texts.rbegin(), texts.rend(), [env, &list](const std::string& text) {
    list = enif_make_list_cell(env, MakeBinary(env, text), list);
  });
  return list;
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

ERL_NIF_TERM MakeStats(ErlNifEnv* env, const Stats& stats, SpoolState spool,
                       std::uint64_t spool_bytes, std::int64_t disk_silent_s) {
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
                       {atoms.given_up_, count(stats.given_up)},
                       {atoms.recipients_waiting_, count(stats.recipients_waiting)},
                       {atoms.out_of_order_, count(stats.out_of_order)},
                       {atoms.state_, StateAtom(stats.state)},
                       {atoms.spool_, SpoolAtom(spool)},
                       {atoms.spool_bytes_, count(spool_bytes)},
                       {atoms.disk_silent_, enif_make_int64(env, disk_silent_s)}});
}

ERL_NIF_TERM MakeReport(ErlNifEnv* env, const SpoolImport::Report& report) {
  const auto count = [env](std::uint64_t value) { return enif_make_uint64(env, value); };
  return MakeMap(env, {{atoms.pending_, count(report.pending)},
                       {atoms.dead_, count(report.dead)},
                       {atoms.withdrawn_, count(report.withdrawn)},
                       {atoms.before_, count(report.before)},
                       {atoms.left_, count(report.left)},
                       {atoms.trouble_, MakeBinary(env, report.trouble)},
                       {atoms.file_, MakeBinary(env, report.file)}});
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
