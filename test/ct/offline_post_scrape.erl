%% A page of metrics, as Prometheus gets it from a node, and read by a parser that nobody here wrote.
-module(offline_post_scrape).

-export([handler/1, get/2, get/3, get_all/3, request/4, read/2, samples/1, value/2, value/3, families/1, names/1, number/1, promtool/1]).

-type sample() :: {Name :: binary(), Labels :: #{binary() => binary()}, Value :: float()}.
-export_type([sample/0]).

%% YAML for a node's listeners.
handler(Port) ->
    ["  -\n    port: ", integer_to_list(Port), "\n    ip: \"127.0.0.1\"\n    module: ejabberd_http\n",
     "    request_handlers:\n      /offline_post_metrics: mod_offline_post_metrics\n"].

%% {Status, headers, body}. Token: none, or what to send.
get(Port, Token) ->
    get(Port, Token, "").

get(Port, Token, Accept) ->
    request(get, Port, Token, Accept).

%% With the histograms of idle endpoints, too.
get_all(Port, Token, Accept) ->
    request(get, Port, Token, Accept, "?idle=all").

request(Method, Port, Token, Accept) ->
    request(Method, Port, Token, Accept, "").

request(Method, Port, Token, Accept, Query) ->
    {ok, _} = application:ensure_all_started(inets),
    Headers = [{"Accept", Accept} || Accept =/= ""] ++ [{"Authorization", "Bearer " ++ Token} || Token =/= none],
    Url = lists:flatten(io_lib:format("http://127.0.0.1:~B/offline_post_metrics~s", [Port, Query])),
    Request = case Method of
                  post -> {Url, Headers, "text/plain", "x"};
                  _ -> {Url, Headers}
              end,
    {ok, {{_, Status, _}, Answered, Body}} = httpc:request(Method, Request, [{timeout, 20000}], [{body_format, binary}]),
    {Status, maps:from_list(Answered), Body}.

%% [{Family, Type, Unit, sample()}]; fails if a rule of the format is broken.
read(Format, Page) ->
    Path = temporary(Page),
    Script = filename:join([offline_post_node:root(), "test", "support", "openmetrics.py"]),
    Said = os:cmd(lists:join(" ", ["/usr/bin/python3", Script, atom_to_list(Format), Path, "2>&1; echo status $?"])),
    ok = file:delete(Path),
    case lists:reverse(string:split(string:trim(unicode:characters_to_binary(Said)), "\n", all)) of
        [<<"status 0">> | Lines] -> [sample(Line) || Line <- lists:reverse(Lines)];
        _ -> ct:fail({not_readable, Said, Page})
    end.

sample(Line) ->
    [Family, Type, Unit, Name, Labels, Value] = binary:split(Line, <<"\t">>, [global]),
    {Family, Type, Unit, {Name, maps:from_list([list_to_tuple(binary:split(Label, <<"=">>)) ||
                                                   Label <- binary:split(Labels, <<",">>, [global]), Label =/= <<>>]),
                          number(Value)}}.

%% As Python, Go and OpenMetrics write it.
number(<<"inf">>) -> infinity;
number(Value) ->
    try binary_to_float(Value)
    catch error:badarg -> binary_to_float(binary:replace(Value, <<"e">>, <<".0e">>))
    end.

-spec samples([tuple()]) -> [sample()].
samples(Read) ->
    [Sample || {_, _, _, Sample} <- Read].

value(Name, Read) ->
    value(Name, #{}, Read).

%% Of the one sample of this name with these labels.
value(Name, Labels, Read) ->
    case [Value || {N, L, Value} <- samples(Read), N =:= Name, maps:with(maps:keys(Labels), L) =:= Labels] of
        [Value] -> Value;
        Values -> ct:fail({not_one, Name, Labels, Values})
    end.

%% [{Name as queries and documents have it, type, unit, its labels}].
families(Read) ->
    lists:usort([{case Type of
                      <<"counter">> -> <<Family/binary, "_total">>;
                      <<"info">> -> <<Family/binary, "_info">>;
                      _ -> Family
                  end, Type, Unit, lists:sort(maps:keys(maps:remove(<<"le">>, Labels)))} || {Family, Type, Unit, {_, Labels, _}} <- Read]).

names(Read) ->
    lists:usort([Name || {Name, _, _} <- samples(Read)]).

%% {exit status, what it says}. Among Args may be {stdin, Text}.
promtool(Args) ->
    Paths = [temporary(Page) || {stdin, Page} <- Args],
    Words = [Word || Word <- Args, not is_tuple(Word)] ++ ["<" ++ Path || Path <- Paths],
    Said = os:cmd(lists:join(" ", ["promtool" | Words] ++ ["2>&1; echo status $?"])),
    [ok = file:delete(Path) || Path <- Paths],
    {match, [Text, Status]} = re:run(Said, "^(.*)status ([0-9]+)\n$", [{capture, all_but_first, list}, dotall, unicode]),
    {list_to_integer(Status), Text}.

temporary(Text) ->
    Path = string:trim(os:cmd("mktemp")),
    ok = file:write_file(Path, Text),
    Path.
