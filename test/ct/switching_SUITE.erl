%% docs/switching.md is true: for each relative of this module the configuration there is run, and what comes is what is
%% shown, byte for byte.
-module(switching_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([relatives/1, sessions/1, absent_member/1, subscriber/1, absent_member_anonymous/1, subscriber_anonymous/1,
         stanza/1, everybody/1]).

-define(ROOMS, "mod_offline_post of izandromm and diamondbybold").
-define(MUCSUB, "mod_offline_post of eeren323").
-define(SESSIONS, "mod_available_post, mod_unavailable_post").
-define(STANZA, "mod_post_log of ejabberd-contrib").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [everybody, relatives, sessions, absent_member, subscriber, absent_member_anonymous, subscriber_anonymous, stanza].

init_per_suite(Config) ->
    Examples = offline_post_document:examples("docs/switching.md"),
    Origins = ["https://backend.example", "https://api.prowlapp.com", "https://api.zeropush.com"],
    Own = offline_post_recipes:start(Examples, Origins, fun(_Backend) -> [] end),
    Hosts = [host(Own, Title) || Title <- [?ROOMS, ?MUCSUB]],
    offline_post_recipes:with_clients(Own, Hosts, ["romeo", "nurse"]) ++ Config.

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
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
    Romeo = enter(Config, N),
    affiliate(Romeo, N, "juliet"),
    ?assertEqual(same, said(Config, Romeo, N, Shown)),
    affiliate(Romeo, N, "nurse"),
    say(Romeo),
    Posts = offline_post_backend:await(?config(backend, Config), 2),
    ?assertEqual([<<"juliet..">>, <<"nurse..">>],
                 lists:sort([proplists:get_value(<<"offline">>, uri_string:dissect_query(Body)) ||
                             #{body := Body} <- Posts])),
    leave(Romeo).

subscriber(Config) ->
    [{N, _, [_, Shown]}] = offline_post_recipes:vhosts(Config, ?MUCSUB),
    Romeo = enter(Config, N),
    subscribe(Romeo, N),
    ?assertEqual(same, said(Config, Romeo, N, Shown)),
    leave(Romeo).

%% In rooms that hide who is behind a nick, as the page says below each: nobody, or the room.
absent_member_anonymous(Config) ->
    [{N, _, [_, Shown]}] = offline_post_recipes:vhosts(Config, ?ROOMS),
    Romeo = enter(Config, N),
    hide(Romeo),
    affiliate(Romeo, N, "juliet"),
    ?assertEqual(same, said(Config, Romeo, N, in_place_of("from=romeo", "from=", Shown))),
    leave(Romeo).

subscriber_anonymous(Config) ->
    [{N, _, [_, Shown]}] = offline_post_recipes:vhosts(Config, ?MUCSUB),
    Romeo = enter(Config, N),
    hide(Romeo),
    subscribe(Romeo, N),
    ?assertEqual(same, said(Config, Romeo, N,
                            in_place_of("from=romeo%40", "from=orchard%40conference.", Shown))),
    leave(Romeo).

in_place_of(Words, Others, Shown) ->
    [Before, After] = string:split(Shown, Words, all),
    lists:append([Before, Others, After]).

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
    Romeo = {Clients, "romeo", "orchard@conference." ++ Host},
    offline_post_client:login(Clients, "romeo", "romeo@" ++ Host, ?config(node, Config)),
    offline_post_room:enter(Romeo, "Romeo"),
    Romeo.

leave({Clients, Name, _}) ->
    offline_post_client:offline(Clients, Name).

hide(Romeo) ->
    offline_post_room:configure(Romeo, [{"muc#roomconfig_whois", "moderators"}]).

affiliate(Romeo, N, User) ->
    offline_post_room:affiliate(Romeo, [User, "@", offline_post_recipes:host(N)], "member").

subscribe(Romeo, N) ->
    offline_post_room:subscribe(Romeo, ["juliet@", offline_post_recipes:host(N)], "messages").

say(Romeo) ->
    offline_post_room:say(Romeo, offline_post_recipes:text()).

%% Whether what comes of it is this.
said(Config, Romeo, N, Shown) ->
    say(Romeo),
    offline_post_recipes:compare(N, Shown, offline_post_backend:await(?config(backend, Config))).
