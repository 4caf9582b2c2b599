%% What Prometheus is shown of a real node, over HTTP: who may see it, that it is true, and that it breaks no rule of the
%% format. What is made of it: monitoring_SUITE.
-module(metrics_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([nothing_unless_configured/1, who_may_see/1, methods/1, formats/1, promtool/1, equal_to_stats/1, law_under_load/1,
         faults/1, hook_cost/1, sync_commit/1, presence/1, not_running/1, defect/1, secrets/1]).

-define(ONE, "one.localhost").
-define(TWO, "two.localhost").
-define(TOKEN, "token-of-one-0123456789").
-define(OTHER, "token-of-two-0123456789").
-define(TEXT, "Gruesse an alle").
-define(OPENMETRICS, "application/openmetrics-text; version=1.0.0").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [nothing_unless_configured, who_may_see, methods, formats, promtool, equal_to_stats, law_under_load, faults, hook_cost,
     sync_commit, presence, not_running, defect, secrets].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Port = offline_post_node:free_port(),
    Started = [{backend, Backend}, {port, Port} | Config],
    Node = offline_post_node:start(options(Started, token(?TOKEN), token(?OTHER))),
    [offline_post_node:register(Node, User, Host, "x") || User <- ["anna" | users()], Host <- [?ONE, ?TWO]],
    [{node, Node} | Started].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_backend:listen(?config(backend, Config)),
    offline_post_backend:set(?config(backend, Config), fun by_text/1),
    load(Config, token(?TOKEN), token(?OTHER)),
    Config.

%% Nothing is left for the next one.
end_per_testcase(_Case, Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    [begin
         ok = offline_post_node:call(?config(node, Config), mod_offline_post, resume, [list_to_binary(Host)]),
         settled(Config, Host),
         {ok, _} = offline_post_node:call(?config(node, Config), mod_offline_post, drop_dead_letters, [list_to_binary(Host), all]),
         ?assertEqual([], offline_post_law:violations(stats(Config, Host)))
     end || Host <- [?ONE, ?TWO], stats(Config, Host) =/= undefined].

%%% Who may see it

nothing_unless_configured(Config) ->
    load(Config, "", ""),
    [?assertMatch({404, #{"content-type" := "text/plain"}, <<"404: there is nothing here\n">>}, get(Config, Token)) ||
        Token <- [none, ?TOKEN, ?OTHER]],
    load(Config, "metrics_token: none\nmetrics_access: none\n", ""),
    ?assertMatch({404, _, _}, get(Config, ?TOKEN)),
    load(Config, "", token(?OTHER)),
    ?assertEqual([<<?TWO>>], vhosts(get(Config, ?OTHER))).

%% Each virtual host asks for what its own options say; a page shows those that got it.
who_may_see(Config) ->
    Near = "metrics_access: near\n", Far = "metrics_access: far\n",
    [begin
         load(Config, One, Two),
         Got = get(Config, Token),
         ?assertEqual({One, Two, Token, Expected}, {One, Two, Token, case Got of
                                                                        {200, _, _} -> vhosts(Got);
                                                                        {Status, _, _} -> Status
                                                                    end}),
         {_, Headers, Body} = Got,
         ?assertEqual(Expected =:= 401, maps:is_key("www-authenticate", Headers)),
         ?assertEqual(is_list(Expected), binary:match(Body, <<"offline_post_">>) =/= nomatch)
     end || {One, Two, Token, Expected} <-
                [{token(?TOKEN), token(?OTHER), none, 401}, {token(?TOKEN), token(?OTHER), "wrong", 401},
                 {token(?TOKEN), token(?OTHER), "", 401}, {token(?TOKEN), token(?OTHER), ?TOKEN ++ "x", 401},
                 {token(?TOKEN), token(?OTHER), ?TOKEN ++ " " ++ ?TOKEN, 401}, {token(?TOKEN), token(?OTHER), [255, 254], 401},
                 {token(?TOKEN), token(?OTHER), string:uppercase(?TOKEN), 401}, {token(?TOKEN), "", "none", 401},
                 {token(?TOKEN), token(?OTHER), ?TOKEN, [<<?ONE>>]}, {token(?TOKEN), token(?OTHER), ?OTHER, [<<?TWO>>]},
                 {token(?TOKEN), token(?TOKEN), ?TOKEN, [<<?ONE>>, <<?TWO>>]}, {token(?TOKEN), "", ?TOKEN, [<<?ONE>>]},
                 {Near, "", none, [<<?ONE>>]}, {Near, "", "wrong", [<<?ONE>>]}, {Near, Far, none, [<<?ONE>>]},
                 {Near, Near, none, [<<?ONE>>, <<?TWO>>]}, {Far, Far, none, 403}, {Far, "", ?TOKEN, 403},
                 {Near, token(?TOKEN), ?TOKEN, [<<?ONE>>, <<?TWO>>]}, {Near, token(?TOKEN), none, [<<?ONE>>]},
                 {Near ++ token(?TOKEN), "", none, 401}, {Near ++ token(?TOKEN), "", ?TOKEN, [<<?ONE>>]},
                 {Far ++ token(?TOKEN), "", ?TOKEN, 403}, {Far ++ token(?TOKEN), token(?OTHER), ?TOKEN, 401},
                 {"metrics_access: none\n" ++ token(?TOKEN), "", ?TOKEN, [<<?ONE>>]},
                 {"metrics_access: none\n" ++ token(?TOKEN), "", none, 401},
                 {"metrics_access: all\n", "", none, [<<?ONE>>]}]].

methods(Config) ->
    Port = ?config(port, Config),
    {200, #{"content-type" := Type}, <<>>} = offline_post_scrape:request(head, Port, ?TOKEN, ""),
    {200, #{"content-type" := Type, "cache-control" := "no-store"}, <<_, _/binary>>} = get(Config, ?TOKEN),
    ?assertMatch({405, #{"allow" := "GET, HEAD"}, _}, offline_post_scrape:request(post, Port, ?TOKEN, "")).

%%% What it is

%% Both formats hold the same, and a strict parser takes them.
formats(Config) ->
    say(Config, ?ONE, ?TEXT),
    settled(Config, ?ONE),
    {200, #{"content-type" := "text/plain; version=0.0.4; charset=utf-8"}, Text} = get(Config, ?TOKEN),
    {200, #{"content-type" := "application/openmetrics-text; version=1.0.0; charset=utf-8"}, Open} =
        offline_post_scrape:get(?config(port, Config), ?TOKEN, ?OPENMETRICS),
    ct:pal("~ts", [Open]),
    Read = offline_post_scrape:read(openmetrics, Open),
    ?assertEqual(offline_post_scrape:names(offline_post_scrape:read(text, Text)), offline_post_scrape:names(Read)),
    ?assertNotEqual(nomatch, re:run(Open, "\n# EOF\n$", [dollar_endonly])),
    ?assertEqual(nomatch, binary:match(Text, <<"# EOF">>)),
    %% Each has a unit if its name does, and each histogram all its parts.
    [?assertEqual({Family, true}, {Family, Unit =:= <<>> orelse re:run(Family, ["_", Unit, "$"]) =/= nomatch}) || {Family, _, Unit, _} <- Read],
    [?assert(lists:member(<<Family/binary, Part/binary>>, offline_post_scrape:names(Read))) ||
        {Family, <<"histogram">>, _, _} <- Read, Part <- [<<"_bucket">>, <<"_sum">>, <<"_count">>]].

promtool(Config) ->
    say(Config, ?ONE, ?TEXT),
    settled(Config, ?ONE),
    {200, _, Text} = get(Config, ?TOKEN),
    ?assertEqual({0, ""}, offline_post_scrape:promtool(["check", "metrics", {stdin, Text}])),
    %% And it would complain.
    {Status, Said} = offline_post_scrape:promtool(["check", "metrics", {stdin, "# HELP x_ms X.\n# TYPE x_ms counter\nx_ms 1\n"}]),
    ?assertNotEqual({0, ""}, {Status, Said}).

%% At rest the page says what the functions say.
equal_to_stats(Config) ->
    [say(Config, ?ONE, Text) || Text <- [?TEXT, "400 no", "413 too long", ?TEXT]],
    offline_post_backend:await(?config(backend, Config), 4),
    settled(Config, ?ONE),
    {0, _} = offline_post_node:ctl(?config(node, Config), ["offline_post_pause", ?ONE]),
    [say(Config, ?ONE, Text) || Text <- ["one", "two", "three"]],
    %% At rest: what was said is on the disk, and nothing has changed while the page was made.
    {Read, Stats} = offline_post_wait:until(fun() ->
        Before = stats(Config, ?ONE),
        Page = read(Config, ?TOKEN),
        maps:get(uncommitted, Before) =:= 0 andalso Before =:= stats(Config, ?ONE) andalso {Page, Before}
    end),
    ?assertMatch(#{pending := 3, dead := 2, state := paused}, Stats),
    [?assertEqual({Name, float(maps:get(Key, Stats))}, {Name, offline_post_scrape:value(Name, Read)}) ||
        {Name, Key} <- [{<<"offline_post_accepted_total">>, accepted}, {<<"offline_post_delivered_total">>, delivered},
                        {<<"offline_post_cancelled_total">>, cancelled}, {<<"offline_post_purged_total">>, purged},
                        {<<"offline_post_rejected_total">>, rejected}, {<<"offline_post_limited_total">>, limited},
                        {<<"offline_post_duplicates_total">>, duplicates}, {<<"offline_post_vetoed_total">>, vetoed},
                        {<<"offline_post_retries_total">>, retries}, {<<"offline_post_given_up_total">>, given_up},
                        {<<"offline_post_pending">>, pending},
                        {<<"offline_post_recipients_waiting">>, recipients_waiting}, {<<"offline_post_out_of_order">>, out_of_order},
                        {<<"offline_post_pending_bytes">>, pending_bytes}, {<<"offline_post_in_flight">>, in_flight},
                        {<<"offline_post_dead_letters">>, dead}, {<<"offline_post_hook_crashes_total">>, hook_crashes},
                        {<<"offline_post_commit_timeouts_total">>, commit_timeouts},
                        {<<"offline_post_uncommitted_total">>, uncommitted},
                        {<<"offline_post_member_overflows_total">>, member_overflows},
                        {<<"offline_post_spool_bytes">>, spool_bytes}]],
    ?assertEqual([{paused, 1.0}, {healthy, 0.0}, {probing, 0.0}, {broken, 0.0}, {stopped, 0.0}],
                 [{State, state(State, Read)} || State <- [paused, healthy, probing, broken, stopped]]),
    ?assertEqual([1.0, 0.0, 0.0], [offline_post_scrape:value(<<"offline_post_spool_state">>, #{<<"state">> => State}, Read) ||
                                      State <- [<<"durable">>, <<"degraded">>, <<"memory">>]]),
    ?assertEqual(1.0, offline_post_scrape:value(<<"offline_post_running">>, Read)),
    observed(offline_post_node:call(?config(node, Config), mod_offline_post_nif, observe, [{<<?ONE>>, <<"mod_offline_post">>}]), Read),
    {0, _} = offline_post_node:ctl(?config(node, Config), ["offline_post_resume", ?ONE]),
    settled(Config, ?ONE),
    ?assertEqual(0.0, offline_post_scrape:value(<<"offline_post_oldest_pending_age_seconds">>, read(Config, ?TOKEN))).

observed(#{oldest_pending := Oldest, concurrency := Concurrency, max_connections := Most, queue_limit := Limit, queue_bytes := Bytes,
           attempts := Attempts, attempt_us := Attempt, delivery_us := Delivery}, Read) ->
    Value = fun(Name) -> offline_post_scrape:value(Name, Read) end,
    ?assertEqual({float(Concurrency), float(Most)}, {Value(<<"offline_post_concurrency">>), Value(<<"offline_post_max_connections">>)}),
    ?assertEqual({5000, 6000000}, {Limit, Bytes}),
    ?assertEqual({5000.0, 6000000.0}, {Value(<<"offline_post_queue_limit">>), Value(<<"offline_post_queue_limit_bytes">>)}),
    [?assertEqual({Class, float(Count)},
                  {Class, offline_post_scrape:value(<<"offline_post_attempts_total">>, #{<<"class">> => atom_to_binary(Class)}, Read)}) ||
        {Class, Count} <- maps:to_list(Attempts)],
    ?assertMatch(#{delivered := D, refused := R} when D >= 2 andalso R >= 2, Attempts),
    Age = Value(<<"offline_post_oldest_pending_age_seconds">>),
    ?assert(Age >= 0 andalso Age =< (os:system_time(millisecond) - Oldest) / 1000),
    same(<<"offline_post_attempt_duration_seconds">>, Attempt, Read),
    same(<<"offline_post_delivery_duration_seconds">>, Delivery, Read).

same(Name, {Bounds, Counts, Sum}, Read) ->
    {Les, Cumulated, ReadSum, Count} = histogram(Name, #{}, Read),
    ?assertEqual([Bound / 1000000 || Bound <- Bounds] ++ [infinity], Les),
    ?assertEqual([float(lists:sum(lists:sublist(Counts, N))) || N <- lists:seq(1, length(Counts))], Cumulated),
    ?assertEqual({Sum / 1000000, float(lists:sum(Counts))}, {ReadSum, Count}).

%% {Bounds, cumulated counts, sum, count}
histogram(Name, Labels, Read) ->
    Buckets = lists:sort([{le(L), Value} || {N, #{<<"le">> := _} = L, Value} <- offline_post_scrape:samples(Read),
                                            N =:= <<Name/binary, "_bucket">>, maps:with(maps:keys(Labels), L) =:= Labels]),
    {Les, Counts} = lists:unzip(Buckets),
    {Les, Counts, offline_post_scrape:value(<<Name/binary, "_sum">>, Labels, Read),
     offline_post_scrape:value(<<Name/binary, "_count">>, Labels, Read)}.

%% In Erlang's order an atom comes after all numbers.
le(#{<<"le">> := <<"+Inf">>}) -> infinity;
le(#{<<"le">> := Le}) -> offline_post_scrape:number(Le).

%% While messages flow: the law holds within each scrape, buckets only grow upwards, and no counter goes back.
law_under_load(Config) ->
    Self = self(),
    Sender = spawn_link(fun() -> Self ! {sent, say_on(Config, 1)} end),
    Scrapes = [read(Config, ?TOKEN) || _ <- lists:seq(1, 5)],
    Sender ! enough,
    Sent = receive {sent, N} -> N end,
    settled(Config, ?ONE),
    All = Scrapes ++ [read(Config, ?TOKEN)],
    [begin
         Value = fun(Name) -> offline_post_scrape:value(<<"offline_post_", Name/binary>>, Read) end,
         ?assertEqual(Value(<<"accepted_total">>),
                      lists:sum([Value(Name) || Name <- [<<"delivered_total">>, <<"pending">>, <<"dead_letters">>, <<"cancelled_total">>,
                                                         <<"purged_total">>]])),
         [begin
              {_, Counts, _, Count} = histogram(Name, #{}, Read),
              ?assertEqual({Name, lists:sort(Counts), Count}, {Name, Counts, lists:last(Counts)})
          end || Name <- lists:usort([Family || {Family, <<"histogram">>, _, _} <- Read])]
     end || Read <- All],
    [?assertEqual([], [{Key, Before, After} || {Key, Before} <- counters(A), After <- [proplists:get_value(Key, counters(B))], After < Before])
     || {A, B} <- lists:zip(lists:droplast(All), tl(All))],
    ?assert(offline_post_scrape:value(<<"offline_post_delivery_duration_seconds_count">>, lists:last(All)) >= Sent - Sent div 10).

%% Until it is enough; how many.
say_on(Config, N) ->
    say(Config, ?ONE, case N rem 10 of 0 -> "400 no"; _ -> ?TEXT end),
    receive enough -> N
    after 0 -> say_on(Config, N + 1)
    end.

counters(Read) ->
    [{{Name, Labels}, Value} || {_, Type, _, {Name, Labels, Value}} <- Read, Type =:= <<"counter">> orelse Type =:= <<"histogram">>].

%% What is broken looks so, and what is mended is well again.
faults(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    Trouble = fun() -> offline_post_scrape:value(<<"offline_post_attempts_total">>, #{<<"class">> => <<"trouble">>}, read(Config, ?TOKEN)) end,
    Before = Trouble(),
    %% One recipient's trouble would be that recipient's alone.
    [offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", [User, "@" ?ONE], ?TEXT) || User <- users()],
    offline_post_wait:until(fun() -> state(broken, read(Config, ?TOKEN)) =:= 1.0 end, 20000,
                            fun() -> {not_broken, stats(Config, ?ONE)} end),
    Broken = read(Config, ?TOKEN),
    ?assert(Trouble() > Before),
    ?assertEqual(10.0, offline_post_scrape:value(<<"offline_post_pending">>, Broken)),
    ?assertEqual(0.0, state(healthy, Broken)),
    ?assert(offline_post_scrape:value(<<"offline_post_concurrency">>, Broken) =< 1.0),
    ?assert(offline_post_scrape:value(<<"offline_post_oldest_pending_age_seconds">>, Broken) > 0.0),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    settled(Config, ?ONE),
    ?assertEqual(1.0, state(healthy, read(Config, ?TOKEN))).

%% Each message costs its sender something, and it is not much.
hook_cost(Config) ->
    {_, _, SumBefore, Before} = histogram(<<"offline_post_hook_duration_seconds">>, #{}, read(Config, ?TOKEN)),
    [say(Config, ?ONE, ?TEXT) || _ <- lists:seq(1, 50)],
    settled(Config, ?ONE),
    {_, _, SumAfter, After} = histogram(<<"offline_post_hook_duration_seconds">>, #{}, read(Config, ?TOKEN)),
    ?assert(After - Before >= 50),
    Mean = (SumAfter - SumBefore) / (After - Before),
    ct:pal("~.1f us", [Mean * 1000000]),
    ?assert(Mean > 0 andalso Mean < 0.01).

%% A wait for the disk is told apart.
sync_commit(Config) ->
    load(Config, [token(?TOKEN), "sync_commit: true\n"], ""),
    Clients = offline_post_client:start(),
    {_, _, _, Before} = histogram(<<"offline_post_sync_commit_wait_seconds">>, #{}, read(Config, ?TOKEN)),
    offline_post_node:register(?config(node, Config), "bob", ?ONE, "bob-password"),
    offline_post_client:login(Clients, "bob", "bob@" ?ONE, ?config(node, Config)),
    [offline_post_client:send(Clients, "bob", ["<message type='chat' to='anna@" ?ONE "'><body>", integer_to_list(N), "</body></message>"]) ||
        N <- lists:seq(1, 10)],
    offline_post_backend:await(?config(backend, Config), 10),
    settled(Config, ?ONE),
    {_, _, Sum, After} = histogram(<<"offline_post_sync_commit_wait_seconds">>, #{}, read(Config, ?TOKEN)),
    ?assertEqual(10.0, After - Before),
    ?assert(Sum > 0.0),
    offline_post_client:stop(Clients).

%% Of the siblings, each has its own options.
presence(Config) ->
    Sibling = fun(More) -> ["mod_available_post:\n  post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\n", More] end,
    Load = fun(More) -> ok = offline_post_node:reload(?config(node, Config), options(Config, token(?TOKEN), token(?OTHER), Sibling(More))) end,
    Modules = fun(Read) -> lists:usort([Module || {<<"offline_post_accepted_total">>, #{<<"module">> := Module}, _} <- offline_post_scrape:samples(Read)]) end,
    Load(""),
    ?assertEqual([<<"mod_offline_post">>], Modules(read(Config, ?TOKEN))),
    Load(["  metrics_token: \"" ?OTHER "\"\n"]),
    ?assertEqual([<<"mod_offline_post">>], Modules(read(Config, ?TOKEN))),
    Load(["  metrics_token: \"" ?TOKEN "\"\n"]),
    Read = read(Config, ?TOKEN),
    ?assertEqual([<<"mod_available_post">>, <<"mod_offline_post">>], Modules(Read)),
    ?assertEqual(1.0, state(healthy, #{<<"module">> => <<"mod_available_post">>}, Read)).

%% A virtual host for which the module could not start is seen not to run.
not_running(Config) ->
    ok = offline_post_node:reload(?config(node, Config), options(Config, token(?TOKEN), token(?TOKEN), "mod_available_post:\n  post_url: \"http://localhost/\"\n"
                                                                 "  metrics_token: \"" ?TOKEN "\"\n  spool: false\n")),
    Running = fun() -> lists:sort([{Host, Module, Value} || {<<"offline_post_running">>, #{<<"vhost">> := Host, <<"module">> := Module}, Value}
                                                               <- offline_post_scrape:samples(read(Config, ?TOKEN))]) end,
    ?assertEqual([{<<?ONE>>, <<"mod_available_post">>, 0.0}, {<<?ONE>>, <<"mod_offline_post">>, 1.0}, {<<?TWO>>, <<"mod_offline_post">>, 1.0}],
                 Running()).

%%% What it is not to do

%% A crash report would hold the request.
defect(Config) ->
    Node = ?config(node, Config),
    {ok, mod_offline_post_figures, Beam} =
        compile:forms([{attribute, 1, module, mod_offline_post_figures}, {attribute, 2, export, [{read, 2}]},
                       {function, 3, read, 2, [{clause, 3, [{var, 3, 'Of'}, {var, 3, '_Idle'}], [], [{call, 3, {atom, 3, error}, [{var, 3, 'Of'}]}]}]}]),
    Figures = offline_post_node:call(Node, code, which, [mod_offline_post_figures]),
    {module, _} = offline_post_node:call(Node, code, load_binary, [mod_offline_post_figures, "defect", Beam]),
    ?assertMatch({500, _, <<"500: the reason is in ejabberd's log\n">>}, get(Config, ?TOKEN)),
    offline_post_node:await_log(Node, "the metrics failed because of a defect (error:other in mod_offline_post_figures:read/2"),
    ?assertEqual(0, offline_post_node:count_log(Node, ?TOKEN)),
    true = offline_post_node:call(Node, code, soft_purge, [mod_offline_post_figures]),
    {module, _} = offline_post_node:call(Node, code, load_abs, [filename:rootname(Figures)]),
    ?assertMatch({200, _, _}, get(Config, ?TOKEN)).

%% Neither the page nor the log has a token, a text, a user or a URL.
secrets(Config) ->
    [say(Config, ?ONE, Text) || Text <- [?TEXT, "400 " ?TEXT]],
    offline_post_backend:await(?config(backend, Config), 2),
    settled(Config, ?ONE),
    {200, _, Text} = get(Config, ?TOKEN),
    {401, _, Refused} = get(Config, "wrong-" ?TOKEN),
    {200, _, Open} = offline_post_scrape:get(?config(port, Config), ?TOKEN, ?OPENMETRICS),
    [?assertEqual({Secret, nomatch}, {Secret, binary:match(Page, list_to_binary(Secret))}) ||
        Page <- [Text, Open, Refused], Secret <- [?TOKEN, ?OTHER, ?TEXT, "s3cret-of-the-backend", "anna", "bob", "http:", "/offline", ?TWO]],
    [?assertEqual({Secret, 0}, {Secret, offline_post_node:count_log(?config(node, Config), Secret)}) ||
        Secret <- [?TOKEN, ?OTHER, ?TEXT, "s3cret-of-the-backend"]].

%%%

users() ->
    ["u" ++ integer_to_list(N) || N <- lists:seq(1, 10)].

token(Token) ->
    "metrics_token: \"" ++ Token ++ "\"\n".

load(Config, One, Two) ->
    ok = offline_post_node:reload(?config(node, Config), options(Config, One, Two)).

options(Config, One, Two) ->
    options(Config, One, Two, "").

%% Modules: more of them on the first host.
options(Config, One, Two, Modules) ->
    Ours = fun(More) -> ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\nauth_token: \"s3cret-of-the-backend\"\n"
                         "shutdown_timeout: 300 ms\nretry_schedule: [100 ms]\nqueue_limit: 5000\nqueue_bytes: 6000000\n", More] end,
    #{top => [offline_post_scrape:handler(?config(port, Config)),
              "acl:\n  near:\n    ip: 127.0.0.0/8\n  far:\n    ip: 192.0.2.0/24\n"
              "access_rules:\n  near:\n    allow: near\n  far:\n    allow: far\n"],
      hosts => [{?ONE, #{offline_post => Ours(One), modules => ["mod_offline: {}\nmod_ping: {}\n", Modules]}},
                {?TWO, #{offline_post => Ours(Two)}}]}.

get(Config, Token) ->
    offline_post_scrape:get(?config(port, Config), Token).

read(Config, Token) ->
    {200, _, Page} = offline_post_scrape:get(?config(port, Config), Token, ?OPENMETRICS),
    offline_post_scrape:read(openmetrics, Page).

vhosts({200, _, Text}) ->
    lists:usort([Host || {_, #{<<"vhost">> := Host}, _} <- offline_post_scrape:samples(offline_post_scrape:read(text, Text))]).

state(State, Read) ->
    state(State, #{}, Read).

state(State, Labels, Read) ->
    offline_post_scrape:value(<<"offline_post_endpoint_state">>, Labels#{<<"state">> => atom_to_binary(State)}, Read).

by_text(#{body := Body}) ->
    case proplists:get_value(<<"body">>, uri_string:dissect_query(Body)) of
        <<"400", _/binary>> -> {reply, 400};
        <<"413", _/binary>> -> {reply, 413};
        _ -> {reply, 200}
    end.

say(Config, Host, Text) ->
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", "anna@" ++ Host, Text).

stats(Config, Host) ->
    offline_post_node:stats(?config(node, Config), Host).

settled(Config, Host) ->
    offline_post_wait:until(fun() -> maps:get(pending, stats(Config, Host)) =:= 0 end).
