%% An HTTP backend whose faults are programmed. It reports every POST to the process that listens, as
%% {post, Backend, Post}, before it answers, so that a test also sees what it answers badly or not at all.
-module(offline_post_backend).

-export([start/0, start/1, stop/1, listen/1, set/2, url/1, url/2, port/1, posts/1, await/1, await/2, silence/2]).
-export([connections/1, accepted/1]).

-define(TIMEOUT, 20000).

%% What it does with a POST:
%%   {reply, Status} | {reply, Status, Headers, Body}
%%   {bytes, Data}            these bytes instead of an answer, then the connection closes
%%   {delay, Ms, What}
%%   silent                   no answer at all; the connection stays
%%   reset                    the connection is reset
%%   {huge, Bytes}            an answer with a body of so many bytes
%%   {trickle, Ms}            a byte of an answer that never ends, now and then
%%   hang_up                  closes the connection without an answer
%%   {reply_and_close, Status}  answers as if the connection stayed, and closes it
%%   fun((Post) -> What)
start() ->
    start(#{}).

%% tls => ssl options of the server: https; with `never` it accepts connections and does no handshake. at => a place of
%% offline_post_net where it listens.
start(Options) ->
    Self = self(),
    Backend = spawn(fun() -> init(Self, Options) end),
    receive {Backend, started} -> Backend after ?TIMEOUT -> error(timeout) end.

stop(Backend) ->
    Monitor = monitor(process, Backend),
    Backend ! stop,
    receive {'DOWN', Monitor, _, _, _} -> ok after ?TIMEOUT -> error(timeout) end.

%% POSTs are reported to this process from now on.
listen(Backend) -> request(Backend, {listen, self()}).

set(Backend, What) -> request(Backend, {set, What}).

port(Backend) -> request(Backend, port).

url(Backend) -> url(Backend, "/offline").

url(Backend, Path) ->
    {Scheme, Host, Port} = request(Backend, origin),
    lists:flatten([Scheme, "://", Host, ":", integer_to_list(Port), Path]).

%% How many connections are open; how many there were in all.
connections(Backend) -> request(Backend, connections).
accepted(Backend) -> request(Backend, accepted).

%% What was reported to this process until now.
posts(Backend) ->
    receive {post, Backend, Post} -> [Post | posts(Backend)] after 0 -> [] end.

%% The next N POSTs.
await(Backend) -> hd(await(Backend, 1)).

await(_Backend, 0) -> [];
await(Backend, N) ->
    receive {post, Backend, Post} -> [Post | await(Backend, N - 1)]
    after ?TIMEOUT -> ct:fail({posts_missing, N})
    end.

%% Nothing arrives for so long (ms). For what must not happen; the callers first wait for what shows that it is over.
silence(Backend, Ms) ->
    receive {post, Backend, Post} -> ct:fail({unexpected, Post}) after Ms -> ok end.

request(Backend, Request) ->
    Ref = make_ref(),
    Backend ! {Ref, self(), Request},
    receive {Ref, Answer} -> Answer after ?TIMEOUT -> error({backend, Request}) end.

init(Owner, Options) ->
    process_flag(trap_exit, true),
    {Scheme, Module, Extra} = case Options of
                                  #{tls := never} -> {"https", gen_tcp, []};
                                  #{tls := Tls} -> {"https", ssl, Tls};
                                  _ -> {"http", gen_tcp, []}
                              end,
    {Host, Place} = case Options of
                        #{at := At} ->
                            {ok, Address} = inet:parse_address(offline_post_net:address(At)),
                            {offline_post_net:address(At), [{netns, offline_post_net:netns(At)}, {ip, Address}]};
                        _ ->
                            {"localhost", [{ip, {127, 0, 0, 1}}]}
                    end,
    {ok, Listener} = Module:listen(maps:get(port, Options, 0), Place ++ [binary, {active, false}, {packet, http_bin}, {reuseaddr, true},
                                       {backlog, 1024}, {nodelay, true}, % the buffer: as long may a header be
                                       {buffer, 65536}, {send_timeout, ?TIMEOUT} | Extra]),
    {ok, {_, Port}} = case Module of ssl -> ssl:sockname(Listener); gen_tcp -> inet:sockname(Listener) end,
    Server = self(),
    Kind = case Options of
               #{tls := never} -> hole;
               _ -> Module
           end,
    spawn_link(fun() -> accept(Server, Kind, Listener) end),
    Owner ! {self(), started},
    loop(#{origin => {Scheme, Host, Port}, owner => Owner, what => {reply, 200}, open => #{}, accepted => 0}).

loop(#{owner := Owner, what := What, open := Open, accepted := Accepted, origin := Origin} = State) ->
    receive
        {Ref, Connection, {post, Post}} ->
            Owner ! {post, self(), Post},
            Connection ! {Ref, What},
            loop(State);
        {accepted, Connection} ->
            monitor(process, Connection),
            loop(State#{open := Open#{Connection => true}, accepted := Accepted + 1});
        {'DOWN', _, _, Connection, _} ->
            loop(State#{open := maps:remove(Connection, Open)});
        {Ref, From, {listen, Listener}} ->
            From ! {Ref, ok},
            loop(State#{owner := Listener});
        {Ref, From, {set, New}} ->
            From ! {Ref, ok},
            loop(State#{what := New});
        {Ref, From, Item} when is_reference(Ref) ->
            From ! {Ref, case Item of
                             port -> element(3, Origin);
                             origin -> Origin;
                             connections -> map_size(Open);
                             accepted -> Accepted
                         end},
            loop(State);
        {'EXIT', _, _} ->
            loop(State);
        stop ->
            [exit(Connection, kill) || Connection <- maps:keys(Open)],
            ok
    end.

accept(Server, gen_tcp, Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    hand_over(Server, gen_tcp, Socket),
    accept(Server, gen_tcp, Listener);
accept(Server, ssl, Listener) ->
    {ok, Socket} = ssl:transport_accept(Listener),
    hand_over(Server, ssl, Socket),
    accept(Server, ssl, Listener);
accept(Server, hole, Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    hand_over(Server, hole, Socket),
    accept(Server, hole, Listener).

hand_over(Server, Module, Socket) ->
    Connection = spawn(fun() -> receive go -> open(Server, Module, Socket) end end),
    Server ! {accepted, Connection},
    ok = case Module of
             ssl -> ssl:controlling_process(Socket, Connection);
             _ -> gen_tcp:controlling_process(Socket, Connection)
         end,
    Connection ! go.

open(Server, ssl, Socket) ->
    case ssl:handshake(Socket, ?TIMEOUT) of
        {ok, Tls} -> serve(Server, ssl, Tls);
        {error, _} -> ok
    end;
open(_Server, hole, Socket) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    swallow(gen_tcp, Socket);
open(Server, gen_tcp, Socket) ->
    serve(Server, gen_tcp, Socket).

serve(Server, Module, Socket) ->
    case Module:recv(Socket, 0) of
        {ok, {http_request, Method, {abs_path, Path}, _}} ->
            Headers = headers(Module, Socket),
            Length = binary_to_integer(proplists:get_value(<<"content-length">>, Headers, <<"0">>)),
            ok = setopts(Module, Socket, [{packet, raw}]),
            Body = receive_body(Module, Socket, Length),
            Ref = make_ref(),
            Server ! {Ref, self(), {post, #{method => Method, path => Path, headers => Headers, body => Body,
                                            connection => self(), at => erlang:monotonic_time(millisecond)}}},
            receive {Ref, What} -> ok end,
            act(What, #{path => Path, headers => Headers, body => Body}, Module, Socket),
            ok = setopts(Module, Socket, [{packet, http_bin}]),
            serve(Server, Module, Socket);
        {error, _} ->
            ok
    end.

act(Fun, Post, Module, Socket) when is_function(Fun, 1) ->
    act(Fun(Post), Post, Module, Socket);
act({delay, Ms, What}, Post, Module, Socket) ->
    timer:sleep(Ms),
    act(What, Post, Module, Socket);
act({reply, Status}, Post, Module, Socket) ->
    act({reply, Status, [], <<"ok">>}, Post, Module, Socket);
act({reply, Status, Headers, Body}, _, Module, Socket) ->
    sent(Module:send(Socket, answer(Status, Headers, Body)));
act({reply_and_close, Status}, _, Module, Socket) ->
    _ = Module:send(Socket, answer(Status, [], <<>>)),
    Module:close(Socket),
    exit(normal);
act({bytes, Data}, _, Module, Socket) ->
    _ = Module:send(Socket, Data),
    Module:close(Socket),
    exit(normal);
act(hang_up, _, Module, Socket) ->
    Module:close(Socket),
    exit(normal);
act({trickle, Ms}, Post, Module, Socket) ->
    sent(Module:send(Socket, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")),
    trickle(Ms, Post, Module, Socket);
act(reset, _, Module, Socket) ->
    setopts(Module, Socket, [{linger, {true, 0}}]),
    Module:close(Socket),
    exit(normal);
act(silent, _, Module, Socket) ->
    swallow(Module, Socket),
    exit(normal);
act({huge, Bytes}, _, Module, Socket) ->
    sent(Module:send(Socket, ["HTTP/1.1 200 OK\r\nContent-Length: ", integer_to_list(Bytes), "\r\n\r\n"])),
    Chunk = binary:copy(<<"x">>, 65536),
    [sent(Module:send(Socket, Chunk)) || _ <- lists:seq(1, Bytes div 65536)],
    sent(Module:send(Socket, binary:part(Chunk, 0, Bytes rem 65536))).

trickle(Ms, Post, Module, Socket) ->
    sent(Module:send(Socket, "x")),
    timer:sleep(Ms),
    trickle(Ms, Post, Module, Socket).

%% Takes what comes, until the other side gives up.
swallow(Module, Socket) ->
    case Module:recv(Socket, 0) of
        {ok, _} -> swallow(Module, Socket);
        {error, _} -> ok
    end.

%% The other side may have gone.
sent(ok) -> ok;
sent({error, _}) -> exit(normal).

answer(Status, Headers, Body) ->
    ["HTTP/1.1 ", integer_to_list(Status), " Status\r\n",
     [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers],
     "Content-Length: ", integer_to_list(iolist_size(Body)), "\r\n\r\n", Body].

headers(Module, Socket) ->
    case Module:recv(Socket, 0) of
        {ok, {http_header, _, Name, _, Value}} ->
            [{iolist_to_binary(string:lowercase(header(Name))), Value} | headers(Module, Socket)];
        {ok, http_eoh} ->
            [];
        {error, _} ->
            exit(normal)
    end.

header(Name) when is_atom(Name) -> atom_to_binary(Name, latin1);
header(Name) -> Name.

receive_body(_Module, _Socket, 0) ->
    <<>>;
receive_body(Module, Socket, Length) ->
    case Module:recv(Socket, Length) of
        {ok, Body} -> Body;
        {error, _} -> exit(normal)
    end.

setopts(ssl, Socket, Options) -> ssl:setopts(Socket, Options);
setopts(gen_tcp, Socket, Options) -> inet:setopts(Socket, Options).
