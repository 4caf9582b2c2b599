%% Two nodes of one cluster: what is withdrawn on one is withdrawn on the other, which may have accepted it.
-module(cluster_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([online_elsewhere/1, online_here/1, call_over_elsewhere/1, removed_elsewhere/1, node_pages/1,
         two_devices/1, without_the_module/1]).

-define(HOST, "localhost").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [online_elsewhere, online_here, call_over_elsewhere, removed_elsewhere, node_pages, two_devices,
     without_the_module].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Options = #{hosts => [{?HOST, #{modules => "mod_offline: {}\nmod_ping: {}\nmod_stream_mgmt: {}\n",
                                    offline_post => ["post_url: \"", offline_post_backend:url(Backend), "\"\n",
                                                     "cancel_when_online: true\n"]}}]},
    First = offline_post_node:start(Options),
    try offline_post_node:start(Options#{joins => First}) of
        Second -> [{nodes, [First, Second]}, {backend, Backend}, {clients, offline_post_client:start()} | Config]
    catch
        Class:Reason:Stack ->
            offline_post_node:cleanup(First),
            erlang:raise(Class, Reason, Stack)
    end.

end_per_suite(Config) ->
    offline_post_client:stop(?config(clients, Config)),
    [First, Second] = ?config(nodes, Config),
    offline_post_node:cleanup(Second),
    offline_post_node:cleanup(First),
    offline_post_backend:stop(?config(backend, Config)).

%% A user of each case's own, known to both nodes. Nothing is sent before release/1.
init_per_testcase(Case, Config) ->
    Nodes = [First, _] = ?config(nodes, Config),
    offline_post_client:take(?config(clients, Config)),
    offline_post_backend:listen(?config(backend, Config)),
    User = lists:flatten(string:replace(atom_to_list(Case), "_", ".", all)),
    offline_post_node:register(First, User, ?HOST, [User, "-password"]),
    [ok = offline_post_node:call(Node, mod_offline_post, pause, [<<?HOST>>]) || Node <- Nodes],
    [{user, User}, {before, [stats(Node) || Node <- Nodes]} | Config].

end_per_testcase(_Case, Config) ->
    [begin
         Stats = stats(Node),
         ?assertEqual([], offline_post_law:violations(Stats)),
         ?assertMatch(#{hook_crashes := 0}, Stats)
     end || Node <- ?config(nodes, Config)],
    ok.

%% Each node has accepted one; the user comes online at the second.
online_elsewhere(Config) ->
    [First, Second] = Nodes = ?config(nodes, Config),
    [say(Node, Config, "waits") || Node <- Nodes],
    await(First, #{pending => 1}),
    await(Second, #{pending => 1}),
    come_online(Second, Config),
    await(First, #{pending => 0}),
    await(Second, #{pending => 0}),
    ?assertEqual([1, 1], grown(cancelled, Config)),
    nothing_arrives(Config).

%% A node's page leads to the pages of its endpoints only where those are about this node, too.
node_pages(Config) ->
    [First, Second] = ?config(nodes, Config),
    [Own, Other] = [unicode:characters_to_list(io_lib:format("~p", [offline_post_node:call(First, mod_offline_post_web_node, page, [Name, erlang:system_time(millisecond)])]))
                    || Node <- [First, Second], Name <- [offline_post_node:call(Node, erlang, node, [])]],
    [?assertEqual({Expected, Text}, {string:find(Page, Text) =/= nomatch, Text})
     || {Page, Flags} <- [{Own, [true, true, false]}, {Other, [true, false, true]}],
        {Expected, Text} <- lists:zip(Flags, ["paused", "/server/" ?HOST "/offline_post/", "is on this node's own web admin"])].

online_here(Config) ->
    [First, _] = ?config(nodes, Config),
    say(First, Config, "waits"),
    await(First, #{pending => 1}),
    come_online(First, Config),
    await(First, #{pending => 0}),
    ?assertEqual([1, 0], grown(cancelled, Config)),
    nothing_arrives(Config).

call_over_elsewhere(Config) ->
    [First, Second] = ?config(nodes, Config),
    jingle(First, Config, "propose", "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>"),
    await(First, #{pending => 1}),
    jingle(Second, Config, "retract", ""),
    await(First, #{pending => 0}),
    ?assertEqual([1, 0], grown(cancelled, Config)),
    nothing_arrives(Config).

removed_elsewhere(Config) ->
    [First, Second] = ?config(nodes, Config),
    say(First, Config, "waits"),
    await(First, #{pending => 1}),
    ok = offline_post_node:call(Second, ejabberd_auth, remove_user, [list_to_binary(?config(user, Config)), <<?HOST>>]),
    await(First, #{pending => 0}),
    ?assertEqual([1, 0], grown(purged, Config)),
    nothing_arrives(Config).

%% One device on each node. A message is posted when both have lost it, and not when one of them has received it.
two_devices(Config) ->
    Devices = [{Phone, First}, {Desktop, Second}] = lists:zip(["phone", "desktop"], ?config(nodes, Config)),
    Clients = ?config(clients, Config),
    Jid = ?config(user, Config) ++ "@" ?HOST "/",
    [begin
         offline_post_client:login_resumable(Clients, Device, Jid ++ Device, Node),
         offline_post_client:online(Clients, Device)
     end || {Device, Node} <- Devices],
    offline_post_client:deaf(Clients, Phone),
    say(First, Config, "received by one"),
    [offline_post_client:received(Clients, Device, "received by one") || {Device, _} <- Devices],
    offline_post_client:request(Clients, Desktop, "get", "<ping xmlns='urn:xmpp:ping'/>"),
    offline_post_client:deaf(Clients, Desktop),
    say(First, Config, "lost by both"),
    [offline_post_client:received(Clients, Device, "lost by both") || {Device, _} <- Devices],
    lose(First, Phone, Config),
    ?assertEqual([0, 0], grown(accepted, Config)),
    lose(Second, Desktop, Config),
    await(Second, #{pending => 1}),
    ?assertEqual([0, 1], grown(accepted, Config)),
    ok = offline_post_node:call(Second, ejabberd_auth, remove_user, [list_to_binary(?config(user, Config)), <<?HOST>>]),
    await(Second, #{pending => 0}),
    nothing_arrives(Config).

%% A third node of the cluster has ejabberd only. Whatever the others withdraw, its log says nothing of it; the last
%% call is one that its log does tell of, and comes after all others.
without_the_module(Config) ->
    [First, Second] = ?config(nodes, Config),
    User = list_to_binary(?config(user, Config)),
    Third = offline_post_node:start(#{hosts => [{?HOST, #{}}], joins => First, install => false}),
    try
        say(Second, Config, "waits"),
        await(Second, #{pending => 1}),
        come_online(First, Config),
        await(Second, #{pending => 0}),
        ?assertEqual([0, 1], grown(cancelled, Config)),
        come_online(Third, Config),
        [ok = offline_post_node:call(First, Module, remove_user, [User, <<?HOST>>]) ||
            Module <- [mod_available_post, mod_offline_post_online]],
        ok = offline_post_node:call(First, erpc, cast, [maps:get(name, Third), no_such_module, the_last_one, []]),
        offline_post_node:await_log(Third, "the_last_one"),
        ?assertEqual(0, offline_post_node:count_log(Third, "offline_post"))
    after
        offline_post_node:cleanup(Third)
    end,
    nothing_arrives(Config).

%%%

stats(Node) ->
    offline_post_node:stats(Node, ?HOST).

grown(Counter, Config) ->
    [maps:get(Counter, stats(Node)) - maps:get(Counter, Before) ||
        {Node, Before} <- lists:zip(?config(nodes, Config), ?config(before, Config))].

%% The server has noticed, and handled the session's queue.
lose(Node, Device, Config) ->
    offline_post_client:kill(?config(clients, Config), Device),
    [User, Resource] = [list_to_binary(Name) || Name <- [?config(user, Config), Device]],
    offline_post_wait:until(fun() ->
        Info = offline_post_node:call(Node, ejabberd_sm, get_user_info, [User, <<?HOST>>, Resource]),
        lists:keymember(offline_post_hanging, 1, Info)
    end),
    Pid = offline_post_node:call(Node, ejabberd_sm, get_session_pid, [User, <<?HOST>>, Resource]),
    _ = offline_post_node:call(Node, ejabberd_c2s, get_presence, [Pid]),
    ok.

say(Node, Config, Text) ->
    say_to(Node, ?config(user, Config), Text).

say_to(Node, User, Text) ->
    offline_post_node:route(Node, "bob@elsewhere.example/phone", [User, "@", ?HOST], Text).

jingle(Node, Config, What, Content) ->
    Xml = ["<message xmlns='jabber:client' type='chat' from='bob@elsewhere.example/phone' to='", ?config(user, Config), "@",
           ?HOST, "'><", What, " xmlns='urn:xmpp:jingle-message:0' id='", ?config(user, Config), "'>", Content, "</", What,
           "></message>"],
    Element = offline_post_node:call(Node, fxml_stream, parse_element, [iolist_to_binary(Xml)]),
    offline_post_node:call(Node, ejabberd_router, route, [offline_post_node:call(Node, xmpp, decode, [Element])]).

come_online(Node, Config) ->
    Clients = ?config(clients, Config),
    User = ?config(user, Config),
    offline_post_client:login(Clients, User, [User, "@", ?HOST], Node),
    offline_post_client:send(Clients, User, "<presence/>"),
    offline_post_client:request(Clients, User, "get", "<ping xmlns='urn:xmpp:ping'/>"),
    offline_post_client:offline(Clients, User).

%% What comes after the case's own messages, on each node, is all that arrives.
nothing_arrives(Config) ->
    Nodes = [First, _] = ?config(nodes, Config),
    Marker = ["marker.", ?config(user, Config)],
    offline_post_node:register(First, Marker, ?HOST, "x"),
    [say_to(Node, Marker, "the end") || Node <- Nodes],
    [ok = offline_post_node:call(Node, mod_offline_post, resume, [<<?HOST>>]) || Node <- Nodes],
    Backend = ?config(backend, Config),
    ?assertEqual([<<"the end">>, <<"the end">>], [offline_post_case:text(Post) || Post <- offline_post_backend:await(Backend, 2)]),
    [await(Node, #{pending => 0}) || Node <- Nodes],
    ?assertEqual([], offline_post_backend:posts(Backend)).

await(Node, Expected) ->
    offline_post_wait:until(fun() -> maps:with(maps:keys(Expected), stats(Node)) =:= Expected end, 20000,
                            fun() -> {Expected, stats(Node)} end).
