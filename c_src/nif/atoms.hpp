// The atoms, made once when the library is loaded.
#pragma once

#include <erl_nif.h>

namespace offline_post::nif {

struct Atoms {
#define ATOM(name) ERL_NIF_TERM name##_;
#include "nif/atoms.inc"
#undef ATOM
};

extern Atoms atoms;

void InitAtoms(ErlNifEnv* env);

}  // namespace offline_post::nif
