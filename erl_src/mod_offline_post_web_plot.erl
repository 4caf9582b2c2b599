%% The last hour, minute by minute, as SVG in the page: no script, no file from elsewhere. Each series has a shape of
%% its own beside its colour, and all figures are in a table beneath, for those who do not see it.
-module(mod_offline_post_web_plot).

-export([rates/2, latency/2]).
%% For tests.
-export([hour/2, ceiling/1, bars/3, marks/3, steps/2]).

-import(mod_offline_post_web_html, [el/2, el/3, text/1, number/1, milliseconds/1]).

-type html() :: mod_offline_post_web_html:html().
-type element() :: mod_offline_post_web_html:element().
%% Of mod_offline_post_nif:observe/1.
-type minute() :: {UnixMinute :: integer(), Accepted :: non_neg_integer(), Delivered :: non_neg_integer(),
                   Failed :: non_neg_integer(), Requests :: non_neg_integer(), LatencySumUs :: non_neg_integer(),
                   LatencyMaxUs :: non_neg_integer()}.
-type style() :: solid | hatched | line | mark.
%% A value for each minute; none: nothing is drawn.
-type values() :: [number() | none].
-type series() :: {style(), Label :: binary(), values()}.

-define(MINUTES, 60).

%% The whole, and where the plot is in it. In the units that a text of 11 is written in.
-define(WIDTH, 420).
-define(HEIGHT, 160).
-define(LEFT, 48).
-define(TOP, 10).
-define(RIGHT, 412).
-define(BOTTOM, 138).

-define(GREEN, <<"#0b6e4f">>).
-define(RED, <<"#b3261e">>).
-define(BLUE, <<"#1f4e8c">>).
-define(GREY, <<"#55606b">>).

%% Now: Unix minute.
-spec rates([minute()], integer()) -> element().
rates(Minutes, Now) ->
    Hour = hour(Minutes, Now),
    Column = fun(N) -> [element(N, Minute) || Minute <- Hour] end,
    [Accepted, Delivered, Failed] = [Column(N) || N <- [2, 3, 4]],
    %% Failures stand on the deliveries.
    Highest = lists:max(lists:zipwith(fun(D, F) -> D + F end, Delivered, Failed) ++ Accepted),
    Summary = io_lib:format("~ts accepted, ~ts delivered and ~ts attempts failed in the last hour.",
                            [number(lists:sum(Values)) || Values <- [Accepted, Delivered, Failed]]),
    figure(<<"op-rates">>, <<"Notifications per minute">>, Summary, Now, Highest, fun(N) -> number(round(N)) end,
           [{solid, <<"delivered">>, Delivered}, {hatched, <<"failed attempts">>, Failed}, {line, <<"accepted">>, Accepted}],
           [<<"Minute">>, <<"Accepted">>, <<"Delivered">>, <<"Failed attempts">>],
           [[clock(M), number(A), number(D), number(F)] || {M, A, D, F, _, _, _} <- lists:reverse(Hour), A + D + F > 0]).

-spec latency([minute()], integer()) -> element().
latency(Minutes, Now) ->
    Hour = hour(Minutes, Now),
    Means = [mean(Minute) || Minute <- Hour],
    Longest = [longest(Minute) || Minute <- Hour],
    Highest = lists:max([0 | [Us || Us <- Longest, Us =/= none]]),
    {Requests, Sum} = {lists:sum([element(5, M) || M <- Hour]), lists:sum([element(6, M) || M <- Hour])},
    Summary = case Requests of
                  0 -> <<"No request in the last hour.">>;
                  _ -> io_lib:format("~ts requests in the last hour took ~ts on average and ~ts at most.",
                                     [number(Requests), milliseconds(Sum / Requests), milliseconds(Highest)])
              end,
    figure(<<"op-latency">>, <<"Time until the backend has answered">>, Summary, Now, max(Highest, 1000), fun mod_offline_post_web_html:milliseconds/1,
           [{solid, <<"average">>, Means}, {mark, <<"longest">>, Longest}],
           [<<"Minute">>, <<"Requests">>, <<"Average">>, <<"Longest">>],
           [[clock(M), number(R), milliseconds(S / R), milliseconds(L)] || {M, _, _, _, R, S, L} <- lists:reverse(Hour), R > 0]).

-spec mean(minute()) -> number() | none.
mean({_, _, _, _, 0, _, _}) -> none;
mean({_, _, _, _, Requests, Sum, _}) -> Sum / Requests.

-spec longest(minute()) -> number() | none.
longest({_, _, _, _, 0, _, _}) -> none;
longest({_, _, _, _, _, _, Max}) -> Max.

%% All of the hour's minutes, the oldest first, also those in which nothing happened.
-spec hour([minute()], integer()) -> [minute(), ...].
hour(Minutes, Now) ->
    Known = maps:from_list([{element(1, Minute), Minute} || Minute <- Minutes]),
    [maps:get(M, Known, {M, 0, 0, 0, 0, 0, 0}) || M <- lists:seq(Now - ?MINUTES + 1, Now)].

