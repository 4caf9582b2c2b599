%% What becomes of waiting events when their user comes online, or is removed, and what an app's badge shows. Deliveries
%% are held back by the operator's pause; each case says exactly which POSTs arrive after it.
-module(online_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(offline_post_devices, [phone/2, phone/3, lose/2, say/2, say/3, told/1, events/1, counted/2, call/4, jid/2]).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([first_presence/1, other_users/1, no_presence/1, negative_priority/1, resumed/1, hanging/1, hanging_beside/1,
         not_asked_for/1, removed/1, removed_dead_letters/1,
         badge_events/1, badge_events_resumed/1, badge_removed/1, badge_stored/1, badge_stored_elsewhere/1,
         badge_uncounted/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [first_presence, other_users, no_presence, negative_priority, resumed, hanging, hanging_beside, not_asked_for,
     removed, removed_dead_letters,
     badge_events, badge_events_resumed, badge_removed, badge_stored, badge_stored_elsewhere, badge_uncounted].

hosts() ->
    [{"cancel.localhost", "cancel_when_online: true\n", "mod_offline: {}\n"},
     {"keep.localhost", "", "mod_offline: {}\n"},
     {"events.localhost", "badge: events\n", "mod_offline: {}\n"},
     {"stored.localhost", "badge: stored\n", "mod_offline: {}\n"},
     {"uncounted.localhost", "badge: stored\n", ""}].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    Node = offline_post_node:start(
             #{hosts => [{Host, #{modules => ["mod_ping: {}\nmod_stream_mgmt:\n  resume_timeout: 60\n", Modules],
                                  offline_post => [Url, Options]}} || {Host, Options, Modules} <- hosts()]}),
    offline_post_devices:prepare([{node, Node}, {backend, Backend} | Config], [Host || {Host, _, _} <- hosts()]).

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    Started = offline_post_devices:init(Case, host(Case), Config),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    Started.

end_per_testcase(_Case, Config) ->
    offline_post_devices:finish(Config).

host(not_asked_for) -> "keep.localhost";
host(badge_events) -> "events.localhost";
host(badge_events_resumed) -> "events.localhost";
host(badge_removed) -> "events.localhost";
host(badge_stored) -> "stored.localhost";
host(badge_stored_elsewhere) -> "stored.localhost";
host(badge_uncounted) -> "uncounted.localhost";
host(_) -> "cancel.localhost".

%%% cancel_when_online

first_presence(Config) ->
    hold(Config),
    [say(Config, Text) || Text <- ["one", "two"]],
    waiting(Config, 2),
    phone(Config, "a"),
    release(Config),
    ?assertEqual([], told(Config)),
    ?assertEqual(2, counted(cancelled, Config)),
    %% What comes later is not concerned.
    offline_post_client:offline(?config(clients, Config), "a"),
    say(Config, "three"),
    ?assertEqual([{"three", offline, offline, undefined}], told(Config)).

other_users(Config) ->
    hold(Config),
    say(Config, "one"),
    say(Config, "last@" ++ ?config(host, Config), "two"),
    waiting(Config, 2),
    phone(Config, "a"),
    release(Config),
    ?assertEqual([{"two", offline, offline, undefined}], told(Config)),
    ?assertEqual(1, counted(cancelled, Config)).

%% A session that has not said that it is available gets no messages.
no_presence(Config) ->
    hold(Config),
    say(Config, "one"),
    waiting(Config, 1),
    offline_post_client:login(?config(clients, Config), "a", jid(Config, "a"), ?config(node, Config)),
    release(Config),
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)),
    ?assertEqual(0, counted(cancelled, Config)).

%% Nor does one with a negative priority, until it has another.
negative_priority(Config) ->
    hold(Config),
    say(Config, "one"),
    waiting(Config, 1),
    phone(Config, "a", "-1"),
    release(Config),
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)),
    hold(Config),
    say(Config, "two"),
    waiting(Config, 1),
    offline_post_devices:available(Config, "a", "0"),
    release(Config),
    ?assertEqual([], told(Config)),
    ?assertEqual(1, counted(cancelled, Config)).

