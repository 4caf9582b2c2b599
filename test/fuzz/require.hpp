// What must hold of any input: a target that finds otherwise ends, and libFuzzer keeps the input.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace offline_post::fuzz {

inline void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace offline_post::fuzz
