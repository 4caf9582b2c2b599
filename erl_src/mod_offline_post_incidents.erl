%% What should not happen to a message in the hook: counted for the whole node since its start, and logged at a
%% bounded rate.
-module(mod_offline_post_incidents).

-export([count/1, report/2, counts/0]).
-export_type([kind/0]).

-on_load(load/0).

-include_lib("kernel/include/logger.hrl").

%% hook_crashes: not handed over because of a defect. commit_timeouts: the commit was not confirmed in time.
%% uncommitted: kept in memory, because the disk refuses. member_overflows: a room's message was not looked at for absent
%% members, because too many wait.
-type kind() :: hook_crashes | commit_timeouts | uncommitted | member_overflows.

-define(KINDS, [hook_crashes, commit_timeouts, uncommitted, member_overflows]).

%% Of each kind: how many there were, how many of those are logged, when the next line may be (s).
-define(COUNT, 1).
-define(REPORTED, 2).
-define(NEXT_REPORT, 3).
-define(REPORT_INTERVAL, 10).

%% Counts without a line in the log.
-spec count(kind()) -> ok.
count(Kind) ->
    atomics:add(counter(Kind), ?COUNT, 1).

%% Counts, and logs at most once in ten seconds: New is how many came to pass since the last line.
-spec report(kind(), Line :: fun((New :: pos_integer()) -> {error | warning, io:format(), [term()]})) -> ok.
report(Kind, Line) ->
    Counter = counter(Kind),
    Count = atomics:add_get(Counter, ?COUNT, 1),
    Now = erlang:monotonic_time(second),
    Due = atomics:get(Counter, ?NEXT_REPORT),
    case Now >= Due andalso atomics:compare_exchange(Counter, ?NEXT_REPORT, Due, Now + ?REPORT_INTERVAL) of
        ok ->
            {Level, Format, Args} = Line(Count - atomics:exchange(Counter, ?REPORTED, Count)),
            ?LOG(Level, Format, Args);
        _ ->
            ok
    end.

-spec counts() -> #{kind() => non_neg_integer()}.
counts() ->
    maps:map(fun(_, Counter) -> atomics:get(Counter, ?COUNT) end, persistent_term:get(?MODULE)).

-spec counter(kind()) -> atomics:atomics_ref().
counter(Kind) ->
    maps:get(Kind, persistent_term:get(?MODULE)).

%% The counters outlive every version of this module.
-spec load() -> ok.
load() ->
    Old = persistent_term:get(?MODULE, #{}),
    New = maps:from_list([{Kind, new()} || Kind <- ?KINDS]),
    persistent_term:put(?MODULE, maps:merge(New, maps:with(?KINDS, Old))).

-spec new() -> atomics:atomics_ref().
new() ->
    Counter = atomics:new(3, [{signed, true}]),
    ok = atomics:put(Counter, ?NEXT_REPORT, erlang:monotonic_time(second)),
    Counter.
