%% How long hooks take, and what it takes to know that.
-module(mod_offline_post_hook_cost_tests).

-include_lib("eunit/include/eunit.hrl").

%% Each bound belongs to its bucket; what is above all has one, too.
buckets_test() ->
    #{runs := {Bounds, _, _} = Before} = mod_offline_post_hook_cost:counts(),
    Taken = [0, 1] ++ Bounds ++ [Bound + 1 || Bound <- Bounds] ++ [3600000000000],
    [mod_offline_post_hook_cost:took(Ns) || Ns <- Taken],
    #{runs := {Bounds, Counts, Sum}} = added(Before, mod_offline_post_hook_cost:counts()),
    ?assertEqual([length([Ns || Ns <- Taken, Ns > Above, Ns =< Bound]) ||
                     {Above, Bound} <- lists:zip([-1 | Bounds], Bounds ++ [infinity])], Counts),
    ?assertEqual(lists:sum(Taken), Sum).

%% A wait is no cost of the handler that waits, and none of the next.
waits_test() ->
    #{runs := Runs, waits := Waits} = mod_offline_post_hook_cost:counts(),
    mod_offline_post_hook_cost:waited(3000000),
    mod_offline_post_hook_cost:waited(4000000),
    mod_offline_post_hook_cost:took(7000900),
    mod_offline_post_hook_cost:took(900),
    Now = mod_offline_post_hook_cost:counts(),
    #{runs := {_, [2 | Slower], 1800}} = added(Runs, Now),
    ?assertEqual(0, lists:sum(Slower)),
    #{waits := {_, Counts, 7000000}} = added(Waits, Now),
    ?assertEqual(2, lists:nth(11, Counts)).

%% What guarded/3 measures: the run in a hook, and nothing beside it.
guarded_test() ->
    #{runs := Before} = mod_offline_post_hook_cost:counts(),
    Runs = fun() -> #{runs := {_, Counts, _}} = added(Before, mod_offline_post_hook_cost:counts()), lists:sum(Counts) end,
    ok = mod_offline_post:guarded(aside, <<"a.example">>, fun() -> done end),
    ok = mod_offline_post:guarded(reload, <<"a.example">>, fun() -> done end),
    ?assertEqual(0, Runs()),
    ok = mod_offline_post:guarded(hook, <<"a.example">>, fun() -> timer:sleep(2) end),
    #{runs := {_, Counts, Sum}} = added(Before, mod_offline_post_hook_cost:counts()),
    ?assertEqual({1, 0}, {lists:sum(Counts), lists:sum(lists:sublist(Counts, 10))}),
    ?assert(Sum >= 2000000),
    %% One that crashes has cost something, too.
    ok = mod_offline_post:guarded(hook, <<"a.example">>, fun() -> error(defect) end),
    ?assertEqual(2, Runs()).

%% Measuring costs far less than what is measured, which is microseconds. The best of many rounds: others use this machine.
cost_test_() ->
    {timeout, 60, fun() ->
        Laps = [{lap(hook, fun() -> ok end, 20000), lap(aside, fun() -> ok end, 20000)} || _ <- lists:seq(1, 30)],
        {With, Without} = lists:unzip(Laps),
        Ns = (lists:min(With) - lists:min(Without)) div 20000,
        io:format(user, "~n~w ns for measuring a hook~n", [Ns]),
        ?assert(Ns < 500)
    end}.

lap(Where, Do, Times) ->
    Began = erlang:monotonic_time(nanosecond),
    repeat(Where, Do, Times),
    erlang:monotonic_time(nanosecond) - Began.

repeat(_Where, _Do, 0) -> ok;
repeat(Where, Do, Times) ->
    mod_offline_post:guarded(Where, <<"a.example">>, Do),
    repeat(Where, Do, Times - 1).

added({Bounds, Counts, Sum}, Now) ->
    maps:map(fun(_, {Of, After, Total}) when Of =:= Bounds ->
                     {Bounds, lists:zipwith(fun(A, B) -> A - B end, After, Counts), Total - Sum}
             end, Now).
