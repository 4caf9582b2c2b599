%% Many virtual hosts on one node: what they have in common is done once and said once.
-module(hosts_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([warned_once/1, reloaded/1, one_busy/1, metrics/1, status/1, gone/1, missing_library/1, many_stop/1]).

-define(HOSTS, 100).
-define(TOKEN, "token-of-all-0123456789").
%% As a line of the log names them.
-define(NAMES, "100 virtual hosts (h001.localhost, h002.localhost, h003.localhost, ...)").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [warned_once, reloaded, one_busy, metrics, status, gone, missing_library, many_stop].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Started = [{backend, Backend}, {port, offline_post_node:free_port()} | Config],
    Node = offline_post_node:start(options(Started, "")),
    [offline_post_node:register(Node, "anna", host(N), "x") || N <- lists:seq(1, ?HOSTS)],
    [{node, Node} | Started].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_backend:listen(?config(backend, Config)),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    Config.

%% At the start: two causes, with the number of virtual hosts and the first three names.
warned_once(Config) ->
    Node = ?config(node, Config),
    [offline_post_node:await_log(Node, Line) || Line <- lines()],
    ?assertEqual([1, 1], [offline_post_node:count_log(Node, Line) || Line <- lines()]),
    ?assertEqual(2, offline_post_node:count_log(Node, "[warning]") - others(Node)).

%% Nothing changed, then one option of all: nothing is said again. What is said for the first time is one line.
reloaded(Config) ->
    Node = ?config(node, Config),
    ok = offline_post_node:reload(Node, options(Config, "")),
    ok = offline_post_node:reload(Node, options(Config, "max_connections: 3\n")),
    ?assertEqual([1, 1], [offline_post_node:count_log(Node, Line) || Line <- lines()]),
    ok = offline_post_node:reload(Node, options(Config, "notify: [text, call_end]\n")),
    offline_post_node:await_log(Node, "call_end in notify has no effect for " ?NAMES),
    ?assertEqual(1, offline_post_node:count_log(Node, "call_end in notify has no effect")),
    ok = offline_post_node:reload(Node, options(Config, "")),
    ?assertEqual(?HOSTS, running(Node)).

one_busy(Config) ->
    Node = ?config(node, Config),
    [offline_post_node:route(Node, "bob@elsewhere.example/phone", ["anna@", host(7)], "Hello") || _ <- lists:seq(1, 20)],
    offline_post_backend:await(?config(backend, Config), 20),
    offline_post_wait:until(fun() -> maps:get(delivered, offline_post_node:stats(Node, host(7))) =:= 20 end),
    ?assertEqual([0], lists:usort([maps:get(accepted, offline_post_node:stats(Node, host(N))) || N <- lists:seq(8, ?HOSTS)])).

%% All are shown, with the histograms of the busy one; and with those of all where they are asked for.
metrics(Config) ->
    Histograms = fun(Query) ->
                         {ok, {{_, 200, _}, _, Page}} =
                             httpc:request(get, {lists:concat(["http://127.0.0.1:", ?config(port, Config), "/offline_post_metrics", Query]),
                                                 [{"Authorization", "Bearer " ++ ?TOKEN}]}, [{timeout, 20000}], [{body_format, binary}]),
                         Read = offline_post_scrape:read(text, Page),
                         Hosts = fun(Name) -> lists:usort([Host || {_, _, _, {Is, #{<<"vhost">> := Host}, _}} <- Read, Is =:= Name]) end,
                         ?assertEqual(?HOSTS, length(Hosts(<<"offline_post_accepted_total">>))),
                         {Hosts(<<"offline_post_attempt_duration_seconds_bucket">>), Hosts(<<"offline_post_delivery_duration_seconds_count">>)}
                 end,
    {ok, _} = application:ensure_all_started(inets),
    Busy = list_to_binary(host(7)),
    ?assertEqual({[Busy], [Busy]}, Histograms("")),
    ?assertEqual({[Busy], [Busy]}, Histograms("?idle=none")),
    {All, All} = Histograms("?idle=all"),
    ?assertEqual(?HOSTS, length(All)).

%% A line for each virtual host.
status(Config) ->
    {0, All} = offline_post_node:ctl(?config(node, Config), ["offline_post_status"]),
    Lines = string:lexemes(All, "\n"),
    ?assertEqual(?HOSTS, length([Line || Line <- Lines, string:find(Line, "mod_offline_post\thealthy") =/= nomatch])).

%% One backend of them all is gone: one line.
gone(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {reply, 410}),
    [offline_post_node:route(Node, "bob@elsewhere.example/phone", ["anna@", host(N)], "Hello") || N <- lists:seq(1, ?HOSTS)],
    offline_post_wait:until(fun() -> [paused] =:= lists:usort([maps:get(state, offline_post_node:stats(Node, host(N))) || N <- lists:seq(1, ?HOSTS)]) end),
    offline_post_node:await_log(Node, "answered 410 Gone"),
    offline_post_wait:until(fun() -> lists:sum(gone_for(Node)) =:= ?HOSTS end, 10000, fun() -> gone_for(Node) end),
    %% The answers may come in more than one second.
    ?assert(length(gone_for(Node)) =< 5),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    [ok = offline_post_node:call(Node, mod_offline_post, resume, [list_to_binary(host(N))]) || N <- lists:seq(1, ?HOSTS)],
    offline_post_wait:until(fun() -> [0] =:= lists:usort([maps:get(pending, offline_post_node:stats(Node, host(N))) || N <- lists:seq(1, ?HOSTS)]) end).

%% How many virtual hosts each line is about.
gone_for(Node) ->
    {match, Lines} = re:run(offline_post_node:log(Node), "mod_offline_post for ([^:]*): [^\n]*answered 410 Gone", [global, {capture, [1], list}]),
    [case re:run(Names, "^([0-9]+) virtual hosts", [{capture, [1], list}]) of
         {match, [Count]} -> list_to_integer(Count);
         nomatch -> length(string:lexemes(Names, ","))
     end || [Names] <- Lines].

%% A node without the native library: one error, and it serves.
missing_library(_Config) ->
    Node = offline_post_node:start(#{hosts => [{host(N), #{modules => "mod_ping: {}\n",
                                                           offline_post => "post_url: \"http://127.0.0.1:9/x\"\n"}} || N <- lists:seq(1, ?HOSTS)]}),
    Library = filename:join([offline_post_node:dir(Node), "modules", "mod_offline_post", "priv", "mod_offline_post_nif.so"]),
    0 = offline_post_node:finish(Node, init_stop),
    ok = file:delete(Library),
    Again = offline_post_node:boot(Node),
    offline_post_node:await_log(Again, "mod_offline_post: no notifications for " ?NAMES ": the native library"),
    ?assertEqual(1, offline_post_node:count_log(Again, "no notifications for")),
    ?assertMatch({0, _}, offline_post_node:ctl(Again, ["status"])),
    ?assertEqual(0, offline_post_node:stop(Again)).

%% Half of them go, then the rest with the node: no process and no thread is left behind, nothing crashes.
many_stop(Config) ->
    Node = ?config(node, Config),
    ok = offline_post_node:reload(Node, options(Config, "", ?HOSTS div 2)),
    ?assertEqual(?HOSTS div 2, running(Node)),
    ok = offline_post_node:reload(Node, options(Config, "")),
    ?assertEqual(?HOSTS, running(Node)),
    %% All of them go, and come back, in one process.
    all_modules(Node, ["stop_module"]),
    ?assertEqual([undefined, undefined], [offline_post_node:call(Node, erlang, whereis, [Name]) ||
                                             Name <- [mod_offline_post_owner, mod_offline_post_once]]),
    ?assertEqual(0, offline_post_node:threads(Node)),
    all_modules(Node, ["start_module"]),
    ?assertEqual(?HOSTS, running(Node)),
    all_modules(Node, ["stop_module", "start_module", "stop_module", "start_module"]),
    ?assertEqual(?HOSTS, running(Node)),
    {0, Status} = offline_post_node:ctl(Node, ["offline_post_status"]),
    ?assertEqual(?HOSTS, length([Line || Line <- string:lexemes(Status, "\n"), string:find(Line, "healthy") =/= nomatch])),
    ?assertEqual({0, 0}, {offline_post_node:count_log(Node, "because of a defect"), offline_post_node:count_log(Node, "crashed")}).

%%%

%% Does this to each virtual host, in one process of the node.
all_modules(Node, Functions) ->
    Each = ["[gen_mod:" ++ Function ++ "(H, mod_offline_post) || H <- ejabberd_option:hosts()]" || Function <- Functions],
    {ok, Tokens, _} = erl_scan:string(lists:append(lists:join(", ", Each)) ++ "."),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, _, _} = offline_post_node:call(Node, erl_eval, exprs, [Expressions, []]),
    ok.

