%% What a document shows, for tests that hold it to that: configurations in ```yaml blocks, and in ```http blocks the
%% POSTs that come of them; calls of a program in any.
-module(offline_post_document).

-export([sections/1, rows/1, examples/1, calls/2, modules/3, replace/2, posts/1, compare/2, normal/1]).

-type section() :: {Title :: string(), [{Language :: string(), Text :: string()}]}.

%% Of a table; its first cell is `code`.
-type row() :: {Title :: string(), Cells :: [string()]}.

%% A configuration, and what is shown to come of it: the texts of the blocks that follow it.
-type example() :: {Title :: string(), Yaml :: string(), Posts :: [string()]}.

%% What stands in a document, and what a test has instead.
-type words() :: [{string(), iodata()}].

%% The sections that have blocks, in their order, by their headings of any level. File: below the top directory.
-spec sections(file:name()) -> [section()].
sections(File) ->
    [{Title, lists:reverse(Blocks)} || {Title, [_ | _] = Blocks} <- lists:reverse(read(lines(File), [{"", []}]))].

lines(File) ->
    {ok, Text} = file:read_file(filename:join(offline_post_node:root(), File)),
    string:split(unicode:characters_to_list(Text), "\n", all).

-spec rows(file:name()) -> [row()].
rows(File) ->
    {Rows, _} = lists:foldl(fun("#" ++ _ = Line, {Rows, _}) -> {Rows, string:trim(Line, both, "# ")};
                               ("| `" ++ _ = Line, {Rows, Title}) -> {[{Title, cells(Line)} | Rows], Title};
                               (_, Acc) -> Acc
                            end, {[], ""}, lines(File)),
    lists:reverse(Rows).

%% In a cell a bar is written as \|.
cells(Row) ->
    [replace(string:trim(Cell), [{"\\|", "|"}]) ||
        Cell <- re:split(string:trim(Row, both, "| "), "(?<!\\\\)\\|", [unicode, {return, list}])].

%% One after the other; a section may have several.
-spec examples(file:name()) -> [example()].
examples(File) ->
    [{Title, Yaml, Posts} || {Title, Blocks} <- sections(File), {Yaml, Posts} <- pair(Blocks)].

pair([{"yaml", Yaml} | Blocks]) ->
    {Of, Rest} = lists:splitwith(fun({Language, _}) -> Language =/= "yaml" end, Blocks),
    [{Yaml, [Text || {"http", Text} <- Of]} | pair(Rest)];
pair([_ | Blocks]) ->
    pair(Blocks);
pair([]) ->
    [].

read(["#" ++ _ = Line | Lines], Sections) ->
    read(Lines, [{string:trim(Line, both, "# "), []} | Sections]);
read([Line | Lines], [{Title, Blocks} | Others] = Sections) ->
    %% In a list blocks are indented.
    case string:trim(Line, leading, " ") of
        "```" ++ Language ->
            {Block, [_ | Rest]} = lists:splitwith(fun(L) -> string:trim(L, leading, " ") =/= "```" end, Lines),
            Text = lists:append([unindent(L, length(Line) - length(Language) - 3) ++ "\n" || L <- Block]),
            read(Rest, [{Title, [{Language, Text} | Blocks]} | Others]);
        _ ->
            read(Lines, Sections)
    end;
read([], Sections) ->
    Sections.

unindent(" " ++ Line, N) when N > 0 -> unindent(Line, N - 1);
unindent(Line, _) -> Line.

%% The arguments of each call of a program at the beginning of a line, after a prompt or sudo; without what the shell
%% does with its output, and without a comment.
-spec calls(Text :: string(), Program :: string()) -> [[string()]].
calls(Text, Program) ->
    Lines = string:split(string:replace(Text, "\\\n", " ", all), "\n", all),
    [words(Args) || Line <- Lines,
                    {match, [Args]} <- [re:run(Line, ["^ *([#$] +)?(sudo +(-u +\\w+ +)?)?", Program, "(?= |$)(.*)$"],
                                               [unicode, {capture, [4], list}])]].

words(Text) ->
    Tokens = case re:run(Text, "\"([^\"]*)\"|'([^']*)'|([|<>;&#])|([^\\s\"'|<>;&]+)",
                         [global, unicode, {capture, all_but_first, list}]) of
                 {match, Matches} -> Matches;
                 nomatch -> []
             end,
    [lists:append(Word) || Word <- lists:takewhile(fun([_, _, Sign | _]) -> Sign =:= ""; (_) -> true end, Tokens)].

