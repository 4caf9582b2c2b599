%% Runs the configurations of a document, each on a virtual host of its own of one node, and compares what comes with
%% what is shown below them.
-module(offline_post_recipes).

-export([start/3, with_clients/3, modules/0, init/1, check/2]).
-export([vhosts/2, host/1, text/0, say/2, compare/3, posted/3, room/2]).

-include_lib("common_test/include/ct.hrl").

%% In the documents; a virtual host of the test is named so, with its number before it.
-define(DOMAIN, "capulet.example").

%% What romeo@verona.example/balcony writes in them.
text() -> "Good night & à demain!".

%% Examples: as offline_post_document has them. Origins: the servers named in the document; here they are a backend, or
%% {origin, another URL}. Extra: further virtual hosts. Config gets the node, the backend, the examples with their
%% virtual hosts, and the configuration of those.
start(Examples, Origins, Extra) ->
    Backend = offline_post_backend:start(),
    Words = [case Origin of
                 {_, _} -> Origin;
                 _ -> {Origin, offline_post_backend:url(Backend, "")}
             end || Origin <- Origins],
    Numbered = lists:zip(lists:seq(1, length(Examples)), Examples),
    Hosts = [{host(N), #{modules => [modules(), offline_post_document:modules(Yaml, options(hd(Origins)),
                                                                              [{?DOMAIN, host(N)} | Words])]}}
             || {N, {_, Yaml, _}} <- Numbered],
    Node = offline_post_node:start(#{hosts => Hosts ++ Extra(Backend)}),
    [offline_post_node:register(Node, "juliet", host(N), "juliet-password") || {N, _} <- Numbered],
    [{node, Node}, {backend, Backend}, {hosts, Hosts},
     {examples, [{N, Title, Posts} || {N, {Title, _, Posts}} <- Numbered]}].

%% What surrounds ours, with rooms that show who is behind a nick.
modules() ->
    "mod_offline: {}\nmod_ping: {}\nmod_stream_mgmt: {}\n"
    "mod_muc:\n  default_room_options:\n    allow_subscription: true\n    anonymous: false\n".

options(Origin) ->
    [{"post_url", ["\"", Origin, "/offline\""]}, {"auth_token", "s3cret"}].

host(N) ->
    "s" ++ integer_to_list(N) ++ "." ++ ?DOMAIN.

%% Accounts on these virtual hosts, and clients for them.
with_clients(Config, Hosts, Users) ->
    Node = ?config(node, Config),
    offline_post_node:await_running(Node, Hosts),
    [offline_post_node:register(Node, User, Host, User ++ "-password") || Host <- Hosts, User <- Users],
    [{clients, offline_post_client:start()} | Config].

%% For a case.
init(Config) ->
    _ = [offline_post_client:take(Clients) || {clients, Clients} <- Config],
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Config.

%% After a case with clients.
check(Config, Hosts) ->
    offline_post_client:reset(?config(clients, Config)),
    [[] = offline_post_law:violations(offline_post_node:stats(?config(node, Config), Host)) || Host <- Hosts],
    ok.

%% Of a section, or all.
vhosts(Config, all) -> ?config(examples, Config);
vhosts(Config, Title) -> [Example || {_, T, _} = Example <- ?config(examples, Config), T =:= Title].

%% To juliet of this virtual host; returns the POST.
say(Config, N) ->
    offline_post_node:await_running(?config(node, Config), [host(N)]),
    offline_post_node:route(?config(node, Config), "romeo@verona.example/balcony", ["juliet@", host(N)],
                            offline_post_client:escape(text())),
    offline_post_backend:await(?config(backend, Config)).

%% Shown: the text of a block with one POST, or one of several.
compare(N, Shown, Post) ->
    [Expected] = offline_post_document:posts(offline_post_document:replace(Shown, [{?DOMAIN, host(N)}])),
    offline_post_document:compare(Expected, Post).

%% A chat message from romeo@verona.example/balcony to juliet of this host; returns the POST.
posted(Config, Host, Content) ->
    Node = ?config(node, Config),
    Xml = ["<message xmlns='jabber:client' type='chat' id='m1' from='romeo@verona.example/balcony' to='juliet@", Host,
           "'>",
           Content, "</message>"],
    Packet = offline_post_node:call(Node, xmpp, decode,
                                    [offline_post_node:call(Node, fxml_stream, parse_element,
                                                            [unicode:characters_to_binary(Xml)]),
                                     <<"jabber:client">>, [ignore_els]]),
    offline_post_node:call(Node, ejabberd_router, route, [Packet]),
    offline_post_backend:await(?config(backend, Config)).

%% romeo says something, as Romeo, in a room to which juliet has subscribed.
room(Config, Host) ->
    Clients = ?config(clients, Config),
    Romeo = {Clients, "romeo", "orchard@conference." ++ Host},
    offline_post_client:login(Clients, "romeo", "romeo@" ++ Host, ?config(node, Config)),
    offline_post_room:enter(Romeo, "Romeo"),
    offline_post_room:subscribe(Romeo, "juliet@" ++ Host, "messages"),
    offline_post_room:say(Romeo, "Good night").
