%% This module beside others of the same server: who is not told of what because another module stops it, who is told
%% twice, and what the log says of it. "Nothing arrives" is shown by a later message that does.
-module(neighbours_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([warnings/1, warning_after_reload/1, blocked_sender/1, privacy_list/1, stranger/1, odd_sender/1, offline_on/1,
         offline_off/1,
         offline_full/1, headline/1, no_store/1, import/1, jabberd_import/1, announcements/1, commands/1, not_xml/1,
         external_users/1, module_removed/1, host_removed/1]).

-define(HOSTS, ["plain.localhost", "bare.localhost", "full.localhost", "strangers.localhost", "headline.localhost",
                "push.localhost",
                "stanza.localhost", "fields.localhost",
                "external.localhost"]).
%% Comes and goes.
-define(GUEST, "guest.localhost").
-define(END, <<"the end">>).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [warnings, warning_after_reload, blocked_sender, privacy_list, stranger, odd_sender, offline_on, offline_off,
     offline_full, headline,
     no_store, import, jabberd_import, announcements, commands, not_xml, external_users, module_removed,
     host_removed].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Own = [{backend, Backend}, {program, program(?config(priv_dir, Config))} | Config],
    Node = offline_post_node:start(node_config(Own, ?HOSTS)),
    offline_post_node:await_running(Node, ?HOSTS),
    offline_post_told:install(Node, [?GUEST | ?HOSTS]),
    [{node, Node}, {clients, offline_post_client:start()} | Own].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    Backend = ?config(backend, Config),
    offline_post_client:take(?config(clients, Config)),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    [{'case', atom_to_list(Case)} | Config].

end_per_testcase(_Case, Config) ->
    [?assertEqual([], offline_post_law:violations(offline_post_node:stats(?config(node, Config), Host))) ||
     Host <- ?HOSTS],
    ok.

node_config(Config, Hosts) ->
    node_config(Config, Hosts, #{}).

%% More: modules for a host, beyond its own; without: no mod_offline_post there.
node_config(Config, Hosts, More) ->
    Post = ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\nshutdown_timeout: 300 ms\n"],
    #{api => true, top => ["shaper_rules:\n  one: 1\nextauth_program: \"", ?config(program, Config), "\"\n"
              "append_host_config:\n  \"external.localhost\":\n    auth_method: [external]\n"],
      hosts => [{Host, options(Host, Post, maps:get(Host, More, ""))} || Host <- Hosts]}.

options(Host, _Post, without) -> #{modules => modules(Host)};
options("headline.localhost" = Host, Post, More) -> #{modules => [modules(Host), More],
                                                      offline_post => [Post, "notify: [text, headline]\n"]};
options("stanza.localhost" = Host, Post, More) -> #{modules => [modules(Host), More], offline_post => [Post, "format: stanza\n"]};
options("fields.localhost" = Host, Post, More) -> #{modules => [modules(Host), More],
                                                    offline_post => [Post, "fields:\n  xml: \"{{stanza}}\"\n"]};
options(Host, Post, More) -> #{modules => [modules(Host), More], offline_post => Post}.

modules("bare.localhost") -> "mod_ping: {}\n";
modules("full.localhost") -> "mod_ping: {}\nmod_offline:\n  access_max_user_messages: one\n";
modules("strangers.localhost") -> "mod_ping: {}\nmod_offline: {}\nmod_roster: {}\n"
                                  "mod_block_strangers:\n  allow_local_users: false\n";
modules("push.localhost") -> "mod_ping: {}\nmod_offline: {}\nmod_push: {}\nmod_mam: {}\nmod_mix: {}\n"
                             "mod_stream_mgmt: {}\n";
modules(_) -> "mod_ping: {}\nmod_offline: {}\nmod_privacy: {}\nmod_blocking: {}\nmod_adhoc: {}\nmod_admin_extra: {}\n"
                  "mod_announce:\n  access: all\n"
                  "mod_stream_mgmt:\n  resend_on_timeout: if_offline\n".

%% One line for each, for whom it is about and for nobody else; and one only, however often the configuration is loaded.
warnings(Config) ->
    Node = ?config(node, Config),
    Expected = [{"push.localhost", "mod_push"}, {"push.localhost", "resend_on_timeout"}, {"push.localhost", "XEP-0369"},
                {"external.localhost", "isuser"}],
    offline_post_wait:until(fun() -> lists:sort(warned(Node)) =:= lists:sort(Expected) end, 10000,
                            fun() -> warned(Node) end),
    ok = offline_post_node:reload(Node, node_config(Config, ?HOSTS)),
    ok = offline_post_node:reload(Node, node_config(Config, ?HOSTS)),
    offline_post_node:await_log(Node, "Configuration reloaded successfully"),
    ?assertEqual(lists:sort(Expected), lists:sort(warned(Node))).

