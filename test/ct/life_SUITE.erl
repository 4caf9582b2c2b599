%% Start, stop, reload, upgrade and every way to end: nothing is left behind, nothing waits for long, the VM never
%% crashes.
-module(life_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([cycles/1, stop_drains/1, stop_is_bounded/1, stops_share_a_deadline/1, owner_killed/1,
         owner_killed_without_stubs/1, code_replaced/1, library_purged/1, node_stops/1, node_stops_with_silent_backend/1, node_halts/1, halts/1]).

-define(HOSTS, ["one.localhost", "two.localhost", "three.localhost"]).
-define(SHUTDOWN_MS, 1000).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [cycles, stop_drains, stop_is_bounded, stops_share_a_deadline, owner_killed, owner_killed_without_stubs,
     code_replaced, library_purged,
     node_stops, node_stops_with_silent_backend, node_halts, halts].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Options = ["post_url: \"", offline_post_backend:url(Backend), "\"\ntimeout: 5 s\n",
               "shutdown_timeout: ", integer_to_list(?SHUTDOWN_MS), " ms\n"],
    Node = offline_post_node:start(#{hosts => [{Host, #{offline_post => Options}} || Host <- ?HOSTS]}),
    [offline_post_node:register(Node, "anna" ++ integer_to_list(N), Host, "x") || Host <- ?HOSTS, N <- lists:seq(1, 20)],
    [{node, Node}, {backend, Backend} | Config].

end_per_suite(Config) ->
    offline_post_node:cleanup(?config(node, Config)),
    offline_post_backend:stop(?config(backend, Config)).

%% Some cases end the node: each that finds none boots it again.
init_per_testcase(_Case, Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Node = case offline_post_node:current(?config(node, Config)) of
               {up, Running} -> Running;
               {down, Ended} -> offline_post_node:boot(Ended)
           end,
    lists:keystore(node, 1, Config, {node, Node}).

end_per_testcase(_Case, Config) ->
    case offline_post_node:current(?config(node, Config)) of
        {up, Node} ->
            offline_post_backend:set(?config(backend, Config), {reply, 200}),
            [start(Node, Host) || Host <- ?HOSTS, #{state := stopped} <- [offline_post_node:stats(Node, Host)]],
            settle(Node);
        {down, _} ->
            ok
    end.

%% 200 restarts and reloads, with messages on their way, leave neither thread nor descriptor.
cycles(Config) ->
    Node = ?config(node, Config),
    cycle(Node, 10),
    stop_all(Node),
    ?assertEqual(0, offline_post_node:threads(Node)),
    Descriptors = offline_post_node:descriptors(Node),
    start_all(Node),
    cycle(Node, 200),
    %% The service's and the storage's.
    ?assertEqual(2, offline_post_node:threads(Node)),
    stop_all(Node),
    ?assertEqual(0, offline_post_node:threads(Node)),
    %% None more; the VM's own come and go, on later releases also some of the first sort.
    ?assertEqual([], offline_post_node:descriptors(Node) -- Descriptors),
    start_all(Node).

cycle(Node, N) ->
    Options = [{Host, element(2, lists:keyfind(mod_offline_post, 1, offline_post_node:call(Node, gen_mod, loaded_modules_with_opts, [list_to_binary(Host)])))}
               || Host <- ?HOSTS],
    [begin
         Host = lists:nth(1 + I rem 3, ?HOSTS),
         say(Node, Host, "anna1"),
         case I rem 4 of
             0 -> stop_all(Node), start_all(Node);
             _ ->
                 stop(Node, Host), start(Node, Host),
                 Opts = proplists:get_value(Host, Options),
                 ok = offline_post_node:call(Node, mod_offline_post, reload, [list_to_binary(Host), Opts, Opts])
         end
     end || I <- lists:seq(1, N)].

%% What is queued for a backend that answers is delivered before a stop returns.
stop_drains(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {delay, 20, {reply, 200}}),
    [say(Node, "one.localhost", "anna" ++ integer_to_list(I)) || I <- lists:seq(1, 20), _ <- [1, 2, 3]],
    Before = length(offline_post_backend:posts(?config(backend, Config))),
    stop(Node, "one.localhost"),
    ?assertEqual(60, Before + length(offline_post_backend:posts(?config(backend, Config)))),
    ?assertEqual(0, offline_post_node:count_log(Node, "not delivered yet")).

%% A backend that does not answer holds a stop for shutdown_timeout; what is left waits for the next start.
stop_is_bounded(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), silent),
    [say(Node, "one.localhost", "anna" ++ integer_to_list(I)) || I <- lists:seq(1, 5)],
    offline_post_backend:await(?config(backend, Config), 5),
    Ms = elapsed(fun() -> stop(Node, "one.localhost") end),
    ?assert(Ms >= ?SHUTDOWN_MS - 50),
    ?assert(Ms < ?SHUTDOWN_MS + 700),
    offline_post_node:await_log(Node, "5 messages for one.localhost are not delivered yet: they wait on disk for the next start"),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    start(Node, "one.localhost"),
    offline_post_backend:await(?config(backend, Config), 5),
    settle(Node).

%% Three hosts, one deadline.
stops_share_a_deadline(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), silent),
    [say(Node, Host, "anna1") || Host <- ?HOSTS],
    offline_post_backend:await(?config(backend, Config), 3),
    Ms = elapsed(fun() -> stop_all(Node) end),
    ?assert(Ms < ?SHUTDOWN_MS + 1000),
    ?assertEqual(0, offline_post_node:threads(Node)).

%% Delivery goes on without the owner; its successor logs again.
owner_killed(Config) ->
    Node = ?config(node, Config),
    Backend = ?config(backend, Config),
    [begin
         Owner = offline_post_node:call(Node, erlang, whereis, [mod_offline_post_owner]),
         true = offline_post_node:call(Node, erlang, exit, [Owner, kill]),
         say(Node, "one.localhost", "anna1"),
         offline_post_backend:await(Backend),
         offline_post_wait:until(fun() ->
                                         New = offline_post_node:call(Node, erlang, whereis, [mod_offline_post_owner]),
                                         is_pid(New) andalso New =/= Owner
                                 end)
     end || _ <- lists:seq(1, 5)],
    offline_post_backend:set(Backend, {reply, 410}),
    say(Node, "two.localhost", "anna1"),
    offline_post_node:await_log(Node, "410"),
    offline_post_backend:set(Backend, {reply, 200}),
    ok = offline_post_node:call(Node, mod_offline_post, resume, [<<"two.localhost">>]).

%% An owner that cannot attach must not end again and again: its supervisor would give up, and take every module of
%% the server with it. It attaches when there is something to attach to.
owner_killed_without_stubs(Config) ->
    Node = ?config(node, Config),
    Backend = ?config(backend, Config),
    %% The beam, since a library that was loaded once stays, whatever becomes of its file.
    Beam = filename:join(offline_post_node:dir(Node), "modules/mod_offline_post/ebin/mod_offline_post_nif.beam"),
    Pid = fun(Name) -> offline_post_node:call(Node, erlang, whereis, [Name]) end,
    [Supervisor, Owner] = [Pid(Name) || Name <- [ejabberd_gen_mod_sup, mod_offline_post_owner]],
    ok = file:rename(Beam, Beam ++ ".away"),
    offline_post_node:call(Node, code, delete, [mod_offline_post_nif]),
    offline_post_node:call(Node, code, purge, [mod_offline_post_nif]),
    true = offline_post_node:call(Node, erlang, exit, [Owner, kill]),
    offline_post_wait:until(fun() -> is_pid(Pid(mod_offline_post_owner)) andalso Pid(mod_offline_post_owner) =/= Owner end),
    Next = Pid(mod_offline_post_owner),
    ?assertError({exception, undef, _}, offline_post_node:call(Node, mod_offline_post_nif, info, [])),
    ?assertEqual({Supervisor, Next}, {Pid(ejabberd_gen_mod_sup), Pid(mod_offline_post_owner)}),
    ok = file:rename(Beam ++ ".away", Beam),
    Paused = offline_post_node:count_log(Node, "answered 410 Gone"),
    offline_post_backend:set(Backend, {reply, 410}),
    say(Node, "two.localhost", "anna1"),
    offline_post_wait:until(fun() -> offline_post_node:count_log(Node, "answered 410 Gone") > Paused end),
    ?assertEqual({Supervisor, Next}, {Pid(ejabberd_gen_mod_sup), Pid(mod_offline_post_owner)}),
    offline_post_backend:set(Backend, {reply, 200}),
    ok = offline_post_node:call(Node, mod_offline_post, resume, [<<"two.localhost">>]).

%% The gen_mod and its helpers may be replaced under load; the module with the native library says no and stays.
code_replaced(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {delay, 5, {reply, 200}}),
    busy(Node, fun() ->
                       [begin
                            [begin
                                 offline_post_node:call(Node, code, soft_purge, [Module]),
                                 {module, Module} = offline_post_node:call(Node, code, load_file, [Module]),
                                 offline_post_node:call(Node, code, purge, [Module])
                             end || Module <- offline_post_node:modules(), Module =/= mod_offline_post_nif],
                            offline_post_node:call(Node, code, soft_purge, [mod_offline_post_nif]),
                            {error, on_load_failure} = offline_post_node:call(Node, code, load_file, [mod_offline_post_nif]),
                            offline_post_node:call(Node, code, purge, [mod_offline_post_nif])
                        end || _ <- lists:seq(1, 10)]
               end),
    ?assertMatch(#{hook_crashes := 0}, offline_post_node:stats(Node, "one.localhost")).

%% The worst: deleted and purged under load, with a thread inside. What comes while no module is there is a caught
%% crash, and a restart of the module mends what is left of it, with the backlog in place.
library_purged(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {delay, 5, {reply, 200}}),
    Sender = start_sending(Node),
    [begin
         offline_post_node:call(Node, code, delete, [mod_offline_post_nif]),
         offline_post_node:call(Node, code, purge, [mod_offline_post_nif])
     end || _ <- lists:seq(1, 10)],
    N = stop_sending(Sender),
    ?assert(N > 0),
    stop_all(Node),
    start_all(Node),
    ?assertEqual(ok, offline_post_node:call(Node, mod_offline_post_nif, status, [])),
    settle(Node),
    ?assert(offline_post_node:is_alive(Node)).

node_stops(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {delay, 10, {reply, 200}}),
    [say(Node, Host, "anna" ++ integer_to_list(I)) || Host <- ?HOSTS, I <- lists:seq(1, 20)],
    ?assertEqual(0, offline_post_node:finish(Node, init_stop)),
    ?assertEqual(60, length(offline_post_backend:posts(?config(backend, Config)))).

node_stops_with_silent_backend(Config) ->
    Node = ?config(node, Config),
    Idle = elapsed(fun() -> ?assertEqual(0, offline_post_node:finish(Node, init_stop)) end),
    Again = offline_post_node:boot(Node),
    offline_post_backend:set(?config(backend, Config), silent),
    [say(Again, Host, "anna1") || Host <- ?HOSTS],
    offline_post_backend:await(?config(backend, Config), 3),
    %% What is in flight then is sent again by the next start.
    Busy = elapsed(fun() -> ?assertEqual(0, offline_post_node:finish(Again, init_stop)) end),
    ct:pal("stopped in ~B ms, idle in ~B ms", [Busy, Idle]),
    ?assert(Busy - Idle < ?SHUTDOWN_MS + 1500).

%% halt() takes no leave of anybody.
node_halts(Config) ->
    Node = ?config(node, Config),
    lists:foldl(fun(_, Running) ->
                        offline_post_backend:set(?config(backend, Config), {delay, 20, {reply, 200}}),
                        [say(Running, Host, "anna" ++ integer_to_list(I)) || Host <- ?HOSTS, I <- lists:seq(1, 20)],
                        ?assertEqual(0, offline_post_node:finish(Running, abrupt)),
                        offline_post_node:boot(Running)
                end, Node, lists:seq(1, 3)),
    ok.

%% 60 VMs that halt, and 20 that stop, while the thread is in the middle of TLS handshakes and transfers.
halts(Config) ->
    Dir = ?config(priv_dir, Config),
    {Tls, Authority} = offline_post_tls:server("localhost", Dir),
    Backend = offline_post_backend:start(#{tls => Tls}),
    offline_post_backend:set(Backend, fun(_) -> {delay, rand:uniform(10), {reply, 200}} end),
    Url = offline_post_backend:url(Backend),
    Bad = [{N, Status, Output} || N <- lists:seq(1, 80, 2), {Status, Output} <- both(N, Url, Authority, Dir), Status =/= 0],
    ?assertEqual([], Bad),
    offline_post_backend:stop(Backend).

%% Two at a time.
both(N, Url, Authority, Dir) ->
    Ports = [offline_post_port:open(os:find_executable("erl"),
                                    ["-noinput", "-boot", "start_clean", "-pa", filename:dirname(code:which(mod_offline_post)),
                                     "-pa", filename:dirname(code:which(?MODULE)),
                                     "-run", "offline_post_halt", "main", Url, Authority, spool(Dir, M), integer_to_list(M)],
                                    [stderr_to_stdout, {cd, "/tmp"}, {env, [{"ERL_CRASH_DUMP_SECONDS", "0"}]}]) || M <- [N, N + 1]],
    [{offline_post_port:await_exit(Port, 30000), offline_post_port:output(Port)} || Port <- Ports].

%% A VM's own.
spool(Dir, N) ->
    Spool = filename:join(Dir, "halt" ++ integer_to_list(N)),
    ok = file:make_dir(Spool),
    Spool.

%%%

%% Runs Do while messages flow, and checks that each of them arrives.
busy(Node, Do) ->
    #{delivered := Before, accepted := Accepted} = offline_post_node:stats(Node, "one.localhost"),
    Sender = start_sending(Node),
    Do(),
    N = stop_sending(Sender),
    ?assert(N > 0),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, "one.localhost")) =:= 0 end),
    #{delivered := After, accepted := AcceptedAfter} = offline_post_node:stats(Node, "one.localhost"),
    ?assertEqual({N, N}, {AcceptedAfter - Accepted, After - Before}),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, "one.localhost"))).

