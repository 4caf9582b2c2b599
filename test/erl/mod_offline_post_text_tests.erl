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
             {<<"\e[31m", 127, 16#9b/utf8>>, <<"\e[31m", 127, 16#9b/utf8>>, <<?U, "[31m", ?U, ?U>>, <<?U, "[31m", ?U, ?U>>}]].
