%% Streams that bring messages of many: a component's (XEP-0114) and another server's, which proves by dialback (XEP-0220)
%% who it is. What ejabberd sends on them is not read.
-module(offline_post_stream).

-export([component/3, server/4, say/4, close/1]).

-define(TIMEOUT, 20000).
-define(LOCAL, {127, 0, 0, 1}).

%% Name: the component's.
component(Port, Name, Secret) ->
    Socket = open(Port, ["<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='",
                         Name, "'>"]),
    Id = id(read(Socket, "<stream:stream [^>]*>")),
    send(Socket, ["<handshake>", hex(crypto:hash(sha, [Id, Secret])), "</handshake>"]),
    read(Socket, "<handshake"),
    Socket.

%% Name: the server's, an IP address so that ejabberd finds it, where it asks on the port Back for what it is told.
server(Port, Back, Name, Host) ->
    {ok, Listener} = gen_tcp:listen(Back, [binary, {ip, ?LOCAL}, {active, false}, {reuseaddr, true}]),
    Socket = open(Port, [header("from='", Name, "' to='", Host, "'")]),
    read(Socket, "</stream:features>"),
    send(Socket, ["<db:result from='", Name, "' to='", Host, "'>key</db:result>"]),
    {ok, Asked} = gen_tcp:accept(Listener, ?TIMEOUT),
    read(Asked, "<stream:stream [^>]*>"),
    send(Asked, [header("id='back' from='", Name, "' to='", Host, "'"),
                 "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"]),
    Id = id(read(Asked, "<db:verify [^>]*>")),
    send(Asked, ["<db:verify from='", Name, "' to='", Host, "' id='", Id, "' type='valid'/>"]),
    read(Socket, "<db:result [^>]*type=['\"]valid['\"][^>]*>"),
    ok = gen_tcp:close(Listener),
    Socket.

say(Socket, From, To, Text) ->
    send(Socket, ["<message type='chat' from='", From, "' to='", To, "'><body>", offline_post_client:escape(Text),
                  "</body></message>"]).

close(Socket) ->
    ok = gen_tcp:close(Socket).

%%%

header(A, Name, B, Host, C) ->
    ["<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
     " xmlns:stream='http://etherx.jabber.org/streams' version='1.0' ", A, Name, B, Host, C, ">"].

open(Port, Header) ->
    {ok, Socket} = gen_tcp:connect(?LOCAL, Port, [binary, {active, false}, {nodelay, true}], ?TIMEOUT),
    send(Socket, ["<?xml version='1.0'?>", Header]),
    Socket.

send(Socket, Text) ->
    ok = gen_tcp:send(Socket, unicode:characters_to_binary(Text)).

%% What the other side sends until there is this in it; then what matches.
read(Socket, Expected) ->
    read(Socket, Expected, <<>>).

read(Socket, Expected, Before) ->
    case re:run(Before, Expected, [{capture, first, binary}]) of
        {match, [Match]} ->
            Match;
        nomatch ->
            case gen_tcp:recv(Socket, 0, ?TIMEOUT) of
                {ok, More} -> read(Socket, Expected, <<Before/binary, More/binary>>);
                {error, Why} -> ct:fail({Why, Expected, Before})
            end
    end.

id(Tag) ->
    {match, [Id]} = re:run(Tag, " id=['\"]([^'\"]*)['\"]", [{capture, all_but_first, binary}]),
    Id.

hex(Digest) ->
    [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Digest].