%% A neighbour that comes later is seen, too.
warning_after_reload(Config) ->
    Node = ?config(node, Config),
    Before = warned(Node),
    With = node_config(Config, ?HOSTS, #{"bare.localhost" => "mod_push: {}\n"}),
    ok = offline_post_node:reload(Node, With),
    offline_post_wait:until(fun() -> warned(Node) -- Before =:= [{"bare.localhost", "mod_push"}] end, 10000,
                            fun() -> warned(Node) end),
    ok = offline_post_node:reload(Node, node_config(Config, ?HOSTS)).

%% What of the neighbours the log holds: for whom, and by which word one knows it.
warned(Node) ->
    Lines = binary:split(offline_post_node:log(Node), <<"\n">>, [global]),
    [{Host, Word} || Line <- Lines, Host <- ?HOSTS, Word <- ["mod_push", "resend_on_timeout", "XEP-0369", "isuser",
                                                             "jwt"],
                     binary:match(Line, list_to_binary(["mod_offline_post: for ", Host, " "])) =/= nomatch,
                     binary:match(Line, list_to_binary(Word)) =/= nomatch].

%%% Whom a neighbour protects

blocked_sender(Config) ->
    Host = "plain.localhost",
    sender(Config, Host),
    recipient(Config, Host, ["<block xmlns='urn:xmpp:blocking'><item jid='", user(Config, "sender"), "@", Host,
                             "'/></block>"]),
    say(Config, Host, "recipient", "Listen!"),
    ?assertEqual([], until_end(Config, Host)).

privacy_list(Config) ->
    Host = "plain.localhost",
    sender(Config, Host),
    Client = user(Config, "recipient"),
    account(Config, Host, "recipient"),
    offline_post_client:login(?config(clients, Config), Client, Client ++ "@" ++ Host, ?config(node, Config)),
    [offline_post_client:request(?config(clients, Config), Client, "set",
                                 ["<query xmlns='jabber:iq:privacy'>", Content, "</query>"]) ||
        Content <- [["<list name='l'><item type='jid' value='", user(Config, "sender"), "@", Host,
                     "' action='deny' order='1'><message/></item></list>"],
                    "<default name='l'/>"]],
    offline_post_client:offline(?config(clients, Config), Client),
    say(Config, Host, "recipient", "Listen!"),
    ?assertEqual([], until_end(Config, Host)).

%% mod_block_strangers; whom one has in the roster is none.
stranger(Config) ->
    Host = "strangers.localhost",
    [account(Config, Host, Role) || Role <- ["recipient"]],
    sender(Config, "plain.localhost"),
    Node = ?config(node, Config),
    offline_post_node:route(Node, "bob@elsewhere.example/phone", [user(Config, "recipient"), "@", Host], "Listen!"),
    say(Config, Host, "recipient", "Listen!"),
    account(Config, Host, "last"),
    {atomic, ok} = offline_post_node:call(Node, mod_roster, set_items,
                                [list_to_binary(user(Config, "last")), list_to_binary(Host),
                                 roster(Node, user(Config, "sender") ++ "@plain.localhost")]),
    ?assertEqual([], until_end(Config, Host)).

roster(Node, Jid) ->
    Xml = ["<query xmlns='jabber:iq:roster'><item jid='", Jid, "' subscription='both'/></query>"],
    offline_post_node:call(Node, xmpp, decode, [offline_post_node:call(Node, fxml_stream, parse_element,
                                                                       [unicode:characters_to_binary(Xml)])]).

%% From another server, with all that a JID may hold.
odd_sender(Config) ->
    Host = "plain.localhost",
    account(Config, Host, "recipient"),
    From = ["o+%=~*(", 16#E4, 16#4E2D, "@b", 16#FC, "cher.example/Wohn zimmer & ", 16#263A, "/@"],
    offline_post_node:route(?config(node, Config), offline_post_client:escape(unicode:characters_to_binary(From)),
                            [user(Config, "recipient"), "@", Host], "Hello"),
    #{body := Form} = Post = offline_post_backend:await(?config(backend, Config)),
    Event = offline_post_told:event(Post),
    ?assertEqual({<<"o+%=~*(ä中"/utf8>>, <<"bücher.example"/utf8>>, <<"Wohn zimmer & ☺/@"/utf8>>},
                 maps:get(from, Event)),
    ?assertEqual(<<"o+%=~*(ä中"/utf8>>, proplists:get_value(<<"from">>, uri_string:dissect_query(Form))),
    ?assertEqual({list_to_binary(user(Config, "recipient")), list_to_binary(Host), <<>>}, maps:get(to, Event)).

%%% Where it is kept

offline_on(Config) ->
    ?assertEqual([offline], stored(Config, "plain.localhost", 1)).

offline_off(Config) ->
    ?assertEqual([none], stored(Config, "bare.localhost", 1)).

%% The second one does not fit any more: the sender gets it back, and nobody is told.
offline_full(Config) ->
    ?assertEqual([offline], stored(Config, "full.localhost", 2)).

stored(Config, Host, Count) ->
    sender(Config, Host),
    account(Config, Host, "recipient"),
    [say(Config, Host, "recipient", "Hello") || _ <- lists:seq(1, Count)],
    [Stored || #{stored := Stored} <- until_end(Config, Host)].

%%% What is no news

headline(Config) ->
    [begin
         sender(Config, Host),
         account(Config, Host, "recipient"),
         send(Config, ["<message type='headline' to='", user(Config, "recipient"), "@", Host,
                       "'><body>News</body></message>"]),
         ?assertEqual(Expected, [{Kind, Body, Stored} || #{kind := Kind, body := Body,
                                                           stored := Stored} <- until_end(Config, Host)]),
         leave(Config)
     end || {Host, Expected} <- [{"plain.localhost", []}, {"headline.localhost", [{headline, <<"News">>, none}]}]].

no_store(Config) ->
    Host = "plain.localhost",
    sender(Config, Host),
    account(Config, Host, "recipient"),
    [send(Config, ["<message type='chat' to='", user(Config, "recipient"), "@", Host, "'><body>", Hint, "</body><",
                   Hint, " xmlns='urn:xmpp:hints'/></message>"]) ||
        Hint <- ["no-store", "no-permanent-store", "no-copy", "store"]],
    ?assertEqual([<<"no-copy">>, <<"no-permanent-store">>, <<"store">>],
                 lists:sort([Body || #{body := Body} <- until_end(Config, Host)])).

%% A spool that an administrator brings in from elsewhere.
import(Config) ->
    Host = "plain.localhost",
    Node = ?config(node, Config),
    To = user(Config, "imported") ++ "@" ++ Host,
    File = filename:join(?config(priv_dir, Config), "import.xml"),
    ok = file:write_file(File, ["<?xml version='1.0' encoding='UTF-8'?><server-data xmlns='urn:xmpp:pie:0'><host jid='",
                                Host, "'>"
                                "<user name='", user(Config, "imported"), "' password='x'><offline-messages>"
                                "<message xmlns='jabber:client' type='chat' from='bob@elsewhere.example/x'"
                                " to='", To, "'><body>old</body>"
                                "<delay xmlns='urn:xmpp:delay' stamp='2020-02-20T20:20:20Z' from='", Host, "'/>"
                                "</message>"
                                "</offline-messages></user></host></server-data>"]),
    ok = offline_post_node:call(Node, ejabberd_piefxis, import_file, [unicode:characters_to_binary(File)]),
    ?assertEqual(1, offline_post_node:call(Node, mod_offline, count_offline_messages,
                                           [list_to_binary(user(Config, "imported")), list_to_binary(Host)])),
    sender(Config, Host),
    ?assertEqual([], until_end(Config, Host)).

%% The same from another server's files (`import_file`, `import_dir`).
jabberd_import(Config) ->
    Host = "plain.localhost",
    Node = ?config(node, Config),
    account(Config, Host, "imported"),
    File = filename:join([?config(priv_dir, Config), Host, user(Config, "imported") ++ ".xml"]),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, ["<xdb><foo xmlns='jabber:x:offline'>"
                                "<message xmlns='jabber:client' type='chat' from='bob@elsewhere.example/x' to='", user(Config, "imported"),
                                "@", Host, "'><body>old</body></message></foo></xdb>"]),
    ok = offline_post_node:call(Node, jd2ejd, import_file, [unicode:characters_to_binary(File)]),
    ?assertEqual(1, offline_post_node:call(Node, mod_offline, count_offline_messages,
                                           [list_to_binary(user(Config, "imported")), list_to_binary(Host)])),
    sender(Config, Host),
    ?assertEqual([], until_end(Config, Host)).

%%% What does not come from a client to a user

%% Which announcements are posted for a user who is offline, each on a virtual host that is told of texts, and on one
%% that is told of headlines, too. The text says how it was sent.
announcements(Config) ->
    Ways = [{["message to ", Resource, Type], Expected, fun(Host, Text) -> by_message(Config, Host, Resource, Type, Text) end} ||
               {Resource, Announced} <- [{"announce/all", true}, {"announce/all-hosts/all", true}, {"announce/online", false},
                                         {"announce/all-hosts/online", false}, {"announce/motd", false},
                                         {"announce/motd/update", false}, {"announce/motd/delete", false}],
               {Type, Kind} <- [{"", text}, {" type='normal'", text}, {" type='chat'", text}, {" type='headline'", headline}],
               Expected <- [case Announced of true -> Kind; false -> none end]]
        ++ [{["command ", Command], Expected, fun(Host, Text) -> by_adhoc(Config, Host, Command, Text) end} ||
               {Command, Expected} <- [{"announce-all", headline}, {"announce", none}, {"announce-all-allhosts", headline},
                                       {"announce-allhosts", none}, {"set-motd", none}]],
    entries(Config, Ways, fun(Host) -> by_message(Config, Host, "announce/motd/delete", "", "over") end).

by_message(Config, Host, Resource, Type, Text) ->
    send(Config, ["<message to='", Host, "/", Resource, "'", Type, "><body>", offline_post_client:escape(Text), "</body></message>"]),
    announced(Config, Host).

by_adhoc(Config, Host, Command, Text) ->
    offline_post_client:send(?config(clients, Config), user(Config, "sender"),
                             ["<iq type='set' id='adhoc' to='", Host, "'><command xmlns='http://jabber.org/protocol/commands' "
                              "node='http://jabber.org/protocol/admin#", Command, "'><x xmlns='jabber:x:data' type='submit'>"
                              "<field var='FORM_TYPE'><value>http://jabber.org/protocol/admin</value></field>"
                              "<field var='subject'><value>Maintenance</value></field><field var='body'><value>", Text,
                              "</value></field></x></command></iq>"]),
    offline_post_client:received(?config(clients, Config), user(Config, "sender"), "id=\"adhoc\""),
    announced(Config, Host).

%% A process of mod_announce's does it.
announced(Config, Host) ->
    offline_post_client:request(?config(clients, Config), user(Config, "sender"), "get", "<ping xmlns='urn:xmpp:ping'/>"),
    Node = ?config(node, Config),
    Process = offline_post_node:call(Node, gen_mod, get_module_proc, [list_to_binary(Host), mod_announce]),
    _ = offline_post_node:call(Node, sys, get_state, [Process]),
    ok.

%% The commands that send messages. What a type means is the same as in a client's message.
commands(Config) ->
    From = fun(Host) -> [user(Config, "sender"), "@", Host] end,
    To = fun(Host) -> [user(Config, "recipient"), "@", Host] end,
    Command = fun(Name, Fields) ->
        Json = ["{", lists:join(",", [["\"", Key, "\":\"", Value, "\""] || {Key, Value} <- Fields]), "}"],
        {200, _} = offline_post_node:http(?config(node, Config), Name, Json)
    end,
    Message = fun(Host, Type, Text) ->
        ["<message type='", Type, "' from='", From(Host), "/x' to='", To(Host), "'><body>", Text, "</body></message>"]
    end,
    Ways = [{["send_message ", Type], Kind, fun(Host, Text) ->
                Command("send_message", [{"type", Type}, {"from", From(Host)}, {"to", To(Host)}, {"subject", ""}, {"body", Text}])
             end} || {Type, Kind} <- [{"chat", text}, {"normal", text}, {"headline", headline}]]
        ++ [{["send_stanza ", Type], Kind, fun(Host, Text) ->
                Command("send_stanza", [{"from", From(Host)}, {"to", To(Host)}, {"stanza", Message(Host, Type, Text)}])
             end} || {Type, Kind} <- [{"chat", text}, {"normal", text}, {"headline", headline}]],
    entries(Config, Ways, fun(_) -> ok end).

%% Each of Ways, {its text, the kind or none, how it is sent}; Finish: what is done afterwards on a virtual host.
entries(Config, Ways, Finish) ->
    [begin
         sender(Config, Host),
         account(Config, Host, "recipient"),
         [Send(Host, Text) || {Text, _, Send} <- Ways],
         Recipient = list_to_binary(user(Config, "recipient")),
         Came = [{Body, Kind} || #{to := {User, H, _}, kind := Kind, body := Body, from := From} <- until_end(Config, Host),
                                 User =:= Recipient, H =:= list_to_binary(Host), is_sender(From, Host, Config)],
         [?assertEqual({Host, Text, [Kind || Kind <- [Expected], lists:member(Kind, Kinds)]},
                       {Host, Text, [Kind || {Body, Kind} <- Came, Body =:= iolist_to_binary(Text)]}) || {Text, Expected, _} <- Ways],
         Finish(Host),
         leave(Config)
     end || {Host, Kinds} <- [{"plain.localhost", [text]}, {"headline.localhost", [text, headline]}]].

%% The server, of an announcement.
is_sender({User, Host, _}, OnHost, Config) ->
    Host =:= list_to_binary(OnHost) andalso (User =:= <<>> orelse User =:= list_to_binary(user(Config, "sender"))).

%% A command does not look at what it is given: the XML that is posted parses all the same.
not_xml(Config) ->
    Bad = ["a\\u0002b", "a\\u0000b", "a\\ufffeb", "a\\uffffb", "a<b>&amp;\\u001bb"],
    Expected = [<<"a", 16#FFFD/utf8, "b">>, <<"a", 16#FFFD/utf8, "b">>, <<"a", 16#FFFD/utf8, "b">>, <<"a", 16#FFFD/utf8, "b">>,
                <<"a<b>&amp;", 16#FFFD/utf8, "b">>],
    [begin
         account(Config, Host, "recipient"),
         [{200, _} = offline_post_node:http(?config(node, Config), "send_message",
                                            ["{\"type\": \"chat\", \"from\": \"bob@elsewhere.example\", \"to\": \"", user(Config, "recipient"),
                                             "@", Host, "\", \"subject\": \"\", \"body\": \"", Text, "\"}"]) || Text <- Bad],
         Posts = offline_post_backend:await(?config(backend, Config), length(Bad)),
         ?assertEqual(Expected, [body(Config, Xml(Post)) || Post <- Posts])
     end || {Host, Xml} <- [{"stanza.localhost", fun(#{body := Body}) -> Body end},
                            {"fields.localhost", fun(Post) -> offline_post_case:field(<<"xml">>, Post) end}]].

%% As a parser that nobody here wrote (expat) has it.
body(Config, Xml) ->
    File = filename:join(?config(priv_dir, Config), "stanza.xml"),
    ok = file:write_file(File, Xml),
    Said = os:cmd("/usr/bin/python3 -c 'import base64, sys, xml.etree.ElementTree as tree; "
                  "print(base64.b64encode(tree.parse(sys.argv[1]).getroot().find(\"{jabber:client}body\").text.encode()).decode())' "
                  ++ File ++ " 2>&1"),
    try base64:decode(string:trim(Said))
    catch error:_ -> {Said, Xml}
    end.

%% Of whom the program says that there is no such user ejabberd rejects a message: no hook runs, nothing is posted.
external_users(Config) ->
    Host = "external.localhost",
    Route = fun(User, Text) -> offline_post_node:route(?config(node, Config), "bob@elsewhere.example/x",
                                                       [User, "@", Host], Text) end,
    Route("unknown", "Hello"),
    Route("known", "Hello"),
    Route("known", "again"),
    Posts = offline_post_backend:await(?config(backend, Config), 2),
    offline_post_told:settled(?config(node, Config), ?HOSTS),
    ?assertEqual([{<<"known">>, <<"Hello">>}, {<<"known">>, <<"again">>}],
                 [{User, Body} || Post <- Posts ++ offline_post_backend:posts(?config(backend, Config)),
                                  #{to := {User, _, _}, body := Body} <- [offline_post_told:event(Post)]]).

%%% What waits when the module goes

%% It stays on the disk and goes out when the module is back.
module_removed(Config) ->
    Removed = node_config(Config, [?GUEST | ?HOSTS], #{?GUEST => without}),
    waits_and_returns(Config, Removed).

%% The same when the virtual host goes.
host_removed(Config) ->
    waits_and_returns(Config, node_config(Config, ?HOSTS)).

waits_and_returns(Config, Removed) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    With = node_config(Config, [?GUEST | ?HOSTS]),
    ok = offline_post_node:reload(Node, With),
    offline_post_node:await_running(Node, [?GUEST]),
    account(Config, ?GUEST, "recipient"),
    offline_post_backend:set(Backend, {reply, 503}),
    Texts = [integer_to_binary(N) || N <- lists:seq(1, 5)],
    [offline_post_node:route(Node, "bob@elsewhere.example/x", [user(Config, "recipient"), "@", ?GUEST], Text) ||
     Text <- Texts],
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, ?GUEST)) =:= 5 end),
    Said = ["5 messages for ", ?GUEST, " are not delivered yet: they wait on disk for the next start"],
    Before = offline_post_node:count_log(Node, Said),
    ok = offline_post_node:reload(Node, Removed),
    offline_post_wait:until(fun() -> offline_post_node:count_log(Node, Said) =:= Before + 1 end, 10000,
                            fun() -> offline_post_node:log(Node) end),
    ?assertMatch(#{state := stopped, pending := 5}, offline_post_node:stats(Node, ?GUEST)),
    offline_post_backend:set(Backend, {reply, 200}),
    _ = offline_post_backend:posts(Backend),
    %% A message that comes meanwhile is nobody's business.
    offline_post_node:route(Node, "bob@elsewhere.example/x", [user(Config, "recipient"), "@", ?GUEST], "meanwhile"),
    ok = offline_post_node:reload(Node, With),
    ?assertEqual(Texts, [Body || Post <- offline_post_backend:await(Backend, 5),
                         #{body := Body} <- [offline_post_told:event(Post)]]),
    offline_post_told:settled(Node, [?GUEST]),
    ?assertEqual([], offline_post_backend:posts(Backend)),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?GUEST))),
    ok = offline_post_node:reload(Node, node_config(Config, ?HOSTS)).

%%%

%% An external program for authentication: it knows one user.
program(Dir) ->
    File = filename:join(Dir, "extauth"),
    ok = file:write_file(File, ["#!/usr/bin/python3\nimport struct, sys\n"
                                "while True:\n"
                                "    size = sys.stdin.buffer.read(2)\n"
                                "    if len(size) < 2:\n"
                                "        break\n"
                                "    words = sys.stdin.buffer.read(struct.unpack('>h', size)[0]).decode().split(':')\n"
                                "    known = words[0] == 'isuser' and words[1] == 'known'\n"
                                "    sys.stdout.buffer.write(struct.pack('>hh', 2, known))\n"
                                "    sys.stdout.buffer.flush()\n"]),
    ok = file:change_mode(File, 8#755),
    File.

%% Logged in as the case's sender.
sender(Config, Host) ->
    account(Config, Host, "sender"),
    Client = user(Config, "sender"),
    offline_post_client:login(?config(clients, Config), Client, Client ++ "@" ++ Host, ?config(node, Config)),
    offline_post_client:online(?config(clients, Config), Client).

leave(Config) ->
    offline_post_client:offline(?config(clients, Config), user(Config, "sender")).

%% Was there once, and said this.
recipient(Config, Host, Request) ->
    account(Config, Host, "recipient"),
    Client = user(Config, "recipient"),
    offline_post_client:login(?config(clients, Config), Client, Client ++ "@" ++ Host, ?config(node, Config)),
    offline_post_client:request(?config(clients, Config), Client, "set", Request),
    offline_post_client:offline(?config(clients, Config), Client).

account(Config, Host, Role) ->
    offline_post_node:register(?config(node, Config), user(Config, Role), Host, [user(Config, Role), "-password"]).

user(Config, Role) -> ?config('case', Config) ++ "." ++ Role.

say(Config, Host, Role, Text) ->
    offline_post_client:message(?config(clients, Config), user(Config, "sender"), [user(Config, Role), "@", Host],
                                Text).

send(Config, Xml) ->
    offline_post_client:send(?config(clients, Config), user(Config, "sender"), Xml).

%% All that this sender's messages until now have come to.
until_end(Config, Host) ->
    Node = ?config(node, Config),
    _ = offline_post_node:call(Node, ejabberd_auth, try_register,
                               [list_to_binary(Text) || Text <- [user(Config, "last"), Host, "x"]]),
    say(Config, Host, "last", ?END),
    Before = until(Config),
    %% Others may be delivered after it, but not accepted.
    offline_post_told:settled(Node, ?HOSTS),
    Before ++ [offline_post_told:event(Post) || Post <- offline_post_backend:posts(?config(backend, Config))].

until(Config) ->
    Last = list_to_binary(user(Config, "last")),
    case offline_post_told:event(offline_post_backend:await(?config(backend, Config))) of
        #{to := {Last, _, _}, body := ?END} -> [];
        Event -> [Event | until(Config)]
    end.