resumed(Config) ->
    phone(Config, "a"),
    hold(Config),
    lose(Config, "a"),
    say(Config, "one"),
    waiting(Config, 1),
    offline_post_client:resume(?config(clients, Config), "a"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    release(Config),
    ?assertEqual([], told(Config)),
    ?assertEqual(1, counted(cancelled, Config)).

%% The server takes it for available, but nobody is there.
hanging(Config) ->
    phone(Config, "a"),
    hold(Config),
    lose(Config, "a"),
    [say(Config, Text) || Text <- ["one", "two"]],
    waiting(Config, 2),
    release(Config),
    ?assertEqual([{"one", pending, none, "a"}, {"two", pending, none, "a"}], told(Config)),
    ?assertEqual(0, counted(cancelled, Config)).

%% Another device comes.
hanging_beside(Config) ->
    phone(Config, "a"),
    hold(Config),
    lose(Config, "a"),
    say(Config, "one"),
    waiting(Config, 1),
    phone(Config, "b"),
    release(Config),
    ?assertEqual([], told(Config)),
    ?assertEqual(1, counted(cancelled, Config)).

not_asked_for(Config) ->
    hold(Config),
    say(Config, "one"),
    waiting(Config, 1),
    phone(Config, "a"),
    release(Config),
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)),
    ?assertEqual(0, counted(cancelled, Config)).

%%% Removed accounts

removed(Config) ->
    hold(Config),
    [say(Config, Text) || Text <- ["one", "two"]],
    say(Config, "last@" ++ ?config(host, Config), "three"),
    waiting(Config, 3),
    ok = call(Config, ejabberd_auth, remove_user, []),
    release(Config),
    ?assertEqual([{"three", offline, offline, undefined}], told(Config)),
    ?assertEqual(2, counted(purged, Config)).

%% Also what could not be delivered and is kept.
removed_dead_letters(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 400}),
    say(Config, "one"),
    offline_post_wait:until(fun() -> counted(dead, Config) =:= 1 end),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    ok = call(Config, ejabberd_auth, remove_user, []),
    offline_post_wait:until(fun() -> counted(dead, Config) =:= 0 end),
    ?assertEqual(1, counted(purged, Config)),
    %% The first attempt alone.
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)).

%%% Badge

badge_events(Config) ->
    [say(Config, Text) || Text <- ["one", "two", "three"]],
    ?assertEqual([1, 2, 3], badges(Config)),
    phone(Config, "a"),
    offline_post_client:offline(?config(clients, Config), "a"),
    say(Config, "four"),
    ?assertEqual([1], badges(Config)).

badge_events_resumed(Config) ->
    phone(Config, "a"),
    lose(Config, "a"),
    [say(Config, Text) || Text <- ["one", "two"]],
    ?assertEqual([1, 2], badges(Config)),
    offline_post_client:resume(?config(clients, Config), "a"),
    offline_post_client:received(?config(clients, Config), "a", "two"),
    lose(Config, "a"),
    say(Config, "three"),
    ?assertEqual([1], badges(Config)).

%% Who gets the name anew begins anew.
badge_removed(Config) ->
    say(Config, "one"),
    ?assertEqual([1], badges(Config)),
    ok = call(Config, ejabberd_auth, remove_user, []),
    offline_post_node:register(?config(node, Config), ?config(user, Config), ?config(host, Config), "x"),
    say(Config, "two"),
    ?assertEqual([1], badges(Config)).

badge_stored(Config) ->
    [begin
         say(Config, Text),
         ?assertEqual([Count], badges(Config))
     end || {Text, Count} <- [{"one", 1}, {"two", 2}]],
    phone(Config, "a"),
    offline_post_client:offline(?config(clients, Config), "a"),
    say(Config, "three"),
    ?assertEqual([1], badges(Config)).

%% Counting may take a database: no session does it.
badge_stored_elsewhere(Config) ->
    Node = ?config(node, Config),
    Trace = offline_post_trace:start(Node, [{mod_offline, count_offline_messages, 2}]),
    say(Config, "one"),
    ?assertEqual([1], badges(Config)),
    Counter = offline_post_node:call(Node, erlang, whereis, [mod_offline_post_badge]),
    Calls = offline_post_trace:stop(Node, Trace),
    ?assertNotEqual([], Calls),
    ?assertEqual([], [Pid || {Pid, _} <- Calls, Pid =/= Counter]).

%% Nothing keeps messages there.
badge_uncounted(Config) ->
    say(Config, "one"),
    ?assertEqual([none], badges(Config)).

badges(Config) ->
    [maps:get(badge, Event, none) || Event <- events(Config)].

%%%

%% Nothing is sent until release.
hold(Config) ->
    operate(Config, pause).

release(Config) ->
    operate(Config, resume).

operate(Config, What) ->
    ok = offline_post_node:call(?config(node, Config), mod_offline_post, What, [list_to_binary(?config(host, Config))]).

waiting(Config, N) ->
    offline_post_wait:until(fun() -> counted(pending, Config) =:= N end).
