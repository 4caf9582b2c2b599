%% One line of the log for each cause, whatever the number of virtual hosts.
-module(mod_offline_post_notices_tests).

-include_lib("eunit/include/eunit.hrl").

-define(CAUSE, ["mod_offline_post: for ", hosts, " something is odd"]).

none_test() ->
    ?assertEqual([], lines([])).

names_test_() ->
    [?_assertEqual([{warning, "mod_offline_post: for " ++ Expected ++ " something is odd"}],
                   lines([{warning, ?CAUSE, Host, 0} || Host <- Hosts])) ||
        {Hosts, Expected} <- [{[<<"a">>], "a"},
                              {[<<"b">>, <<"a">>], "a, b"},
                              {[<<"c">>, <<"a">>, <<"b">>], "a, b, c"},
                              {[<<"d">>, <<"c">>, <<"a">>, <<"b">>], "4 virtual hosts (a, b, c, ...)"},
                              {[<<"a">>, <<"a">>, <<"a">>], "a"},
                              {[<<"b\x{e4}"/utf8>>], "b\x{e4}"}]].

%% Each cause and each level has a line of its own, in the order in which they came.
causes_test() ->
    ?assertEqual([{warning, "b: 1 virtual host is odd"}, {error, "a: 1 virtual host is odd"}, {info, "a: 1 virtual host is odd"}],
                 lines([{Level, [Cause, hosts, " is odd"], <<"1 virtual host">>, 0} ||
                           {Level, Cause} <- [{warning, "b: "}, {error, "a: "}, {info, "a: "}, {error, "a: "}]])).

count_test() ->
    ?assertEqual([{info, "7 messages for a, b"}],
                 lines([{info, [count, " messages for ", hosts], Host, Count} || {Host, Count} <- [{<<"a">>, 3}, {<<"b">>, 4}]])).

%% The native side's lines: those of endpoints are one, whatever numbers are in them.
native_test() ->
    Native = [<<"mod_offline_post for b.example: http://x answered 410 Gone: paused">>,
              <<"mod_offline_post for a.example: http://x answered 410 Gone: paused">>,
              <<"mod_offline_post for b.example: http://x did not take notification msg_12ab_1 (HTTP 404): 3 wait">>,
              <<"http://x has trouble (HTTP 503): 7 notifications for 2 virtual hosts: they wait">>,
              <<"mod_offline_post for a.example: http://x did not take notification msg_34cd_2 (HTTP 404): 14 wait">>,
              <<"mod_available_post for a.example: http://x did not take notification msg_34cd_3 (HTTP 404): 5 wait">>],
    ?assertEqual([{error, "mod_offline_post: mod_offline_post for a.example, b.example: http://x answered 410 Gone: paused "
                          "(numbers and ids are those of b.example)"},
                  {error, "mod_offline_post: mod_offline_post for a.example, b.example: http://x did not take notification "
                          "msg_12ab_1 (HTTP 404): 3 wait (numbers and ids are those of b.example)"},
                  {error, "mod_offline_post: http://x has trouble (HTTP 503): 7 notifications for 2 virtual hosts: they wait"},
                  {error, "mod_offline_post: mod_available_post for a.example: http://x did not take notification msg_34cd_3 "
                          "(HTTP 404): 5 wait"}],
                 lines([mod_offline_post_notices:native(error, Line) || Line <- Native])).

many_test() ->
    [{warning, Line}] = lines([{warning, ?CAUSE, integer_to_binary(N), 0} || N <- lists:seq(1, 1000)]),
    ?assertEqual("mod_offline_post: for 1000 virtual hosts (1, 10, 100, ...) something is odd", Line).

lines(Notices) ->
    [{Level, unicode:characters_to_list(Line)} ||
        {Level, Line} <- mod_offline_post_notices:lines(lists:foldl(fun mod_offline_post_notices:add/2, mod_offline_post_notices:none(),
                                                                    Notices))].
