#include "nif/observed.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "nif/atoms.hpp"
#include "nif/terms.hpp"

namespace offline_post::nif {

namespace {

template <typename Range, typename Make>
ERL_NIF_TERM MakeList(ErlNifEnv* env, const Range& range, Make make) {
  ERL_NIF_TERM list = enif_make_list(env, 0);
  std::for_each(std::rbegin(range), std::rend(range),
                [&](const auto& element) { list = enif_make_list_cell(env, make(element), list); });
  return list;
}

ERL_NIF_TERM ClassAtom(OutcomeClass kind) {
  switch (kind) {
    case OutcomeClass::kDelivered:
      return atoms.delivered_;
    case OutcomeClass::kRefused:
      return atoms.refused_;
    case OutcomeClass::kGone:
      return atoms.gone_;
    case OutcomeClass::kMisconfigured:
      return atoms.misconfigured_;
    case OutcomeClass::kTrouble:
      break;
  }
  return atoms.trouble_;
}

ERL_NIF_TERM MakeMinute(ErlNifEnv* env, const Observed::Minute& minute) {
  const auto count = [env](std::uint64_t value) { return enif_make_uint64(env, value); };
  return enif_make_tuple7(env, enif_make_int64(env, minute.minute), count(minute.accepted),
                          count(minute.delivered), count(minute.failed), count(minute.requests),
                          count(minute.latency_sum_us), count(minute.latency_max_us));
}

ERL_NIF_TERM MakeOutcome(ErlNifEnv* env, const Observed::Outcome& outcome) {
  return MakeMap(env, {{atoms.time_, enif_make_int64(env, outcome.unix_ms)},
                       {atoms.id_, MakeBinary(env, outcome.event_id)},
                       {atoms.class_, ClassAtom(outcome.kind)},
                       {atoms.status_, enif_make_int(env, outcome.status)},
                       {atoms.reason_, MakeBinary(env, outcome.reason)},
                       {atoms.attempt_, enif_make_int(env, outcome.attempt)},
                       {atoms.us_, enif_make_uint64(env, outcome.us)}});
}

// "Name: value"
ERL_NIF_TERM MakeHeader(ErlNifEnv* env, std::string_view header) {
  const std::size_t colon = std::min(header.find(':'), header.size());
  std::string_view value = header.substr(std::min(colon + 1, header.size()));
  while (value.starts_with(' ')) value.remove_prefix(1);
  return enif_make_tuple2(env, MakeBinary(env, header.substr(0, colon)), MakeBinary(env, value));
}

}  // namespace

ERL_NIF_TERM MakeHistogram(ErlNifEnv* env, const Histogram& histogram) {
  const auto count = [env](std::uint64_t value) { return enif_make_uint64(env, value); };
  return enif_make_tuple3(env, MakeList(env, histogram.bounds(), count),
                          MakeList(env, histogram.counts(), count), count(histogram.sum_us()));
}

ERL_NIF_TERM MakeObserved(ErlNifEnv* env, const Observed& observed) {
  ERL_NIF_TERM attempts = enif_make_new_map(env);
  for (std::size_t i = 0; i < observed.attempts.size(); ++i) {
    enif_make_map_put(env, attempts, ClassAtom(static_cast<OutcomeClass>(i)),
                      enif_make_uint64(env, observed.attempts[i]), &attempts);
  }
  return MakeMap(
      env,
      {{atoms.state_, StateAtom(observed.state)},
       {atoms.since_, enif_make_int64(env, observed.since_unix_ms)},
       {atoms.why_, MakeBinary(env, observed.why)},
       {atoms.oldest_pending_, enif_make_int64(env, observed.oldest_unix_ms)},
       {atoms.concurrency_, enif_make_int(env, observed.concurrency)},
       {atoms.max_connections_, enif_make_int(env, observed.max_connections)},
       {atoms.queue_limit_, enif_make_uint64(env, observed.limits.events)},
       {atoms.queue_bytes_, enif_make_uint64(env, observed.limits.bytes)},
       {atoms.attempts_, attempts},
       {atoms.attempt_us_, MakeHistogram(env, observed.attempt_us)},
       {atoms.delivery_us_, MakeHistogram(env, observed.delivery_us)},
       {atoms.minutes_, MakeList(env, observed.minutes,
                                 [env](const auto& minute) { return MakeMinute(env, minute); })},
       {atoms.outcomes_, MakeList(env, observed.outcomes,
                                  [env](const auto& one) { return MakeOutcome(env, one); })}});
}

ERL_NIF_TERM MakeTested(ErlNifEnv* env, const Service::Tested& tested) {
  const Request& request = tested.request;
  const std::string& url = request.url.empty() ? request.endpoint->post_url : request.url;
  const ERL_NIF_TERM shown = MakeMap(
      env, {{atoms.url_, MakeBinary(env, url)},
            {atoms.headers_, MakeList(env, request.headers,
                                      [env](const auto& one) { return MakeHeader(env, one); })},
            {atoms.body_, MakeBinary(env, request.body)}});
  return MakeMap(env, {{atoms.request_, shown},
                       {atoms.status_, enif_make_int(env, tested.outcome.status)},
                       {atoms.reason_, MakeBinary(env, tested.outcome.reason)},
                       {atoms.answer_, MakeBinary(env, tested.outcome.answer)},
                       {atoms.us_, enif_make_int64(env, tested.took_ms * 1'000)}});
}

}  // namespace offline_post::nif
