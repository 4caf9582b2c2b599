%% Retries, age, order and retention, as seen on the wire. Each case has a virtual host and a backend of its own.
-module(retries_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([schedule/1, traced/1, expires/1, ordered/1, unordered/1, out_of_order/1, dead_letter_limit/1, dead_letter_retention/1]).

-import(offline_post_case, [await/2, booted/1, current/1, dead_letters/1, say/3, text/1, user/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [schedule, traced, expires, ordered, unordered, out_of_order, dead_letter_limit, dead_letter_retention].

init_per_suite(Config) ->
    offline_post_case:start(all(), fun options/1) ++ Config.

end_per_suite(Config) ->
    offline_post_case:finish(Config).

init_per_testcase(Case, Config) ->
    offline_post_case:init(Case, Config).

end_per_testcase(_Case, Config) ->
    offline_post_case:check(Config).

options(schedule) -> "retry_schedule: [400 ms, 1 s]\n";
options(traced) -> "retry_schedule: [200 ms]\ntraceparent: true\n";
options(expires) -> "retry_schedule: [300 ms]\nmax_age: 1500 ms\n";
options(ordered) -> "retry_schedule: [300 ms]\n";
options(unordered) -> "retry_schedule: [2 s]\norder: none\n";
options(out_of_order) -> "retry_schedule: [500 ms]\n";
options(dead_letter_limit) -> "dead_letter_limit: 2\n";
options(dead_letter_retention) -> "dead_letter_retention: 1500 ms\n".

%% The waits on the wire: 400 ms, then 1 s, and 1 s again, each spread over 75 to 125 %.
schedule(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    say(Config, user(1), "patience"),
    [A, B, C, D] = [At || #{at := At} <- offline_post_backend:await(Backend, 4)],
    offline_post_backend:set(Backend, {reply, 200}),
    ct:pal("waits: ~p", [[B - A, C - B, D - C]]),
    [?assert(Wait >= 0.75 * Nominal - 5 andalso Wait < 1.25 * Nominal + 300) || {Wait, Nominal} <- [{B - A, 400}, {C - B, 1000}, {D - C, 1000}]],
    await(Config, #{pending => 0, delivered => 1}).

%% W3C Trace Context: a message is one trace, each attempt a span of its own.
traced(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    say(Config, user(1), "follow me"),
    First = offline_post_backend:await(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{pending => 0, delivered => 1}),
    Posts = [First | offline_post_backend:posts(Backend)],
    Parents = [proplists:get_value(<<"traceparent">>, Headers) || #{headers := Headers} <- Posts],
    Parts = [element(2, {match, _} = re:run(Parent, "^00-([0-9a-f]{32})-([0-9a-f]{16})-01$", [{capture, all_but_first, binary}])) ||
                Parent <- Parents],
    ?assert(length(Parts) >= 2),
    ?assertMatch([_], lists:usort([Trace || [Trace, _] <- Parts])),
    ?assertEqual(length(Parts), length(lists:usort([Span || [_, Span] <- Parts]))),
    ?assertNot(lists:member(<<"00000000000000000000000000000000">>, hd(Parts))).

%% After max_age a failure is final; an operator may still send it.
expires(Config) ->
    {Backend, Host} = {?config(backend, Config), list_to_binary(?config(host, Config))},
    offline_post_backend:set(Backend, {reply, 503}),
    say(Config, user(1), "too old"),
    await(Config, #{pending => 0, dead => 1}),
    [#{at := First} | Rest] = offline_post_backend:posts(Backend),
    #{at := Last} = lists:last(Rest),
    ?assert(Last - First >= 1000),
    {ok, [#{reason := Reason, status := 503, attempts := Attempts}], undefined} =
        offline_post_node:call(current(Config), mod_offline_post, dead_letters, [Host, {reason, <<"expired">>}, 0, 10]),
    ?assertEqual({<<"expired, at last HTTP 503">>, 1 + length(Rest)}, {Reason, Attempts}),
    offline_post_backend:set(Backend, {reply, 200}),
    {ok, 1} = offline_post_node:call(current(Config), mod_offline_post, replay_dead_letters, [Host, all]),
    await(Config, #{pending => 0, dead => 0, delivered => 1}).

%% order: recipient. While one waits for its next attempt, so does what follows; others do not.
ordered(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, fun refuse_first/1),
    say(Config, user(1), "first"), say(Config, user(1), "second"), say(Config, user(2), "other"),
    ?assertEqual([<<"first">>, <<"other">>], lists:sort([text(Post) || Post <- offline_post_backend:await(Backend, 2)])),
    ?assertEqual([<<"first">>, <<"first">>], [text(Post) || Post <- offline_post_backend:await(Backend, 2)]),
    offline_post_backend:set(Backend, {reply, 200}),
    ?assertEqual(<<"second">>, lists:last([text(Post) || Post <- await_texts(Backend, <<"second">>)])),
    await(Config, #{pending => 0, delivered => 3}).

%% order: none. The second does not wait for the first.
unordered(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, fun refuse_first/1),
    say(Config, user(1), "first"), say(Config, user(1), "second"),
    ?assertEqual([<<"first">>, <<"second">>], lists:sort([text(Post) || Post <- offline_post_backend:await(Backend, 2)])),
    await(Config, #{pending => 1, delivered => 1}),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{pending => 0, delivered => 2}).

%% The backend fails one message each time, and accepts all others: after five failures with deliveries in between the
%% recipient's next messages go.
out_of_order(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, fun stumble/1),
    say(Config, user(1), "stumble"), say(Config, user(1), "behind"), say(Config, user(1), "and behind that"),
    await(Config, #{recipients_waiting => 1, out_of_order => 0, pending => 3}),
    ?assertMatch({match, _}, re:run(status(Config), "\thealthy\t1 recipient waits behind a notification that failed\t")),
    Before = stumbles(Config, 0),
    ct:pal("~B failures", [Before]),
    ?assert(Before >= 5),
    ?assertEqual(<<"and behind that">>, lists:last([text(Post) || Post <- await_texts(Backend, <<"and behind that">>)])),
    await(Config, #{recipients_waiting => 0, out_of_order => 1, pending => 1, dead => 0}),
    ?assertMatch({match, _}, re:run(status(Config), "\thealthy\t1 notification that the backend keeps failing is retried out of order\t")),
    %% It is retried, and what is new does not wait for it.
    say(Config, user(1), "new"),
    await_texts(Backend, <<"new">>),
    await_texts(Backend, <<"stumble">>),
    offline_post_backend:set(Backend, {reply, 200}),
    await(Config, #{recipients_waiting => 0, out_of_order => 0, pending => 0, dead => 0}),
    ?assertMatch({match, _}, re:run(status(Config), "\thealthy\t\t")).

%% How often it fails until what is behind it comes; after each failure another message is delivered.
stumbles(Config, Count) ->
    case text(offline_post_backend:await(?config(backend, Config))) of
        <<"behind">> ->
            Count;
        <<"stumble">> ->
            say(Config, user(2), "other"),
            stumbles(Config, Count + 1);
        <<"other">> ->
            stumbles(Config, Count)
    end.

stumble(Post) ->
    case text(Post) of
        <<"stumble">> -> {reply, 500};
        _ -> {reply, 200}
    end.

%% This virtual host's line.
status(Config) ->
    {0, Text} = offline_post_node:ctl(current(Config), ["offline_post_status"]),
    [Line] = [Line || Line <- string:split(Text, "\n", all), string:find(Line, ?config(host, Config)) =/= nomatch],
    Line.

%% The oldest are let go of first.
dead_letter_limit(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 400}),
    [say(Config, user(1), integer_to_list(I)) || I <- lists:seq(1, 5)],
    await(Config, #{accepted => 5, pending => 0, dead => 2, purged => 3}),
    ?assertEqual([<<"4">>, <<"5">>], [Body || #{body := Body} <- dead_letters(Config)]).

%% By age, which is looked at once a minute, and at every start and reload.
dead_letter_retention(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 400}),
    Start = erlang:monotonic_time(millisecond),
    say(Config, user(1), "old"),
    await(Config, #{accepted => 1, pending => 0, dead => 1, purged => 0}),
    looked_at(Config, 1),
    ?assert(erlang:monotonic_time(millisecond) - Start >= 1500),
    ?assertEqual([], dead_letters(Config)),
    %% Time goes on while the node is down.
    say(Config, user(1), "older than the start"),
    await(Config, #{dead => 1, purged => 1}),
    0 = offline_post_node:finish(current(Config), init_stop),
    booted(Config),
    looked_at(Config, 2).

%% A reload that changes something.
looked_at(Config, Purged) ->
    offline_post_wait:until(fun() ->
                                    Path = "/" ++ integer_to_list(erlang:unique_integer([positive])),
                                    offline_post_case:reload(Config, #{dead_letter_retention => Path}),
                                    maps:with([dead, purged], offline_post_case:stats(Config)) =:= #{dead => 0, purged => Purged}
                            end).

refuse_first(Post) ->
    case text(Post) of
        <<"first">> -> {reply, 503};
        _ -> {reply, 200}
    end.

%% What comes until this text does.
await_texts(Backend, Text) ->
    Post = offline_post_backend:await(Backend),
    case text(Post) of
        Text -> [Post];
        _ -> [Post | await_texts(Backend, Text)]
    end.
