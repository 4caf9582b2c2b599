#include "enif.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "require.hpp"

namespace offline_post::fuzz {

namespace {

struct Term {
  enum class Kind { kAtom, kBinary, kInteger, kBig, kFloat, kPid, kTuple, kNil, kCons, kMap };
  Kind kind = Kind::kNil;
  std::string atom;
  std::vector<unsigned char> bytes;
  ErlNifSInt64 integer = 0;
  std::optional<ErlNifUInt64> beyond;  // an integer that only an unsigned one can hold
  double real = 0;
  std::vector<ERL_NIF_TERM> elements;  // of a tuple; head and tail of a list's cell
  std::vector<std::pair<ERL_NIF_TERM, ERL_NIF_TERM>> entries;
};

std::vector<std::unique_ptr<Term>>& Terms() {
  static std::vector<std::unique_ptr<Term>> terms;
  return terms;
}

const Term& At(ERL_NIF_TERM term) {
  Require(term != 0, "a term is one");
  return *reinterpret_cast<const Term*>(term);
}

ERL_NIF_TERM Keep(Term term) {
  // A vector that has grown would hide a read past its end.
  term.bytes.shrink_to_fit();
  term.elements.shrink_to_fit();
  Terms().push_back(std::make_unique<Term>(std::move(term)));
  return reinterpret_cast<ERL_NIF_TERM>(Terms().back().get());
}

ERL_NIF_TERM OfKind(Term::Kind kind) {
  Term term;
  term.kind = kind;
  return Keep(std::move(term));
}

bool Is(ERL_NIF_TERM term, Term::Kind kind) { return At(term).kind == kind; }

}  // namespace

void ForgetTerms() { Terms().clear(); }

ERL_NIF_TERM Atom(const std::string& name) {
  static std::map<std::string, Term> atoms;
  Term& atom = atoms[name];
  atom.kind = Term::Kind::kAtom;
  atom.atom = name;
  return reinterpret_cast<ERL_NIF_TERM>(&atom);
}

ERL_NIF_TERM Binary(std::string_view bytes) {
  Term term;
  term.kind = Term::Kind::kBinary;
  term.bytes.assign(bytes.begin(), bytes.end());
  return Keep(std::move(term));
}

ERL_NIF_TERM Integer(ErlNifSInt64 value) {
  Term term;
  term.kind = Term::Kind::kInteger;
  term.integer = value;
  return Keep(std::move(term));
}

ERL_NIF_TERM BigInteger() { return OfKind(Term::Kind::kBig); }
ERL_NIF_TERM Pid() { return OfKind(Term::Kind::kPid); }

ERL_NIF_TERM Float(double value) {
  Term term;
  term.kind = Term::Kind::kFloat;
  term.real = value;
  return Keep(std::move(term));
}

ERL_NIF_TERM Tuple(const std::vector<ERL_NIF_TERM>& elements) {
  Term term;
  term.kind = Term::Kind::kTuple;
  term.elements = elements;
  return Keep(std::move(term));
}

ERL_NIF_TERM List(const std::vector<ERL_NIF_TERM>& elements, ERL_NIF_TERM tail) {
  std::for_each(elements.rbegin(), elements.rend(), [&tail](ERL_NIF_TERM head) {
    Term cell;
    cell.kind = Term::Kind::kCons;
    cell.elements = {head, tail};
    tail = Keep(std::move(cell));
  });
  return tail;
}

ERL_NIF_TERM List(const std::vector<ERL_NIF_TERM>& elements) {
  return List(elements, OfKind(Term::Kind::kNil));
}

ERL_NIF_TERM Map(const std::vector<std::pair<ERL_NIF_TERM, ERL_NIF_TERM>>& entries) {
  Term term;
  term.kind = Term::Kind::kMap;
  term.entries = entries;
  return Keep(std::move(term));
}

bool Same(ERL_NIF_TERM a, ERL_NIF_TERM b) {
  if (a == b) return true;
  const Term& x = At(a);
  const Term& y = At(b);
  const auto same_entries = [&x, &y] {
    return std::equal(x.entries.begin(), x.entries.end(), y.entries.begin(), y.entries.end(),
                      [](const auto& p, const auto& q) {
                        return Same(p.first, q.first) && Same(p.second, q.second);
                      });
  };
  return x.kind == y.kind && x.kind != Term::Kind::kAtom && x.bytes == y.bytes &&
         x.integer == y.integer && x.beyond == y.beyond && x.real == y.real &&
         std::equal(x.elements.begin(), x.elements.end(), y.elements.begin(), y.elements.end(),
                    Same) &&
         same_entries();
}

}  // namespace offline_post::fuzz

// erl_nif.h, as the machine has it: what is no such term gives 0.

using namespace offline_post::fuzz;  // NOLINT(google-build-using-namespace): they are one thing