%% The end of the scale: 1, 2 or 4 times a power of ten, so that its half is as short.
-spec ceiling(number()) -> pos_integer().
ceiling(Highest) -> ceiling(Highest, 1).

-spec ceiling(number(), pos_integer()) -> pos_integer().
ceiling(Highest, Power) ->
    case [N * Power || N <- [1, 2, 4], N * Power >= Highest] of
        [First | _] -> First;
        [] -> ceiling(Highest, 10 * Power)
    end.

%%% What is drawn

-spec figure(binary(), binary(), unicode:chardata(), integer(), number(), fun((number()) -> binary()), [series()],
             [binary()], [[binary()]]) -> element().
figure(Id, Title, Summary, Now, Highest, Format, Series, Heads, Rows) ->
    Top = ceiling(Highest),
    Name = fun(Part) -> <<Id/binary, "-", Part/binary>> end,
    el(<<"figure">>, [{<<"class">>, <<"op-plot">>}],
       [el(<<"figcaption">>, [text(Title)]),
        el(<<"svg">>, [{<<"xmlns">>, <<"http://www.w3.org/2000/svg">>}, {<<"role">>, <<"img">>},
                       {<<"viewBox">>, numbers([0, 0, ?WIDTH, ?HEIGHT])},
                       {<<"aria-labelledby">>, <<(Name(<<"title">>))/binary, " ", (Name(<<"desc">>))/binary>>},
                       {<<"font-size">>, <<"11">>}, {<<"fill">>, ?GREY}],
           [el(<<"title">>, [{<<"id">>, Name(<<"title">>)}], [text([Title, ", last hour"])]),
            el(<<"desc">>, [{<<"id">>, Name(<<"desc">>)}], [text(Summary)]),
            hatch(Name(<<"hatch">>))]
           ++ scale(Top, Format) ++ clocks(Now) ++ drawn(Series, Top, Name(<<"hatch">>))),
        el(<<"ul">>, [{<<"class">>, <<"op-legend">>}],
           [el(<<"li">>, [swatch(Style, Name(<<"hatch">>)), text(Label)]) || {Style, Label, _} <- Series]),
        el(<<"details">>, [el(<<"summary">>, [text(["As a table", screen_reader(Title)])]), el(<<"p">>, [text(Summary)])
                           | [mod_offline_post_web_html:table(Title, Heads, [[[text(Cell)] || Cell <- Row] || Row <- Rows])
                              || Rows =/= []]])]).

%% Which table, for those who hear only the word.
-spec screen_reader(binary()) -> iodata().
screen_reader(Title) -> [": ", string:lowercase(Title)].

%% Failures stand on what is beneath them.
-spec drawn([series()], pos_integer(), binary()) -> [html()].
drawn([{solid, _, Beneath}, {hatched, _, Values} | Series], Top, Hatch) ->
    shapes(solid, bars(Beneath, zeros(Beneath), Top), Hatch)
        ++ shapes(hatched, bars(Values, Beneath, Top), Hatch) ++ drawn(Series, Top, Hatch);
drawn([{solid, _, Values} | Series], Top, Hatch) ->
    shapes(solid, bars(Values, zeros(Values), Top), Hatch) ++ drawn(Series, Top, Hatch);
drawn([{mark, _, Values} | Series], Top, Hatch) ->
    shapes(mark, marks(Values, Top, 2.5), Hatch) ++ drawn(Series, Top, Hatch);
drawn([{line, _, Values} | Series], Top, Hatch) ->
    [el(<<"path">>, [{<<"d">>, steps(Values, Top)}, {<<"fill">>, <<"none">>}, {<<"stroke">>, ?BLUE},
                     {<<"stroke-width">>, <<"1.5">>}], []) | drawn(Series, Top, Hatch)];
drawn([], _, _) ->
    [].

-spec zeros(values()) -> [0].
zeros(Values) -> [0 || _ <- Values].

-type rectangle() :: {X :: float(), Y :: float(), Width :: float(), Height :: float()}.

%% One for each value that is not 0, above what it stands on.
-spec bars(values(), Beneath :: values(), Top :: pos_integer()) -> [rectangle()].
bars(Values, Beneath, Top) ->
    [{x(I) + 0.5, y(Value + Foot, Top), slot() - 1, y(Foot, Top) - y(Value + Foot, Top)}
     || {I, Value, Foot} <- lists:zip3(lists:seq(0, ?MINUTES - 1), Values, Beneath), Value =/= none, Value > 0].

%% A short line across each minute.
-spec marks(values(), Top :: pos_integer(), Thickness :: float()) -> [rectangle()].
marks(Values, Top, Thickness) ->
    [{x(I), y(Value, Top) - Thickness / 2, slot(), Thickness}
     || {I, Value} <- lists:zip(lists:seq(0, ?MINUTES - 1), Values), Value =/= none].

%% One line, level in each minute.
-spec steps(values(), Top :: pos_integer()) -> binary().
steps([First | _] = Values, Top) ->
    Point = fun(X, Value) -> [decimal(X), " ", decimal(y(Value, Top))] end,
    iolist_to_binary(["M", Point(x(0), First)
                      | [["V", decimal(y(Value, Top)), "H", decimal(x(I + 1))]
                         || {I, Value} <- lists:zip(lists:seq(0, ?MINUTES - 1), Values)]]).

