// A stand-in for the Erlang machine: terms as a tree in memory, and of erl_nif.h what
// c_src/nif/terms.cpp calls. Every binary and every tuple is an allocation of its own, so that a
// byte too far is found.
#pragma once

#include <erl_nif.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offline_post::fuzz {

// All terms but atoms are gone after this, as after the end of a call.
void ForgetTerms();

ERL_NIF_TERM Atom(const std::string& name);
ERL_NIF_TERM Binary(std::string_view bytes);
ERL_NIF_TERM Integer(ErlNifSInt64 value);
ERL_NIF_TERM BigInteger();  // fits no 64 bits
ERL_NIF_TERM Float(double value);
ERL_NIF_TERM Pid();
ERL_NIF_TERM Tuple(const std::vector<ERL_NIF_TERM>& elements);
// Improper if `tail` is no list.
ERL_NIF_TERM List(const std::vector<ERL_NIF_TERM>& elements, ERL_NIF_TERM tail);
ERL_NIF_TERM List(const std::vector<ERL_NIF_TERM>& elements);
ERL_NIF_TERM Map(const std::vector<std::pair<ERL_NIF_TERM, ERL_NIF_TERM>>& entries);

bool Same(ERL_NIF_TERM a, ERL_NIF_TERM b);

}  // namespace offline_post::fuzz
