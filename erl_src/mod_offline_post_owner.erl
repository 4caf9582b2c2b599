%% One process per node: it receives the native side's log lines and writes them to ejabberd's log. Delivery
%% does not depend on it; its supervisor starts it anew after a crash and it attaches again.
-module(mod_offline_post_owner).

-behaviour(gen_server).

-export([start/0, stop/0, crashed/5, crashes/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

%% Crashes of the hook: how many since the node started, how many of those are logged, when the next may be (s).
-define(COUNT, 1).
-define(REPORTED, 2).
-define(NEXT_REPORT, 3).
-define(REPORT_INTERVAL, 10).

%% Any process. Does nothing when it runs already.
-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> {error, Reason}
    end.

-spec stop() -> ok.
stop() ->
    _ = gen_mod:stop_child(?MODULE),
    ok.

%% A crash of our own code, caught. In the hook it is counted and logged at most once in ten seconds. Neither
%% the reason's values nor the arguments in the stack are logged: a message's text or the token may be there.
-spec crashed(hook | start | reload | stop, Host :: binary(), atom(), term(), [tuple()]) -> ok.
crashed(hook, Host, Class, Reason, Stack) ->
    Crashes = counters(),
    Count = atomics:add_get(Crashes, ?COUNT, 1),
    Now = erlang:system_time(second),
    Due = atomics:get(Crashes, ?NEXT_REPORT),
    case Now >= Due andalso atomics:compare_exchange(Crashes, ?NEXT_REPORT, Due, Now + ?REPORT_INTERVAL) of
        ok ->
            New = Count - atomics:exchange(Crashes, ?REPORTED, Count),
            ?LOG_ERROR("mod_offline_post: ~B messages are not handed over because of a defect (for ~ts: ~ts)",
                       [New, Host, defect(Class, Reason, Stack)]);
        _ ->
            ok
    end;
crashed(Where, Host, Class, Reason, Stack) ->
    ?LOG_ERROR("mod_offline_post: the ~ts for ~ts failed because of a defect (~ts)",
               [Where, Host, defect(Class, Reason, Stack)]).

%% How many messages were not handed over because the hook crashed, since the node started.
-spec crashes() -> non_neg_integer().
crashes() ->
    atomics:get(counters(), ?COUNT).

-spec init([term()]) -> {ok, undefined}.
init(_) ->
    process_flag(trap_exit, true),
    ok = mod_offline_post_nif:attach(self()),
    {ok, undefined}.

-spec handle_call(term(), gen_server:from(), State) -> {reply, {error, unknown}, State}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), State) -> {noreply, State}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), State) -> {noreply, State}.
handle_info({offline_post, Lines}, State) ->
    lists:foreach(fun log/1, Lines),
    {noreply, State};
handle_info(_, State) ->
    {noreply, State}.

%% Writes what has arrived before the supervisor's order to stop.
-spec terminate(term(), term()) -> ok.
terminate(_Reason, State) ->
    receive
        {offline_post, Lines} ->
            lists:foreach(fun log/1, Lines),
            terminate(stopped, State)
    after 0 ->
        ok
    end.

-spec log({error | warning | info, binary()}) -> ok.
log({error, Line}) -> ?LOG_ERROR("mod_offline_post: ~ts", [Line]);
log({warning, Line}) -> ?LOG_WARNING("mod_offline_post: ~ts", [Line]);
log({info, Line}) -> ?LOG_INFO("mod_offline_post: ~ts", [Line]).

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

-spec counters() -> atomics:atomics_ref().
counters() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            persistent_term:put(?MODULE, atomics:new(3, [{signed, true}])),
            counters();
        Counters ->
            Counters
    end.
