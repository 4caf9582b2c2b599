%% Sessions whose client is gone, or acknowledges nothing (XEP-0198). Each case says exactly which POSTs arrive. What
%% must not arrive would have been handed over before the last message, which somebody offline is told of.
-module(pending_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(offline_post_devices, [phone/2, phone/3, available/3, managed/2, acknowledged/2, deaf/2, kill/2, lose/2, hangs/2, gone/2, say/2, say/3,
                               send/2, told/1,
                               counted/2, call/4, jid/2]).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([healthy/1, queued_and_arriving/1, many/1, nothing_to_tell/1, resumed_in_time/1, lost_again/1,
         repeated_by_client/1,
         one_online/1, one_offline/1, negative_priority/1, no_presence/1, two_hanging/1, hanging_then_other/1,
         full_address/1, full_address_copied/1, copied/1, not_copied/1, not_to_be_copied/1, copy_lost/1,
         logged_in_later/1, raised_later/1, copied_later/1, received_by_one_gone/1, received_and_sent_again/1,
         acknowledged_then_lost/1, resumed_then_other_lost/1,
         acknowledged_by_resume/1,
         notify_hanging_device/1, no_pending_trigger/1, stored_before/1,
         too_late_bounced/1, too_late_stored/1, too_late_if_offline/1, too_late_if_offline_other/1,
         too_late_archived/1, too_late_archived_stored/1, too_late_archived_if_offline/1,
         no_resume/1, no_resume_in_order/1, no_resume_acknowledged/1, resume_in_order/1,
         deaf/1, deaf_no_resume/1, kicked/1, removed/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [healthy, queued_and_arriving, many, nothing_to_tell, resumed_in_time, lost_again, repeated_by_client,
     one_online, one_offline, negative_priority, no_presence, two_hanging, hanging_then_other,
     full_address, full_address_copied, copied, not_copied, not_to_be_copied, copy_lost,
     logged_in_later, raised_later, copied_later, received_by_one_gone, received_and_sent_again,
     acknowledged_then_lost, resumed_then_other_lost, acknowledged_by_resume,
     notify_hanging_device, no_pending_trigger, stored_before,
     too_late_bounced, too_late_stored, too_late_if_offline, too_late_if_offline_other,
     too_late_archived, too_late_archived_stored, too_late_archived_if_offline,
     no_resume, no_resume_in_order, no_resume_acknowledged, resume_in_order, deaf, deaf_no_resume, kicked, removed].

%% What becomes of what a session has left at its end is resend_on_timeout's and mod_mam's.
hosts() ->
    [{main, "resend_on_timeout: if_offline\nresume_timeout: 60\n", "", ""},
     {device, "resume_timeout: 60\n", "", "notify_hanging_device: true\n"},
     {offline, "resume_timeout: 60\n", "", "triggers: [offline]\n"},
     {deaf, "resume_timeout: 60\nack_timeout: 1\n", "", ""}]
        ++ [{list_to_atom(lists:concat([Resend, Suffix])),
             ["resend_on_timeout: ", atom_to_list(Resend), "\nresume_timeout: 2\n"], Mam, ""} ||
               Resend <- [false, true, if_offline],
               {Suffix, Mam} <- [{"", ""}, {"_mam", "mod_mam:\n  default: always\n"}]].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    Node = offline_post_node:start(
             #{hosts => [{name(Host), #{modules => ["mod_offline: {}\nmod_ping: {}\nmod_carboncopy: {}\n",
                                                    "mod_stream_mgmt:\n", indent(StreamMgmt), Mam],
                                        offline_post => [Url, Options]}} ||
                           {Host, StreamMgmt, Mam, Options} <- hosts()]}),
    offline_post_devices:prepare([{node, Node}, {backend, Backend} | Config],
                                 [name(Host) || {Host, _, _, _} <- hosts()]).

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    offline_post_devices:init(Case, name(host(Case)), Config).

