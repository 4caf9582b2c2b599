%% A virtual host's endpoint on the native side, one for each of our modules: from its options to a running one, and
%% back.
-module(mod_offline_post_endpoint).

-export([modules/0, key/1, key/2, named/1, name/1, module/1, is_loaded/1, options/1]).
-export([configure/2, configure/3, try_out/3, spool/0, spool/1, forget_spool/0, reads_files/1, remove/1, remove/3]).
-export_type([spool/0, name/0]).

%% How much longer than asked a removal may take before its answer is not waited for any more (ms).
-define(GRACE, 1000).

-type source() :: gen_mod:opts() | binary().
%% As an operator names one: the virtual host, and for a sibling of mod_offline_post also the module:
%% <<"example.org/mod_available_post">>.
-type name() :: binary().
%% What is one for the node.
-type spool() :: {Spool :: boolean(), Dir :: binary(), MinFree :: non_neg_integer()}.

%% Those that share the native side; mod_offline_post first, then its siblings.
-spec modules() -> [module(), ...].
modules() ->
    [mod_offline_post, mod_available_post, mod_unavailable_post].

-spec key(binary()) -> mod_offline_post_nif:key().
key(Host) ->
    {Host, <<"mod_offline_post">>}.

-spec key(binary(), module()) -> mod_offline_post_nif:key().
key(Host, Module) ->
    {Host, atom_to_binary(Module, utf8)}.

%% Its module need not be one of ours.
-spec named(name()) -> mod_offline_post_nif:key().
named(Name) ->
    case binary:split(Name, <<"/">>) of
        [Host] -> key(Host);
        [Host, Module] -> {Host, Module}
    end.

-spec name(mod_offline_post_nif:key()) -> name().
name({Host, <<"mod_offline_post">>}) -> Host;
name({Host, Module}) -> <<Host/binary, "/", Module/binary>>.

%% undefined: it is none of ours.
-spec module(name()) -> module() | undefined.
module(Name) ->
    {_, Named} = named(Name),
    case [Module || Module <- modules(), atom_to_binary(Module, utf8) =:= Named] of
        [Module] -> Module;
        [] -> undefined
    end.

-spec is_loaded(name()) -> boolean().
is_loaded(Name) ->
    {Host, _} = named(Name),
    gen_mod:is_loaded(Host, module(Name)).

%% Of one that is loaded.
-spec options(name()) -> gen_mod:opts().
options(Name) ->
    {Host, _} = named(Name),
    gen_mod:get_module_opts(Host, module(Name)).

%% A new one, or new settings. Source: the options, or the host whose options they are. Uses: what its requests use of
%% an event.
-spec configure(binary(), source()) -> {ok, Uses :: [binary()]} | {error, binary()}.
configure(Host, Source) ->
    warn(Host, Source),
    with_spool(Source, mod_offline_post_nif:configure(key(Host), config(Source))).

%% Of a sibling, which posts presence.
-spec configure(binary(), module(), gen_mod:opts()) -> {ok, Uses :: [binary()]} | {error, binary()}.
configure(Host, Module, Opts) ->
    with_spool(Opts, mod_offline_post_nif:configure(key(Host, Module), presence(Opts))).

%% What the native side has taken is what it has, until it ends: ejabberd remembers what a reload has asked for, too.
-spec with_spool(source(), Answer) -> Answer when Answer :: {ok, Uses :: [binary()]} | {error, binary()}.
with_spool(Source, {ok, _} = Answer) ->
    persistent_term:put(?MODULE, spool(Source)),
    Answer;
with_spool(_Source, Answer) ->
    Answer.

%% The same, in a VM that is only to say whether it can be done, beside the node that has the spool.
-spec try_out(binary(), module(), gen_mod:opts()) -> {ok, Uses :: [binary()]} | {error, binary()}.
try_out(Host, mod_offline_post, Opts) ->
    warn(Host, Opts),
    mod_offline_post_nif:configure(key(Host), without_spool(config(Opts)));
try_out(Host, Module, Opts) ->
    mod_offline_post_nif:configure(key(Host, Module), without_spool(presence(Opts))).

-spec without_spool(mod_offline_post_nif:config()) -> mod_offline_post_nif:config().
without_spool(Config) ->
    Config#{spool := false, spool_dir := <<>>, spool_min_free := 0}.

%% Of the node, as it runs; undefined: for no virtual host.
-spec spool() -> spool() | undefined.
spool() ->
    persistent_term:get(?MODULE, undefined).