%% How many do.
running(Node) ->
    length([N || N <- lists:seq(1, ?HOSTS), maps:get(state, offline_post_node:stats(Node, host(N))) =/= stopped]).

lines() ->
    ["mod_offline_post: for " ?NAMES " mod_push is loaded too", "sync_commit has no effect for " ?NAMES ", because spool is false"].

%% Warnings of ejabberd.
others(Node) ->
    length([Line || Line <- binary:split(offline_post_node:log(Node), <<"\n">>, [global]),
                    binary:match(Line, <<"[warning]">>) =/= nomatch, binary:match(Line, <<"mod_offline_post: ">>) =:= nomatch]).

options(Config, More) ->
    options(Config, More, ?HOSTS).

%% ejabberd 23.01 opens a pool of ten ODBC connections for each virtual host that a reload adds, whatever is configured.
options(Config, More, Hosts) ->
    #{top => [offline_post_scrape:handler(?config(port, Config)), "sql_pool_size: 1\n"],
      hosts => [{host(N), #{modules => "mod_offline: {}\nmod_ping: {}\nmod_push: {}\n",
                            offline_post => ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\n"
                                             "shutdown_timeout: 300 ms\nspool: false\nsync_commit: true\n"
                                             "metrics_token: " ?TOKEN "\n", More]}} || N <- lists:seq(1, Hosts)]}.

host(N) ->
    lists:flatten(io_lib:format("h~3..0B.localhost", [N])).
