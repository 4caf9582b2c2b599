%% What the options keep from the backend is nowhere: not in the POST, not on the disk, not in the log. And what handlers of
%% offline_post_event make of an event.
-module(privacy_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([everything/1, no_body/1, fixed_text/1, per_kind/1, no_sender/1, nothing/1, room/1, handler_changes/1, handler_drops/1,
         handler_crashes/1, handler_returns_nonsense/1, rate_beside_no_sender/1, badge/1]).
%% On the node.
-export([event/2]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [everything, no_body, fixed_text, per_kind, no_sender, nothing, room, handler_changes, handler_drops, handler_crashes,
     rate_beside_no_sender, badge, handler_returns_nonsense].

%% All that a request can ask for, so that all is taken that may be told.
-define(ALL, "headers:\n  X-All: \"{{stanza}} {{subject}} {{thread}} {{room}} {{nick}} {{sender}} {{stanza.id}}\"\n").

%% A virtual host, a secret and a sender for each case: what was deleted from the spool's file may be in it for long.
init_per_suite(Config) ->
    Started = offline_post_case:start(all(), fun options/1),
    [{clients, offline_post_client:start()} | Started] ++ Config.

options(everything) -> "";
options(no_body) -> "include_body: false\n" ?ALL;
options(fixed_text) -> "include_body: \"You have mail\"\n" ?ALL;
options(per_kind) -> "include_body:\n  default: false\n  encrypted: \"You have mail\"\n  file: true\n";
options(no_sender) -> "include_sender: false\n" ?ALL;
options(nothing) -> "include_sender: false\ninclude_body: false\ncollapse: conversation\n" ?ALL;
options(room) -> "include_sender: false\ninclude_body: false\ncollapse: conversation\n" ?ALL;
options(rate_beside_no_sender) -> "include_sender: false\nmax_rate:\n  per_sender: 1\n  beyond: drop\n";
options(badge) -> "badge: events\n";
options(_) -> "".

end_per_suite(Config) ->
    offline_post_client:stop(?config(clients, Config)),
    offline_post_case:finish(Config).

init_per_testcase(Case, Config) ->
    offline_post_client:take(?config(clients, Config)),
    Own = offline_post_case:init(Case, Config),
    Name = atom_to_list(Case),
    offline_post_backend:set(?config(backend, Own), {reply, 200}),
    [{secret, list_to_binary("Secret words of " ++ Name)}, {sender, list_to_binary("bob." ++ Name)},
     {elsewhere, list_to_binary("elsewhere." ++ Name ++ ".example")} | Own].

end_per_testcase(Case, Config) ->
    handler(Config, none),
    Case =:= handler_returns_nonsense orelse offline_post_case:check(Config),
    ok.

%% What the other cases look for is there to be found.
everything(Config) ->
    {Sender, Secret} = {?config(sender, Config), ?config(secret, Config)},
    ?assertEqual([{<<"to">>, <<"u1">>}, {<<"from">>, Sender}, {<<"body">>, Secret}, {<<"access_token">>, <<>>}], text_posted(Config)),
    [?assert(is_on_disk(Config, Part)) || Part <- [Secret, Sender, ?config(elsewhere, Config)]].

no_body(Config) ->
    Sender = ?config(sender, Config),
    ?assertMatch([_, {<<"from">>, Sender}, {<<"body">>, <<>>} | _], text_posted(Config)),
    nowhere(Config, [secret]).

fixed_text(Config) ->
    ?assertMatch([_, _, {<<"body">>, <<"You have mail">>} | _], text_posted(Config)),
    nowhere(Config, [secret]).

per_kind(Config) ->
    Text = ["<body>", ?config(secret, Config), "</body>"],
    [?assertEqual({Content, Body}, {Content, proplists:get_value(<<"body">>, posted(Config, Content))}) ||
        {Content, Body} <-
            [{Text, <<>>}, {[Text, "<openpgp xmlns='urn:xmpp:openpgp:0'>aa</openpgp>"], <<"You have mail">>},
             {"<body>https://up.example/a.jpg</body><x xmlns='jabber:x:oob'><url>https://up.example/a.jpg</url></x>",
              <<"https://up.example/a.jpg">>}]],
    nowhere(Config, [secret]).

no_sender(Config) ->
    Secret = ?config(secret, Config),
    ?assertMatch([{<<"to">>, <<"u1">>}, {<<"from">>, <<>>}, {<<"body">>, Secret} | _], text_posted(Config)),
    nowhere(Config, [sender, elsewhere]).

nothing(Config) ->
    ?assertMatch([_, {<<"from">>, <<>>}, {<<"body">>, <<>>} | _], text_posted(Config)),
    nowhere(Config, [secret, sender, elsewhere]).

%% Who said it in a room is not told; which room, is: to the handlers and to whoever reads the spool.
room(Config) ->
    {Node, Clients, Host} = {offline_post_case:current(Config), ?config(clients, Config), ?config(host, Config)},
    Room = "lounge@conference." ++ Host,
    Talker = {Clients, "talker", Room},
    offline_post_client:login(Clients, "talker", "u2@" ++ Host, Node),
    offline_post_room:enter(Talker, ?config(sender, Config)),
    offline_post_room:subscribe(Talker, "u1@" ++ Host, "messages"),
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    offline_post_room:say(Talker, ?config(secret, Config)),
    ?assertMatch([{<<"to">>, <<"u1">>}, {<<"from">>, <<>>}, {<<"body">>, <<>>} | _], delivered(Config)),
    offline_post_client:offline(Clients, "talker"),
    nowhere(Config, [secret, sender]),
    ?assert(is_on_disk(Config, list_to_binary(Room))).

%%% Handlers

handler_changes(Config) ->
    handler(Config, change),
    ?assertMatch([{<<"to">>, <<"u1">>}, _, {<<"body">>, <<"text from bob.handler_changes">>} | _], text_posted(Config)),
    nowhere(Config, [secret]).

handler_drops(Config) ->
    handler(Config, drop),
    send(Config, "<body>spam</body>"),
    ?assertMatch([_, _, {<<"body">>, <<"no spam">>} | _], posted(Config, "<body>no spam</body>")),
    ?assertMatch(#{vetoed := 1, accepted := 1, rejected := 0}, offline_post_case:stats(Config)).

%% The message is told of as it is; ejabberd logs the crash.
handler_crashes(Config) ->
    handler(Config, crash),
    ?assertMatch([_, _, {<<"body">>, <<"x">>} | _], posted(Config, "<body>x</body>")),
    offline_post_node:await_log(offline_post_case:current(Config), "offline_post_event crashed").

handler_returns_nonsense(Config) ->
    #{hook_crashes := Before} = offline_post_case:stats(Config),
    handler(Config, nonsense),
    ?assertMatch([_, _, {<<"body">>, <<"x">>} | _], posted(Config, "<body>x</body>")),
    ?assertMatch(#{hook_crashes := After} when After =:= Before + 1, offline_post_case:stats(Config)),
    offline_post_node:await_log(offline_post_case:current(Config), "a handler of offline_post_event returned no event").

%% Nobody's rate can be counted whose name is not known: said in the log, and none is dropped.
rate_beside_no_sender(Config) ->
    [send(Config, "<body>x</body>") || _ <- [1, 2, 3]],
    [_, _, _] = offline_post_backend:await(?config(backend, Config), 3),
    offline_post_case:await(Config, #{pending => 0, limited => 0}),
    offline_post_node:await_log(offline_post_case:current(Config), "per_sender has no effect for rate-beside-no-sender.localhost").

%% How many since the user was last online.
badge(Config) ->
    {Node, Clients} = {offline_post_case:current(Config), ?config(clients, Config)},
    offline_post_told:install(Node, [?config(host, Config)]),
    Badge = fun() ->
                    send(Config, "<body>x</body>"),
                    maps:get(badge, offline_post_told:event(offline_post_backend:await(?config(backend, Config))))
            end,
    ?assertEqual([1, 2, 3], [Badge() || _ <- [1, 2, 3]]),
    offline_post_client:login(Clients, "reader", "u1@" ++ ?config(host, Config), Node),
    offline_post_client:online(Clients, "reader"),
    offline_post_client:offline(Clients, "reader"),
    offline_post_wait:until(fun() -> offline_post_node:call(Node, ejabberd_sm, get_user_resources,
                                                            [<<"u1">>, list_to_binary(?config(host, Config))]) =:= [] end),
    ?assertEqual(1, Badge()).

%%%

text_posted(Config) ->
    Secret = ?config(secret, Config),
    posted(Config, ["<body>", Secret, "</body><subject>", Secret, "</subject><x xmlns='urn:example:x'>", Secret, "</x>"
                    "<nick xmlns='http://jabber.org/protocol/nick'>", ?config(sender, Config), "</nick>"]).

%% The fields of the POST that comes of it, which fails at first: so that it waits on the disk.
posted(Config, Content) ->
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    send(Config, Content),
    delivered(Config).

delivered(Config) ->
    Backend = ?config(backend, Config),
    #{body := Form} = offline_post_backend:await(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    #{body := Form} = offline_post_backend:await(Backend),
    offline_post_case:await(Config, #{pending => 0}),
    uri_string:dissect_query(Form).

send(Config, Content) ->
    Node = offline_post_case:current(Config),
    Xml = ["<message xmlns='jabber:client' type='chat' id='m1' from='", ?config(sender, Config), "@", ?config(elsewhere, Config),
           "/phone' to='u1@", ?config(host, Config), "'>", Content, "</message>"],
    El = offline_post_node:call(Node, fxml_stream, parse_element, [unicode:characters_to_binary(Xml)]),
    offline_post_node:call(Node, ejabberd_router, route, [offline_post_node:call(Node, xmpp, decode, [El])]).

%% Neither in the spool nor in the log.
nowhere(Config, Names) ->
    Log = offline_post_node:log(offline_post_case:current(Config)),
    [begin
         Secret = proplists:get_value(Name, Config),
         ?assertEqual({Secret, false}, {Secret, is_on_disk(Config, Secret)}),
         ?assertEqual({Secret, nomatch}, {Secret, binary:match(Log, Secret)})
     end || Name <- Names].

is_on_disk(Config, Secret) ->
    Files = filelib:wildcard(filename:join(offline_post_node:spool(offline_post_case:current(Config)), "mod_offline_post.db*")),
    ?assertMatch([_ | _], Files),
    lists:any(fun(File) -> {ok, Bytes} = file:read_file(File), binary:match(Bytes, Secret) =/= nomatch end, Files).

handler(Config, What) ->
    {Node, Host} = {offline_post_case:current(Config), list_to_binary(?config(host, Config))},
    {?MODULE, Beam, File} = code:get_object_code(?MODULE),
    {module, ?MODULE} = offline_post_node:call(Node, code, load_binary, [?MODULE, File, Beam]),
    ok = offline_post_node:call(Node, persistent_term, put, [?MODULE, What]),
    ok = offline_post_node:call(Node, ejabberd_hooks, add, [offline_post_event, Host, ?MODULE, event, 50]).

%% On the node.
event(#{body := Body, kind := Kind, from := {User, _, _}} = Event, Message) ->
    message = element(1, Message),
    case persistent_term:get(?MODULE) of
        none -> Event;
        change -> Event#{body := <<(atom_to_binary(Kind, utf8))/binary, " from ", User/binary>>};
        drop when Body =:= <<"spam">> -> drop;
        drop -> Event;
        crash -> error(a_defect);
        nonsense -> Event#{body := none}
    end.
