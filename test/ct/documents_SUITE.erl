%% README.md and docs/*.md, whatever pages there are, say nothing that ejabberd would refuse: each ```yaml block is a
%% configuration that it takes, and that our modules start with; each line of a block that calls ejabberdctl, and each
%% `ejabberdctl ...` in the text, names a command that exists, with as many arguments as it wants. Ours are run, too.
%%
%% A block whose keys are all options of mod_offline_post shows these; any other is a part of ejabberd.yml, from the
%% top level on. What belongs into another program's file says so, as in ```yaml prometheus.yml, and need only be YAML.
%% Hosts and ports in them are placeholders; so are, in commands, HOST and ids of messages (msg_ID).
%%
%% docs/options.md is what the options are: in the code, in ejabberd's own documentation and on a node that runs.
-module(documents_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([found/1, links/1, options/1, defaults/1, option_examples/1, secrets/1, manual/1]).
-export([configurations/1, wrong_configurations/1, others/1, commands/1, wrong_commands/1]).

-define(HOST, "example.org").
-define(HOSTS, [?HOST, "example.com", "example.net", "capulet.example", "verona.example", "localhost"]).
-define(MODULES, [mod_offline_post, mod_available_post, mod_unavailable_post]).

-define(OPTIONS, "docs/options.md").
%% What is fixed when the node starts, or when our first module does.
-define(OF_THE_NODE, ["spool", "spool_dir", "spool_min_free"]).

%% Of ejabberd's own commands those that change nothing that a test would have to mend.
-define(HARMLESS, ["help", "status", "reload_config"]).
%% What the script does itself.
-define(SCRIPT, ["start", "foreground", "live", "debug", "started", "stopped", "ping"]).

%% Files of other programs.
-define(OTHERS, ["prometheus.yml"]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [found, links, options, defaults, option_examples, secrets, manual, configurations, wrong_configurations, others, commands, wrong_commands].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Node = offline_post_node:start(#{hosts => [{?HOST, #{}}]}),
    offline_post_node:register(Node, "juliet", ?HOST, "x"),
    Dir = offline_post_node:dir(Node),
    {Root, Authority} = offline_post_tls:authority("authority", Dir),
    {Certificate, Key} = offline_post_tls:issue(Root, "localhost", {date(), {2049, 12, 31}},
                                                   filename:join(Dir, "client")),
    Files = [{"ca_file", Authority}, {"client_cert", Certificate}, {"client_key", Key}, {"spool_dir", Dir}],
    [{node, Node}, {backend, Backend}, {files, Files} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) when Case =:= commands; Case =:= wrong_commands ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    Modules = ["modules:\n  mod_offline: {}\n" |
               [["  ", atom_to_list(Module), ":\n    post_url: \"", offline_post_backend:url(Backend), "\"\n"] || Module <- ?MODULES]],
    ok = boot(Config, with_words(Config, whole([], Modules))),
    Config;
init_per_testcase(_Case, Config) ->
    Config.

current(Config) ->
    {up, Node} = offline_post_node:current(?config(node, Config)),
    Node.

%%% What there is

%% The search finds what is known to be there, and no YAML is called by another name.
found(_Config) ->
    [?assertNotEqual({File, []}, {File, [B || {F, _, _} = B <- blocks("yaml"), F =:= File]}) ||
        File <- ["README.md", "docs/formats.md", "docs/presence.md", "docs/switching.md"]],
    ?assert(length([C || {"README.md", _, ["offline_post_" ++ _ = C | _]} <- lines()]) > 6),
    ?assert(lists:member({"docs/upgrade.md", "in the text", ["offline_post_pause", ?HOST]}, lists:usort(lines()))),
    ?assertEqual([], [{File, Language} || File <- files(), {_, Blocks} <- offline_post_document:sections(File),
                                          {Language, _} <- Blocks, not is_known(Language)]).

is_known("yaml " ++ File) -> lists:member(File, ?OTHERS);
is_known(Language) -> Language =:= "yaml" orelse not lists:prefix("y", string:lowercase(Language)).

files() ->
    Root = offline_post_node:root(),
    ["README.md" | lists:sort(["docs/" ++ Name || Name <- filelib:wildcard("*.md", filename:join(Root, "docs"))])].

blocks(Language) ->
    [{File, Title, Text} || File <- files(), {Title, Blocks} <- offline_post_document:sections(File),
                            {L, Text} <- Blocks, L =:= Language].

%% The command lines, as {file, section, arguments}.
lines() ->
    [{File, Title, Args} || File <- files(), {Title, Blocks} <- offline_post_document:sections(File),
                            {_, Text} <- Blocks, Args <- offline_post_document:calls(Text, "ejabberdctl")]
        ++ [{File, "in the text", Args} || File <- files(), Call <- inline(File), Args <- offline_post_document:calls(Call, "ejabberdctl")].

inline(File) ->
    Prose = re:replace(text(File), "^```.*?^```", "", [global, multiline, dotall, unicode, {return, list}]),
    case re:run(Prose, "`(ejabberdctl\\s[^`]+)`", [global, unicode, {capture, [1], list}]) of
        {match, Calls} -> [lists:flatten(string:replace(Call, "\n", " ", all)) || [Call] <- Calls];
        nomatch -> []
    end.

%% Where a page points to in this tree, there is something.
links(_Config) ->
    Links = [{File, Path, Anchor} || File <- files(), {Path, Anchor} <- pointed(File)],
    ?assert(length(Links) > 100),
    ?assertEqual([], [Link || {File, Path, Anchor} = Link <- Links, not is_there(File, Path, Anchor)]).

pointed(File) ->
    Targets = case re:run(text(File), "\\]\\(([^)#]*)#?([^)]*)\\)", [global, unicode, {capture, all_but_first, list}]) of
                  {match, Found} -> Found;
                  nomatch -> []
              end,
    [{Path, Anchor} || [Path, Anchor] <- Targets, string:find(Path, "://") =:= nomatch].

is_there(File, Path, Anchor) ->
    Target = case Path of
                 "" -> File;
                 _ -> filename:join(filename:dirname(File), Path)
             end,
    filelib:is_file(filename:join(offline_post_node:root(), Target))
        andalso (Anchor =:= "" orelse lists:member(Anchor, anchors(Target))).

%% As GitHub names headings.
anchors(File) ->
    {match, Titles} = re:run(text(File), "^#+ (.*)$", [global, multiline, unicode, {capture, [1], list}]),
    [re:replace(string:replace(string:lowercase(Title), " ", "-", all), "[^a-z0-9_-]", "", [global, unicode, {return, list}]) ||
        [Title] <- Titles].

text(File) ->
    {ok, Text} = file:read_file(filename:join(offline_post_node:root(), File)),
    Text.

%% Whatever is said to make a secret makes one.
secrets(Config) ->
    Commands = [{File, offline_post_document:replace(Command, [{"python3", "/usr/bin/python3"}])}
                || File <- files(), [Command] <- matches(text(File), "`((?:printf 'whs|python3 -c 'import nacl)[^`]+)`")],
    ?assertMatch([_, _, _], Commands),
    [?assertEqual({File, ok}, {File, offline_post_node:call(current(Config), mod_offline_post_nif, check,
                                                            [signing_secrets, [list_to_binary(string:trim(os:cmd(Command)))]])})
     || {File, Command} <- Commands].

matches(Text, Pattern) ->
    case re:run(Text, Pattern, [global, unicode, {capture, [1], list}]) of
        {match, Found} -> Found;
        nomatch -> []
    end.

%%% Options

%% Each once, with the type and the default that mod_doc/0 has for it; and which of them the siblings have.
options(Config) ->
    Rows = options(),
    ?assertEqual(lists:sort(names(Config, mod_offline_post)), lists:sort([Option || {_, Option, _, _, _} <- Rows])),
    #{opts := Documented} = offline_post_node:call(current(Config), mod_offline_post, mod_doc, []),
    [begin
         #{value := Value, desc := Desc} = proplists:get_value(list_to_atom(Option), Documented),
         ?assertEqual({Option, unicode:characters_to_list(Value)}, {Option, hd(code(Type))}),
         ?assertEqual({Option, Default}, {Option, default(unicode:characters_to_list(Desc), Default)})
     end || {_, Option, Type, Default, _} <- Rows],
    ?assertEqual(?OF_THE_NODE, [Option || {"One for the node", Option, _, _, _} <- Rows]),
    {match, [Siblings]} = re:run(text(?OPTIONS), "## The presence modules.*?default:(.*?)\\.\n\n", [dotall, {capture, [1], list}]),
    [?assertEqual({Module, lists:sort(names(Config, Module))}, {Module, lists:sort(code(Siblings))}) ||
        Module <- ?MODULES -- [mod_offline_post]].

%% {section, option, type, default, example}
options() ->
    [{Title, hd(code(Option)), Type, Default, lists:append([Line ++ "\n" || Line <- code(Example)])} ||
        {Title, [Option, Type, Default, Example, _]} <- offline_post_document:rows(?OPTIONS)].

names(Config, Module) ->
    [atom_to_list(case Option of {Name, _} -> Name; Name -> Name end) ||
        Option <- offline_post_node:call(current(Config), Module, mod_options, [<<?HOST>>])].

code(Text) ->
    case re:run(Text, "`([^`]+)`", [global, unicode, {capture, [1], list}]) of
        {match, Found} -> lists:append(Found);
        nomatch -> []
    end.

%% As mod_doc/0 names it: a value, or in the page's words where none can be written.
default(Desc, Words) ->
    case re:run(Desc, "The default is '([^']*)'", [unicode, {capture, [1], list}]) of
        {match, [Value]} ->
            "`" ++ Value ++ "`";
        nomatch ->
            case string:find(string:lowercase(Desc), string:replace(Words, "`", "'", all)) of
                nomatch -> {not_in, Desc};
                _ -> Words
            end
    end.

%% A virtual host that is given the page's defaults has what one has that is given none, and so have the siblings.
defaults(Config) ->
    Values = [{list_to_atom(Option), hd(code(Default))} || {_, Option, _, "`" ++ _ = Default, _} <- options()],
    Url = "post_url: \"http://localhost:1/offline\"",
    ok = load(Config, whole([], lists:flatten(
        ["host_config:\n  example.com:\n    modules:\n      mod_offline_post:\n        ", Url, "\n",
         [["        ", atom_to_list(Option), ": ", Value, "\n"] || {Option, Value} <- Values],
         "modules:\n", [["  ", atom_to_list(Module), ": {", Url, "}\n"] || Module <- ?MODULES]]))),
    {Bare, Full} = {given(Config, ?HOST, mod_offline_post), given(Config, "example.com", mod_offline_post)},
    %% What it is by default depends on the spool.
    ?assertEqual(maps:remove(queue_bytes, Bare), maps:remove(queue_bytes, Full)),
    Bytes = list_to_integer(proplists:get_value(queue_bytes, Values)),
    [?assertMatch(#{queue_bytes := Bytes},
                  offline_post_node:call(current(Config), mod_offline_post_nif, observe, [{<<?HOST>>, atom_to_binary(Module)}])) ||
        Module <- ?MODULES],
    ?assertEqual(#{}, maps:filter(fun(_, Value) -> Value =/= <<>> end, maps:without([post_url | proplists:get_keys(Values)], Bare))),
    [begin
         Sibling = given(Config, ?HOST, Module),
         ?assertEqual(Sibling, maps:with(maps:keys(Sibling), Bare))
     end || Module <- ?MODULES].

given(Config, Host, Module) ->
    offline_post_node:call(current(Config), gen_mod, get_module_opts, [list_to_binary(Host), Module]).

%% Each is another value than the default. A reload brings it into effect; what is the node's, a restart alone.
option_examples(Config) ->
    Bare = whole([], "modules: {mod_offline_post: {post_url: \"http://localhost:1/offline\"}}\n"),
    ok = load(Config, Bare),
    Defaults = given(Config, ?HOST, mod_offline_post),
    {Restart, Reload} = lists:partition(fun({_, _, Example}) -> is_of_the_node(Example) end,
                                        [{list_to_atom(Option), Option, Example} || {_, Option, _, _, Example} <- options()]),
    %% One line for all virtual hosts.
    Refused = fun() -> offline_post_node:count_log(current(Config), "the old settings stay for ") end,
    Before = Refused(),
    [begin
         ok = load(Config, Bare),
         ok = load(Config, around(Config, Example)),
         Given = given(Config, ?HOST, mod_offline_post),
         ?assertNotEqual({Option, maps:get(Option, Defaults)}, {Option, maps:get(Option, Given)})
     end || {Option, _, Example} <- Reload],
    ok = load(Config, Bare),
    [begin
         Count = Refused(),
         ok = load(Config, around(Config, Example)),
         offline_post_wait:until(fun() -> Refused() > Count end, 10000, fun() -> {not_refused, Option} end)
     end || {Option, _, Example} <- Restart],
    ?assertEqual(Before + length(Restart), Refused()),
    [?assertEqual({Option, yes}, {Option, accepted(Config, Example)}) || {Option, _, Example} <- Reload ++ Restart].

%% ejabberd's own documentation has ours. It writes the page's source, whatever there is to make a page of it.
manual(Config) ->
    {up, Node} = offline_post_node:current(?config(node, Config)),
    _ = offline_post_node:call(Node, ejabberd_doc, man, []),
    {ok, Dir} = offline_post_node:call(Node, file, get_cwd, []),
    Page = filename:join(Dir, "ejabberd.yml.5.txt"),
    {ok, Text} = file:read_file(Page),
    [ok = file:delete(File) || File <- [Page, filename:rootname(Page)], filelib:is_file(File)],
    [_, Ours] = string:split(Text, "[[mod_offline_post]]"),
    [This | _] = string:split(Ours, "\n~~~"),
    ?assertEqual([], [Option || Option <- names(Config, mod_offline_post), string:find(This, ["\n*", Option, "*:"]) =:= nomatch]).

%%% Configurations

configurations(Config) ->
    {Boots, Reloads} = lists:partition(fun({_, _, Block}) -> is_of_the_node(Block) end, blocks("yaml")),
    Results = [{File, Title, accepted(Config, Block)} || {File, Title, Block} <- Reloads ++ Boots],
    ct:pal("~B reloads, ~B boots", [length(Reloads), length(Boots)]),
    ?assertEqual([], [Result || {_, _, Accepted} = Result <- Results, Accepted =/= yes]).

%% As above, of what is wrong.
wrong_configurations(Config) ->
    Of = fun(More) -> ["modules:\n  mod_offline_post:\n    post_url: \"https://backend.example.org/\"\n", More] end,
    [?assertMatch({Block, {no, _}}, {Block, accepted(Config, lists:flatten(Block))}) ||
        Block <- ["batch:\n  max_delay: soon\n",
                  "fields:\n  to: \"{{too}}\"\n",
                  "no_such_option: true\n",
                  "format: json\nno_such_option: true\n",
                  Of("    timeot: 5\n"),
                  %% Well-formed, but the module refuses to start.
                  "batch:\n  max_delay: 10 ms\n",
                  Of("host_config:\n  nowhere.example.org:\n    modules: {}\n"),
                  "modules:\n  mod_of_nobody: {}\n",
                  Of("  mod_ping: {}\n mod_roster: {}\n")]],
    ?assertEqual(yes, accepted(Config, lists:flatten(Of("")))).

others(Config) ->
    Decode = fun(Text) ->
        offline_post_node:call(current(Config), fast_yaml, decode, [unicode:characters_to_binary(Text)])
    end,
    ?assertMatch({error, _}, Decode("a: b: c\n")),
    [?assertMatch({File, Title, {ok, [_ | _]}}, {File, Title, Decode(Text)}) ||
        Other <- ?OTHERS, {File, Title, Text} <- blocks("yaml " ++ Other)].

%% From a state without any of our modules on, so that nothing goes on as it was.
accepted(Config, Block) ->
    Yaml = around(Config, Block),
    ok = load(Config, with_words(Config, whole([], "modules: {}\n"))),
    Taken = case is_of_the_node(Block) of
                true -> boot(Config, Yaml);
                false -> load(Config, Yaml)
            end,
    case Taken of
        ok -> runs(Config, Block);
        Refused -> {no, Refused}
    end.

is_of_the_node(Block) ->
    re:run(Block, ["^ *(", lists:join("|", ?OF_THE_NODE), "):"], [multiline, {capture, none}]) =:= match.

load(Config, Yaml) ->
    write(Config, Yaml),
    offline_post_node:call(current(Config), ejabberd_config, reload, []).

boot(Config, Yaml) ->
    0 = offline_post_node:finish(current(Config), init_stop),
    write(Config, Yaml),
    {down, Node} = offline_post_node:current(?config(node, Config)),
    _ = offline_post_node:boot(Node),
    ok.

write(Config, Yaml) ->
    ok = file:write_file(filename:join(offline_post_node:dir(?config(node, Config)), "ejabberd.yml"),
                         unicode:characters_to_binary(Yaml)).

around(Config, Block) ->
    with_words(Config, whole(offline_post_node:call(current(Config), mod_offline_post, mod_options, [<<?HOST>>]), Block)).

%% The whole file with this block in it. Options: of mod_offline_post.
whole(Options, Block) ->
    Keys = [list_to_atom(Key) || Key <- keys(Block)],
    Top = case Keys =/= [] andalso Keys -- proplists:get_keys(Options) of
              [] -> ["modules:\n", indented(offline_post_document:modules(Block, ours(), []))];
              _ -> Block
          end,
    Named = keys(Top),
    [Top | [[Key, ": ", Value, "\n"] || {Key, Value} <- elsewhere(), not lists:member(Key, Named)]].

ours() ->
    [{"post_url", "\"http://localhost:1/offline\""}, {"auth_token", "s3cret"}].

elsewhere() ->
    [{"hosts", ["[", lists:join(", ", ?HOSTS), "]"]}, {"loglevel", "info"}, {"auth_method", "[internal]"},
     {"modules", "{mod_offline_post: {post_url: \"http://localhost:1/offline\"}}"}].

keys(Yaml) ->
    case re:run(unicode:characters_to_binary(Yaml), "^([a-z_]+):", [multiline, global, {capture, [1], list}]) of
        {match, Keys} -> lists:append(Keys);
        nomatch -> []
    end.

indented(Yaml) ->
    [["  ", Line, $\n] || Line <- string:lexemes(Yaml, "\n")].

%% Files that are there, and ports that are free.
with_words(Config, Yaml) ->
    WithFiles = lists:foldl(fun({Option, File}, Y) ->
                                    re:replace(Y, ["^( *", Option, ": +).*$"], ["\\1\"", File, "\""],
                                               [multiline, global, unicode])
                            end, Yaml, ?config(files, Config)),
    [First | Rest] = re:split(WithFiles, "(?<=port: )[0-9]+", [unicode]),
    [First | [[integer_to_list(offline_post_node:free_port()), Part] || Part <- Rest]].

%% Each of our modules that is loaded does its work; of those that the block names there is none that is not.
runs(Config, Block) ->
    Node = current(Config),
    Hosts = offline_post_node:call(Node, ejabberd_option, hosts, []),
    Loaded = [{Host, Module} || Host <- Hosts, Module <- ?MODULES,
                                offline_post_node:call(Node, gen_mod, is_loaded, [Host, Module])],
    Named = [Module || Module <- ?MODULES,
                       re:run(Block, ["^ *", atom_to_list(Module), ":"], [multiline, unicode]) =/= nomatch],
    Idle = [One || {Host, Module} = One <- Loaded, not is_at_work(offline_post_node:call(Node, Module, stats, [Host]))],
    case {Named -- [Module || {_, Module} <- Loaded], Idle} of
        {[], []} -> yes;
        NotRunning -> {no, NotRunning}
    end.

%% One that has run before leaves its counters behind.
is_at_work(#{state := State}) -> State =/= stopped;
is_at_work(undefined) -> false.

%%% Commands

commands(Config) ->
    Results = [{File, Title, Args, right(Config, Args)} || {File, Title, Args} <- lines()],
    ct:pal("~p", [Results]),
    ?assertEqual([], [Result || {_, _, _, Right} = Result <- Results, Right =/= yes]).

wrong_commands(Config) ->
    [?assertMatch({Args, {no, _}}, {Args, right(Config, Args)}) ||
        Args <- [["offline_post_statistics", "example.org"], ["offline_post_stats"], ["reload_config", "now"],
                 ["offline_post_stats", "nowhere.example"], ["help", "offline_post_statistics"],
                 ["module_install"], ["debug", "now"], []]],
    [?assertEqual({Args, yes}, {Args, right(Config, Args)}) ||
        Args <- [["debug"], ["--no-timeout", "module_install", "mod_offline_post"], ["stop"],
                 ["--node", "ejabberd@host", "offline_post_dead_show", "example.com", "msg_ID"]]],
    ?assertEqual([["a", "b c", "it's", "x"], ["d"], ["--no-timeout", "f", "g"]],
                 offline_post_document:calls("ejabberdctl a 'b c' \"it's\" x # e\n"
                                             "$ sudo ejabberdctl d | grep ejabberdctl\n"
                                             "  ejabberdctl --no-timeout f \\\n    g > h\nman ejabberdctl x\n",
                                             "ejabberdctl")).

right(Config, ["--no-timeout" | Args]) ->
    right(Config, Args);
right(Config, ["--node", _ | Args]) ->
    right(Config, Args);
right(Config, ["help", Command | _] = Args) when hd(Command) =/= $- ->
    both(arguments(Config, Command), fun(_) -> run(Config, Args) end);
right(Config, ["help" | _] = Args) ->
    run(Config, Args);
right(Config, [Command | Args]) ->
    case Args =:= [] andalso lists:member(Command, ?SCRIPT) of
        true -> yes;
        false -> command(Config, Command, Args)
    end;
right(_Config, []) ->
    {no, command}.

command(Config, Command, Args) ->
    both(arguments(Config, Command), fun(Count) when Count =:= length(Args) -> run_ours(Config, [Command | Args]);
                                        (Count) -> {no, {arguments, Count}}
                                     end).

both({no, _} = No, _Then) -> No;
both(Count, Then) -> Then(Count).

arguments(Config, Command) ->
    Name = list_to_atom(Command),
    Commands = offline_post_node:call(current(Config), ejabberd_commands, list_commands, []),
    case lists:keyfind(Name, 1, Commands) of
        {Name, Args, _} -> length(Args);
        false -> {no, such_command}
    end.

%% One that names a file needs more than a name.
run_ours(Config, [Command | Args] = Line) ->
    Ours = lists:prefix("offline_post_", Command) orelse lists:member(Command, ?HARMLESS),
    case Ours andalso not lists:any(fun(Arg) -> hd(Arg) =:= $/ end, Args) of
        true -> run(Config, Line);
        false -> yes
    end.

%% There is a dead letter to work on.
run(Config, Line) ->
    Id = dead_letter(Config),
    case offline_post_node:ctl(current(Config), [in_place(Word, Id) || Word <- Line]) of
        {0, _} -> yes;
        Failed -> {no, Failed}
    end.

in_place("msg_" ++ _, Id) -> Id;
in_place("HOST", _Id) -> ?HOST;
in_place(Word, _Id) ->
    [Host | Module] = string:split(Word, "/"),
    case lists:member(Host, ?HOSTS) of
        true -> lists:append([?HOST | [[$/ | Name] || Name <- Module]]);
        false -> Word
    end.

dead_letter(Config) ->
    {Node, Backend} = {current(Config), ?config(backend, Config)},
    _ = offline_post_node:call(Node, mod_offline_post, resume, [<<?HOST>>]),
    offline_post_backend:set(Backend, {reply, 400}),
    offline_post_node:route(Node, "romeo@verona.example/balcony", "juliet@" ?HOST, "Good night"),
    #{headers := Headers} = offline_post_backend:await(Backend),
    Id = proplists:get_value(<<"webhook-id">>, Headers),
    offline_post_wait:until(fun() -> #{pending := Pending} = offline_post_node:stats(Node, ?HOST), Pending =:= 0 end),
    offline_post_backend:set(Backend, {reply, 200}),
    binary_to_list(Id).
