%% Many endpoints of which few are busy, beside as many endpoints as are busy; large messages that wait. By scripts/bench's
%% program in C++, without a BEAM.
-module(offline_post_bench_scale).

-export([figures/1]).

-define(PAIRS, 3).
-define(RUN_MS, "2000").
-define(PACED_PER_S, "2000").

%% Maps of figures, each with its ratio: as many as there are pairs, and one of what is measured once. URL answers at
%% once.
-spec figures(#{url := string(), scale_bench := string(), scratch := string(), _ => _}) -> [#{atom() => number()}].
figures(Options) ->
    [backlog(Options) | [pair(Options, N) || N <- lists:seq(1, ?PAIRS)]].

pair(#{url := Url} = Options, N) ->
    Paced = fun(Count) -> run(Options, fun(Dir) -> ["paced", Url, Dir, "many", Count, "10", ?PACED_PER_S, ?RUN_MS] end) end,
    Deliver = fun(Count) -> run(Options, fun(Dir) -> ["deliver", Url, Dir, "one", Count, ?RUN_MS] end) end,
    [Few, Many] = in_turn(N, Paced, ["10", "1000"]),
    [One, Most] = in_turn(N, Deliver, ["1", "5000"]),
    #{cpu_us_10_endpoints => Few, cpu_us_1000_endpoints_ratio => Many / Few,
      deliver_1_endpoint_per_s => One, deliver_5000_endpoints_ratio => Most / One,
      start_10000_endpoints_s => run(Options, fun(Dir) -> ["start", Url, Dir, "many", "10000"] end)}.

%% Who begins changes from pair to pair.
in_turn(N, Measure, Counts) when N rem 2 =:= 0 -> [Measure(Count) || Count <- Counts];
in_turn(_, Measure, Counts) -> lists:reverse([Measure(Count) || Count <- lists:reverse(Counts)]).

backlog(Options) ->
    #{rss_mb_large_backlog => run(Options, fun(Dir) -> ["backlog", Dir, "2500", "200000"] end)}.

run(#{scale_bench := Program, scratch := Scratch}, Arguments) ->
    Dir = filename:join(Scratch, "scale"),
    ok = file:make_dir(Dir),
    Figure = list_to_float(string:trim(offline_post_bench_load:execute(Program, Arguments(Dir)))),
    ok = file:del_dir_r(Dir),
    Figure.
