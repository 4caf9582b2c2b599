%% An HTTP POST for each message to a user who cannot be reached. This module has the life of it all on a node and a
%% virtual host; triggers find the messages, and the native side (mod_offline_post_nif) queues and delivers: a session
%% never waits.
-module(mod_offline_post).

-behaviour(gen_mod).

-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
-export([config_reloaded/0, guarded/3, incident/2, defect/3]).
-export([once/2, forget/0, pass/1, reconnect/0, prepare/0, failed/4]).
-export([stats/1, pause/1, resume/1, dead_letters/4, dead_letter/2, replay_dead_letters/2, drop_dead_letters/2]).

-include_lib("kernel/include/logger.hrl").

-type hook() :: {Hook :: atom(), module(), Function :: atom(), Priority :: integer()}.

%% Each says by hooks(Host) which hooks it wants there, as the policy is.
-define(TRIGGERS, [mod_offline_post_calls, mod_offline_post_commit, mod_offline_post_devices, mod_offline_post_groups,
                   mod_offline_post_offline, mod_offline_post_once, mod_offline_post_online, mod_offline_post_pending]).

%% After gen_mod has started, stopped and reloaded modules, at 60.
-define(CONFIG_RELOADED, 90).

%% After so long (s), what was done once is done again.
-define(PASS_S, 10).

%% What this module needs beside the native side.
-define(HELPERS, [mod_offline_post_await, mod_offline_post_badge, mod_offline_post_body, mod_offline_post_check,
                  mod_offline_post_command_specs, mod_offline_post_commands, mod_offline_post_doc,
                  mod_offline_post_endpoint, mod_offline_post_event, mod_offline_post_figures,
                  mod_offline_post_flush, mod_offline_post_hook_cost, mod_offline_post_import,
                  mod_offline_post_incidents, mod_offline_post_kind, mod_offline_post_members,
                  mod_offline_post_mention, mod_offline_post_metrics, mod_offline_post_native,
                  mod_offline_post_neighbours, mod_offline_post_node, mod_offline_post_nodes,
                  mod_offline_post_notices, mod_offline_post_notify,
                  mod_offline_post_openmetrics,
                  mod_offline_post_operator, mod_offline_post_opt, mod_offline_post_options, mod_offline_post_owner,
                  mod_offline_post_policy, mod_offline_post_presence, mod_offline_post_stanza, mod_offline_post_terms,
                  mod_offline_post_text,
                  mod_offline_post_web, mod_offline_post_web_config, mod_offline_post_web_csrf,
                  mod_offline_post_web_dead, mod_offline_post_web_html, mod_offline_post_web_node,
                  mod_offline_post_web_page, mod_offline_post_web_plot, mod_offline_post_web_style,
                  mod_offline_post_yaml, mod_available_post, mod_unavailable_post
                  | ?TRIGGERS]).

%% Returns ok whatever happens: a module that fails to start takes the whole server down.
-spec start(binary(), gen_mod:opts()) -> ok.
start(Host, Opts) ->
    ok = once({hooks, ?MODULE}, fun() -> ejabberd_hooks:add(config_reloaded, ?MODULE, config_reloaded, ?CONFIG_RELOADED) end),
    guarded(start, Host, fun() -> activate(Host, Opts, prepare()) end),
    guarded(start, Host, fun() -> mod_offline_post_web:start(Host) end).

%% What runs goes on with the new options, also when another version waits on the disk for a restart. What does
%% not run is left to config_reloaded/0, which follows.
-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, NewOpts, _OldOpts) ->
    guarded(reload, Host, fun() -> state(Host) =:= stopped orelse activate(Host, NewOpts, ok) end).

%% gen_mod calls reload/3 only when the options have changed. A plain `ejabberdctl reload_config` is what an
%% operator types after mending something else: the backend that has answered 410, or the installation.
-spec config_reloaded() -> ok.
config_reloaded() ->
    pass(fun() ->
        reconnect(),
        [guarded(reload, Host, fun() ->
             refresh(Host, state(Host)),
             check_neighbours(Host)
         end) || Host <- ejabberd_option:hosts(), gen_mod:is_loaded(Host, ?MODULE)]
    end).