%% What stands below `modules:`, for offline_post_node. A block that shows options of mod_offline_post alone gets the
%% others that a test needs.
-spec modules(Yaml :: string(), Others :: [{Option :: string(), iodata()}], words()) -> string().
modules("modules:\n" ++ Yaml, _Others, Words) ->
    replace(unindent(Yaml), Words);
modules(Options, Others, Words) ->
    More = [[Name, ": ", Value, "\n"] || {Name, Value} <- Others,
                                         re:run(Options, "^" ++ Name ++ ":", [multiline, unicode]) =:= nomatch],
    Lines = string:lexemes(unicode:characters_to_list([Options, More]), "\n"),
    replace(["mod_offline_post:\n", [["  ", Line, $\n] || Line <- Lines]], Words).

unindent(Yaml) ->
    [begin "  " ++ Rest = Line, [Rest, $\n] end || Line <- string:lexemes(Yaml, "\n")].

-spec replace(iodata(), words()) -> string().
replace(Text, Words) ->
    lists:flatten(lists:foldl(fun({From, To}, T) -> string:replace(T, From, To, all) end,
                              unicode:characters_to_list(Text), Words)).

%% `POST path`, headers, an empty line, the body: without the end of its last line, as long as that is. Several in one
%% block have an empty line and the next `POST` between them.
-spec posts(string()) -> [#{path := binary(), headers := [{binary(), binary()}], body := binary()}].
posts("POST " ++ Text) ->
    [post(One) || One <- string:split(string:trim(Text, trailing, "\n"), "\n\nPOST ", all)].

post(Text) ->
    {Head, Body} = case string:split(Text, "\n\n") of
                       [H, B] -> {H, B};
                       [H] -> {H, ""}
                   end,
    [Request | Headers] = string:split(Head, "\n", all),
    #{path => unicode:characters_to_binary(hd(string:split(Request, " "))),
      headers => [begin
                      [Name, Value] = string:split(Header, ":"),
                      {unicode:characters_to_binary(string:lowercase(Name)),
                       unicode:characters_to_binary(string:trim(Value))}
                  end || Header <- Headers],
      body => unicode:characters_to_binary(Body)}.

%% Whether this is what came: the path, the headers that are shown and not more of these kinds, and the body byte for
%% byte. Ids and times may differ where both have one.
compare(#{path := Path, headers := Headers, body := Body}, #{path := CamePath, headers := Came, body := CameBody}) ->
    Names = lists:usort([Name || {Name, _} <- Headers] ++ [<<"content-type">>, <<"authorization">>,
                                                           <<"content-encoding">>]),
    Of = fun(All) -> [{Name, Value} || {Name, Value} <- lists:sort(All), lists:member(Name, Names)] end,
    case {any(Path), any(Of(Headers)), any(Body)} of
        Same -> case {any(CamePath), any(Of(Came)), any(without_line_feed(CameBody, Body))} of
                    Same -> same;
                    Other -> {shown, Same, came, Other}
                end
    end.

%% The one that ends a line of NDJSON cannot be shown at the end of a block.
without_line_feed(Came, Shown) ->
    Size = byte_size(Came) - 1,
    case Came of
        <<Text:Size/binary, "\n">> when Text =/= <<>>, Shown =/= Came -> Text;
        _ -> Came
    end.

any(Pairs) when is_list(Pairs) ->
    [{Name, any(Name, Value)} || {Name, Value} <- Pairs];
any(Text) ->
    normal(Text).

%% One id for all, and one time.
normal(Text) ->
    lists:foldl(fun({Pattern, By}, T) -> re:replace(T, Pattern, By, [global, {return, binary}]) end, Text,
                [{"msg_[0-9a-f]{16}_[0-9a-z]+", "ID"},
                 {"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9](:|%3A)[0-5][0-9](:|%3A)[0-6][0-9]\\.[0-9]{3}Z", "TIME"}]).

any(<<"webhook-timestamp">>, Value) -> re:replace(Value, "^1[0-9]{9}$", "SECONDS", [{return, binary}]);
any(<<"webhook-signature">>, Value) -> re:replace(Value, "(v1a?),[A-Za-z0-9+/]{43,86}={0,2}", "\\1,SIGNATURE",
                                                  [global, {return, binary}]);
any(_, Value) -> any(Value).
