%% An HTTP POST for each message to a user who is offline. This module decides which messages those are and
%% hands them to the native side (mod_offline_post_nif), which queues and delivers; a session never waits.
-module(mod_offline_post).

-behaviour(gen_mod).

-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
-export([new_message/1, archived_message/1, offline_message/1, config_reloaded/0]).
-export([stats/1]).

-include_lib("kernel/include/logger.hrl").
-include("xmpp.hrl").

-type verdict() :: {Action :: term(), message()} | term().

%% The handlers of offline_message_hook. The action at the start tells an import (`pass`) from a live message:
%% mod_mam and mod_offline write over it. mod_offline, at 50, ends the fold when the user's store is full, so what
%% mod_mam has archived, also at 49 and before us by the order of names, is taken at once; for the rest the
%% verdict is awaited.
-define(HANDLERS, [{new_message, 1}, {archived_message, 49}, {offline_message, 75}]).

%% After gen_mod has started, stopped and reloaded modules, at 60.
-define(CONFIG_RELOADED, 90).

%% What this module needs beside the native side.
-define(HELPERS, [mod_offline_post_event, mod_offline_post_opt, mod_offline_post_owner]).

%% In the process dictionary: the message in this fold is an import.
-define(IMPORT, mod_offline_post_import).

%% How much longer than asked a stop may take before we stop waiting for its answer (ms).
-define(GRACE, 1000).

%% Returns ok whatever happens: a module that fails to start takes the whole server down.
-spec start(binary(), gen_mod:opts()) -> ok.
start(Host, Opts) ->
    ejabberd_hooks:add(config_reloaded, ?MODULE, config_reloaded, ?CONFIG_RELOADED),
    guarded(start, Host, fun() -> activate(Host, Opts, prepare()) end).

%% What runs goes on with the new options, also when another version waits on the disk for a restart. What does
%% not run is left to config_reloaded/0, which follows.
-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, NewOpts, _OldOpts) ->
    guarded(reload, Host, fun() -> state(Host) =:= stopped orelse activate(Host, NewOpts, ok) end).

%% gen_mod calls reload/3 only when the options have changed. A plain `ejabberdctl reload_config` is what an
%% operator types after mending something else: the backend that has answered 410, or the installation.
-spec config_reloaded() -> ok.
config_reloaded() ->
    [guarded(reload, Host, fun() -> refresh(Host, state(Host)) end) ||
        Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, ?MODULE)],
    ok.

-spec refresh(binary(), atom()) -> ok.
refresh(Host, stopped) -> activate(Host, Host, prepare());
refresh(Host, paused) -> activate(Host, Host, ok);
refresh(_Host, _Running) -> ok.

-spec stop(binary()) -> ok.
stop(Host) ->
    [ejabberd_hooks:delete(offline_message_hook, Host, ?MODULE, Handler, Priority) ||
        {Handler, Priority} <- ?HANDLERS],
    %% In a process of its own: an answer that comes too late finds nobody.
    {_, Monitor} = spawn_monitor(fun() -> guarded(stop, Host, fun() -> drain(Host, state(Host)) end) end),
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    case gen_mod:is_loaded_elsewhere(Host, ?MODULE) of
        true ->
            ok;
        false ->
            ejabberd_hooks:delete(config_reloaded, ?MODULE, config_reloaded, ?CONFIG_RELOADED),
            guarded(stop, Host, fun stop_node/0)
    end.

-spec depends(binary(), gen_mod:opts()) -> [].
depends(_Host, _Opts) ->
    [].

%% The counters of a host, from one snapshot: accepted = delivered + pending + dead + cancelled + purged.
%% undefined: the module does not run there. hook_crashes is the whole node's: messages of any host that were not
%% handed over because of a defect.
-spec stats(binary()) -> #{atom() => non_neg_integer() | atom()} | undefined.
stats(Host) ->
    try mod_offline_post_nif:stats(key(Host)) of
        undefined -> undefined;
        Stats -> Stats#{hook_crashes => mod_offline_post_owner:crashes()}
    catch
        error:Reason when Reason =:= not_loaded; Reason =:= undef -> undefined
    end.