%% Names may have moved to other addresses.
-spec reconnect() -> ok.
reconnect() ->
    once(reconnect, fun() -> mod_offline_post_native:ask(fun mod_offline_post_nif:reconnect/0, ok) end).

-spec refresh(binary(), atom()) -> ok.
refresh(Host, stopped) -> activate(Host, Host, prepare());
refresh(Host, paused) -> activate(Host, Host, ok);
refresh(Host, _Running) ->
    case mod_offline_post_endpoint:reads_files(Host) of
        true -> activate(Host, Host, ok); % they may have been renewed
        false -> once(node, fun mod_offline_post_node:start/0) % what other modules' options ask for may have changed
    end.

%% What other modules, and their options, make of this one: warnings, said once.
-spec check_neighbours(binary()) -> ok.
check_neighbours(Host) ->
    case mod_offline_post_policy:get(Host) of
        undefined -> ok;
        Policy -> mod_offline_post_neighbours:check(Host, Policy)
    end.

-spec stop(binary()) -> ok.
stop(Host) ->
    guarded(stop, Host, fun() -> set_hooks(Host, []) end),
    guarded(stop, Host, fun() -> mod_offline_post_web:stop(Host, ?MODULE) end),
    %% The members' events may wait for a badge next.
    guarded(stop, Host, fun() -> mod_offline_post_members:flush(Host), mod_offline_post_badge:flush() end),
    guarded(stop, Host, fun() -> state(Host) =:= stopped orelse mod_offline_post_endpoint:remove(Host) end),
    guarded(stop, Host, fun() ->
        mod_offline_post_policy:erase(Host),
        mod_offline_post_neighbours:forget(Host)
    end),
    guarded(stop, Host, fun() -> mod_offline_post_node:is_elsewhere(Host, ?MODULE) orelse stop_node() end),
    guarded(stop, Host, fun() -> mod_offline_post_node:release(Host, ?MODULE) end).

-spec stop_node() -> ok.
stop_node() ->
    ejabberd_hooks:delete(config_reloaded, ?MODULE, config_reloaded, ?CONFIG_RELOADED),
    mod_offline_post_node:stop().

-spec depends(binary(), gen_mod:opts()) -> [].
depends(_Host, _Opts) ->
    [].

%%% For the operator, in a shell of the node (`ejabberdctl debug`); mod_offline_post_commands has the same for
%%% ejabberdctl and HTTP. unknown: the module does not run for this host.

%% The counters, from one snapshot: accepted = delivered + pending + dead + cancelled + purged. hook_crashes,
%% commit_timeouts and uncommitted are the whole node's.
-spec stats(binary()) -> #{atom() => integer() | atom()} | undefined.
stats(Host) ->
    try mod_offline_post_operator:stats(Host)
    catch error:undef -> undefined
    end.

%% Nothing is sent until resume/1, whatever is reloaded or restarted in between.
-spec pause(binary()) -> ok | {error, unknown}.
pause(Host) -> mod_offline_post_operator:pause(Host).

%% Ends any pause, also the one after an answer of 410.
-spec resume(binary()) -> ok | {error, unknown}.
resume(Host) -> mod_offline_post_operator:resume(Host).

%% At most Limit (and 1,000) in the order of their sequences, those after After. Next: where the list goes on, if it does.
-spec dead_letters(binary(), mod_offline_post_operator:selection(), After :: non_neg_integer(), Limit :: pos_integer()) ->
          {ok, [mod_offline_post_nif:letter()], Next :: pos_integer() | undefined} | {error, unknown | timeout}.
dead_letters(Host, Selection, After, Limit) -> mod_offline_post_operator:dead_letters(Host, Selection, After, Limit).

-spec dead_letter(binary(), Id :: binary()) ->
          {ok, mod_offline_post_nif:letter()} | {error, unknown | not_found | timeout}.
