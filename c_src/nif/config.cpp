#include "nif/config.hpp"

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "http/proxy.hpp"
#include "http/url.hpp"
#include "nif/atoms.hpp"
#include "nif/read.hpp"
#include "payload/recipe.hpp"

namespace offline_post::nif {

namespace {

using nif::Read;  // beside those below

// Deeper than anybody's JSON, and no danger to a scheduler's stack.
constexpr int kDeepest = 32;

using Headers = std::vector<std::pair<std::string, std::string>>;

// Calls `take` for each element of a proper list, as long as it returns true.
template <typename Take>
bool ForEach(ErlNifEnv* env, ERL_NIF_TERM list, Take take) {
  ERL_NIF_TERM head = 0;
  while (enif_get_list_cell(env, list, &head, &list) != 0) {
    if (!take(head)) return false;
  }
  return enif_is_empty_list(env, list) != 0;
}

bool ReadValue(ErlNifEnv* env, ERL_NIF_TERM term, int depth, FieldValue& out);

// [{Name, Value}]
bool ReadFields(ErlNifEnv* env, ERL_NIF_TERM term, int depth, FieldMap& out) {
  return depth < kDeepest && ForEach(env, term, [&](ERL_NIF_TERM element) {
           const ERL_NIF_TERM* pair = Tuple<2>(env, element);
           out.emplace_back();
           return pair != nullptr && Read(env, pair[0], out.back().first) &&
                  ReadValue(env, pair[1], depth + 1, out.back().second);
         });
}

bool ReadValues(ErlNifEnv* env, ERL_NIF_TERM term, int depth, FieldList& out) {
  return depth < kDeepest && ForEach(env, term, [&](ERL_NIF_TERM element) {
           out.emplace_back();
           return ReadValue(env, element, depth + 1, out.back());
         });
}

// A template, a literal, {list, [Value]} or {map, [{Name, Value}]}.
bool ReadValue(ErlNifEnv* env, ERL_NIF_TERM term, int depth, FieldValue& out) {
  if (const ERL_NIF_TERM* nested = Tuple<2>(env, term)) {
    if (enif_is_identical(nested[0], atoms.list_) != 0) {
      return ReadValues(env, nested[1], depth, out.value.emplace<FieldList>());
    }
    return enif_is_identical(nested[0], atoms.map_) != 0 &&
           ReadFields(env, nested[1], depth, out.value.emplace<FieldMap>());
  }
  std::string text;
  ErlNifSInt64 integer = 0;
  double number = 0;
  bool truth = false;
  if (Read(env, term, text)) {
    out.value = std::move(text);
  } else if (enif_get_int64(env, term, &integer) != 0) {
    out.value = static_cast<std::int64_t>(integer);
  } else if (enif_get_double(env, term, &number) != 0) {
    out.value = number;
    return std::isfinite(number);
  } else if (Read(env, term, truth)) {
    out.value = truth;
  } else {
    out.value = nullptr;
    return enif_is_identical(term, atoms.null_) != 0;
  }
  return true;
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, FieldMap& out) {
  return ReadFields(env, term, 0, out);
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::optional<FieldMap>& out) {
  return enif_is_identical(term, atoms.none_) != 0 || Read(env, term, out.emplace());
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, Headers& out) {
  return ForEach(env, term, [&](ERL_NIF_TERM element) {
    const ERL_NIF_TERM* pair = Tuple<2>(env, element);
    out.emplace_back();
    return pair != nullptr && Read(env, pair[0], out.back().first) &&
           Read(env, pair[1], out.back().second);
  });
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::vector<std::string>& out) {
  return ForEach(env, term, [&](ERL_NIF_TERM element) {
    out.emplace_back();
    return Read(env, element, out.back());
  });
}

bool Read(ErlNifEnv* env, ERL_NIF_TERM term, RetrySchedule& out) {
  out.waits_ms.clear();
  return ForEach(env, term,
                 [&](ERL_NIF_TERM element) {
                   out.waits_ms.push_back(0);
                   return Read(env, element, out.waits_ms.back());
                 }) &&
         !out.waits_ms.empty();
}

// [{Kind, Ms}]
bool Read(ErlNifEnv* env, ERL_NIF_TERM term, std::vector<Lifetime>& out) {
  return ForEach(env, term, [&](ERL_NIF_TERM element) {
    const ERL_NIF_TERM* pair = Tuple<2>(env, element);
    out.emplace_back();
    return pair != nullptr && Read(env, pair[0], out.back().kind) &&
           Read(env, pair[1], out.back().ms);
  });
}

// A batch: none, or {MaxEvents, MaxDelayMs, MaxBytes, array | ndjson}.
bool ReadBatch(ErlNifEnv* env, ERL_NIF_TERM term, EndpointConfig& config) {
  if (enif_is_identical(term, atoms.none_) != 0) return true;
  const ERL_NIF_TERM* batch = Tuple<4>(env, term);
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  if (batch == nullptr || !Read(env, batch[0], events) ||
      !Read(env, batch[1], config.batch.max_delay_ms) || !Read(env, batch[2], bytes) ||
      !ReadChoice<BatchForm>(
          batch[3], {{atoms.array_, BatchForm::kArray}, {atoms.ndjson_, BatchForm::kNdjson}},
          config.recipe.batch_form)) {
    return false;
  }
  config.batch.max_events = static_cast<std::size_t>(events);
  config.batch.max_bytes = static_cast<std::size_t>(bytes);
  return true;
}

}  // namespace

std::optional<EndpointConfig> ReadConfig(ErlNifEnv* env, EndpointKeyView key, ERL_NIF_TERM term) {
  EndpointConfig config;
  config.key = {std::string(key.vhost), std::string(key.module)};
  RecipeConfig& recipe = config.recipe;
  const auto value = [env, term](ERL_NIF_TERM name) {
    ERL_NIF_TERM found = 0;
    return enif_get_map_value(env, term, name, &found) != 0 ? found : atoms.undefined_;
  };
  const auto field = [env, term](ERL_NIF_TERM name, auto& out) {
    ERL_NIF_TERM found = 0;
    return enif_get_map_value(env, term, name, &found) != 0 && Read(env, found, out);
  };
  const auto count = [env, term](ERL_NIF_TERM name, std::uint64_t& out) {
    return ReadCount(env, term, name, out);
  };
  const bool delivery =
      field(atoms.post_url_, config.post_url) && field(atoms.auth_token_, config.auth_token) &&
      field(atoms.timeout_, config.timeout_ms) &&
      field(atoms.connect_timeout_, config.connect_timeout_ms) &&
      field(atoms.connection_max_age_, config.connection_max_age_ms) &&
      field(atoms.max_connections_, config.max_connections) &&
      field(atoms.queue_limit_, config.limits.events) &&
      field(atoms.queue_bytes_, config.limits.bytes) &&
      field(atoms.retry_schedule_, config.schedule) &&
      field(atoms.max_age_, config.schedule.max_age_ms) &&
      field(atoms.max_ages_, config.schedule.max_ages) &&
      ReadChoice<bool>(value(atoms.order_), {{atoms.none_, false}, {atoms.recipient_, true}},
                       config.ordered) &&
      field(atoms.dead_letter_retention_, config.retention.age_ms) &&
      count(atoms.dead_letter_limit_, config.retention.letters) &&
      field(atoms.spool_, config.spool.enabled) &&
      field(atoms.spool_dir_, config.spool.directory) &&
      count(atoms.spool_min_free_, config.spool.min_free_bytes);
  const bool connection =
      field(atoms.tls_verify_, config.tls.verify) && field(atoms.ca_file_, config.tls.ca_file) &&
      field(atoms.client_cert_, config.tls.client_cert) &&
      field(atoms.client_key_, config.tls.client_key) && field(atoms.proxy_, config.proxy) &&
      ReadChoice<HttpVersion>(value(atoms.http_version_),
                              {{atoms.auto_, HttpVersion::kAuto},
                               {atoms.http1_, HttpVersion::k1},
                               {atoms.http2_, HttpVersion::k2}},
                              config.http_version);
  std::uint64_t interval_ms = 0;
  const bool events =
      count(atoms.collapse_interval_, interval_ms) && interval_ms <= kLongestMs &&
      count(atoms.rate_sender_, config.rates.sender) &&
      count(atoms.rate_recipient_, config.rates.recipient) &&
      ReadChoice<bool>(value(atoms.rate_beyond_), {{atoms.drop_, false}, {atoms.collapse_, true}},
                       config.rates.collapse) &&
      ReadBatch(env, value(atoms.batch_), config);
  const bool format =
      ReadChoice<bool>(value(atoms.form_), {{atoms.message_, false}, {atoms.presence_, true}},
                       recipe.presence) &&
      ReadChoice<Format>(value(atoms.format_),
                         {{atoms.form_, Format::kForm},
                          {atoms.json_, Format::kJson},
                          {atoms.stanza_, Format::kStanza}},
                         recipe.format) &&
      field(atoms.content_type_, recipe.content_type) && field(atoms.fields_, recipe.fields) &&
      field(atoms.room_fields_, recipe.room_fields) && field(atoms.headers_, recipe.headers) &&
      ReadChoice<Auth>(value(atoms.auth_),
                       {{atoms.body_, Auth::kBody},
                        {atoms.bearer_, Auth::kBearer},
                        {atoms.basic_, Auth::kBasic},
                        {atoms.header_, Auth::kHeader}},
                       recipe.auth) &&
      field(atoms.signing_secrets_, recipe.signing_secrets) &&
      ReadChoice<bool>(value(atoms.compress_), {{atoms.none_, false}, {atoms.gzip_, true}},
                       recipe.gzip) &&
      field(atoms.traceparent_, recipe.traceparent);
  if (!delivery || !connection || !events || !format) return std::nullopt;
  config.collapse_interval_ms = static_cast<Millis>(interval_ms);
  return config;
}

std::optional<Status> CheckOption(ErlNifEnv* env, ERL_NIF_TERM option, ERL_NIF_TERM value) {
  const auto is = [option](ERL_NIF_TERM atom) { return enif_is_identical(option, atom) != 0; };
  if (std::string url; is(atoms.post_url_) && Read(env, value, url)) {
    if (Status status = CheckUrl(url)) return status;
    Url parsed;
    if (!parsed.Parse(WithoutTemplates(url)).empty()) return Status();  // said by others
    const std::string trouble = parsed.HostTrouble();
    return trouble.empty() ? Status() : Invalid("post_url " + trouble);
  }
  if (FieldMap fields; is(atoms.fields_) && Read(env, value, fields)) return CheckFields(fields);
  if (Headers headers; is(atoms.headers_) && Read(env, value, headers)) {
    return CheckHeaders(headers);
  }
  if (std::vector<std::string> secrets; is(atoms.signing_secrets_) && Read(env, value, secrets)) {
    return CheckSecrets(secrets);
  }
  if (std::string url; is(atoms.proxy_) && Read(env, value, url)) {
    const Result<Proxy> proxy = ParseProxy(url);
    return proxy.ok() ? Status() : proxy.error();
  }
  return std::nullopt;
}

}  // namespace offline_post::nif
