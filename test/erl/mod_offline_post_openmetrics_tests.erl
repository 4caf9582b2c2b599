%% The text of the metrics, letter by letter.
-module(mod_offline_post_openmetrics_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HOST, {<<"vhost">>, <<"a.example">>}).

families() ->
    [{<<"x_taken">>, counter, <<>>, <<"What was \"taken\".\nAll of it, \\ too.">>, [{[?HOST], 3}, {[{<<"vhost">>, <<"b">>}], 0}]},
     {<<"x_nothing">>, gauge, <<>>, <<"Without a sample.">>, []},
     {<<"x_waiting_bytes">>, gauge, <<"bytes">>, <<"What waits.">>, [{[], 12345678}]},
     {<<"x_age_seconds">>, gauge, <<"seconds">>, <<"How old.">>, [{[], {1500, 3}}]},
     {<<"x_wait_seconds">>, histogram, <<"seconds">>, <<"How long.">>,
      [{[?HOST], {histogram, [{1000, 6}, {20000, 6}], [2, 0, 5], {123456, 6}}}]},
     {<<"x_build">>, info, <<>>, <<"Which.">>, [{[{<<"version">>, <<"1.0">>}], 1}]}].

text_test() ->
    ?assertEqual(
       <<"# HELP x_taken_total What was \"taken\".\\nAll of it, \\\\ too.\n"
         "# TYPE x_taken_total counter\n"
         "x_taken_total{vhost=\"a.example\"} 3\n"
         "x_taken_total{vhost=\"b\"} 0\n"
         "# HELP x_waiting_bytes What waits.\n"
         "# TYPE x_waiting_bytes gauge\n"
         "x_waiting_bytes 12345678\n"
         "# HELP x_age_seconds How old.\n"
         "# TYPE x_age_seconds gauge\n"
         "x_age_seconds 1.5\n"
         "# HELP x_wait_seconds How long.\n"
         "# TYPE x_wait_seconds histogram\n"
         "x_wait_seconds_bucket{vhost=\"a.example\",le=\"0.001\"} 2\n"
         "x_wait_seconds_bucket{vhost=\"a.example\",le=\"0.02\"} 2\n"
         "x_wait_seconds_bucket{vhost=\"a.example\",le=\"+Inf\"} 7\n"
         "x_wait_seconds_sum{vhost=\"a.example\"} 0.123456\n"
         "x_wait_seconds_count{vhost=\"a.example\"} 7\n"
         "# HELP x_build_info Which.\n"
         "# TYPE x_build_info gauge\n"
         "x_build_info{version=\"1.0\"} 1\n">>,
       page(text, families())).

openmetrics_test() ->
    ?assertEqual(
       <<"# HELP x_taken What was \\\"taken\\\".\\nAll of it, \\\\ too.\n"
         "# TYPE x_taken counter\n"
         "x_taken_total{vhost=\"a.example\"} 3\n"
         "x_taken_total{vhost=\"b\"} 0\n"
         "# HELP x_waiting_bytes What waits.\n"
         "# TYPE x_waiting_bytes gauge\n"
         "# UNIT x_waiting_bytes bytes\n"
         "x_waiting_bytes 12345678\n"
         "# HELP x_age_seconds How old.\n"
         "# TYPE x_age_seconds gauge\n"
         "# UNIT x_age_seconds seconds\n"
         "x_age_seconds 1.5\n"
         "# HELP x_wait_seconds How long.\n"
         "# TYPE x_wait_seconds histogram\n"
         "# UNIT x_wait_seconds seconds\n"
         "x_wait_seconds_bucket{vhost=\"a.example\",le=\"0.001\"} 2\n"
         "x_wait_seconds_bucket{vhost=\"a.example\",le=\"0.02\"} 2\n"
         "x_wait_seconds_bucket{vhost=\"a.example\",le=\"+Inf\"} 7\n"
         "x_wait_seconds_sum{vhost=\"a.example\"} 0.123456\n"
         "x_wait_seconds_count{vhost=\"a.example\"} 7\n"
         "# HELP x_build Which.\n"
         "# TYPE x_build info\n"
         "x_build_info{version=\"1.0\"} 1\n"
         "# EOF\n">>,
       page(openmetrics, families())),
    ?assertEqual(<<"# EOF\n">>, page(openmetrics, [])).

%% As Go and OpenMetrics 1.0 (Considerations: Canonical Numbers) have them.
numbers_test_() ->
    [?_assertEqual({Value, <<"# HELP x h\n# TYPE x gauge\nx ", Text/binary, "\n">>},
                   {Value, page(text, [{<<"x">>, gauge, <<>>, <<"h">>, [{[], Value}]}])}) ||
        {Value, Text} <-
            [{0, <<"0">>}, {18446744073709551615, <<"18446744073709551615">>},
             {{0, 6}, <<"0.0">>}, {{1, 6}, <<"1e-06">>}, {{10, 6}, <<"1e-05">>}, {{25, 6}, <<"2.5e-05">>}, {{100, 6}, <<"0.0001">>},
             {{1, 10}, <<"1e-10">>}, {{500, 6}, <<"0.0005">>}, {{1000, 6}, <<"0.001">>}, {{95, 2}, <<"0.95">>},
             {{1000000, 6}, <<"1.0">>}, {{1, 0}, <<"1.0">>}, {{1700, 3}, <<"1.7">>}, {{10, 0}, <<"10.0">>},
             {{2500000, 6}, <<"2.5">>}, {{60000000, 6}, <<"60.0">>}, {{86400000000, 6}, <<"86400.0">>},
             {{100000, 0}, <<"100000.0">>}, {{1000000, 0}, <<"1e+06">>}, {{1234567890123, 6}, <<"1.234567890123e+06">>},
             {{10000000000, 0}, <<"1e+10">>}, {{123456789, 9}, <<"0.123456789">>}]].