dead_letter(Host, Id) -> mod_offline_post_operator:dead_letter(Host, Id).

%% They become pending again, under their old ids. timeout: it goes on.
-spec replay_dead_letters(binary(), mod_offline_post_operator:selection()) ->
          {ok, Count :: non_neg_integer()} | {error, unknown | timeout}.
replay_dead_letters(Host, Selection) -> mod_offline_post_operator:replay(Host, Selection).

-spec drop_dead_letters(binary(), mod_offline_post_operator:selection()) ->
          {ok, Count :: non_neg_integer()} | {error, unknown | timeout}.
drop_dead_letters(Host, Selection) -> mod_offline_post_operator:drop(Host, Selection).

%%% For the hooks

%% Whatever goes wrong in a handler, the server runs on. What it costs the session or room it runs in is measured; aside:
%% the same in a process of ours, or within a handler.
-spec guarded(hook | aside | start | reload | stop, binary(), fun(() -> term())) -> ok.
guarded(hook, Host, Do) ->
    Began = os:perf_counter(), % the cheapest clock
    guarded(aside, Host, Do),
    try mod_offline_post_hook_cost:took(erlang:convert_time_unit(os:perf_counter() - Began, perf_counter, nanosecond))
    catch error:_ -> ok
    end;
guarded(Where, Host, Do) ->
    try Do() of
        _ -> ok
    catch
        Class:Reason:Stack -> crashed(Where, Host, fun() -> defect(Class, Reason, Stack) end)
    end.

%% What is no crash but as bad: counted with them. What: without a value in it.
-spec incident(binary(), string()) -> ok.
incident(Host, What) ->
    mod_offline_post_incidents:report(
      hook_crashes,
      fun(New) -> {error, "mod_offline_post: ~B defects in hooks (the last for ~ts: ~ts)", [New, Host, What]} end).

%% Needs no other module of ours: one that is missing may be what has crashed.
-spec crashed(aside | start | reload | stop, binary(), fun(() -> iolist())) -> ok.
crashed(aside, Host, Defect) ->
    try mod_offline_post_incidents:report(
          hook_crashes,
          fun(New) ->
                  {error, "mod_offline_post: ~B messages are not handed over because of a defect (for ~ts: ~ts)",
                   [New, Host, Defect()]}
          end)
    catch error:_ -> ok
    end;
crashed(Where, Host, Defect) ->
    Why = iolist_to_binary([" failed because of a defect (", Defect(), ")"]),
    try mod_offline_post_notices:note(error, Host, ["mod_offline_post: the ", atom_to_binary(Where), " for ", hosts, Why])
    catch error:_ -> ?LOG_ERROR("mod_offline_post: the ~ts for ~ts~ts", [Where, Host, Why])
    end.

%% What is fit for a log: neither the reason's values nor the arguments in the stack: a message's text or the token may be there.
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
    ok = once(node, fun mod_offline_post_node:start/0),
    ok = mod_offline_post_notify:prepare(Host),
    case mod_offline_post_endpoint:configure(Host, Source) of
        {ok, Uses} ->
            %% The hooks may be there already, with the policy of before.
            Badge = mod_offline_post_opt:badge(Source),
            ok = once({badge, Badge}, fun() -> mod_offline_post_badge:prepare(Badge) end),
            ok = mod_offline_post_policy:set(Host, Source, Uses),
            set_hooks(Host, [Hook || Trigger <- ?TRIGGERS, Hook <- Trigger:hooks(Host)]),
            check_neighbours(Host);
        {error, Why} ->
            activate(Host, Source, {error, Why})
    end;
activate(Host, _Source, {error, Why}) ->
    failed(Host, ?MODULE, state(Host), Why).

%% To start, or to take new settings.
-spec failed(binary(), module(), State :: atom(), Why :: binary()) -> ok.
failed(Host, Module, State, Why) ->
    Consequence = case State of
                      stopped -> "no notifications for ";
                      _ -> "the old settings stay for "
                  end,
    %% It collects what the virtual hosts have in common, unless it is what is missing.
    _ = once(owner, fun() -> try mod_offline_post_owner:start() catch error:undef -> ok end end),
    mod_offline_post_notices:note(error, Host, [atom_to_binary(Module), ": ", Consequence, hosts, ": ", Why]).