end_per_testcase(_Case, Config) ->
    offline_post_devices:finish(Config).

host(notify_hanging_device) -> device;
host(no_pending_trigger) -> offline;
host(deaf) -> deaf;
host(deaf_no_resume) -> deaf;
host(too_late_bounced) -> false;
host(too_late_stored) -> true;
host(too_late_if_offline) -> if_offline;
host(too_late_if_offline_other) -> if_offline;
host(too_late_archived) -> false_mam;
host(too_late_archived_stored) -> true_mam;
host(too_late_archived_if_offline) -> if_offline_mam;
host(_) -> main.

%%% One device

%% What a client acknowledges is nothing to tell of.
healthy(Config) ->
    phone(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    ?assertEqual([], told(Config)).

%% Both what was sent before the loss and is not acknowledged, and what comes after it. Told at once, not at the end of
%% the wait.
queued_and_arriving(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "before"),
    offline_post_client:received(?config(clients, Config), "a", "before"),
    ?assertEqual([], told(Config)),
    lose(Config, "a"),
    say(Config, "after"),
    ?assertEqual([{"before", pending, offline, "a"}, {"after", pending, offline, "a"}], told(Config)),
    ?assertEqual(0, counted(duplicates, Config)).

many(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    Texts = [lists:concat(["m", N]) || N <- lists:seq(1, 200)],
    [say(Config, Text) || Text <- Texts],
    lose(Config, "a"),
    ?assertEqual([{Text, pending, offline, "a"} || Text <- Texts], told(Config)).

%% Of no kind that notifies.
nothing_to_tell(Config) ->
    phone(Config, "a"),
    lose(Config, "a"),
    [send(Config, ["<message type='", Type, "' to='", ?config(jid, Config), "'>", Content, "</message>"]) ||
        {Type, Content} <- [{"chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"},
                            {"chat", "<body>secret</body><no-store xmlns='urn:xmpp:hints'/>"},
                            {"chat", "<received xmlns='urn:xmpp:receipts' id='m0'/>"},
                            {"headline", "<body>news</body>"},
                            {"error", "<body>wrong</body><error type='cancel'>"
                                      "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"}]],
    send(Config, ["<presence to='", ?config(jid, Config), "'/>"]),
    ?assertEqual([], told(Config)).

%% After a resume all is as before the loss.
resumed_in_time(Config) ->
    phone(Config, "a"),
    lose(Config, "a"),
    say(Config, "lost"),
    ?assertEqual([{"lost", pending, offline, "a"}], told(Config)),
    offline_post_client:resume(?config(clients, Config), "a"),
    offline_post_client:received(?config(clients, Config), "a", "lost"),
    say(Config, "found"),
    offline_post_client:received(?config(clients, Config), "a", "found"),
    ?assertEqual([], told(Config)),
    ?assertEqual(0, counted(duplicates, Config)).

%% What the client has still not acknowledged was told of already.
lost_again(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    lose(Config, "a"),
    ?assertEqual([{"one", pending, offline, "a"}], told(Config)),
    offline_post_client:resume(?config(clients, Config), "a"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    say(Config, "two"),
    lose(Config, "a"),
    ?assertEqual([{"two", pending, offline, "a"}], told(Config)),
    ?assertEqual(1, counted(duplicates, Config)).

%% A client that has lost its own connection says it again, under the same origin-id (XEP-0359).
repeated_by_client(Config) ->
    phone(Config, "a"),
    lose(Config, "a"),
    [send(Config, ["<message type='chat' id='", Id, "' to='", ?config(jid, Config), "'><body>one</body>"
                   "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>"]) || Id <- ["m1", "m2"]],
    ?assertEqual([{"one", pending, offline, "a"}], told(Config)),
    ?assertEqual(1, counted(duplicates, Config)).

%%% More devices

%% Both are told by the server; one of them is there.
one_online(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    deaf(Config, "a"),
    say(Config, "one"),
    lose(Config, "a"),
    say(Config, "two"),
    [offline_post_client:received(?config(clients, Config), "b", Text) || Text <- ["one", "two"]],
    ?assertEqual([], told(Config)).

one_offline(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    offline_post_client:offline(?config(clients, Config), "b"),
    lose(Config, "a"),
    say(Config, "one"),
    ?assertEqual([{"one", pending, offline, "a"}], told(Config)).

%% A device with a negative priority gets nothing that is sent to the account.
negative_priority(Config) ->
    phone(Config, "a"),
    phone(Config, "b", "-1"),
    lose(Config, "a"),
    say(Config, "one"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

no_presence(Config) ->
    phone(Config, "a"),
    offline_post_client:login_resumable(?config(clients, Config), "b", jid(Config, "b"), ?config(node, Config)),
    lose(Config, "a"),
    say(Config, "one"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

%% Each has the message in its queue.
two_hanging(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    [lose(Config, Phone) || Phone <- ["a", "b"]],
    say(Config, "one"),
    [{"one", pending, none, Phone}] = told(Config),
    ?assert(lists:member(Phone, ["a", "b"])),
    ?assertEqual(0, counted(duplicates, Config)).

%% The one that was there is lost too, before it has acknowledged.
hanging_then_other(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    deaf(Config, "b"),
    lose(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "b", "one"),
    ?assertEqual([], told(Config)),
    lose(Config, "b"),
    ?assertEqual([{"one", pending, none, "b"}], told(Config)).

%% Another device does not get what is sent to this one.
full_address(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    lose(Config, "a"),
    say(Config, jid(Config, "a"), "one"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

%% But it may get a carbon of it.
full_address_copied(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    offline_post_client:carbons(?config(clients, Config), "b"),
    lose(Config, "a"),
    say(Config, jid(Config, "a"), "one"),
    offline_post_client:received(?config(clients, Config), "b", "one"),
    ?assertEqual([], told(Config)).

copied(Config) ->
    phone(Config, "a", "5"),
    phone(Config, "b", "0"),
    offline_post_client:carbons(?config(clients, Config), "b"),
    lose(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "b", "one"),
    ?assertEqual([], told(Config)).

%% The device with the highest priority, which hangs, gets it alone.
not_copied(Config) ->
    phone(Config, "a", "5"),
    phone(Config, "b", "0"),
    lose(Config, "a"),
    say(Config, "one"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

not_to_be_copied(Config) ->
    phone(Config, "a", "5"),
    phone(Config, "b", "0"),
    offline_post_client:carbons(?config(clients, Config), "b"),
    lose(Config, "a"),
    Send = fun(Text, Mark) ->
                   send(Config, ["<message type='chat' to='", ?config(jid, Config), "'><body>", Text, "</body>", Mark,
                                 "</message>"])
           end,
    Send("one", "<private xmlns='urn:xmpp:carbons:2'/>"),
    Send("two", "<no-copy xmlns='urn:xmpp:hints'/>"),
    ?assertEqual([{"one", pending, none, "a"}, {"two", pending, none, "a"}], told(Config)).

%% The device that gets the carbon hangs as well, in the end. What it sent itself is nobody's news.
copy_lost(Config) ->
    phone(Config, "a", "5"),
    phone(Config, "b", "0"),
    Clients = ?config(clients, Config),
    offline_post_client:carbons(Clients, "b"),
    deaf(Config, "b"),
    offline_post_client:online(Clients, "bob"),
    offline_post_client:message(Clients, "a", "bob." ++ ?config(jid, Config), "from me"),
    offline_post_client:received(Clients, "b", "from me"),
    lose(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(Clients, "b", "one"),
    ?assertEqual([], told(Config)),
    lose(Config, "b"),
    ?assertEqual([{"one", pending, none, "b"}], told(Config)).

%%% Who received it is decided when the message is routed

%% In each of these the phone is dead before the message, and only the server does not know.
logged_in_later(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    phone(Config, "b"),
    lose(Config, "a"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

raised_later(Config) ->
    phone(Config, "a", "0"),
    phone(Config, "b", "-1"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    available(Config, "b", "5"),
    lose(Config, "a"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

copied_later(Config) ->
    phone(Config, "a", "5"),
    phone(Config, "b", "0"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    offline_post_client:carbons(?config(clients, Config), "b"),
    lose(Config, "a"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

%% The other device has received it, wherever it is now.
received_by_one_gone(Config) ->
    received_by_other(Config),
    lose(Config, "a"),
    ?assertEqual([], told(Config)).

%% Nor when the server sends it again at the session's end, and stores it.
received_and_sent_again(Config) ->
    received_by_other(Config),
    lose(Config, "a"),
    1 = call(Config, ejabberd_sm, kick_user, []),
    gone(Config, "a"),
    ?assertEqual(1, call(Config, mod_offline, count_offline_messages, [])),
    ?assertEqual([], told(Config)).

received_by_other(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "b", "one"),
    offline_post_client:offline(?config(clients, Config), "b"),
    gone(Config, "b").

%% A device that is found dead after it has acknowledged the message has received it.
acknowledged_then_lost(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "b", "one"),
    acknowledged(Config, "b"),
    [lose(Config, Phone) || Phone <- ["b", "a"]],
    ?assertEqual([], told(Config)).

%% What a resume brings is received.
resumed_then_other_lost(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    [deaf(Config, Phone) || Phone <- ["a", "b"]],
    say(Config, "one"),
    [offline_post_client:received(?config(clients, Config), Phone, "one") || Phone <- ["a", "b"]],
    lose(Config, "a"),
    offline_post_client:hear(?config(clients, Config), "a"),
    offline_post_client:resume(?config(clients, Config), "a"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    acknowledged(Config, "a"),
    lose(Config, "b"),
    ?assertEqual([], told(Config)).

%% Its acknowledgement is lost with the connection, and told by the resume: then the server sends nothing again.
acknowledged_by_resume(Config) ->
    Clients = ?config(clients, Config),
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    offline_post_client:hush(Clients, "a"),
    deaf(Config, "b"),
    say(Config, "one"),
    [offline_post_client:received(Clients, Phone, "one") || Phone <- ["a", "b"]],
    lose(Config, "a"),
    offline_post_client:hear(Clients, "a"),
    offline_post_client:resume(Clients, "a"),
    acknowledged(Config, "a"),
    ?assertEqual(nomatch, binary:match(iolist_to_binary(offline_post_client:drain(Clients, "a")), <<"one">>)),
    lose(Config, "b"),
    ?assertEqual([], told(Config)).

%%% Options

notify_hanging_device(Config) ->
    [phone(Config, Phone) || Phone <- ["a", "b"]],
    lose(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "b", "one"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)),
    lose(Config, "b"),
    ?assertEqual([], told(Config)).

no_pending_trigger(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    lose(Config, "a"),
    say(Config, "two"),
    ?assertEqual([], told(Config)).

%%% What was told of when it was stored

stored_before(Config) ->
    say(Config, "one"),
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)),
    Clients = ?config(clients, Config),
    offline_post_client:login_resumable(Clients, "a", jid(Config, "a"), ?config(node, Config)),
    deaf(Config, "a"),
    offline_post_client:online(Clients, "a"),
    lose(Config, "a"),
    ?assertEqual([], told(Config)).

%%% A client that does not come back in time. What is sent again, bounced, stored or fetched then was told of

%% The sender hears that it did not arrive, although somebody was told.
too_late_bounced(Config) ->
    ?assertEqual({none, bounced, 0}, too_late(Config)).

too_late_stored(Config) ->
    ?assertEqual({offline, taken, 1}, too_late(Config)).

too_late_if_offline(Config) ->
    ?assertEqual({offline, taken, 1}, too_late(Config)).

%% A second device keeps resend_on_timeout: if_offline from storing.
too_late_if_offline_other(Config) ->
    offline_post_client:login(?config(clients, Config), "other", jid(Config, "other"), ?config(node, Config)),
    ?assertEqual({none, bounced, 0}, too_late(Config)).

too_late_archived(Config) ->
    ?assertEqual({archive, taken, 0}, too_late(Config)).

%% mod_offline stores it beside the archive.
too_late_archived_stored(Config) ->
    ?assertEqual({archive, taken, 1}, too_late(Config)).

too_late_archived_if_offline(Config) ->
    ?assertEqual({archive, taken, 1}, too_late(Config)).

%% {what the event says, what becomes of it for the sender, how many mod_offline has at the end}.
too_late(Config) ->
    Clients = ?config(clients, Config),
    phone(Config, "a"),
    lose(Config, "a"),
    say(Config, "one"),
    [{"one", pending, Stored, "a"}] = told(Config),
    gone(Config, "a"),
    Bounces = [Xml || Xml <- offline_post_client:drain(Clients, "bob"), binary:match(Xml, <<"error">>) =/= nomatch],
    Kept = call(Config, mod_offline, count_offline_messages, []),
    ?assertEqual([], told(Config)),
    %% And fetched.
    offline_post_client:login_resumable(Clients, "a", jid(Config, "a"), ?config(node, Config)),
    deaf(Config, "a"),
    offline_post_client:online(Clients, "a"),
    lose(Config, "a"),
    ?assertEqual([], told(Config)),
    {Stored, case Bounces of [_] -> bounced; [] -> taken end, Kept}.

%%% Without resume

no_resume(Config) ->
    managed(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    ?assertEqual([], told(Config)),
    kill(Config, "a"),
    gone(Config, "a"),
    ?assertEqual([{"one", pending, offline, "a"}], told(Config)).

%% Who closes the stream has had what came before.
no_resume_in_order(Config) ->
    managed(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    offline_post_client:offline(?config(clients, Config), "a"),
    gone(Config, "a"),
    %% Sent again, and stored: found offline, then, once.
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)).

no_resume_acknowledged(Config) ->
    managed(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    offline_post_client:request(?config(clients, Config), "a", "get", "<ping xmlns='urn:xmpp:ping'/>"),
    kill(Config, "a"),
    gone(Config, "a"),
    ?assertEqual([], told(Config)).

resume_in_order(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    offline_post_client:offline(?config(clients, Config), "a"),
    gone(Config, "a"),
    ?assertEqual([{"one", offline, offline, undefined}], told(Config)).

%%% A client that acknowledges nothing any more, over a connection that stays

deaf(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    ?assertEqual([], told(Config)),
    offline_post_client:ended(?config(clients, Config), "a"),
    hangs(Config, "a"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

deaf_no_resume(Config) ->
    managed(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:ended(?config(clients, Config), "a"),
    gone(Config, "a"),
    ?assertEqual([{"one", pending, none, "a"}], told(Config)).

%%% Other ends

%% By the operator.
kicked(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    1 = call(Config, ejabberd_sm, kick_user, []),
    offline_post_client:ended(?config(clients, Config), "a"),
    gone(Config, "a"),
    ?assertEqual([{"one", pending, offline, "a"}], told(Config)).

%% Nobody is left to be told.
removed(Config) ->
    phone(Config, "a"),
    deaf(Config, "a"),
    say(Config, "one"),
    offline_post_client:received(?config(clients, Config), "a", "one"),
    ok = call(Config, ejabberd_auth, remove_user, []),
    offline_post_client:ended(?config(clients, Config), "a"),
    gone(Config, "a"),
    ?assertEqual([], told(Config)).

%%%

name(Host) ->
    lists:flatten(string:replace(atom_to_list(Host), "_", "-", all)) ++ ".localhost".

indent(Yaml) ->
    [["  ", Line, $\n] || Line <- string:lexemes(lists:flatten(Yaml), "\n")].
