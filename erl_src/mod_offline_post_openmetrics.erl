%% Figures as the text that Prometheus reads: its own format 0.0.4, or OpenMetrics 1.0. Pure.
-module(mod_offline_post_openmetrics).

-export([page/2, negotiate/1, content_type/1]).
-export_type([format/0, family/0, sample/0, labels/0, value/0]).

-type format() :: openmetrics | text.
%% Name: without _total or _info, but with the unit, if it has one. Those without a sample are left out.
-type family() :: {Name :: binary(), counter | gauge | histogram | info, Unit :: binary(), Help :: binary(), [sample()]}.
-type sample() :: {labels(), value()}.
-type labels() :: [{Name :: binary(), Value :: binary()}].
%% {Number, Digits}: Number / 10^Digits. A histogram's counts are one longer than its bounds, and not cumulative.
-type value() :: integer()
               | decimal()
               | {histogram, Bounds :: [decimal()], Counts :: [non_neg_integer()], Sum :: decimal()}.
-type decimal() :: {Number :: non_neg_integer(), Digits :: non_neg_integer()}.

-spec page(format(), [family()]) -> iolist().
page(Format, Families) ->
    [[family(Format, Family) || {_, _, _, _, [_ | _]} = Family <- Families], ending(Format)].

%% Which one the header Accept asks for: OpenMetrics only if it is named, and not liked less than plain text.
-spec negotiate(Accept :: binary()) -> format().
negotiate(Accept) ->
    Ranges = [range(Range) || Range <- binary:split(Accept, <<",">>, [global])],
    Liking = fun(Is) -> lists:max([0 | [quality(Params) || {Type, Params} <- Ranges, Is(Type, Params)]]) end,
    OpenMetrics = Liking(fun(Type, Params) ->
                                 Type =:= <<"application/openmetrics-text">> andalso
                                     lists:member(proplists:get_value(<<"version">>, Params, <<"1.0.0">>),
                                                  [<<"1.0.0">>, <<"\"1.0.0\"">>])
                         end),
    case OpenMetrics > 0 andalso OpenMetrics >= Liking(fun(Type, _) -> Type =:= <<"text/plain">> end) of
        true -> openmetrics;
        false -> text
    end.

-spec content_type(format()) -> binary().
content_type(openmetrics) -> <<"application/openmetrics-text; version=1.0.0; charset=utf-8">>;
content_type(text) -> <<"text/plain; version=0.0.4; charset=utf-8">>.

%%% The header

-spec range(binary()) -> {Type :: binary(), [{Name :: binary(), Value :: binary()}]}.
range(Range) ->
    [Type | Params] = [string:trim(Part) || Part <- binary:split(lower(Range), <<";">>, [global])],
    {Type, [{string:trim(Name), string:trim(Value)} || Param <- Params, [Name, Value] <- [binary:split(Param, <<"=">>)]]}.

%% A header's bytes can be anything.
-spec lower(binary()) -> binary().
lower(Bytes) ->
    << <<(case Byte of _ when Byte >= $A, Byte =< $Z -> Byte + 32; _ -> Byte end)>> || <<Byte>> <= Bytes, Byte < 128 >>.

%% In thousandths (RFC 9110, section 12.4.2); what is none counts as refused.
-spec quality([{binary(), binary()}]) -> 0..1000.
quality(Params) ->
    Q = proplists:get_value(<<"q">>, Params, <<"1">>),
    case re:run(Q, "^(0(\\.[0-9]{0,3})?|1(\\.0{0,3})?)$", [{capture, none}, dollar_endonly]) of
        match ->
            <<Whole, Rest/binary>> = Q,
            Fraction = binary:part(<<(binary:replace(Rest, <<".">>, <<>>))/binary, "000">>, 0, 3),
            binary_to_integer(<<Whole, Fraction/binary>>);
        nomatch ->
            0
    end.

%%% Families

-spec family(format(), family()) -> iolist().
family(Format, {Name, Type, Unit, Help, Samples}) ->
    Described = described(Format, Name, Type),
    [["# HELP ", Described, " ", escape(Format, Help), "\n"],
     ["# TYPE ", Described, " ", type(Format, Type), "\n"],
     [["# UNIT ", Described, " ", Unit, "\n"] || Format =:= openmetrics, Unit =/= <<>>],
     [sample(Name, Type, Labels, Value) || {Labels, Value} <- Samples]].

