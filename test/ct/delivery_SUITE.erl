%% Which messages are posted, and each byte of a POST. Real clients, a real ejabberd, a backend of our own.
-module(delivery_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([bytes/1, texts/1, large/1, form_parser/1, two_languages/1, odd_addresses/1, no_event/1, stored/1,
         refused/1, archived/1, not_archived_but_full/1, bounced/1, import/1, import_archived/1, own_settings/1,
         many/1, order/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [bytes, texts, large, form_parser, two_languages, odd_addresses, no_event, stored, refused, archived,
     not_archived_but_full, bounced, import, import_archived, own_settings, many, order].

%% localhost: mod_offline keeps two messages. archive: mod_mam too. nothing: neither.
init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Options = fun(Path, Token) ->
                      ["post_url: \"", offline_post_backend:url(Backend, Path), "\"\nauth_token: \"", Token, "\"\n"]
              end,
    Offline = "mod_offline:\n  access_max_user_messages: two\nmod_ping: {}\n",
    Node = offline_post_node:start(
             #{top => "shaper_rules:\n  two: 2\n",
               hosts => [{"localhost", #{modules => Offline, offline_post => Options("/offline", "s3cret&=+%/ä")}},
                         {"archive.localhost", #{modules => [Offline, "mod_mam:\n  default: always\n"],
                                                 offline_post => Options("/archive", "two")}},
                         {"nothing.localhost", #{modules => "mod_ping: {}\n", offline_post => Options("/nothing?a=b", "")}}]}),
    Clients = offline_post_client:start(),
    [{node, Node}, {backend, Backend}, {clients, Clients} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

%% A sender and a recipient of each case's own.
init_per_testcase(Case, Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Name = atom_to_list(Case),
    [begin
         offline_post_node:register(Node, ["from.", Name], Host, ["from.", Name, "-password"]),
         offline_post_node:register(Node, Name, Host, [Name, "-password"])
     end || Host <- ["localhost", "archive.localhost", "nothing.localhost"]],
    offline_post_client:login(Clients, "sender", "from." ++ Name ++ "@localhost", Node),
    [{sender, "from." ++ Name}, {to, Name}, {to_jid, Name ++ "@localhost"} | Config].

end_per_testcase(_Case, Config) ->
    offline_post_client:offline(?config(clients, Config), "sender"),
    [?assertEqual([], offline_post_law:violations(offline_post_node:stats(?config(node, Config), Host))) ||
        Host <- ["localhost", "archive.localhost", "nothing.localhost"]],
    ok.

bytes(Config) ->
    say(Config, "Hello World"),
    #{method := Method, path := Path, headers := Headers, body := Body} = post(Config),
    ?assertEqual('POST', Method),
    ?assertEqual(<<"/offline">>, Path),
    ?assertEqual(<<"to=bytes&from=from.bytes&body=Hello%20World&access_token=s3cret%26%3D%2B%25%2F%C3%A4">>, Body),
    ?assertEqual(<<"application/x-www-form-urlencoded">>, header("content-type", Headers)),
    ?assertEqual(integer_to_binary(byte_size(Body)), header("content-length", Headers)),
    Port = offline_post_backend:port(?config(backend, Config)),
    ?assertEqual(iolist_to_binary(io_lib:format("localhost:~B", [Port])), header("host", Headers)),
    ?assertMatch(<<"mod_offline_post", _/binary>>, header("user-agent", Headers)),
    Id = header("webhook-id", Headers),
    ?assertMatch({match, _}, re:run(Id, "^[A-Za-z0-9_-]{8,64}$")),
    ?assertEqual([], [Name || Name <- ["expect", "transfer-encoding", "cookie", "authorization"], header(Name, Headers) =/= undefined]),
    say(Config, "Hello World"),
    #{headers := Next} = post(Config),
    ?assertNotEqual(Id, header("webhook-id", Next)).

%% RFC 3986's unreserved characters stay, all others become %XX of their UTF-8 bytes.
texts(Config) ->
    [begin
         say(Config, Text),
         #{body := Body} = post(Config),
         ?assertEqual(iolist_to_binary(["to=texts&from=from.texts&body=", Encoded, "&access_token=s3cret%26%3D%2B%25%2F%C3%A4"]), Body)
     end || {Text, Encoded} <-
                [{"AZaz09-._~", "AZaz09-._~"},
                 {"&=+%/?#", "%26%3D%2B%25%2F%3F%23"},
                 {"a&to=x", "a%26to%3Dx"},
                 {"!*'();:@$,[]\"<>\\^`{|}", "%21%2A%27%28%29%3B%3A%40%24%2C%5B%5D%22%3C%3E%5C%5E%60%7B%7C%7D"},
                 {"one\ntwo\n\tthree\r\n", "one%0Atwo%0A%09three%0D%0A"},
                 {[16#1F600, 16#1F468, 16#200D, 16#1F469], "%F0%9F%98%80%F0%9F%91%A8%E2%80%8D%F0%9F%91%A9"},
                 {[$g, $r, 252, $n, 16#4E2D], "gr%C3%BCn%E4%B8%AD"}]].

large(Config) ->
    [begin
         Text = lists:flatten(lists:duplicate(Size div 4, "a &z")),
         say(Config, Text),
         #{body := Body} = post(Config),
         ?assertEqual(list_to_binary(Text), maps:get(<<"body">>, fields(Body)))
     end || Size <- [64 * 1024, 1024 * 1024]].

%% Python's parser shares no code with what encodes.
form_parser(Config) ->
    Text = [[C || C <- lists:seq(9, 16#2FF), C =:= 9 orelse C =:= 10 orelse C =:= 13 orelse C >= 32], 16#1F600, "&a=b;c+d%20"],
    say(Config, Text),
    #{body := Body} = post(Config),
    Program = "import sys,urllib.parse\n"
        "for n,v in urllib.parse.parse_qsl(sys.argv[1],keep_blank_values=True,strict_parsing=True,errors='strict'):\n"
        "  print(n,v.encode().hex())",
    {0, Output} = run("/usr/bin/python3", ["-c", Program, Body]),
    Hex = fun(T) -> iolist_to_binary([io_lib:format("~2.16.0b", [B]) || <<B>> <= unicode:characters_to_binary(T)]) end,
    ?assertEqual([[<<"to">>, Hex("form_parser")], [<<"from">>, Hex("from.form_parser")], [<<"body">>, Hex(Text)],
                  [<<"access_token">>, Hex([<<"s3cret&=+%/ä"/utf8>>])]],
                 [binary:split(Line, <<" ">>) || Line <- binary:split(Output, <<"\n">>, [global, trim])]).

two_languages(Config) ->
    [begin
         send(Config, ["<message type='chat' to='", ?config(to_jid, Config), "'", Lang, ">", Bodies, "</message>"]),
         #{body := Body} = post(Config),
         ?assertEqual(Expected, maps:get(<<"body">>, fields(Body)))
     end || {Lang, Bodies, Expected} <-
                [{" xml:lang='de'", "<body xml:lang='en'>Hello</body><body xml:lang='de'>Hallo</body>", <<"Hallo">>},
                 {" xml:lang='fr'", "<body xml:lang='en'>Hello</body><body xml:lang='de'>Hallo</body>", <<"Hello">>}]].

odd_addresses(Config) ->
    Node = ?config(node, Config),
    Odd = [$o, $+, $%, $=, $~, 16#E4, 16#4E2D],
    offline_post_node:register(Node, unicode:characters_to_binary(Odd), "localhost", "x"),
    send(Config, ["<message type='chat' to='", Odd, "@localhost'><body>x</body></message>"]),
    #{body := Body} = post(Config),
    ?assertMatch(<<"to=o%2B%25%3D~%C3%A4%E4%B8%AD&from=from.odd_addresses&", _/binary>>, Body),
    %% Written in capitals and with a resource: the prepared form, and the user part alone.
    send(Config, "<message type='chat' to='ODD_addresses@LOCALHOST/Phone'><body>x</body></message>"),
    #{body := Prepared} = post(Config),
    ?assertMatch(<<"to=odd_addresses&", _/binary>>, Prepared),
    %% A sender without a user part, as a component or the server is.
    offline_post_node:route(Node, "localhost", "odd_addresses@localhost", "x"),
    #{body := FromServer} = post(Config),
    ?assertMatch(<<"to=odd_addresses&from=&body=x&", _/binary>>, FromServer).

no_event(Config) ->
    To = ?config(to_jid, Config),
    [send(Config, ["<message to='", To, "'", Type, ">", Content, "</message>"]) ||
        {Type, Content} <-
            [{" type='chat'", ""}, {" type='chat'", "<body/>"}, {" type='chat'", "<body></body>"},
             {" type='chat'", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"},
             {" type='chat'", "<subject>s</subject>"},
             {" type='chat'", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>"},
             {" type='headline'", "<body>x</body>"},
             {" type='groupchat'", "<body>x</body>"}, {" type='error'", "<body>x</body>"}]],
    only(Config, "the end").

%% mod_offline keeps it.
stored(Config) ->
    only(Config, "one").

%% mod_offline refuses it and nothing else keeps it.
refused(Config) ->
    say(Config, "1"), say(Config, "2"), say(Config, "3"),
    ?assertEqual([<<"1">>, <<"2">>], [text(Post) || Post <- offline_post_backend:await(?config(backend, Config), 2)]),
    offline_post_client:ping_ms(?config(clients, Config), "sender"),
    %% Other recipients' messages pass, so the refused ones would have, too.
    offline_post_node:register(?config(node, Config), "refused2", "localhost", "x"),
    offline_post_client:message(?config(clients, Config), "sender", "refused2@localhost", "end"),
    ?assertEqual(<<"end">>, text(post(Config))),
    settled(Config).

%% mod_offline refuses three, but mod_mam has all of them; each once.
archived(Config) ->
    Texts = ["1", "2", "3", "4", "5"],
    [offline_post_client:message(?config(clients, Config), "sender", "archived@archive.localhost", Text) || Text <- Texts],
    ?assertEqual([list_to_binary(Text) || Text <- Texts],
                 [text(Post) || Post <- offline_post_backend:await(?config(backend, Config), 5)]),
    settled(Config).

%% The sender's archive has it, but that brings nothing to the recipient.
not_archived_but_full(Config) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    offline_post_client:login(Clients, "recipient", "not_archived_but_full@archive.localhost", Node),
    offline_post_client:request(Clients, "recipient", "set", "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>"),
    offline_post_client:offline(Clients, "recipient"),
    offline_post_client:login(Clients, "archiver", ?config(sender, Config) ++ "@archive.localhost", Node),
    [offline_post_client:message(Clients, "archiver", "not_archived_but_full@archive.localhost", Text) || Text <- ["1", "2", "3", "4"]],
    ?assertEqual([<<"1">>, <<"2">>], [text(Post) || Post <- offline_post_backend:await(?config(backend, Config), 2)]),
    offline_post_client:ping_ms(Clients, "archiver"),
    offline_post_client:offline(Clients, "archiver"),
    settled(Config).

%% Nothing keeps it, the sender gets an error, and who reads about it may still want to come online.
bounced(Config) ->
    offline_post_client:message(?config(clients, Config), "sender", "bounced@nothing.localhost", "x"),
    #{path := Path, body := Body} = post(Config),
    ?assertEqual(<<"/nothing?a=b">>, Path),
    ?assertEqual(<<"to=bounced&from=from.bounced&body=x&access_token=">>, Body).

%% What an administrator imports is no news.
import(Config) ->
    import(Config, "localhost"),
    only(Config, "live").

import_archived(Config) ->
    import(Config, "archive.localhost"),
    only(Config, "live").

import(Config, Host) ->
    Node = ?config(node, Config),
    Message = offline_post_node:message(Node, "x@elsewhere", [?config(to, Config), "@", Host], "imported"),
    offline_post_node:call(Node, ejabberd_hooks, run_fold,
                           [offline_message_hook, list_to_binary(Host), {pass, Message}, []]).

%% Each virtual host has its own URL and token; the one connection serves both.
own_settings(Config) ->
    [begin
         offline_post_client:message(?config(clients, Config), "sender", "own_settings@" ++ Host, "x"),
         #{path := Path, body := Body} = post(Config),
         ?assertEqual(ExpectedPath, Path),
         ?assertEqual(<<"to=own_settings&from=from.own_settings&body=x&access_token=", Token/binary>>, Body)
     end || {Host, ExpectedPath, Token} <- [{"localhost", <<"/offline">>, <<"s3cret%26%3D%2B%25%2F%C3%A4">>},
                                            {"archive.localhost", <<"/archive">>, <<"two">>}]].

%% To many recipients, at once.
many(Config) ->
    N = 200,
    Users = [integer_to_list(I) || I <- lists:seq(1, N)],
    [offline_post_node:register(?config(node, Config), ["many", U], "localhost", "x") || U <- Users],
    [offline_post_client:message(?config(clients, Config), "sender", "many" ++ U ++ "@localhost", U) || U <- Users],
    Posts = offline_post_backend:await(?config(backend, Config), N),
    ?assertEqual(lists:sort([{list_to_binary("many" ++ U), list_to_binary(U)} || U <- Users]),
                 lists:sort([{maps:get(<<"to">>, fields(Body)), text(Post)} || #{body := Body} = Post <- Posts])),
    ?assertEqual(N, length(lists:usort([header("webhook-id", Headers) || #{headers := Headers} <- Posts]))),
    settled(Config).

%% To one recipient they leave in the order of their arrival, however slow the backend.
order(Config) ->
    offline_post_backend:set(?config(backend, Config), fun(_) -> {delay, rand:uniform(10), {reply, 200}} end),
    Texts = [integer_to_list(I) || I <- lists:seq(1, 50)],
    [offline_post_client:message(?config(clients, Config), "sender", "order@nothing.localhost", Text) || Text <- Texts],
    ?assertEqual(Texts, [binary_to_list(text(Post)) || Post <- offline_post_backend:await(?config(backend, Config), 50)]).

%%%

say(Config, Text) ->
    offline_post_client:message(?config(clients, Config), "sender", ?config(to_jid, Config), Text),
    %% mod_offline keeps two messages only.
    ?config(to, Config) =:= "refused" orelse empty_store(Config).

empty_store(Config) ->
    offline_post_client:ping_ms(?config(clients, Config), "sender"),
    offline_post_node:call(?config(node, Config), mod_offline, remove_user, [list_to_binary(?config(to, Config)), <<"localhost">>]).

send(Config, Xml) ->
    offline_post_client:send(?config(clients, Config), "sender", Xml),
    empty_store(Config).

post(Config) ->
    offline_post_backend:await(?config(backend, Config)).

%% This text is posted, once, and nothing before it: what was sent earlier has passed the hook by then.
only(Config, Text) ->
    say(Config, Text),
    ?assertEqual(list_to_binary(Text), text(post(Config))),
    settled(Config).

%% Nothing waits and nothing more arrives.
settled(Config) ->
    Node = ?config(node, Config),
    [offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, Host)) =:= 0 end) ||
        Host <- ["localhost", "archive.localhost", "nothing.localhost"]],
    ?assertEqual([], offline_post_backend:posts(?config(backend, Config))).

text(#{body := Body}) ->
    maps:get(<<"body">>, fields(Body)).

fields(Body) ->
    maps:from_list(uri_string:dissect_query(Body)).

header(Name, Headers) ->
    proplists:get_value(list_to_binary(Name), Headers).

run(Command, Args) ->
    Port = open_port({spawn_executable, Command}, [{args, Args}, exit_status, binary]),
    {offline_post_port:await_exit(Port, 10000), offline_post_port:output(Port)}.
