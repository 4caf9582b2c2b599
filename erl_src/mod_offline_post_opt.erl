%% One getter per option, in the style of the ones that ejabberd generates.
-module(mod_offline_post_opt).

-export([auth/1, auth_token/1, badge/1, batch/1, ca_file/1, cancel_when_online/1, client_cert/1, client_key/1,
         collapse/1, collapse_interval/1, compress/1, connect_timeout/1, connection_max_age/1, content_type/1,
         dead_letter_limit/1, dead_letter_retention/1, fields/1, format/1, groupchat/1, headers/1, http_version/1,
         include_body/1, include_sender/1, max_age/1, max_connections/1, max_rate/1, members_notify/1,
         metrics_access/1, metrics_token/1, notify/1, notify_hanging_device/1, order/1, post_url/1, proxy/1,
         queue_bytes/1, queue_limit/1, retry_schedule/1, room_fields/1, shutdown_timeout/1, signing_secrets/1,
         spool/1, spool_dir/1, spool_min_free/1, sync_commit/1, timeout/1, tls_verify/1, traceparent/1, triggers/1]).

-type source() :: gen_mod:opts() | global | binary().

-spec auth(source()) -> body | bearer | basic | header.
auth(Source) -> get(auth, Source).

-spec auth_token(source()) -> binary().
auth_token(Source) -> get(auth_token, Source).

-spec badge(source()) -> none | events | stored.
badge(Source) -> get(badge, Source).

-spec batch(source()) -> none | #{max_events | max_delay | max_bytes => pos_integer(), format => array | ndjson}.
batch(Source) -> get(batch, Source).

-spec ca_file(source()) -> binary().
ca_file(Source) -> get(ca_file, Source).

-spec cancel_when_online(source()) -> boolean().
cancel_when_online(Source) -> get(cancel_when_online, Source).

-spec client_cert(source()) -> binary().
client_cert(Source) -> get(client_cert, Source).

-spec client_key(source()) -> binary().
client_key(Source) -> get(client_key, Source).

-spec collapse(source()) -> none | recipient | conversation.
collapse(Source) -> get(collapse, Source).

-spec collapse_interval(source()) -> none | pos_integer().
collapse_interval(Source) -> get(collapse_interval, Source).

-spec compress(source()) -> none | gzip.
compress(Source) -> get(compress, Source).

-spec connect_timeout(source()) -> pos_integer().
connect_timeout(Source) -> get(connect_timeout, Source).

-spec connection_max_age(source()) -> pos_integer().
connection_max_age(Source) -> get(connection_max_age, Source).

-spec content_type(source()) -> binary().
content_type(Source) -> get(content_type, Source).

-spec dead_letter_limit(source()) -> non_neg_integer().
dead_letter_limit(Source) -> get(dead_letter_limit, Source).

-spec dead_letter_retention(source()) -> pos_integer().
dead_letter_retention(Source) -> get(dead_letter_retention, Source).

-spec fields(source()) -> none | mod_offline_post_nif:fields().
fields(Source) -> get(fields, Source).

-spec format(source()) -> form | json | stanza.
format(Source) -> get(format, Source).

-spec groupchat(source()) -> none | mucsub | members.
groupchat(Source) -> get(groupchat, Source).

-spec headers(source()) -> [{binary(), binary()}].
headers(Source) -> get(headers, Source).

-spec http_version(source()) -> auto | http1 | http2.
http_version(Source) -> get(http_version, Source).

-spec include_body(source()) -> mod_offline_post_policy:content() | #{atom() => mod_offline_post_policy:content()}.
include_body(Source) -> get(include_body, Source).

-spec include_sender(source()) -> boolean().
include_sender(Source) -> get(include_sender, Source).

-spec max_age(source()) -> pos_integer() | #{default | mod_offline_post_event:kind() => pos_integer()}.
max_age(Source) -> get(max_age, Source).

-spec max_connections(source()) -> pos_integer().
max_connections(Source) -> get(max_connections, Source).

-spec max_rate(source()) -> none | #{per_sender | per_recipient => pos_integer(), beyond => drop | collapse}.
max_rate(Source) -> get(max_rate, Source).

-spec members_notify(source()) -> all | mentions.
members_notify(Source) -> get(members_notify, Source).

-spec metrics_access(source()) -> mod_offline_post_options:access().
metrics_access(Source) -> get(metrics_access, Source).

-spec metrics_token(source()) -> none | binary().
metrics_token(Source) -> get(metrics_token, Source).

-spec notify(source()) -> [mod_offline_post_event:kind(), ...].
notify(Source) -> get(notify, Source).

-spec notify_hanging_device(source()) -> boolean().
notify_hanging_device(Source) -> get(notify_hanging_device, Source).

-spec order(source()) -> recipient | none.
order(Source) -> get(order, Source).

-spec post_url(source()) -> binary().
post_url(Source) -> get(post_url, Source).

-spec proxy(source()) -> none | binary().
proxy(Source) -> get(proxy, Source).

-spec queue_bytes(source()) -> undefined | pos_integer().
queue_bytes(Source) -> get(queue_bytes, Source).

-spec queue_limit(source()) -> pos_integer().
queue_limit(Source) -> get(queue_limit, Source).

-spec retry_schedule(source()) -> [pos_integer(), ...].
retry_schedule(Source) -> get(retry_schedule, Source).

-spec room_fields(source()) -> none | mod_offline_post_nif:fields().
room_fields(Source) -> get(room_fields, Source).

-spec shutdown_timeout(source()) -> pos_integer().
shutdown_timeout(Source) -> get(shutdown_timeout, Source).

-spec signing_secrets(source()) -> [binary()].
signing_secrets(Source) -> get(signing_secrets, Source).

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

-spec traceparent(source()) -> boolean().
traceparent(Source) -> get(traceparent, Source).

-spec triggers(source()) -> [offline | pending, ...].
triggers(Source) -> get(triggers, Source).

-spec get(atom(), source()) -> term().
get(Option, Opts) when is_map(Opts) -> gen_mod:get_opt(Option, Opts);
get(Option, Host) -> gen_mod:get_module_opt(Host, mod_offline_post, Option).
