-module(mod_offline_post_event_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

chat_with_a_body_test() ->
    ?assertEqual({ok, {{<<"anna">>, <<"a.example">>, <<>>}, {<<"bob">>, <<"b.example">>, <<"phone">>},
                       <<"m1">>, <<"Hello">>}},
                 event(message([text(<<"Hello">>)]))).

what_is_no_event_test_() ->
    [{Name, ?_assertEqual(ignore, event(Message))} ||
        {Name, Message} <-
            [{"no body", message([])},
             {"empty body", message([text(<<>>)])},
             {"empty in every language", message([text(<<"en">>, <<>>), text(<<"de">>, <<>>)])},
             {"no sender", (message([text(<<"x">>)]))#message{from = undefined}},
             {"no recipient", (message([text(<<"x">>)]))#message{to = undefined}}
             | [{atom_to_list(Type), (message([text(<<"x">>)]))#message{type = Type}} ||
                   Type <- [normal, groupchat, headline, error]]]].

language_test_() ->
    En = text(<<"en">>, <<"Hello">>),
    De = text(<<"de">>, <<"Hallo">>),
    None = text(<<"Salut">>),
    [{Name, ?_assertEqual(Expected, body(event((message(Bodies))#message{lang = Lang})))} ||
        {Name, Lang, Bodies, Expected} <-
            [{"the message's language", <<"de">>, [En, De], <<"Hallo">>},
             {"a variant of it", <<"DE-at">>, [En, De], <<"Hallo">>},
             {"another language: the first", <<"fr">>, [En, De], <<"Hello">>},
             {"no language: the first", <<>>, [De, En], <<"Hallo">>},
             {"inherited", <<"fr">>, [En, De, None], <<"Salut">>},
             {"explicit before inherited", <<"de">>, [None, De], <<"Hallo">>},
             {"an empty one does not count", <<"de">>, [text(<<"de">>, <<>>), En], <<"Hello">>},
             {"the only one", <<"de">>, [En], <<"Hello">>}]].

%% Addresses leave in prepared form, whatever way they were written.
addresses_test() ->
    From = jid(<<"Ünal+Co"/utf8>>, <<"B.Example">>, <<"Zug ä/1"/utf8>>),
    To = jid(<<"ANNA+x%">>, <<"A.example">>, <<>>),
    {ok, Event} = event((message([text(<<"x">>)]))#message{from = From, to = To}),
    ?assertMatch({{<<"anna+x%">>, <<"a.example">>, <<>>},
                  {<<"ünal+co"/utf8>>, <<"b.example">>, <<"Zug ä/1"/utf8>>}, _, _}, Event).

sender_without_a_user_or_resource_test() ->
    {ok, {_, From, _, _}} = event((message([text(<<"x">>)]))#message{from = jid(<<"b.example">>)}),
    ?assertEqual({<<>>, <<"b.example">>, <<>>}, From).

missing_id_test() ->
    ?assertMatch({ok, {_, _, <<>>, _}}, event((message([text(<<"x">>)]))#message{id = <<>>})).

large_body_test() ->
    Large = binary:copy(<<"ä"/utf8>>, 512 * 1024),
    ?assertEqual(Large, body(event(message([text(Large)])))).

every_text_is_taken_as_it_is_test_() ->
    [?_assertEqual(Text, body(event(message([text(Text)])))) ||
        Text <- [<<"&a=b&to=x">>, <<"1+1=2 100%">>, <<"a\nb\r\nc\t">>, <<"😀 👩‍👩‍👧"/utf8>>, <<" ">>]].

event(Message) ->
    mod_offline_post_event:from_message(Message).

body({ok, {_, _, _, Body}}) ->
    Body.

message(Bodies) ->
    #message{type = chat, id = <<"m1">>, body = Bodies,
             from = jid(<<"bob">>, <<"b.example">>, <<"phone">>),
             to = jid(<<"anna">>, <<"a.example">>)}.

jid(Server) ->
    jid(<<>>, Server, <<>>).

jid(User, Server) ->
    jid(User, Server, <<>>).

jid(User, Server, Resource) ->
    ok = stringprep:start(),
    jid:make(User, Server, Resource).

text(Text) ->
    #text{data = Text}.

text(Lang, Text) ->
    #text{lang = Lang, data = Text}.
