%% Real XMPP clients (test/support/xmpp_client.py), any number behind one port.
-module(offline_post_client).

-export([start/0, stop/1, login/4, send/3, message/4, ping_ms/2, is_quick/2, offline/2, escape/1]).

-define(TIMEOUT, 20000).

start() ->
    Script = filename:join([offline_post_node:root(), "test", "support", "xmpp_client.py"]),
    open_port({spawn_executable, "/usr/bin/python3"},
              [{args, ["-u", Script]}, binary, {line, 4 * 1024 * 1024}, exit_status]).

stop(Clients) ->
    catch port_command(Clients, "quit\n"),
    receive {Clients, {exit_status, _}} -> ok
    after ?TIMEOUT -> port_close(Clients)
    end,
    ok.

%% Logs in and is known by Name from then on.
login(Clients, Name, Jid, Node) ->
    [User, _] = string:split(Jid, "@"),
    command(Clients, ["connect ", Name, " ", Jid, "/test ", password(User), " 127.0.0.1 ",
                      integer_to_list(offline_post_node:c2s(Node))]),
    expect(Clients, ["connected ", Name, " "]).

password(User) ->
    [User, "-password"].

%% A stanza, as it is.
send(Clients, Name, Xml) ->
    command(Clients, ["send ", Name, " ", base64:encode(unicode:characters_to_binary(Xml))]).

%% A chat message with this text.
message(Clients, Name, To, Text) ->
    send(Clients, Name, ["<message type='chat' id='m1' to='", escape(To), "'><body>", escape(Text), "</body></message>"]).

%% How long the server takes to answer this client (ms): what a session that waits for a backend would show.
ping_ms(Clients, Name) ->
    Id = "ping" ++ integer_to_list(erlang:unique_integer([positive])),
    Start = erlang:monotonic_time(millisecond),
    send(Clients, Name, ["<iq type='get' id='", Id, "'><ping xmlns='urn:xmpp:ping'/></iq>"]),
    await_stanza(Clients, Name, list_to_binary(Id)),
    erlang:monotonic_time(millisecond) - Start.

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
