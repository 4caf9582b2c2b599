%% One getter per option, in the style of the ones that ejabberd generates.
-module(mod_offline_post_opt).

-export([auth_token/1, ca_file/1, connect_timeout/1, dead_letter_limit/1, dead_letter_retention/1, max_age/1,
         max_connections/1, order/1, post_url/1, queue_bytes/1, queue_limit/1, retry_schedule/1, shutdown_timeout/1,
         spool/1, spool_dir/1, spool_min_free/1, sync_commit/1, timeout/1, tls_verify/1]).

-type source() :: gen_mod:opts() | global | binary().

-spec auth_token(source()) -> binary().
auth_token(Source) -> get(auth_token, Source).

-spec ca_file(source()) -> binary().
ca_file(Source) -> get(ca_file, Source).

-spec connect_timeout(source()) -> pos_integer().
connect_timeout(Source) -> get(connect_timeout, Source).

-spec dead_letter_limit(source()) -> non_neg_integer().
dead_letter_limit(Source) -> get(dead_letter_limit, Source).

-spec dead_letter_retention(source()) -> pos_integer().
dead_letter_retention(Source) -> get(dead_letter_retention, Source).

-spec max_age(source()) -> pos_integer().
max_age(Source) -> get(max_age, Source).

-spec max_connections(source()) -> pos_integer().
max_connections(Source) -> get(max_connections, Source).

-spec order(source()) -> recipient | none.
order(Source) -> get(order, Source).

-spec post_url(source()) -> binary().
post_url(Source) -> get(post_url, Source).

-spec queue_bytes(source()) -> undefined | pos_integer().
queue_bytes(Source) -> get(queue_bytes, Source).

-spec queue_limit(source()) -> pos_integer().
queue_limit(Source) -> get(queue_limit, Source).

-spec retry_schedule(source()) -> [pos_integer(), ...].
retry_schedule(Source) -> get(retry_schedule, Source).

-spec shutdown_timeout(source()) -> pos_integer().
shutdown_timeout(Source) -> get(shutdown_timeout, Source).

-spec spool(source()) -> boolean().
spool(Source) -> get(spool, Source).

-spec spool_dir(source()) -> binary().
spool_dir(Source) -> get(spool_dir, Source).

-spec spool_min_free(source()) -> non_neg_integer().
spool_min_free(Source) -> get(spool_min_free, Source).

-spec sync_commit(source()) -> boolean().
sync_commit(Source) -> get(sync_commit, Source).

-spec timeout(source()) -> pos_integer().
timeout(Source) -> get(timeout, Source).

-spec tls_verify(source()) -> boolean().
tls_verify(Source) -> get(tls_verify, Source).

-spec get(atom(), source()) -> term().
get(Option, Opts) when is_map(Opts) -> gen_mod:get_opt(Option, Opts);
get(Option, Host) -> gen_mod:get_module_opt(Host, mod_offline_post, Option).
