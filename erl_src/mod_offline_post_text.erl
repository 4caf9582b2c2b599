%% Bytes of somebody else's making as a text that can be shown: what is no UTF-8, or would steer a terminal, becomes
%% U+FFFD. Pure.
-module(mod_offline_post_text).

-export([characters/1, shown/1, in_line/1]).

%% What is no UTF-8 is replaced, and nothing else.
-spec characters(binary()) -> [char()].
characters(Bytes) ->
    case unicode:characters_to_list(Bytes) of
        Chars when is_list(Chars) -> Chars;
        {_, Chars, <<_, Rest/binary>>} -> Chars ++ [16#FFFD | characters(Rest)]
    end.

%% With its line ends and tabs.
-spec shown(binary()) -> binary().
shown(Bytes) ->
    << <<(printable(Char))/utf8>> || Char <- characters(Bytes) >>.

%% Nor does it look like another line.
-spec in_line(binary()) -> binary().
in_line(Bytes) ->
    << <<(case Char of $\n -> 16#FFFD; $\t -> 16#FFFD; _ -> Char end)/utf8>> || <<Char/utf8>> <= shown(Bytes) >>.

-spec printable(char()) -> char().
printable(Char) when Char =:= $\n; Char =:= $\t -> Char;
printable(Char) when Char < 32; Char >= 127, Char < 160 -> 16#FFFD;
printable(Char) -> Char.
