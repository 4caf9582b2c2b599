%% Where the plots' shapes are, and what is said of them in words.
-module(mod_offline_post_web_plot_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("xmerl/include/xmerl.hrl").

-import(mod_offline_post_web_plot, [hour/2, ceiling/1, bars/3, marks/3, steps/2]).

-define(NOW, 30000000).

%% Of mod_offline_post_web_plot.
-define(LEFT, 48).
-define(RIGHT, 412).
-define(TOP, 10).
-define(BOTTOM, 138).

hour_test() ->
    Hour = hour([{?NOW - 60, 9, 9, 9, 9, 9, 9}, {?NOW - 59, 1, 0, 0, 0, 0, 0}, {?NOW, 2, 0, 0, 0, 0, 0}, {?NOW + 1, 9, 9, 9, 9, 9, 9}], ?NOW),
    ?assertEqual(60, length(Hour)),
    ?assertEqual(lists:seq(?NOW - 59, ?NOW), [element(1, Minute) || Minute <- Hour]),
    ?assertEqual(3, lists:sum([element(2, Minute) || Minute <- Hour])).

ceiling_test() ->
    ?assertEqual([1, 1, 2, 4, 4, 10, 10, 20, 40, 100, 1000000], [ceiling(N) || N <- [0, 1, 2, 3, 4, 5, 10, 11, 40, 41, 400001]]).

%% A full bar is as high as the plot; what stands on it begins where it ends; and 60 are side by side.
bars_test() ->
    Beneath = [10 | lists:duplicate(59, 0)],
    [{X, Y, Width, Height}] = bars(Beneath, lists:duplicate(60, 0), 20),
    ?assert(X >= ?LEFT andalso X + Width =< ?RIGHT),
    ?assertEqual({?BOTTOM - (?BOTTOM - ?TOP) / 2, (?BOTTOM - ?TOP) / 2}, {Y, Height}),
    [{X, Top, Width, Upper}] = bars(Beneath, Beneath, 20),
    ?assertEqual({float(?TOP), Y}, {float(Top), Top + Upper}),
    All = bars(lists:duplicate(60, 1), lists:duplicate(60, 0), 1),
    ?assertEqual(60, length(All)),
    [?assert(Left + W =< Next) || {{Left, _, W, _}, {Next, _, _, _}} <- lists:zip(lists:droplast(All), tl(All))],
    {Last, _, LastWidth, _} = lists:last(All),
    ?assert(Last + LastWidth =< ?RIGHT).

marks_test() ->
    ?assertEqual([], marks(lists:duplicate(60, none), 1, 2.0)),
    ?assertMatch([{_, Y, _, 2.0}] when Y == ?TOP - 1, marks(lists:duplicate(59, none) ++ [5], 5, 2.0)).

steps_test() ->
    Path = steps([1 | lists:duplicate(59, 0)], 1),
    ?assertMatch({match, _}, re:run(Path, "^M48.0 10.0V10.0H54.07V138.0H60.13.*H412.0$")).

%% In words, and in a table with the newest first.
told_test() ->
    Rates = text(mod_offline_post_web_plot:rates([{?NOW - 3, 1200, 30, 7, 0, 0, 0}, {?NOW, 1, 2, 3, 0, 0, 0}], ?NOW)),
    ?assertMatch({match, _}, re:run(Rates, <<"1\x{202F}201 accepted, 32 delivered and 10 attempts failed in the last hour\\."/utf8>>, [unicode])),
    Latency = text(mod_offline_post_web_plot:latency([{?NOW, 0, 0, 0, 4, 8000, 5000}], ?NOW)),
    ?assertMatch({match, _}, re:run(Latency, "4 requests in the last hour took 2 ms on average and 5 ms at most\\.")),
    ?assertMatch({match, _}, re:run(text(mod_offline_post_web_plot:latency([], ?NOW)), "No request in the last hour\\.")).

%% Well-formed, each id once, and labelled by what is there.
markup_test() ->
    Both = {xmlel, <<"div">>, [], [mod_offline_post_web_plot:rates([], ?NOW), mod_offline_post_web_plot:latency([], ?NOW)]},
    {Document, []} = xmerl_scan:string(binary_to_list(fxml:element_to_binary(Both)), [{quiet, true}]),
    Values = fun(Path) -> [Value || #xmlAttribute{value = Value} <- xmerl_xpath:string(Path, Document)] end,
    Ids = Values("//@id"),
    ?assertEqual(lists:usort(Ids), lists:sort(Ids)),
    Labels = lists:append([string:lexemes(Value, " ") || Value <- Values("//@aria-labelledby")]),
    ?assertEqual(4, length(Labels)),
    ?assertEqual([], Labels -- Ids).

text(Element) ->
    {Document, []} = xmerl_scan:string(binary_to_list(fxml:element_to_binary(Element)), [{quiet, true}]),
    unicode:characters_to_binary([[Value, " "] || #xmlText{value = Value} <- xmerl_xpath:string("//text()", Document)]).
