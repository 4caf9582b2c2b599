%% One virtual host's endpoint on the native side: from its options to a running one, and back.
-module(mod_offline_post_endpoint).

-export([key/1, configure/2, remove/1]).

-include_lib("kernel/include/logger.hrl").

%% How much longer than asked a removal may take before its answer is not waited for any more (ms).
-define(GRACE, 1000).

-type source() :: gen_mod:opts() | binary().

-spec key(binary()) -> mod_offline_post_nif:key().
key(Host) ->
    {Host, <<"mod_offline_post">>}.

%% A new one, or new settings. Source: the options, or the host whose options they are.
-spec configure(binary(), source()) -> ok | {error, binary()}.
configure(Host, Source) ->
    case mod_offline_post_nif:configure(key(Host), config(Source)) of
        ok -> mod_offline_post_commit:wait(Host, is_waiting_for_commits(Host, Source));
        Error -> Error
    end.

%% Accepts nothing more and sends what can be sent, for at most shutdown_timeout; what is left waits.
-spec remove(binary()) -> ok.
remove(Host) ->
    ok = mod_offline_post_commit:wait(Host, false),
    Timeout = mod_offline_post_opt:shutdown_timeout(Host),
    Remove = fun() -> mod_offline_post_nif:remove(key(Host), Timeout) end,
    case mod_offline_post_await:answer(offline_post_removed, Remove, Timeout + ?GRACE) of
        {ok, 0} ->
            ok;
        {ok, Pending} ->
            left_behind(Host, Pending, mod_offline_post_nif:stats(key(Host)));
        {error, timeout} ->
            ?LOG_ERROR("mod_offline_post: the stop for ~ts was not confirmed within ~B ms", [Host, Timeout + ?GRACE]);
        {error, unknown} ->
            ok
    end.

-spec left_behind(binary(), pos_integer(), map() | undefined) -> ok.
left_behind(Host, Pending, #{spool := durable}) ->
    ?LOG_INFO("mod_offline_post: ~B messages for ~ts are not delivered yet: they wait on disk for the next start",
              [Pending, Host]);
left_behind(Host, Pending, _) ->
    ?LOG_WARNING("mod_offline_post: ~B messages for ~ts are not delivered yet: they wait in memory for the module's "
                 "next start and are lost when the node stops", [Pending, Host]).

%% There is no commit to wait for without a disk.
-spec is_waiting_for_commits(binary(), source()) -> boolean().
is_waiting_for_commits(Host, Source) ->
    case {mod_offline_post_opt:sync_commit(Source), mod_offline_post_opt:spool(Source)} of
        {true, false} ->
            ?LOG_WARNING("mod_offline_post: sync_commit has no effect for ~ts, because spool is false", [Host]),
            false;
        {SyncCommit, _} ->
            SyncCommit
    end.

-spec config(source()) -> mod_offline_post_nif:config().
config(Source) ->
    Spool = mod_offline_post_opt:spool(Source),
    #{post_url => mod_offline_post_opt:post_url(Source),
      auth_token => mod_offline_post_opt:auth_token(Source),
      timeout => mod_offline_post_opt:timeout(Source),
      connect_timeout => mod_offline_post_opt:connect_timeout(Source),
      max_connections => mod_offline_post_opt:max_connections(Source),
      queue_limit => mod_offline_post_opt:queue_limit(Source),
      queue_bytes => queue_bytes(mod_offline_post_opt:queue_bytes(Source), Spool),
      tls_verify => mod_offline_post_opt:tls_verify(Source),
      ca_file => mod_offline_post_opt:ca_file(Source),
      spool => Spool,
      spool_dir => spool_dir(mod_offline_post_opt:spool_dir(Source)),
      spool_min_free => mod_offline_post_opt:spool_min_free(Source),
      retry_schedule => mod_offline_post_opt:retry_schedule(Source),
      max_age => mod_offline_post_opt:max_age(Source),
      order => mod_offline_post_opt:order(Source),
      dead_letter_retention => mod_offline_post_opt:dead_letter_retention(Source),
      dead_letter_limit => mod_offline_post_opt:dead_letter_limit(Source)}.

%% What a disk can hold is more than what memory should.
-spec queue_bytes(undefined | pos_integer(), Spool :: boolean()) -> pos_integer().
queue_bytes(undefined, true) -> 8 bsl 30;
queue_bytes(undefined, false) -> 256 bsl 20;
queue_bytes(Bytes, _Spool) -> Bytes.

%% By default ejabberd's spool directory, which is Mnesia's.
-spec spool_dir(binary()) -> binary().
spool_dir(<<>>) -> filename:absname(unicode:characters_to_binary(mnesia:system_info(directory)));
spool_dir(Dir) -> Dir.
