%% The operator's commands, as an operator gives them: through ejabberdctl in a VM of its own, and through mod_http_api.
-module(commands_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("ejabberd_commands.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([help/1, examples/1, stats/1, status/1, test/1, flush/1, pause_and_resume/1, dead_letters_on_the_shell/1, dead_letters_over_http/1,
         pages/1, functions/1, mistakes/1, who_may/1, first_and_last_host/1, another_version/1]).

-define(ONE, "one.localhost").
-define(TWO, "two.localhost").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [help, examples, stats, status, test, flush, pause_and_resume, dead_letters_on_the_shell, dead_letters_over_http, pages, functions,
     mistakes, who_may, first_and_last_host, another_version].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Options = options([?ONE, ?TWO], Backend),
    Node = offline_post_node:start(Options),
    [offline_post_node:register(Node, "anna", Host, "x") || Host <- [?ONE, ?TWO]],
    [{node, Node}, {backend, Backend} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, fun by_text/1),
    Config.

%% Nothing is left for the next one, and nothing that ejabberd takes for grave has happened.
end_per_testcase(_Case, Config) ->
    Node = ?config(node, Config),
    [begin
         {ok, _} = offline_post_node:call(Node, mod_offline_post, drop_dead_letters, [list_to_binary(Host), all]),
         ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, Host)))
     end || Host <- [?ONE, ?TWO]],
    ?assertEqual(0, offline_post_node:count_log(Node, "[critical]")).

help(Config) ->
    [begin
         {0, Help} = ctl(Config, ["help", Name]),
         ct:pal("~ts", [Help]),
         contains(Help, [Name, "offline_post", "Example: ejabberdctl" | Parts])
     end || {Name, Parts} <- commands()],
    {0, Tagged} = ctl(Config, ["help", "--tags", "offline_post"]),
    contains(Tagged, [Name || {Name, _} <- commands()]).

%% Each has one, of the types it names; and is taken so by ejabberd.
examples(Config) ->
    [begin
         Command = offline_post_node:call(?config(node, Config), ejabberd_commands, get_command_definition, [list_to_atom(Name)]),
         #ejabberd_commands{args = Args, args_desc = Descs, args_example = Examples, result = Result,
                            result_desc = ResultDesc, result_example = ResultExample} = Command,
         ?assertEqual({Name, length(Args)}, {Name, length([D || D <- Descs, D =/= ""])}),
         [?assert(is_of(Type, Example)) || {{_, Type}, Example} <- lists:zip(Args, Examples)],
         ?assert(is_of(element(2, Result), ResultExample)),
         ?assert(is_list(ResultDesc)),
         {Status, Said} = ctl(Config, [Name | [lists:flatten(io_lib:format("~ts", [text_of(E)])) || E <- Examples]]),
         ?assertEqual({Name, case lists:member(Name, ["offline_post_status", "offline_post_check_config"]) of true -> 0; false -> 1 end}, {Name, Status}),
         contains(Said, case Name of
                            "offline_post_status" -> [?ONE, ?TWO];
                            "offline_post_check_config" -> ["global\tejabberd\tok", ?ONE "\tmod_offline_post\tok", ?TWO];
                            "offline_post_import" -> ["nothing was imported"];
                            _ -> ["not configured for a virtual host example.org"]
                        end)
     end || {Name, _} <- commands()].

is_of(integer, Value) -> is_integer(Value);
is_of(binary, Value) -> is_binary(Value);
is_of(string, Value) -> is_binary(Value) orelse io_lib:printable_list(Value);
is_of(restuple, {ok, Text}) -> is_binary(Text);
is_of({list, {_, Type}}, [_ | _] = Values) -> lists:all(fun(Value) -> is_of(Type, Value) end, Values);
is_of({tuple, Types}, Value) -> lists:all(fun({{_, Type}, V}) -> is_of(Type, V) end, lists:zip(Types, tuple_to_list(Value)));
is_of(_, _) -> false.

text_of(Number) when is_integer(Number) -> integer_to_list(Number);
text_of(Text) -> Text.

