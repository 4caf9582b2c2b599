%% The pieces that pages are made of. Escaped by construction: what is no element is text, and ejabberd's XML library
%% writes it. What others have sent (addresses, answers, reasons) is also kept from steering the line it stands in.
-module(mod_offline_post_web_html).

-export([el/2, el/3, text/1, foreign/1, preformatted/1, anchor/2, table/3, heading/2, tag/2]).
-export([form/3, button/3, hidden/2, url/2]).
-export([number/1, bytes/1, duration/1, milliseconds/1, age/2, time/2]).
-export_type([html/0, element/0]).

-include("xmpp.hrl").

-type element() :: fxml:xmlel().
-type html() :: element() | {xmlcdata, binary()}.
-type attributes() :: [{binary(), binary()}].

%% HTML's elements without content. Others must not be written as <td/>: a browser takes that for the beginning of one.
-define(VOID, [<<"br">>, <<"input">>, <<"link">>, <<"meta">>]).

-spec el(binary(), [html()]) -> element().
el(Name, Children) -> el(Name, [], Children).

-spec el(binary(), attributes(), [html()]) -> element().
el(Name, Attributes, Children) ->
    #xmlel{name = Name, attrs = [{Key, mod_offline_post_text:xml(Value)} || {Key, Value} <- Attributes],
           children = content(Name, Children)}.

-spec content(binary(), [html()]) -> [html()].
content(Name, []) ->
    case lists:member(Name, ?VOID) of
        true -> [];
        false -> [{xmlcdata, <<>>}]
    end;
content(_Name, Children) ->
    Children.

%% In one line: what steers a terminal or breaks a line is shown as U+FFFD.
-spec text(unicode:chardata()) -> html().
text(Text) -> {xmlcdata, mod_offline_post_text:in_line(binary(Text))}.

%% Of somebody else's making: letters that change the direction of writing end with it.
-spec foreign(unicode:chardata()) -> element().
foreign(Text) -> el(<<"bdi">>, [text(Text)]).

%% With its line ends.
-spec preformatted(binary()) -> element().
preformatted(Bytes) ->
    %% Focusable, because it can be scrolled; HTML drops the first line end.
    el(<<"pre">>, [{<<"tabindex">>, <<"0">>}, {<<"dir">>, <<"auto">>}],
       [{xmlcdata, <<"\n", (mod_offline_post_text:shown(Bytes))/binary>>}]).

%% What is no text is cut there; a binary can be any bytes.
-spec binary(unicode:chardata()) -> binary().
binary(Bytes) when is_binary(Bytes) ->
    Bytes;
binary(Chars) ->
    case unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        {_, Text, _} -> <<Text/binary, 16#FFFD/utf8>>
    end.

-spec anchor(Href :: binary(), [html()]) -> element().
anchor(Href, Children) -> el(<<"a">>, [{<<"href">>, Href}], Children).

-spec heading(1..4, unicode:chardata()) -> element().
heading(Level, Text) -> el(<<"h", (integer_to_binary(Level))/binary>>, [text(Text)]).

%% A word with its class, for one look.
-spec tag(Class :: binary(), unicode:chardata()) -> element().
tag(Class, Text) -> el(<<"span">>, [{<<"class">>, Class}], [text(Text)]).

%% In a box of its own, which scrolls where the page is too narrow; by the keyboard, too.
-spec table(Label :: unicode:chardata(), [unicode:chardata()], [[[html()]]]) -> element().
table(Label, Heads, Rows) ->
    Row = fun(Cell, Cells) -> el(<<"tr">>, [Cell(Content) || Content <- Cells]) end,
    Head = fun(Text) -> el(<<"th">>, [{<<"scope">>, <<"col">>}], [text(Text)]) end,
    el(<<"div">>, [{<<"class">>, <<"op-scroll">>}, {<<"role">>, <<"region">>}, {<<"tabindex">>, <<"0">>},
                   {<<"aria-label">>, binary(Label)}],
       [el(<<"table">>,
           [el(<<"thead">>, [Row(Head, Heads)]),
            el(<<"tbody">>, [Row(fun(Content) -> el(<<"td">>, Content) end, Cells) || Cells <- Rows])])]).

%% Action: with the closing slash; ejabberd redirects what has none, and a POST is lost by that.
-spec form(Action :: binary(), Token :: binary(), [html()]) -> element().
form(Action, Token, Children) ->
    el(<<"form">>, [{<<"method">>, <<"post">>}, {<<"action">>, Action}, {<<"class">>, <<"op-form">>}],
       [hidden(<<"token">>, Token) | Children]).

