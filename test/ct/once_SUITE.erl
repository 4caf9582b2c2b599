%% One POST for each message and recipient, whatever way it takes. Each case says exactly which POSTs arrive; what must
%% not arrive would have been before the last one.
-module(once_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([archived_and_stored/1, own_resend/1, other_text/1, same_id/1, resend_while_hanging/1, two_hanging/1, copies/1, too_late/1,
         too_late_without_pending/1, too_late_archived/1, fetched/1, stats/1]).

-define(HOSTS, ["localhost", "offline.localhost", "archive.localhost"]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [archived_and_stored, own_resend, other_text, same_id, resend_while_hanging, two_hanging, copies, too_late, too_late_without_pending,
     too_late_archived, fetched, stats].

%% Sessions wait a second to be resumed; what they leave is sent again.
init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\nheaders: {X-Ids: \"{{stanza.id}} {{origin.id}}\"}\n"],
    Modules = "mod_offline: {}\nmod_ping: {}\nmod_carboncopy: {}\n"
        "mod_stream_mgmt:\n  resume_timeout: 1 s\n  resend_on_timeout: true\n",
    Node = offline_post_node:start(
             #{hosts => [{Host, #{modules => [Modules, More], offline_post => [Url, Options]}} ||
                            {Host, More, Options} <- lists:zip3(?HOSTS, ["", "", "mod_mam:\n  default: always\n"],
                                                                ["", "triggers: [offline]\n", ""])]}),
    offline_post_told:install(Node, ?HOSTS),
    [{node, Node}, {backend, Backend}, {clients, offline_post_client:start()} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    Host = host(Case),
    To = atom_to_list(Case),
    [offline_post_node:register(Node, User, Host, [User, "-password"]) || User <- [To, "from." ++ To]],
    offline_post_client:login(Clients, "sender", "from." ++ To ++ "@" ++ Host, Node),
    Own = [{host, Host}, {to, To ++ "@" ++ Host} | Config],
    [{before, duplicates(Own)} | Own].

end_per_testcase(_Case, Config) ->
    offline_post_client:offline(?config(clients, Config), "sender"),
    [begin
         Stats = offline_post_node:stats(?config(node, Config), Host),
         ?assertEqual([], offline_post_law:violations(Stats)),
         ?assertMatch(#{hook_crashes := 0}, Stats)
     end || Host <- ?HOSTS],
    ok.

host(too_late_without_pending) -> "offline.localhost";
host(Case) when Case =:= archived_and_stored; Case =:= too_late_archived -> "archive.localhost";
host(_) -> "localhost".

%% mod_mam and mod_offline both keep it.
archived_and_stored(Config) ->
    say(Config, "m1", ""),
    ?assertMatch([#{trigger := offline, stored := archive, stanza_id := _}], told(Config)),
    duplicates(Config, 0).

%% A client that has not seen its message acknowledged sends it once more, after a reconnect from another resource.
own_resend(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    say(Config, "m1", origin("o1")),
    offline_post_client:offline(Clients, "sender"),
    offline_post_client:login(Clients, "sender", "from.own_resend@localhost/again", Node),
    say(Config, "m1", origin("o1")),
    say(Config, "m2", origin("o2")),
    ?assertMatch([#{message_id := <<"m1">>, origin_id := <<"o1">>}, #{message_id := <<"m2">>, origin_id := <<"o2">>}], told(Config)),
    duplicates(Config, 1).

%% A client that uses an origin-id twice has made a mistake; what it says is not the same.
other_text(Config) ->
    say(Config, "m1", [origin("o4"), "<active xmlns='http://jabber.org/protocol/chatstates'/>"]),
    say(Config, "m2", [origin("o4"), "<subject>News</subject>"]),
    say(Config, "m3", origin("o4")),
    say(Config, "m4", ["<x xmlns='jabber:x:oob'><url>https://files.example/1</url></x>", origin("o4")]),
    ?assertMatch([#{message_id := <<"m1">>}, #{message_id := <<"m2">>}, #{message_id := <<"m4">>}], told(Config)),
    duplicates(Config, 1).

%% The id of a message is nobody's promise.
same_id(Config) ->
    [say(Config, "m1", "") || _ <- [1, 2, 3]],
    ?assertMatch([#{message_id := <<"m1">>}, #{message_id := <<"m1">>}, #{message_id := <<"m1">>}], told(Config)),
    duplicates(Config, 0).

%% Posted of a session that hangs, and sent again by its sender when that one has ended.
resend_while_hanging(Config) ->
    hang(Config, "phone"),
    say(Config, "m1", origin("o3")),
    ?assertMatch([#{trigger := pending, resource := <<"phone">>}], told(Config, fun() -> gone(Config) end)),
    say(Config, "m1", origin("o3")),
    ?assertEqual([], told(Config)).

two_hanging(Config) ->
    [online(Config, Phone) || Phone <- ["phone1", "phone2"]],
    [kill(Config, Phone) || Phone <- ["phone1", "phone2"]],
    [say(Config, Id, "") || Id <- ["m1", "m2"]],
    ?assertMatch([#{message_id := <<"m1">>, trigger := pending}, #{message_id := <<"m2">>, trigger := pending}],
                 told(Config, fun() -> gone(Config) end)).

%% One phone is addressed, the other gets a carbon.
copies(Config) ->
    [begin
         online(Config, Phone),
         offline_post_client:carbons(?config(clients, Config), Phone)
     end || Phone <- ["phone1", "phone2"]],
    [kill(Config, Phone) || Phone <- ["phone1", "phone2"]],
    send(Config, "m1", [?config(to, Config), "/phone1"], ""),
    ?assertMatch([#{message_id := <<"m1">>, trigger := pending}], told(Config, fun() -> gone(Config) end)).

%% The session ends and the message goes to the offline store.
too_late(Config) ->
    hang(Config, "phone"),
    say(Config, "m1", ""),
    ?assertMatch([#{message_id := <<"m1">>, trigger := pending, stored := offline}], told(Config, fun() -> gone(Config) end)),
    duplicates(Config, 1).

%% Each of two phones' sessions brings it there.
too_late_without_pending(Config) ->
    [online(Config, Phone) || Phone <- ["phone1", "phone2"]],
    [kill(Config, Phone) || Phone <- ["phone1", "phone2"]],
    say(Config, "m1", ""),
    gone(Config),
    ?assertMatch([#{message_id := <<"m1">>, trigger := offline, stored := offline}], told(Config)).

too_late_archived(Config) ->
    hang(Config, "phone"),
    say(Config, "m1", ""),
    ?assertMatch([#{message_id := <<"m1">>, trigger := pending, stored := archive}], told(Config, fun() -> gone(Config) end)).

%% What is fetched from the store, and waits in a session that hangs, was posted when it was stored.
fetched(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    say(Config, "m1", ""),
    offline_post_client:ping_ms(Clients, "sender"),
    offline_post_client:login_resumable(Clients, "phone", ?config(to, Config) ++ "/phone", Node),
    offline_post_client:deaf(Clients, "phone"),
    offline_post_client:online(Clients, "phone"),
    offline_post_wait:until(fun() -> offline_post_node:call(Node, mod_offline, count_offline_messages,
                                                            [<<"fetched">>, <<"localhost">>]) =:= 0 end),
    kill(Config, "phone"),
    say(Config, "m2", ""),
    ?assertMatch([#{message_id := <<"m1">>, trigger := offline}, #{message_id := <<"m2">>, trigger := pending}],
                 told(Config, fun() -> gone(Config) end)).

%% As an operator sees it: beside the law.
stats(Config) ->
    [say(Config, "m1", origin("o4")) || _ <- [1, 2, 3]],
    ?assertMatch([_], told(Config)),
    duplicates(Config, 2),
    {0, Output} = offline_post_node:ctl(?config(node, Config), ["offline_post_stats", "localhost"]),
    [?assertMatch({match, _}, re:run(Output, Line, [multiline])) || Line <- ["^duplicates\t[1-9]", "^vetoed\t0"]].

%%%

hang(Config, Phone) ->
    online(Config, Phone),
    kill(Config, Phone).

online(Config, Phone) ->
    Clients = ?config(clients, Config),
    offline_post_client:login_resumable(Clients, Phone, ?config(to, Config) ++ "/" ++ Phone, ?config(node, Config)),
    offline_post_client:online(Clients, Phone).

%% The session hangs when this returns.
kill(Config, Phone) ->
    offline_post_client:kill(?config(clients, Config), Phone),
    [User, Host] = [list_to_binary(Part) || Part <- string:lexemes(?config(to, Config), "@")],
    offline_post_wait:until(fun() -> lists:all(fun({_, Info}) -> lists:keymember(offline_post_hanging, 1, Info) end,
                                               [Session || {Resource, _} = Session <- sessions(Config, User, Host),
                                                           Resource =:= list_to_binary(Phone)])
                            end).

%% All sessions of the recipient have ended; what they left behind is on its way.
gone(Config) ->
    [User, Host] = [list_to_binary(Part) || Part <- string:lexemes(?config(to, Config), "@")],
    offline_post_wait:until(fun() -> sessions(Config, User, Host) =:= [] end).

sessions(Config, User, Host) ->
    offline_post_node:call(?config(node, Config), ejabberd_sm, get_user_info, [User, Host]).

say(Config, Id, More) ->
    send(Config, Id, ?config(to, Config), More).

send(Config, Id, To, More) ->
    offline_post_client:send(?config(clients, Config), "sender",
                             ["<message type='chat' id='", Id, "' to='", To, "'><body>x</body>", More, "</message>"]).

origin(Id) ->
    ["<origin-id xmlns='urn:xmpp:sid:0' id='", Id, "'/>"].

duplicates(Config) ->
    maps:get(duplicates, offline_post_node:stats(?config(node, Config), ?config(host, Config))).

duplicates(Config, Expected) ->
    offline_post_wait:until(fun() -> duplicates(Config) - ?config(before, Config) =:= Expected end, 10000,
                            fun() -> {duplicates, Expected, duplicates(Config) - ?config(before, Config)} end).

%% The events until now.
told(Config) ->
    told(Config, fun() -> ok end).

%% The events until then, which come before one more message.
told(Config, Then) ->
    offline_post_client:ping_ms(?config(clients, Config), "sender"),
    Then(),
    say(Config, "the end", ""),
    until_end(Config).

until_end(Config) ->
    case offline_post_told:event(offline_post_backend:await(?config(backend, Config))) of
        #{message_id := <<"the end">>} -> [];
        #{} = Event -> [Event | until_end(Config)]
    end.
