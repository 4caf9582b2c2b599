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

is_mentioned(User, Text, Els) ->
    Message = #message{type = groupchat, body = [#text{data = Text}], sub_els = Els},
    mod_offline_post_mention:is_mentioned({User, <<"a.example">>, <<>>}, mod_offline_post_mention:prepare(Message)).

reference(Type, Uri) ->
    #xmlel{name = <<"reference">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:reference:0">>}, {<<"type">>, Type},
                                            {<<"uri">>, Uri}]}.
