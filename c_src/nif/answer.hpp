// An answer that a calling process gets later.
#pragma once

#include <erl_nif.h>

#include <memory>
#include <new>

#include "nif/atoms.hpp"

namespace offline_post::nif {

struct EnvDeleter {
  void operator()(ErlNifEnv* env) const noexcept { enif_free_env(env); }
};
using Env = std::unique_ptr<ErlNifEnv, EnvDeleter>;

// An answer that the calling process gets later, as {Tag, Ref, Result}. Copies share it; Send at
// most once, on any thread.
class Answer {
 public:
  // Throws std::bad_alloc.
  Answer(ErlNifEnv* env, ERL_NIF_TERM tag)
      : env_(enif_alloc_env(), EnvDeleter()), tag_(tag), ref_(enif_make_ref(env)) {
    if (!env_ || enif_self(env, &caller_) == nullptr) throw std::bad_alloc();
    sent_ref_ = enif_make_copy(env_.get(), ref_);
  }

  // Valid as long as the call lasts.
  ERL_NIF_TERM ref() const { return ref_; }
  ERL_NIF_TERM MakeOk(ErlNifEnv* env) const { return enif_make_tuple2(env, atoms.ok_, ref_); }

  template <typename MakeResult>
  void Send(MakeResult make_result) const {
    const ERL_NIF_TERM message =
        enif_make_tuple3(env_.get(), tag_, sent_ref_, make_result(env_.get()));
    // A caller that died needs no answer.
    enif_send(nullptr, &caller_, env_.get(), message);
  }

 private:
  std::shared_ptr<ErlNifEnv> env_;
  ERL_NIF_TERM tag_;
  ERL_NIF_TERM ref_;
  ERL_NIF_TERM sent_ref_ = 0;
  ErlNifPid caller_;
};

}  // namespace offline_post::nif
