-module(mod_offline_post_mention_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

text_test_() ->
    [{lists:flatten(io_lib:format("~ts in ~ts", [User, Text])),
      ?_assertEqual(Expected, is_mentioned(User, Text, []))} ||
        {User, Text, Expected} <-
            [{<<"juliet">>, <<"juliet">>, true},
             {<<"juliet">>, <<"Juliet: come here">>, true},
             {<<"juliet">>, <<"I said, @JULIET!">>, true},
             {<<"juliet">>, <<"(juliet)">>, true},
             {<<"juliet">>, <<"juliet's">>, true},
             {<<"juliet">>, <<"juliette">>, false},
             {<<"juliet">>, <<"ajuliet">>, false},
             {<<"juliet">>, <<"juliet_2">>, false},
             {<<"juliet">>, <<"juliet2 or juliet">>, true},
             {<<"juliet">>, <<>>, false},
             {<<"j.o'neil">>, <<"ask J.O'Neil, please">>, true},
             {<<"j.o">>, <<"jxo">>, false},
             {<<"a+b*">>, <<"a+b* is here">>, true},
             {<<"x\\ey">>, <<"x\\ey?">>, true},
             {<<"jürgen"/utf8>>, <<"JÜRGEN!"/utf8>>, true},
             {<<"rgen">>, <<"jürgen"/utf8>>, false},
             {<<"朱丽叶"/utf8>>, <<"@朱丽叶, 你好"/utf8>>, true},
             {<<>>, <<"anything">>, false}]].

reference_test_() ->
    {ok, _} = application:ensure_all_started(xmpp),
    [{Uri, ?_assertEqual(Expected, is_mentioned(<<"juliet">>, <<"you">>, [reference(Type, list_to_binary(Uri))]))} ||
        {Type, Uri, Expected} <-
            [{<<"mention">>, "xmpp:juliet@a.example", true},
             {<<"mention">>, "xmpp:Juliet@A.example/balcony", true},
             {<<"mention">>, "xmpp:%6Auliet@a.example?message", true},
             {<<"mention">>, "xmpp:romeo@a.example", false},
             {<<"mention">>, "xmpp:juliet@b.example", false},
             {<<"mention">>, "https://a.example/juliet@a.example", false},
             {<<"mention">>, "xmpp:%zz@a.example", false},
             {<<"mention">>, "xmpp:%", false},
             {<<"data">>, "xmpp:juliet@a.example", false}]]
        ++ [{"other elements", ?_assertNot(is_mentioned(<<"juliet">>, <<"you">>,
                                                        [#delay{stamp = erlang:timestamp()},
                                                         #xmlel{name = <<"reference">>}]))}].

%% What is marked as a fallback is not the author's, nor is the body of an encrypted message.
fallback_test_() ->
    {ok, _} = application:ensure_all_started(xmpp),
    Text = <<"> nurse: shall we go?\nyes, juliet">>,
    [?_assertEqual({Els, Expected}, {Els, [is_mentioned(User, Text, Els) || User <- [<<"nurse">>, <<"juliet">>]]}) ||
        {Els, Expected} <-
            [{[], [true, true]},
             {[fallback([{<<"start">>, <<"0">>}, {<<"end">>, <<"22">>}])], [false, true]},
             {[fallback([])], [false, false]},
             {[#xmlel{name = <<"openpgp">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:openpgp:0">>}]}], [false, false]},
             {[fallback([]), reference(<<"mention">>, <<"xmpp:nurse@a.example">>)], [true, false]}]].

%% A look-up for each member, however many references there are.
many_references_test() ->
    {ok, _} = application:ensure_all_started(xmpp),
    References = [reference(<<"mention">>, <<"xmpp:user", (integer_to_binary(N))/binary, "@a.example">>) || N <- lists:seq(1, 3000)],
    Prepared = mod_offline_post_mention:prepare(#message{type = groupchat, body = [#text{data = <<"all">>}], sub_els = References}),
    {_, Before} = process_info(self(), reductions),
    [?assertEqual(N =< 3000, mod_offline_post_mention:is_mentioned({<<"user", (integer_to_binary(N))/binary>>, <<"a.example">>, <<>>},
                                                                   Prepared)) || N <- lists:seq(1, 6000)],
    {_, After} = process_info(self(), reductions),
    ?assert((After - Before) / 6000 < 200).

fallback(Range) ->
    #xmlel{name = <<"fallback">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:fallback:0">>}, {<<"for">>, <<"urn:xmpp:reply:0">>}],
           children = [#xmlel{name = <<"body">>, attrs = Range}]}.

is_mentioned(User, Text, Els) ->
    Message = #message{type = groupchat, body = [#text{data = Text}], sub_els = Els},
    mod_offline_post_mention:is_mentioned({User, <<"a.example">>, <<>>}, mod_offline_post_mention:prepare(Message)).

reference(Type, Uri) ->
    #xmlel{name = <<"reference">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:reference:0">>}, {<<"type">>, Type},
                                            {<<"uri">>, Uri}]}.
