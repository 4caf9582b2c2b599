%% Batches through a real node: what one POST holds, what the receiver's answer makes of each event, and that one bad
%% event
%% harms no other.
-module(batches_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([full/1, lines/1, partial/1, alone/1, ordered/1, bytes/1, compressed/1, results/1, results_broken/1,
         no_results/1,
         split/1, all_refused/1, outage/1, survives_kill/1]).

-define(SIZE, 5).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [full, lines, partial, alone, ordered, bytes, compressed, results, results_broken, no_results, split, all_refused,
     outage,
     survives_kill].

init_per_suite(Config) ->
    offline_post_case:start(all(), fun options/1) ++ Config.

%% max_delay: longer than what a case needs to fill a batch, where it is to be full.
options(lines) -> batch("max_delay: 20 s\n  format: ndjson");
options(Case) when Case =:= full; Case =:= compressed; Case =:= no_results ->
    [batch("max_delay: 20 s"), ["compress: gzip\n" || Case =:= compressed]];
options(partial) -> batch("max_delay: 1 s");
options(alone) -> batch("max_delay: 10 ms");
options(bytes) -> ["format: json\nbatch:\n  max_delay: 100 ms\n  max_bytes: 4000\n"];
options(_) -> batch("max_delay: 2 s").

batch(More) ->
    ["format: json\nretry_schedule: [100 ms]\nbatch:\n  max_events: ", integer_to_list(?SIZE), "\n  ", More, "\n"].

end_per_suite(Config) ->
    offline_post_case:finish(Config).

init_per_testcase(Case, Config) ->
    Own = offline_post_case:init(Case, Config),
    offline_post_backend:set(?config(backend, Own), {reply, 200}),
    Own.

end_per_testcase(_Case, Config) ->
    offline_post_case:check(Config).

%%%

full(Config) ->
    say_to(Config, 1, ?SIZE),
    #{headers := Headers} = Post = next(Config),
    ?assertEqual(users(1, ?SIZE), lists:sort(recipients(Post))),
    ?assertEqual(<<"application/json">>, proplists:get_value(<<"content-type">>, Headers)),
    ?assertMatch({match, _}, re:run(proplists:get_value(<<"webhook-id">>, Headers), "^batch_[0-9a-f]{32}$")),
    ?assertEqual(?SIZE, length(lists:usort(ids(Post)))),
    offline_post_case:await(Config, #{delivered => ?SIZE, pending => 0}),
    nothing_more(Config).

lines(Config) ->
    say_to(Config, 1, ?SIZE),
    #{headers := Headers, body := Body} = Post = next(Config),
    ?assertEqual(<<"application/x-ndjson">>, proplists:get_value(<<"content-type">>, Headers)),
    Lines = binary:split(Body, <<"\n">>, [global]),
    ?assertEqual({?SIZE + 1, <<>>}, {length(Lines), lists:last(Lines)}),
    [?assertMatch({match, _}, re:run(Line, "^\\{\"type\":\"message.offline\",.*\\}$")) ||
     Line <- lists:droplast(Lines)],
    ?assertEqual(users(1, ?SIZE), lists:sort(recipients(Post))),
    offline_post_case:await(Config, #{delivered => ?SIZE}).

%% It does not wait for ever to be full.
partial(Config) ->
    say_to(Config, 1, 3),
    ?assertEqual(users(1, 3), lists:sort(recipients(next(Config)))),
    offline_post_case:await(Config, #{delivered => 3}).

%% An array of one, under the event's own id.
alone(Config) ->
    say_to(Config, 1, 1),
    #{body := <<"[{", _/binary>>} = Post = next(Config),
    ?assertEqual([offline_post_case:id(Post)], ids(Post)),
    offline_post_case:await(Config, #{delivered => 1}).

%% Events of one recipient never share a batch.
ordered(Config) ->
    [offline_post_case:say(Config, offline_post_case:user(1), Text) || Text <- ["one", "two", "three"]],
    [?assertMatch({_, {match, _}, [<<"u1">>]}, {Text, re:run(Body, ["\"body\":\"", Text, "\""]), recipients(Post)}) ||
        {Text, #{body := Body} = Post} <- [{Text, next(Config)} || Text <- ["one", "two", "three"]]],
    offline_post_case:await(Config, #{delivered => 3}).

%% No larger than max_bytes, but for an event that is larger itself.
bytes(Config) ->
    [offline_post_case:say(Config, offline_post_case:user(N), lists:duplicate(Size, $x)) ||
        {N, Size} <- [{1, 1500}, {2, 1500}, {3, 1500}, {4, 9000}]],
    Posts = until_said(Config, 4),
    offline_post_case:await(Config, #{delivered => 4}),
    ?assertEqual([], [byte_size(Body) || #{body := Body} = Post <- Posts, length(ids(Post)) > 1,
                      byte_size(Body) > 4000]),
    ?assertEqual(users(1, 4), lists:sort(lists:append([recipients(Post) || Post <- Posts]))).

compressed(Config) ->
    say_to(Config, 1, ?SIZE),
    #{headers := Headers, body := Body} = Post = next(Config),
    ?assertEqual(<<"gzip">>, proplists:get_value(<<"content-encoding">>, Headers)),
    ?assertEqual(users(1, ?SIZE), lists:sort(recipients(Post#{body := zlib:gunzip(Body)}))),
    offline_post_case:await(Config, #{delivered => ?SIZE}).

%%% What the receiver says of each

results(Config) ->
    Says = #{<<"u1">> => "\"accepted\"", <<"u2">> => "\"retry\"", <<"u3">> =>
             "\"refused\", \"error\": \"no such device\"",
             <<"u4">> => "503"},
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, fun(#{body := Body}) ->
        {reply, 200, [{"Content-Type", "application/json"}],
         ["{\"results\": [", lists:join(", ", [["{\"id\": \"", Id, "\", \"status\": ", maps:get(User, Says), "}"] ||
                                               {Id, User} <- events(Body), is_map_key(User, Says)]), "]}"]}
    end),
    say_to(Config, 1, ?SIZE),
    First = next(Config),
    offline_post_case:await(Config, #{delivered => 2, dead => 1, pending => 2}),
    offline_post_backend:set(Backend, {reply, 200}),
    offline_post_case:await(Config, #{delivered => 4, dead => 1, pending => 0}),
    Again = offline_post_backend:posts(Backend),
    ?assertEqual([<<"u2">>, <<"u4">>], lists:usort(lists:append([recipients(Post) || Post <- Again]))),
    %% The same ids.
    ?assertEqual([], lists:usort(lists:append([ids(Post) || Post <- Again])) -- ids(First)),
    [#{to := {<<"u3">>, _, _}, reason := Reason, answer := Answer}] = offline_post_case:dead_letters(Config),
    ?assertEqual({<<"refused by the receiver">>, <<"no such device">>}, {Reason, Answer}).

%% Nobody knows what it meant to say.
results_broken(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 200, [], "{\"results\": [{\"id\": \"x\", \"status\": "}),
    say_to(Config, 1, ?SIZE),
    next(Config),
    offline_post_case:await(Config, #{delivered => 0, pending => ?SIZE}),
    offline_post_backend:set(Backend, {reply, 200}),
    offline_post_case:await(Config, #{delivered => ?SIZE, dead => 0, pending => 0}).

%% Other JSON, or other text, says nothing.
no_results(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 200, [], "{\"ok\": true}"}),
    say_to(Config, 1, ?SIZE),
    next(Config),
    offline_post_case:await(Config, #{delivered => ?SIZE}).

%%% A bad one among them

split(Config) ->
    refusing(Config, <<"poison">>),
    [offline_post_case:say(Config, offline_post_case:user(N), case N of 3 -> "poison"; _ -> "good" end) ||
     N <- lists:seq(1, ?SIZE)],
    offline_post_case:await(Config, #{delivered => ?SIZE - 1, dead => 1, pending => 0}),
    [#{to := {<<"u3">>, _, _}, body := <<"poison">>, reason := <<"HTTP 422",
       _/binary>>}] = offline_post_case:dead_letters(Config),
    %% Halved until it was found: 5, 3 + 2, 2 + 1, 1 + 1 at most.
    Posts = offline_post_backend:posts(?config(backend, Config)),
    ?assert(length(Posts) =< 7),
    ?assertMatch([?SIZE | _], [length(ids(Post)) || Post <- Posts]).

all_refused(Config) ->
    refusing(Config, <<"body">>),
    say_to(Config, 1, ?SIZE),
    offline_post_case:await(Config, #{delivered => 0, dead => ?SIZE, pending => 0}).

refusing(Config, Word) ->
    offline_post_backend:set(?config(backend, Config), fun(#{body := Body}) ->
        case binary:match(Body, Word) of
            nomatch -> {reply, 200};
            _ -> {reply, 422}
        end
    end).

outage(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    say_to(Config, 1, ?SIZE),
    First = next(Config),
    offline_post_backend:set(Backend, {reply, 200}),
    offline_post_case:await(Config, #{delivered => ?SIZE, dead => 0, pending => 0}),
    ?assertEqual(lists:sort(ids(First)),
                 lists:usort(lists:append([ids(Post) || Post <- offline_post_backend:posts(Backend)]))).

%% What was in a batch when the node was killed comes again, each event under its own id.
survives_kill(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, silent),
    say_to(Config, 1, ?SIZE),
    First = next(Config),
    137 = offline_post_node:kill(offline_post_case:current(Config)),
    offline_post_backend:set(Backend, {reply, 200}),
    offline_post_case:booted(Config),
    offline_post_case:await(Config, #{delivered => ?SIZE, pending => 0}),
    Posts = offline_post_backend:posts(Backend),
    ?assertEqual(lists:sort(ids(First)), lists:usort(lists:append([ids(Post) || Post <- Posts]))).

%%%

say_to(Config, First, Last) ->
    [offline_post_case:say(Config, offline_post_case:user(N), "Good night") || N <- lists:seq(First, Last)].

next(Config) ->
    offline_post_backend:await(?config(backend, Config)).

nothing_more(Config) ->
    ?assertEqual([], offline_post_backend:posts(?config(backend, Config))).

%% POSTs until so many events have come.
until_said(_Config, N) when N =< 0 -> [];
until_said(Config, N) ->
    Post = next(Config),
    [Post | until_said(Config, N - length(ids(Post)))].

users(First, Last) ->
    [list_to_binary(offline_post_case:user(N)) || N <- lists:seq(First, Last)].

ids(#{body := Body}) -> [Id || {Id, _} <- events(Body)].
recipients(#{body := Body}) -> [User || {_, User} <- events(Body)].

%% [{id, recipient}]
events(Body) ->
    case re:run(Body, "\"id\":\"(msg_[^\"]+)\"[^{}]*\"to\":\"(u[0-9]+)@", [global, {capture, all_but_first, binary}]) of
        {match, Events} -> [{Id, User} || [Id, User] <- Events];
        nomatch -> []
    end.
