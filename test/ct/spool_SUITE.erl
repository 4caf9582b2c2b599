%% What can be wrong with the spool, as an operator meets it: each is a clear line in the log that says what to do, the
%% law holds, and messages go on being delivered.
-module(spool_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([private/1, missing_directory/1, no_file/1, unwritable/1, corrupt/1, damaged_while_it_runs/1, newer/1, locked/1,
         removed/1, full/1, short_of_room/1, failing_flush/1, slow_flush/1, hanging_disk/1, hanging_at_start/1, differing/1, changed_by_reload/1, in_memory/1]).

-define(HOST, "localhost").
-define(OTHER, "other.localhost").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [private, missing_directory, no_file, unwritable, corrupt, damaged_while_it_runs, newer, locked, removed, full, short_of_room,
     failing_flush, slow_flush, hanging_disk, hanging_at_start, differing, changed_by_reload, in_memory].

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

%% Perhaps a disk that is mounted late: ejabberd starts all the same.
missing_directory(Config) ->
    Node = start(Config, ["spool_dir: \"", filename:join(?config(dir, Config), "missing"), "\"\n"]),
    refuses(Config, Node, ["missing", "create the directory"]),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% Something else in the file's place.
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

%% Damage while the node runs, which shows when it reads on in its backlog: the file is kept, a new one begun; what was in
%% memory is delivered, what was in the file only is counted out.
damaged_while_it_runs(Config) ->
    Backend = ?config(backend, Config),
    %% Nobody else keeps them: a thousand a second would be much for mod_offline.
    Node = offline_post_node:start(#{hosts => [{?HOST, #{modules => "mod_ping: {}\n",
                                                         offline_post => [url(Config), "order: none\n", spool_dir(Config)]}}]}),
    offline_post_node:register(Node, "anna", ?HOST, "x"),
    ok = offline_post_node:call(Node, mod_offline_post, pause, [<<?HOST>>]),
    %% Far more than SQLite and the engine keep in memory.
    N = 4000,
    Message = offline_post_node:message(Node, "bob@" ?HOST "/phone", "anna@" ?HOST, lists:duplicate(4000, $x)),
    ok = offline_post_node:call(Node, lists, foreach, [fun ejabberd_router:route/1, lists:duplicate(N, Message)]),
    await_pending(Node, N),
    0 = offline_post_node:finish(Node, init_stop),
    Again = offline_post_node:boot(Node),
    ?assertMatch(#{spool := durable, accepted := N, pending := N}, offline_post_node:stats(Again, ?HOST)),
    File = file(Config),
    {ok, #file_info{size = Size}} = file:read_file_info(File),
    {ok, Io} = file:open(File, [read, write, raw, binary]),
    ok = file:pwrite(Io, Size div 2, binary:copy(<<"garbage ">>, Size div 16)),
    ok = file:close(Io),
    ok = offline_post_node:call(Again, mod_offline_post, resume, [<<?HOST>>]),
    offline_post_node:await_log(Again, "It is kept as " ++ File ++ ".corrupt-"),
    await_spool(Again, durable),
    await_pending(Again, 0),
    #{accepted := Accepted, delivered := Delivered} = Stats = offline_post_node:stats(Again, ?HOST),
    ct:pal("~B of ~B were delivered: ~p", [Delivered, N, Stats]),
    ?assert(Delivered > 0 andalso Delivered < N),
    ?assertEqual(Accepted, Delivered),
    ?assertEqual(Delivered, length(lists:usort([id(Post) || Post <- offline_post_backend:await(Backend, Delivered)]))),
    ?assertMatch([_ | _], filelib:wildcard(File ++ ".corrupt-*")),
    delivers(Config, Again, durable),
    ?assertEqual(0, offline_post_node:stop(Again)),
    ?assertEqual("ok", sqlite(File, "PRAGMA integrity_check")).

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

%% A flush that fails may have thrown away what it was to keep: the file is opened anew, and what was flushed in vain is
%% written again. Nothing is lost, not even to a kill -9 a moment later.
failing_flush(Config) ->
    Backend = ?config(backend, Config),
    Node = start(Config, ["timeout: 60 s\n", spool_dir(Config)], faulty(Config)),
    delivers(Config, Node, durable),
    offline_post_backend:set(Backend, silent),
    order(Config, "fail"),
    Texts = [integer_to_list(I) || I <- lists:seq(1, 50)],
    [say(Node, Text) || Text <- Texts],
    await_spool(Node, degraded),
    offline_post_node:await_log(Node, "mod_offline_post.db"),
    ?assertMatch(#{accepted := 51, delivered := 1, pending := 50}, offline_post_node:stats(Node, ?HOST)),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?HOST))),
    order(Config, "work"),
    await_spool(Node, durable),
    offline_post_node:await_log(Node, "is written again"),
    ?assertEqual(137, offline_post_node:finish(Node, kill)),
    offline_post_backend:posts(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Again = offline_post_node:boot(Node),
    ?assertEqual([list_to_binary(Text) || Text <- Texts], [text(Post) || Post <- offline_post_backend:await(Backend, 50)]),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Again, ?HOST)) =:= 0 end),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% sync_commit waits for a disk for a second, counts that it took longer, and lets the session go on; the late answer
%% disturbs nobody.
slow_flush(Config) ->
    Node = start(Config, ["sync_commit: true\n", spool_dir(Config)], faulty(Config)),
    Clients = offline_post_client:start(),
    offline_post_node:register(Node, "bob", ?HOST, "bob-password"),
    offline_post_client:login(Clients, "bob", "bob@" ?HOST, Node),
    Session = offline_post_node:call(Node, ejabberd_sm, get_session_pid, [<<"bob">>, <<?HOST>>, <<"test">>]),
    order(Config, "delay 2500"),
    Start = erlang:monotonic_time(millisecond),
    offline_post_client:message(Clients, "bob", "anna@" ?HOST, "slow"),
    offline_post_client:ping_ms(Clients, "bob"),
    Waited = erlang:monotonic_time(millisecond) - Start,
    ct:pal("the session waited for ~B ms", [Waited]),
    ?assert(Waited >= 1000 andalso Waited < 2500),
    ?assertMatch(#{commit_timeouts := 1, uncommitted := 0, delivered := 0}, offline_post_node:stats(Node, ?HOST)),
    offline_post_node:await_log(Node, "commits were not confirmed within 1000 ms (for " ?HOST "): the disk is slow"),
    %% Nothing is sent before its commit.
    ?assertEqual(<<"slow">>, text(offline_post_backend:await(?config(backend, Config)))),
    ?assert(erlang:monotonic_time(millisecond) - Start >= 2500),
    order(Config, "work"),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, ?HOST)) =:= 0 end),
    ?assertEqual({message_queue_len, 0}, offline_post_node:call(Node, erlang, process_info, [Session, message_queue_len])),
    offline_post_client:message(Clients, "bob", "anna@" ?HOST, "fast"),
    offline_post_backend:await(?config(backend, Config)),
    offline_post_client:is_quick(Clients, "bob"),
    ?assertMatch(#{commit_timeouts := 1, uncommitted := 0}, offline_post_node:stats(Node, ?HOST)),
    offline_post_client:stop(Clients),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% Nothing but the notifications waits for a disk that hangs. It hangs until the last line: each answer comes meanwhile.
hanging_disk(Config) ->
    Backend = ?config(backend, Config),
    Node = start(Config, spool_dir(Config), faulty(Config)),
    delivers(Config, Node, durable),
    order(Config, "hang"),
    say(Node, "waits"),
    offline_post_wait:until(fun() -> maps:get(disk_silent, offline_post_node:stats(Node, ?HOST)) >= 5 end, 30000),
    Silent = <<"the disk of spool_dir has not answered for ">>,
    Ask = fun(Module, Function, Args) -> offline_post_node:call(Node, Module, Function, Args) end,
    [Status] = [Line || Line <- Ask(mod_offline_post_commands, status, []), element(1, Line) =:= <<?HOST>>],
    ?assertMatch({_, _}, binary:match(element(4, Status), Silent)),
    ?assertMatch(#{running := true}, Ask(mod_offline_post_nif, info, [])),
    ?assertMatch(#{state := healthy}, Ask(mod_offline_post_operator, observe, [<<?HOST>>])),
    ?assertMatch({ok, _}, Ask(mod_offline_post_commands, pause, [<<?HOST>>])),
    offline_post_wait:until(fun() -> maps:get(state, offline_post_node:stats(Node, ?HOST)) =:= paused end),
    ?assertMatch({ok, _}, Ask(mod_offline_post_commands, resume, [<<?HOST>>])),
    {error, timeout, _, Why} = Ask(mod_offline_post_commands, dead_show, [<<?HOST>>, <<"none">>]),
    ?assertMatch({_, _}, binary:match(Why, Silent)),
    offline_post_node:await_log(Node, "has not answered for "),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?HOST))),
    ?assertEqual(0, offline_post_node:finish(Node, init_stop)),
    ?assertEqual(1, offline_post_node:count_log(Node, "The module has stopped without it")),
    order(Config, "work"),
    ?assertEqual([], offline_post_backend:posts(Backend)),
    Again = offline_post_node:boot(Node),
    %% It was written, though not flushed, and only the process has ended.
    ?assertEqual(<<"waits">>, text(offline_post_backend:await(Backend))),
    delivers(Config, Again, durable),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% A node starts without a disk that hangs, and says so.