stats(Config) ->
    say(Config, ?ONE, "fine"),
    settled(Config, ?ONE),
    {0, Text} = ctl(Config, ["offline_post_stats", ?ONE]),
    ct:pal("~ts", [Text]),
    #{accepted := Accepted, delivered := Delivered} = offline_post_node:stats(?config(node, Config), ?ONE),
    [?assertEqual({Name, integer_to_binary(Value)}, {Name, field(Name, Text)}) ||
        {Name, Value} <- [{"accepted", Accepted}, {"delivered", Delivered}, {"pending", 0}, {"commit_timeouts", 0}]],
    ?assertEqual({<<"healthy">>, <<"durable">>}, {field("state", Text), field("spool", Text)}),
    {200, Json} = http(Config, "offline_post_stats", ["{\"host\": \"", ?ONE, "\"}"]),
    contains(Json, ["{\"key\":\"delivered\",\"value\":\"", "{\"key\":\"state\",\"value\":\"healthy\"}"]).

%% Of the whole node, without arguments.
status(Config) ->
    {0, _} = ctl(Config, ["offline_post_pause", ?ONE]),
    say(Config, ?ONE, "later"),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(?config(node, Config), ?ONE)) =:= 1 end),
    {0, Text} = ctl(Config, ["offline_post_status"]),
    ct:pal("~ts", [Text]),
    [One, Two] = [binary:split(Line, <<"\t">>, [global]) || Line <- lines(Text)],
    ?assertMatch([<<?ONE>>, <<"mod_offline_post">>, <<"paused">>, <<"paused by the operator">>, _, <<"1">>, <<"0">>, _, <<"0">>,
                  <<"durable">>], One),
    ?assertMatch([<<?TWO>>, <<"mod_offline_post">>, <<"healthy">>, <<>>, _, <<"0">>, <<"0">>, <<"0">>, <<"0">>, <<"durable">>], Two),
    {200, Json} = http(Config, "offline_post_status", "{}"),
    contains(Json, ["\"host\":\"" ?ONE "\"", "\"why\":\"paused by the operator\""]),
    {0, _} = ctl(Config, ["offline_post_resume", ?ONE]),
    settled(Config, ?ONE),
    offline_post_backend:await(?config(backend, Config)).

%% Sent through a pause, shown without secrets, and counted nowhere.
test(Config) ->
    Backend = ?config(backend, Config),
    #{accepted := Accepted} = offline_post_node:stats(?config(node, Config), ?ONE),
    {0, _} = ctl(Config, ["offline_post_pause", ?ONE]),
    {0, Text} = ctl(Config, ["offline_post_test", ?ONE, "nurse"]),
    ct:pal("~ts", [Text]),
    #{body := Body} = offline_post_backend:await(Backend),
    ?assertMatch(#{<<"to">> := <<"nurse">>, <<"from">> := <<"nurse">>, <<"body">> := <<"A test of mod_offline_post", _/binary>>},
                 maps:from_list(uri_string:dissect_query(Body))),
    contains(Text, ["HTTP 200", "/(hidden)", "webhook-id: msg_", "to=nurse"]),
    %% The whole address serves as well, and none of another domain, or that nobody can have.
    {0, Whole} = ctl(Config, ["offline_post_test", ?ONE, "Nurse@" ?ONE]),
    contains(Whole, ["to=nurse&"]),
    offline_post_backend:await(Backend),
    [begin
         {1, Refused} = ctl(Config, ["offline_post_test", ?ONE, User]),
         contains(Refused, ["nothing was sent: say for which user of " ?ONE])
     end || User <- ["nurse@elsewhere.example", "a b", "@" ?ONE]],
    offline_post_backend:set(Backend, {reply, 500, [], <<"no such device">>}),
    {200, Json} = http(Config, "offline_post_test", ["{\"host\": \"", ?ONE, "\", \"user\": \"nurse\"}"]),
    contains(Json, ["{\"key\":\"result\",\"value\":\"HTTP 500\"}", "no such device"]),
    offline_post_backend:await(Backend),
    offline_post_backend:set(Backend, hang_up),
    {0, Broken} = ctl(Config, ["offline_post_test", ?ONE, "nurse"]),
    ?assertEqual(<<"0">>, field("status", Broken)),
    offline_post_backend:await(Backend),
    {0, _} = ctl(Config, ["offline_post_resume", ?ONE]),
    ?assertMatch(#{accepted := Accepted, pending := 0, state := healthy}, offline_post_node:stats(?config(node, Config), ?ONE)).

%% A retry that would come in a second comes at once; each of many.
flush(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503, [{"Retry-After", "3600"}], <<>>}),
    say(Config, ?ONE, "now"),
    offline_post_backend:await(Backend),
    offline_post_wait:until(fun() -> maps:get(retries, offline_post_node:stats(?config(node, Config), ?ONE)) > 0 end),
    offline_post_backend:set(Backend, fun by_text/1),
    {0, _} = ctl(Config, ["offline_post_flush", ?ONE]),
    ?assertEqual(<<"now">>, text(offline_post_backend:await(Backend))),
    settled(Config, ?ONE).

