%% The text of a message: in which language, and without the parts that are only a fallback (XEP-0428).
-module(mod_offline_post_body_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

language_test_() ->
    En = text(<<"en">>, <<"Hello">>),
    De = text(<<"de">>, <<"Hallo">>),
    None = text(<<"Salut">>),
    [{Name, ?_assertEqual(Expected, mod_offline_post_body:text((message(Bodies))#message{lang = Lang}))} ||
        {Name, Lang, Bodies, Expected} <-
            [{"the message's language", <<"de">>, [En, De], <<"Hallo">>},
             {"a variant of it", <<"DE-at">>, [En, De], <<"Hallo">>},
             {"another language: the first", <<"fr">>, [En, De], <<"Hello">>},
             {"no language: the first", <<>>, [De, En], <<"Hallo">>},
             {"inherited", <<"fr">>, [En, De, None], <<"Salut">>},
             {"explicit before inherited", <<"de">>, [None, De], <<"Hallo">>},
             {"an empty one does not count", <<"de">>, [text(<<"de">>, <<>>), En], <<"Hello">>},
             {"a blank one does not count", <<"de">>, [text(<<"de">>, <<" \n">>), En], <<"Hello">>},
             {"all are blank", <<"de">>, [text(<<"de">>, <<" ">>), text(<<"\t">>)], <<>>},
             {"the only one", <<"de">>, [En], <<"Hello">>}]].

every_text_is_taken_as_it_is_test_() ->
    [?_assertEqual(Text, mod_offline_post_body:text(message([text(Text)]))) ||
        Text <- [<<"&a=b&to=x">>, <<"1+1=2 100%">>, <<"a\nb\r\nc\t">>, <<"😀 👩‍👩‍👧"/utf8>>, <<" ">>]].

blank_test_() ->
    [?_assertEqual({Text, Expected}, {Text, mod_offline_post_body:is_blank(Text)}) ||
        {Text, Expected} <- [{<<>>, true}, {<<" \t\n\v\f\r">>, true}, {<<16#85/utf8, 16#A0/utf8, 16#1680/utf8>>, true},
                             {<< <<C/utf8>> || C <- lists:seq(16#2000, 16#200A) ++ [16#2028, 16#2029, 16#202F, 16#205F, 16#3000] >>, true},
                             {<<" x ">>, false}, {<<"​"/utf8>>, false}, {<<16#FEFF/utf8>>, false}, {<<255>>, false},
                             {<<" ", 255>>, false}]].

%% Which part of the text the ranges leave.
ranges_test_() ->
    [{Name, ?_assertEqual(Expected, left(Text, Ranges))} ||
        {Name, Text, Ranges, Expected} <-
            [{"a quotation", <<"> nurse: shall we go?\nyes">>, [{"0", "22"}], <<"yes">>},
             {"in the middle", <<"abcdef">>, [{"2", "4"}], <<"abef">>},
             {"two", <<"abcdef">>, [{"0", "1"}, {"5", "6"}], <<"bcde">>},
             {"in any order", <<"abcdef">>, [{"5", "6"}, {"0", "1"}], <<"bcde">>},
             {"side by side", <<"abcdef">>, [{"1", "2"}, {"2", "3"}], <<"adef">>},
             {"that overlap", <<"abcdef">>, [{"1", "4"}, {"2", "5"}], <<"af">>},
             {"one in another", <<"abcdef">>, [{"1", "5"}, {"2", "3"}], <<"af">>},
             {"the same twice", <<"abcdef">>, [{"1", "3"}, {"1", "3"}], <<"adef">>},
             {"beyond the text", <<"abc">>, [{"1", "99"}], <<"a">>},
             {"far beyond the text", <<"abc">>, [{"1", "99999999999999999999"}], <<"a">>},
             {"behind the text", <<"abc">>, [{"7", "9"}], <<"abc">>},
             {"without an end", <<"abc">>, [{"1", none}], <<"a">>},
             {"without a start", <<"abc">>, [{none, "1"}], <<"bc">>},
             {"without both", <<"abc">>, [{none, none}], <<>>},
             {"all, and more", <<"abc">>, [{none, none}, {"1", "2"}], <<>>},
             {"of code points", <<"äö😀x"/utf8>>, [{"1", "3"}], <<"äx"/utf8>>},
             {"of code points that form one character", <<"👩‍👩x"/utf8>>, [{"1", "3"}], <<"👩x"/utf8>>},
             {"in bytes that are no UTF-8", <<255, "abc">>, [{"0", "2"}], <<"bc">>}]]
        ++ [{"what cannot be read marks nothing: " ++ Name, ?_assertEqual(not_marked, left(<<"abc">>, Ranges))} ||
               {Name, Ranges} <- [{"negative", [{"-1", "2"}]}, {"a negative end", [{"0", "-2"}]}, {"no numbers", [{"a", "b"}]},
                                  {"a fraction", [{"0.5", "2"}]}, {"empty", [{"", ""}]}, {"a line", [{"0\n", "2"}]},
                                  {"backwards", [{"2", "1"}]}, {"nothing", [{"2", "2"}]},
                                  {"digits of another script", [{unicode:characters_to_list(<<"１"/utf8>>), "2"}]}]]
        ++ [{"the good ones of several", ?_assertEqual(<<"bc">>, left(<<"abc">>, [{"-1", "2"}, {"0", "1"}, {"x", "2"}]))}].

elements_test_() ->
    {setup, fun() -> {ok, _} = application:ensure_all_started(xmpp) end,
     [{Name, ?_assertEqual(Expected, mod_offline_post_body:marked((message([text(<<"abc">>)]))#message{sub_els = Els}))} ||
         {Name, Els, Expected} <-
             [{"none", [], false},
              {"whatever it is for", [fallback(<<"urn:example:any">>, [body([])])], {true, <<>>}},
              {"without children", [fallback(<<"urn:xmpp:reply:0">>, [])], {true, <<>>}},
              {"with white space alone", [fallback(<<"urn:xmpp:reply:0">>, [{xmlcdata, <<"\n">>}])], {true, <<>>}},
              {"of a subject", [fallback(<<"urn:xmpp:reply:0">>, [#xmlel{name = <<"subject">>}])], false},
              {"of both", [fallback(<<"urn:xmpp:reply:0">>, [#xmlel{name = <<"subject">>}, body([{<<"end">>, <<"1">>}])])],
               {true, <<"bc">>}},
              {"several elements", [fallback(<<"a">>, [body([{<<"end">>, <<"1">>}])]), #chatstate{type = active},
                                    fallback(<<"b">>, [body([{<<"start">>, <<"2">>}])])], {true, <<"b">>}},
              {"another namespace", [#xmlel{name = <<"fallback">>, attrs = [{<<"xmlns">>, <<"urn:example:x">>}]}], false},
              {"encrypted", [#xmlel{name = <<"encryption">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:eme:0">>}]}], {true, <<>>}},
              {"encrypted and corrected", [#xmlel{name = <<"replace">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:message-correct:0">>}]},
                                           #xmlel{name = <<"openpgp">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:openpgp:0">>}]}],
               {true, <<>>}}]]}.

%% Without a body nothing of it is marked.
no_body_test() ->
    ?assertEqual(false, mod_offline_post_body:marked((message([]))#message{sub_els = [fallback(<<"a">>, [])]})).

%% As many as a stanza holds, and a number as long as one: no longer than for a text of that size. In CPU time, of which
%% others on the machine take none.
bounded_test_() ->
    Text = binary:copy(<<"ä"/utf8>>, 100000),
    [{Name, {timeout, 60, fun() ->
        {Before, _} = statistics(runtime),
        _ = left(Text, Ranges),
        {After, _} = statistics(runtime),
        ?assert(After - Before < 1000)
     end}} ||
        {Name, Ranges} <- [{"ranges that do not meet", [{integer_to_list(N), integer_to_list(N + 1)} || N <- lists:seq(0, 99999, 10)]},
                           {"ranges that overlap", [{integer_to_list(N), "99999"} || N <- lists:seq(1, 10000)]},
                           {"ranges behind the text", [{integer_to_list(N), "9999999"} || N <- lists:seq(1000000, 1010000)]},
                           {"a long number", [{"0", lists:duplicate(250000, $9)}]}]].

left(Text, Ranges) ->
    Els = [body([{Name, unicode:characters_to_binary(Value)} || {Name, Value} <- [{<<"start">>, Start}, {<<"end">>, End}], Value =/= none]) ||
              {Start, End} <- Ranges],
    case mod_offline_post_body:marked((message([text(Text)]))#message{sub_els = [fallback(<<"urn:xmpp:reply:0">>, Els)]}) of
        {true, Left} -> Left;
        false -> not_marked
    end.

fallback(For, Els) ->
    #xmlel{name = <<"fallback">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:fallback:0">>}, {<<"for">>, For}], children = Els}.

body(Attrs) ->
    #xmlel{name = <<"body">>, attrs = Attrs}.

message(Bodies) ->
    #message{type = chat, body = Bodies}.

text(Text) ->
    #text{data = Text}.

text(Lang, Text) ->
    #text{lang = Lang, data = Text}.