%%% The hook. It runs in the sender's session: cheap tests first; the accumulator comes back untouched.

-spec new_message(verdict()) -> verdict().
new_message({pass, _} = Verdict) ->
    put(?IMPORT, true),
    Verdict;
new_message(Verdict) ->
    erase(?IMPORT),
    Verdict.

-spec archived_message(verdict()) -> verdict().
archived_message({Action, #message{type = chat, body = [_ | _], to = #jid{lserver = Host}} = Message} = Verdict)
  when Action =:= archived; Action =:= bounce ->
    guarded(hook, Host, fun() -> is_archived(Message) andalso submit(Host, Message) end),
    Verdict;
archived_message(Verdict) ->
    Verdict.

-spec offline_message(verdict()) -> verdict().
offline_message({Action, #message{type = chat, body = [_ | _], to = #jid{lserver = Host}} = Message} = Verdict)
  when Action =:= offlined; Action =:= archived; Action =:= bounce ->
    guarded(hook, Host, fun() -> is_archived(Message) orelse submit(Host, Message) end),
    Verdict;
offline_message(Verdict) ->
    Verdict.

%% Whether the recipient's archive holds the message. The meta alone does not tell: mod_mam also sets it when
%% it files the message in the sender's archive, and it stays when the recipient keeps none.
-spec is_archived(message()) -> boolean().
is_archived(#message{meta = #{mam_archived := true}, sub_els = Els, to = #jid{luser = User, lserver = Server}}) ->
    lists:any(fun(#stanza_id{by = #jid{luser = U, lserver = S}}) -> U =:= User andalso S =:= Server;
                 (_) -> false
              end, Els);
is_archived(#message{}) ->
    false.

%% A refusal is counted, and logged, on the native side.
-spec submit(binary(), message()) -> ok.
submit(Host, Message) ->
    case get(?IMPORT) =/= true andalso mod_offline_post_event:from_message(Message) of
        {ok, Event} ->
            _ = mod_offline_post_nif:submit(key(Host), Event),
            ok;
        _ ->
            ok
    end.

-spec key(binary()) -> mod_offline_post_nif:key().
key(Host) ->
    {Host, <<"mod_offline_post">>}.

%% Whatever goes wrong in here, the server runs on.
-spec guarded(hook | start | reload | stop, binary(), fun(() -> term())) -> ok.
guarded(Where, Host, Do) ->
    try Do() of
        _ -> ok
    catch
        Class:Reason:Stack -> crashed(Where, Host, fun() -> defect(Class, Reason, Stack) end)
    end.

%% Needs no other module of ours: one that is missing may be what has crashed.
-spec crashed(hook | start | reload | stop, binary(), fun(() -> iolist())) -> ok.
crashed(hook, Host, Defect) ->
    try mod_offline_post_owner:crashed(Host, Defect)
    catch error:_ -> ok
    end;
crashed(Where, Host, Defect) ->
    ?LOG_ERROR("mod_offline_post: the ~ts for ~ts failed because of a defect (~ts)", [Where, Host, Defect()]).

%% Neither the reason's values nor the arguments in the stack: a message's text or the token may be there.
-spec defect(atom(), term(), [tuple()]) -> iolist().
defect(Class, Reason, Stack) ->
    io_lib:format("~ts:~ts in ~ts", [Class, kind(Reason), place(Stack)]).

-spec kind(term()) -> atom().
kind(Reason) when is_atom(Reason) -> Reason;
kind(Reason) when is_tuple(Reason), tuple_size(Reason) > 0, is_atom(element(1, Reason)) -> element(1, Reason);
kind(_) -> other.

-spec place([tuple()]) -> iolist().
place([{Module, Function, Args, Where} | _]) when is_list(Args) ->
    place([{Module, Function, length(Args), Where}]);
place([{Module, Function, Arity, Where} | _]) ->
    io_lib:format("~ts:~ts/~B line ~B", [Module, Function, Arity, proplists:get_value(line, Where, 0)]);
place(_) ->
    "an unknown place".

%%% Start and stop

%% Source: the options, or the host whose options they are.
-spec activate(binary(), gen_mod:opts() | binary(), ok | {error, binary()}) -> ok.
activate(Host, Source, ok) ->
    ok = mod_offline_post_owner:start(),
    case mod_offline_post_nif:configure(key(Host), config(Source)) of
        ok ->
            [ejabberd_hooks:add(offline_message_hook, Host, ?MODULE, Handler, Priority) ||
                {Handler, Priority} <- ?HANDLERS],
            ok;
        {error, Why} ->
            activate(Host, Source, {error, Why})
    end;
activate(Host, _Source, {error, Why}) ->
    Consequence = case state(Host) of
                      stopped -> "no notifications";
                      _ -> "the old settings stay"
                  end,
    ?LOG_ERROR("mod_offline_post: ~ts for ~ts: ~ts", [Consequence, Host, Why]).

-spec drain(binary(), atom()) -> ok.
drain(_Host, stopped) ->
    ok;
drain(Host, _Running) ->
    Timeout = mod_offline_post_opt:shutdown_timeout(Host),
    case mod_offline_post_nif:remove(key(Host), Timeout) of
        {ok, Ref} ->
            receive
                {offline_post_removed, Ref, 0} ->
                    ok;
                {offline_post_removed, Ref, Pending} ->
                    ?LOG_WARNING("mod_offline_post: ~B messages for ~ts are not delivered yet: they wait in memory for "
                                 "the module's next start and are lost when the node stops", [Pending, Host])
            after Timeout + ?GRACE ->
                ?LOG_ERROR("mod_offline_post: the stop for ~ts was not confirmed within ~B ms",
                           [Host, Timeout + ?GRACE])
            end;
        {error, unknown} ->
            ok
    end.

%% stopped: also when the native side cannot be asked.
-spec state(binary()) -> atom().
state(Host) ->
    try mod_offline_post_nif:stats(key(Host)) of
        #{state := State} -> State;
        undefined -> stopped
    catch
        error:Reason when Reason =:= not_loaded; Reason =:= undef -> stopped
    end.

%% With the last host: the thread ends, and with the owner the last lines are logged.
-spec stop_node() -> ok.
stop_node() ->
    Stopped = is_native() andalso mod_offline_post_nif:stop(),
    _ = gen_mod:stop_child(mod_offline_post_owner),
    case Stopped of
        {error, busy} -> ?LOG_ERROR("mod_offline_post: the native side still has an endpoint and runs on", []);
        _ -> ok
    end.

%% After an upgrade without a restart ejabberd has loaded only this module anew. What else is of another
%% version is replaced here, except the module whose native library is in use: then all stays as it is.
-spec prepare() -> ok | {error, binary()}.
prepare() ->
    case is_native() of
        true ->
            case is_outdated(mod_offline_post_nif) of
                true -> {error, <<"another version was installed than this node has loaded: restart the node">>};
                false -> prepare_helpers(mod_offline_post_nif:status())
            end;
        false ->
            %% Nothing loaded, so nothing in use: the operator may have built the library by now. Deleted first,
            %% because after an on_load that failed the code server may take for loaded what is not.
            _ = code:soft_purge(mod_offline_post_nif),
            _ = code:delete(mod_offline_post_nif),
            load_anew(mod_offline_post_nif),
            case loaded([mod_offline_post_nif]) of
                ok -> prepare_helpers(mod_offline_post_nif:status());
                Error -> Error
            end
    end.

-spec prepare_helpers(ok | {error, binary()}) -> ok | {error, binary()}.
prepare_helpers(ok) ->
    [load_anew(Module) || Module <- ?HELPERS, is_outdated(Module)],
    loaded(?HELPERS);
prepare_helpers(Error) ->
    Error.

-spec loaded([module()]) -> ok | {error, binary()}.
loaded([]) ->
    ok;
loaded([Module | Modules]) ->
    case code:ensure_loaded(Module) of
        {module, Module} ->
            loaded(Modules);
        {error, Why} ->
            {error, unicode:characters_to_binary(
                      io_lib:format("the module ~ts cannot be loaded (~ts): install mod_offline_post again, then run "
                                    "ejabberdctl reload_config", [Module, Why]))}
    end.

-spec is_native() -> boolean().
is_native() ->
    try is_map(mod_offline_post_nif:info())
    catch error:Reason when Reason =:= not_loaded; Reason =:= undef -> false
    end.

-spec is_outdated(module()) -> boolean().
is_outdated(Module) ->
    case code:is_loaded(Module) =/= false andalso code:get_object_code(Module) of
        {Module, Beam, _} -> beam_lib:md5(Beam) =/= {ok, {Module, Module:module_info(md5)}};
        _ -> false
    end.

-spec load_anew(module()) -> ok.
load_anew(Module) ->
    _ = code:soft_purge(Module),
    _ = code:load_file(Module),
    ok.

%%% Options

-spec config(gen_mod:opts() | binary()) -> mod_offline_post_nif:config().
config(Source) ->
    #{post_url => mod_offline_post_opt:post_url(Source),
      auth_token => mod_offline_post_opt:auth_token(Source),
      timeout => mod_offline_post_opt:timeout(Source),
      connect_timeout => mod_offline_post_opt:connect_timeout(Source),
      max_connections => mod_offline_post_opt:max_connections(Source),
      queue_limit => mod_offline_post_opt:queue_limit(Source),
      queue_bytes => mod_offline_post_opt:queue_bytes(Source),
      tls_verify => mod_offline_post_opt:tls_verify(Source),
      ca_file => mod_offline_post_opt:ca_file(Source)}.

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(post_url) ->
    econf:and_then(econf:and_then(econf:non_empty(econf:binary()), fun check_url/1), econf:url([http, https]));
mod_opt_type(auth_token) -> econf:and_then(econf:binary(), fun check_token/1);
mod_opt_type(timeout) -> duration();
mod_opt_type(connect_timeout) -> duration();
mod_opt_type(shutdown_timeout) -> duration();
mod_opt_type(max_connections) -> econf:int(1, 10000);
mod_opt_type(queue_limit) -> econf:int(1, 1000000000);
mod_opt_type(queue_bytes) -> econf:int(1, 1 bsl 50);
mod_opt_type(tls_verify) -> econf:bool();
mod_opt_type(ca_file) -> econf:and_then(econf:file(), fun check_ca_file/1).

-spec mod_options(binary()) -> [{atom(), term()} | atom()].
mod_options(_Host) ->
    [post_url,
     {auth_token, <<>>},
     {timeout, timer:seconds(10)},
     {connect_timeout, timer:seconds(5)},
     {shutdown_timeout, timer:seconds(5)},
     {max_connections, 64},
     {queue_limit, 1000000},
     {queue_bytes, 256 bsl 20},
     {tls_verify, true},
     {ca_file, <<>>}].

%% A bare number is in seconds, as everywhere in ejabberd; "500 ms" is possible too. At most a day.
-spec duration() -> econf:validator().
duration() ->
    econf:and_then(econf:either(econf:timeout(second), econf:timeout(millisecond)), econf:int(1, timer:hours(24))).

-spec check_url(binary()) -> binary().
check_url(Url) ->
    case re:run(Url, "^(https?://)?([\\x21-\\x7e]*)$", [{capture, [1, 2], binary}, dollar_endonly]) of
        {match, [<<"http", _/binary>>, _]} -> Url;
        {match, [<<>>, _]} -> invalid(["expected a URL that begins with http:// or https://, got ", Url]);
        nomatch -> invalid("a URL has no spaces, control characters or letters beyond ASCII: percent-encode them")
    end.

%% The token itself appears in no message.
-spec check_token(binary()) -> binary().
check_token(Token) ->
    case re:run(Token, "[\\x00-\\x1f\\x7f]", [{capture, none}]) of
        nomatch -> Token;
        match -> invalid("control characters are not allowed in a token")
    end.

-spec check_ca_file(binary()) -> binary().
check_ca_file(Path) ->
    case file:read_file(Path) of
        {ok, Bytes} ->
            case binary:match(Bytes, <<"-----BEGIN CERTIFICATE-----">>) of
                nomatch -> invalid(["no PEM certificate in ", Path]);
                _ -> Path
            end;
        {error, Why} ->
            invalid([file:format_error(Why), ": ", Path])
    end.

-spec invalid(iodata()) -> no_return().
invalid(Why) ->
    econf:fail({invalid_syntax, Why}).

-spec mod_doc() -> #{desc := [binary()],
                     opts := [{atom(), #{value := binary() | string(), desc := binary()}}],
                     example := [string()]}.
mod_doc() ->
    #{desc =>
          [<<"This module sends an HTTP POST to a URL of your choice for each chat message to a user who is offline, "
             "for instance so that a backend can turn it into a push notification. The sender's session never waits "
             "for that: messages are queued, sent in the background and sent again when the backend has trouble.">>,
           <<"The body is 'application/x-www-form-urlencoded' and has the fields 'to', 'from', 'body' and "
             "'access_token', in this order. The header 'webhook-id' is the same in all attempts to send a message.">>],
      opts =>
          [{post_url,
            #{value => <<"URL">>,
              desc => <<"Where to send the POST: an 'http' or 'https' URL. This option is required.">>}},
           {auth_token,
            #{value => <<"Token">>,
              desc => <<"What the field 'access_token' holds. Empty by default.">>}},
           {timeout,
            #{value => "timeout()",
              desc => <<"How long one attempt may take in all. The default is '10 seconds'.">>}},
           {connect_timeout,
            #{value => "timeout()",
              desc => <<"How long connecting may take, the TLS handshake included. The default is '5 seconds'.">>}},
           {shutdown_timeout,
            #{value => "timeout()",
              desc => <<"How long a stop of the module or of ejabberd waits for what is in flight and due; one limit "
                        "for all virtual hosts together. The default is '5 seconds'.">>}},
           {max_connections,
            #{value => "1..10000",
              desc => <<"How many connections to the backend may be open at once. Virtual hosts whose URLs have the "
                        "same scheme, host and port share them; then the largest counts. The default is '64'.">>}},
           {queue_limit,
            #{value => "pos_integer()",
              desc => <<"How many messages may wait. Over it, new ones are not taken, are counted as rejected and "
                        "reported in the log. The default is '1000000'.">>}},
           {queue_bytes,
            #{value => "pos_integer()",
              desc => <<"How many bytes of messages may wait, in memory. The default is '268435456' (256 MiB).">>}},
           {tls_verify,
            #{value => "true | false",
              desc => <<"Whether the certificate of an 'https' backend must be valid for its name. "
                        "The default is 'true'.">>}},
           {ca_file,
            #{value => <<"Path">>,
              desc => <<"A PEM file with the certificate authorities that may sign the backend's certificate. "
                        "By default the system's.">>}}],
      example =>
          ["modules:",
           "  mod_offline_post:",
           "    post_url: \"https://push.example.org/offline\"",
           "    auth_token: \"a secret that the backend knows\"",
           "    timeout: 10 s",
           "    max_connections: 32"]}.
