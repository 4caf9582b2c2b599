%% Random histories of a user with two devices against the model of who received a message (test/erl/offline_post_received).
%% What it finds wrong it prints as a seed and a history.
-module(received_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([bounced/1, sent_again/1]).

-define(HISTORIES, 20).
-define(STEPS, 14).

suite() -> [{timetrap, {minutes, 5}}].

%% By what becomes of a message at the end of a session that has lost it.
all() -> [bounced, sent_again].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    Node = offline_post_node:start(
             #{hosts => [{host(Case), #{modules => ["mod_offline: {}\nmod_ping: {}\nmod_carboncopy: {}\nmod_stream_mgmt:\n",
                                                    "  resume_timeout: 3600\n  resend_on_timeout: ", Resend, $\n],
                                        offline_post => Url}} || {Case, Resend} <- [{bounced, "false"}, {sent_again, "true"}]]}),
    offline_post_devices:prepare([{node, Node}, {backend, Backend} | Config], [host(Case) || Case <- all()]).

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    [{'case', Case} | Config].

end_per_testcase(_Case, _Config) ->
    ok.

host(bounced) -> "bounced.localhost";
host(sent_again) -> "sent-again.localhost".

bounced(Config) -> histories(Config).

sent_again(Config) -> histories(Config).

%% Each with a user of its own.
histories(Config) ->
    First = erlang:system_time(millisecond),
    [history(Seed, Config) || Seed <- lists:seq(First, First + ?HISTORIES - 1)].

history(Seed, Config) ->
    Case = ?config('case', Config),
    Own = offline_post_devices:init(list_to_atom(lists:concat(["user_", Seed])), host(Case), Config),
    History = offline_post_histories:random(Seed, ?STEPS),
    lists:foldl(fun(Step, Hearing) -> step(Step, Hearing, Own) end, [], History),
    Told = lists:sort([list_to_integer(Text) || {Text, _, _, _} <- offline_post_devices:told(Own)]),
    ?assertEqual({Seed, History, offline_post_received:due(History)}, {Seed, History, Told}),
    offline_post_devices:finish(Own).

%% Hearing: the devices that acknowledge.
step({login, D, Priority}, Hearing, Config) ->
    offline_post_devices:phone(Config, name(D), integer_to_list(Priority)),
    [D | Hearing];
step({priority, D, Priority}, Hearing, Config) ->
    offline_post_devices:available(Config, name(D), integer_to_list(Priority)),
    Hearing;
step({away, D}, Hearing, Config) ->
    offline_post_client:send(?config(clients, Config), name(D), "<presence type='unavailable'/>"),
    offline_post_client:request(?config(clients, Config), name(D), "get", "<ping xmlns='urn:xmpp:ping'/>"),
    Hearing;
step({carbons, D, On}, Hearing, Config) ->
    Change = case On of true -> "enable"; false -> "disable" end,
    offline_post_client:request(?config(clients, Config), name(D), "set", ["<", Change, " xmlns='urn:xmpp:carbons:2'/>"]),
    Hearing;
step({mute, D}, Hearing, Config) ->
    offline_post_devices:deaf(Config, name(D)),
    Hearing -- [D];
step({lose, D}, Hearing, Config) ->
    offline_post_devices:lose(Config, name(D)),
    Hearing -- [D];
step({resume, D}, Hearing, Config) ->
    offline_post_client:hear(?config(clients, Config), name(D)),
    offline_post_client:resume(?config(clients, Config), name(D)),
    offline_post_devices:acknowledged(Config, name(D)),
    [D | Hearing];
step({logout, D}, Hearing, Config) ->
    offline_post_client:offline(?config(clients, Config), name(D)),
    offline_post_devices:gone(Config, name(D)),
    Hearing -- [D];
step({timeout, D}, Hearing, Config) ->
    %% As if its time were over.
    Session = offline_post_devices:call(Config, ejabberd_sm, get_session_pid, [list_to_binary(name(D))]),
    #{mgmt_pending_timer := Timer} = offline_post_node:call(?config(node, Config), sys, get_state, [Session]),
    offline_post_node:call(?config(node, Config), erlang, send, [Session, {timeout, Timer, pending_timeout}]),
    offline_post_devices:gone(Config, name(D)),
    Hearing;
step({message, Number, To}, Hearing, Config) ->
    Address = case To of
                  account -> ?config(jid, Config);
                  _ -> offline_post_devices:jid(Config, name(To))
              end,
    offline_post_devices:say(Config, Address, integer_to_list(Number)),
    offline_post_client:ping_ms(?config(clients, Config), "bob"),
    [offline_post_devices:acknowledged(Config, name(D)) || D <- Hearing],
    Hearing.

name(D) -> atom_to_list(D).
