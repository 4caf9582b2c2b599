%% What the handlers of hooks cost the sessions and rooms they run in, for the whole node since its start: how long each
%% run took, and apart from that how long it waited for a commit, if sync_commit made it wait. Two histograms, each an
%% array of counters.
-module(mod_offline_post_hook_cost).

-export([took/1, waited/1, counts/0]).
-export_type([histogram/0]).

-on_load(load/0).

%% Both in nanoseconds. Counts are one longer than the bounds, and not cumulative.
-type histogram() :: {Bounds :: [pos_integer()], Counts :: [non_neg_integer()], Sum :: non_neg_integer()}.

-define(US, 1000).
-define(MS, 1000000).
-define(BOUNDS, [1 * ?US, 2 * ?US, 5 * ?US, 10 * ?US, 20 * ?US, 50 * ?US, 100 * ?US, 200 * ?US, 500 * ?US, 1 * ?MS,
                 10 * ?MS, 100 * ?MS]).

%% Behind one for each bound, and one above them all.
-define(SUM, 14).

%% In the process dictionary: how long the handler that runs has waited.
-define(WAITED, ?MODULE).

%% A handler ran for so long, waits included.
-spec took(Ns :: integer()) -> ok.
took(Ns) ->
    {Runs, _} = persistent_term:get(?MODULE),
    count(Runs, case erase(?WAITED) of
                    undefined -> Ns;
                    Waited -> Ns - Waited
                end).

%% Within a handler.
-spec waited(Ns :: integer()) -> ok.
waited(Ns) ->
    {_, Waits} = persistent_term:get(?MODULE),
    _ = put(?WAITED, Ns + case get(?WAITED) of
                              undefined -> 0;
                              Before -> Before
                          end),
    count(Waits, Ns).

-spec counts() -> #{runs | waits := histogram()}.
counts() ->
    {Runs, Waits} = persistent_term:get(?MODULE),
    #{runs => histogram(Runs), waits => histogram(Waits)}.

-spec count(counters:counters_ref(), integer()) -> ok.
count(Counters, Ns) ->
    counters:add(Counters, bucket(Ns), 1),
    counters:add(Counters, ?SUM, Ns).

%% Its bound's place in the list.
-spec bucket(integer()) -> 1..13.
bucket(Ns) when Ns =< 1 * ?US -> 1;
bucket(Ns) when Ns =< 2 * ?US -> 2;
bucket(Ns) when Ns =< 5 * ?US -> 3;
bucket(Ns) when Ns =< 10 * ?US -> 4;
bucket(Ns) when Ns =< 20 * ?US -> 5;
bucket(Ns) when Ns =< 50 * ?US -> 6;
bucket(Ns) when Ns =< 100 * ?US -> 7;
bucket(Ns) when Ns =< 200 * ?US -> 8;
bucket(Ns) when Ns =< 500 * ?US -> 9;
bucket(Ns) when Ns =< 1 * ?MS -> 10;
bucket(Ns) when Ns =< 10 * ?MS -> 11;
bucket(Ns) when Ns =< 100 * ?MS -> 12;
bucket(_) -> 13.

-spec histogram(counters:counters_ref()) -> histogram().
histogram(Counters) ->
    {?BOUNDS, [counters:get(Counters, N) || N <- lists:seq(1, ?SUM - 1)], counters:get(Counters, ?SUM)}.

%% The counters outlive every version of this module.
-spec load() -> ok.
load() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined -> persistent_term:put(?MODULE, {new(), new()});
        _ -> ok
    end.

-spec new() -> counters:counters_ref().
new() ->
    counters:new(?SUM, [write_concurrency]).