%% Pressed, it sends do=Do.
-spec button(Do :: binary(), Class :: binary(), unicode:chardata()) -> element().
button(Do, Class, Label) ->
    el(<<"button">>, [{<<"type">>, <<"submit">>}, {<<"name">>, <<"do">>}, {<<"value">>, Do}, {<<"class">>, Class}],
       [text(Label)]).

-spec hidden(binary(), binary()) -> element().
hidden(Name, Value) ->
    el(<<"input">>, [{<<"type">>, <<"hidden">>}, {<<"name">>, Name}, {<<"value">>, Value}], []).

%% With a query that ends in a slash, for ejabberd looks at the last byte of all.
-spec url(Path :: binary(), [{Name :: binary(), Value :: binary()}]) -> binary().
url(Path, Query) ->
    Pairs = [[Name, $=, uri_string:quote(Value), $&] || {Name, Value} <- Query, Value =/= <<>>],
    iolist_to_binary([Path, [[$?, Pairs, "go=/"] || Pairs =/= []]]).

%%% Values

%% With narrow no-break spaces between thousands.
-spec number(integer()) -> binary().
number(N) when N < 0 -> <<"-", (number(-N))/binary>>;
number(N) when N < 1000 -> integer_to_binary(N);
number(N) ->
    Rest = string:pad(integer_to_list(N rem 1000), 3, leading, $0),
    unicode:characters_to_binary([number(N div 1000), 16#202F, Rest]).

-spec bytes(non_neg_integer()) -> binary().
bytes(N) -> scaled(N, 1, [{<<"GiB">>, 1 bsl 30}, {<<"MiB">>, 1 bsl 20}, {<<"KiB">>, 1 bsl 10}], <<"bytes">>).

%% Of ms, as the configuration would have it.
-spec duration(Ms :: non_neg_integer()) -> binary().
duration(Ms) ->
    Units = [{<<"days">>, 24 * 3600000}, {<<"h">>, 3600000}, {<<"min">>, 60000}, {<<"s">>, 1000}, {<<"ms">>, 1}],
    case [{Unit, Ms div Size} || {Unit, Size} <- Units, Ms >= Size, Ms rem Size =:= 0] of
        [{<<"days">>, 1} | _] -> <<"1 day">>;
        [{Unit, N} | _] -> <<(integer_to_binary(N))/binary, " ", Unit/binary>>;
        [] -> <<"0">>
    end.

%% Of us, as one reads a stopwatch.
-spec milliseconds(Us :: number()) -> binary().
milliseconds(Us) -> scaled(Us, 1000, [{<<"s">>, 1000000}], <<"ms">>).

-spec scaled(number(), pos_integer(), [{binary(), pos_integer()}], binary()) -> binary().
scaled(N, _, [{Unit, Size} | _], _) when N >= Size -> <<(short(N / Size))/binary, " ", Unit/binary>>;
scaled(N, Least, [_ | Units], Smallest) -> scaled(N, Least, Units, Smallest);
scaled(N, Least, [], Smallest) -> <<(short(N / Least))/binary, " ", Smallest/binary>>.

-spec short(float()) -> binary().
short(N) ->
    case round(N * 10) of
        Tenths when Tenths >= 100; Tenths rem 10 =:= 0 -> number(round(N));
        Tenths -> float_to_binary(Tenths / 10, [{decimals, 1}])
    end.

%% How long ago, both Unix ms.
-spec age(integer(), integer()) -> binary().
age(Now, Then) ->
    case max(0, Now - Then) div 1000 of
        S when S < 120 -> <<(integer_to_binary(S))/binary, " s">>;
        S when S < 120 * 60 -> <<(integer_to_binary(S div 60))/binary, " min">>;
        S when S < 48 * 3600 -> <<(integer_to_binary(S div 3600))/binary, " h">>;
        S -> <<(number(S div (24 * 3600)))/binary, " days">>
    end.

%% As the server's clock and its log have it, both Unix ms; without the day where that is today.
-spec time(Now :: integer(), integer()) -> element().
time(Now, UnixMs) ->
    Local = fun(Ms) -> calendar:system_time_to_local_time(Ms, millisecond) end,
    {Day, {Hour, Minute, Second}} = Local(UnixMs),
    Clock = io_lib:format("~2..0B:~2..0B:~2..0B", [Hour, Minute, Second]),
    Text = case {Local(Now), Day} of
               {{Day, _}, _} -> Clock;
               {_, {Year, Month, D}} -> io_lib:format("~4..0B-~2..0B-~2..0B ~ts", [Year, Month, D, Clock])
           end,
    Machine = calendar:system_time_to_rfc3339(UnixMs div 1000, [{offset, "Z"}]),
    el(<<"time">>, [{<<"datetime">>, list_to_binary(Machine)}], [text(Text)]).
