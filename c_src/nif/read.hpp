// From a term to a plain value. False: the term has another shape; `out` is then of no use.
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "model/clock.hpp"
#include "model/event.hpp"

namespace offline_post::nif {

// Ten years: sums of a few never overflow. What an option allows is checked where it is read.
inline constexpr ErlNifSInt64 kLongestMs = 10LL * 366 * 86'400'000;

// Valid as long as the call lasts.
std::string_view View(const ErlNifBinary& binary);

// Elements of a tuple of N; nullptr: it is none.
template <std::size_t N>
const ERL_NIF_TERM* Tuple(ErlNifEnv* env, ERL_NIF_TERM term) {
  int arity = 0;
  const ERL_NIF_TERM* elements = nullptr;
  if (enif_get_tuple(env, term, &arity, &elements) == 0 || arity != static_cast<int>(N)) {
    return nullptr;
  }
  return elements;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::string& out);
bool Read(ErlNifEnv* env, ERL_NIF_TERM term, bool& out);
// A count, a size or a span: 1 or more.
bool ReadPositive(ErlNifEnv* env, ERL_NIF_TERM term, ErlNifSInt64 largest, ErlNifSInt64& out);
bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Millis& out);
bool Read(ErlNifEnv* env, ERL_NIF_TERM term, int& out);
bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::uint64_t& out);
// {User, Server, Resource}
bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Jid& out);

// A map's field that may be 0.
bool ReadCount(ErlNifEnv* env, ERL_NIF_TERM map, ERL_NIF_TERM name, std::uint64_t& out);

// One of some atoms.
template <typename Value>
bool ReadChoice(ERL_NIF_TERM term, std::initializer_list<std::pair<ERL_NIF_TERM, Value>> choices,
                Value& out) {
  for (const auto& [atom, value] : choices) {
    if (enif_is_identical(term, atom) == 0) continue;
    out = value;
    return true;
  }
  return false;
}

}  // namespace offline_post::nif