-spec x(0..?MINUTES) -> float().
x(Minute) -> ?LEFT + Minute * slot().

-spec slot() -> float().
slot() -> (?RIGHT - ?LEFT) / ?MINUTES.

-spec y(number(), pos_integer()) -> float().
y(Value, Top) -> ?BOTTOM - (?BOTTOM - ?TOP) * Value / Top.

-spec shapes(style(), [rectangle()], binary()) -> [element()].
shapes(Style, Rectangles, Hatch) -> [shape(Style, Rectangle, Hatch) || Rectangle <- Rectangles].

-spec shape(style(), rectangle(), binary()) -> element().
shape(Style, {X, Y, Width, Height}, Hatch) ->
    el(<<"rect">>, [{<<"x">>, decimal(X)}, {<<"y">>, decimal(Y)}, {<<"width">>, decimal(Width)},
                    {<<"height">>, decimal(Height)} | fill(Style, Hatch)], []).

-spec fill(style(), binary()) -> [{binary(), binary()}].
fill(solid, _) -> [{<<"fill">>, ?GREEN}];
fill(mark, _) -> [{<<"fill">>, ?BLUE}];
fill(hatched, Hatch) ->
    [{<<"fill">>, <<"url(#", Hatch/binary, ")">>}, {<<"stroke">>, ?RED}, {<<"stroke-width">>, <<"0.5">>}].

-spec hatch(binary()) -> element().
hatch(Id) ->
    el(<<"defs">>,
       [el(<<"pattern">>, [{<<"id">>, Id}, {<<"width">>, <<"3">>}, {<<"height">>, <<"3">>},
                           {<<"patternUnits">>, <<"userSpaceOnUse">>}, {<<"patternTransform">>, <<"rotate(45)">>}],
           [el(<<"rect">>, [{<<"width">>, <<"3">>}, {<<"height">>, <<"3">>}, {<<"fill">>, <<"#fff">>}], []),
            el(<<"rect">>, [{<<"width">>, <<"1.6">>}, {<<"height">>, <<"3">>}, {<<"fill">>, ?RED}], [])])]).

-spec swatch(style(), binary()) -> element().
swatch(Style, Hatch) ->
    Shape = case Style of
                line -> el(<<"path">>, [{<<"d">>, <<"M0 7H6V3H14">>}, {<<"fill">>, <<"none">>}, {<<"stroke">>, ?BLUE},
                                        {<<"stroke-width">>, <<"1.5">>}], []);
                mark -> shape(mark, {0.0, 4.0, 14.0, 2.5}, Hatch);
                _ -> shape(Style, {1.0, 0.5, 12.0, 9.0}, Hatch)
            end,
    el(<<"svg">>, [{<<"width">>, <<"14">>}, {<<"height">>, <<"10">>}, {<<"aria-hidden">>, <<"true">>}], [Shape]).

%% Nothing, half and all of it.
-spec scale(pos_integer(), fun((number()) -> binary())) -> [element()].
scale(Top, Format) ->
    Values = case Top of
                 1 -> [0, 1];
                 _ -> [0, Top / 2, Top]
             end,
    lists:append([[el(<<"path">>, [{<<"d">>, iolist_to_binary(["M", decimal(x(0)), " ", decimal(y(Value, Top)), "H",
                                                               decimal(x(?MINUTES))])},
                                   {<<"stroke">>, <<"#c9ced6">>}], []),
                   label(x(0) - 5, y(Value, Top) + 4, <<"end">>, Format(Value))] || Value <- Values]).

%% Each quarter of an hour by the server's clock.
-spec clocks(integer()) -> [element()].
clocks(Now) ->
    lists:append([[el(<<"path">>, [{<<"d">>, iolist_to_binary(["M", decimal(x(I)), " ", decimal(y(0, 1)), "v4"])},
                                   {<<"stroke">>, ?GREY}], []),
                   label(min(max(x(I), ?LEFT + 8.0), ?RIGHT - 14.0), y(0, 1) + 16, <<"middle">>, clock(Minute))]
                  || I <- lists:seq(0, ?MINUTES - 1), Minute <- [Now - ?MINUTES + 1 + I], Minute rem 15 =:= 0]).

-spec label(float(), float(), binary(), binary()) -> element().
label(X, Y, Anchor, Text) ->
    el(<<"text">>, [{<<"x">>, decimal(X)}, {<<"y">>, decimal(Y)}, {<<"text-anchor">>, Anchor}], [text(Text)]).

-spec clock(UnixMinute :: integer()) -> binary().
clock(Minute) ->
    {_, {H, M, _}} = calendar:system_time_to_local_time(Minute * 60, second),
    iolist_to_binary(io_lib:format("~2..0B:~2..0B", [H, M])).

-spec numbers([integer()]) -> binary().
numbers(Ns) -> iolist_to_binary(lists:join($\s, [integer_to_list(N) || N <- Ns])).

-spec decimal(number()) -> binary().
decimal(N) -> float_to_binary(float(N), [{decimals, 2}, compact]).
