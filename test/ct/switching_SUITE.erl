%% docs/switching.md is true: for each relative of this module the configuration there is run, and what comes is what is
%% shown, byte for byte.
-module(switching_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([relatives/1, sessions/1, absent_member/1, subscriber/1, stanza/1, everybody/1]).

-define(ROOMS, "mod_offline_post of izandromm and diamondbybold").
-define(MUCSUB, "mod_offline_post of eeren323").
-define(SESSIONS, "mod_available_post, mod_unavailable_post").
-define(STANZA, "mod_post_log of ejabberd-contrib").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [everybody, relatives, sessions, absent_member, subscriber, stanza].

init_per_suite(Config) ->
    Examples = offline_post_document:examples("docs/switching.md"),
    Origins = ["https://backend.example", "https://api.prowlapp.com", "https://api.zeropush.com"],
    Own = offline_post_recipes:start(Examples, Origins, fun(_Backend) -> [] end),
    [offline_post_node:register(?config(node, Own), User, host(Own, Title), User ++ "-password") ||
        Title <- [?ROOMS, ?MUCSUB], User <- ["romeo", "nurse"]],
    [{clients, offline_post_client:start()} | Own] ++ Config.

end_per_suite(Config) ->
    offline_post_client:stop(?config(clients, Config)),
    offline_post_recipes:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_client:take(?config(clients, Config)),
    offline_post_recipes:init(Config).

host(Config, Title) ->
    [{N, _, _}] = offline_post_recipes:vhosts(Config, Title),
    offline_post_recipes:host(N).

%% No section has got lost.
everybody(Config) ->
    ?assertEqual(["Coming from another module", "mod_offline_post (Adam Duke, 2013)", ?SESSIONS,
                  "mod_offline_post of agrawalakhil", ?ROOMS, ?MUCSUB, "mod_http_offline of raelmax",
                  "mod_offline_http_post of PH-F", "mod_offline_http_post of PH-F", "mod_webhook",
                  "mod_offline_http_post of Carlososuna11", "mod_offline_http_post of Mammadbayli",
                  "mod_offline_sendhttp of ravikwow", "mod_push_notify", ?STANZA, "The HTTP pusher of MongooseIM",
                  "mod_offline_prowl", "mod_zeropush"],
                 [Title || {_, Title, _} <- offline_post_recipes:vhosts(Config, all)]).

%% The first POST that each shows.
relatives(Config) ->
    [begin
         Post = offline_post_recipes:say(Config, N),
         [?assertEqual({Title, same}, {Title, offline_post_recipes:compare(N, Shown, Post)}) ||
          Shown <- lists:sublist(Posts, 1)]
     end || {N, Title, Posts} <- offline_post_recipes:vhosts(Config, all), Title =/= ?SESSIONS].

sessions(Config) ->
    [{N, _, [Shown]}] = offline_post_recipes:vhosts(Config, ?SESSIONS),
    [Available, Unavailable] = string:split(Shown, "\n\nPOST "),
    Clients = ?config(clients, Config),
    offline_post_client:login(Clients, "juliet", "juliet@" ++ offline_post_recipes:host(N), ?config(node, Config)),
    offline_post_client:online(Clients, "juliet"),
    ?assertEqual(same, offline_post_recipes:compare(N, Available,
                                                    offline_post_backend:await(?config(backend, Config)))),
    offline_post_client:offline(Clients, "juliet"),
    ?assertEqual(same, offline_post_recipes:compare(N, "POST " ++ Unavailable,
                                                    offline_post_backend:await(?config(backend, Config)))).

%% One POST for each, which names that one.
absent_member(Config) ->
    [{N, _, [_, Shown]}] = offline_post_recipes:vhosts(Config, ?ROOMS),
    Affiliate = fun(User) ->
                        query(Config, ["<query xmlns='http://jabber.org/protocol/muc#admin'><item jid='", User, "@",
                                       offline_post_recipes:host(N), "' affiliation='member'/></query>"])
                end,
    enter(Config, N),
    Affiliate("juliet"),
    say(Config),
    ?assertEqual(same, offline_post_recipes:compare(N, Shown, offline_post_backend:await(?config(backend, Config)))),
    Affiliate("nurse"),
    say(Config),
    Posts = offline_post_backend:await(?config(backend, Config), 2),
    ?assertEqual([<<"juliet..">>, <<"nurse..">>],
                 lists:sort([proplists:get_value(<<"offline">>, uri_string:dissect_query(Body)) ||
                             #{body := Body} <- Posts])),
    leave(Config).

subscriber(Config) ->
    [{N, _, [_, Shown]}] = offline_post_recipes:vhosts(Config, ?MUCSUB),
    enter(Config, N),
    query(Config, ["<subscribe xmlns='urn:xmpp:mucsub:0' jid='juliet@", offline_post_recipes:host(N), "' nick='Juliet'>"
                   "<event node='urn:xmpp:mucsub:nodes:messages'/></subscribe>"]),
    say(Config),
    ?assertEqual(same, offline_post_recipes:compare(N, Shown, offline_post_backend:await(?config(backend, Config)))),
    leave(Config).

%% What mod_post_log would have sent: ejabberd's own text of the message.
stanza(Config) ->
    [{N, _, _}] = offline_post_recipes:vhosts(Config, ?STANZA),
    Node = ?config(node, Config),
    #{body := Body} = offline_post_recipes:say(Config, N),
    Message = offline_post_node:message(Node, "romeo@verona.example/balcony", ["juliet@", offline_post_recipes:host(N)],
                                        offline_post_client:escape(offline_post_recipes:text())),
    ?assertEqual(offline_post_node:call(Node, fxml, element_to_binary,
                                        [offline_post_node:call(Node, xmpp, encode, [Message])]),
                 Body).

%%% romeo, as Romeo, in the room `orchard`

enter(Config, N) ->
    {Clients, Host} = {?config(clients, Config), offline_post_recipes:host(N)},
    offline_post_client:login(Clients, "romeo", "romeo@" ++ Host, ?config(node, Config)),
    put(room, "orchard@conference." ++ Host),
    offline_post_client:send(Clients, "romeo", ["<presence to='", get(room), "/Romeo'>"
                                                "<x xmlns='http://jabber.org/protocol/muc'/></presence>"]),
    offline_post_client:received(Clients, "romeo", "<subject").

leave(Config) ->
    offline_post_client:offline(?config(clients, Config), "romeo").

say(Config) ->
    offline_post_client:send(?config(clients, Config), "romeo",
                             ["<message type='groupchat' id='m1' to='", get(room), "'><body>",
                              offline_post_client:escape(offline_post_recipes:text()), "</body></message>"]).

query(Config, Content) ->
    Id = "q" ++ integer_to_list(erlang:unique_integer([positive])),
    offline_post_client:send(?config(clients, Config), "romeo",
                             ["<iq type='set' id='", Id, "' to='", get(room), "'>", Content, "</iq>"]),
    offline_post_client:received(?config(clients, Config), "romeo", ["id=\"", Id, "\""]).
