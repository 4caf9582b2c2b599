%% A user with devices, somebody who writes to them, and what a backend is told of it.
-module(offline_post_devices).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([prepare/2, init/3, finish/1]).
-export([phone/2, phone/3, available/3, managed/2, acknowledged/2, deaf/2, kill/2, lose/2, hangs/2, gone/2, say/2, say/3, send/2]).
-export([told/1, events/1, counted/2, call/4, jid/2]).

-define(END, <<"the end">>).

%% For a suite: Config has its node, on which these hosts are, and the backend.
prepare(Config, Hosts) ->
    Node = ?config(node, Config),
    offline_post_told:install(Node, Hosts),
    [offline_post_node:register(Node, "last", Host, "x") || Host <- Hosts],
    [{clients, offline_post_client:start()} | Config].

%% A user of each case's own, and bob.
init(Case, Host, Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    User = lists:flatten(string:replace(atom_to_list(Case), "_", ".", all)),
    Bob = "bob." ++ User,
    [offline_post_node:register(Node, Name, Host, [Name, "-password"]) || Name <- [User, Bob]],
    offline_post_client:login(Clients, "bob", Bob ++ "@" ++ Host, Node),
    [{host, Host}, {user, User}, {jid, User ++ "@" ++ Host}, {before, offline_post_node:stats(Node, Host)} | Config].

finish(Config) ->
    offline_post_client:offline(?config(clients, Config), "bob"),
    offline_post_client:reset(?config(clients, Config)),
    call(Config, ejabberd_sm, kick_user, []),
    Stats = offline_post_node:stats(?config(node, Config), ?config(host, Config)),
    ?assertEqual([], offline_post_law:violations(Stats)),
    ?assertMatch(#{hook_crashes := 0}, Stats).

%% A device with resumable stream management that is available.
phone(Config, Name) ->
    phone(Config, Name, "0").

phone(Config, Name, Priority) ->
    {Clients, Node} = {?config(clients, Config), ?config(node, Config)},
    offline_post_client:login_resumable(Clients, Name, jid(Config, Name), Node),
    available(Config, Name, Priority).

managed(Config, Name) ->
    offline_post_client:login_managed(?config(clients, Config), Name, jid(Config, Name), ?config(node, Config)),
    available(Config, Name, "0").

available(Config, Name, Priority) ->
    Clients = ?config(clients, Config),
    offline_post_client:send(Clients, Name, ["<presence><priority>", Priority, "</priority></presence>"]),
    offline_post_client:request(Clients, Name, "get", "<ping xmlns='urn:xmpp:ping'/>").

%% What the client has received so far: a request is answered behind the server's question, the next one behind its answer.
acknowledged(Config, Name) ->
    [offline_post_client:request(?config(clients, Config), Name, "get", "<ping xmlns='urn:xmpp:ping'/>") || _ <- [1, 2]].

deaf(Config, Name) ->
    offline_post_client:deaf(?config(clients, Config), Name).

kill(Config, Name) ->
    offline_post_client:kill(?config(clients, Config), Name).

%% The server has noticed.
lose(Config, Name) ->
    kill(Config, Name),
    hangs(Config, Name).

hangs(Config, Name) ->
    offline_post_wait:until(fun() ->
                                    case call(Config, ejabberd_sm, get_user_info, [list_to_binary(Name)]) of
                                        offline -> ct:fail({no_session, Name});
                                        Info -> lists:keymember(offline_post_hanging, 1, Info)
                                    end
                            end).

gone(Config, Name) ->
    %% It sends again or bounces before it leaves the table.
    offline_post_wait:until(fun() -> call(Config, ejabberd_sm, get_session_pid, [list_to_binary(Name)]) =:= none end).

say(Config, Text) ->
    say(Config, ?config(jid, Config), Text).

say(Config, To, Text) ->
    offline_post_client:message(?config(clients, Config), "bob", To, Text).

send(Config, Xml) ->
    offline_post_client:send(?config(clients, Config), "bob", Xml).

%% [{text, trigger, stored, resource}] of what has arrived since the last time, in the order of arrival.
told(Config) ->
    [{binary_to_list(Text), Trigger, Stored, case Event of #{resource := R} -> binary_to_list(R); _ -> undefined end} ||
        #{body := Text, trigger := Trigger, stored := Stored} = Event <- events(Config)].

%% What has arrived since the last time. What was to arrive by now comes before the last message, to somebody offline,
%% is told of, and nothing is pending then.
events(Config) ->
    {Node, Clients, Host} = {?config(node, Config), ?config(clients, Config), ?config(host, Config)},
    %% The server has handled what was sent, and so has each of the user's sessions.
    offline_post_client:ping_ms(Clients, "bob"),
    [handled(Node, Session) || {_, Session} <- call(Config, ejabberd_sm, get_session_sids, [])],
    offline_post_node:route(Node, "bob@elsewhere.example/phone", ["last@", Host], ?END),
    Before = until_end(?config(backend, Config)),
    %% The last is for somebody else, and may overtake. Each is reported before it is answered: then all are here.
    offline_post_told:settled(Node, [Host]),
    Before ++ [offline_post_told:event(Post) || Post <- offline_post_backend:posts(?config(backend, Config))].

until_end(Backend) ->
    case offline_post_told:event(offline_post_backend:await(Backend)) of
        #{body := ?END} -> [];
        Event -> [Event | until_end(Backend)]
    end.

%% A session that has ended meanwhile has handled all.
handled(Node, Session) ->
    try offline_post_node:call(Node, ejabberd_c2s, get_presence, [Session]) of _ -> ok
    catch exit:_ -> ok
    end.

%% How much more of it than at the start of the case.
counted(What, Config) ->
    #{What := Before} = ?config(before, Config),
    #{What := Now} = offline_post_node:stats(?config(node, Config), ?config(host, Config)),
    Now - Before.

%% A function of the node about the user.
call(Config, Module, Function, Args) ->
    offline_post_node:call(?config(node, Config), Module, Function,
                           [list_to_binary(?config(user, Config)), list_to_binary(?config(host, Config)) | Args]).

jid(Config, Resource) ->
    ?config(jid, Config) ++ "/" ++ Resource.
