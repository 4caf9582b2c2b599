%% sync_commit on the ways by which messages come: the session of a client waits for the commits of its own messages, and
%% nobody else for any. How often somebody waited is what the node counts.
-module(streams_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("xmpp.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([client/1, component/1, other_server/1, for_others/1, ended_session/1]).
-export([sends/1]).

-define(HOST, "localhost").
%% Is told only of users who are offline.
-define(ENDED, "ended.localhost").
-define(COMPONENT, "gateway.elsewhere.example").
-define(SECRET, "component-secret").
-define(SERVER, "127.0.0.1").
-define(COUNT, 20).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [client, component, other_server, for_others, ended_session].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    [Component, S2s, Back] = Ports = [offline_post_node:free_port() || _ <- [component, s2s, back]],
    Modules = "mod_offline: {}\nmod_ping: {}\nmod_s2s_dialback: {}\n"
              "mod_stream_mgmt:\n  resend_on_timeout: true\n",
    Post = ["post_url: \"", offline_post_backend:url(Backend), "\"\nsync_commit: true\n"],
    Node = offline_post_node:start(
             #{hosts => [{?HOST, #{modules => Modules, offline_post => Post}},
                         {?ENDED, #{modules => Modules, offline_post => [Post, "triggers: [offline]\n"]}}],
               top => [listener(Component, "ejabberd_service", "    hosts:\n      \"" ?COMPONENT "\":\n        password: \"" ?SECRET "\"\n"),
                       listener(S2s, "ejabberd_s2s_in", ""),
                       "outgoing_s2s_port: ", integer_to_list(Back), "\n"]}),
    offline_post_node:await_running(Node, [?HOST, ?ENDED]),
    [offline_post_node:register(Node, User, ?HOST, [User, "-password"]) || User <- ["anna", "bob"]],
    offline_post_node:register(Node, "bob", ?ENDED, "bob-password"),
    [{node, Node}, {backend, Backend}, {ports, Ports}, {clients, offline_post_client:start()} | Config].

listener(Port, Module, Options) ->
    ["  -\n    port: ", integer_to_list(Port), "\n    ip: \"127.0.0.1\"\n    module: ", Module, "\n", Options].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_client:take(?config(clients, Config)),
    offline_post_backend:listen(?config(backend, Config)),
    [{waits, waits(Config)} | Config].

end_per_testcase(_Case, Config) ->
    [begin
         offline_post_told:settled(?config(node, Config), [Host]),
         Stats = offline_post_node:stats(?config(node, Config), Host),
         ?assertEqual([], offline_post_law:violations(Stats)),
         ?assertMatch(#{hook_crashes := 0, commit_timeouts := 0, uncommitted := 0}, Stats)
     end || Host <- [?HOST, ?ENDED]],
    ok.

%% Once for each message.
client(Config) ->
    Clients = ?config(clients, Config),
    login(Config, "bob", ?HOST),
    [offline_post_client:message(Clients, "bob", "anna@" ?HOST, Text) || Text <- texts()],
    ?assertEqual(texts(), arrived(?COUNT, Config)),
    offline_post_client:offline(Clients, "bob"),
    ?assertEqual(?COUNT, waited(Config)).

%% A gateway's users share its stream.
component(Config) ->
    [Port, _, _] = ?config(ports, Config),
    Stream = offline_post_stream:component(Port, ?COMPONENT, ?SECRET),
    over(Stream, ["bob@", ?COMPONENT, "/phone"], Config).

other_server(Config) ->
    [_, Port, Back] = ?config(ports, Config),
    Stream = offline_post_stream:server(Port, Back, ?SERVER, ?HOST),
    over(Stream, ["bob@", ?SERVER, "/phone"], Config).

over(Stream, From, Config) ->
    [offline_post_stream:say(Stream, From, "anna@" ?HOST, Text) || Text <- texts()],
    ?assertEqual(texts(), arrived(?COUNT, Config)),
    offline_post_stream:close(Stream),
    ?assertEqual(0, waited(Config)).

%% A module routes messages of others in a session's process.
for_others(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    {?MODULE, Beam, File} = code:get_object_code(?MODULE),
    {module, ?MODULE} = offline_post_node:call(Node, code, load_binary, [?MODULE, File, Beam]),
    login(Config, "bob", ?HOST),
    Hook = [user_send_packet, <<?HOST>>, ?MODULE, sends, 50],
    ok = offline_post_node:call(Node, ejabberd_hooks, add, Hook),
    offline_post_client:request(Clients, "bob", "get", "<ping xmlns='urn:xmpp:ping'/>"),
    ok = offline_post_node:call(Node, ejabberd_hooks, delete, Hook),
    ?assertEqual([<<"1">>, <<"2">>, <<"3">>], arrived(3, Config)),
    offline_post_client:offline(Clients, "bob"),
    ?assertEqual(0, waited(Config)).

%% On the node: the server, an account and another session send a message each.
sends({#iq{from = #jid{user = User, server = Server}}, _State} = Acc) ->
    Senders = [jid:make(Server), jid:make(User, Server), jid:make(User, Server, <<"another">>)],
    [ejabberd_router:route(#message{type = chat, from = From, to = jid:make(<<"anna">>, Server),
                                    body = [#text{data = integer_to_binary(N)}]}) ||
        {N, From} <- lists:zip([1, 2, 3], Senders)],
    Acc;
sends(Acc) ->
    Acc.

%% What the client sent to itself and did not acknowledge: at its end the session routes it anew.
ended_session(Config) ->
    Clients = ?config(clients, Config),
    offline_post_client:login_managed(Clients, "bob", "bob@" ?ENDED, ?config(node, Config)),
    offline_post_client:online(Clients, "bob"),
    offline_post_client:deaf(Clients, "bob"),
    [begin
         offline_post_client:message(Clients, "bob", "bob@" ?ENDED, Text),
         offline_post_client:received(Clients, "bob", [">", Text, "<"])
     end || Text <- texts()],
    offline_post_client:kill(Clients, "bob"),
    ?assertEqual(texts(), lists:sort(arrived(?COUNT, Config))),
    ?assertEqual(0, waited(Config)).

%%%

login(Config, User, Host) ->
    Clients = ?config(clients, Config),
    offline_post_client:login(Clients, User, [User, "@", Host], ?config(node, Config)),
    offline_post_client:online(Clients, User).

texts() ->
    [integer_to_binary(100 + N) || N <- lists:seq(1, ?COUNT)].

arrived(Count, Config) ->
    [offline_post_case:text(Post) || Post <- offline_post_backend:await(?config(backend, Config), Count)].

waited(Config) ->
    waits(Config) - ?config(waits, Config).

waits(Config) ->
    #{waits := {_, Counts, _}} = offline_post_node:call(?config(node, Config), mod_offline_post_hook_cost, counts, []),
    lists:sum(Counts).
