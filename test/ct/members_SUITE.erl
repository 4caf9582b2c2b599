%% Rooms' absent members on a server whose virtual hosts differ: the external authentication of one of them takes its time
%% for each user.
-module(members_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([slow_host/1, slow_host_removed/1]).

-define(FAST, "fast.localhost").
-define(SLOW, "slow.localhost").
-define(MEMBERS, 100).
%% What the authentication takes for a user (ms).
-define(TAKES, 100).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [slow_host, slow_host_removed].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Own = [{backend, Backend}, {program, program(?config(priv_dir, Config))} | Config],
    Node = offline_post_node:start(node_config(Own, [?FAST, ?SLOW])),
    offline_post_node:await_running(Node, [?FAST, ?SLOW]),
    [offline_post_node:register(Node, User, ?FAST, [User, "-password"]) || User <- ["owner", "member"]],
    [{node, Node}, {clients, offline_post_client:start()} | Own].

node_config(Config, Hosts) ->
    Post = ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\ngroupchat: members\n"],
    #{top => ["extauth_program: \"", ?config(program, Config), "\"\nextauth_pool_size: 1\n",
              [["append_host_config:\n  \"", Host, "\":\n    auth_method: [external]\n"] || Host <- Hosts, Host =:= ?SLOW]],
      hosts => [{Host, #{modules => "mod_offline: {}\nmod_ping: {}\nmod_muc: {}\n", offline_post => Post}} || Host <- Hosts]}.

%% Knows every user, after a while.
program(Dir) ->
    File = filename:join(Dir, "slow_extauth"),
    ok = file:write_file(File, ["#!/usr/bin/python3\nimport struct, sys, time\n"
                                "while True:\n"
                                "    size = sys.stdin.buffer.read(2)\n"
                                "    if len(size) < 2:\n"
                                "        break\n"
                                "    sys.stdin.buffer.read(struct.unpack('>h', size)[0])\n"
                                "    time.sleep(", integer_to_list(?TAKES), " / 1000)\n"
                                "    sys.stdout.buffer.write(struct.pack('>hh', 2, 1))\n"
                                "    sys.stdout.buffer.flush()\n"]),
    ok = file:change_mode(File, 8#755),
    File.

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

%% The owner of two rooms with members on one virtual host each.
init_per_testcase(Case, Config) ->
    Clients = ?config(clients, Config),
    offline_post_client:take(Clients),
    offline_post_backend:listen(?config(backend, Config)),
    offline_post_client:login(Clients, "owner", "owner@" ?FAST, ?config(node, Config)),
    Rooms = [{Clients, "owner", [atom_to_list(Case), "-", Name, "@conference." ?FAST]} || Name <- ["slow", "fast"]],
    [offline_post_room:enter(Room, "owner") || Room <- Rooms],
    Jids = [[atom_to_list(Case), integer_to_list(N), "@" ?SLOW] || N <- lists:seq(1, ?MEMBERS)],
    offline_post_room:query(hd(Rooms), ["<query xmlns='http://jabber.org/protocol/muc#admin'>",
                                        [["<item jid='", Jid, "' affiliation='member'/>"] || Jid <- Jids], "</query>"]),
    offline_post_room:affiliate(lists:last(Rooms), "member@" ?FAST, "member"),
    [{rooms, Rooms} | Config].

end_per_testcase(_Case, Config) ->
    offline_post_client:offline(?config(clients, Config), "owner"),
    Stats = #{hook_crashes := 0} = offline_post_node:stats(?config(node, Config), ?FAST),
    ?assertEqual([], offline_post_law:violations(Stats)).

%% The other virtual host's members are told at once, while those of the slow one are still asked for; these are told
%% all the same.
slow_host(Config) ->
    [Slow, Fast] = ?config(rooms, Config),
    offline_post_room:say(Slow, "slow"),
    first_of_slow(Config),
    offline_post_room:say(Fast, "fast"),
    Before = until_fast(Config),
    ct:pal("~B of ~B of the slow ones came first", [Before + 1, ?MEMBERS]),
    ?assert(Before < ?MEMBERS div 2),
    Rest = offline_post_backend:await(?config(backend, Config), ?MEMBERS - 1 - Before),
    ?assertEqual([<<"slow">>], lists:usort([offline_post_case:text(Post) || Post <- Rest])),
    ?assertMatch(#{member_overflows := 0, pending := 0}, settled(Config, ?SLOW)).

%% Its removal waits for a second, not for them all, and the message that was not looked at for all is counted once.
slow_host_removed(Config) ->
    [Slow, Fast] = ?config(rooms, Config),
    Node = ?config(node, Config),
    offline_post_room:say(Slow, "slow"),
    first_of_slow(Config),
    Began = erlang:monotonic_time(millisecond),
    ok = offline_post_node:reload(Node, node_config(Config, [?FAST])),
    ?assert(erlang:monotonic_time(millisecond) - Began < ?MEMBERS * ?TAKES div 2),
    offline_post_room:say(Fast, "fast"),
    _ = until_fast(Config),
    offline_post_wait:until(fun() ->
        {Counters, _} = offline_post_node:call(Node, persistent_term, get, [mod_offline_post_members]),
        [0, 0, 0] =:= [offline_post_node:call(Node, atomics, get, [Counters, Which]) || Which <- [1, 2, 3]]
    end, 20000),
    ?assertMatch(#{member_overflows := 1}, settled(Config, ?FAST)).

%%%

first_of_slow(Config) ->
    ?assertEqual(<<"slow">>, offline_post_case:text(offline_post_backend:await(?config(backend, Config)))).

%% How many others came before.
until_fast(Config) ->
    case offline_post_case:text(offline_post_backend:await(?config(backend, Config))) of
        <<"fast">> -> 0;
        <<"slow">> -> 1 + until_fast(Config)
    end.

settled(Config, Host) ->
    Node = ?config(node, Config),
    offline_post_told:settled(Node, [Host]),
    offline_post_node:stats(Node, Host).
