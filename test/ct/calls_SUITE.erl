%% Calls (XEP-0353, XEP-0482): what ends one, who is told of it, and how long an offer is of use. While the endpoint is
%% paused, what waits is counted; what must not be posted would have been before the last message.
-module(calls_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([ended_with_a_text/1, invites/1, answered_to_the_caller/1, subscriber/1, member/1, joined_since/1, others_in_a_room/1,
         ended_in_a_queue/1, ended_behind_a_queue/1, end_posted/1, end_in_flight/1, end_waits/1, end_as_include_says/1,
         no_end_for_the_account/1, too_old/1]).

-define(PLAIN, "plain.localhost").
-define(ENDS, "ends.localhost").
-define(SHORT, "short.localhost").
-define(MEMBERS, "members.localhost").
-define(HOSTS, [?PLAIN, ?ENDS, ?SHORT, ?MEMBERS]).
-define(JINGLE, "xmlns='urn:xmpp:jingle-message:0'").
-define(INVITES, "xmlns='urn:xmpp:call-invites:0'").
-define(END, <<"the end">>).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [ended_with_a_text, invites, answered_to_the_caller, subscriber, member, joined_since, others_in_a_room, ended_in_a_queue,
     ended_behind_a_queue, end_posted, end_in_flight, end_waits, end_as_include_says, no_end_for_the_account, too_old].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    Modules = "mod_offline: {}\nmod_ping: {}\nmod_mam:\n  default: always\nmod_stream_mgmt:\n  resume_timeout: 60\n"
        "mod_muc:\n  default_room_options:\n    allow_subscription: true\n    persistent: true\n    mam: true\n",
    Options = [{?PLAIN, ""},
               {?ENDS, "notify: [text, call, call_end]\ninclude_body:\n  default: true\n  call_end: \"Call over\"\n"
                "fields:\n  kind: \"{{kind}}\"\n  from: \"{{from}}\"\n  body: \"{{body}}\"\n  call: \"{{call.id}}\"\n"},
               {?SHORT, "retry_schedule: [300 ms]\nmax_age:\n  call: 2 s\n"},
               {?MEMBERS, "groupchat: members\n"}],
    Node = offline_post_node:start(#{hosts => [{Host, #{modules => Modules, offline_post => [Url, Own]}} ||
                                                  {Host, Own} <- Options]}),
    offline_post_node:await_running(Node, ?HOSTS),
    offline_post_told:install(Node, ?HOSTS -- [?ENDS]),
    [{node, Node}, {backend, Backend}, {clients, offline_post_client:start()} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Own = [{'case', atom_to_list(Case)}, {host, host(Case)} | Config],
    [offline_post_node:register(Node, user(Own, Role), ?config(host, Own), [user(Own, Role), "-password"]) ||
        Role <- ["caller", "callee", "other"]],
    login(Own, "caller"),
    Own.

end_per_testcase(_Case, Config) ->
    offline_post_client:reset(?config(clients, Config)),
    [begin
         Stats = offline_post_node:stats(?config(node, Config), Host),
         ?assertEqual([], offline_post_law:violations(Stats)),
         ?assertMatch(#{hook_crashes := 0}, Stats)
     end || Host <- ?HOSTS],
    ok.

host(Case) when Case =:= end_posted; Case =:= end_in_flight; Case =:= end_waits; Case =:= end_as_include_says;
                Case =:= no_end_for_the_account -> ?ENDS;
host(too_old) -> ?SHORT;
host(Case) when Case =:= member; Case =:= joined_since; Case =:= others_in_a_room -> ?MEMBERS;
host(_) -> ?PLAIN.

%%% Withdrawn

%% With a text beside it, which is posted as what it is, whatever type the message has and whether or not it is to be stored.
ended_with_a_text(Config) ->
    [withdrawn(Config, offer("propose", ?JINGLE, Id),
               fun() -> to_callee(Config, Type, [?END, $\s, Id], [ending(How, ?JINGLE, Id), Hint, Body]) end) ||
        {How, Type, Hint, Body} <- [{"retract", "chat", "", "<body>Missed</body>"},
                                    {"finish", "chat", "", "<body>Over</body>"},
                                    {"finish", "normal", "<store xmlns='urn:xmpp:hints'/>", "<body>Over</body>"},
                                    {"retract", "chat", "<no-store xmlns='urn:xmpp:hints'/>", "<body>Missed</body>"},
                                    {"reject", "headline", "", "<body>No</body>"},
                                    {"retract", "normal", "", ""}],
        Id <- [lists:concat([How, ".", Type, ".", length(Hint)])]],
    ?assertEqual([], [Id || {Id, call} <- told(Config)]).

%% Named by the message's id, its origin-id or an id of its own.
invites(Config) ->
    [withdrawn(Config, Offer, fun() -> to_callee(Config, "chat", "e", ending(How, ?INVITES, Id)) end) ||
        {Name, Offer, Id} <-
            [{"m", {"m", ["<invite ", ?INVITES, "><jingle sid='s'/></invite>"]}, "m"},
             {"x", {"x", ["<invite ", ?INVITES, "/><origin-id xmlns='urn:xmpp:sid:0' id='origin'/>"]}, "origin"},
             {"y", {"y", ["<invite ", ?INVITES, " id='own'/><body>Come</body>"]}, "own"},
             {"z", {"z", ["<invite ", ?INVITES, ">", lists:duplicate(2000, "<external uri='tel:1'/>"), "</invite>"]}, "z"}],
        How <- case Name of
                   "m" -> ["retract"]; "x" -> ["accept"]; "y" -> ["reject"]; "z" -> ["left"]
               end],
    ?assertEqual([], told(Config)).

%% The callee's device says it to the caller alone.
answered_to_the_caller(Config) ->
    login(Config, "callee"),
    [withdrawn(Config, Offer, fun() ->
         send(Config, "callee", ["<message type='chat' to='", To, "'>", ending(How, Namespace, Id), "</message>"])
     end) || {Offer, How, Namespace, Id, To} <-
                 [{offer("propose", ?JINGLE, "1"), "proceed", ?JINGLE, "1", jid(Config, "caller")},
                  {offer("propose", ?JINGLE, "2"), "reject", ?JINGLE, "2", "romeo@verona.example"},
                  {{"3", ["<invite ", ?INVITES, "/>"]}, "accept", ?INVITES, "3", jid(Config, "caller")}]],
    logout(Config, "callee"),
    ?assertEqual([], told(Config)).

%%% In rooms

subscriber(Config) ->
    Room = room(Config),
    offline_post_room:subscribe({?config(clients, Config), user(Config, "caller"), Room}, jid(Config, "callee"), "messages"),
    in_room(Config, Room).

member(Config) ->
    Room = room(Config),
    offline_post_room:affiliate({?config(clients, Config), user(Config, "caller"), Room}, jid(Config, "callee"), "member"),
    in_room(Config, Room).

%% A member who was notified of the call has come into the room before its end.
joined_since(Config) ->
    Room = room(Config),
    offline_post_room:affiliate({?config(clients, Config), user(Config, "caller"), Room}, jid(Config, "callee"), "member"),
    Say = fun(Content) -> send(Config, "caller", ["<message type='groupchat' to='", Room, "'>", Content, "</message>"]) end,
    withdrawn(Config, fun() -> Say(["<invite ", ?INVITES, " id='own'/>"]) end,
              fun() ->
                      login(Config, "callee"),
                      offline_post_room:enter({?config(clients, Config), user(Config, "callee"), Room}, "callee"),
                      Say(ending("retract", ?INVITES, "own"))
              end),
    ?assertEqual([], [Id || {Id, call} <- told(Config)]).

%% The room gives the invite its id; some clients give it one of their own.
in_room(Config, Room) ->
    Say = fun(Content) -> send(Config, "caller", ["<message type='groupchat' to='", Room, "'>", Content, "</message>"]) end,
    withdrawn(Config, fun() -> Say(["<invite ", ?INVITES, " id='own'/>"]) end, fun() -> Say(ending("retract", ?INVITES, "own")) end),
    withdrawn(Config, fun() -> Say(["<invite ", ?INVITES, "><muji room='r@m.example'/></invite><store xmlns='urn:xmpp:hints'/>"]) end,
              fun() -> Say(["<body>Never mind</body>", ending("retract", ?INVITES, room_id(Config))]) end),
    ?assertEqual([], [Id || {Id, call} <- told(Config)]).

%% The last one that the room has given.
room_id(Config) ->
    Ids = [Id || Xml <- offline_post_client:drain(?config(clients, Config), user(Config, "caller")),
                 {match, [Id]} <- [re:run(Xml, "<stanza-id[^>]* id=['\"]([0-9]+)['\"]", [{capture, all_but_first, list}])]],
    lists:last(Ids).

%% What other occupants do with an invite does not end it for a member; what the member does in the room, does.
others_in_a_room(Config) ->
    Room = room(Config),
    Owner = {?config(clients, Config), user(Config, "caller"), Room},
    offline_post_room:affiliate(Owner, jid(Config, "callee"), "member"),
    Say = fun(Role, Content) -> send(Config, Role, ["<message type='groupchat' to='", Room, "'>", Content, "</message>"]) end,
    #{cancelled := Before} = stats(Config),
    paused(Config, fun() ->
        Say("caller", ["<invite ", ?INVITES, " id='1'/>"]),
        Say("caller", [ending(How, ?INVITES, "1") || How <- ["accept", "left", "reject"]]),
        Say("caller", "<body>still there</body>"),
        await_stats(Config, #{pending => 2, cancelled => Before}),
        login(Config, "callee"),
        Say("callee", ending("accept", ?INVITES, "1")),
        await_stats(Config, #{pending => 1, cancelled => Before + 1})
    end).

%%% Sessions that hang

%% What a session has in its queue when it is found dead: a call and its end.
ended_in_a_queue(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    offline_post_client:login_resumable(Clients, "phone", jid(Config, "callee") ++ "/phone", Node),
    offline_post_client:online(Clients, "phone"),
    offline_post_client:deaf(Clients, "phone"),
    to_callee(Config, "chat", "offer", propose("q1")),
    to_callee(Config, "chat", "end", [ending("retract", ?JINGLE, "q1")]),
    to_callee(Config, "chat", "other", propose("q2")),
    offline_post_client:received(Clients, "phone", "q2"),
    offline_post_client:kill(Clients, "phone"),
    ?assertEqual({<<"other">>, call}, await(Config)),
    ?assertEqual([], told(Config)).

%% The end comes to the session that hangs, with a text.
ended_behind_a_queue(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    offline_post_client:login_resumable(Clients, "phone", jid(Config, "callee") ++ "/phone", Node),
    offline_post_client:online(Clients, "phone"),
    offline_post_client:deaf(Clients, "phone"),
    to_callee(Config, "chat", "offer", propose("b1")),
    offline_post_client:received(Clients, "phone", "b1"),
    #{cancelled := Before} = stats(Config),
    paused(Config, fun() ->
        offline_post_client:kill(Clients, "phone"),
        await_stats(Config, #{pending => 1}),
        to_callee(Config, "chat", "end", ["<body>Missed</body>", ending("retract", ?JINGLE, "b1")]),
        await_stats(Config, #{pending => 1, cancelled => Before + 1})
    end),
    ?assertEqual([{<<"end">>, text}], told(Config)).

%%% call_end

%% Once, with the call's id, behind the call.
end_posted(Config) ->
    to_callee(Config, "chat", "m", propose("c1")),
    ?assertMatch(#{kind := <<"call">>, call := <<"c1">>}, form(Config)),
    [to_callee(Config, "chat", "m", ending(How, ?JINGLE, "c1")) || How <- ["retract", "finish"]],
    ?assertMatch(#{kind := <<"call_end">>, call := <<"c1">>}, form(Config)),
    to_callee(Config, "chat", "m", ["<body>", ?END, "</body>"]),
    ?assertMatch(#{kind := <<"text">>, call := <<>>, body := ?END}, form(Config)).

%% It does not overtake a call that is on its way.
end_in_flight(Config) ->
    offline_post_backend:set(?config(backend, Config), fun(#{body := Body}) ->
        case binary:match(Body, <<"kind=call&">>) of
            nomatch -> {reply, 200};
            _ -> {delay, 1000, {reply, 503}}
        end
    end),
    to_callee(Config, "chat", "m", propose("c2")),
    ?assertMatch(#{kind := <<"call">>}, form(Config)),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    to_callee(Config, "chat", "m", ending("retract", ?JINGLE, "c2")),
    to_callee(Config, "chat", "m", ["<body>", ?END, "</body>"]),
    ?assertEqual([{<<"call_end">>, <<"c2">>}, {<<"text">>, <<>>}],
                 [{Kind, Call} || #{kind := Kind, call := Call} <- [form(Config), form(Config)]]),
    await_stats(Config, #{pending => 0, dead => 0}).

%% Of a call that has not left yet nobody is told anything.
end_waits(Config) ->
    #{cancelled := Before} = stats(Config),
    paused(Config, fun() ->
        to_callee(Config, "chat", "m", propose("c3")),
        await_stats(Config, #{pending => 1}),
        to_callee(Config, "chat", "m", ending("retract", ?JINGLE, "c3")),
        await_stats(Config, #{pending => 0, cancelled => Before + 2})
    end),
    to_callee(Config, "chat", "m", ["<body>", ?END, "</body>"]),
    ?assertMatch(#{kind := <<"text">>}, form(Config)).

%% It has no text of its own; the caller is the one of the call.
end_as_include_says(Config) ->
    to_callee(Config, "chat", "m", ["<body>Ring</body>", propose("c4")]),
    ?assertMatch(#{kind := <<"call">>, body := <<"Ring">>}, form(Config)),
    login(Config, "callee"),
    send(Config, "callee", ["<message type='chat' to='", jid(Config, "callee"), "'>", ending("accept", ?JINGLE, "c4"), "</message>"]),
    Caller = list_to_binary(jid(Config, "caller") ++ "/test"),
    ?assertEqual(#{kind => <<"call_end">>, from => Caller, body => <<"Call over">>, call => <<"c4">>}, form(Config)).

no_end_for_the_account(Config) ->
    to_callee(Config, "chat", "m", propose("c5")),
    ?assertMatch(#{kind := <<"call">>}, form(Config)),
    ok = offline_post_node:call(?config(node, Config), ejabberd_auth, remove_user,
                                [list_to_binary(user(Config, "callee")), list_to_binary(?config(host, Config))]),
    to_callee(Config, "chat", "m", ending("retract", ?JINGLE, "c5")),
    send(Config, "caller", ["<message type='chat' to='", jid(Config, "other"), "'><body>", ?END, "</body></message>"]),
    ?assertMatch(#{kind := <<"text">>}, form(Config)).

%%% Lifetime

%% An offer is not posted late, whether it was tried before or not.
too_old(Config) ->
    #{dead := Before} = stats(Config),
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    to_callee(Config, "chat", "tried", propose("t1")),
    _ = offline_post_backend:await(?config(backend, Config)),
    await_stats(Config, #{dead => Before + 1, pending => 0}),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    _ = offline_post_backend:posts(?config(backend, Config)),
    paused(Config, fun() ->
        to_callee(Config, "chat", "not tried", propose("t2")),
        to_callee(Config, "chat", "text", "<body>Hello</body>"),
        await_stats(Config, #{pending => 2}),
        Old = erlang:monotonic_time(millisecond) + 2000,
        offline_post_wait:until(fun() -> erlang:monotonic_time(millisecond) > Old end)
    end),
    ?assertEqual({<<"text">>, text}, await(Config)),
    ?assertEqual([], told(Config)),
    await_stats(Config, #{dead => Before + 2, pending => 0}),
    {ok, Letters, undefined} = offline_post_node:call(?config(node, Config), mod_offline_post, dead_letters,
                                                      [list_to_binary(?config(host, Config)), {reason, <<"expired">>}, 0, 10]),
    ?assertEqual([{<<"call">>, <<"tried">>}, {<<"call">>, <<"not tried">>}],
                 [{Kind, Id} || #{kind := Kind, message_id := Id} <- Letters]).

%%%

offer(How, Namespace, Id) ->
    {"offer " ++ Id, ["<", How, $\s, Namespace, " id='", Id, "'/>"]}.

propose(Id) ->
    {_, Xml} = offer("propose", ?JINGLE, Id),
    Xml.

ending(How, Namespace, Id) ->
    ["<", How, $\s, Namespace, " id='", Id, "'/>"].

%% Offer: {Id, Content} of a message to the callee, or what makes it. End: what ends it.
withdrawn(Config, {Id, Content}, End) ->
    withdrawn(Config, fun() -> to_callee(Config, "chat", Id, Content) end, End);
withdrawn(Config, Offer, End) ->
    #{cancelled := Before} = stats(Config),
    paused(Config, fun() ->
        Offer(),
        await_stats(Config, #{pending => 1}),
        End(),
        offline_post_wait:until(fun() -> maps:get(cancelled, stats(Config)) =:= Before + 1 end)
    end),
    await_stats(Config, #{pending => 0}).

paused(Config, Do) ->
    Host = list_to_binary(?config(host, Config)),
    ok = offline_post_node:call(?config(node, Config), mod_offline_post, pause, [Host]),
    Do(),
    ok = offline_post_node:call(?config(node, Config), mod_offline_post, resume, [Host]).

await_stats(Config, Expected) ->
    offline_post_wait:until(fun() -> maps:with(maps:keys(Expected), stats(Config)) =:= Expected end, 20000,
                            fun() -> {Expected, stats(Config)} end).

stats(Config) ->
    offline_post_node:stats(?config(node, Config), ?config(host, Config)).

%% {id, kind} of each POST until now.
told(Config) ->
    send(Config, "caller", ["<message type='chat' id='", ?END, "' to='", jid(Config, "other"), "'><body>x</body></message>"]),
    until_end(Config).

until_end(Config) ->
    case await(Config) of
        {?END, text} -> [];
        Told -> [Told | until_end(Config)]
    end.

await(Config) ->
    #{message_id := Id, kind := Kind} = offline_post_told:event(offline_post_backend:await(?config(backend, Config))),
    {Id, Kind}.

form(Config) ->
    #{body := Body} = offline_post_backend:await(?config(backend, Config)),
    maps:from_list([{binary_to_atom(Name), Value} || {Name, Value} <- uri_string:dissect_query(Body)]).

%% A room of the caller's, who is in it.
room(Config) ->
    Room = ?config('case', Config) ++ "@conference." ++ ?config(host, Config),
    offline_post_room:enter({?config(clients, Config), user(Config, "caller"), Room}, "caller"),
    Room.

to_callee(Config, Type, Id, Content) ->
    send(Config, "caller", ["<message type='", Type, "' id='", Id, "' to='", jid(Config, "callee"), "'>", Content, "</message>"]).

send(Config, Role, Xml) ->
    offline_post_client:send(?config(clients, Config), user(Config, Role), Xml).

login(Config, Role) ->
    offline_post_client:login(?config(clients, Config), user(Config, Role), jid(Config, Role), ?config(node, Config)).

logout(Config, Role) ->
    offline_post_client:offline(?config(clients, Config), user(Config, Role)).

user(Config, Role) -> ?config('case', Config) ++ "." ++ Role.
jid(Config, Role) -> user(Config, Role) ++ "@" ++ ?config(host, Config).
