%% Another version takes over, with a backlog: from every earlier schema of the spool, with the library exchanged, with the
%% Erlang part alone, and back to a version that cannot read the file. Nothing is lost, nothing comes twice.
-module(upgrade_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([schema_1/1, schema_2/1, schema_3/1, schema_4/1, library/1, erlang_part/1, there_and_back/1, backup/1]).

%% As this version writes it.
-define(SCHEMA, "5").
-define(HOST, "example.org").
-define(OTHER, "other.org").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [schema_1, schema_2, schema_3, schema_4, library, erlang_part, there_and_back, backup].

init_per_suite(Config) ->
    [{backend, offline_post_backend:start()} | Config].

end_per_suite(Config) ->
    offline_post_backend:stop(?config(backend, Config)).

%% Each starts nodes of its own, with a spool directory beside ejabberd's.
init_per_testcase(_Case, Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    [{dir, string:trim(os:cmd("mktemp -d"))} | Config].

end_per_testcase(_Case, Config) ->
    ok = file:del_dir_r(?config(dir, Config)).

schema_1(Config) -> of_schema("1", Config).
schema_2(Config) -> of_schema("2", Config).
schema_3(Config) -> of_schema("3", Config).
schema_4(Config) -> of_schema("4", Config).

%% test/unit/spool_backlog_test.cpp has written it: to four users 12 messages, of which two were delivered, one died, one
%% was cancelled and one has failed three times; and one message of an endpoint that a 410 has paused.
of_schema(Version, Config) ->
    {ok, _} = file:copy(filename:join([offline_post_node:root(), "test/unit/data", "backlog-v" ++ Version ++ ".db"]), file(Config)),
    Node = start(Config, "dead_letter_retention: 3650 days\n"),
    Posts = offline_post_backend:await(?config(backend, Config), 9),
    ?assertEqual([list_to_binary(integer_to_list(N)) || N <- lists:seq(5, 13)],
                 lists:sort(fun(A, B) -> binary_to_integer(A) =< binary_to_integer(B) end,
                            [offline_post_case:text(Post) || Post <- Posts])),
    [?assertEqual(<<"msg_", (offline_post_case:field(<<"to">>, Post))/binary, "_", (offline_post_case:text(Post))/binary>>,
                  offline_post_case:id(Post)) || Post <- Posts],
    ?assertEqual([<<"8">>, <<"12">>], [offline_post_case:text(Post) || Post <- Posts, offline_post_case:field(<<"to">>, Post) =:= <<"user0">>]),
    await(Node, ?HOST, #{accepted => 12, delivered => 10, dead => 1, cancelled => 1, pending => 0, spool => durable}),
    await(Node, ?OTHER, #{accepted => 1, delivered => 1, pending => 0}),
    delivers(Config, Node),
    ?assertEqual(0, offline_post_node:stop(Node)),
    ?assertEqual(?SCHEMA, sqlite(file(Config), "PRAGMA user_version")).

%% What is installed beside a node that runs waits for its restart, library and modules alike.
library(Config) ->
    Node = start(Config, ""),
    Ids = backlog(Config, Node),
    {ok, Library} = file:read_file(installed(Node, "priv/mod_offline_post_nif.so")),
    replace(installed(Node, "priv/mod_offline_post_nif.so"), [Library, 0]),
    New = newer(Node, mod_offline_post_event),
    %% What runs goes on, over a reload too.
    {0, _} = offline_post_node:ctl(Node, ["reload_config"]),
    delivers(Config, Node, ?OTHER),
    restart_module(Node),
    offline_post_node:await_log(Node, "has changed since this node loaded it: restart the node"),
    ?assertNotEqual(New, offline_post_node:call(Node, mod_offline_post_event, module_info, [md5])),
    0 = offline_post_node:finish(Node, init_stop),
    Again = offline_post_node:boot(Node),
    ?assertEqual(New, offline_post_node:call(Again, mod_offline_post_event, module_info, [md5])),
    arrives(Config, Again, Ids),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% The same library: the new modules are in use at once.
erlang_part(Config) ->
    Node = start(Config, ""),
    Ids = backlog(Config, Node),
    New = [{Module, newer(Node, Module)} || Module <- [mod_offline_post, mod_offline_post_event, mod_offline_post_endpoint]],
    %% As module_upgrade does it.
    ok = offline_post_node:call(Node, gen_mod, stop_module, [list_to_binary(?HOST), mod_offline_post]),
    true = offline_post_node:call(Node, code, soft_purge, [mod_offline_post]),
    {module, mod_offline_post} = offline_post_node:call(Node, code, load_file, [mod_offline_post]),
    ok = offline_post_node:call(Node, gen_mod, start_module, [list_to_binary(?HOST), mod_offline_post]),
    [?assertEqual({Module, Md5}, {Module, offline_post_node:call(Node, Module, module_info, [md5])}) || {Module, Md5} <- New],
    arrives(Config, Node, Ids),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% An older version meets the file, which is then moved out of its way; and the newer one takes that over again.
there_and_back(Config) ->
    Node = start(Config, ""),
    Ids = backlog(Config, Node),
    0 = offline_post_node:finish(Node, init_stop),
    "" = sqlite(file(Config), "PRAGMA user_version = 99"),
    {ok, Bytes} = file:read_file(file(Config)),
    Older = offline_post_node:boot(Node),
    offline_post_node:await_log(Older, "written by a newer version (schema 99, this one knows"),
    ?assertMatch(#{spool := degraded}, offline_post_node:stats(Older, ?HOST)),
    0 = offline_post_node:finish(Older, init_stop),
    ?assertEqual({ok, Bytes}, file:read_file(file(Config))),

    Aside = file(Config) ++ ".newer",
    ok = file:rename(file(Config), Aside),
    Downgraded = offline_post_node:boot(Older),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    delivers(Config, Downgraded),
    {1, Refused} = offline_post_node:ctl(Downgraded, ["offline_post_import", Aside]),
    ?assertNotEqual(nomatch, string:find(Refused, "newer version (schema 99")),
    await(Downgraded, ?HOST, #{accepted => 1, pending => 0, spool => durable}),

    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    "" = sqlite(Aside, "PRAGMA user_version = " ?SCHEMA),
    {0, Imported} = offline_post_node:ctl(Downgraded, ["offline_post_import", Aside]),
    ?assertNotEqual(nomatch, string:find(Imported, "pending\t3\ndead\t0\n")),
    arrives(Config, Downgraded, Ids),
    ?assertEqual(0, offline_post_node:stop(Downgraded)).

%% docs/upgrade.md's commands, with the node stopped: the copy says what waits, and delivers it.
backup(Config) ->
    Node = start(Config, ""),
    Ids = backlog(Config, Node),
    0 = offline_post_node:finish(Node, init_stop),
    [[{"sh", Copy}, {"sh", Look}]] = [Blocks || {"Backup", Blocks} <- offline_post_document:sections("docs/upgrade.md")],
    Aside = filename:join(?config(dir, Config), "aside"),
    ok = file:make_dir(Aside),
    Here = fun(Text) -> string:trim(os:cmd(offline_post_document:replace(Text, [{"/var/lib/ejabberd", ?config(dir, Config)}, {"/root", Aside}]))) end,
    ?assertEqual("", Here(Copy)),
    ?assertEqual([?HOST "|mod_offline_post|3|0", ?OTHER "|mod_offline_post|0|0"], lists:sort(string:lexemes(Here(Look), "\n"))),
    ok = file:rename(filename:join(Aside, "mod_offline_post.db"), file(Config)),
    Restored = offline_post_node:boot(Node),
    arrives(Config, Restored, Ids),
    ?assertEqual(0, offline_post_node:stop(Restored)).

%%%

start(Config, More) ->
    Yaml = ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\nauth_token: \"secret\"\nshutdown_timeout: 300 ms\n"
            "retry_schedule: [1]\nspool_dir: \"", ?config(dir, Config), "\"\n", More],
    offline_post_node:start(#{hosts => [{Host, #{offline_post => Yaml}} || Host <- [?HOST, ?OTHER]]}).

file(Config) -> filename:join(?config(dir, Config), "mod_offline_post.db").

installed(Node, Path) -> filename:join([offline_post_node:dir(Node), "modules", "mod_offline_post", Path]).

%% Three messages that wait, because the receiver has trouble: the ids under which they were tried.
backlog(Config, Node) ->
    Backend = ?config(backend, Config),
    offline_post_node:register(Node, "anna", ?HOST, "x"),
    offline_post_backend:set(Backend, fun(Post) ->
        case offline_post_case:text(Post) of <<"waits", _/binary>> -> {reply, 503}; _ -> {reply, 200} end
    end),
    [say(Node, ?HOST, "waits " ++ integer_to_list(N)) || N <- [1, 2, 3]],
    await(Node, ?HOST, #{pending => 3}),
    Id = offline_post_case:id(offline_post_backend:await(Backend)),
    [Id].

%% All three, in their order, each once; the first under the id that it had.
arrives(Config, Node, [Id]) ->
    Self = self(),
    offline_post_backend:set(?config(backend, Config), fun(Post) -> Self ! {taken, Post}, {reply, 200} end),
    Taken = [receive {taken, Post} -> Post after 20000 -> ct:fail({missing, N}) end || N <- [1, 2, 3]],
    ?assertEqual([<<"waits 1">>, <<"waits 2">>, <<"waits 3">>], [offline_post_case:text(Post) || Post <- Taken]),
    ?assertEqual(Id, offline_post_case:id(hd(Taken))),
    await(Node, ?HOST, #{pending => 0, dead => 0}),
    receive {taken, More} -> ct:fail({twice, More}) after 0 -> ok end,
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?HOST))).

delivers(Config, Node) -> delivers(Config, Node, ?HOST).

delivers(Config, Node, Host) ->
    Before = maps:get(delivered, offline_post_node:stats(Node, Host)),
    _ = offline_post_backend:posts(?config(backend, Config)),
    say(Node, Host, "hello"),
    await(Node, Host, #{delivered => Before + 1}),
    ?assert(lists:member(<<"hello">>, [offline_post_case:text(Post) || Post <- offline_post_backend:posts(?config(backend, Config))])),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, Host))).

say(Node, Host, Text) ->
    [offline_post_node:register(Node, "anna", Host, "x") || not offline_post_node:call(Node, ejabberd_auth, user_exists, [<<"anna">>, list_to_binary(Host)])],
    offline_post_node:route(Node, "romeo@elsewhere.example/phone", "anna@" ++ Host, Text).

await(Node, Host, Expected) ->
    offline_post_wait:until(fun() -> maps:with(maps:keys(Expected), offline_post_node:stats(Node, Host)) =:= Expected end, 20000,
                            fun() -> {Expected, offline_post_node:stats(Node, Host)} end).

restart_module(Node) ->
    ok = offline_post_node:call(Node, gen_mod, stop_module, [list_to_binary(?HOST), mod_offline_post]),
    ok = offline_post_node:call(Node, gen_mod, start_module, [list_to_binary(?HOST), mod_offline_post]).

%% As an installer does: a new file under the old name.
replace(Path, Bytes) ->
    ok = file:delete(Path),
    ok = file:write_file(Path, Bytes).

%% Another version of a module on the disk, and its digest.
newer(Node, Module) ->
    Source = proplists:get_value(source, Module:module_info(compile)),
    Given = [Option || {i, _} = Option <- proplists:get_value(options, Module:module_info(compile))],
    {ok, Module, Beam} = compile:file(Source, [binary, {extra_chunks, [{<<"Vers">>, <<"2">>}]}, no_line_info | Given]),
    replace(installed(Node, filename:join("ebin", atom_to_list(Module) ++ ".beam")), Beam),
    {ok, {Module, Md5}} = beam_lib:md5(Beam),
    ?assertNotEqual(Md5, offline_post_node:call(Node, Module, module_info, [md5])),
    Md5.

%% What the statement answers: its one value, or nothing.
sqlite(File, Statement) ->
    string:trim(os:cmd("/usr/bin/python3 -c \"import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); r=c.execute(sys.argv[2]).fetchall(); "
                       "c.commit(); c.close(); print(*[v for (v,) in r])\" '" ++ File ++ "' '" ++ Statement ++ "'")).
