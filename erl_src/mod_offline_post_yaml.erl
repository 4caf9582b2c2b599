%% From what ejabberd's YAML reader makes of fields, headers and secrets to what the native library compiles. The reader
%% keeps a map's order as a list of pairs; makes an atom of whatever has no double quotes, each byte of its UTF-8 a
%% character; and has the same empty list for an empty map and an empty list.
-module(mod_offline_post_yaml).

-export([fields/1, headers/1, secrets/1, check/2]).

%% The native library takes no more.
-define(DEEPEST, 32).

%% A map in its order; values are templates, literals, or lists and maps of these.
-spec fields(term()) -> mod_offline_post_nif:fields().
fields([{[_ | _], _} | _]) ->
    unquoted();
fields(Yaml) ->
    check(fields, map(Yaml, 1)).

-spec headers(term()) -> [{Name :: binary(), Template :: binary()}].
headers(Yaml) ->
    check(headers, (econf:map(fun name/1, fun text/1, [unique]))(Yaml)).

%% What they are appears in no message.
-spec secrets(term()) -> [binary()].
secrets(Yaml) ->
    check(signing_secrets, (econf:list(econf:non_empty(econf:binary())))(Yaml)).

%% What the native library says of an option's value. One that is not loaded, or older, says nothing: then it does when
%% the module starts.
-spec check(mod_offline_post_nif:checked(), Value) -> Value.
check(Option, Value) ->
    case mod_offline_post_native:ask(fun() -> mod_offline_post_nif:check(Option, Value) end, ok) of
        ok -> Value;
        {error, Why} -> invalid(unnamed(Option, Why))
    end.

%% ejabberd names the option itself.
-spec unnamed(mod_offline_post_nif:checked(), binary()) -> iodata().
unnamed(Option, Text) ->
    case string:prefix(Text, atom_to_binary(Option)) of
        nomatch -> Text;
        Rest -> string:trim(Rest, leading, ": ")
    end.

-spec map(term(), pos_integer()) -> mod_offline_post_nif:fields().
map(_Yaml, Depth) when Depth > ?DEEPEST ->
    invalid("nested too deeply");
map(Yaml, Depth) ->
    (econf:map(fun name/1, fun(Value) -> value(Value, Depth) end, [unique]))(Yaml).

-spec list([term()], pos_integer()) -> [mod_offline_post_nif:field()].
list(_Yaml, Depth) when Depth > ?DEEPEST ->
    invalid("nested too deeply");
list(Yaml, Depth) ->
    (econf:list(fun(Value) -> value(Value, Depth) end))(Yaml).

-spec value(term(), pos_integer()) -> mod_offline_post_nif:field().
value(Literal, _Depth) when Literal =:= true; Literal =:= false; Literal =:= null -> Literal;
value('~', _Depth) -> null;
value(Number, _Depth) when is_number(Number) -> Number;
value([{Name, _} | _] = Map, Depth) when not is_list(Name) -> {map, map(Map, Depth + 1)};
value([{_, _} | _], _Depth) -> unquoted();
value(List, Depth) when is_list(List) -> {list, list(List, Depth + 1)};
value(Text, _Depth) -> text(Text).

-spec name(term()) -> binary().
name(Name) ->
    case text(Name) of
        <<>> -> invalid("a name is empty");
        Text -> Text
    end.

-spec text(term()) -> binary().
text(Number) when is_integer(Number) -> integer_to_binary(Number);
text(Number) when is_float(Number) -> float_to_binary(Number, [short]);
text([{[_ | _], _} | _]) -> unquoted();
text([{_, _} | _]) -> invalid("expected a text, got a map");
text(List) when is_list(List) -> invalid("expected a text, got a list");
text(Text) -> (econf:binary())(Text).

%% To YAML, braces without quotes are maps.
-spec unquoted() -> no_return().
unquoted() ->
    invalid("put a text that begins with a brace into double quotes, as in \"{{to}}\"").

-spec invalid(iodata()) -> no_return().
invalid(Why) ->
    econf:fail({invalid_syntax, Why}).
