%% Prowl and ZeroPush: the configurations of docs/switching.md against servers that speak their APIs, and what becomes
%% of each
%% of their errors.
-module(push_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([prowl_takes_it/1, prowl_bad_key/1, prowl_too_long/1, prowl_limit/1, prowl_fails/1, zeropush_takes_it/1,
         zeropush_notify/1, zeropush_bad_token/1, zeropush_nothing_to_say/1, zeropush_fails/1]).

-define(KEY, "0123456789abcdef0123456789abcdef01234567").
-define(TOKEN, "s3cret").
-define(PROWL, "https://api.prowlapp.com").
-define(ZEROPUSH, "https://api.zeropush.com").
-define(TIMEOUT, 20000).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [prowl_takes_it, prowl_bad_key, prowl_too_long, prowl_limit, prowl_fails, zeropush_takes_it, zeropush_notify,
     zeropush_bad_token, zeropush_nothing_to_say, zeropush_fails].

%% A server and a virtual host for each case.
init_per_suite(Config) ->
    Servers = [{Case, server(Case)} || Case <- all()],
    Node = offline_post_node:start(hosts(Servers, fun(_Case, Yaml) -> Yaml end)),
    [offline_post_node:register(Node, User, host(Case), "x") || Case <- all(), User <- ["juliet", "nurse"]],
    [{node, Node}, {servers, Servers} | Config].

hosts(Servers, Change) ->
    #{hosts => [{host(Case), #{modules => ["mod_offline: {}\n", Change(Case, yaml(Case, Port))]}} ||
                   {Case, {_, Port}} <- Servers]}.

%% As it is in the document, but for where the service is, and shorter waits.
yaml(Case, Port) ->
    {Title, Origin} = case is_prowl(Case) of
                          true -> {"mod_offline_prowl", ?PROWL};
                          false -> {"mod_zeropush", ?ZEROPUSH}
                      end,
    [Yaml] = [Y || {T, Y, _} <- offline_post_document:examples("docs/switching.md"), T =:= Title],
    Words = [{Origin, "http://localhost:" ++ integer_to_list(Port)}],
    offline_post_document:modules(Yaml, [], Words) ++ "  retry_schedule: [100 ms]\n  shutdown_timeout: 300 ms\n".

is_prowl(Case) -> lists:prefix("prowl", atom_to_list(Case)).

host(Case) ->
    lists:flatten(string:replace(atom_to_list(Case), "_", "-", all)) ++ ".localhost".

server(Case) ->
    {Script, Argument} = case is_prowl(Case) of true -> {"prowl.py", ?KEY}; false -> {"zeropush.py", ?TOKEN} end,
    Port = offline_post_port:open(filename:join([offline_post_node:root(), "test", "support", Script]), [Argument],
                                  [{line, 65536}]),
    "listening " ++ Number = line(Port),
    {Port, list_to_integer(Number)}.

end_per_suite(Config) ->
    0 = offline_post_node:stop(?config(node, Config)),
    [begin offline_post_port:take(Port), port_close(Port) end || {_, {Port, _}} <- ?config(servers, Config)].

init_per_testcase(Case, Config) ->
    {Port, _} = proplists:get_value(Case, ?config(servers, Config)),
    [{server, offline_post_port:take(Port)}, {'case', Case} | Config].

end_per_testcase(_Case, Config) ->
    ?assertEqual([], offline_post_law:violations(stats(Config))).

%%% Prowl