%% What the first lines are about: in the older format, which knows no families, the sample.
-spec described(format(), binary(), atom()) -> iolist().
described(text, Name, counter) -> [Name, "_total"];
described(text, Name, info) -> [Name, "_info"];
described(_, Name, _) -> Name.

-spec type(format(), atom()) -> string().
type(text, info) -> "gauge";
type(_, Type) -> atom_to_list(Type).

-spec sample(binary(), atom(), labels(), value()) -> iolist().
sample(Name, counter, Labels, Value) -> line([Name, "_total"], Labels, Value);
sample(Name, info, Labels, Value) -> line([Name, "_info"], Labels, Value);
sample(Name, gauge, Labels, Value) -> line(Name, Labels, Value);
sample(Name, histogram, Labels, {histogram, Bounds, Counts, Sum}) ->
    Cumulated = cumulated(Counts, 0),
    [[line([Name, "_bucket"], Labels ++ [{<<"le">>, Le}], Count) ||
         {Le, Count} <- lists:zip([number(Bound) || Bound <- Bounds] ++ [<<"+Inf">>], Cumulated)],
     line([Name, "_sum"], Labels, Sum),
     line([Name, "_count"], Labels, lists:last(Cumulated))].

-spec cumulated([non_neg_integer()], non_neg_integer()) -> [non_neg_integer()].
cumulated([Count | Counts], Below) -> [Below + Count | cumulated(Counts, Below + Count)];
cumulated([], _) -> [].

-spec line(iolist() | binary(), labels(), integer() | decimal()) -> iolist().
line(Name, [], Value) ->
    [Name, " ", number(Value), "\n"];
line(Name, Labels, Value) ->
    [Name, "{", lists:join(",", [[Label, "=\"", escape(quoted, Of), "\""] || {Label, Of} <- Labels]), "} ", number(Value),
     "\n"].

-spec ending(format()) -> string().
ending(openmetrics) -> "# EOF\n";
ending(text) -> "".

%% Whatever bytes they are: no line and no quotes end in them, and what comes of them is UTF-8.
-spec escape(format() | quoted, binary()) -> binary().
escape(Where, Text) ->
    case is_plain(Text) of
        true -> Text;
        false -> escaped(Where, Text)
    end.

%% Nearly all are, and a page has ten thousands of them.
-spec is_plain(binary()) -> boolean().
is_plain(<<Byte, Rest/binary>>) when Byte >= $\s, Byte < 127, Byte =/= $\\, Byte =/= $" -> is_plain(Rest);
is_plain(Text) -> Text =:= <<>>.

-spec escaped(format() | quoted, binary()) -> binary().
escaped(Where, Text) ->
    << <<(case Char of
              $\\ -> <<"\\\\">>;
              $\n -> <<"\\n">>;
              $" when Where =/= text -> <<"\\\"">>;
              _ -> <<Char/utf8>>
          end)/binary>> || Char <- mod_offline_post_text:characters(Text) >>.

%% As Go writes the shortest text of a float, so that a bucket has the same name whoever writes it; from the integer,
%% without a float's error.
-spec number(integer() | decimal()) -> binary().
number(Whole) when is_integer(Whole) ->
    integer_to_binary(Whole);
number({0, _}) ->
    <<"0.0">>;
number({Number, Digits}) when Number rem 10 =:= 0 ->
    number({Number div 10, Digits - 1});
number({Number, Digits}) ->
    Text = integer_to_binary(Number),
    case byte_size(Text) - 1 - Digits of
        Exponent when Exponent < -4; Exponent >= 6 -> scientific(Text, Exponent);
        _ when Digits =< 0 -> <<Text/binary, (binary:copy(<<"0">>, -Digits))/binary, ".0">>;
        _ -> pointed(Text, Digits)
    end.

-spec scientific(binary(), integer()) -> binary().
scientific(<<First, Rest/binary>>, Exponent) ->
    Point = case Rest of <<>> -> ""; _ -> "." end,
    iolist_to_binary([First, Point, Rest, io_lib:format("e~ts~2..0B", [[case Exponent < 0 of true -> $-; false -> $+ end],
                                                                     abs(Exponent)])]).

-spec pointed(binary(), pos_integer()) -> binary().
pointed(Text, Digits) when byte_size(Text) =< Digits ->
    pointed(<<(binary:copy(<<"0">>, Digits + 1 - byte_size(Text)))/binary, Text/binary>>, Digits);
pointed(Text, Digits) ->
    {Whole, Fraction} = split_binary(Text, byte_size(Text) - Digits),
    <<Whole/binary, ".", Fraction/binary>>.