%% No float is lost on the way.
round_trip_test() ->
    [begin
         Text = page(text, [{<<"x">>, gauge, <<>>, <<"h">>, [{[], {Number, 6}}]}]),
         [_, _, <<"x ", Written/binary>>, <<>>] = binary:split(Text, <<"\n">>, [global]),
         ?assertEqual({Written, Number / 1000000}, {Written, as_float(Written)})
     end || Size <- lists:seq(1, 53), Number <- [rand:uniform(1 bsl Size) || _ <- lists:seq(1, 20)]].

as_float(Text) ->
    case binary:match(Text, <<".">>) of
        nomatch -> binary_to_float(binary:replace(Text, <<"e">>, <<".0e">>));
        _ -> binary_to_float(Text)
    end.

%% Of an accepted header, that Prometheus 2 and 3, browsers and curl send.
negotiation_test_() ->
    [?_assertEqual({Accept, Format}, {Accept, mod_offline_post_openmetrics:negotiate(Accept)}) ||
        {Accept, Format} <-
            [{<<>>, text}, {<<"*/*">>, text}, {<<"text/plain">>, text}, {<<"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8">>, text},
             {<<"application/openmetrics-text">>, openmetrics}, {<<"Application/OpenMetrics-Text ; Version=1.0.0">>, openmetrics},
             {<<"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                "text/plain;version=0.0.4;q=0.5,*/*;q=0.1">>, openmetrics},
             {<<"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1">>, openmetrics},
             {<<"application/openmetrics-text;version=0.0.1">>, text}, {<<"application/openmetrics-text;version=2.0.0">>, text},
             {<<"application/openmetrics-text;q=0">>, text}, {<<"application/openmetrics-text;q=0.000">>, text},
             {<<"application/openmetrics-text;q=0.3, text/plain;q=0.31">>, text},
             {<<"application/openmetrics-text;q=0.31, text/plain;q=0.3">>, openmetrics},
             {<<"application/openmetrics-text;q=2">>, text}, {<<"application/openmetrics-text;q=">>, text},
             {<<"application/openmetrics-text;q=0.1234">>, text}, {<<";;,,=;q=;,">>, text},
             {<<255, 0, ";", 128, "=", 254>>, text}]].

%% Whatever bytes a label has, they stay in it: read as the formats say, they are what they were.
labels_test() ->
    [begin
         Lines = binary:split(page(Format, [{<<"x">>, gauge, <<>>, <<"h">>, [{[{<<"a">>, Value}, ?HOST], 1}]}]), <<"\n">>, [global]),
         [Line] = [L || <<"x", _/binary>> = L <- Lines],
         ?assertEqual(length(Lines), length([L || <<C, _/binary>> = L <- Lines, C =:= $# orelse C =:= $x]) + 1),
         <<"x{a=\"", Quoted/binary>> = Line,
         {Read, Rest} = unquote(Quoted, <<>>),
         ?assertEqual({Value, <<",vhost=\"a.example\"} 1">>}, {Value, Rest}),
         ?assertEqual(valid(Value), Read)
     end || Format <- [text, openmetrics],
            Value <- [<<"\"} 1\nx{a=\"">>, <<"\\">>, <<"\\\"">>, <<"\\n">>, <<"\n">>, <<"# EOF\n">>, <<>>, <<"b\303\274cher.example">>, <<255, "\"">>]
                ++ [<< <<(lists:nth(rand:uniform(9), [$\\, $", $\n, $}, ${, $n, 255, rand:uniform(256) - 1, $a]))>>
                       || _ <- lists:seq(1, rand:uniform(12)) >> || _ <- lists:seq(1, 5000)]].

unquote(<<"\"", Rest/binary>>, Read) -> {Read, Rest};
unquote(<<"\\\\", Rest/binary>>, Read) -> unquote(Rest, <<Read/binary, "\\">>);
unquote(<<"\\\"", Rest/binary>>, Read) -> unquote(Rest, <<Read/binary, "\"">>);
unquote(<<"\\n", Rest/binary>>, Read) -> unquote(Rest, <<Read/binary, "\n">>);
unquote(<<Byte, Rest/binary>>, Read) when Byte =/= $\\, Byte =/= $\n -> unquote(Rest, <<Read/binary, Byte>>).

%% What is no UTF-8 is replaced, and nothing else.
valid(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Valid when is_binary(Valid) -> Valid;
        {_, Valid, <<_, Rest/binary>>} -> <<Valid/binary, 16#FFFD/utf8, (valid(Rest))/binary>>
    end.

page(Format, Families) ->
    iolist_to_binary(mod_offline_post_openmetrics:page(Format, Families)).
