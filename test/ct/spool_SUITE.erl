%% What can be wrong with the spool, as an operator meets it: each is a clear line in the log that says what to do, the
%% law holds, and messages go on being delivered.
-module(spool_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([private/1, missing_directory/1, no_file/1, unwritable/1, corrupt/1, newer/1, locked/1, removed/1, full/1, short_of_room/1,
         differing/1, changed_by_reload/1, in_memory/1]).

-define(HOST, "localhost").
-define(OTHER, "other.localhost").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [private, missing_directory, no_file, unwritable, corrupt, newer, locked, removed, full, short_of_room, differing, changed_by_reload,
     in_memory].

init_per_suite(Config) ->
    [{backend, offline_post_backend:start()} | Config].

end_per_suite(Config) ->
    offline_post_backend:stop(?config(backend, Config)).

%% Each case starts its node, with a directory of its own beside ejabberd's.
init_per_testcase(Case, Config) when Case =:= unwritable; Case =:= full ->
    case offline_post_node:unprivileged() of
        undefined -> {skip, "only root can make a directory that is another user's, or mount a small disk"};
        _ -> init(Config)
    end;
init_per_testcase(_Case, Config) ->
    init(Config).

init(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Dir = string:trim(os:cmd("mktemp -d")),
    ok = file:change_mode(Dir, 8#755),
    [{dir, Dir} | Config].

end_per_testcase(_Case, Config) ->
    _ = os:cmd("umount " ++ ?config(dir, Config) ++ " 2>/dev/null"),
    ok = file:del_dir_r(?config(dir, Config)).

%% In ejabberd's own spool directory, for nobody else to read.
private(Config) ->
    Node = start(Config, ""),
    delivers(Config, Node, durable),
    Files = filelib:wildcard(filename:join(offline_post_node:spool(Node), "mod_offline_post.db*")),
    ?assertMatch([_ | _], Files),
    [?assertEqual({File, 8#600}, {File, mode(File)}) || File <- Files],
    ?assertEqual(2, offline_post_node:threads(Node)),
    #{spool_bytes := Bytes} = offline_post_node:stats(Node, ?HOST),
    ?assert(Bytes > 0),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% Something else in the file's place.
%% Perhaps a disk that is mounted late: ejabberd starts all the same.
missing_directory(Config) ->
    Node = start(Config, ["spool_dir: \"", filename:join(?config(dir, Config), "missing"), "\"\n"]),
    refuses(Config, Node, ["missing", "create the directory"]),
    ?assertEqual(0, offline_post_node:stop(Node)).

no_file(Config) ->
    ok = file:make_dir(filename:join(?config(dir, Config), "mod_offline_post.db")),
    Node = start(Config, ["sync_commit: true\n", spool_dir(Config)]),
    refuses(Config, Node, ["mod_offline_post.db"]),
    %% sync_commit cannot keep its word, and counts that.
    Clients = offline_post_client:start(),
    offline_post_node:register(Node, "bob", ?HOST, "bob-password"),
    offline_post_client:login(Clients, "bob", "bob@" ?HOST, Node),
    offline_post_client:message(Clients, "bob", "anna@" ?HOST, "in memory"),
    offline_post_backend:await(?config(backend, Config)),
    offline_post_wait:until(fun() -> maps:get(uncommitted, offline_post_node:stats(Node, ?HOST)) =:= 1 end),
    offline_post_client:stop(Clients),
    ?assertEqual(0, offline_post_node:stop(Node)).

unwritable(Config) ->
    Node = start(Config, spool_dir(Config), #{user => offline_post_node:unprivileged()}),
    refuses(Config, Node, ["Permission denied", "let the user that runs ejabberd write there"]),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% Set aside, never deleted.
corrupt(Config) ->
    Node = with_backlog(Config),
    File = file(Config),
    Garbage = binary:copy(<<"garbage ">>, 10000),
    ok = file:write_file(File, Garbage),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    Again = offline_post_node:boot(Node),
    offline_post_node:await_log(Again, "It is kept as " ++ File ++ ".corrupt-"),
    [Aside] = [Name || Name <- filelib:wildcard(File ++ ".corrupt-*"), filename:extension(Name) =/= "-wal",
                       re:run(Name, "-(wal|journal)$", [{capture, none}]) =:= nomatch],
    ?assertEqual({ok, Garbage}, file:read_file(Aside)),
    delivers(Config, Again, durable),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% Not touched, and used again by the version that can read it.
newer(Config) ->
    Node = with_backlog(Config),
    File = file(Config),
    Version = sqlite(File, "PRAGMA user_version"),
    "" = sqlite(File, "PRAGMA user_version = 99"),
    {ok, Bytes} = file:read_file(File),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    Again = offline_post_node:boot(Node),
    refuses(Config, Again, ["written by a newer version", "install that version again"]),
    0 = offline_post_node:finish(Again, init_stop),
    ?assertEqual({ok, Bytes}, file:read_file(File)),
    "" = sqlite(File, "PRAGMA user_version = " ++ Version),
    Mended = offline_post_node:boot(Again),
    ?assertEqual(<<"waits">>, text(offline_post_backend:await(?config(backend, Config)))),
    delivers(Config, Mended, durable),
    ?assertEqual(0, offline_post_node:stop(Mended)).

locked(Config) ->
    Node = with_backlog(Config),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    Other = offline_post_port:open("/usr/bin/python3",
                                   ["-c", "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\n"
                                    "c.execute('PRAGMA locking_mode=EXCLUSIVE')\nc.execute('BEGIN EXCLUSIVE')\nprint('locked',flush=True)\nsys.stdin.read()",
                                    file(Config)], [{line, 1000}]),
    receive {Other, {data, {eol, <<"locked">>}}} -> ok after 10000 -> ct:fail(not_locked) end,
    Again = offline_post_node:boot(Node),
    refuses(Config, Again, ["another process uses it", "spool_dir"]),
    0 = offline_post_node:finish(Again, init_stop),
    true = port_close(Other),
    Freed = offline_post_node:boot(Again),
    ?assertEqual(<<"waits">>, text(offline_post_backend:await(?config(backend, Config)))),
    delivers(Config, Freed, durable),
    ?assertEqual(0, offline_post_node:stop(Freed)).

%% A directory that is taken away while the node runs.
removed(Config) ->
    Dir = filename:join(?config(dir, Config), "spool"),
    ok = file:make_dir(Dir),
    Node = start(Config, ["spool_dir: \"", Dir, "\"\n"]),
    delivers(Config, Node, durable),
    ok = file:rename(Dir, Dir ++ ".away"),
    [delivers(Config, Node) || _ <- lists:seq(1, 3)],
    ok = file:make_dir(Dir),
    offline_post_wait:until(fun() -> delivers(Config, Node), maps:get(spool, offline_post_node:stats(Node, ?HOST)) =:= durable end, 60000),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% A disk that fills up under a backlog: messages go on waiting in memory, nothing is lost, and with room they are on
%% the disk again.
full(Config) ->
    case os:cmd("mount -t tmpfs -o size=6m tmpfs " ++ ?config(dir, Config)) of
        "" -> fill(Config);
        Refused -> {skip, "no small disk can be mounted: " ++ Refused}
    end.

fill(Config) ->
    {Dir, Backend} = {?config(dir, Config), ?config(backend, Config)},
    Node = start(Config, ["spool_min_free: 0\ntimeout: 60 s\n", spool_dir(Config)]),
    offline_post_backend:set(Backend, silent),
    Text = lists:duplicate(100000, $x),
    N = 100,
    [say(Node, Text) || _ <- lists:seq(1, N)],
    offline_post_wait:until(fun() -> maps:get(spool, offline_post_node:stats(Node, ?HOST)) =:= degraded end, 30000,
                            fun() -> offline_post_node:stats(Node, ?HOST) end),
    offline_post_node:await_log(Node, "free some space on the disk"),
    #{accepted := N, pending := N} = Stats = offline_post_node:stats(Node, ?HOST),
    ?assertEqual([], offline_post_law:violations(Stats)),
    "" = os:cmd("mount -o remount,size=100m " ++ Dir),
    offline_post_wait:until(fun() -> maps:get(spool, offline_post_node:stats(Node, ?HOST)) =:= durable end, 60000,
                            fun() -> offline_post_node:stats(Node, ?HOST) end),
    offline_post_node:await_log(Node, "is written again"),
    %% What was in memory is in the file.
    ?assertEqual(137, offline_post_node:finish(Node, kill)),
    offline_post_backend:posts(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Again = offline_post_node:boot(Node),
    Posts = offline_post_backend:await(Backend, N),
    ?assertEqual(N, length(lists:usort([proplists:get_value(<<"webhook-id">>, Headers) || #{headers := Headers} <- Posts]))),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Again, ?HOST)) =:= 0 end),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% Mnesia needs the disk, too.
short_of_room(Config) ->
    Node = start(Config, ["spool_min_free: 1000000000000000\n", spool_dir(Config)]),
    offline_post_wait:until(fun() ->
                                    say(Node, "no room"),
                                    maps:get(rejected, offline_post_node:stats(Node, ?HOST)) > 0
                            end),
    offline_post_node:await_log(Node, "spool_min_free leaves 1000000000000000 to others"),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?HOST))),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% One spool for the node: who comes second with another has no notifications, and the log says why.
differing(Config) ->
    [begin
         Node = offline_post_node:start(options(Config, "", More)),
         offline_post_node:await_log(Node, "mod_offline_post: no notifications for "),
         [Line] = [L || L <- binary:split(offline_post_node:log(Node), <<"\n">>, [global]), binary:match(L, <<"no notifications for">>) =/= nomatch],
         [?assertNotEqual({nomatch, Line}, {binary:match(Line, list_to_binary(Part)), Line}) || Part <- [Said, "same for all virtual hosts"]],
         ?assertEqual([stopped], [stopped || Host <- [?HOST, ?OTHER], state(Node, Host) =:= stopped]),
         ?assertEqual(0, offline_post_node:stop(Node))
     end || {More, Said} <- [{spool_dir(Config), "spool_dir "}, {"spool: false\n", "spool: false"}]].

state(Node, Host) ->
    case offline_post_node:stats(Node, Host) of
        #{state := State} -> State;
        undefined -> stopped
    end.

changed_by_reload(Config) ->
    Node = start(Config, ""),
    ok = offline_post_node:reload(Node, options(Config, spool_dir(Config))),
    offline_post_node:await_log(Node, "the old settings stay for " ?HOST),
    offline_post_node:await_log(Node, "takes effect when the module or the node is restarted"),
    delivers(Config, Node, durable),
    ?assertEqual([], filelib:wildcard(file(Config))),
    0 = offline_post_node:finish(Node, init_stop),
    Again = offline_post_node:boot(Node),
    delivers(Config, Again, durable),
    ?assertMatch([_], filelib:wildcard(file(Config))),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% spool: false. What waits ends with the node, and the log says how much.
in_memory(Config) ->
    Node = start(Config, "spool: false\nsync_commit: true\n"),
    offline_post_node:await_log(Node, "sync_commit has no effect for " ?HOST),
    delivers(Config, Node, memory),
    ?assertEqual([], filelib:wildcard(filename:join(offline_post_node:spool(Node), "mod_offline_post*"))),
    ?assertEqual(1, offline_post_node:threads(Node)),
    offline_post_backend:set(?config(backend, Config), silent),
    say(Node, "lost"),
    offline_post_backend:await(?config(backend, Config)),
    0 = offline_post_node:finish(Node, init_stop),
    ?assertEqual(1, offline_post_node:count_log(Node, "1 messages for " ?HOST " are not delivered yet: they wait in memory")),
    Again = offline_post_node:boot(Node),
    ?assertMatch(#{accepted := 0, pending := 0}, offline_post_node:stats(Again, ?HOST)),
    ?assertEqual(0, offline_post_node:stop(Again)).

%%%

start(Config, More) ->
    start(Config, More, #{}).

start(Config, More, NodeOptions) ->
    Node = offline_post_node:start(maps:merge(options(Config, More), NodeOptions)),
    offline_post_node:register(Node, "anna", ?HOST, "x"),
    Node.

options(Config, More) ->
    #{hosts => [{?HOST, #{offline_post => [url(Config), More]}}]}.

options(Config, More, OtherMore) ->
    #{hosts => [{?HOST, #{offline_post => [url(Config), More]}}, {?OTHER, #{offline_post => [url(Config), OtherMore]}}]}.

url(Config) ->
    ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\nshutdown_timeout: 300 ms\n"].

spool_dir(Config) ->
    ["spool_dir: \"", ?config(dir, Config), "\"\n"].

file(Config) ->
    filename:join(?config(dir, Config), "mod_offline_post.db").

%% A node that has stopped, with one message in its spool.
with_backlog(Config) ->
    Node = start(Config, spool_dir(Config)),
    offline_post_backend:set(?config(backend, Config), silent),
    say(Node, "waits"),
    offline_post_backend:await(?config(backend, Config)),
    0 = offline_post_node:finish(Node, init_stop),
    Node.

%% One line says what is wrong, with the file's directory; and messages are delivered from memory.
refuses(Config, Node, Parts) ->
    Consequence = "notifications wait in memory",
    offline_post_node:await_log(Node, Consequence),
    [Line | _] = [L || L <- binary:split(offline_post_node:log(Node), <<"\n">>, [global]),
                       binary:match(L, list_to_binary(Consequence)) =/= nomatch],
    ct:pal("~ts", [Line]),
    [?assertNotEqual({nomatch, Part, Line}, {binary:match(Line, list_to_binary(Part)), Part, Line}) ||
        Part <- ["[error]", ?config(dir, Config) | Parts]],
    delivers(Config, Node, degraded).

delivers(Config, Node, Spool) ->
    ?assertMatch(#{spool := Spool}, offline_post_node:stats(Node, ?HOST)),
    delivers(Config, Node).

delivers(Config, Node) ->
    say(Node, "hello"),
    ?assertEqual(<<"hello">>, text(offline_post_backend:await(?config(backend, Config)))),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, ?HOST)) =:= 0 end),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?HOST))).

say(Node, Text) ->
    offline_post_node:route(Node, "bob@elsewhere.example/phone", "anna@" ?HOST, Text).

text(#{body := Body}) ->
    proplists:get_value(<<"body">>, uri_string:dissect_query(Body)).

mode(File) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(File),
    Mode band 8#777.

%% What the statement answers: its one value, or nothing.
sqlite(File, Statement) ->
    string:trim(os:cmd("/usr/bin/python3 -c \"import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); r=c.execute(sys.argv[2]).fetchall(); "
                       "c.commit(); c.close(); print(*[v for (v,) in r])\" '" ++ File ++ "' '" ++ Statement ++ "'")).