%% The native side has ended.
-spec forget_spool() -> boolean().
forget_spool() ->
    persistent_term:erase(?MODULE).

-spec spool(source()) -> spool().
spool(Source) ->
    {mod_offline_post_opt:spool(Source), spool_dir(mod_offline_post_opt:spool_dir(Source)),
     mod_offline_post_opt:spool_min_free(Source)}.

%% Whether settings stand in files, which the native side reads when it is configured, and only then.
-spec reads_files(source()) -> boolean().
reads_files(Source) ->
    lists:any(fun(File) -> File =/= <<>> end,
              [mod_offline_post_opt:ca_file(Source), mod_offline_post_opt:client_cert(Source),
               mod_offline_post_opt:client_key(Source)]).

%% Accepts nothing more and sends what can be sent, for at most shutdown_timeout; what is left waits.
-spec remove(binary()) -> ok.
remove(Host) ->
    remove(Host, mod_offline_post, mod_offline_post_opt:shutdown_timeout(Host)).

-spec remove(binary(), module(), TimeoutMs :: pos_integer()) -> ok.
remove(Host, Module, Timeout) ->
    Key = key(Host, Module),
    Remove = fun() -> mod_offline_post_nif:remove(Key, Timeout) end,
    case mod_offline_post_await:answer(offline_post_removed, Remove, Timeout + ?GRACE) of
        {ok, 0} ->
            ok;
        {ok, Pending} ->
            left_behind(Host, Pending, mod_offline_post_nif:stats(Key));
        {error, timeout} ->
            note(error, Host, ["the stop for ", hosts, " was not confirmed within ", integer_to_list(Timeout + ?GRACE), " ms"]);
        {error, unknown} ->
            ok
    end.

-spec left_behind(binary(), pos_integer(), map() | undefined) -> ok.
left_behind(Host, Pending, #{spool := durable}) ->
    mod_offline_post_notices:note(info, Host, ["mod_offline_post: ", count, " messages for ", hosts,
                                               " are not delivered yet: they wait on disk for the next start"], Pending);
left_behind(Host, Pending, _) ->
    mod_offline_post_notices:note(warning, Host, ["mod_offline_post: ", count, " messages for ", hosts,
                                                  " are not delivered yet: they wait in memory for the module's next start "
                                                  "and are lost when the node stops"], Pending).

%% Options that do nothing beside others.
-spec warn(binary(), source()) -> ok.
warn(Host, Source) ->
    _ = mod_offline_post_opt:sync_commit(Source) andalso not mod_offline_post_opt:spool(Source) andalso
        note(warning, Host, ["sync_commit has no effect for ", hosts, ", because spool is false"]),
    _ = not mod_offline_post_opt:include_sender(Source) andalso maps:is_key(per_sender, rates(Source)) andalso
        note(warning, Host, ["max_rate's per_sender has no effect for ", hosts, ", because include_sender is false"]),
    Kinds = mod_offline_post_opt:notify(Source),
    _ = lists:member(call_end, Kinds) andalso not lists:member(call, Kinds) andalso
        note(warning, Host, ["call_end in notify has no effect for ", hosts, ", because call is not in notify"]),
    ok.

-spec note(error | warning, binary(), [string() | hosts]) -> ok.
note(Level, Host, Cause) -> mod_offline_post_notices:note(Level, Host, ["mod_offline_post: " | Cause]).

-spec config(source()) -> mod_offline_post_nif:config().
config(Source) ->
    Rates = rates(Source),
    (delivery(Source))#{
      form => message,
      max_ages => max_ages(mod_offline_post_opt:max_age(Source)),
      room_fields => mod_offline_post_opt:room_fields(Source),
      collapse_interval => interval(mod_offline_post_opt:collapse_interval(Source)),
      %% Without the sender in it, an event has none to be counted for.
      rate_sender => case mod_offline_post_opt:include_sender(Source) of
                         true -> maps:get(per_sender, Rates, 0);
                         false -> 0
                     end,
      rate_recipient => maps:get(per_recipient, Rates, 0),
      rate_beyond => maps:get(beyond, Rates, collapse)}.

-spec presence(gen_mod:opts()) -> mod_offline_post_nif:config().
presence(Opts) ->
    (delivery(Opts))#{form => presence, max_ages => [], room_fields => none, collapse_interval => 0, rate_sender => 0,
                      rate_recipient => 0, rate_beyond => collapse}.

