%% A virtual host and a backend for each case of a suite, on one node that a case may end and boot again.
-module(offline_post_case).

-export([start/2, finish/1, init/2, check/1, reload/2, configure/2, current/1, booted/1, say/3, stats/1, await/2, dead_letters/1]).
-export([user/1, text/1, id/1, field/2]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(RECIPIENTS, 10).

%% Options: of a case, as YAML, beside its URL. Recipients are user(0) to user(10), on each host.
start(Cases, Options) ->
    Backends = maps:from_list([{Case, offline_post_backend:start()} || Case <- Cases]),
    Hosts = [{backends, Backends}, {options, Options}],
    Node = offline_post_node:start(node_config(Hosts, #{})),
    [offline_post_node:register(Node, user(N), host(Case), [user(N), "-password"]) || Case <- Cases, N <- lists:seq(0, ?RECIPIENTS)],
    %% Mnesia's log is written with a delay, and some cases kill the node.
    dumped = offline_post_node:call(Node, mnesia, dump_log, []),
    [{node, Node} | Hosts].

finish(Config) ->
    offline_post_node:cleanup(?config(node, Config)),
    [offline_post_backend:stop(Backend) || Backend <- maps:values(?config(backends, Config))].

%% Each case finds a node that runs, whatever the one before has made of it.
init(Case, Config) ->
    Node = case offline_post_node:current(?config(node, Config)) of
               {up, Running} -> Running;
               {down, Ended} -> offline_post_node:boot(Ended)
           end,
    Backend = maps:get(Case, ?config(backends, Config)),
    offline_post_backend:listen(Backend),
    lists:keystore(node, 1, [{host, host(Case)}, {backend, Backend} | Config], {node, Node}).

%% After a case: all is accounted for, and nothing waits. The backend may have a request whose answer is on its way.
check(Config) ->
    await(Config, #{pending => 0}),
    Stats = stats(Config),
    ?assertEqual([], offline_post_law:violations(Stats)),
    ?assertMatch(#{pending := 0, spool := durable, hook_crashes := 0}, Stats).

%% Paths: where a case's URL is to have another than usual.
configure(Config, Paths) ->
    offline_post_node:configure(current(Config), node_config(Config, Paths)).

reload(Config, Paths) ->
    ok = offline_post_node:reload(current(Config), node_config(Config, Paths)).

node_config(Config, Paths) ->
    {Backends, Options} = {?config(backends, Config), ?config(options, Config)},
    #{hosts => [{host(Case), #{modules => "mod_offline: {}\nmod_ping: {}\nmod_stream_mgmt: {}\n"
                               "mod_muc:\n  default_room_options:\n    allow_subscription: true\n",
                               offline_post => ["post_url: \"", offline_post_backend:url(Backend, maps:get(Case, Paths, "/offline")),
                                                "\"\nshutdown_timeout: 300 ms\n", Options(Case)]}} ||
                   {Case, Backend} <- maps:to_list(Backends)]}.

booted(Config) ->
    offline_post_node:boot(current(Config)),
    ok.

current(Config) ->
    {_, Node} = offline_post_node:current(?config(node, Config)),
    Node.

say(Config, User, Text) ->
    offline_post_node:route(current(Config), "bob@elsewhere.example/phone", [User, "@", ?config(host, Config)], Text).

stats(Config) ->
    case offline_post_node:stats(current(Config), ?config(host, Config)) of
        undefined -> ct:fail({does_not_run, offline_post_node:log(current(Config))});
        Stats -> Stats
    end.

await(Config, Expected) ->
    offline_post_wait:until(fun() -> maps:with(maps:keys(Expected), stats(Config)) =:= Expected end, 20000,
                            fun() -> {Expected, stats(Config)} end).

%% All of them, in pages.
dead_letters(Config) ->
    dead_letters(Config, 0).

dead_letters(_Config, undefined) ->
    [];
dead_letters(Config, After) ->
    {ok, Letters, Next} = offline_post_node:call(current(Config), mod_offline_post, dead_letters,
                                                 [list_to_binary(?config(host, Config)), all, After, 1000]),
    Letters ++ dead_letters(Config, Next).

host(Case) ->
    lists:flatten(string:replace(atom_to_list(Case), "_", "-", all)) ++ ".localhost".

user(N) ->
    "u" ++ integer_to_list(N).

text(Post) -> field(<<"body">>, Post).

id(#{headers := Headers}) -> proplists:get_value(<<"webhook-id">>, Headers).

field(Name, #{body := Body}) -> proplists:get_value(Name, uri_string:dissect_query(Body)).
