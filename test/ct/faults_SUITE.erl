%% What a backend can do wrong: each becomes a classified outcome, the law holds, and the sender's session notices
%% nothing. Each case has a virtual host and a backend (an origin with its own breaker) of its own.
-module(faults_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([down/1, unresolvable/1, resetting/1, silent/1, slow/1, endless/1, black_hole/1, redirecting/1, garbage/1, huge/1,
         truncated/1, closes_idle/1, dies_when_reused/1, unknown_authority/1, wrong_name/1, server_errors/1, own_fault/1, configuration_fault/1, gone/1,
         retry_after/1, retry_after_date/1, full/1, breaker/1, shared_origin/1]).

-define(TOKEN, "t0k3n-of-nobody").
%% A virtual host that has its backend together with the one of shared_origin.
-define(NEIGHBOUR, "neighbour.localhost").
-define(TEXT, "words between two").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [down, unresolvable, resetting, silent, slow, endless, black_hole, redirecting, garbage, huge, truncated, closes_idle,
     dies_when_reused, unknown_authority, wrong_name, server_errors, own_fault, configuration_fault, gone, retry_after, retry_after_date,
     full, breaker, shared_origin].

init_per_suite(Config) ->
    Dir = ?config(priv_dir, Config),
    {Tls, Authority} = offline_post_tls:server("localhost", Dir),
    {Misnamed, MisnamedAuthority} = offline_post_tls:server("elsewhere.example", Dir),
    Backends = maps:from_list(
                 [{Case, case Case of
                             black_hole -> offline_post_backend:start(#{tls => never});
                             unknown_authority -> offline_post_backend:start(#{tls => Tls});
                             wrong_name -> offline_post_backend:start(#{tls => Misnamed});
                             _ -> offline_post_backend:start()
                         end} || Case <- all(), Case =/= down]),
    Down = offline_post_node:free_port(),
    Url = fun(down) -> io_lib:format("http://localhost:~B/offline", [Down]);
             (unresolvable) -> "http://no-such-host.invalid/offline";
             (Case) -> offline_post_backend:url(maps:get(Case, Backends))
          end,
    Options = fun(Case) ->
                      ["post_url: \"", Url(Case), "\"\nauth_token: \"" ?TOKEN "\"\nshutdown_timeout: 500 ms\n",
                       case Case of
                           black_hole -> "connect_timeout: 400 ms\n";
                           %% What they wait for takes no time-out, only a handshake on a busy machine.
                           unknown_authority -> "";
                           wrong_name -> "";
                           _ -> "timeout: 600 ms\nconnect_timeout: 500 ms\n"
                       end,
                       case Case of
                           wrong_name -> ["ca_file: \"", MisnamedAuthority, "\"\n"];
                           full -> "queue_limit: 5\n";
                           shared_origin -> "max_connections: 4\n";
                           _ -> ""
                       end]
              end,
    Hosts = [{host(Case), #{offline_post => Options(Case)}} || Case <- all()]
        ++ [{?NEIGHBOUR, #{offline_post => Options(shared_origin)}}],
    NodeConfig = #{hosts => [{"localhost", #{}} | Hosts]},
    Node = offline_post_node:start(NodeConfig),
    offline_post_node:register(Node, "sender", "localhost", "sender-password"),
    Clients = offline_post_client:start(),
    offline_post_client:login(Clients, "sender", "sender@localhost", Node),
    [{node, Node}, {node_config, NodeConfig}, {clients, Clients}, {backends, Backends}, {authority, Authority},
     {down_port, Down} | Config].

end_per_suite(Config) ->
    Node = ?config(node, Config),
    offline_post_client:stop(?config(clients, Config)),
    Log = offline_post_node:log(Node),
    0 = offline_post_node:stop(Node),
    [offline_post_backend:stop(Backend) || Backend <- maps:values(?config(backends, Config))],
    %% Neither the token nor a text is in the log, whatever happened.
    ?assertEqual(nomatch, binary:match(Log, [<<?TOKEN>>, <<?TEXT>>])).

init_per_testcase(Case, Config) ->
    Node = ?config(node, Config),
    Clients = ?config(clients, Config),
    offline_post_client:take(Clients),
    Host = host(Case),
    offline_post_node:register(Node, "anna", Host, "x"),
    case Case of
        down ->
            [{host, Host} | Config];
        _ ->
            Backend = maps:get(Case, ?config(backends, Config)),
            offline_post_backend:listen(Backend),
            [{host, Host}, {backend, Backend} | Config]
    end.

end_per_testcase(_Case, Config) ->
    offline_post_client:is_quick(?config(clients, Config), "sender"),
    ?assertEqual([], offline_post_law:violations(stats(Config))).

down(Config) ->
    say_to_many(Config, 5),
    await(Config, #{pending => 5, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 5 end),
    tells_why(Config, io_lib:format("http://localhost:~B has trouble (", [?config(down_port, Config)]), "refused|connect"),
    Backend = offline_post_backend:start(#{port => ?config(down_port, Config)}),
    await(Config, #{pending => 0, delivered => 5, dead => 0}),
    offline_post_node:await_log(?config(node, Config), io_lib:format("http://localhost:~B answers again after ", [?config(down_port, Config)])),
    offline_post_backend:stop(Backend).

unresolvable(Config) ->
    say_to_many(Config, 5),
    await(Config, #{pending => 5, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 5 end),
    tells_why(Config, "http://no-such-host.invalid:80 has trouble (", "resolve").

resetting(Config) ->
    tried_again(Config, reset, 2).

silent(Config) ->
    tried_again(Config, silent, 2).

%% Slow but in time is good.
slow(Config) ->
    offline_post_backend:set(?config(backend, Config), {delay, 300, {reply, 200}}),
    say(Config),
    await(Config, #{pending => 0, delivered => 1, attempts => 1, retries => 0}).

%% An answer that trickles does not hold a connection for longer than the timeout.
endless(Config) ->
    tried_again(Config, {trickle, 100}, 2).

%% Connects, but never says a word of TLS: connect_timeout, not the ten seconds of timeout. The first of the five asks what
%% the origin speaks, on a connection for them all; the next connection is a probe's.
black_hole(Config) ->
    Start = erlang:monotonic_time(millisecond),
    say_to_many(Config, 5),
    await(Config, #{pending => 5, delivered => 0, dead => 0}, fun(#{attempts := N, retries := R}) -> N >= 5 andalso R >= 5 end),
    ?assert(erlang:monotonic_time(millisecond) - Start < 5000),
    offline_post_wait:until(fun() -> offline_post_backend:accepted(?config(backend, Config)) >= 2 end),
    tells_why(Config, [origin(Config), " has trouble ("], "time").

%% A redirect is not followed: the message is for the URL that the operator has written.
redirecting(Config) ->
    Other = offline_post_backend:start(),
    tried_again(Config, {reply, 302, [{"Location", offline_post_backend:url(Other)}], <<>>}, 1),
    ?assertEqual([], offline_post_backend:posts(Other)),
    offline_post_backend:stop(Other).

garbage(Config) ->
    tried_again(Config, {bytes, <<0, 255, "garbage\r\n\r\n">>}, 1).

%% The message is delivered: the status says so. The rest of the answer is not read.
huge(Config) ->
    offline_post_backend:set(?config(backend, Config), {huge, 100 * 1024 * 1024}),
    Before = resident_kb(Config),
    say(Config),
    await(Config, #{pending => 0, delivered => 1, attempts => 1}),
    ?assert(resident_kb(Config) - Before < 32 * 1024).

%% A final status and then a broken body: nobody can know whether the backend has done its part.
truncated(Config) ->
    tried_again(Config, {bytes, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"}, 1).

%% Each POST meets a connection that was closed a moment ago.
closes_idle(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply_and_close, 200}),
    [begin
         say(Config),
         await(Config, #{pending => 0, delivered => N, dead => 0})
     end || N <- lists:seq(1, 20)].

%% A connection that answers its first request and closes at its second without a word: the message arrives all
%% the same, and every copy of it under one id.
dies_when_reused(Config) ->
    Backend = ?config(backend, Config),
    Seen = ets:new(seen, [public, set]),
    offline_post_backend:set(Backend, fun(_) ->
                                              case ets:update_counter(Seen, self(), 1, {self(), 0}) of
                                                  1 -> {reply, 200};
                                                  _ -> hang_up
                                              end
                                      end),
    N = 6,
    [begin
         say(Config),
         await(Config, #{pending => 0, delivered => I, dead => 0})
     end || I <- lists:seq(1, N)],
    Posts = offline_post_backend:posts(Backend),
    Ids = [proplists:get_value(<<"webhook-id">>, Headers) || #{headers := Headers} <- Posts],
    ct:pal("~B posts for ~B messages, ~p", [length(Posts), N, stats(Config)]),
    ?assertEqual(N, length(lists:usort(Ids))),
    %% It did die: something was sent twice.
    ?assert(length(Ids) > N).

unknown_authority(Config) ->
    say_to_many(Config, 5),
    await(Config, #{pending => 5, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 5 end),
    tells_why(Config, [origin(Config), " has trouble ("], "certificate"),
    ?assertEqual([], offline_post_backend:posts(?config(backend, Config))),
    change(Config, ["ca_file: \"", ?config(authority, Config), "\"\n"]),
    await(Config, #{pending => 0, delivered => 5}).

%% The authority is known, but the certificate is another's.
wrong_name(Config) ->
    say(Config),
    await(Config, #{pending => 1, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 1 end),
    ?assertEqual([], offline_post_backend:posts(?config(backend, Config))),
    change(Config, "tls_verify: false\n"),
    await(Config, #{pending => 0, delivered => 1}).

server_errors(Config) ->
    Statuses = [500, 502, 503, 504, 408, 425, 429],
    offline_post_backend:set(?config(backend, Config), fun by_recipient/1),
    [begin
         offline_post_node:register(?config(node, Config), user(Status), ?config(host, Config), "x"),
         offline_post_client:message(?config(clients, Config), "sender", user(Status) ++ "@" ++ ?config(host, Config), ?TEXT)
     end || Status <- Statuses],
    await(Config, #{pending => length(Statuses), delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 2 end),
    offline_post_backend:set(?config(backend, Config), {reply, 204}),
    await(Config, #{pending => 0, delivered => length(Statuses)}).

%% This message's own fault: dead at once.
own_fault(Config) ->
    lists:foldl(fun(Status, Dead) ->
                        offline_post_backend:set(?config(backend, Config), {reply, Status}),
                        say(Config),
                        await(Config, #{pending => 0, delivered => 0, dead => Dead, attempts => Dead}),
                        Dead + 1
                end, 1, [400, 413, 414, 415, 422]).

%% The operator's, maybe: kept and tried again.
configuration_fault(Config) ->
    [begin
         tried_again(Config, {reply, Status}, 1)
     end || Status <- [401, 404]].

%% The endpoint does not want any more: nothing is lost, nothing is sent, until somebody changes something.
gone(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 410}),
    say(Config),
    await(Config, #{pending => 1, dead => 0, state => paused}),
    offline_post_backend:set(Backend, {reply, 200}),
    say(Config),
    await(Config, #{pending => 2, attempts => 1, state => paused}),
    offline_post_node:await_log(?config(node, Config), "410"),
    %% The very same file again.
    0 = offline_post_node:call(?config(node, Config), ejabberd_ctl, process, [["reload_config"]]),
    await(Config, #{pending => 0, delivered => 2, state => healthy}).

retry_after(Config) ->
    {First, Second} = tries(Config, "3"),
    ?assert(Second - First >= 2500).

%% However long the first try took to come: the second one is not before that date (the VM's idea of the time may be a
%% moment behind the system's).
retry_after_date(Config) ->
    Date = erlang:system_time(second) + 4,
    {_, Second} = tries(Config, httpd_util:rfc1123_date(calendar:system_time_to_local_time(Date, second))),
    ?assert(Second + erlang:time_offset(millisecond) >= Date * 1000 - 100).

%% When the two tries came.
tries(Config, RetryAfter) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503, [{"Retry-After", RetryAfter}], <<>>}),
    say(Config),
    #{at := First} = offline_post_backend:await(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    #{at := Second} = offline_post_backend:await(Backend),
    await(Config, #{pending => 0, delivered => 1, attempts => 2}),
    {First, Second}.

%% Over the limit, new events are refused, counted and reported; the ones that wait stay.
full(Config) ->
    offline_post_backend:set(?config(backend, Config), silent),
    [offline_post_client:message(?config(clients, Config), "sender", "anna@" ++ ?config(host, Config), ?TEXT) || _ <- lists:seq(1, 205)],
    offline_post_client:is_quick(?config(clients, Config), "sender"),
    await(Config, #{accepted => 5, pending => 5, rejected => 200}),
    Line = ?config(host, Config) ++ ": [0-9]+ notifications were rejected",
    offline_post_wait:until(fun() -> lines(Config, Line) > 0 end),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    await(Config, #{accepted => 5, pending => 0, delivered => 5, rejected => 200}),
    %% 200 rejections, and a second line at most, for those after the first.
    ?assert(lines(Config, Line) =< 2).

%% A dead backend is not hammered, and what waits goes out when it is back.
breaker(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    Users = ["u" ++ integer_to_list(N) || N <- lists:seq(1, 50)],
    [offline_post_node:register(?config(node, Config), User, ?config(host, Config), "x") || User <- Users],
    [offline_post_client:message(?config(clients, Config), "sender", User ++ "@" ++ ?config(host, Config), ?TEXT) || User <- Users],
    await(Config, #{pending => 50}, fun(#{state := State}) -> State =/= healthy end),
    #{attempts := Attempts} = stats(Config),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{pending => 0, delivered => 50, state => healthy}),
    ?assert(Attempts < 150).

%% Virtual hosts with the same origin share its connections and its breaker.
shared_origin(Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    Users = ["u" ++ integer_to_list(N) || N <- lists:seq(1, 40)],
    [offline_post_node:register(Node, User, Host, "x") || User <- Users, Host <- [?config(host, Config), ?NEIGHBOUR]],
    offline_post_backend:set(Backend, {delay, 10, {reply, 200}}),
    [offline_post_client:message(Clients, "sender", User ++ "@" ++ Host, ?TEXT) ||
        User <- Users, Host <- [?config(host, Config), ?NEIGHBOUR]],
    await(Config, #{pending => 0, delivered => 40}),
    await([{host, ?NEIGHBOUR} | Config], #{pending => 0, delivered => 40}),
    ?assertEqual(80, length(offline_post_backend:posts(Backend))),
    ?assert(offline_post_backend:accepted(Backend) =< 4),
    %% One sees that it is dead; the other knows.
    offline_post_backend:set(Backend, {reply, 503}),
    [offline_post_client:message(Clients, "sender", User ++ "@" ++ ?config(host, Config), ?TEXT) || User <- Users],
    await(Config, #{pending => 40}, fun(#{state := State}) -> State =/= healthy end),
    ?assertMatch(#{attempts := 40, state := State} when State =:= broken; State =:= probing,
                 stats([{host, ?NEIGHBOUR} | Config])),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{pending => 0, delivered => 80, state => healthy}),
    await([{host, ?NEIGHBOUR} | Config], #{pending => 0, delivered => 40, state => healthy}).

%%%

%% After at least this many failed attempts the backend does right, and the message arrives.
tried_again(Config, What, Failures) ->
    Backend = ?config(backend, Config),
    #{delivered := Delivered, attempts := Attempts} = stats(Config),
    offline_post_backend:set(Backend, What),
    say(Config),
    await(Config, #{pending => 1, delivered => Delivered, dead => 0},
          fun(#{attempts := N, retries := R}) -> N >= Attempts + Failures andalso R >= 1 end),
    offline_post_client:is_quick(?config(clients, Config), "sender"),
    ?assertEqual([], offline_post_law:violations(stats(Config))),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{pending => 0, delivered => Delivered + 1, dead => 0}).

by_recipient(#{body := <<"to=u", Status:3/binary, _/binary>>}) ->
    {reply, binary_to_integer(Status)}.

user(Status) ->
    "u" ++ integer_to_list(Status).

say(Config) ->
    offline_post_client:message(?config(clients, Config), "sender", "anna@" ++ ?config(host, Config), ?TEXT),
    %% The session goes on at once: its next request is answered.
    offline_post_client:is_quick(?config(clients, Config), "sender").

%% One message to each of N, so that the breaker of their origin soon has seen enough.
say_to_many(Config, N) ->
    {Clients, Host} = {?config(clients, Config), ?config(host, Config)},
    [begin
         User = "many" ++ integer_to_list(I),
         offline_post_node:register(?config(node, Config), User, Host, "x"),
         offline_post_client:message(Clients, "sender", User ++ "@" ++ Host, ?TEXT)
     end || I <- lists:seq(1, N)],
    offline_post_client:is_quick(Clients, "sender").

origin(Config) ->
    [Origin, _] = string:split(offline_post_backend:url(?config(backend, Config)), "/offline"),
    Origin.

%% One line of the log names this origin and, in brackets, a reason like Why.
tells_why(Config, Beginning, Why) ->
    Node = ?config(node, Config),
    offline_post_node:await_log(Node, Beginning),
    Log = offline_post_node:log(Node),
    {Start, Length} = binary:match(Log, iolist_to_binary(Beginning)),
    [Reason | _] = binary:split(binary:part(Log, Start + Length, byte_size(Log) - Start - Length), <<"\n">>),
    ct:pal("~ts~ts", [Beginning, Reason]),
    ?assertMatch({match, _}, re:run(Reason, Why, [caseless])).

%% How many lines of the log are like this.
lines(Config, Pattern) ->
    case re:run(offline_post_node:log(?config(node, Config)), Pattern, [global]) of
        {match, Lines} -> length(Lines);
        nomatch -> 0
    end.

%% Adds a line to this host's options and has ejabberd load them.
change(Config, Line) ->
    Host = ?config(host, Config),
    #{hosts := Hosts} = NodeConfig = ?config(node_config, Config),
    {Host, #{offline_post := Options}} = lists:keyfind(Host, 1, Hosts),
    [Key | _] = string:split(Line, ":"),
    Kept = [[L, "\n"] || L <- string:lexemes(Options, "\n"), string:prefix(L, [Key, ":"]) =:= nomatch],
    offline_post_node:reload(?config(node, Config),
                             NodeConfig#{hosts := lists:keyreplace(Host, 1, Hosts, {Host, #{offline_post => [Kept, Line]}})}).

await(Config, Expected) ->
    await(Config, Expected, fun(_) -> true end).

await(Config, Expected, Also) ->
    offline_post_wait:until(fun() ->
                                    Stats = stats(Config),
                                    ?assertEqual([], offline_post_law:violations(Stats)),
                                    maps:with(maps:keys(Expected), Stats) =:= Expected andalso Also(Stats)
                            end, 30000, fun() -> {Expected, stats(Config)} end).

stats(Config) ->
    offline_post_node:stats(?config(node, Config), ?config(host, Config)).

host(Case) ->
    lists:flatten(string:replace(atom_to_list(Case), "_", "-", all)) ++ ".localhost".

resident_kb(Config) ->
    {ok, Status} = file:read_file(io_lib:format("/proc/~B/status", [offline_post_node:os_pid(?config(node, Config))])),
    {match, [Kb]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, [1], binary}]),
    binary_to_integer(Kb).