-spec rates(source()) -> #{per_sender | per_recipient => pos_integer(), beyond => drop | collapse}.
rates(Source) ->
    case mod_offline_post_opt:max_rate(Source) of
        none -> #{};
        Rates -> Rates
    end.

-spec interval(none | pos_integer()) -> non_neg_integer().
interval(none) -> 0;
interval(Ms) -> Ms.

-spec delivery(source()) -> #{atom() => term()}.
delivery(Source) ->
    Spool = mod_offline_post_opt:spool(Source),
    #{post_url => mod_offline_post_opt:post_url(Source),
      auth_token => mod_offline_post_opt:auth_token(Source),
      timeout => mod_offline_post_opt:timeout(Source),
      connect_timeout => mod_offline_post_opt:connect_timeout(Source),
      connection_max_age => mod_offline_post_opt:connection_max_age(Source),
      max_connections => mod_offline_post_opt:max_connections(Source),
      queue_limit => mod_offline_post_opt:queue_limit(Source),
      queue_bytes => queue_bytes(mod_offline_post_opt:queue_bytes(Source), Spool),
      format => mod_offline_post_opt:format(Source),
      content_type => mod_offline_post_opt:content_type(Source),
      fields => mod_offline_post_opt:fields(Source),
      headers => mod_offline_post_opt:headers(Source),
      auth => mod_offline_post_opt:auth(Source),
      signing_secrets => mod_offline_post_opt:signing_secrets(Source),
      batch => batch(mod_offline_post_opt:batch(Source)),
      compress => mod_offline_post_opt:compress(Source),
      traceparent => mod_offline_post_opt:traceparent(Source),
      http_version => mod_offline_post_opt:http_version(Source),
      tls_verify => mod_offline_post_opt:tls_verify(Source),
      ca_file => mod_offline_post_opt:ca_file(Source),
      client_cert => mod_offline_post_opt:client_cert(Source),
      client_key => mod_offline_post_opt:client_key(Source),
      proxy => proxy(mod_offline_post_opt:proxy(Source)),
      spool => Spool,
      spool_dir => spool_dir(mod_offline_post_opt:spool_dir(Source)),
      spool_min_free => mod_offline_post_opt:spool_min_free(Source),
      retry_schedule => mod_offline_post_opt:retry_schedule(Source),
      max_age => default_age(mod_offline_post_opt:max_age(Source)),
      order => mod_offline_post_opt:order(Source),
      dead_letter_retention => mod_offline_post_opt:dead_letter_retention(Source),
      dead_letter_limit => mod_offline_post_opt:dead_letter_limit(Source)}.

-type ages() :: pos_integer() | #{default | mod_offline_post_event:kind() => pos_integer()}.

-spec default_age(ages()) -> pos_integer().
default_age(#{default := Ms}) -> Ms;
default_age(#{}) -> timer:hours(24);
default_age(Ms) -> Ms.

%% Of the kinds with a lifetime of their own. A call is among them in any case: nobody answers one that is a minute old.
-spec max_ages(ages()) -> [{Kind :: binary(), Ms :: pos_integer()}].
max_ages(#{} = PerKind) ->
    Call = maps:get(call, PerKind, min(timer:minutes(1), default_age(PerKind))),
    Ages = maps:remove(default, maps:merge(#{call => Call, call_end => Call}, PerKind)),
    [{atom_to_binary(Kind), Ms} || {Kind, Ms} <- lists:sort(maps:to_list(Ages))];
max_ages(Ms) ->
    max_ages(#{default => Ms}).

-spec batch(none | map()) -> none | {pos_integer(), pos_integer(), pos_integer(), array | ndjson}.
batch(none) -> none;
batch(#{max_events := Events, max_delay := Ms, max_bytes := Bytes, format := Format}) -> {Events, Ms, Bytes, Format}.

-spec proxy(none | binary()) -> binary().
proxy(none) -> <<>>;
proxy(Url) -> Url.

%% What a disk can hold is more than what memory should.
-spec queue_bytes(undefined | pos_integer(), Spool :: boolean()) -> pos_integer().
queue_bytes(undefined, true) -> 8 bsl 30;
queue_bytes(undefined, false) -> 256 bsl 20;
queue_bytes(Bytes, _Spool) -> Bytes.

%% By default ejabberd's spool directory, which is Mnesia's.
-spec spool_dir(binary()) -> binary().
spool_dir(<<>>) -> filename:absname(unicode:characters_to_binary(mnesia:system_info(directory)));
spool_dir(Dir) -> Dir.