hanging_at_start(Config) ->
    order(Config, "hang"),
    Node = start(Config, spool_dir(Config), faulty(Config)),
    refuses(Config, Node, ["has not answered for 10 s"]),
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

%% A node whose disk, under the spool only, does what order/2 says (test/support/disk_faults.cpp).
faulty(Config) ->
    Library = filename:join(?config(priv_dir, Config), "disk_faults.so"),
    Source = filename:join([offline_post_node:root(), "test", "support", "disk_faults.cpp"]),
    "" = os:cmd("c++ -std=c++20 -Wall -Wextra -Werror -fPIC -shared -o '" ++ Library ++ "' '" ++ Source ++ "'"),
    #{env => [{"LD_PRELOAD", Library}, {"DISK_FAULTS", orders(Config)}]}.

order(Config, Order) ->
    %% At once, as the other side reads it at any moment.
    ok = file:write_file(orders(Config) ++ ".new", Order),
    ok = file:rename(orders(Config) ++ ".new", orders(Config)).

orders(Config) ->
    filename:join(?config(dir, Config), "orders").

await_spool(Node, Spool) ->
    offline_post_wait:until(fun() -> maps:get(spool, offline_post_node:stats(Node, ?HOST)) =:= Spool end, 60000,
                            fun() -> offline_post_node:stats(Node, ?HOST) end).

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

await_pending(Node, N) ->
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, ?HOST)) =:= N end, 30000,
                            fun() -> offline_post_node:stats(Node, ?HOST) end).

id(#{headers := Headers}) ->
    proplists:get_value(<<"webhook-id">>, Headers).

text(#{body := Body}) ->
    proplists:get_value(<<"body">>, uri_string:dissect_query(Body)).

mode(File) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(File),
    Mode band 8#777.

%% What the statement answers: its one value, or nothing.
sqlite(File, Statement) ->
    string:trim(os:cmd("/usr/bin/python3 -c \"import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); r=c.execute(sys.argv[2]).fetchall(); "
                       "c.commit(); c.close(); print(*[v for (v,) in r])\" '" ++ File ++ "' '" ++ Statement ++ "'")).
