%% The number that an app shows at its icon. `events`: how many events there were since the user was last online,
%% counted here, in Mnesia. `stored`: how many messages mod_offline keeps for the user. Counting those may take a
%% database, so one process per node does it, and what waits for it is bounded.
-module(mod_offline_post_badge).

-behaviour(gen_server).

-export([prepare/1, flush/0, stop/0, next/2, reset/2, stored/3, behind/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% Mnesia writes records of this form.
-record(offline_post_badge, {user :: {User :: binary(), Host :: binary()} | '_',
                             count = 0 :: non_neg_integer() | '_'}).

-include_lib("kernel/include/logger.hrl").

-define(TABLE, offline_post_badge).

%% So many may wait to be counted, each for so long (ms); others go without a badge.
-define(LONGEST_QUEUE, 1000).
-define(LONGEST_WAIT, 5000).

%% In the counter.
-define(WAITING, 1).

-type use() :: fun((Count :: non_neg_integer() | unknown) -> term()).

%% What the kind of badge needs, before the first event. Without it events go without a badge.
-spec prepare(none | events | stored) -> ok.
prepare(none) ->
    ok;
prepare(events) ->
    try ejabberd_mnesia:create(?MODULE, ?TABLE, [{disc_copies, [node()]},
                                                 {attributes, record_info(fields, offline_post_badge)}]) of
        {atomic, _} -> ok;
        Failure -> unprepared(Failure)
    catch
        error:Reason -> unprepared(Reason);
        exit:Reason -> unprepared(Reason)
    end;
prepare(stored) ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> unprepared(Reason)
    end.

-spec unprepared(term()) -> ok.
unprepared(Reason) ->
    ?LOG_ERROR("mod_offline_post: no badges can be counted, events go without (~0tp)", [Reason]).

%% Waits, for a while, until what is to be counted has been handed on.
-spec flush() -> ok.
flush() ->
    mod_offline_post_flush:wait(?MODULE, flush).

%% With the last virtual host.
-spec stop() -> ok.
stop() ->
    _ = whereis(?MODULE) =/= undefined andalso gen_mod:stop_child(?MODULE),
    ok.

%% Counts one more.
-spec next(User :: binary(), Host :: binary()) -> pos_integer().
next(User, Host) ->
    mnesia:dirty_update_counter(?TABLE, {User, Host}, 1).

-spec reset(User :: binary(), Host :: binary()) -> ok.
reset(User, Host) ->
    %% A write goes to the disk and to the cluster; most users have nothing here.
    try mnesia:dirty_read(?TABLE, {User, Host}) of
        [] -> ok;
        [_] -> mnesia:dirty_delete(?TABLE, {User, Host})
    catch
        exit:{aborted, {no_exists, _}} -> ok
    end.

%% Hands the count to Use, in another process. unknown: there is none, or too many wait; then Use may run at once.
-spec stored(User :: binary(), Host :: binary(), use()) -> ok.
stored(User, Host, Use) ->
    Counter = persistent_term:get(?MODULE, undefined),
    case whereis(?MODULE) of
        Pid when is_pid(Pid), Counter =/= undefined ->
            case atomics:add_get(Counter, ?WAITING, 1) =< ?LONGEST_QUEUE of
                true ->
                    gen_server:cast(Pid, {stored, User, Host, Use, erlang:monotonic_time(millisecond)});
                false ->
                    atomics:sub(Counter, ?WAITING, 1),
                    use(Host, Use, unknown)
            end;
        _ ->
            use(Host, Use, unknown)
    end.

%% Has Do run behind what waits to be counted now; not at all if nothing does, or far too much.
-spec behind(Host :: binary(), fun(() -> term())) -> ok.
behind(Host, Do) ->
    Counter = persistent_term:get(?MODULE, undefined),
    case whereis(?MODULE) of
        Pid when is_pid(Pid), Counter =/= undefined ->
            case atomics:get(Counter, ?WAITING) of
                Waiting when Waiting > 0, Waiting < 2 * ?LONGEST_QUEUE ->
                    atomics:add(Counter, ?WAITING, 1),
                    gen_server:cast(Pid, {behind, Host, Do});
                _ ->
                    ok
            end;
        _ ->
            ok
    end.

%%% The process that counts

-spec init(term()) -> {ok, atomics:atomics_ref()}.
init(_) ->
    process_flag(trap_exit, true),
    Counter = atomics:new(1, []),
    persistent_term:put(?MODULE, Counter),
    {ok, Counter}.

-spec handle_call(term(), gen_server:from(), atomics:atomics_ref()) ->
          {reply, ok | {error, unknown}, atomics:atomics_ref()}.
handle_call(flush, _From, Counter) ->
    {reply, ok, Counter};
handle_call(_Request, _From, Counter) ->
    {reply, {error, unknown}, Counter}.

-spec handle_cast(term(), atomics:atomics_ref()) -> {noreply, atomics:atomics_ref()}.
handle_cast({stored, User, Host, Use, Since}, Counter) ->
    use(Host, Use, case erlang:monotonic_time(millisecond) - Since < ?LONGEST_WAIT of
                       true -> count(User, Host);
                       false -> unknown
                   end),
    %% Only now: what is being counted waits, too.
    atomics:sub(Counter, ?WAITING, 1),
    {noreply, Counter};
handle_cast({behind, Host, Do}, Counter) ->
    mod_offline_post:guarded(aside, Host, Do),
    atomics:sub(Counter, ?WAITING, 1),
    {noreply, Counter};
handle_cast(_, Counter) ->
    {noreply, Counter}.

-spec handle_info(term(), atomics:atomics_ref()) -> {noreply, atomics:atomics_ref()}.
handle_info(_, Counter) ->
    {noreply, Counter}.

%% What still waits leaves uncounted.
-spec terminate(term(), atomics:atomics_ref()) -> ok.
terminate(Reason, Counter) ->
    receive
        {'$gen_cast', {stored, _User, Host, Use, _Since}} ->
            use(Host, Use, unknown),
            terminate(Reason, Counter);
        {'$gen_cast', {behind, Host, Do}} ->
            mod_offline_post:guarded(aside, Host, Do),
            terminate(Reason, Counter)
    after 0 ->
        ok
    end.

-spec use(binary(), use(), non_neg_integer() | unknown) -> ok.
use(Host, Use, Count) ->
    mod_offline_post:guarded(aside, Host, fun() -> Use(Count) end).

-spec count(binary(), binary()) -> non_neg_integer() | unknown.
count(User, Host) ->
    try gen_mod:is_loaded(Host, mod_offline) andalso mod_offline:count_offline_messages(User, Host) of
        Count when is_integer(Count) -> Count;
        _ -> unknown
    catch
        _:_ -> unknown
    end.
