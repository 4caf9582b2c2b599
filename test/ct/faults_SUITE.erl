%% What a backend can do wrong: each becomes a classified outcome, the law holds, and the sender's session notices
%% nothing. Each case has a virtual host and a backend (an origin with its own breaker) of its own.
-module(faults_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([down/1, unresolvable/1, resetting/1, silent/1, slow/1, endless/1, redirecting/1, garbage/1, huge/1, truncated/1,
         closes_idle/1, unknown_authority/1, wrong_name/1, server_errors/1, own_fault/1, configuration_fault/1, gone/1,
         retry_after/1, retry_after_date/1, full/1, breaker/1]).

-define(TOKEN, "t0k3n-of-nobody").
-define(TEXT, "words between two").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [down, unresolvable, resetting, silent, slow, endless, redirecting, garbage, huge, truncated, closes_idle,
     unknown_authority, wrong_name, server_errors, own_fault, configuration_fault, gone, retry_after, retry_after_date,
     full, breaker].

init_per_suite(Config) ->
    Dir = ?config(priv_dir, Config),
    {Tls, Authority} = offline_post_tls:server("localhost", Dir),
    {Misnamed, MisnamedAuthority} = offline_post_tls:server("elsewhere.example", Dir),
    Backends = maps:from_list(
                 [{Case, case Case of
                             unknown_authority -> offline_post_backend:start(#{tls => Tls});
                             wrong_name -> offline_post_backend:start(#{tls => Misnamed});
                             _ -> offline_post_backend:start()
                         end} || Case <- all()]),
    %% What is there to be refused by nobody: a port that was free a moment ago.
    Down = offline_post_backend:port(maps:get(down, Backends)),
    offline_post_backend:stop(maps:get(down, Backends)),
    Hosts = [{host(Case),
              #{offline_post =>
                    ["post_url: \"",
                     case Case of
                         down -> io_lib:format("http://localhost:~B/offline", [Down]);
                         unresolvable -> "http://no-such-host.invalid/offline";
                         _ -> offline_post_backend:url(maps:get(Case, Backends))
                     end,
                     "\"\nauth_token: \"" ?TOKEN "\"\ntimeout: 600 ms\nconnect_timeout: 500 ms\nshutdown_timeout: 500 ms\n",
                     case Case of
                         wrong_name -> ["ca_file: \"", MisnamedAuthority, "\"\n"];
                         full -> "queue_limit: 5\n";
                         _ -> ""
                     end]}} || Case <- all()],
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
    [offline_post_backend:stop(Backend) || {Case, Backend} <- maps:to_list(?config(backends, Config)), Case =/= down],
    %% Neither the token nor a text is in the log, whatever happened.
    ?assertEqual(nomatch, binary:match(Log, [<<?TOKEN>>, <<?TEXT>>])).

init_per_testcase(Case, Config) ->
    Node = ?config(node, Config),
    Clients = ?config(clients, Config),
    offline_post_client:take(Clients),
    Host = host(Case),
    offline_post_node:register(Node, "anna", Host, "x"),
    Backend = maps:get(Case, ?config(backends, Config)),
    Case =:= down orelse offline_post_backend:listen(Backend),
    [{host, Host}, {backend, Backend} | Config].

end_per_testcase(_Case, Config) ->
    offline_post_client:is_quick(?config(clients, Config), "sender"),
    ?assertEqual([], offline_post_law:violations(stats(Config))).

down(Config) ->
    say(Config),
    await(Config, #{pending => 1, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 1 end),
    Backend = offline_post_backend:start(#{port => ?config(down_port, Config)}),
    await(Config, #{pending => 0, delivered => 1, dead => 0}),
    offline_post_backend:stop(Backend).

unresolvable(Config) ->
    say(Config),
    await(Config, #{pending => 1, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 1 end).

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
    tried_again(Config, {delay, 5000, {reply, 200}}, 2).

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

unknown_authority(Config) ->
    say(Config),
    await(Config, #{pending => 1, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 1 end),
    ?assertEqual([], offline_post_backend:posts(?config(backend, Config))),
    change(Config, ["ca_file: \"", ?config(authority, Config), "\"\n"]),
    await(Config, #{pending => 0, delivered => 1}).

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
    change(Config, "max_connections: 63\n"),
    await(Config, #{pending => 0, delivered => 2, state => healthy}).

retry_after(Config) ->
    waits(Config, "3").

retry_after_date(Config) ->
    waits(Config, httpd_util:rfc1123_date(calendar:system_time_to_local_time(erlang:system_time(second) + 4, second))).

waits(Config, RetryAfter) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503, [{"Retry-After", RetryAfter}], <<>>}),
    say(Config),
    #{at := First} = offline_post_backend:await(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    #{at := Second} = offline_post_backend:await(Backend),
    ?assert(Second - First >= 2500),
    await(Config, #{pending => 0, delivered => 1, attempts => 2}).

%% Over the limit, new events are refused, counted and reported; the ones that wait stay.
full(Config) ->
    offline_post_backend:set(?config(backend, Config), silent),
    [say(Config) || _ <- lists:seq(1, 8)],
    await(Config, #{accepted => 5, pending => 5, rejected => 3}),
    offline_post_node:await_log(?config(node, Config), "queue_limit"),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    await(Config, #{accepted => 5, pending => 0, delivered => 5, rejected => 3}).

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
