%% What mod_available_post and mod_unavailable_post share: each is a module of its own with its own URL, and its posts
%% go the same way as mod_offline_post's, through an endpoint of its own.
-module(mod_offline_post_presence).

-export([start/3, reload/3, config_reloaded/1, stop/2, stats/2, posts/3, event/2, remove_user/3]).
%% On other nodes.
-export([purge_here/3]).
-export([opt_type/1, options/1, doc/2]).

-include("xmpp.hrl").

%% Of mod_offline_post's: how a POST is sent and kept. The others are about messages.
-define(OPTIONS, [post_url, auth_token, timeout, connect_timeout, connection_max_age, shutdown_timeout, max_connections, queue_limit,
                  queue_bytes, format, content_type, fields, headers, auth, signing_secrets, batch, compress, traceparent,
                  http_version, tls_verify, ca_file, client_cert, client_key, proxy, spool, spool_dir, spool_min_free,
                  retry_schedule, max_age, order, dead_letter_retention, dead_letter_limit, metrics_token,
                  metrics_access]).

%% After gen_mod has started, stopped and reloaded modules, at 60.
-define(CONFIG_RELOADED, 90).

%% Returns ok whatever happens: a module that fails to start takes the whole server down.
-spec start(module(), binary(), gen_mod:opts()) -> ok.
start(Module, Host, Opts) ->
    ok = mod_offline_post:once({hooks, Module}, fun() ->
        ejabberd_hooks:add(config_reloaded, Module, config_reloaded, ?CONFIG_RELOADED)
    end),
    mod_offline_post:guarded(start, Host, fun() -> activate(Module, Host, Opts, mod_offline_post:prepare()) end),
    mod_offline_post:guarded(start, Host, fun() -> mod_offline_post_web:start(Host) end).

-spec reload(module(), binary(), gen_mod:opts()) -> ok.
reload(Module, Host, Opts) ->
    mod_offline_post:guarded(reload, Host, fun() ->
        state(Module, Host) =:= stopped orelse activate(Module, Host, Opts, ok)
    end).

%% Also after a reload without a change: an endpoint that is paused goes on, one that could not start starts.
-spec config_reloaded(module()) -> ok.
config_reloaded(Module) ->
    mod_offline_post:pass(fun() ->
        mod_offline_post:reconnect(),
        [mod_offline_post:guarded(reload, Host, fun() -> refresh(Module, Host, state(Module, Host)) end) ||
            Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, Module)]
    end).

-spec refresh(module(), binary(), atom()) -> ok.
refresh(Module, Host, stopped) ->
    activate(Module, Host, gen_mod:get_module_opts(Host, Module), mod_offline_post:prepare());
refresh(Module, Host, paused) ->
    activate(Module, Host, gen_mod:get_module_opts(Host, Module), ok);
refresh(Module, Host, _Running) ->
    Opts = gen_mod:get_module_opts(Host, Module),
    case mod_offline_post_endpoint:reads_files(Opts) of
        true -> activate(Module, Host, Opts, ok); % they may have been renewed
        false -> ok
    end.

-spec stop(module(), binary()) -> ok.
stop(Module, Host) ->
    [ejabberd_hooks:delete(Hook, Host, Module, Function, Priority) || {Hook, Function, Priority} <- Module:hooks()],
    mod_offline_post:guarded(stop, Host, fun() -> mod_offline_post_web:stop(Host, Module) end),
    mod_offline_post:guarded(stop, Host, fun() ->
        Timeout = mod_offline_post_opt:shutdown_timeout(gen_mod:get_module_opts(Host, Module)),
        state(Module, Host) =:= stopped orelse mod_offline_post_endpoint:remove(Host, Module, Timeout)
    end),
    _ = mod_offline_post_node:is_elsewhere(Host, Module) orelse
        ejabberd_hooks:delete(config_reloaded, Module, config_reloaded, ?CONFIG_RELOADED),
    mod_offline_post:guarded(stop, Host, fun() -> mod_offline_post_node:release(Host, Module) end).

-spec activate(module(), binary(), gen_mod:opts(), ok | {error, binary()}) -> ok.
activate(Module, Host, Opts, ok) ->
    ok = mod_offline_post:once(owner, fun mod_offline_post_owner:start/0),
    ok = mod_offline_post:once(commands, fun mod_offline_post_command_specs:register/0),
    case mod_offline_post_endpoint:configure(Host, Module, Opts) of
        {ok, _Uses} ->
            [ejabberd_hooks:add(Hook, Host, Module, Function, Priority) ||
                {Hook, Function, Priority} <- Module:hooks()],
            ok;
        {error, Why} ->
            activate(Module, Host, Opts, {error, Why})
    end;
