%% Real XMPP clients (test/support/xmpp_client.py), any number behind one port.
-module(offline_post_client).

-export([start/0, start/1, take/1, reset/1, stop/1, login/4, login_managed/4, login_resumable/4, resume/2, kill/2,
         deaf/2, hush/2, hear/2, ended/2, online/2, carbons/2, send/3, message/4, say/5, acked/2, acked/3, received/3, drain/2,
         ping_ms/2, request/4, is_quick/2, offline/2, escape/1]).

-define(TIMEOUT, 20000).

start() ->
    start([]).

%% Enter: what the command is to begin with, as of offline_post_net.
start(Enter) ->
    Script = filename:join([offline_post_node:root(), "test", "support", "xmpp_client.py"]),
    [Exec | Args] = Enter ++ ["/usr/bin/python3", "-u", Script],
    offline_post_port:open(os:find_executable(Exec), Args, [{line, 4 * 1024 * 1024}]).

%% From now on this process is the one that hears of what arrives.
take(Clients) ->
    offline_post_port:take(Clients).

%% Ends all sessions, as a lost network would.
reset(Clients) ->
    command(Clients, "reset over"),
    forget(Clients, <<"echo over">>).

stop(Clients) ->
    take(Clients),
    command(Clients, "quit"),
    0 = offline_post_port:await_exit(Clients, ?TIMEOUT),
    ok.

%% Logs in and is known by Name from then on.
login(Clients, Name, Jid, Node) ->
    login(Clients, Name, Jid, Node, "").

%% With stream management: the server acknowledges what the client says.
login_managed(Clients, Name, Jid, Node) ->
    login(Clients, Name, Jid, Node, " sm").

%% With stream management; a lost connection can be resumed.
login_resumable(Clients, Name, Jid, Node) ->
    login(Clients, Name, Jid, Node, " resume").

%% Jid: with a resource or, for "test", without.
login(Clients, Name, Jid, Node, How) ->
    [User, Rest] = string:split(Jid, "@"),
    Resource = case string:find(Rest, "/") of nomatch -> "/test"; _ -> "" end,
    command(Clients, ["connect ", Name, " ", Jid, Resource, " ", password(User), " ", offline_post_node:address(Node), " ",
                      integer_to_list(offline_post_node:c2s(Node)), How]),
    expect(Clients, ["connected ", Name, " "]).

%% Ends the TCP connection as a lost network would: without a word to the server.
kill(Clients, Name) ->
    command(Clients, ["kill ", Name]),
    ended(Clients, Name).

%% The client acknowledges nothing from now on; its connection stays.
deaf(Clients, Name) ->
    command(Clients, ["deaf ", Name, "\necho deaf"]),
    expect(Clients, "echo deaf").

%% The client acknowledges nothing until its next resume, which tells what it has received.
hush(Clients, Name) ->
    command(Clients, ["hush ", Name, "\necho hush"]),
    expect(Clients, "echo hush").

%% After a kill: it acknowledges again from its next resume on.
hear(Clients, Name) ->
    command(Clients, ["hear ", Name]).

%% After a kill, in time.
resume(Clients, Name) ->
    command(Clients, ["resume ", Name]),
    expect(Clients, ["resumed ", Name]).

%% The client has seen its connection end.
ended(Clients, Name) ->
    expect(Clients, ["disconnected ", Name]).

%% Presence: available. Returns when the server has seen it.
online(Clients, Name) ->
    command(Clients, ["presence ", Name]),
    request(Clients, Name, "get", "<ping xmlns='urn:xmpp:ping'/>").

carbons(Clients, Name) ->
    request(Clients, Name, "set", "<enable xmlns='urn:xmpp:carbons:2'/>").

password(User) ->
    [User, "-password"].

%% A stanza, as it is.
send(Clients, Name, Xml) ->
    command(Clients, ["send ", Name, " ", base64:encode(unicode:characters_to_binary(Xml))]).

%% A chat message with this text.
message(Clients, Name, To, Text) ->
    send(Clients, Name, ["<message type='chat' id='m1' to='", escape(To), "'><body>", escape(Text), "</body></message>"]).

%% In a managed stream.
say(Clients, Name, Id, To, Text) ->
    command(Clients, ["say ", Name, " ", Id, " ", To, " ", base64:encode(unicode:characters_to_binary(Text))]).

%% The ids of what was acknowledged until the session ended, whoever ended it. What it was told to say after that is
%% forgotten.
acked(Clients, Name) ->
    Acked = until_end(Clients, Name),
    command(Clients, "echo over"),
    forget(Clients, <<"echo over">>),
    Acked.

