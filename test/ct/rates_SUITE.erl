%% What waits together, and how often somebody is told: collapse, collapse_interval, max_rate. Each case holds its events
%% back by a pause or a failure, and then says exactly what arrives.
-module(rates_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([recipient/1, conversation/1, none/1, hidden_sender/1, behind_one_in_flight/1, stands_for/1, interval/1, per_sender/1,
         per_recipient/1, beyond_collapses/1, room/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [recipient, conversation, none, hidden_sender, behind_one_in_flight, stands_for, interval, per_sender, per_recipient,
     beyond_collapses, room].

options(recipient) -> "collapse: recipient\n";
options(conversation) -> "collapse: conversation\n";
options(none) -> "";
options(hidden_sender) -> "collapse: conversation\ninclude_sender: false\n";
options(behind_one_in_flight) -> "collapse: recipient\n";
options(stands_for) -> "collapse: recipient\n";
options(interval) -> "collapse: recipient\ncollapse_interval: 2 s\n";
options(per_sender) -> "max_rate:\n  per_sender: 3\n  beyond: drop\n";
options(per_recipient) -> "max_rate:\n  per_recipient: 3\n  beyond: drop\n";
options(room) -> "max_rate:\n  per_sender: 1\n  per_recipient: 3\n  beyond: drop\n";
options(beyond_collapses) -> "max_rate:\n  per_recipient: 2\n".

init_per_suite(Config) ->
    offline_post_case:start(all(), fun options/1) ++ Config.

end_per_suite(Config) ->
    offline_post_case:finish(Config).

init_per_testcase(Case, Config) ->
    Own = offline_post_case:init(Case, Config),
    offline_post_backend:set(?config(backend, Own), {reply, 200}),
    Own.

end_per_testcase(beyond_collapses, Config) ->
    ?assertEqual([], offline_post_law:violations(offline_post_case:stats(Config)));
end_per_testcase(_Case, Config) ->
    offline_post_case:check(Config).

%% The last for each user.
recipient(Config) ->
    paused(Config, fun() -> [say(Config, From, To, From ++ To) || From <- ["bob", "carl"], To <- ["u1", "u2"]] end),
    ?assertEqual([<<"carlu1">>, <<"carlu2">>], texts(Config, 2)),
    offline_post_case:await(Config, #{accepted => 4, delivered => 2, cancelled => 2, pending => 0}).

%% The last of each sender for each user, from whatever device.
conversation(Config) ->
    paused(Config, fun() -> [say(Config, From, "u1", From) || From <- ["bob", "carl", "bob@elsewhere.example/other"]] end),
    ?assertEqual([<<"bob@elsewhere.example/other">>, <<"carl">>], texts(Config, 2)),
    offline_post_case:await(Config, #{delivered => 2, cancelled => 1, pending => 0}).

none(Config) ->
    paused(Config, fun() -> [say(Config, "bob", "u1", Text) || Text <- ["1", "2", "3"]] end),
    ?assertEqual([<<"1">>, <<"2">>, <<"3">>], texts(Config, 3)).

%% Conversations are told apart also where nobody may know whose they are.
hidden_sender(Config) ->
    paused(Config, fun() -> [say(Config, From, "u1", From ++ Text) || Text <- ["1", "2"], From <- ["bob", "carl"]] end),
    ?assertEqual([<<"bob2">>, <<"carl2">>], texts(Config, 2)),
    offline_post_case:await(Config, #{delivered => 2, cancelled => 2, pending => 0}).

%% What is on its way is never changed.
behind_one_in_flight(Config) ->
    Backend = ?config(backend, Config),
    Test = self(),
    offline_post_backend:set(Backend, fun(_) -> Test ! {waiting, self()}, receive go -> {reply, 200} end end),
    say(Config, "bob", "u1", "1"),
    Connection = receive {waiting, Pid} -> Pid after 20000 -> ct:fail(no_post) end,
    offline_post_backend:set(Backend, {reply, 200}),
    [say(Config, "bob", "u1", Text) || Text <- ["2", "3"]],
    offline_post_case:await(Config, #{accepted => 3, cancelled => 1}),
    Connection ! go,
    ?assertEqual([<<"1">>, <<"3">>], texts(Config, 2)).

%% As the dead letter shows it.
stands_for(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 400}),
    paused(Config, fun() -> [say(Config, "bob", "u1", Text) || Text <- ["1", "2", "3"]] end),
    ?assertEqual([<<"3">>], texts(Config, 1)),
    offline_post_case:await(Config, #{pending => 0, dead => 1}),
    ?assertMatch([#{count := 3, kind := <<"text">>, body := <<"3">>, attributes := []}],
                 offline_post_case:dead_letters(Config)).

interval(Config) ->
    say(Config, "bob", "u1", "1"),
    First = offline_post_backend:await(?config(backend, Config)),
    [say(Config, "bob", "u1", Text) || Text <- ["2", "3"]],
    say(Config, "bob", "u2", "x"),
    Other = offline_post_backend:await(?config(backend, Config)),
    Last = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual([<<"1">>, <<"x">>, <<"3">>], [offline_post_case:text(Post) || Post <- [First, Other, Last]]),
    ?assertMatch(Ms when Ms >= 1900, maps:get(at, Last) - maps:get(at, First)).

per_sender(Config) ->
    [say(Config, "bob", To, Text) || {To, Text} <- [{"u1", "1"}, {"u2", "2"}, {"u3", "3"}, {"u1", "4"}, {"u4", "5"}]],
    say(Config, "carl", "u1", "6"),
    ?assertEqual([<<"1">>, <<"2">>, <<"3">>, <<"6">>], texts(Config, 4)),
    offline_post_case:await(Config, #{accepted => 4, delivered => 4, limited => 2, pending => 0}).

per_recipient(Config) ->
    [say(Config, From, "u1", From) || From <- ["a", "b", "c", "d", "e"]],
    say(Config, "f", "u2", "f"),
    ?assertEqual([<<"a">>, <<"b">>, <<"c">>, <<"f">>], texts(Config, 4)),
    offline_post_case:await(Config, #{accepted => 4, delivered => 4, limited => 2, pending => 0}).

%% What is beyond leaves as one, and the next such half a minute later.
beyond_collapses(Config) ->
    paused(Config, fun() -> [say(Config, "bob", "u1", Text) || Text <- ["1", "2", "3", "4", "5"]] end),
    ?assertEqual([<<"1">>, <<"2">>, <<"5">>], texts(Config, 3)),
    offline_post_case:await(Config, #{delivered => 3, cancelled => 2, pending => 0}),
    [say(Config, "bob", "u1", Text) || Text <- ["6", "7"]],
    say(Config, "bob", "u2", "other"),
    ?assertEqual([<<"other">>], texts(Config, 1)),
    offline_post_case:await(Config, #{accepted => 8, delivered => 4, cancelled => 3, pending => 1, limited => 0}).

%% What a room says to its subscribers is not held against it, though the form has no room in it. Each of them has a rate.
room(Config) ->
    {Host, Clients} = {?config(host, Config), offline_post_client:start()},
    Owner = {Clients, "owner", "lounge@conference." ++ Host},
    offline_post_client:login(Clients, "owner", "u0@" ++ Host, offline_post_case:current(Config)),
    offline_post_room:enter(Owner, "Owner"),
    Users = ["u" ++ integer_to_list(N) || N <- lists:seq(1, 5)],
    [offline_post_room:subscribe(Owner, [User, "@", Host], "messages") || User <- Users],
    [begin
         offline_post_room:say(Owner, Text),
         Posts = offline_post_backend:await(?config(backend, Config), length(Users)),
         ?assertEqual([[{<<"to">>, list_to_binary(User)}, {<<"from">>, <<"lounge">>},
                        {<<"body">>, list_to_binary(Text)}, {<<"access_token">>, <<>>}] || User <- Users],
                      lists:sort([uri_string:dissect_query(Body) || #{body := Body} <- Posts]))
     end || Text <- ["1", "2"]],
    offline_post_case:await(Config, #{accepted => 10, delivered => 10, limited => 0}),
    %% Beside it the rates hold: bob has one, and u1 that one left.
    [say(Config, "bob", To, Text) || {To, Text} <- [{"u1", "3"}, {"u2", "4"}]],
    ?assertEqual([<<"3">>], texts(Config, 1)),
    offline_post_room:say(Owner, "5"),
    ?assertEqual([<<"5">>, <<"5">>, <<"5">>, <<"5">>], texts(Config, 4)),
    offline_post_case:await(Config, #{accepted => 15, delivered => 15, limited => 2, pending => 0}),
    offline_post_client:stop(Clients).

%%%

paused(Config, Do) ->
    {Node, Host} = {offline_post_case:current(Config), list_to_binary(?config(host, Config))},
    ok = offline_post_node:call(Node, mod_offline_post, pause, [Host]),
    Do(),
    ok = offline_post_node:call(Node, mod_offline_post, resume, [Host]).

say(Config, From, To, Text) ->
    Sender = case lists:member($@, From) of
                 true -> From;
                 false -> From ++ "@elsewhere.example/phone"
             end,
    offline_post_node:route(offline_post_case:current(Config), Sender, [To, "@", ?config(host, Config)], Text).

%% Sorted: events for different users leave in any order.
texts(Config, Count) ->
    lists:sort([offline_post_case:text(Post) || Post <- offline_post_backend:await(?config(backend, Config), Count)]).
