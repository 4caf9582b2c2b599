#include "nif/read.hpp"

#include <limits>

#include "nif/atoms.hpp"

namespace offline_post::nif {

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

bool ReadPositive(ErlNifEnv* env, ERL_NIF_TERM term, ErlNifSInt64 largest, ErlNifSInt64& out) {
  return enif_get_int64(env, term, &out) != 0 && out >= 1 && out <= largest;
}

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

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Jid& out) {
  const ERL_NIF_TERM* jid = Tuple<3>(env, term);
  return jid != nullptr && Read(env, jid[0], out.user) && Read(env, jid[1], out.server) &&
         Read(env, jid[2], out.resource);
}

bool ReadCount(ErlNifEnv* env, ERL_NIF_TERM map, ERL_NIF_TERM name, std::uint64_t& out) {
  ERL_NIF_TERM term = 0;
  ErlNifUInt64 value = 0;
  if (enif_get_map_value(env, map, name, &term) == 0 || enif_get_uint64(env, term, &value) == 0) {
    return false;
  }
  out = value;
  return true;
}

}  // namespace offline_post::nif
