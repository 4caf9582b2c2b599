// Erlang terms <-> our values. A reader returns nothing where a term has another shape: the caller
// answers badarg. Binaries are copied: their data dies with the call.
#pragma once

#include <erl_nif.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ledger.hpp"
#include "engine/notices.hpp"
#include "model/endpoint.hpp"
#include "model/event.hpp"
#include "service/service.hpp"

namespace offline_post::nif {

// {Host :: binary(), Module :: binary()}
// Valid as long as the call lasts.
std::optional<EndpointKeyView> ReadKey(ErlNifEnv* env, ERL_NIF_TERM term);
// The map of mod_offline_post_nif:config(); every key is required.
std::optional<EndpointConfig> ReadConfig(ErlNifEnv* env, EndpointKeyView key, ERL_NIF_TERM term);
// {To, From, MessageId, Body}, addresses as {User, Server, Resource}
// Nothing (nullptr) for a term of another shape.
std::shared_ptr<Event> ReadEvent(ErlNifEnv* env, ERL_NIF_TERM term);

ERL_NIF_TERM MakeBinary(ErlNifEnv* env, std::string_view text);
// {error, Reason}
ERL_NIF_TERM MakeError(ErlNifEnv* env, ERL_NIF_TERM reason);
// The map of mod_offline_post_nif:stats().
ERL_NIF_TERM MakeStats(ErlNifEnv* env, const Stats& stats);
// {offline_post, [{Level, Line}]}
ERL_NIF_TERM MakeNotices(ErlNifEnv* env, const std::vector<Notice>& notices);
// {offline_post_removed, Ref, Pending}
ERL_NIF_TERM MakeRemoved(ErlNifEnv* env, ERL_NIF_TERM ref, std::uint64_t pending);

}  // namespace offline_post::nif
