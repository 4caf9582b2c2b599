// Erlang terms <-> our values. A reader returns nothing where a term has another shape: the caller
// answers badarg. Binaries are copied: their data dies with the call.
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/ledger.hpp"
#include "engine/notices.hpp"
#include "model/dead_letter.hpp"
#include "model/endpoint.hpp"
#include "model/event.hpp"
#include "service/service.hpp"

namespace offline_post::nif {

// {Host :: binary(), Module :: binary()}
// Valid as long as the call lasts.
std::optional<EndpointKeyView> ReadKey(ErlNifEnv* env, ERL_NIF_TERM term);
// {Kind, To, From, MessageId, Body, Topic, [{Name, Value}]}, addresses as {User, Server, Resource}
// Nothing (nullptr) for a term of another shape.
std::shared_ptr<Event> ReadEvent(ErlNifEnv* env, ERL_NIF_TERM term);
// Whether an event's texts have more than kLargeEvent bytes together. Copies none.
inline constexpr std::size_t kLargeEvent = std::size_t{64} * 1024;
bool IsLarge(ErlNifEnv* env, ERL_NIF_TERM term);
// {User, Server}, all | Topic, cancel | purge
std::optional<Withdrawal> ReadWithdrawal(ErlNifEnv* env, ERL_NIF_TERM recipient, ERL_NIF_TERM what,
                                         ERL_NIF_TERM how);

// What mod_offline_post_nif:dead/2 is asked for.
struct DeadRequest {
  DeadAct act = DeadAct::kShow;
  DeadFilter filter;
  Sequence after = 0;
  std::size_t limit = 0;
};
// {list, Filter, After, Limit} | {replay, Filter} | {drop, Filter}; Filter = #{id, reason}
std::optional<DeadRequest> ReadDeadRequest(ErlNifEnv* env, ERL_NIF_TERM term);

using MapEntry = std::pair<ERL_NIF_TERM, ERL_NIF_TERM>;
ERL_NIF_TERM MakeMap(ErlNifEnv* env, std::initializer_list<MapEntry> entries);
ERL_NIF_TERM MakeBinary(ErlNifEnv* env, std::string_view text);
ERL_NIF_TERM MakeBinaries(ErlNifEnv* env, const std::vector<std::string>& texts);
// {error, Reason}
ERL_NIF_TERM MakeError(ErlNifEnv* env, ERL_NIF_TERM reason);
ERL_NIF_TERM StateAtom(EndpointState state);
// The map of mod_offline_post_nif:stats().
ERL_NIF_TERM MakeStats(ErlNifEnv* env, const Stats& stats, SpoolState spool,
                       std::uint64_t spool_bytes, std::int64_t disk_silent_s);
// The map of mod_offline_post_nif:imported().
ERL_NIF_TERM MakeReport(ErlNifEnv* env, const SpoolImport::Report& report);
// {offline_post, [{Level, Line}]}
ERL_NIF_TERM MakeNotices(ErlNifEnv* env, const std::vector<Notice>& notices);
// {[Letter], Next | undefined}
ERL_NIF_TERM MakeLetters(ErlNifEnv* env, const std::vector<DeadLetter>& letters,
                         std::optional<Sequence> next);

}  // namespace offline_post::nif
