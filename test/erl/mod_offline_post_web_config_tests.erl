%% What of the configuration is shown, and what is not.
-module(mod_offline_post_web_config_tests).

-include_lib("eunit/include/eunit.hrl").

-import(mod_offline_post_web_config, [shown/2, shown_url/1, options/1]).

-define(SECRET, <<"s3cret">>).

%% Wherever a secret may stand, in a value of any shape.
secrets_test() ->
    [?assertEqual({Option, nomatch}, {Option, binary:match(shown(Option, Value), ?SECRET)})
     || {Option, Value} <- [{auth_token, ?SECRET}, {signing_secrets, [<<"whsec_", ?SECRET/binary>>]},
                            {headers, [{<<"Authorization">>, ?SECRET}]}, {fields, [{<<"key">>, ?SECRET}]},
                            {fields, [{<<"key">>, {map, [{<<"a">>, ?SECRET}]}}]}, {room_fields, [{<<"key">>, {list, [?SECRET]}}]},
                            {post_url, <<"https://user:", ?SECRET/binary, "@a.example/">>},
                            {post_url, <<"https://a.example/", ?SECRET/binary>>}, {post_url, <<"https://a.example?k=", ?SECRET/binary>>},
                            {post_url, <<"https://a.example#", ?SECRET/binary>>}, {post_url, ?SECRET},
                            {proxy, <<"http://user:", ?SECRET/binary, "@proxy.example:3128">>}, {include_body, ?SECRET},
                            {include_body, #{text => ?SECRET}}]].

%% Of tomorrow's options nothing is known.
unknown_test() ->
    [?assertEqual(<<"(hidden)">>, shown(Option, Value))
     || {Option, Value} <- [{metrics_token, ?SECRET}, {no_such_option, <<>>}, {no_such_option, true}, {timeout, ?SECRET},
                            {queue_bytes, ?SECRET}, {format, {?SECRET}}, {auth_token, {?SECRET}}]].

urls_test() ->
    ?assertEqual([<<"https://a.example">>, <<"https://a.example/">>, <<"https://a.example:8443/(hidden)">>, <<"https://a.example/(hidden)">>,
                  <<"https://(hidden)@a.example/(hidden)">>, <<"http://[::1]:80/(hidden)">>],
                 [shown_url(Url) || Url <- [<<"https://a.example">>, <<"https://a.example/">>, <<"https://a.example:8443/x">>,
                                            <<"https://a.example?to={{to}}">>, <<"https://u:p@a.example/x@y">>, <<"http://[::1]:80/x">>]]).

values_test() ->
    ?assertEqual([<<"10 s">>, <<"1 s, 2 s, 10 min">>, <<"8 GiB">>, <<"text, call">>, <<"true">>, <<"1.1">>,
                  <<"X-A: (hidden), X-B: (hidden)">>, <<"default: true, text: a fixed text">>, <<"none">>, <<"none">>],
                 [shown(Option, Value)
                  || {Option, Value} <- [{timeout, 10000}, {retry_schedule, [1000, 2000, 600000]}, {queue_bytes, 8 bsl 30},
                                         {notify, [text, call]}, {spool, true}, {http_version, http1},
                                         {headers, [{<<"X-A">>, <<"1">>}, {<<"X-B">>, <<"2">>}]},
                                         {include_body, #{default => true, text => <<"x">>}}, {signing_secrets, []}, {proxy, none}]]),
    ?assertEqual(<<"100 messages, 100 ms, 1 MiB, array">>,
                 shown(batch, #{max_events => 100, max_delay => 100, max_bytes => 1 bsl 20, format => array})),
    ?assertEqual(<<"beyond drop, per_sender 20">>, shown(max_rate, #{per_sender => 20, beyond => drop})).

%% Each option that there is can be shown as its default, and only the token and the like are hidden.
defaults_test() ->
    Defaults = maps:from_list([Default || {_, _} = Default <- mod_offline_post_options:defaults()]),
    {Own, Unset} = options(Defaults#{post_url => <<"https://a.example/x">>, timeout => 1000}),
    ?assertEqual([{post_url, <<"https://a.example/(hidden)">>, <<>>}, {timeout, <<"1 s">>, <<"10 s">>}], Own),
    ?assertEqual(maps:size(Defaults) - 1, length(Unset)),
    ?assertEqual([], [Option || {Option, <<"(hidden)">>} <- Unset]).
