%% mod_available_post and mod_unavailable_post: each case says exactly which POSTs arrive. What must not arrive would
%% have been handed over before the last POST, of another user's session.
-module(presence_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([bytes/1, odd_user/1, changes/1, pairs/1, no_presence/1, directed/1, unavailable_twice/1, logged_out/1,
         lost/1, kicked/1, replaced/1, resumed/1, not_resumed/1, two_devices/1, no_messages/1, spooled/1, one_only/1,
         own_counters/1, signed_json/1, paused_by_answer/1, steered/1, tested/1, beside_messages/1, removed/1, times/1,
         one_order/1, one_order_kept/1, stopped/1]).

-define(SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [bytes, odd_user, changes, pairs, no_presence, directed, unavailable_twice, logged_out, lost, kicked, replaced,
     resumed, not_resumed, two_devices, no_messages, spooled, one_only, own_counters, signed_json,
     paused_by_answer, steered, tested, beside_messages, removed, times, one_order, one_order_kept, stopped].

%% both: without mod_offline_post. all: beside it. one: only the unavailable.
init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Fast = "  retry_schedule: [200 ms]\n",
    Post = fun(Module, Path, Schedule) ->
                   [Module, ":\n  post_url: \"", offline_post_backend:url(Backend, Path), "\"\n",
                    "  auth_token: \"s3cret&=+\"\n", Schedule]
           end,
    Available = Post("mod_available_post", "/available", Fast),
    Unavailable = Post("mod_unavailable_post", "/unavailable", Fast),
    Base = "mod_ping: {}\nmod_stream_mgmt:\n  resume_timeout: 60\n",
    Json = "  format: json\n  signing_secrets: [\"" ?SECRET "\"]\n  headers: {X-Host: \"{{host}}\"}\n",
    Times = ["  fields: {user: \"{{to.user}}\", event: \"{{kind}}\", at: \"{{timestamp}}\", seconds: \"{{timestamp.unix}}\"}\n"
             "  headers: {X-At: \"{{timestamp}}\"}\n"],
    Slow = "  retry_schedule: [5 s]\n",
    Messages = ["post_url: \"", offline_post_backend:url(Backend, "/offline"), "\"\n"],
    Node = offline_post_node:start(
             #{hosts => [{"both.localhost", #{modules => [Base, Available, Unavailable]}},
                         {"one.localhost", #{modules => [Base, Unavailable]}},
                         {"all.localhost", #{modules => [Base, "mod_offline: {}\n", Available, Unavailable],
                                             offline_post => Messages}},
                         {"times.localhost", #{modules => [Base, Available, Times, Unavailable, "  format: json\n", Times]}},
                         {"order.localhost", #{modules => [Base, Post("mod_available_post", "/available", Slow),
                                                           Post("mod_unavailable_post", "/unavailable", Slow)]}},
                         {"json.localhost", #{modules => [Base, Available, Json, Unavailable, Json]}},
                         {"short.localhost", #{modules => ["mod_ping: {}\nmod_stream_mgmt:\n  resume_timeout: 1\n",
                                                           Available, Unavailable]}}]}),
    [{node, Node}, {backend, Backend}, {clients, offline_post_client:start()} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Shared) ->
    {up, Node} = offline_post_node:current(?config(node, Shared)), % as the last case has left it
    Config = lists:keystore(node, 1, Shared, {node, Node}),
    {Clients, Backend} = {?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Host = host(Case),
    User = lists:flatten(string:replace(atom_to_list(Case), "_", ".", all)),
    [offline_post_node:register(Node, Name, Host, [Name, "-password"]) || Name <- [User, "last." ++ User]],
    [{host, Host}, {user, User} | Config].

end_per_testcase(_Case, Started) ->
    {up, Node} = offline_post_node:current(?config(node, Started)),
    Config = lists:keystore(node, 1, Started, {node, Node}),
    offline_post_client:reset(?config(clients, Config)),
    call(Config, ejabberd_sm, kick_user),
    await_sessions(Config, 0),
    settle(Config),
    _ = offline_post_backend:posts(?config(backend, Config)),
    [?assertEqual([], offline_post_law:violations(Stats)) || Stats <- all_stats(Config)].

host(one_only) -> "one.localhost";
host(times) -> "times.localhost";
host(one_order) -> "order.localhost";
host(one_order_kept) -> "order.localhost";
host(signed_json) -> "json.localhost";
host(not_resumed) -> "short.localhost";
host(beside_messages) -> "all.localhost";
host(stopped) -> "all.localhost";
host(_) -> "both.localhost".

%%%

%% In the other format, too, and signed as Standard Webhooks says.
signed_json(Config) ->
    online(Config, "a"),
    Available = offline_post_backend:await(?config(backend, Config)),
    offline_post_client:offline(?config(clients, Config), "a"),
    Unavailable = offline_post_backend:await(?config(backend, Config)),
    "whsec_" ++ Key = ?SECRET,
    [begin
         Header = fun(Name) -> proplists:get_value(Name, Headers) end,
         ?assertMatch({match, _}, re:run(Body, ["^\\{\"type\":\"presence\\.", Kind, "\",\"timestamp\":\"[-0-9T:.]+Z\",\"data\":\\{.*"
                                                "\"jid\":\"signed\\.json@json\\.localhost\".*\"access_token\":\"s3cret&=\\+\"\\}$"])),
         ?assertEqual({<<"application/json">>, <<"json.localhost">>}, {Header(<<"content-type">>), Header(<<"x-host">>)}),
         Signed = [Header(<<"webhook-id">>), $., Header(<<"webhook-timestamp">>), $., Body],
         ?assertEqual(iolist_to_binary(["v1,", base64:encode(crypto:mac(hmac, sha256, base64:decode(Key), Signed))]),
                      Header(<<"webhook-signature">>))
     end || {Kind, #{body := Body, headers := Headers}} <- [{"available", Available}, {"unavailable", Unavailable}]].

%% The original's.
bytes(Config) ->
    online(Config, "a"),
    #{path := Path, headers := Headers, body := Body} = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual({<<"/available">>, <<"jabber_id=bytes&access_token=s3cret%26%3D%2B">>}, {Path, Body}),
    ?assertEqual(<<"application/x-www-form-urlencoded">>, proplists:get_value(<<"content-type">>, Headers)),
    offline_post_client:offline(?config(clients, Config), "a"),
    #{path := End, body := Same} = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual({<<"/unavailable">>, Body}, {End, Same}).

odd_user(Config) ->
    Node = ?config(node, Config),
    Name = unicode:characters_to_list([$g, 252, $n, $+, $x]),
    Jid = offline_post_node:call(Node, jid, make, [unicode:characters_to_binary(Name), host_name(Config), <<"a">>]),
    ok = offline_post_node:call(Node, mod_offline_post_presence, posts, [mod_available_post, <<"available">>, Jid]),
    #{body := Body} = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual(<<"jabber_id=g%C3%BCn%2Bx&access_token=s3cret%26%3D%2B">>, Body).

%% Only the first presence of a session.
changes(Config) ->
    online(Config, "a"),
    [send(Config, "a", ["<presence>", Content, "</presence>"]) ||
        Content <- ["<show>away</show>", "<priority>-1</priority>", "<priority>5</priority>", ""]],
    ?assertEqual([available], told(Config)).

%% A session may become unavailable and available again.
pairs(Config) ->
    online(Config, "a"),
    ?assertEqual([available], told(Config)),
    send(Config, "a", "<presence type='unavailable'/>"),
    ?assertEqual([unavailable], told(Config)),
    send(Config, "a", "<presence/>"),
    ?assertEqual([available], told(Config)).

%% Who was never available does not become unavailable.
no_presence(Config) ->
    login(Config, "a"),
    offline_post_client:offline(?config(clients, Config), "a"),
    await_sessions(Config, 0),
    ?assertEqual([], told(Config)).

%% What is meant for one contact is not for all.
directed(Config) ->
    login(Config, "a"),
    [send(Config, "a", ["<presence to='last.directed@", ?config(host, Config), "'", Type, "/>"]) ||
        Type <- ["", " type='unavailable'"]],
    ?assertEqual([], told(Config)).

unavailable_twice(Config) ->
    login(Config, "a"),
    [send(Config, "a", ["<presence", Type, "/>"]) ||
        Type <- [" type='unavailable'", "", " type='unavailable'", " type='unavailable'"]],
    offline_post_client:offline(?config(clients, Config), "a"),
    await_sessions(Config, 0),
    ?assertEqual([available, unavailable], lists:sort(told(Config))).

logged_out(Config) ->
    online(Config, "a"),
    ?assertEqual([available], told(Config)),
    offline_post_client:offline(?config(clients, Config), "a"),
    await_sessions(Config, 0),
    ?assertEqual([unavailable], told(Config)).

lost(Config) ->
    online(Config, "a"),
    ?assertEqual([available], told(Config)),
    offline_post_client:kill(?config(clients, Config), "a"),
    await_sessions(Config, 0),
    ?assertEqual([unavailable], told(Config)).

kicked(Config) ->
    online(Config, "a"),
    ?assertEqual([available], told(Config)),
    1 = call(Config, ejabberd_sm, kick_user),
    offline_post_client:ended(?config(clients, Config), "a"),
    await_sessions(Config, 0),
    ?assertEqual([unavailable], told(Config)).

%% Another session takes the resource: the first one's end, and the second one's beginning.
replaced(Config) ->
    Clients = ?config(clients, Config),
    online(Config, "a"),
    ?assertEqual([available], told(Config)),
    offline_post_client:login(Clients, "again", jid(Config, "a"), ?config(node, Config)),
    offline_post_client:ended(Clients, "a"),
    offline_post_client:online(Clients, "again"),
    await_sessions(Config, 1),
    ?assertEqual([available, unavailable], lists:sort(told(Config))).

%% A resumed session goes on: it neither ended nor began.
resumed(Config) ->
    Clients = ?config(clients, Config),
    offline_post_client:login_resumable(Clients, "a", jid(Config, "a"), ?config(node, Config)),
    offline_post_client:online(Clients, "a"),
    ?assertEqual([available], told(Config)),
    offline_post_client:kill(Clients, "a"),
    offline_post_client:resume(Clients, "a"),
    send(Config, "a", "<presence><show>away</show></presence>"),
    ?assertEqual([], told(Config)),
    offline_post_client:offline(Clients, "a"),
    await_sessions(Config, 0),
    ?assertEqual([unavailable], told(Config)).

%% One that waits in vain ends then.
not_resumed(Config) ->
    Clients = ?config(clients, Config),
    offline_post_client:login_resumable(Clients, "a", jid(Config, "a"), ?config(node, Config)),
    offline_post_client:online(Clients, "a"),
    ?assertEqual([available], told(Config)),
    offline_post_client:kill(Clients, "a"),
    await_sessions(Config, 0),
    ?assertEqual([unavailable], told(Config)).

%% Each session counts.
two_devices(Config) ->
    [online(Config, Device) || Device <- ["a", "b"]],
    ?assertEqual([available, available], told(Config)),
    offline_post_client:offline(?config(clients, Config), "a"),
    await_sessions(Config, 1),
    ?assertEqual([unavailable], told(Config)).

%% Messages are another module's.
no_messages(Config) ->
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", jid(Config, ""), "text"),
    ?assertEqual([], told(Config)).

%% The same outbox: what the backend refuses for now comes later, in order.
spooled(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    online(Config, "a"),
    offline_post_backend:await(Backend),
    ?assertMatch(#{spool := durable, pending := 1}, stats(Config, mod_available_post)),
    offline_post_backend:set(Backend, {reply, 200}),
    settle(Config),
    Posts = offline_post_backend:posts(Backend),
    ?assertMatch(#{path := <<"/available">>, body := <<"jabber_id=spooled&", _/binary>>}, lists:last(Posts)).

one_only(Config) ->
    online(Config, "a"),
    offline_post_client:offline(?config(clients, Config), "a"),
    await_sessions(Config, 0),
    ?assertEqual([unavailable], told(Config)),
    ?assertEqual(undefined, stats(Config, mod_available_post)).

own_counters(Config) ->
    [#{accepted := Available}, #{accepted := Unavailable}] = Before = [stats(Config, Module) || Module <- modules()],
    ?assertEqual([], [Stats || Stats <- Before, offline_post_law:violations(Stats) =/= []]),
    online(Config, "a"),
    await_accepted(Config, mod_available_post, Available + 1),
    ?assertMatch(#{accepted := Unavailable}, stats(Config, mod_unavailable_post)),
    offline_post_client:offline(?config(clients, Config), "a"),
    await_accepted(Config, mod_unavailable_post, Unavailable + 1),
    ?assertMatch(#{accepted := N} when N =:= Available + 1, stats(Config, mod_available_post)),
    %% mod_offline_post does not run here.
    ?assertEqual(undefined, offline_post_node:stats(?config(node, Config), ?config(host, Config))).

%% 410 pauses the one endpoint; a plain reload_config resumes it.
paused_by_answer(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, fun(#{path := <<"/available">>}) -> {reply, 410}; (_) -> {reply, 200} end),
    online(Config, "a"),
    offline_post_backend:await(Backend),
    offline_post_wait:until(fun() -> maps:get(state, stats(Config, mod_available_post)) =:= paused end),
    ?assertMatch(#{state := healthy}, stats(Config, mod_unavailable_post)),
    offline_post_backend:set(Backend, {reply, 200}),
    ok = offline_post_node:call(?config(node, Config), ejabberd_config, reload, []),
    #{path := <<"/available">>, body := <<"jabber_id=paused.by.answer&", _/binary>>} =
        offline_post_backend:await(Backend),
    settle(Config).

%% An operator names it with its virtual host; a dead letter of it is found, and sent again.
steered(Config) ->
    Backend = ?config(backend, Config),
    Name = ?config(host, Config) ++ "/mod_available_post",
    offline_post_backend:set(Backend, {reply, 400}),
    #{dead := Dead} = stats(Config, mod_available_post),
    online(Config, "a"),
    offline_post_backend:await(Backend),
    offline_post_wait:until(fun() -> maps:get(dead, stats(Config, mod_available_post)) =:= Dead + 1 end),
    {0, Listed} = ctl(Config, ["offline_post_dead_list", Name, "all", "0"]),
    ?assertMatch({match, [_]}, re:run(Listed, "steered@both\\.localhost/a.*HTTP 400", [global])),
    {0, None} = ctl(Config, ["offline_post_dead_list", ?config(host, Config) ++ "/mod_unavailable_post", "all", "0"]),
    ?assertEqual(<<>>, None),
    {0, _} = ctl(Config, ["offline_post_pause", Name]),
    ?assertMatch({0, <<"1\n">>}, ctl(Config, ["offline_post_dead_replay", Name, "all"])),
    ?assertMatch(#{state := paused, pending := 1}, stats(Config, mod_available_post)),
    ?assertMatch(#{state := healthy}, stats(Config, mod_unavailable_post)),
    {0, Stats} = ctl(Config, ["offline_post_stats", Name]),
    ?assertMatch({match, _}, re:run(Stats, "state\tpaused")),
    ?assertEqual(nomatch, re:run(Stats, "duplicates")), % it has no messages
    offline_post_backend:set(Backend, {reply, 200}),
    {0, _} = ctl(Config, ["offline_post_resume", Name]),
    #{path := <<"/available">>, body := <<"jabber_id=steered&", _/binary>>} = offline_post_backend:await(Backend),
    settle(Config),
    {1, Unknown} = ctl(Config, ["offline_post_pause", ?config(host, Config) ++ "/mod_offline"]),
    ?assertMatch({match, _}, re:run(Unknown, "comes nothing, or /mod_available_post")),
    {1, Absent} = ctl(Config, ["offline_post_pause", ?config(host, Config)]),
    ?assertMatch({match, _}, re:run(Absent, "mod_offline_post is not configured for a virtual host both.localhost")).

tested(Config) ->
    [begin
         {0, Shown} = ctl(Config, ["offline_post_test", [?config(host, Config), "/", Module], "nurse"]),
         #{path := Path, body := <<"jabber_id=nurse&", _/binary>>} = offline_post_backend:await(?config(backend, Config)),
         ?assertMatch({match, _}, re:run(Shown, "result\tHTTP 200"))
     end || {Module, Path} <- [{"mod_available_post", <<"/available">>}, {"mod_unavailable_post", <<"/unavailable">>}]].

%% All three on one host, each with its URL.
beside_messages(Config) ->
    Backend = ?config(backend, Config),
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", jid(Config, ""), "text"),
    #{path := <<"/offline">>} = offline_post_backend:await(Backend),
    online(Config, "a"),
    #{path := <<"/available">>} = offline_post_backend:await(Backend),
    offline_post_client:offline(?config(clients, Config), "a"),
    #{path := <<"/unavailable">>} = offline_post_backend:await(Backend),
    settle(Config),
    ?assertEqual([], offline_post_backend:posts(Backend)).

%% Of a removed account only the end of its session is told.
removed(Config) ->
    Backend = ?config(backend, Config),
    #{purged := Purged} = stats(Config, mod_available_post),
    offline_post_backend:set(Backend, fun(#{path := <<"/available">>}) -> {reply, 503}; (_) -> {reply, 200} end),
    online(Config, "a"),
    offline_post_backend:await(Backend),
    ok = call(Config, ejabberd_auth, remove_user),
    offline_post_wait:until(fun() -> maps:get(purged, stats(Config, mod_available_post)) =:= Purged + 1 end),
    await_sessions(Config, 0),
    offline_post_backend:set(Backend, {reply, 200}),
    ?assertEqual([unavailable], [What || What <- told(Config), What =:= unavailable]).

%% When it happened, in both formats, in fields and headers: the same in each attempt.
times(Config) ->
    Backend = ?config(backend, Config),
    Before = erlang:system_time(second),
    online(Config, "a"),
    #{body := Form, headers := FormHeaders} = offline_post_backend:await(Backend),
    [{<<"user">>, <<"times">>}, {<<"event">>, <<"available">>}, {<<"at">>, At}, {<<"seconds">>, Seconds}] =
        uri_string:dissect_query(Form),
    ?assertEqual(At, proplists:get_value(<<"x-at">>, FormHeaders)),
    ?assertEqual(binary_to_integer(Seconds), calendar:rfc3339_to_system_time(binary_to_list(At))),
    offline_post_backend:set(Backend, {reply, 503}),
    send(Config, "a", "<presence type='unavailable'/>"),
    #{body := Json, headers := JsonHeaders} = offline_post_backend:await(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    #{body := Json, headers := AgainHeaders} = offline_post_backend:await(Backend),
    {match, [Later, LaterSeconds]} =
        re:run(Json, "^\\{\"user\":\"times\",\"event\":\"unavailable\",\"at\":\"([-0-9T:.]+Z)\",\"seconds\":([0-9]+)\\}$",
               [{capture, all_but_first, binary}]),
    [?assertEqual(Later, proplists:get_value(<<"x-at">>, Headers)) || Headers <- [JsonHeaders, AgainHeaders]],
    ?assert(Later >= At),
    ?assert(Before =< binary_to_integer(Seconds) andalso
            binary_to_integer(LaterSeconds) =< erlang:system_time(second)).

%% The older one's POST fails and waits for its retry; the newer ones, of the other module and of its own, wait for it.
one_order(Config) ->
    {Backend, Clients} = {?config(backend, Config), ?config(clients, Config)},
    out_of_reach(Config),
    offline_post_client:login(Clients, "nurse", "last.one.order@order.localhost", ?config(node, Config)),
    offline_post_client:online(Clients, "nurse"), % other users do not wait
    Posts = [post(Post) || Post <- offline_post_backend:await(Backend, 4)],
    ?assertEqual([{"last.one.order", available}], [Post || {"last.one.order", _} = Post <- Posts]),
    ?assertEqual([unavailable, available, unavailable], [What || {"one.order", What} <- Posts]).

%% The same over the node's end.
one_order_kept(Config) ->
    {Backend, Node} = {?config(backend, Config), ?config(node, Config)},
    out_of_reach(Config),
    offline_post_backend:set(Backend, silent), % a stop sends what it can
    dumped = offline_post_node:call(Node, mnesia, dump_log, []),
    0 = offline_post_node:finish(Node, init_stop),
    _ = offline_post_backend:posts(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    offline_post_node:boot(Node),
    ?assertEqual([{"one.order.kept", What} || What <- [unavailable, available, unavailable]],
                 [post(Post) || Post <- offline_post_backend:await(Backend, 3)]).

%% The end of a session could not be posted yet; then one begins and ends.
out_of_reach(Config) ->
    Backend = ?config(backend, Config),
    online(Config, "a"),
    ?assertEqual({?config(user, Config), available}, post(offline_post_backend:await(Backend))),
    offline_post_backend:set(Backend, fun(#{path := <<"/unavailable">>}) -> {reply, 503}; (_) -> {reply, 200} end),
    send(Config, "a", "<presence type='unavailable'/>"),
    ?assertEqual({?config(user, Config), unavailable}, post(offline_post_backend:await(Backend))),
    offline_post_wait:until(fun() -> maps:get(in_flight, stats(Config, mod_unavailable_post)) =:= 0 end),
    offline_post_backend:set(Backend, {reply, 200}),
    send(Config, "a", "<presence/>"),
    send(Config, "a", "<presence type='unavailable'/>").

%% Each of the three goes on without the others; the last one to stop takes the thread with it, and the first one to
%% start brings it back.
stopped(Config) ->
    Node = ?config(node, Config),
    Running = [{Host, Module} || Host <- ["both.localhost", "one.localhost", "all.localhost", "short.localhost", "json.localhost", "times.localhost", "order.localhost"],
                                 Module <- [mod_offline_post | modules()],
                                 offline_post_node:call(Node, gen_mod, is_loaded, [list_to_binary(Host), Module])],
    {Last, Others} = {{"all.localhost", mod_available_post}, Running -- [{"all.localhost", mod_available_post}]},
    [stop(Node, One) || One <- Others],
    online(Config, "a"),
    #{path := <<"/available">>} = offline_post_backend:await(?config(backend, Config)),
    offline_post_client:offline(?config(clients, Config), "a"),
    ?assert(offline_post_node:threads(Node) > 0),
    ?assertMatch({0, <<"all.localhost\tmod_available_post\thealthy", _/binary>>}, ctl(Config, ["offline_post_status"])),
    stop(Node, Last),
    ?assertNotEqual(0, element(1, ctl(Config, ["offline_post_status"]))),
    ?assertEqual(0, offline_post_node:threads(Node)),
    ?assertEqual(undefined, offline_post_node:call(Node, erlang, whereis, [mod_offline_post_owner])),
    ?assertEqual(0, offline_post_node:count_log(Node, "still has an endpoint")),
    [ok = offline_post_node:call(Node, gen_mod, start_module, [list_to_binary(Host), Module]) ||
        {Host, Module} <- [Last | Others]],
    online(Config, "a"),
    #{path := <<"/available">>} = offline_post_backend:await(?config(backend, Config)).

%%%

online(Config, Name) ->
    login(Config, Name),
    offline_post_client:online(?config(clients, Config), Name).

login(Config, Name) ->
    offline_post_client:login(?config(clients, Config), Name, jid(Config, Name), ?config(node, Config)).

jid(Config, Resource) ->
    lists:flatten([?config(user, Config), "@", ?config(host, Config), ["/" || Resource =/= ""], Resource]).

%% The server has handled it.
send(Config, Name, Xml) ->
    offline_post_client:send(?config(clients, Config), Name, Xml),
    offline_post_client:request(?config(clients, Config), Name, "get", "<ping xmlns='urn:xmpp:ping'/>").

%% What arrived of this user since the last time. A session of another user begins and ends: all is there when those
%% POSTs are and nothing is pending.
told(Config) ->
    {Clients, Backend} = {?config(clients, Config), ?config(backend, Config)},
    Last = "last." ++ ?config(user, Config),
    offline_post_client:login(Clients, "last", Last ++ "@" ++ ?config(host, Config), ?config(node, Config)),
    offline_post_client:online(Clients, "last"),
    offline_post_client:offline(Clients, "last"),
    offline_post_wait:until(fun() -> sessions(Config, Last) =:= [] end),
    Before = await_end(Backend, Last, []),
    settle(Config),
    [What || {User, What} <- Before ++ [post(Post) || Post <- offline_post_backend:posts(Backend)], User =/= Last].

await_end(Backend, Last, Before) ->
    case post(offline_post_backend:await(Backend)) of
        {Last, unavailable} -> lists:reverse(Before);
        Post -> await_end(Backend, Last, [Post | Before])
    end.

post(#{path := Path, body := Body}) ->
    [{<<"jabber_id">>, User}, {<<"access_token">>, <<"s3cret&=+">>}] = uri_string:dissect_query(Body),
    {binary_to_list(User), case Path of <<"/available">> -> available; <<"/unavailable">> -> unavailable end}.

sessions(Config, User) ->
    offline_post_node:call(?config(node, Config), ejabberd_sm, get_session_sids,
                           [list_to_binary(User), host_name(Config)]).

await_sessions(Config, N) ->
    offline_post_wait:until(fun() -> length(sessions(Config, ?config(user, Config))) =:= N end).

ctl(Config, Args) ->
    offline_post_node:ctl(?config(node, Config), [lists:flatten(Arg) || Arg <- Args]).

call(Config, Module, Function) ->
    offline_post_node:call(?config(node, Config), Module, Function,
                           [list_to_binary(?config(user, Config)), host_name(Config)]).

host_name(Config) ->
    list_to_binary(?config(host, Config)).

modules() ->
    [mod_available_post, mod_unavailable_post].

stats(Config, Module) ->
    offline_post_node:call(?config(node, Config), Module, stats, [host_name(Config)]).

all_stats(Config) ->
    [Stats || Module <- modules(), #{} = Stats <- [stats(Config, Module)]].

await_accepted(Config, Module, N) ->
    offline_post_wait:until(fun() -> maps:get(accepted, stats(Config, Module)) =:= N end).

settle(Config) ->
    offline_post_wait:until(fun() -> [] =:= [S || #{pending := N} = S <- all_stats(Config), N > 0] end).

stop(Node, {Host, Module}) ->
    ok = offline_post_node:call(Node, gen_mod, stop_module, [list_to_binary(Host), Module]).