start_sending(Node) ->
    Parent = self(),
    spawn_link(fun() -> keep_sending(Node, Parent, 0) end).

%% How many messages were sent.
stop_sending(Sender) ->
    Sender ! {stop, self()},
    receive {Sender, Sent} -> Sent end.

keep_sending(Node, Parent, N) ->
    receive
        {stop, Parent} -> Parent ! {self(), N}
    after 0 ->
        say(Node, "one.localhost", "anna" ++ integer_to_list(1 + N rem 20)),
        keep_sending(Node, Parent, N + 1)
    end.

say(Node, Host, User) ->
    offline_post_node:route(Node, "bob@elsewhere.example/phone", [User, "@", Host], "text").

stop(Node, Host) ->
    ok = offline_post_node:call(Node, gen_mod, stop_module, [list_to_binary(Host), mod_offline_post]).

start(Node, Host) ->
    ok = offline_post_node:call(Node, gen_mod, start_module, [list_to_binary(Host), mod_offline_post]).

stop_all(Node) ->
    [stop(Node, Host) || Host <- ?HOSTS].

start_all(Node) ->
    [start(Node, Host) || Host <- ?HOSTS].

settle(Node) ->
    [offline_post_wait:until(fun() ->
                                     Stats = offline_post_node:stats(Node, Host),
                                     ?assertEqual([], offline_post_law:violations(Stats)),
                                     maps:get(pending, Stats) =:= 0
                             end) || Host <- ?HOSTS],
    ok.

elapsed(Do) ->
    {Microseconds, _} = timer:tc(Do),
    Microseconds div 1000.