%% The ids of the next N that are acknowledged.
acked(_Clients, _Name, 0) -> [];
acked(Clients, Name, N) ->
    Prefix = iolist_to_binary(["acked ", Name, " "]),
    Size = byte_size(Prefix),
    receive
        {Clients, {data, {eol, <<Prefix:Size/binary, Id/binary>>}}} -> [Id | acked(Clients, Name, N - 1)]
    after ?TIMEOUT -> ct:fail({not_acknowledged, N})
    end.

forget(Clients, Last) ->
    receive
        {Clients, {data, {eol, Last}}} -> ok;
        {Clients, {data, {eol, _}}} -> forget(Clients, Last)
    after ?TIMEOUT -> ct:fail({no_line, Last})
    end.

until_end(Clients, Name) ->
    Prefix = iolist_to_binary(["acked ", Name, " "]),
    End = iolist_to_binary(["disconnected ", Name]),
    Size = byte_size(Prefix),
    receive
        {Clients, {data, {eol, <<Prefix:Size/binary, Id/binary>>}}} -> [Id | until_end(Clients, Name)];
        {Clients, {data, {eol, End}}} -> []
    after ?TIMEOUT -> ct:fail({session_goes_on, Name})
    end.

%% Waits until a stanza that holds this text arrives.
received(Clients, Name, Text) ->
    await_stanza(Clients, Name, unicode:characters_to_binary(Text)).

%% The stanzas that came to this client until now: what the server had sent before it answered us.
drain(Clients, Name) ->
    Id = list_to_binary("drain" ++ integer_to_list(erlang:unique_integer([positive]))),
    send(Clients, Name, ["<iq type='get' id='", Id, "'><ping xmlns='urn:xmpp:ping'/></iq>"]),
    until_stanza(Clients, Name, Id).

%% How long the server takes to answer this client (ms): what a session that waits for a backend would show.
ping_ms(Clients, Name) ->
    Start = erlang:monotonic_time(millisecond),
    request(Clients, Name, "get", "<ping xmlns='urn:xmpp:ping'/>"),
    erlang:monotonic_time(millisecond) - Start.

%% An iq; returns when its answer is there.
request(Clients, Name, Type, Content) ->
    Id = "iq" ++ integer_to_list(erlang:unique_integer([positive])),
    send(Clients, Name, ["<iq type='", Type, "' id='", Id, "'>", Content, "</iq>"]),
    await_stanza(Clients, Name, list_to_binary(Id)).

is_quick(Clients, Name) ->
    case ping_ms(Clients, Name) of
        Ms when Ms < 1000 -> true;
        Ms -> ct:fail({session_waits, Ms})
    end.

offline(Clients, Name) ->
    command(Clients, ["disconnect ", Name]),
    expect(Clients, ["disconnected ", Name]).

escape(Text) ->
    [case C of
         $& -> "&amp;";
         $< -> "&lt;";
         $> -> "&gt;";
         $' -> "&apos;";
         $" -> "&quot;";
         $\r -> "&#13;";
         _ -> C
     end || C <- unicode:characters_to_list(Text)].

await_stanza(Clients, Name, Id) ->
    Prefix = iolist_to_binary(["recv ", Name, " "]),
    Size = byte_size(Prefix),
    receive
        {Clients, {data, {eol, <<Prefix:Size/binary, Xml/binary>>}}} ->
            case binary:match(base64:decode(Xml), Id) of
                nomatch -> await_stanza(Clients, Name, Id);
                _ -> ok
            end
    after ?TIMEOUT -> ct:fail({no_answer, Id})
    end.

until_stanza(Clients, Name, Id) ->
    Prefix = iolist_to_binary(["recv ", Name, " "]),
    Size = byte_size(Prefix),
    receive
        {Clients, {data, {eol, <<Prefix:Size/binary, Base64/binary>>}}} ->
            Xml = base64:decode(Base64),
            case binary:match(Xml, Id) of
                nomatch -> [Xml | until_stanza(Clients, Name, Id)];
                _ -> []
            end
    after ?TIMEOUT -> ct:fail({no_answer, Id})
    end.

expect(Clients, Prefix) ->
    Expected = iolist_to_binary(Prefix),
    Size = byte_size(Expected),
    receive
        {Clients, {data, {eol, <<Expected:Size/binary, _/binary>>}}} -> ok;
        {Clients, {data, {eol, <<"failed ", _/binary>> = Line}}} -> ct:fail(Line);
        {Clients, {data, {eol, <<"error ", _/binary>> = Line}}} -> ct:fail(Line)
    after ?TIMEOUT -> ct:fail({no_line, Expected})
    end.

command(Clients, Line) ->
    true = port_command(Clients, [Line, $\n]).