%%% Once for all virtual hosts

%% Does what is the same for each virtual host once in a start, or in a reload, of ejabberd: each of both goes through its
%% virtual hosts in one process. Another supervisor is another start. The time bounds how long a process that lives on, as
%% an operator's shell, remembers what an aborted reload has left.
-spec once(What :: term(), fun(() -> Result)) -> Result.
once(What, Do) ->
    case known() of
        #{What := Done} ->
            Done;
        _ ->
            Done = Do(),
            _ = put(?MODULE, {whereis(ejabberd_gen_mod_sup), erlang:monotonic_time(second), (known())#{What => Done}}),
            Done
    end.

-spec known() -> #{term() => term()}.
known() ->
    Supervisor = whereis(ejabberd_gen_mod_sup),
    case get(?MODULE) of
        {Supervisor, Since, Known} -> case erlang:monotonic_time(second) - Since < ?PASS_S of true -> Known; false -> #{} end;
        _ -> #{}
    end.

%% Goes through all virtual hosts: from the beginning, and in the log there is one line for each cause.
-spec pass(fun(() -> term())) -> ok.
pass(Do) ->
    forget(),
    _ = Do(),
    forget(),
    mod_offline_post_notices:flush().

%% What was done once was undone, or may have to be done anew.
-spec forget() -> ok.
forget() ->
    _ = erase(?MODULE),
    ok.

%% Adds what is new and deletes what is not wanted any more; what stays misses no message.
-spec set_hooks(binary(), [hook()]) -> ok.
set_hooks(Host, Hooks) ->
    Old = mod_offline_post_terms:get(?MODULE, Host, []),
    _ = [ejabberd_hooks:delete(Hook, Host, Module, Function, Priority) ||
            {Hook, Module, Function, Priority} <- Old -- Hooks],
    _ = [ejabberd_hooks:add(Hook, Host, Module, Function, Priority) ||
            {Hook, Module, Function, Priority} <- Hooks -- Old],
    mod_offline_post_terms:put(?MODULE, Host, Hooks).

%% stopped: also when nobody can be asked.
-spec state(binary()) -> atom().
state(Host) ->
    case stats(Host) of
        #{state := State} -> State;
        undefined -> stopped
    end.

%% After an upgrade without a restart ejabberd has loaded only this module anew. What else is of another
%% version is replaced here, except the module whose native library is in use: then all stays as it is.
-spec prepare() -> ok | {error, binary()}.
prepare() ->
    once(prepare, fun prepare_once/0).

-spec prepare_once() -> ok | {error, binary()}.
prepare_once() ->
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
    case [Module || Module <- ?HELPERS, is_outdated(Module)] of
        [] -> loaded(?HELPERS);
        [Module | _] -> {error, still_outdated(Module)}
    end;
prepare_helpers(Error) ->
    Error.

%% A process of before still runs in the version that would have to go.
-spec still_outdated(module()) -> binary().
still_outdated(Module) ->
    unicode:characters_to_binary(
      io_lib:format("the module ~ts is in use in an old version: run ejabberdctl reload_config again in a while, or "
                    "restart the node", [Module])).

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

%% Asked before the helpers are known to be there.
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

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(Option) ->
    mod_offline_post_options:type(Option).

%% ejabberd asks for these before it asks for a type. When it reads its configuration after an upgrade, it has loaded
%% only this module anew.
-spec mod_options(binary()) -> [{atom(), term()} | atom()].
mod_options(_Host) ->
    _ = once(options, fun() ->
        [load_anew(Module) || Module <- [mod_offline_post_options, mod_offline_post_yaml], is_outdated(Module)]
    end),
    mod_offline_post_options:defaults().

-spec mod_doc() -> mod_offline_post_doc:doc().
mod_doc() ->
    mod_offline_post_doc:mod_doc().
