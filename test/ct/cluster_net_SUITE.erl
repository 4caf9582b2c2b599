%% Two nodes of one cluster on a network of their own: one is killed, cut off, comes back; users move between them. Each
%% node delivers what it has accepted, and the receiver takes every message exactly once.
-module(cluster_net_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([killed/1, cut_off/1, parted/1, moving/1, taken_over/1]).

-define(HOST, "localhost").
-define(SERVER, <<?HOST>>).
-define(TIMEOUT, 20000).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [killed, cut_off, parted, moving, taken_over].

init_per_suite(Config) ->
    case offline_post_net:missing() of
        "" -> Config;
        Why -> {skip, Why}
    end.

end_per_suite(_Config) ->
    ok.

%% Each case has its own cluster: what it does to one cannot be undone.
init_per_testcase(_Case, Config) ->
    Net = offline_post_net:start(2),
    try start(Net) of
        Started -> [{net, Net} | Started] ++ Config
    catch
        Class:Reason:Stack ->
            offline_post_net:stop(Net),
            erlang:raise(Class, Reason, Stack)
    end.

start(Net) ->
    Switch = offline_post_net:switch(Net),
    Backend = offline_post_backend:start(#{at => Switch}),
    Options = #{hosts => [{?HOST, #{modules => "mod_offline: {}\nmod_ping: {}\nmod_stream_mgmt: {}\n",
                                    offline_post => ["post_url: \"", offline_post_backend:url(Backend), "\"\n",
                                                     "retry_schedule: [1]\ncancel_when_online: true\n"]}}],
                %% How long until a node that is silent counts as gone (s).
                top => "net_ticktime: 12\n", erl => ["-kernel", "net_ticktime", "12"]},
    First = offline_post_node:start(Options#{at => offline_post_net:host(1, Net)}),
    try offline_post_node:start(Options#{at => offline_post_net:host(2, Net), joins => First}) of
        Second ->
            [offline_post_node:register(First, User, ?HOST, [User, "-password"]) || User <- ["bob", "carol", "dave" | users()]],
            dumped = offline_post_node:call(First, mnesia, dump_log, []),
            [{nodes, [First, Second]}, {backend, Backend},
             {clients, offline_post_client:start(offline_post_net:enter(Switch))}]
    catch
        Class:Reason:Stack ->
            offline_post_node:cleanup(First),
            erlang:raise(Class, Reason, Stack)
    end.

end_per_testcase(_Case, Config) ->
    Laws = [offline_post_law:violations(stats(current(Node))) || Node <- ?config(nodes, Config), is_up(Node)],
    offline_post_client:stop(?config(clients, Config)),
    [offline_post_node:cleanup(Node) || Node <- lists:reverse(?config(nodes, Config))],
    offline_post_backend:stop(?config(backend, Config)),
    offline_post_net:stop(?config(net, Config)),
    case lists:append(Laws) of
        [] -> ok;
        Violations -> {fail, Violations}
    end.

%% The survivor goes on, and takes over the sessions; what the dead node has accepted waits in its file for its restart.
killed(Config) ->
    [First, Second] = ?config(nodes, Config),
    refuse(Config),
    online(First, "carol", Config),
    Of = fun(Node) -> [say(Node, User, text(Node, User, N)) || N <- lists:seq(1, 4), User <- users()] end,
    [FirstTexts, SecondTexts] = [Of(Node) || Node <- [First, Second]],
    [await(Node, #{pending => 20}) || Node <- [First, Second]],
    offline_post_wait:until(fun() -> maps:get(attempts, stats(First)) > 0 end),
    137 = offline_post_node:kill(First),
    sees(Second, [Second]),
    ?assertEqual(20, waiting_in_file(First)),

    take(Config),
    AtSecond = taken(SecondTexts),
    await(Second, #{pending => 0, delivered => 20}),
    Late = say(Second, "carol", "her session died with the node"),
    AtCarol = taken([Late]),
    ?assertEqual(20, waiting_in_file(First)),

    Again = offline_post_node:boot(First),
    AtFirst = taken(FirstTexts),
    sees(Again, [Again, Second]),
    [in_order(Node, Taken) || {Node, Taken} <- [{First, AtFirst}, {Second, AtSecond}]],
    await(Again, #{pending => 0, accepted => 20, delivered => 20}),
    await(Second, #{pending => 0, accepted => 21, delivered => 21}),
    once(AtFirst ++ AtSecond ++ AtCarol, Config).

%% Cut off from the other node and from the receiver alike: it keeps what it accepts, and delivers it afterwards.
cut_off(Config) ->
    [First, Second] = ?config(nodes, Config),
    Host = offline_post_net:host(2, ?config(net, Config)),
    take(Config),
    Before = [say(Node, User, text(Node, User, 1)) || Node <- [First, Second], User <- users()],
    Whole = taken(Before),
    [await(Node, #{pending => 0, delivered => 5}) || Node <- [First, Second]],

    offline_post_net:cut(Host, ?config(net, Config)),
    sees(First, [First]),
    sees(Second, [Second]),
    Kept = [say(Second, User, text(Second, User, N)) || N <- [2, 3], User <- users()],
    Sent = [say(First, User, text(First, User, 2)) || User <- users()],
    Alone = taken(Sent),
    offline_post_wait:until(fun() -> maps:get(attempts, stats(Second)) > 5 end),
    await(First, #{pending => 0, delivered => 10}),
    await(Second, #{pending => 10, delivered => 5}),

    offline_post_net:mend(Host, ?config(net, Config)),
    Late = taken(Kept),
    in_order(Second, Late),
    await(Second, #{pending => 0, delivered => 15}),
    Rejoined = rejoin(Config),
    More = [say(Node, User, text(Node, User, 4)) || Node <- [First, Rejoined], User <- users()],
    Last = taken(More),
    [await(Node, #{pending => 0, rejected => 0}) || Node <- [First, Rejoined]],
    once(Whole ++ Alone ++ Late ++ Last, Config).

%% The nodes lose each other, and both go on: each knows the sessions of its own clients only.
parted(Config) ->
    [First, Second] = ?config(nodes, Config),
    Net = ?config(net, Config),
    Clients = ?config(clients, Config),
    take(Config),
    online(Second, "carol", Config),
    say(First, "carol", "one cluster"),
    offline_post_client:received(Clients, "carol", "one cluster"),

    offline_post_net:part(Net),
    sees(First, [First]),
    sees(Second, [Second]),
    Sent = [say(Node, User, text(Node, User, 1)) || Node <- [First, Second], User <- users()],
    say(Second, "carol", "she is here"),
    offline_post_client:received(Clients, "carol", "she is here"),
    Unseen = say(First, "carol", "she is nowhere"),
    Parted = taken([Unseen | Sent]),
    await(First, #{pending => 0, delivered => 6}),
    await(Second, #{pending => 0, delivered => 5}),

    offline_post_client:offline(Clients, "carol"),
    offline_post_net:join(Net),
    Rejoined = rejoin(Config),
    online(Rejoined, "carol", Config),
    say(First, "carol", "one cluster again"),
    offline_post_client:received(Clients, "carol", "one cluster again"),
    once(Parted, Config).

%% Whoever sends and receives where: one node posts, or none.
moving(Config) ->
    [First, Second] = ?config(nodes, Config),
    Clients = ?config(clients, Config),
    refuse(Config),
    online(First, "bob", Config),
    online(Second, "dave", Config),
    tell("bob", "first", Config),
    await(First, #{pending => 1}),
    online(Second, "carol", Config),
    await(First, #{pending => 0, cancelled => 1}),
    tell("bob", "she is on the other node", Config),
    offline_post_client:received(Clients, "carol", "she is on the other node"),
    offline_post_client:offline(Clients, "carol"),

    tell("dave", "second", Config),
    await(Second, #{pending => 1}),
    online(First, "carol", Config),
    await(Second, #{pending => 0, cancelled => 1}),
    tell("dave", "and back", Config),
    offline_post_client:received(Clients, "carol", "and back"),
    offline_post_client:offline(Clients, "carol"),

    tell("bob", "by the first", Config),
    tell("dave", "by the second", Config),
    take(Config),
    Taken = taken([<<"by the first">>, <<"by the second">>]),
    [await(Node, #{pending => 0, accepted => 2, delivered => 1, cancelled => 1}) || Node <- [First, Second]],
    once(Taken, Config).

%% A node that does not come back: the other one imports its file, and delivers what was in it as that node would have.
taken_over(Config) ->
    [First, Second] = ?config(nodes, Config),
    Backend = ?config(backend, Config),
    File = filename:join(offline_post_node:spool(First), "mod_offline_post.db"),
    offline_post_backend:set(Backend, {reply, 400}),
    say(First, "u1", "not for this receiver"),
    await(First, #{pending => 0, dead => 1}),
    refuse(Config),
    [FirstTexts, SecondTexts] =
        [[say(Node, User, text(Node, User, N)) || N <- lists:seq(1, 4), User <- users()] || Node <- [First, Second]],
    [await(Node, #{pending => 20}) || Node <- [First, Second]],
    offline_post_wait:until(fun() -> maps:get(attempts, stats(First)) > 2 end),
    says(Second, [File], 1, "a node that runs has it"),
    says(Second, ["mod_offline_post.db"], 1, "with its whole path"),
    says(Second, [offline_post_node:spool(Second) ++ "/mod_offline_post.db"], 1, "this node's own spool"),
    Given = maps:from_list([{offline_post_case:text(Post), offline_post_case:id(Post)} || Post <- offline_post_backend:posts(Backend)]),

    137 = offline_post_node:kill(First),
    says(Second, [File], 0, "pending\t20\ndead\t1\nwithdrawn\t0\nbefore\t0\nfile\t" ++ File ++ ".imported\n"),
    says(Second, [File], 1, "cannot find"),
    says(Second, [File ++ ".imported"], 0, "pending\t0\ndead\t0\nwithdrawn\t0\nbefore\t21\n"),
    await(Second, #{accepted => 41, pending => 40, dead => 1}),
    offline_post_node:await_log(Second, "took over 20 messages and 1 dead letters"),

    take(Config),
    Taken = taken(FirstTexts ++ SecondTexts),
    [in_order(Node, Taken) || Node <- [First, Second]],
    await(Second, #{pending => 0, delivered => 40, dead => 1, rejected => 0}),
    [?assertEqual({Text, maps:get(Text, Given, Id)}, {Text, Id}) || {Text, Id} <- Taken],
    {ok, [#{body := <<"not for this receiver">>, status := 400}], undefined} =
        offline_post_node:call(Second, mod_offline_post, dead_letters, [?SERVER, all, 0, 10]),
    once(Taken, Config),
    %% Its node begins with nothing, should it start all the same.
    Again = offline_post_node:boot(First),
    await(Again, #{accepted => 0, pending => 0}).

%%%

says(Node, Args, Status, Text) ->
    {Got, Said} = offline_post_node:ctl(Node, ["offline_post_import" | Args]),
    ?assertEqual({Status, Text}, {Got, case string:find(Said, Text) of nomatch -> Said; _ -> Text end}).

users() -> ["u1", "u2", "u3", "u4", "u5"].

stats(Node) -> offline_post_node:stats(Node, ?HOST).

%% As it was booted last.
current(Node) -> element(2, offline_post_node:current(Node)).

is_up(Node) -> element(1, offline_post_node:current(Node)) =:= up.

text(#{name := Name}, User, N) ->
    iolist_to_binary([atom_to_list(Name), " to ", User, ", ", integer_to_list(N)]).

say(Node, User, Text) ->
    offline_post_node:route(Node, "romeo@elsewhere.example/phone", [User, "@" ?HOST], Text),
    iolist_to_binary(Text).

tell(From, Text, Config) ->
    offline_post_client:message(?config(clients, Config), From, "carol@" ?HOST, Text).

online(Node, User, Config) ->
    Clients = ?config(clients, Config),
    offline_post_client:take(Clients),
    offline_post_client:login(Clients, User, [User, "@" ?HOST], Node),
    offline_post_client:online(Clients, User).

await(Node, Expected) ->
    offline_post_wait:until(fun() -> maps:with(maps:keys(Expected), stats(Node)) =:= Expected end, ?TIMEOUT,
                            fun() -> {Expected, stats(Node)} end).

%% Which nodes are one cluster for this one.
sees(Node, Nodes) ->
    Names = lists:sort([Name || #{name := Name} <- Nodes]),
    Seen = fun() -> lists:sort(offline_post_node:call(Node, ejabberd_cluster, get_nodes, [])) end,
    offline_post_wait:until(fun() -> Seen() =:= Names end, 40000, fun() -> {Names, Seen()} end).

%% Mnesia does not mend what both have changed: one of them starts anew, from what the other has.
rejoin(Config) ->
    [First, Second] = ?config(nodes, Config),
    0 = offline_post_node:finish(Second, init_stop),
    Again = offline_post_node:boot(Second),
    [sees(Node, [First, Again]) || Node <- [First, Again]],
    Again.

refuse(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 503}).

%% Whatever the receiver takes from now on is told to this process.
take(Config) ->
    Self = self(),
    offline_post_backend:set(?config(backend, Config), fun(Post) ->
        Self ! {taken, {offline_post_case:text(Post), offline_post_case:id(Post)}},
        {reply, 200}
    end).

%% It has taken these texts, in whatever order: {Text, Id} in the order it had.
taken(Texts) ->
    Taken = [receive {taken, One} -> One after ?TIMEOUT -> ct:fail({not_taken, Texts}) end || _ <- Texts],
    ?assertEqual(lists:sort(Texts), lists:sort([Text || {Text, _} <- Taken])),
    Taken.

%% Each recipient's as they were accepted.
in_order(Node, Taken) ->
    [?assertEqual(lists:sort(Texts), Texts) ||
        User <- users(),
        Texts <- [[Text || {Text, _} <- Taken, string:find(Text, [atom_to_list(maps:get(name, Node)), " to ", User, ","]) =/= nomatch]]].

%% Nothing else was taken, nothing twice, by text and by id.
once(Taken, Config) ->
    [await(current(Node), #{pending => 0}) || Node <- ?config(nodes, Config), is_up(Node)],
    {Texts, Ids} = lists:unzip(Taken),
    ?assertEqual(lists:sort(Texts), lists:usort(Texts)),
    ?assertEqual(lists:sort(Ids), lists:usort(Ids)),
    receive {taken, More} -> ct:fail({twice, More}) after 0 -> ok end.

%% Looked up in a copy: the file is the node's.
waiting_in_file(Node) ->
    Dir = string:trim(os:cmd("mktemp -d")),
    Name = "mod_offline_post.db",
    [{ok, _} = file:copy(filename:join(offline_post_node:spool(Node), File), filename:join(Dir, File)) ||
        File <- [Name, Name ++ "-wal"], filelib:is_regular(filename:join(offline_post_node:spool(Node), File))],
    Count = os:cmd(lists:flatten(["python3 -c \"import sqlite3; print(sqlite3.connect('", filename:join(Dir, Name),
                                  "').execute('select count(*) from log').fetchone()[0])\""])),
    ok = file:del_dir_r(Dir),
    list_to_integer(string:trim(Count)).