activate(Module, Host, _Opts, {error, Why}) ->
    mod_offline_post:failed(Host, Module, state(Module, Host), Why).

%% stopped: also when nobody can be asked.
-spec state(module(), binary()) -> atom().
state(Module, Host) ->
    case stats(Module, Host) of
        #{state := State} -> State;
        undefined -> stopped
    end.

%% The counters, from one snapshot: accepted = delivered + pending + dead + cancelled + purged.
-spec stats(module(), binary()) -> #{atom() => integer() | atom()} | undefined.
stats(Module, Host) ->
    mod_offline_post_native:ask(fun() -> mod_offline_post_nif:stats(mod_offline_post_endpoint:key(Host, Module)) end, undefined).

%% Hands over that this user's session is there, or gone. Never waits; a refusal is counted on the native side.
-spec posts(module(), Kind :: binary(), jid:jid()) -> ok.
posts(Module, Kind, #jid{luser = User, lserver = Host, lresource = Resource}) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        mod_offline_post_nif:submit(mod_offline_post_endpoint:key(Host, Module), of_session(Kind, {User, Host, Resource}))
    end).

%% What the module named posts of a session.
-spec event(Module :: binary(), mod_offline_post_nif:address()) -> mod_offline_post_nif:event().
event(<<"mod_available_post">>, Session) -> of_session(<<"available">>, Session);
event(<<"mod_unavailable_post">>, Session) -> of_session(<<"unavailable">>, Session).

-spec of_session(Kind :: binary(), mod_offline_post_nif:address()) -> mod_offline_post_nif:event().
of_session(Kind, Session) ->
    {Kind, Session, {<<>>, <<>>, <<>>}, <<>>, <<>>, <<>>, []}.

%% A removed account's posts are purged on every node. The others are told, not waited for.
-spec remove_user(module(), User :: binary(), Host :: binary()) -> ok.
remove_user(Module, User, Host) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        purge_here(Module, User, Host),
        mod_offline_post_nodes:cast(?MODULE, purge_here, [Module, User, Host])
    end).

-spec purge_here(module(), User :: binary(), Host :: binary()) -> ok.
purge_here(Module, User, Host) ->
    mod_offline_post:guarded(aside, Host, fun() ->
        mod_offline_post_nif:withdraw(mod_offline_post_endpoint:key(Host, Module), {User, Host}, all, purge)
    end).

%%% Options

-spec opt_type(atom()) -> econf:validator().
opt_type(format) ->
    econf:enum([form, json]); % there is no stanza to send
opt_type(max_age) ->
    fun check_max_age/1;
opt_type(Option) ->
    mod_offline_post:mod_opt_type(Option).

%% There are no kinds of message.
-spec check_max_age(term()) -> pos_integer().
check_max_age(PerKind) when is_list(PerKind) ->
    econf:fail({invalid_syntax, "expected a time: a map by kind is for mod_offline_post alone"});
check_max_age(Age) ->
    (mod_offline_post:mod_opt_type(max_age))(Age).

-spec options(binary()) -> [{atom(), term()} | atom()].
options(Host) ->
    [Option || Option <- mod_offline_post:mod_options(Host), lists:member(name(Option), ?OPTIONS)].

-spec name({atom(), term()} | atom()) -> atom().
name({Name, _Default}) -> Name;
name(Name) -> Name.

-spec doc([binary()], Example :: [string()]) -> mod_offline_post_doc:doc().
doc(Desc, Example) ->
    #{opts := Opts} = Doc = mod_offline_post_doc:mod_doc(),
    Ours = [Opt || {Name, _} = Opt <- Opts, lists:member(Name, ?OPTIONS)],
    Format = #{value => "form | json",
               desc => <<"What the body of the POST is: 'form', the fields 'jabber_id' and 'access_token'; or 'json', an "
                         "object with all that is known of the session. The default is 'form'.">>},
    MaxAge = #{value => "timeout()",
               desc => <<"A failure is final, and the POST becomes a dead letter, when the next attempt would come later "
                         "than this after the session came or went. The default is '24 hours'.">>},
    Doc#{desc => Desc, example => Example,
         opts => lists:keyreplace(max_age, 1, lists:keyreplace(format, 1, Ours, {format, Format}), {max_age, MaxAge})}.
