%% What an operator has of the metrics: docs/metrics.md, followed literally; a real Prometheus that reads a real node; the
%% alerts and the dashboard in contrib/.
-module(monitoring_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([table/1, access_rule/1, alerts/1, alerts_documented/1, known_names/1, worst_node/1, prometheus/1]).

-define(HOST, "localhost").
-define(DOCUMENT, "docs/metrics.md").
-define(OPENMETRICS, "application/openmetrics-text; version=1.0.0").
%% In the document.
-define(TOKEN, "5d0c8e71b3f94a26").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [table, access_rule, alerts, alerts_documented, known_names, worst_node, prometheus].

%% The node is configured as the document says.
init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Port = offline_post_node:free_port(),
    Started = [{backend, Backend}, {port, Port} | Config],
    [Yaml] = [Text || {"yaml", "listen:" ++ _ = Text} <- blocks("Configure")],
    Node = offline_post_node:start(options(Started, Yaml)),
    offline_post_node:register(Node, "anna", ?HOST, "x"),
    [{node, Node} | Started].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

%% The document's tables are what a scrape has: names, types, units, labels.
table(Config) ->
    {ok, Text} = file:read_file(filename:join(offline_post_node:root(), ?DOCUMENT)),
    Rows = [[string:trim(Cell) || Cell <- binary:split(Row, <<"|">>, [global])] ||
               <<"| `offline_post_", _/binary>> = Row <- binary:split(Text, <<"\n">>, [global])],
    Documented = [{unquoted(Name), Type, Unit, [unquoted(Label) || Label <- binary:split(Labels, <<", ">>, [global]), Label =/= <<>>]} ||
                     [<<>>, Name, Type, Unit, Labels, <<_, _/binary>>, <<>>] <- Rows],
    ?assertEqual(length(Rows), length(Documented)),
    Shown = [{Name, case Type of <<"info">> -> <<"gauge">>; _ -> Type end, Unit, Labels} ||
                {Name, Type, Unit, Labels} <- offline_post_scrape:families(scrape(Config))],
    ?assertEqual([], Shown -- Documented),
    ?assertEqual([], Documented -- Shown).

unquoted(Text) ->
    binary:replace(Text, <<"`">>, <<>>, [global]).

%% The excerpt with an access rule, for another address and for this one.
access_rule(Config) ->
    Node = ?config(node, Config),
    [Yaml] = [Text || {"yaml", "acl:" ++ _ = Text} <- blocks("Who may see what")],
    Listen = unicode:characters_to_list(["listen:\n", offline_post_scrape:handler(?config(port, Config)), Yaml]),
    [begin
         ok = offline_post_node:reload(Node, options(Config, offline_post_document:replace(Listen, [{"192.0.2.17", Address}]))),
         ?assertMatch({Status, _, _}, offline_post_scrape:get(?config(port, Config), none))
     end || {Address, Status} <- [{"192.0.2.17", 403}, {"127.0.0.1", 200}]],
    [First] = [Text || {"yaml", "listen:" ++ _ = Text} <- blocks("Configure")],
    ok = offline_post_node:reload(Node, options(Config, First)),
    ?assertMatch({200, _, _}, offline_post_scrape:get(?config(port, Config), ?TOKEN)),
    ?assertMatch({401, _, _}, offline_post_scrape:get(?config(port, Config), none)).

%%% Alerts and dashboard

%% Each fires, and stays silent.
alerts(_Config) ->
    {0, Checked} = offline_post_scrape:promtool(["check", "rules", rules()]),
    ct:pal("~ts", [Checked]),
    {0, Tested} = offline_post_scrape:promtool(["test", "rules", tests()]),
    ct:pal("~ts", [Tested]),
    {ok, Text} = file:read_file(tests()),
    [?assertMatch({Alert, {match, _}, {match, _}},
                  {Alert, re:run(Text, ["alertname: ", Alert, ",[^\n]*exp_alerts: \\[\\]"]),
                   re:run(Text, ["alertname: ", Alert, "\n +eval_time: [^\n]*\n +exp_alerts:\n +- exp_labels"])}) || Alert <- alert_names()].

alerts_documented(_Config) ->
    Names = [string:trim(Name, both, "`") || {_, ["`OfflinePost" ++ _ = Cell | _]} <- offline_post_document:rows("docs/operations.md"),
                                             Name <- string:lexemes(Cell, ", ")],
    ?assertEqual(lists:sort(alert_names()), lists:sort(Names)).

%% What rules and dashboard ask for is there to be seen.
known_names(Config) ->
    Known = offline_post_scrape:names(scrape(Config)),
    {ok, Rules} = file:read_file(rules()),
    Named = [{From, Name} || {From, Text} <- [{rules, Rules}, {dashboard, iolist_to_binary(lists:join("\n", expressions()))}],
                             [Name] <- element(2, {match, _} = re:run(Text, "offline_post_[a-z_]*[a-z]", [global, {capture, first, binary}]))],
    ?assert(length(Named) > 40),
    ?assertEqual([], [{From, Name} || {From, Name} <- lists:usort(Named), not lists:member(Name, Known), not is_command(Name)]).

%% Texts of alerts name those.
is_command(Name) ->
    lists:member(Name, [<<"offline_post_resume">>, <<"offline_post_dead_list">>, <<"offline_post_dead_replay">>, <<"offline_post_event">>]).

%% Of several nodes the dashboard shows what wants a look: 1 healthy, 2 paused, 3 trouble, 4 stopped.
worst_node(Config) ->
    [Expression] = [asked(Expression) || "max by (vhost, module) (offline_post_endpoint_state" ++ _ = Expression <- expressions()],
    File = filename:join(?config(priv_dir, Config), "worst_node.yml"),
    ok = file:write_file(File, ["rule_files: []\ntests:\n" |
                                [["  - input_series:\n", [node_series(Node, State) || {Node, State} <- [{"n1", First}, {"n2", Second}]],
                                  "    promql_expr_test:\n      - expr: '", Expression, "'\n        exp_samples:\n"
                                  "          - {labels: '{vhost=\"a\", module=\"m\"}', value: ", Worst, "}\n"]
                                 || {First, Second, Worst} <- [{"healthy", "healthy", "1"}, {"healthy", "broken", "3"},
                                                               {"probing", "paused", "3"}, {"paused", "healthy", "2"},
                                                               {"healthy", none, "4"}]]]),
    ?assertMatch({0, _}, offline_post_scrape:promtool(["test", "rules", File])).

node_series(Node, State) ->
    Labels = ["instance=\"", Node, "\", vhost=\"a\", module=\"m\""],
    [["      - {series: 'offline_post_running{", Labels, "}', values: '", flag(State =/= none), "'}\n"] |
     [["      - {series: 'offline_post_endpoint_state{", Labels, ", state=\"", One, "\"}', values: '", flag(One =:= State), "'}\n"]
      || State =/= none, One <- ["healthy", "probing", "broken", "paused", "stopped"]]].

flag(true) -> "1";
flag(false) -> "0".

%% Configured as the document says, it reads the node, and answers whatever the dashboard asks.
prometheus(Config) ->
    Dir = filename:join(?config(priv_dir, Config), "prometheus"),
    Port = offline_post_server:free_port(),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    [Yaml] = [Text || {"yaml prometheus.yml", Text} <- blocks("Configure")],
    File = filename:join(Dir, "prometheus.yml"),
    ok = file:write_file(File, ["global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}\n",
                                offline_post_document:replace(Yaml, [{"/etc/prometheus/mod_offline_post.rules.yml", rules()},
                                                                     {"127.0.0.1:5281", "127.0.0.1:" ++ integer_to_list(?config(port, Config))}])]),
    ?assertMatch({0, _}, offline_post_scrape:promtool(["check", "config", File])),
    Prometheus = offline_post_server:start("prometheus",
                                           ["--config.file=" ++ File, "--storage.tsdb.path=" ++ filename:join(Dir, "data"),
                                            "--web.listen-address=127.0.0.1:" ++ integer_to_list(Port), "--log.level=warn"],
                                           [], #{dir => Dir, port => Port}),
    try
        observed(Config, Port)
    after
        offline_post_server:stop(Prometheus)
    end.

observed(Config, Port) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    Delivered = {values, "offline_post_delivered_total{vhost=\"" ?HOST "\"}"},
    [Before] = await(Port, Delivered, fun(Values) -> length(Values) =:= 1 end),
    [offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", "anna@" ?HOST, "x") || _ <- lists:seq(1, 7)],
    offline_post_backend:await(Backend, 7),
    After = integer_to_list(list_to_integer(Before) + 7),
    await(Port, Delivered, fun(Values) -> Values =:= [After] end),
    await(Port, {values, "offline_post_endpoint_state{state=\"healthy\"}"}, fun(Values) -> Values =:= ["1"] end),
    %% Its scrapes leave no target with an error, and its rules are evaluated.
    await(Port, {"targets", []}, fun(Targets) -> has(Targets, "\"lastError\":\"\",") end),
    Rules = await(Port, {"rules", []}, fun(Text) -> not has(Text, "\"health\":\"(unknown|err)\"") end),
    [?assertEqual({Alert, true}, {Alert, has(Rules, ["\"name\":\"", Alert, "\""])}) || Alert <- alert_names()],
    ?assertNot(has(Rules, "\"state\":\"firing\"")),
    Expressions = [asked(Expression) || Expression <- expressions()],
    ?assert(length(Expressions) > 25),
    [await(Port, {"query", [{"query", Expression}]},
           fun(Answer) -> has(Answer, "^\\{\"status\":\"success\"") andalso not has(Answer, "\"result\":\\[\\]") end) ||
        Expression <- Expressions].

%% The first answer that is so. A single one says little: after a scrape that failed no series has a value until the next.
await(Port, Question, Is) ->
    {first, Found} = offline_post_wait:until(fun() -> Answer = answer(Port, Question), Is(Answer) andalso {first, Answer} end, 20000,
                                             fun() -> {Question, answer(Port, Question), api(Port, "targets", [])} end),
    Found.

answer(Port, {values, Query}) -> values(api(Port, "query", [{"query", Query}]));
answer(Port, {What, Params}) -> api(Port, What, Params).

has(Text, Pattern) ->
    re:run(Text, Pattern, [{capture, none}]) =:= match.

%% As Grafana fills it in.
asked(Expression) ->
    offline_post_document:replace(Expression, [{"$vhost", ".*"}, {"$instance", ".*"}, {"$__rate_interval", "1m"}]).

%% Of an instant query.
values(Answer) ->
    case re:run(Answer, "\"value\":\\[[0-9.e+]+,\"([^\"]+)\"\\]", [global, {capture, [1], list}]) of
        {match, Values} -> [Value || [Value] <- Values];
        nomatch -> []
    end.

api(Port, What, Params) ->
    {ok, _} = application:ensure_all_started(inets),
    Url = lists:flatten(io_lib:format("http://127.0.0.1:~B/api/v1/~ts?~ts", [Port, What, uri_string:compose_query(Params)])),
    {ok, {{_, _, _}, _, Body}} = httpc:request(get, {Url, []}, [{timeout, 20000}], [{body_format, binary}]),
    Body.

%%%

blocks(Section) ->
    [Blocks] = [Blocks || {Title, Blocks} <- offline_post_document:sections(?DOCUMENT), Title =:= Section],
    Blocks.

%% A node with what an excerpt of ejabberd.yml says; the listener at our port.
options(Config, "listen:\n" ++ Yaml) ->
    [Top, Modules] = string:split(Yaml, "\nmodules:\n"),
    Url = offline_post_backend:url(?config(backend, Config)),
    #{top => [offline_post_document:replace(Top, [{"port: 5281", "port: " ++ integer_to_list(?config(port, Config))}]), "\n"],
      hosts => [{?HOST, #{modules => ["mod_offline: {}\nmod_ping: {}\n",
                                      offline_post_document:modules("modules:\n" ++ Modules, [], [{"https://backend.example.org/offline", Url}])]}}]}.

scrape(Config) ->
    {200, _, Page} = offline_post_scrape:get_all(?config(port, Config), ?TOKEN, ?OPENMETRICS),
    offline_post_scrape:read(openmetrics, Page).

rules() -> filename:join([offline_post_node:root(), "contrib", "prometheus", "mod_offline_post.rules.yml"]).
tests() -> filename:join([offline_post_node:root(), "contrib", "prometheus", "mod_offline_post.rules.test.yml"]).

alert_names() ->
    {ok, Text} = file:read_file(rules()),
    {match, Names} = re:run(Text, "- alert: ([A-Za-z]+)", [global, {capture, [1], list}]),
    [Name || [Name] <- Names].

%% The dashboard's queries. Python reads it as any JSON.
expressions() ->
    Dashboard = filename:join([offline_post_node:root(), "contrib", "grafana", "mod_offline_post.json"]),
    Said = os:cmd("/usr/bin/python3 -c 'import json, sys\n"
                  "for panel in json.load(open(sys.argv[1]))[\"panels\"]:\n"
                  "    for target in panel.get(\"targets\", []): print(target[\"expr\"])' " ++ Dashboard),
    string:lexemes(Said, "\n").
