%% What others have made is a text, and nothing that a terminal would obey.
-module(mod_offline_post_text_tests).

-include_lib("eunit/include/eunit.hrl").

-define(U, 16#FFFD/utf8).

texts_test_() ->
    [?_assertEqual({Bytes, Characters, Shown, InLine},
                   {Bytes, unicode:characters_to_binary(mod_offline_post_text:characters(Bytes)),
                    mod_offline_post_text:shown(Bytes), mod_offline_post_text:in_line(Bytes)}) ||
        {Bytes, Characters, Shown, InLine} <-
            [{<<>>, <<>>, <<>>, <<>>},
             {<<"ä😀"/utf8>>, <<"ä😀"/utf8>>, <<"ä😀"/utf8>>, <<"ä😀"/utf8>>},
             {<<"a", 255, 254, "b">>, <<"a", ?U, ?U, "b">>, <<"a", ?U, ?U, "b">>, <<"a", ?U, ?U, "b">>},
             {<<"a", 226, 130>>, <<"a", ?U, ?U>>, <<"a", ?U, ?U>>, <<"a", ?U, ?U>>},
             {<<"a\n\tb">>, <<"a\n\tb">>, <<"a\n\tb">>, <<"a", ?U, ?U, "b">>},
             {<<"\e[31m", 127, 16#9b/utf8>>, <<"\e[31m", 127, 16#9b/utf8>>, <<?U, "[31m", ?U, ?U>>, <<?U, "[31m", ?U, ?U>>},
             {<<16#FFFE/utf8, 16#FFFD/utf8, 16#FFFF/utf8>>, <<16#FFFE/utf8, ?U, 16#FFFF/utf8>>, <<?U, ?U, ?U>>, <<?U, ?U, ?U>>}]].

%% The production Char, at its borders; what is no UTF-8, a surrogate too; and what is clean stays the same binary.
xml_test_() ->
    [?_assertEqual({Bytes, Xml}, {Bytes, mod_offline_post_text:xml(Bytes)}) ||
        {Bytes, Xml} <- [{<<>>, <<>>}, {<<"a<b/>&amp;\t\n\r">>, <<"a<b/>&amp;\t\n\r">>}, {<<0, 1, 8, "a">>, <<?U, ?U, ?U, "a">>},
                         {<<11, 12, 14, 31, 32, 127>>, <<?U, ?U, ?U, ?U, 32, 127>>},
                         {<<16#85/utf8, 16#D7FF/utf8, 16#E000/utf8, 16#FFFD/utf8, 16#10000/utf8, 16#1FFFE/utf8, 16#10FFFF/utf8>>,
                          <<16#85/utf8, 16#D7FF/utf8, 16#E000/utf8, 16#FFFD/utf8, 16#10000/utf8, 16#1FFFE/utf8, 16#10FFFF/utf8>>},
                         {<<"a", 16#FFFE/utf8, "b", 16#FFFF/utf8, "c">>, <<"a", ?U, "b", ?U, "c">>},
                         {<<16#ED, 16#A0, 16#80, "a">>, <<?U, ?U, ?U, "a">>},
                         {<<255, 16#C0, 16#80, "ä"/utf8, 16#E2, 16#82>>, <<?U, ?U, ?U, "ä"/utf8, ?U, ?U>>}]].