extern "C" {

ERL_NIF_TERM enif_make_atom(ErlNifEnv*, const char* name) { return Atom(name); }

int enif_inspect_binary(ErlNifEnv*, ERL_NIF_TERM term, ErlNifBinary* binary) {
  if (!Is(term, Term::Kind::kBinary)) return 0;
  binary->data = const_cast<unsigned char*>(At(term).bytes.data());
  binary->size = At(term).bytes.size();
  return 1;
}

int enif_is_identical(ERL_NIF_TERM a, ERL_NIF_TERM b) { return Same(a, b) ? 1 : 0; }
int enif_is_atom(ErlNifEnv*, ERL_NIF_TERM term) { return Is(term, Term::Kind::kAtom) ? 1 : 0; }
int enif_is_map(ErlNifEnv*, ERL_NIF_TERM term) { return Is(term, Term::Kind::kMap) ? 1 : 0; }
int enif_is_binary(ErlNifEnv*, ERL_NIF_TERM term) { return Is(term, Term::Kind::kBinary) ? 1 : 0; }
int enif_is_empty_list(ErlNifEnv*, ERL_NIF_TERM term) { return Is(term, Term::Kind::kNil) ? 1 : 0; }

int enif_is_list(ErlNifEnv*, ERL_NIF_TERM term) {
  return Is(term, Term::Kind::kNil) || Is(term, Term::Kind::kCons) ? 1 : 0;
}

int enif_get_int64(ErlNifEnv*, ERL_NIF_TERM term, ErlNifSInt64* value) {
  if (!Is(term, Term::Kind::kInteger) || At(term).beyond) return 0;
  *value = At(term).integer;
  return 1;
}

int enif_get_uint64(ErlNifEnv*, ERL_NIF_TERM term, ErlNifUInt64* value) {
  if (!Is(term, Term::Kind::kInteger) || (!At(term).beyond && At(term).integer < 0)) return 0;
  *value = At(term).beyond ? *At(term).beyond : static_cast<ErlNifUInt64>(At(term).integer);
  return 1;
}

int enif_get_double(ErlNifEnv*, ERL_NIF_TERM term, double* value) {
  if (!Is(term, Term::Kind::kFloat)) return 0;
  *value = At(term).real;
  return 1;
}

int enif_get_list_cell(ErlNifEnv*, ERL_NIF_TERM term, ERL_NIF_TERM* head, ERL_NIF_TERM* tail) {
  if (!Is(term, Term::Kind::kCons)) return 0;
  const Term& cell = At(term);  // `term` may be what `tail` points to
  *head = cell.elements[0];
  *tail = cell.elements[1];
  return 1;
}

int enif_get_list_length(ErlNifEnv*, ERL_NIF_TERM term, unsigned* length) {
  *length = 0;
  for (; Is(term, Term::Kind::kCons); term = At(term).elements[1]) ++*length;
  return Is(term, Term::Kind::kNil) ? 1 : 0;
}

int enif_get_tuple(ErlNifEnv*, ERL_NIF_TERM term, int* arity, const ERL_NIF_TERM** elements) {
  if (!Is(term, Term::Kind::kTuple)) return 0;
  *arity = static_cast<int>(At(term).elements.size());
  *elements = At(term).elements.data();
  return 1;
}

int enif_get_map_size(ErlNifEnv*, ERL_NIF_TERM term, size_t* size) {
  if (!Is(term, Term::Kind::kMap)) return 0;
  *size = At(term).entries.size();
  return 1;
}

int enif_get_map_value(ErlNifEnv*, ERL_NIF_TERM map, ERL_NIF_TERM key, ERL_NIF_TERM* value) {
  if (!Is(map, Term::Kind::kMap)) return 0;
  const auto& entries = At(map).entries;
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [key](const auto& entry) { return Same(entry.first, key); });
  if (found == entries.end()) return 0;
  *value = found->second;
  return 1;
}

unsigned char* enif_make_new_binary(ErlNifEnv*, size_t size, ERL_NIF_TERM* term) {
  *term = Binary(std::string(size, '\0'));
  return const_cast<unsigned char*>(At(*term).bytes.data());
}

ERL_NIF_TERM enif_make_int(ErlNifEnv*, int value) { return Integer(value); }
ERL_NIF_TERM enif_make_uint(ErlNifEnv*, unsigned value) { return Integer(value); }
ERL_NIF_TERM enif_make_int64(ErlNifEnv*, ErlNifSInt64 value) { return Integer(value); }

ERL_NIF_TERM enif_make_uint64(ErlNifEnv*, ErlNifUInt64 value) {
  Term term;
  term.kind = Term::Kind::kInteger;
  term.integer = static_cast<ErlNifSInt64>(value);
  if (term.integer < 0) term.beyond = value;
  return Keep(std::move(term));
}

ERL_NIF_TERM enif_make_list_cell(ErlNifEnv*, ERL_NIF_TERM head, ERL_NIF_TERM tail) {
  return List({head}, tail);
}

ERL_NIF_TERM enif_make_new_map(ErlNifEnv*) { return Map({}); }

int enif_make_map_put(ErlNifEnv*, ERL_NIF_TERM map, ERL_NIF_TERM key, ERL_NIF_TERM value,
                      ERL_NIF_TERM* out) {
  auto entries = At(map).entries;
  entries.emplace_back(key, value);
  *out = Map(entries);
  return 1;
}

// With as many terms behind it as `count` says.
ERL_NIF_TERM enif_make_tuple(ErlNifEnv*, unsigned count, ...) {
  va_list arguments;
  va_start(arguments, count);
  std::vector<ERL_NIF_TERM> elements(count);
  for (ERL_NIF_TERM& element : elements) element = va_arg(arguments, ERL_NIF_TERM);
  va_end(arguments);
  return Tuple(elements);
}

ERL_NIF_TERM enif_make_list(ErlNifEnv*, unsigned count, ...) {
  va_list arguments;
  va_start(arguments, count);
  std::vector<ERL_NIF_TERM> elements(count);
  for (ERL_NIF_TERM& element : elements) element = va_arg(arguments, ERL_NIF_TERM);
  va_end(arguments);
  return List(elements);
}
}
