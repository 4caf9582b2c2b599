%% Bytes of somebody else's making as a text that can be shown, or written as XML: what is no UTF-8, would steer a
%% terminal, or may not stand in XML, becomes U+FFFD. Pure.
-module(mod_offline_post_text).

-export([characters/1, shown/1, in_line/1, xml/1]).

%% The production Char of XML 1.0, section 2.2. UTF-8 has no surrogates.
-define(IS_XML(Char), (Char >= 16#20 andalso Char =/= 16#FFFE andalso Char =/= 16#FFFF
                       orelse Char =:= $\t orelse Char =:= $\n orelse Char =:= $\r)).

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
printable(Char) when Char < 32; Char >= 127, Char < 160; Char =:= 16#FFFE; Char =:= 16#FFFF -> 16#FFFD;
printable(Char) -> Char.

%% What may stand in XML, or is XML: it parses, whatever was in it. Other characters may not stand there even escaped.
-spec xml(binary()) -> binary().
xml(Bytes) ->
    case is_xml(Bytes) of
        true -> Bytes;
        false -> xml(Bytes, <<>>)
    end.

-spec is_xml(binary()) -> boolean().
is_xml(<<Char, Rest/binary>>) when Char >= 16#20, Char < 16#80 -> is_xml(Rest);
is_xml(<<Char/utf8, Rest/binary>>) when ?IS_XML(Char) -> is_xml(Rest);
is_xml(Rest) -> Rest =:= <<>>.

-spec xml(binary(), binary()) -> binary().
xml(<<Char/utf8, Rest/binary>>, Xml) when ?IS_XML(Char) -> xml(Rest, <<Xml/binary, Char/utf8>>);
xml(<<_/utf8, Rest/binary>>, Xml) -> xml(Rest, <<Xml/binary, 16#FFFD/utf8>>);
xml(<<_, Rest/binary>>, Xml) -> xml(Rest, <<Xml/binary, 16#FFFD/utf8>>);
xml(<<>>, Xml) -> Xml.
