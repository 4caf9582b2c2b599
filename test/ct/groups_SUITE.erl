%% Messages of rooms: who is told of them, and what of. Each case says exactly which POSTs arrive. What must not arrive
%% would have arrived before the room's last message, which somebody is told of.
-module(groups_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([subscriber_offline/1, subscriber_online/1, subscriber_hangs/1, other_nodes/1, real_sender/1, forged_sender/1,
         forged_wrapper/1, invited/1, none/1,
         member_away/1, member_in_room/1, member_elsewhere/1, member_without_presence/1, outcast/1, other_account/1,
         subscribed_member/1, members_only/1, private_message/1, join/1, subject/1, chat_state/1, archived/1,
         mentions/1, fallback_mentions/1, other_virtual_host/1, blocked_room/1, no_such_user/1, hanging_elsewhere/1,
         hanging_in_room/1, two_hanging_in_room/1, subscriber_in_room_hangs/1, subscriber_sent_again/1, own_message/1,
         room_message_before_login/1, room_message_before_logout/1, room_message_other_dead/1]).

-define(HOSTS, ["mucsub.localhost", "members.localhost", "mentions.localhost", "none.localhost"]).
-define(END, <<"the end">>).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [subscriber_offline, subscriber_online, subscriber_hangs, other_nodes, real_sender, forged_sender, forged_wrapper,
     invited, none,
     member_away, member_in_room, member_elsewhere, member_without_presence, outcast, other_account, subscribed_member,
     members_only, private_message, join, subject, chat_state, archived, mentions, fallback_mentions, other_virtual_host,
     blocked_room, no_such_user, hanging_elsewhere, hanging_in_room, two_hanging_in_room, subscriber_in_room_hangs,
     subscriber_sent_again, own_message, room_message_before_login, room_message_before_logout, room_message_other_dead].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\nheaders: {X-Id: \"{{stanza.id}}\"}\n"],
    Modules = "mod_offline: {}\nmod_ping: {}\nmod_privacy: {}\nmod_blocking: {}\nmod_mam: {}\n"
        "mod_stream_mgmt:\n  resend_on_timeout: if_offline\n"
        "mod_muc:\n  default_room_options:\n    allow_subscription: true\n    persistent: true\n    anonymous: true\n",
    Node = offline_post_node:start(
             #{hosts => [{Host, #{modules => Modules, offline_post => [Url, Options]}} ||
                            {Host, Options} <- lists:zip(?HOSTS, ["", "groupchat: members\nnotify: [text, subject]\n",
                                                                  "groupchat: members\nmembers_notify: mentions\n",
                                                                  "groupchat: none\n"])]}),
    offline_post_node:await_running(Node, ?HOSTS),
    offline_post_told:install(Node, ?HOSTS),
    [{node, Node}, {backend, Backend}, {clients, offline_post_client:start()} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

%% A room of each case's own, with its owner in it and somebody who is told of everything: last.
init_per_testcase(Case, Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    Host = host(Case),
    Name = atom_to_list(Case),
    Own = [{'case', Name}, {host, Host}, {room, Name ++ "@conference." ++ Host} | Config],
    [offline_post_node:register(Node, user(Own, Role), Host, [user(Own, Role), "-password"]) ||
        Role <- ["owner", "last", "anna", "ben", "carl"]],
    login(Own, "owner"),
    enter(Own, "owner"),
    case Host of
        "none.localhost" -> ok;
        "mucsub.localhost" -> subscribe(Own, "last", "messages");
        _ -> affiliate(Own, "last", "member")
    end,
    Own.

end_per_testcase(_Case, Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    offline_post_client:offline(Clients, user(Config, "owner")),
    [begin
         Stats = offline_post_node:stats(Node, Host),
         ?assertEqual([], offline_post_law:violations(Stats)),
         ?assertMatch(#{hook_crashes := 0, member_overflows := 0}, Stats)
     end || Host <- ?HOSTS],
    ok.

host(Case) when Case =:= subscriber_offline; Case =:= subscriber_online; Case =:= subscriber_hangs;
                Case =:= other_nodes;
                Case =:= subscriber_in_room_hangs; Case =:= subscriber_sent_again; Case =:= own_message;
                Case =:= real_sender; Case =:= forged_sender; Case =:= forged_wrapper;
                Case =:= invited -> "mucsub.localhost";
host(none) -> "none.localhost";
host(Case) when Case =:= mentions; Case =:= fallback_mentions -> "mentions.localhost";
host(_) -> "members.localhost".

%%% MUC/Sub

subscriber_offline(Config) ->
    subscribe(Config, "anna", "messages"),
    say(Config, "owner", "Hello"),
    [Event] = told(Config),
    Room = list_to_binary(?config(room, Config)),
    ?assertMatch(#{kind := text, trigger := offline, stored := offline, message_id := <<"m1">>, body := <<"Hello">>,
                   room := Room, nick := <<"owner">>}, Event),
    ?assertEqual(recipient(Config, "anna"), maps:get(to, Event)),
    [Local, Service] = binary:split(Room, <<"@">>),
    ?assertEqual({Local, Service, <<"owner">>}, maps:get(from, Event)),
    %% Nobody sees who is behind a nick.
    ?assertNot(is_map_key(sender, Event)).

%% One who is online gets it, and no POST.
subscriber_online(Config) ->
    subscribe(Config, "anna", "messages"),
    online(Config, "anna"),
    say(Config, "owner", "Hello"),
    received(Config, "anna", "Hello"),
    ?assertEqual([], told(Config)),
    logout(Config, "anna").

%% It is posted while the session waits to be resumed, once; what is stored at its end is not posted again.
subscriber_hangs(Config) ->
    subscribe(Config, "anna", "messages"),
    hang(Config, "anna"),
    say(Config, "owner", "Hello"),
    [#{resource := <<"test">>} = Event] = [Event || #{trigger := pending} = Event <- await(Config, 2)],
    ?assertMatch(#{kind := text, trigger := pending, body := <<"Hello">>, nick := <<"owner">>}, Event),
    ?assertEqual(recipient(Config, "anna"), maps:get(to, Event)),
    ?assertEqual([], told(Config)).

%% Of what else a room publishes nobody is told.
other_nodes(Config) ->
    [subscribe(Config, User, Node) || {User, Node} <- [{"anna", "presence"}, {"ben", "affiliations"},
                                                       {"carl", "subject"}]],
    account(Config, "guest"),
    login(Config, "guest"),
    enter(Config, "guest"),
    affiliate(Config, "guest", "member"),
    send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config),
                           "'><subject>News</subject></message>"]),
    say(Config, "owner", "Hello"),
    ?assertEqual([], told(Config)),
    logout(Config, "guest").

%% A room that is not anonymous shows everybody's JID.
real_sender(Config) ->
    configure(Config, [{"muc#roomconfig_whois", "anyone"}]),
    subscribe(Config, "anna", "messages"),
    say(Config, "owner", "Hello"),
    [#{nick := <<"owner">>, sender := Sender}] = told(Config),
    ?assertEqual(jid(Config, "owner"), binary_to_list(Sender)).

%% Who an occupant claims to be in a message is not believed.
forged_sender(Config) ->
    subscribe(Config, "anna", "messages"),
    send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config), "'><body>Hello</body>"
                           "<x xmlns='http://jabber.org/protocol/muc#user'>"
                           "<item affiliation='owner' role='moderator' jid='x@y.example'/></x></message>"]),
    [Event] = told(Config),
    ?assertMatch(#{body := <<"Hello">>, nick := <<"owner">>}, Event),
    ?assertNot(is_map_key(sender, Event)).

%% What a client wraps by itself is no message of a room.
forged_wrapper(Config) ->
    send(Config, "owner",
         ["<message to='", jid(Config, "anna"), "'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
          "<items node='urn:xmpp:mucsub:nodes:messages'><item id='1'>"
          "<message xmlns='jabber:client' type='groupchat' from='", ?config(room, Config), "/owner'>"
          "<body>Forged</body></message></item></items></event></message>"]),
    ?assertEqual([], told(Config)).

%% Into the room: by the room itself, and by a member's own message.
invited(Config) ->
    send(Config, "owner", ["<message to='", ?config(room, Config), "'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='",
                           jid(Config, "anna"), "'><reason>Come</reason></invite></x></message>"]),
    send(Config, "owner", ["<message to='", jid(Config, "ben"), "'><x xmlns='jabber:x:conference' jid='", ?config(room, Config),
                           "'/></message>"]),
    ?assertEqual([{invitation, "anna"}, {invitation, "ben"}], kinds(Config, told(Config))).

%% groupchat: none. A chat message shows that all before it is over.
none(Config) ->
    subscribe(Config, "anna", "messages"),
    affiliate(Config, "ben", "member"),
    say(Config, "owner", "Hello"),
    received(Config, "owner", "Hello"),
    offline_post_client:message(?config(clients, Config), user(Config, "owner"), jid(Config, "last"), ?END),
    ?assertEqual([], before_end(Config)).

%%% Members

%% Whoever is affiliated is told, but not the sender.
member_away(Config) ->
    [affiliate(Config, User, Affiliation) || {User, Affiliation} <- [{"anna", "member"}, {"ben", "admin"},
                                                                     {"carl", "owner"}]],
    say(Config, "owner", "Hello"),
    Events = told(Config),
    ?assertEqual([recipient(Config, User) || User <- ["anna", "ben", "carl"]],
                 lists:sort([To || #{to := To} <- Events])),
    Room = list_to_binary(?config(room, Config)),
    [?assertMatch(#{kind := text, trigger := groupchat, stored := none, body := <<"Hello">>, room := Room,
                    nick := <<"owner">>}, Event) ||
        Event <- Events].

member_in_room(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben"]],
    online(Config, "anna"),
    enter(Config, "anna"),
    say(Config, "owner", "Hello"),
    received(Config, "anna", "Hello"),
    ?assertEqual(all(Config, ["ben"]), who(told(Config))),
    logout(Config, "anna").

%% Can be reached, though not in the room: no event.
member_elsewhere(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben"]],
    online(Config, "anna"),
    say(Config, "owner", "Hello"),
    ?assertEqual(all(Config, ["ben"]), who(told(Config))),
    logout(Config, "anna").

%% Connected, but not there for messages.
member_without_presence(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben"]],
    login(Config, "anna"),
    login(Config, "ben"),
    send(Config, "ben", "<presence><priority>-1</priority></presence>"),
    offline_post_client:ping_ms(?config(clients, Config), user(Config, "ben")),
    say(Config, "owner", "Hello"),
    ?assertEqual(all(Config, ["anna", "ben"]), who(told(Config))),
    [logout(Config, User) || User <- ["anna", "ben"]].

outcast(Config) ->
    [affiliate(Config, User, Affiliation) || {User, Affiliation} <- [{"anna", "outcast"}, {"ben", "member"},
                                                                     {"carl", "member"}, {"carl", "none"}]],
    say(Config, "owner", "Hello"),
    ?assertEqual(all(Config, ["ben"]), who(told(Config))).

%% The sender's other device is the sender; another account is not, whoever has it.
other_account(Config) ->
    affiliate(Config, "anna", "member"),
    affiliate(Config, "ben", "member"),
    online(Config, "anna"),
    enter(Config, "anna"),
    say(Config, "anna", "Hello"),
    %% The owner is in the room.
    ?assertEqual(all(Config, ["ben"]), who(told(Config))),
    logout(Config, "anna").

%% A subscriber is told once, affiliated or not, and by the way that also keeps the message.
subscribed_member(Config) ->
    affiliate(Config, "anna", "member"),
    subscribe(Config, "anna", "messages"),
    subscribe(Config, "ben", "messages"),
    affiliate(Config, "carl", "member"),
    say(Config, "owner", "Hello"),
    Events = told(Config),
    ?assertEqual(all(Config, ["anna", "ben", "carl"]), who(Events)),
    ?assertEqual(lists:sort([{recipient(Config, "anna"), offline}, {recipient(Config, "ben"), offline},
                             {recipient(Config, "carl"), groupchat}]),
                 lists:sort([{To, Trigger} || #{to := To, trigger := Trigger} <- Events])).

members_only(Config) ->
    configure(Config, [{"muc#roomconfig_membersonly", "1"}, {"muc#roomconfig_whois", "anyone"}]),
    affiliate(Config, "anna", "member"),
    say(Config, "owner", "Hello"),
    Events = told(Config),
    ?assertEqual(all(Config, ["anna"]), who(Events)),
    [?assertEqual(jid(Config, "owner"), binary_to_list(maps:get(sender, Event))) || Event <- Events].

private_message(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben"]],
    online(Config, "ben"),
    enter(Config, "ben"),
    send(Config, "owner", ["<message type='chat' to='", ?config(room, Config),
                           "/ben'><body>Between us</body></message>"]),
    received(Config, "ben", "Between us"),
    ?assertEqual([], told(Config)),
    logout(Config, "ben").

%% Neither the subject nor the history, which one gets who enters, is news to the others.
join(Config) ->
    affiliate(Config, "anna", "member"),
    subject_is(Config, "News"),
    say(Config, "owner", "Hello"),
    ?assertEqual([{subject, "anna"}, {text, "anna"}], kinds(Config, told(Config))),
    online(Config, "ben"),
    enter(Config, "ben"),
    ?assertEqual([], told(Config)),
    logout(Config, "ben").

subject(Config) ->
    affiliate(Config, "anna", "member"),
    subject_is(Config, "News"),
    ?assertEqual([{subject, "anna"}], kinds(Config, told(Config))).

chat_state(Config) ->
    affiliate(Config, "anna", "member"),
    send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config),
                           "'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"]),
    send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config),
                           "'><body>Hello</body><no-store xmlns='urn:xmpp:hints'/></message>"]),
    ?assertEqual([], told(Config)).

%% Where a member finds it, and by which id.
archived(Config) ->
    configure(Config, [{"mam", "1"}]),
    affiliate(Config, "anna", "member"),
    say(Config, "owner", "Hello"),
    Events = told(Config),
    ?assertEqual(all(Config, ["anna"]), who(Events)),
    [?assertMatch(#{stored := archive, stanza_id := <<_, _/binary>>}, Event) || Event <- Events].

%% By a reference or by the local part.
mentions(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben", "carl"]],
    say(Config, "owner", ["Is ", user(Config, "anna"), " there?"]),
    send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config), "'><body>And you?</body>"
                           "<reference xmlns='urn:xmpp:reference:0' type='mention' begin='4' end='6'"
                           " uri='xmpp:", jid(Config, "ben"), "'/></message>"]),
    say(Config, "owner", [user(Config, "carl"), "s"]),
    %% A subscriber is no exception.
    subscribe(Config, "carl", "messages"),
    say(Config, "owner", "Nobody"),
    say(Config, "owner", [user(Config, "carl"), "!"]),
    say(Config, "owner", ["the end, ", user(Config, "last")]),
    Events = before_end(Config, list_to_binary(["the end, ", user(Config, "last")])),
    ?assertEqual([{recipient(Config, "anna"), groupchat}, {recipient(Config, "ben"), groupchat},
                  {recipient(Config, "carl"), offline}],
                 lists:sort([{To, Trigger} || #{to := To, trigger := Trigger} <- Events])).

%% Whom only the quotation in a reply names, is not mentioned, member or subscriber; nor is anybody by what a client
%% writes for those who cannot decrypt a message.
fallback_mentions(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben"]],
    subscribe(Config, "carl", "messages"),
    Quotation = lists:flatten(["> ", user(Config, "anna"), ", ", user(Config, "carl"), ": shall we go?\n"]),
    Say = fun(Content) -> send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config), "'>", Content, "</message>"]) end,
    Say(["<body>", offline_post_client:escape(Quotation), "yes, ", user(Config, "ben"), "</body>"
         "<reply xmlns='urn:xmpp:reply:0' id='1'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'>"
         "<body start='0' end='", integer_to_list(length(Quotation)), "'/></fallback>"]),
    Say(["<body>", user(Config, "anna"), ": this message is encrypted</body><openpgp xmlns='urn:xmpp:openpgp:0'>aa</openpgp>"]),
    say(Config, "owner", ["the end, ", user(Config, "last")]),
    ?assertEqual([recipient(Config, "ben")], who(before_end(Config, list_to_binary(["the end, ", user(Config, "last")])))).

%% The member's own virtual host decides.
other_virtual_host(Config) ->
    Node = ?config(node, Config),
    Away = [{"far", "mentions.localhost"}, {"named", "mentions.localhost"}, {"far", "mucsub.localhost"},
            {"far", "none.localhost"}],
    [begin
         offline_post_node:register(Node, User, Host, "x"),
         affiliate_jid(Config, User ++ "@" ++ Host, "member")
     end || {User, Host} <- Away],
    affiliate_jid(Config, "far@elsewhere.example", "member"),
    affiliate_jid(Config, "mucsub.localhost", "member"),
    say(Config, "owner", "Have you named him?"),
    ?assertEqual([{<<"named">>, <<"mentions.localhost">>, <<>>}], who(told(Config))).

%% Who has blocked the room hears nothing of it.
blocked_room(Config) ->
    [affiliate(Config, User, "member") || User <- ["anna", "ben"]],
    login(Config, "anna"),
    offline_post_client:request(?config(clients, Config), user(Config, "anna"), "set",
                                ["<block xmlns='urn:xmpp:blocking'><item jid='", ?config(room, Config), "'/></block>"]),
    logout(Config, "anna"),
    say(Config, "owner", "Hello"),
    ?assertEqual(all(Config, ["ben"]), who(told(Config))).

no_such_user(Config) ->
    affiliate(Config, "anna", "member"),
    affiliate_jid(Config, "nobody@" ++ ?config(host, Config), "member"),
    offline_post_node:call(?config(node, Config), ejabberd_auth, remove_user,
                           [list_to_binary(user(Config, "anna")), list_to_binary(?config(host, Config))]),
    say(Config, "owner", "Hello"),
    ?assertEqual([], who(told(Config))).

%% A session that waits to be resumed cannot be reached.
hanging_elsewhere(Config) ->
    affiliate(Config, "anna", "member"),
    hang(Config, "anna"),
    say(Config, "owner", "Hello"),
    Events = told(Config),
    ?assertEqual(all(Config, ["anna"]), who(Events)),
    ?assertEqual([groupchat], [Trigger || #{trigger := Trigger} <- Events]).

%% The room takes it for one who is in it: what it sends there is posted.
hanging_in_room(Config) ->
    affiliate(Config, "anna", "member"),
    online(Config, "anna", fun offline_post_client:login_resumable/4),
    enter(Config, "anna"),
    kill(Config, "anna"),
    say(Config, "owner", "Hello"),
    [Event] = [Event || #{trigger := pending} = Event <- await(Config, 2)],
    Room = list_to_binary(?config(room, Config)),
    ?assertMatch(#{kind := text, body := <<"Hello">>, room := Room, nick := <<"owner">>, resource := <<"test">>},
                 Event),
    ?assertEqual(setelement(3, recipient(Config, "anna"), <<"test">>), maps:get(to, Event)),
    ?assertEqual([], told(Config)).

%% Both phones have it in their queues; it is one message all the same.
two_hanging_in_room(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    affiliate(Config, "anna", "member"),
    Phones = [{user(Config, "anna") ++ Resource, "/" ++ Resource} || Resource <- ["one", "two"]],
    [begin
         offline_post_client:login_resumable(Clients, Client, jid(Config, "anna") ++ Resource, Node),
         offline_post_client:online(Clients, Client),
         offline_post_room:enter({Clients, Client, ?config(room, Config)}, "anna")
     end || {Client, Resource} <- Phones],
    [offline_post_client:kill(Clients, Client) || {Client, _} <- Phones],
    unreachable(Config, "anna"),
    say(Config, "owner", "Hello"),
    Events = told(Config),
    ?assertMatch([#{trigger := pending, body := <<"Hello">>, to := {_, _, <<_, _/binary>>}}], Events).

%% A subscriber who is in the room gets the message as an occupant does. Once, whatever becomes of it at the session's end.
subscriber_in_room_hangs(Config) ->
    subscribe(Config, "anna", "messages"),
    online(Config, "anna", fun offline_post_client:login_resumable/4),
    enter(Config, "anna"),
    kill(Config, "anna"),
    say(Config, "owner", "Hello"),
    [#{resource := <<"test">>} = Event] = [Event || #{trigger := pending} = Event <- await(Config, 2)],
    ?assertMatch(#{kind := text, body := <<"Hello">>, nick := <<"owner">>}, Event),
    kick(Config, "anna"),
    ?assertEqual([], told(Config)).

%% mod_stream_mgmt sends the wrapper again with another message inside.
subscriber_sent_again(Config) ->
    subscribe(Config, "anna", "messages"),
    hang(Config, "anna"),
    say(Config, "owner", "Hello"),
    ?assertMatch([#{body := <<"Hello">>}], [Event || #{trigger := pending} = Event <- await(Config, 2)]),
    kick(Config, "anna"),
    {User, Host, _} = recipient(Config, "anna"),
    ?assertEqual(1, offline_post_node:call(?config(node, Config), mod_offline, count_offline_messages, [User, Host])),
    ?assertEqual([], who(told(Config)) -- all(Config, ["owner"])).

%% What the room sends back to its author is no news.
own_message(Config) ->
    online(Config, "anna", fun offline_post_client:login_resumable/4),
    enter(Config, "anna"),
    offline_post_client:deaf(?config(clients, Config), user(Config, "anna")),
    say(Config, "anna", "mine"),
    received(Config, "anna", "mine"),
    kill(Config, "anna"),
    ?assertEqual([], [Event || #{body := <<"mine">>} = Event <- told(Config)]).

%% The phone in the room is dead before the message. Whoever logs in later was not there.
room_message_before_login(Config) ->
    dead_in_room(Config),
    say(Config, "owner", "Hello"),
    received(Config, "anna", "Hello"),
    desktop(Config),
    kill_phone(Config),
    ?assertMatch([#{trigger := pending, body := <<"Hello">>, resource := <<"test">>}], told(Config)).

%% Who was there and could be reached is not told, as any member who is online elsewhere.
room_message_before_logout(Config) ->
    dead_in_room(Config),
    desktop(Config),
    say(Config, "owner", "Hello"),
    received(Config, "anna", "Hello"),
    logout(Config, "desktop"),
    kill_phone(Config),
    ?assertEqual([], told(Config)).

%% A device that is not in the room, and found dead before, has received nothing.
room_message_other_dead(Config) ->
    {Node, Clients, Desktop} = {?config(node, Config), ?config(clients, Config), user(Config, "desktop")},
    dead_in_room(Config),
    offline_post_client:login_resumable(Clients, Desktop, jid(Config, "anna") ++ "/desktop", Node),
    offline_post_client:online(Clients, Desktop),
    say(Config, "owner", "Hello"),
    received(Config, "anna", "Hello"),
    offline_post_client:kill(Clients, Desktop),
    hangs(Config, <<"desktop">>),
    kill_phone(Config),
    ?assertMatch([#{trigger := pending, body := <<"Hello">>, resource := <<"test">>}], told(Config)).

dead_in_room(Config) ->
    online(Config, "anna", fun offline_post_client:login_resumable/4),
    enter(Config, "anna"),
    offline_post_client:deaf(?config(clients, Config), user(Config, "anna")).

desktop(Config) ->
    Clients = ?config(clients, Config),
    offline_post_client:login(Clients, user(Config, "desktop"), jid(Config, "anna") ++ "/desktop", ?config(node, Config)),
    offline_post_client:online(Clients, user(Config, "desktop")).

kill_phone(Config) ->
    offline_post_client:kill(?config(clients, Config), user(Config, "anna")),
    hangs(Config, <<"test">>).

hangs(Config, Resource) ->
    {User, Host, _} = recipient(Config, "anna"),
    offline_post_wait:until(fun() ->
        Info = offline_post_node:call(?config(node, Config), ejabberd_sm, get_user_info, [User, Host, Resource]),
        lists:keymember(offline_post_hanging, 1, Info)
    end).

%% Ends the sessions.
kick(Config, Role) ->
    {User, Host, _} = recipient(Config, Role),
    1 = offline_post_node:call(?config(node, Config), ejabberd_sm, kick_user, [User, Host]),
    offline_post_wait:until(fun() ->
        offline_post_node:call(?config(node, Config), ejabberd_sm, get_user_resources, [User, Host]) =:= []
    end).

%%% Rooms

%% Available, in no room.
online(Config, Role) ->
    online(Config, Role, fun offline_post_client:login/4).

online(Config, Role, Login) ->
    Login(?config(clients, Config), user(Config, Role), jid(Config, Role), ?config(node, Config)),
    offline_post_client:online(?config(clients, Config), user(Config, Role)).

login(Config, Role) ->
    offline_post_client:login(?config(clients, Config), user(Config, Role), jid(Config, Role), ?config(node, Config)).

logout(Config, Role) ->
    offline_post_client:offline(?config(clients, Config), user(Config, Role)).

%% Available, and then gone without a word.
hang(Config, Role) ->
    online(Config, Role, fun offline_post_client:login_resumable/4),
    kill(Config, Role).

%% Returns when the server has seen it.
kill(Config, Role) ->
    offline_post_client:kill(?config(clients, Config), user(Config, Role)),
    unreachable(Config, Role).

unreachable(Config, Role) ->
    {User, Host, _} = recipient(Config, Role),
    offline_post_wait:until(fun() ->
        not offline_post_node:call(?config(node, Config), mod_offline_post_online, is_reachable,
                                         [User, Host, erlang:timestamp()])
    end).

enter(Config, Role) ->
    offline_post_room:enter(occupant(Config, Role), Role).

affiliate(Config, Role, Affiliation) ->
    affiliate_jid(Config, jid(Config, Role), Affiliation).

affiliate_jid(Config, Jid, Affiliation) ->
    offline_post_room:affiliate(occupant(Config, "owner"), Jid, Affiliation).

%% Anybody's, by the room's owner.
subscribe(Config, Role, Node) ->
    offline_post_room:subscribe(occupant(Config, "owner"), jid(Config, Role), Node).

configure(Config, Fields) ->
    offline_post_room:configure(occupant(Config, "owner"), Fields).

say(Config, Role, Text) ->
    offline_post_room:say(occupant(Config, Role), Text).

occupant(Config, Role) ->
    {?config(clients, Config), user(Config, Role), ?config(room, Config)}.

subject_is(Config, Text) ->
    send(Config, "owner", ["<message type='groupchat' to='", ?config(room, Config), "'><subject>", Text,
                           "</subject></message>"]).

send(Config, Role, Xml) ->
    offline_post_client:send(?config(clients, Config), user(Config, Role), Xml).

received(Config, Role, Text) ->
    offline_post_client:received(?config(clients, Config), user(Config, Role), Text).

account(Config, Role) ->
    offline_post_node:register(?config(node, Config), user(Config, Role), ?config(host, Config),
                               [user(Config, Role), "-password"]).

user(Config, Role) -> ?config('case', Config) ++ "." ++ Role.
jid(Config, Role) -> user(Config, Role) ++ "@" ++ ?config(host, Config).
recipient(Config, Role) -> {list_to_binary(user(Config, Role)), list_to_binary(?config(host, Config)), <<>>}.

%%% What arrives

%% All that the room's messages until now have come to, for others than `last`; without the last one, which ends it.
told(Config) ->
    say(Config, "owner", ?END),
    before_end(Config).

before_end(Config) ->
    before_end(Config, ?END).

before_end(Config, End) ->
    Last = recipient(Config, "last"),
    Before = until(Config, fun(#{to := To, body := Body}) -> To =:= Last andalso Body =:= End end),
    %% Others may be delivered after it, but not accepted.
    offline_post_told:settled(?config(node, Config), ?HOSTS),
    Rest = [offline_post_told:event(Post) || Post <- offline_post_backend:posts(?config(backend, Config))],
    [Event || #{to := To, body := Body} = Event <- Before ++ Rest, To =/= Last, Body =/= End].

until(Config, IsLast) ->
    Event = offline_post_told:event(offline_post_backend:await(?config(backend, Config))),
    case IsLast(Event) of
        true -> [];
        false -> [Event | until(Config, IsLast)]
    end.

await(Config, Count) ->
    [offline_post_told:event(Post) || Post <- offline_post_backend:await(?config(backend, Config), Count)].

who(Events) ->
    lists:sort([To || #{to := To} <- Events]).

all(Config, Roles) ->
    lists:sort([recipient(Config, Role) || Role <- Roles]).

kinds(Config, Events) ->
    Prefix = ?config('case', Config) ++ ".",
    lists:sort([{Kind, lists:nthtail(length(Prefix), binary_to_list(User))} ||
                #{kind := Kind, to := {User, _, _}} <- Events]).
