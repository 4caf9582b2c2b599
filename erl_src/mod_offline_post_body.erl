%% The text of a message: which of its bodies, and which part of that the author has written. Parts that are only there
%% for clients that lack a feature are marked (XEP-0428), such as the quotation in a reply. Pure.
-module(mod_offline_post_body).

-export([text/1, in_language/2, unmarked/1, marked/1, authored/1, is_blank/1]).

-include("xmpp.hrl").

%% In code points (XEP-0426); the first one that is marked, and the first one behind it.
-type range() :: {Start :: non_neg_integer(), End :: pos_integer() | infinity}.

-define(NS_FALLBACK, <<"urn:xmpp:fallback:0">>).

%% The text in the message's language, else the first one (RFC 6121, section 5.2.3: one body per language); <<>>: none.
-spec text(message()) -> binary().
text(#message{body = Bodies, lang = Lang}) ->
    in_language(Bodies, Lang).

%% Of several texts one that is not blank.
-spec in_language([#text{}], Lang :: binary()) -> binary().
in_language([], _Lang) ->
    <<>>;
in_language([#text{data = Text}], _Lang) ->
    Text;
in_language(Texts, Lang) ->
    case [{primary(L), Text} || #text{lang = L, data = Text} <- Texts, not is_blank(Text)] of
        [] ->
            <<>>;
        [{_, First} | _] = InLanguages ->
            %% A text without a language of its own inherits the message's (XML 1.0, section 2.12).
            Inherited = proplists:get_value(<<>>, InLanguages, First),
            proplists:get_value(primary(Lang), InLanguages, Inherited)
    end.

%% As xmpp:get_text/2 compares languages: "en-GB" answers "EN".
-spec primary(binary()) -> binary().
primary(Lang) ->
    [Primary | _] = binary:split(Lang, <<"-">>),
    string:lowercase(Primary).

%% Whether there is nothing but white space (Unicode's property White_Space).
-spec is_blank(binary()) -> boolean().
is_blank(<<>>) -> true;
is_blank(<<C/utf8, Rest/binary>>) when C =:= 16#20; C >= 16#9, C =< 16#D; C =:= 16#85; C =:= 16#A0; C =:= 16#1680;
                                       C >= 16#2000, C =< 16#200A; C =:= 16#2028; C =:= 16#2029; C =:= 16#202F;
                                       C =:= 16#205F; C =:= 16#3000 ->
    is_blank(Rest);
is_blank(_) -> false.

%%% What the author has written

%% The text without what is marked. A client writes the body of an encrypted message by itself: no part of it is the
%% author's.
-spec authored(message()) -> binary().
authored(Message) ->
    case marked(Message) of
        {true, Authored} -> Authored;
        false -> text(Message)
    end.

%% false: all of the text is the author's, or there is none.
-spec marked(message()) -> {true, Authored :: binary()} | false.
marked(#message{sub_els = Els, body = Bodies}) when Els =:= []; Bodies =:= [] ->
    false;
marked(#message{sub_els = Els} = Message) ->
    case mod_offline_post_kind:is_encrypted(Message) of
        true -> {true, <<>>};
        false ->
            case ranges(Els) of
                [] -> false;
                Ranges -> {true, without(Ranges, text(Message))}
            end
    end.

%% The same of a message that is not encrypted.
-spec unmarked(message()) -> binary().
unmarked(#message{sub_els = Els} = Message) ->
    without(ranges(Els), text(Message)).

-spec without([range()], binary()) -> binary().
without([], Text) -> Text;
without(Ranges, Text) -> iolist_to_binary(outside(lists:sort(Ranges), 0, Text)).

%% Position: of Text in the whole text. Ranges may overlap, and end behind the text.
-spec outside([range()], Position :: non_neg_integer(), binary()) -> iolist().
outside([], _Position, Text) ->
    [Text];
outside([{_, End} | Ranges], Position, Text) when End =< Position ->
    outside(Ranges, Position, Text);
outside([{Start, End} | Ranges], Position, Text) ->
    First = max(Start, Position),
    Marked = skip(First - Position, Text),
    Kept = binary:part(Text, 0, byte_size(Text) - byte_size(Marked)),
    case End of
        infinity -> [Kept];
        _ -> [Kept | outside(Ranges, End, skip(End - First, Marked))]
    end.

%% Bytes that are no UTF-8 count as one character each.
-spec skip(non_neg_integer(), binary()) -> binary().
skip(0, Text) -> Text;
skip(N, <<_/utf8, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<_, Rest/binary>>) -> skip(N - 1, Rest);
skip(_, <<>>) -> <<>>.

%% Of the body, whatever feature they are for. A range that cannot be read marks nothing: too much text harms nobody.
-spec ranges([xmpp_element() | fxml:xmlel()]) -> [range()].
ranges([#xmlel{name = <<"fallback">>, attrs = Attrs, children = Children} | Els]) ->
    case lists:keyfind(<<"xmlns">>, 1, Attrs) of
        {_, ?NS_FALLBACK} -> of_body([Child || #xmlel{} = Child <- Children]) ++ ranges(Els);
        _ -> ranges(Els)
    end;
ranges([#xmlel{} | Els]) ->
    ranges(Els);
ranges([El | Els]) ->
    %% Some releases' XMPP library knows this element.
    case xmpp:get_ns(El) of
        ?NS_FALLBACK -> ranges([xmpp:encode(El) | Els]);
        _ -> ranges(Els)
    end;
ranges([]) ->
    [].

%% Without any the whole body and the whole subject are marked.
-spec of_body([fxml:xmlel()]) -> [range()].
of_body([]) -> [{0, infinity}];
of_body(Els) -> lists:append([range(Attrs) || #xmlel{name = <<"body">>, attrs = Attrs} <- Els]).

-spec range([{binary(), binary()}]) -> [range()].
range(Attrs) ->
    case {position(<<"start">>, Attrs, 0), position(<<"end">>, Attrs, infinity)} of
        {Start, End} when is_integer(Start), Start < End, End =/= error -> [{Start, End}];
        _ -> []
    end.

-spec position(binary(), [{binary(), binary()}], Default) -> non_neg_integer() | error | Default.
position(Name, Attrs, Default) ->
    case lists:keyfind(Name, 1, Attrs) of
        {_, Digits} -> number(Digits);
        false -> Default
    end.

%% No text is as long as a number of ten digits, and a number of 200,000 takes its time.
-spec number(binary()) -> non_neg_integer() | error.
number(Digits) ->
    case re:run(Digits, "^[0-9]+$", [{capture, none}, dollar_endonly]) of
        match when byte_size(Digits) < 10 -> binary_to_integer(Digits);
        match -> 1000000000;
        nomatch -> error
    end.
