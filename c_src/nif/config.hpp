// What an operator has configured, from terms: the config of mod_offline_post_nif:configure/2, and
// the single options of check/2. Binaries are copied: their data dies with the call.
#pragma once

#include <erl_nif.h>

#include <optional>

#include "model/endpoint.hpp"
#include "model/result.hpp"
#include "service/service.hpp"

namespace offline_post::nif {

// The map of mod_offline_post_nif:config(); every key is required. Nothing for another shape.
std::optional<EndpointConfig> ReadConfig(ErlNifEnv* env, EndpointKeyView key, ERL_NIF_TERM term);

// What CompileRecipe would say of one option's value. Nothing for a term of another shape, or for
// an option that is not one of mod_offline_post_nif:check/2.
std::optional<Status> CheckOption(ErlNifEnv* env, ERL_NIF_TERM option, ERL_NIF_TERM value);

}  // namespace offline_post::nif
