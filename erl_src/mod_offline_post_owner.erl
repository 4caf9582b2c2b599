%% One process per node: it receives the native side's log lines and writes them to ejabberd's log. Delivery
%% does not depend on it; its supervisor starts it anew after a crash and it attaches again.
-module(mod_offline_post_owner).

-behaviour(gen_server).

-export([start/0, crashed/2, crashes/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-on_load(load/0).

-include_lib("kernel/include/logger.hrl").

%% How long until it tries to attach again (ms).
-define(RETRY, 1000).

%% Crashes of the hook: how many since the node started, how many of those are logged, when the next may be (s).
-define(COUNT, 1).
-define(REPORTED, 2).
-define(NEXT_REPORT, 3).
-define(REPORT_INTERVAL, 10).

-type state() :: Retry :: reference() | undefined.

%% Any process. One that runs already attaches again: the native side may be another.
-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, Owner}} -> Owner ! attach, ok;
        {error, Reason} -> {error, Reason}
    end.

%% The hook has crashed for a message: counted, and logged at most once in ten seconds.
-spec crashed(Host :: binary(), Defect :: fun(() -> iolist())) -> ok.
crashed(Host, Defect) ->
    Crashes = persistent_term:get(?MODULE),
    Count = atomics:add_get(Crashes, ?COUNT, 1),
    Now = erlang:monotonic_time(second),
    Due = atomics:get(Crashes, ?NEXT_REPORT),
    case Now >= Due andalso atomics:compare_exchange(Crashes, ?NEXT_REPORT, Due, Now + ?REPORT_INTERVAL) of
        ok ->
            New = Count - atomics:exchange(Crashes, ?REPORTED, Count),
            ?LOG_ERROR("mod_offline_post: ~B messages are not handed over because of a defect (for ~ts: ~ts)",
                       [New, Host, Defect()]);
        _ ->
            ok
    end.

%% How many messages were not handed over because the hook crashed, since the node started.
-spec crashes() -> non_neg_integer().
crashes() ->
    atomics:get(persistent_term:get(?MODULE), ?COUNT).

-spec init([term()]) -> {ok, state()}.
init(_) ->
    process_flag(trap_exit, true),
    {ok, attach(undefined)}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, {error, unknown}, state()}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({offline_post, Lines}, State) ->
    lists:foreach(fun log/1, Lines),
    {noreply, State};
handle_info(attach, Retry) ->
    {noreply, attach(Retry)};
handle_info(_, State) ->
    {noreply, State}.

%% Writes what has arrived before the supervisor's order to stop.
-spec terminate(term(), state()) -> ok.
terminate(_Reason, State) ->
    receive
        {offline_post, Lines} ->
            lists:foreach(fun log/1, Lines),
            terminate(stopped, State)
    after 0 ->
        ok
    end.

%% Never fails: this process would be started again and again, until its supervisor gives up, and with it every
%% module of the server.
-spec attach(state()) -> state().
attach(Retry) ->
    _ = is_reference(Retry) andalso erlang:cancel_timer(Retry),
    try
        ok = mod_offline_post_nif:attach(self()),
        undefined
    catch
        error:_ -> erlang:send_after(?RETRY, self(), attach)
    end.

-spec log({error | warning | info, binary()}) -> ok.
log({error, Line}) -> ?LOG_ERROR("mod_offline_post: ~ts", [Line]);
log({warning, Line}) -> ?LOG_WARNING("mod_offline_post: ~ts", [Line]);
log({info, Line}) -> ?LOG_INFO("mod_offline_post: ~ts", [Line]).

%% The counters outlive this process and every version of this module.
-spec load() -> ok.
load() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            Crashes = atomics:new(3, [{signed, true}]),
            ok = atomics:put(Crashes, ?NEXT_REPORT, erlang:monotonic_time(second)),
            persistent_term:put(?MODULE, Crashes);
        _ ->
            ok
    end.
