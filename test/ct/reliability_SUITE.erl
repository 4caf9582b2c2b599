%% What docs/reliability.md promises, on a real ejabberd: whatever ends the node, what was committed arrives under its
%% id or is a dead letter; retries, order and pauses outlive it. Each case has a virtual host and a backend of its own.
-module(reliability_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([backlog_survives_stop/1, backlog_survives_halt/1, backlog_survives_kill/1, acknowledged_survives_20_kills/1,
         who_waits_for_a_commit/1, gone_survives_restart/1, gone_ends_with_another_url/1,
         operators_pause_survives/1, queue_bytes/1]).

-import(offline_post_case, [await/2, booted/1, current/1, dead_letters/1, field/2, id/1, say/3, stats/1, text/1, user/1]).

-define(RECIPIENTS, 10).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [backlog_survives_stop, backlog_survives_halt, backlog_survives_kill, acknowledged_survives_20_kills,
     who_waits_for_a_commit, gone_survives_restart, gone_ends_with_another_url, operators_pause_survives,
     queue_bytes].

init_per_suite(Config) ->
    [{clients, offline_post_client:start()} | offline_post_case:start(all(), fun options/1)] ++ Config.

end_per_suite(Config) ->
    offline_post_client:stop(?config(clients, Config)),
    offline_post_case:finish(Config).

init_per_testcase(Case, Config) ->
    offline_post_client:take(?config(clients, Config)),
    offline_post_case:init(Case, Config).

end_per_testcase(_Case, Config) ->
    offline_post_case:check(Config).

options(acknowledged_survives_20_kills) -> "sync_commit: true\n";
options(who_waits_for_a_commit) -> "sync_commit: true\n";
options(queue_bytes) -> "queue_bytes: 10000\ntimeout: 1 s\n";
options(_) -> "".

backlog_survives_stop(Config) ->
    backlog_survives(Config, init_stop, 0),
    offline_post_node:await_log(?config(node, Config),
                                ["51 messages for ", ?config(host, Config), " are not delivered yet: they wait on disk for the next start"]).

backlog_survives_halt(Config) -> backlog_survives(Config, abrupt, 0).

backlog_survives_kill(Config) -> backlog_survives(Config, kill, 137).

%% 51 messages wait for a silent backend when the node ends; all arrive later, in order for each recipient, what had
%% been sent before under the same id. The counters go on.
backlog_survives(Config, How, Status) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, silent),
    Texts = [{user(1 + I rem ?RECIPIENTS), integer_to_list(I)} || I <- lists:seq(1, 50)],
    [say(Config, User, Text) || {User, Text} <- Texts],
    Before = offline_post_backend:await(Backend, ?RECIPIENTS),
    %% The last one is on its way: it is committed, and so are all before it.
    say(Config, user(0), "last"),
    Last = offline_post_backend:await(Backend),
    ?assertMatch(#{accepted := 51, pending := 51}, stats(Config)),
    ?assertEqual(Status, offline_post_node:finish(?config(node, Config), How)),
    offline_post_backend:posts(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    booted(Config),
    After = offline_post_backend:await(Backend, 51),
    await(Config, #{accepted => 51, delivered => 51, pending => 0}),
    ?assertEqual(lists:sort([{list_to_binary(User), list_to_binary(Text)} || {User, Text} <- [{user(0), "last"} | Texts]]),
                 lists:sort([{field(<<"to">>, Post), text(Post)} || Post <- After])),
    [?assertEqual([list_to_binary(Text) || {U, Text} <- Texts, U =:= User],
                  [text(Post) || Post <- After, field(<<"to">>, Post) =:= list_to_binary(User)]) ||
        User <- [user(N) || N <- lists:seq(1, ?RECIPIENTS)]],
    Ids = maps:from_list([{text(Post), id(Post)} || Post <- After]),
    [?assertEqual({text(Post), maps:get(text(Post), Ids)}, {text(Post), id(Post)}) || Post <- [Last | Before]].

%% A client with stream management talks to a node that is killed at a moment of chance, twenty times. Every stanza that
%% the client saw acknowledged has arrived, or is a dead letter (each seventh is refused).
acknowledged_survives_20_kills(Config) ->
    {Backend, Clients} = {?config(backend, Config), ?config(clients, Config)},
    offline_post_backend:set(Backend, fun refuse_sevenths/1),
    Acked = lists:append([kill_while_talking(Config, Clients, Round) || Round <- lists:seq(1, 20)]),
    await(Config, #{pending => 0}),
    Posts = offline_post_backend:posts(Backend),
    Dead = [Body || #{body := Body} <- dead_letters(Config)],
    Delivered = [text(Post) || Post <- Posts] -- Dead,
    ct:pal("~B acknowledged, ~B POSTs, ~B of them doubles, ~B dead", [length(Acked), length(Posts),
                                                                    length(Posts) - length(lists:usort([id(P) || P <- Posts])), length(Dead)]),
    ?assertEqual([], Acked -- (lists:usort(Delivered) ++ lists:usort(Dead))),
    ?assert(length(Acked) > 20 * 10),
    ?assert(length(Dead) > 0),
    %% A double has the id of the first.
    Ids = lists:usort([{id(Post), text(Post)} || Post <- Posts]),
    ?assertEqual({length(Ids), length(Ids)},
                 {length(lists:usort([Id || {Id, _} <- Ids])), length(lists:usort([Text || {_, Text} <- Ids]))}).

%% The ids, which are also the texts, of what was acknowledged.
kill_while_talking(Config, Clients, Round) ->
    Host = ?config(host, Config),
    offline_post_client:login_managed(Clients, "talker", user(0) ++ "@" ++ Host, current(Config)),
    [begin
         Id = io_lib:format("k~B.~B", [Round, I]),
         offline_post_client:say(Clients, "talker", Id, [user(1 + I rem ?RECIPIENTS), "@", Host], Id)
     end || I <- lists:seq(1, 1000)],
    Some = offline_post_client:acked(Clients, "talker", rand:uniform(100)),
    137 = offline_post_node:kill(current(Config)),
    Others = offline_post_client:acked(Clients, "talker"),
    booted(Config),
    Some ++ Others.

refuse_sevenths(Post) ->
    [_, I] = binary:split(text(Post), <<".">>),
    case binary_to_integer(I) rem 7 of
        0 -> {reply, 413};
        _ -> {reply, 200}
    end.

%% The stream that brings a message waits for its commit; a room's process, which has the same message for a subscriber,
%% does not.
who_waits_for_a_commit(Config) ->
    {Node, Clients, Host} = {?config(node, Config), ?config(clients, Config), ?config(host, Config)},
    Room = ["room@conference.", Host],
    offline_post_client:login(Clients, "subscriber", user(2) ++ "@" ++ Host, Node),
    offline_post_client:login_managed(Clients, "waiter", user(0) ++ "@" ++ Host, Node),
    offline_post_client:send(Clients, "waiter", ["<presence to='", Room, "/w'><x xmlns='http://jabber.org/protocol/muc'/></presence>"]),
    RoomPid = offline_post_wait:until(fun() ->
                                              case offline_post_node:call(Node, mod_muc, find_online_room,
                                                                          [<<"room">>, list_to_binary("conference." ++ Host)]) of
                                                  {ok, Pid} -> Pid;
                                                  error -> false
                                              end
                                      end),
    offline_post_client:send(Clients, "subscriber",
                             ["<iq type='set' id='subscribe' to='", Room, "'><subscribe xmlns='urn:xmpp:mucsub:0' nick='s'>",
                              "<event node='urn:xmpp:mucsub:nodes:messages'/></subscribe></iq>"]),
    offline_post_client:received(Clients, "subscriber", "subscribe"),
    offline_post_client:offline(Clients, "subscriber"),
    offline_post_wait:until(fun() -> none =:= session(Node, user(2), Host) end),
    Session = session(Node, user(0), Host),
    Tracer = offline_post_trace:start(Node, [{mod_offline_post_await, answer, 3}, {mod_offline_post_nif, submit_sync, 2},
                                             {mod_offline_post_nif, submit, 2}]),
    offline_post_client:say(Clients, "waiter", "w1", [user(1), "@", Host], "hello"),
    ?assertMatch([_], offline_post_client:acked(Clients, "waiter", 1)),
    offline_post_client:send(Clients, "waiter", ["<message type='groupchat' to='", Room, "'><body>hello, room</body></message>"]),
    ?assertEqual([<<"hello">>, <<"hello, room">>], lists:sort([text(Post) || Post <- offline_post_backend:await(?config(backend, Config), 2)])),
    %% A helper of the session's asks, so that a late answer is nobody's.
    [{Waits, answer}, {_Helper, submit_sync}, {Submits, submit}] = offline_post_trace:stop(Node, Tracer),
    ?assertEqual({Session, RoomPid}, {Waits, Submits}),
    await(Config, #{accepted => 2, pending => 0, uncommitted => 0, commit_timeouts => 0}),
    %% The answer was taken: the session has no message too many.
    ?assertEqual({message_queue_len, 0}, offline_post_node:call(Node, erlang, process_info, [Session, message_queue_len])),
    offline_post_client:offline(Clients, "waiter").

session(Node, User, Host) ->
    offline_post_node:call(Node, ejabberd_sm, get_session_pid, [list_to_binary(User), list_to_binary(Host), <<"test">>]).

%% 410: paused, also after a restart, until somebody reloads or resumes.
gone_survives_restart(Config) ->
    Backend = ?config(backend, Config),
    Ends = [fun(Node) -> 0 = offline_post_node:call(Node, ejabberd_ctl, process, [["reload_config"]]) end,
            fun(Node) -> ok = offline_post_node:call(Node, mod_offline_post, resume, [list_to_binary(?config(host, Config))]) end],
    [begin
         gone(Config),
         ?assertEqual(0, offline_post_node:finish(current(Config), init_stop)),
         booted(Config),
         say(Config, user(1), "while paused"),
         await(Config, #{state => paused, pending => 2}),
         ?assertEqual([], offline_post_backend:posts(Backend)),
         End(current(Config)),
         ?assertEqual([<<"gone">>, <<"while paused">>], [text(Post) || Post <- offline_post_backend:await(Backend, 2)]),
         await(Config, #{state => healthy, pending => 0})
     end || End <- Ends].

gone_ends_with_another_url(Config) ->
    Backend = ?config(backend, Config),
    gone(Config),
    ?assertEqual(0, offline_post_node:finish(current(Config), init_stop)),
    offline_post_case:configure(Config, #{gone_ends_with_another_url => "/another"}),
    booted(Config),
    ?assertMatch(#{path := <<"/another">>}, offline_post_backend:await(Backend)),
    await(Config, #{state => healthy, pending => 0}),
    offline_post_case:reload(Config, #{}).

gone(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 410}),
    say(Config, user(1), "gone"),
    await(Config, #{state => paused, pending => 1}),
    [_] = offline_post_backend:posts(Backend),
    offline_post_backend:set(Backend, {reply, 200}).

operators_pause_survives(Config) ->
    {Backend, Host} = {?config(backend, Config), list_to_binary(?config(host, Config))},
    ok = offline_post_node:call(current(Config), mod_offline_post, pause, [Host]),
    await(Config, #{state => paused}),
    0 = offline_post_node:call(current(Config), ejabberd_ctl, process, [["reload_config"]]),
    ?assertEqual(0, offline_post_node:finish(current(Config), init_stop)),
    booted(Config),
    say(Config, user(1), "later"),
    await(Config, #{state => paused, pending => 1, attempts => 0}),
    ok = offline_post_node:call(current(Config), mod_offline_post, resume, [Host]),
    ?assertEqual(<<"later">>, text(offline_post_backend:await(Backend))),
    await(Config, #{state => healthy, pending => 0}).

%% Bounded in bytes, and the bound counts what an earlier run has left.
queue_bytes(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, silent),
    Text = lists:duplicate(4000, $x),
    [say(Config, user(N), Text) || N <- [1, 2, 3]],
    await(Config, #{accepted => 2, pending => 2, rejected => 1}),
    offline_post_backend:await(Backend, 2),
    ?assertEqual(137, offline_post_node:finish(current(Config), kill)),
    booted(Config),
    say(Config, user(3), Text),
    await(Config, #{accepted => 2, pending => 2, rejected => 1}),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{pending => 0, delivered => 2}),
    say(Config, user(3), Text),
    await(Config, #{accepted => 3, pending => 0, delivered => 3}).