prowl_takes_it(Config) ->
    say(Config, "juliet", "50% & \"more\"\n🌹"),
    ?assertEqual("pushed [\"/publicapi/add\", [[\"apikey\", \"" ?KEY "\"], [\"application\", \"Midnight Web\"], "
                 "[\"event\", \"New Chat\"], "
                 "[\"description\", \"romeo@verona.example\\n50% & \\\"more\\\"\\n\\ud83c\\udf39\"], "
                 "[\"priority\", \"-1\"], [\"url\", \"xmpp:romeo@verona.example\"]]]", heard(Config)),
    await(Config, #{delivered => 1}).

%% Nothing is lost until the key is right, which a reload brings.
prowl_bad_key(Config) ->
    reload(Config, fun(Yaml) -> string:replace(Yaml, ?KEY, lists:reverse(?KEY)) end),
    say(Config, "juliet", "x"),
    ?assertEqual(["error 401", "error 401"], [heard(Config), heard(Config)]),
    ?assertMatch(#{pending := 1, dead := 0}, stats(Config)),
    reload(Config, fun(Yaml) -> Yaml end),
    ?assertMatch("pushed " ++ _, heard_past(Config, "error 401")),
    await(Config, #{delivered => 1, dead => 0}).

%% This message's own fault: given up at once, with what Prowl said.
prowl_too_long(Config) ->
    say(Config, "juliet", lists:duplicate(10001, $x)),
    ?assertEqual("error 400", heard(Config)),
    await(Config, #{dead => 1}),
    ?assertMatch(#{reason := <<"HTTP 400", _/binary>>}, dead_letter(Config)),
    ?assertMatch({match, _}, re:run(maps:get(answer, dead_letter(Config)),
                                    "<error code=\"400\">Bad request: description is too long")).

%% Nobody gets through: all wait.
prowl_limit(Config) ->
    tell(Config, "LIMIT 0"),
    [say(Config, User, "x") || User <- ["juliet", "nurse"]],
    ?assertEqual(["error 406" || _ <- lists:seq(1, 4)], [heard(Config) || _ <- lists:seq(1, 4)]),
    ?assertMatch(#{pending := 2, dead := 0}, stats(Config)),
    tell(Config, "LIMIT 10"),
    await(Config, #{delivered => 2, dead => 0}).

prowl_fails(Config) ->
    tell(Config, "FAIL 2"),
    say(Config, "juliet", "x"),
    ["error 500", "error 500", "pushed " ++ _] = [heard(Config) || _ <- lists:seq(1, 3)],
    await(Config, #{delivered => 1, dead => 0}).

%%% ZeroPush

zeropush_takes_it(Config) ->
    say(Config, "juliet", "50% & \"more\""),
    ?assertEqual("pushed [\"/broadcast/\", [[\"alert\", \"50% & \\\"more\\\"\"], [\"badge\", \"+1\"], "
                 "[\"sound\", \"default\"], "
                 "[\"channel\", \"juliet\"], [\"info[from]\", \"romeo\"], [\"auth_token\", \"" ?TOKEN "\"]]]",
                     heard(Config)),
    await(Config, #{delivered => 1}).

zeropush_notify(Config) ->
    reload(Config, fun(Yaml) ->
        string:replace(string:replace(Yaml, "/broadcast/", "/notify"), "channel: \"{{to.user}}\"",
                       "device_tokens: [\"abc\", \"def\"]")
    end),
    say(Config, "juliet", "x"),
    ?assertMatch({match, _}, re:run(heard(Config), "^pushed .\"/notify\".*\\[\"device_tokens\\[\\]\", \"abc\"\\], "
                                    "\\[\"device_tokens\\[\\]\", \"def\"\\]")),
    await(Config, #{delivered => 1}).

zeropush_bad_token(Config) ->
    reload(Config, fun(Yaml) -> string:replace(Yaml, "\"" ?TOKEN "\"", "\"wrong\"") end),
    say(Config, "juliet", "x"),
    ?assertEqual(["error 401", "error 401"], [heard(Config), heard(Config)]),
    reload(Config, fun(Yaml) -> Yaml end),
    ?assertMatch("pushed " ++ _, heard_past(Config, "error 401")),
    await(Config, #{delivered => 1, dead => 0}).

zeropush_nothing_to_say(Config) ->
    reload(Config, fun(Yaml) -> string:replace(Yaml, "badge: \"+1\"", "badge: many") end),
    say(Config, "juliet", "x"),
    ?assertEqual("error 400", heard(Config)),
    await(Config, #{dead => 1}),
    ?assertMatch({match, _}, re:run(maps:get(answer, dead_letter(Config)), "badge must be a number")).

zeropush_fails(Config) ->
    tell(Config, "FAIL 1"),
    say(Config, "juliet", "x"),
    ["error 500", "pushed " ++ _] = [heard(Config) || _ <- [1, 2]],
    await(Config, #{delivered => 1, dead => 0}).

%%%

say(Config, User, Text) ->
    offline_post_node:route(?config(node, Config), "romeo@verona.example/balcony",
                            [User, "@", host(?config('case', Config))],
                            offline_post_client:escape(Text)).

%% The next line of the case's server.
heard(Config) ->
    line(?config(server, Config)).

heard_past(Config, Word) ->
    case heard(Config) of
        Word -> heard_past(Config, Word);
        Other -> Other
    end.

line(Server) ->
    receive {Server, {data, {eol, Line}}} -> binary_to_list(Line)
    after ?TIMEOUT -> ct:fail(nothing_heard)
    end.

%% What was heard before it is forgotten.
tell(Config, Line) ->
    true = port_command(?config(server, Config), [Line, $\n]),
    "done" = until_done(Config).

until_done(Config) ->
    case heard(Config) of
        "done" -> "done";
        _ -> until_done(Config)
    end.

reload(Config, Change) ->
    Case = ?config('case', Config),
    ok = offline_post_node:reload(?config(node, Config),
                                  hosts(?config(servers, Config), fun(C, Yaml) when C =:= Case -> Change(Yaml);
                                                                     (_, Yaml) -> Yaml
                                                                  end)).

stats(Config) ->
    offline_post_node:stats(?config(node, Config), host(?config('case', Config))).

await(Config, Expected) ->
    offline_post_wait:until(fun() -> maps:with(maps:keys(Expected), stats(Config)) =:= Expected end, ?TIMEOUT,
                            fun() -> {Expected, stats(Config)} end).

dead_letter(Config) ->
    {Node, Host} = {?config(node, Config), list_to_binary(host(?config('case', Config)))},
    {ok, [#{id := Id}], undefined} = offline_post_node:call(Node, mod_offline_post, dead_letters, [Host, all, 0, 10]),
    {ok, Letter} = offline_post_node:call(Node, mod_offline_post, dead_letter, [Host, Id]),
    Letter.
