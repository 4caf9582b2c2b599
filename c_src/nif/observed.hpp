// What was seen of an endpoint, and of a test, as Erlang terms.
#pragma once

#include <erl_nif.h>

#include "engine/observations.hpp"
#include "service/service.hpp"

namespace offline_post::nif {

// {BoundsUs, Counts, SumUs}
ERL_NIF_TERM MakeHistogram(ErlNifEnv* env, const Histogram& histogram);
// The map of mod_offline_post_nif:observe().
ERL_NIF_TERM MakeObserved(ErlNifEnv* env, const Observed& observed);
// The map that {offline_post_tested, Ref, Map} has.
ERL_NIF_TERM MakeTested(ErlNifEnv* env, const Service::Tested& tested);

}  // namespace offline_post::nif