pause_and_resume(Config) ->
    #{delivered := Delivered} = offline_post_node:stats(?config(node, Config), ?ONE),
    ?assertMatch({0, <<"paused one.localhost until", _/binary>>}, ctl(Config, ["offline_post_pause", ?ONE])),
    say(Config, ?ONE, "later"),
    say(Config, ?TWO, "now"),
    ?assertEqual(<<"now">>, text(offline_post_backend:await(?config(backend, Config)))),
    ?assertMatch(#{pending := 1, state := paused, delivered := Delivered},
                 offline_post_node:stats(?config(node, Config), ?ONE)),
    %% The operator's pause is not ended by a reload.
    {0, _} = ctl(Config, ["reload_config"]),
    ?assertMatch(#{state := paused}, offline_post_node:stats(?config(node, Config), ?ONE)),
    {200, _} = http(Config, "offline_post_resume", ["{\"host\": \"", ?ONE, "\"}"]),
    ?assertEqual(<<"later">>, text(offline_post_backend:await(?config(backend, Config)))),
    settled(Config, ?ONE).

dead_letters_on_the_shell(Config) ->
    Ids = kill(Config, ?ONE, ["413 a", "400 b", "413 ä😀", "400 d", "413 e"]),
    {0, All} = ctl(Config, ["offline_post_dead_list", ?ONE, "all", "0"]),
    ct:pal("~ts", [All]),
    Lines = [binary:split(Line, <<"\t">>, [global]) || Line <- lines(All)],
    ?assertEqual(Ids, [Id || [_, Id | _] <- Lines]),
    ?assertMatch([<<_/binary>>, _, <<"anna@one.localhost">>, <<"bob@elsewhere.example/phone">>, <<"1">>, <<"413">>,
                  <<"20", _:16, "-", _/binary>>, <<"HTTP 413">>], hd(Lines)),
    ?assertEqual(nomatch, binary:match(All, <<"413 a">>)),
    [[Number | _] | _] = Lines,
    {0, Rest} = ctl(Config, ["offline_post_dead_list", ?ONE, "all", binary_to_list(Number)]),
    ?assertEqual(4, length(lines(Rest))),
    {0, Reason} = ctl(Config, ["offline_post_dead_list", ?ONE, "HTTP 400", "0"]),
    ?assertEqual(2, length(lines(Reason))),
    ?assertEqual({0, <<>>}, ctl(Config, ["offline_post_dead_list", ?TWO, "all", "0"])),
    [First, _, Third | _] = [binary_to_list(Id) || Id <- Ids],
    {0, Shown} = ctl(Config, ["offline_post_dead_show", ?ONE, Third]),
    ct:pal("~ts", [Shown]),
    ?assertEqual({<<"413 ä😀"/utf8>>, <<"no, thank you">>, <<"HTTP 413">>, <<"m1">>},
                 {field("body", Shown), field("answer", Shown), field("reason", Shown), field("message_id", Shown)}),
    %% One, by reason, all.
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    ?assertEqual({0, <<"1\n">>}, ctl(Config, ["offline_post_dead_replay", ?ONE, First])),
    Again = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual({list_to_binary(First), <<"413 a">>}, {id(Again), text(Again)}),
    ?assertEqual({0, <<"2\n">>}, ctl(Config, ["offline_post_dead_replay", ?ONE, "HTTP 41"])),
    ?assertEqual([<<"413 ä😀"/utf8>>, <<"413 e">>], [text(Post) || Post <- offline_post_backend:await(?config(backend, Config), 2)]),
    ?assertEqual({0, <<"1\n">>}, ctl(Config, ["offline_post_dead_drop", ?ONE, binary_to_list(lists:nth(2, Ids))])),
    ?assertEqual({0, <<"1\n">>}, ctl(Config, ["offline_post_dead_drop", ?ONE, "all"])),
    settled(Config, ?ONE),
    ?assertMatch(#{dead := 0}, offline_post_node:stats(?config(node, Config), ?ONE)).

dead_letters_over_http(Config) ->
    [First, Second] = kill(Config, ?TWO, ["413 ä😀", "400 b"]),
    {200, All} = http(Config, "offline_post_dead_list", ["{\"host\": \"", ?TWO, "\", \"which\": \"all\", \"after\": 0}"]),
    ct:pal("~ts", [All]),
    contains(All, ["\"id\":\"", First, Second, "\"to\":\"anna@two.localhost\"", "\"status\":413", "\"reason\":\"HTTP 400\""]),
    ?assertEqual(nomatch, binary:match(All, <<"400 b">>)),
    {200, Shown} = http(Config, "offline_post_dead_show", ["{\"host\": \"", ?TWO, "\", \"id\": \"", First, "\"}"]),
    ct:pal("~ts", [Shown]),
    contains(Shown, ["{\"key\":\"answer\",\"value\":\"no, thank you\"}", "{\"key\":\"status\",\"value\":\"413\"}"]),
    %% As it is, or escaped as JSON may.
    ?assertMatch({match, _}, re:run(Shown, <<"\"body\",\"value\":\"413 (ä😀|\\\\u00e4\\\\ud83d\\\\ude00)\""/utf8>>, [caseless])),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    [begin
         {200, Count} = http(Config, Command, ["{\"host\": \"", ?TWO, "\", \"which\": \"", Which, "\"}"]),
         %% Later releases answer with the number alone.
         ?assertMatch({match, _}, re:run(Count, "^(\\{\"(replayed|dropped)\":1\\}|1)$"))
     end || {Command, Which} <- [{"offline_post_dead_replay", First}, {"offline_post_dead_drop", "HTTP 400"}]],
    ?assertEqual(First, id(offline_post_backend:await(?config(backend, Config)))),
    {404, None} = http(Config, "offline_post_dead_drop", ["{\"host\": \"", ?TWO, "\", \"which\": \"", Second, "\"}"]),
    contains(None, ["has no dead letter ", Second]).

%% As many as there are, a hundred at a time.
pages(Config) ->
    Node = ?config(node, Config),
    Ids = kill(Config, ?TWO, ["400 " ++ integer_to_list(N) || N <- lists:seq(1, 130)]),
    {0, First} = ctl(Config, ["offline_post_dead_list", ?TWO, "all", "0"]),
    ?assertEqual(100, length(lines(First))),
    [Last | _] = binary:split(lists:last(lines(First)), <<"\t">>),
    {0, Second} = ctl(Config, ["offline_post_dead_list", ?TWO, "all", binary_to_list(Last)]),
    ?assertEqual(Ids, [lists:nth(2, binary:split(Line, <<"\t">>, [global])) || Line <- lines(First) ++ lines(Second)]),
    {ok, Letters, undefined} = offline_post_node:call(Node, mod_offline_post, dead_letters, [<<?TWO>>, {reason, <<"HTTP">>}, 0, 1000]),
    ?assertEqual(Ids, [Id || #{id := Id} <- Letters]).

%% The same power in a shell of the node.
functions(Config) ->
    Call = fun(Function, Args) -> offline_post_node:call(?config(node, Config), mod_offline_post, Function, Args) end,
    [Id, _, _] = kill(Config, ?ONE, ["413 a", "413 b", "400 c"]),
    {ok, [#{id := Id, body := <<"413 a">>, sequence := Sequence}], Next} = Call(dead_letters, [<<?ONE>>, all, 0, 1]),
    ?assertEqual(Sequence, Next),
    {ok, [#{body := <<"413 b">>}], undefined} = Call(dead_letters, [<<?ONE>>, {reason, <<"HTTP 413">>}, Next, 10]),
    {ok, #{body := <<"413 a">>, to := {<<"anna">>, <<?ONE>>, <<>>}}} = Call(dead_letter, [<<?ONE>>, Id]),
    ?assertEqual({error, not_found}, Call(dead_letter, [<<?TWO>>, Id])),
    ?assertEqual({ok, 1}, Call(drop_dead_letters, [<<?ONE>>, {id, Id}])),
    ?assertEqual({ok, 0}, Call(drop_dead_letters, [<<?ONE>>, {id, Id}])),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    ?assertEqual({ok, 2}, Call(replay_dead_letters, [<<?ONE>>, all])),
    settled(Config, ?ONE),
    ?assertEqual({error, unknown}, Call(pause, [<<"nobody.localhost">>])),
    ?assertEqual(undefined, Call(stats, [<<"nobody.localhost">>])).

mistakes(Config) ->
    [begin
         {Status, Said} = ctl(Config, Args),
         ?assertEqual({1, Args}, {Status, Args}),
         contains(Said, [Part])
     end || {Args, Part} <- [{["offline_post_stats", "nobody.localhost"], "not configured for a virtual host nobody.localhost"},
                             {["offline_post_dead_show", ?ONE, "msg_1"], "one.localhost has no dead letter msg_1"},
                             {["offline_post_dead_replay", ?ONE, "msg_1"], "one.localhost has no dead letter msg_1"},
                             {["offline_post_dead_drop", ?ONE, ""], "say which"}]],
    {Status, _} = ctl(Config, ["offline_post_dead_drop", ?ONE]),
    ?assert(Status > 0),
    {404, Said} = http(Config, "offline_post_pause", "{\"host\": \"nobody.localhost\"}"),
    contains(Said, ["not configured for a virtual host nobody.localhost"]),
    {400, _} = http(Config, "offline_post_pause", "{}").

%% As docs/operations.md has it: a machine looks, an account steers, and nobody else gets in.
who_may(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    offline_post_node:register(Node, "operator", ?ONE, "secret"),
    [[{"yaml", Yaml}]] = [Blocks || {"Who may steer it", Blocks} <- offline_post_document:sections("docs/operations.md")],
    Everybody = options([?ONE, ?TWO], Backend),
    Reload = fun(Machine) ->
                     ok = offline_post_node:reload(Node, Everybody#{api := offline_post_document:replace(Yaml, [{"example.org", ?ONE} | Machine])})
             end,
    try
        Reload([]),
        may(Config, none, [403, 403, 403]),
        may(Config, "operator", [200, 200, 200]),
        Reload([{"192.0.2.17", "127.0.0.1"}]),
        may(Config, none, [200, 200, 403]),
        %% As a sibling is named.
        {200, _} = http(Config, "offline_post_stats", "{\"host\": \"" ?ONE "/mod_offline_post\"}"),
        ?assertMatch({0, _}, ctl(Config, ["offline_post_stats", ?ONE]))
    after
        ok = offline_post_node:reload(Node, Everybody)
    end.

may(Config, User, Statuses) ->
    Headers = [{"Authorization", "Basic " ++ base64:encode_to_string(User ++ "@" ?ONE ":secret")} || User =/= none],
    Ask = fun(Command, Json) -> element(1, offline_post_node:http(?config(node, Config), Command, Json, Headers)) end,
    Host = "{\"host\": \"" ?ONE "\"}",
    ?assertEqual(Statuses, [Ask("offline_post_status", "{}"), Ask("offline_post_stats", Host), Ask("offline_post_resume", Host)]),
    ?assertEqual(403, Ask("status", "{}")).

%% Whoever comes first brings them, whoever goes last takes them away.
first_and_last_host(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    Known = fun() -> [] =/= [C || {C, _, _} <- offline_post_node:call(Node, ejabberd_commands, list_commands, []),
                                  lists:prefix("offline_post_", atom_to_list(C))] end,
    [begin
         ok = offline_post_node:reload(Node, options(Hosts, Backend)),
         ?assertEqual({Hosts, Hosts =/= []}, {Hosts, Known()}),
         [?assertMatch({Host, {0, _}}, {Host, ctl(Config, ["offline_post_stats", Host])}) || Host <- Hosts]
     end || Hosts <- [[?ONE], [?TWO], [], [?TWO], [?ONE, ?TWO]]].

%% What an older version has registered is replaced when this one starts, while it runs elsewhere.
another_version(Config) ->
    Node = ?config(node, Config),
    Ask = fun(Function, Args) -> offline_post_node:call(Node, ejabberd_commands, Function, Args) end,
    Known = #ejabberd_commands{longdesc = Long} = Ask(get_command_definition, [offline_post_pause]),
    ok = Ask(unregister_commands, [[Known]]),
    ok = Ask(register_commands, [mod_offline_post, [Known#ejabberd_commands{longdesc = "of old"}]]),
    [ok = offline_post_node:call(Node, gen_mod, Change, [<<?ONE>>, mod_offline_post]) || Change <- [stop_module, start_module]],
    ?assertMatch(#ejabberd_commands{longdesc = Long}, Ask(get_command_definition, [offline_post_pause])),
    ok = offline_post_node:reload(Node, options([], ?config(backend, Config))),
    ?assertEqual([], [C || {C, _, _} <- Ask(list_commands, []), lists:prefix("offline_post_", atom_to_list(C))]),
    ok = offline_post_node:reload(Node, options([?ONE, ?TWO], ?config(backend, Config))).

%%%

%% And what their help must say.
commands() ->
    [{"offline_post_status", ["healthy", "degraded"]}, {"offline_post_test", ["host", "user", "hidden"]},
     {"offline_post_flush", ["host", "resume"]}, {"offline_post_stats", ["host", "counters"]}, {"offline_post_pause", ["outlives a restart"]}, {"offline_post_resume", ["410"]},
     {"offline_post_dead_list", ["which", "after", "100 at a time"]}, {"offline_post_dead_show", ["id", "answer"]},
     {"offline_post_dead_replay", ["which", "once more"]}, {"offline_post_dead_drop", ["which", "Throw"]},
     {"offline_post_check_config", ["VM of its own", "reload_config"]},
     {"offline_post_import", ["file", "mod_offline_post.db-wal", "FILE.imported"]}].

%% Both virtual hosts are always there; the module runs for these.
options(Hosts, Backend) ->
    Ours = ["post_url: \"", offline_post_backend:url(Backend), "\"\nretry_schedule: [1 h]\nshutdown_timeout: 500 ms\n"],
    #{api => true,
      hosts => [{Host, case lists:member(Host, Hosts) of
                           true -> #{offline_post => Ours};
                           false -> #{}
                       end} || Host <- [?ONE, ?TWO]]}.

%% Sends messages that the backend refuses; their ids.
kill(Config, Host, Texts) ->
    [say(Config, Host, Text) || Text <- Texts],
    Posts = offline_post_backend:await(?config(backend, Config), length(Texts)),
    settled(Config, Host),
    ?assertEqual([unicode:characters_to_binary(Text) || Text <- Texts], [text(Post) || Post <- Posts]),
    [id(Post) || Post <- Posts].

by_text(#{body := Body}) ->
    case proplists:get_value(<<"body">>, uri_string:dissect_query(Body)) of
        <<"413", _/binary>> -> {reply, 413, [], <<"no, thank you">>};
        <<"400", _/binary>> -> {reply, 400, [], <<"no">>};
        _ -> {reply, 200}
    end.

say(Config, Host, Text) ->
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", "anna@" ++ Host, Text).

settled(Config, Host) ->
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(?config(node, Config), Host)) =:= 0 end).

text(#{body := Body}) ->
    proplists:get_value(<<"body">>, uri_string:dissect_query(Body)).

id(#{headers := Headers}) ->
    proplists:get_value(<<"webhook-id">>, Headers).

ctl(Config, Args) ->
    offline_post_node:ctl(?config(node, Config), Args).

http(Config, Command, Json) ->
    offline_post_node:http(?config(node, Config), Command, Json).

lines(Text) ->
    binary:split(Text, <<"\n">>, [global, trim_all]).

%% The value behind a name, in a list of both.
field(Name, Text) ->
    hd([Value || Line <- lines(Text), [N, Value] <- [binary:split(Line, <<"\t">>)], N =:= list_to_binary(Name)]).

contains(Text, Parts) ->
    [?assertNotEqual({Part, nomatch, Text}, {Part, binary:match(Text, unicode:characters_to_binary(Part)), Text}) || Part <- Parts].
