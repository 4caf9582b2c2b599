%% The receivers of examples/ against a real module: each event is pushed once, whatever gets lost, and what is not
%% genuine
%% is not.
-module(examples_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([python/1, node/1, rails/1, short/1]).

-define(SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").
-define(BOOT_MS, 60000).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [short, python, node, rails].

examples() -> [python, node, rails].

%% Each has a push service behind it, and before it a backend that passes on what comes, or not.
init_per_suite(Config) ->
    Examples = [{Name, example(Name)} || Name <- examples()],
    Hosts = [{host(Name), #{modules => "mod_offline: {}\n",
                            offline_post => ["format: json\nretry_schedule: [50 ms]\nsigning_secrets: [" ?SECRET "]\n"
                                             "post_url: \"", offline_post_backend:url(Front, "/"), "\"\n"]}} ||
                {Name, #{front := Front}} <- Examples],
    Node = offline_post_node:start(#{hosts => Hosts}),
    [offline_post_node:register(Node, "juliet", host(Name), "x") || Name <- examples()],
    [{node, Node}, {examples, Examples} | Config].

example(Name) ->
    {Front, Push} = {offline_post_backend:start(), offline_post_backend:start()},
    Port = free_port(),
    Program = case command(Name, integer_to_list(Port)) of
                  {false, _} ->
                      not_installed;
                  {Command, Arguments} ->
                      %% By its address: Node.js 18 asks only the first one that `localhost` has, which may be ::1.
                      Env = [{"SECRET", ?SECRET}, {"PUSH_URL", local(offline_post_backend:port(Push)) ++ "send"}],
                      offline_post_port:open(Command, Arguments, [{env, Env}, stderr_to_stdout])
              end,
    #{front => Front, push => Push, port => Port, program => Program,
      url => local(Port)}.

local(Port) -> "http://127.0.0.1:" ++ integer_to_list(Port) ++ "/".

command(python, Port) -> {file("receiver.py"), [Port]};
command(node, Port) -> {os:find_executable("node"), [file("receiver.js"), Port]};
command(rails, Port) -> {os:find_executable("puma"), ["-e", "production", "-b", "tcp://127.0.0.1:" ++ Port,
                                                      file("rails.ru")]}.

file(Name) -> filename:join([offline_post_node:root(), "examples", Name]).

host(Name) -> atom_to_list(Name) ++ ".localhost".

end_per_suite(Config) ->
    0 = offline_post_node:stop(?config(node, Config)),
    [begin
         ended(Program),
         offline_post_backend:stop(Front),
         offline_post_backend:stop(Push)
     end || {_, #{program := Program, front := Front, push := Push}} <- ?config(examples, Config)].

ended(not_installed) ->
    ok;
ended(Program) ->
    %% Before it ends: its exit status is told once, to whoever has the port then.
    {os_pid, Pid} = erlang:port_info(offline_post_port:take(Program), os_pid),
    _ = os:cmd("kill " ++ integer_to_list(Pid)),
    offline_post_port:await_exit(Program, ?BOOT_MS).

init_per_testcase(short, Config) ->
    Config;
init_per_testcase(Name, Config) ->
    #{front := Front, push := Push, program := Program, port := Port} = Example = proplists:get_value(Name,
                                                                                                      ?config(examples,
                                                                                                              Config)),
    ?assertNotEqual({not_installed, Name}, {Program, Name}),
    offline_post_port:take(Program),
    offline_post_wait:until(fun() -> is_there(Port) end, ?BOOT_MS, fun() ->
                            {Name, offline_post_port:output(Program)} end),
    [offline_post_backend:listen(Backend) || Backend <- [Front, Push]],
    maps:to_list(Example) ++ [{name, Name} | Config].

end_per_testcase(_Case, Config) ->
    [?assertEqual([], offline_post_law:violations(offline_post_node:stats(?config(node, Config), host(Name)))) ||
     Name <- examples()].

is_there(Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
        {ok, Socket} -> gen_tcp:close(Socket), true;
        {error, econnrefused} -> false
    end.

%%%

short(_Config) ->
    [?assertMatch({_, Lines} when Lines =< 60, {File, lines(File)}) ||
     File <- ["receiver.py", "receiver.js", "rails.ru"]].

lines(File) ->
    {ok, Text} = file:read_file(file(File)),
    length(binary:matches(Text, <<"\n">>)).

python(Config) -> works(Config).
node(Config) -> works(Config).
rails(Config) -> works(Config).

works(Config) ->
    [begin
         ct:pal("~p: ~p", [?config(name, Config), What]),
         Case(Config)
     end || {What, Case} <- [{broken_off, fun broken_off/1}, {pushed, fun pushed/1}, {answer_lost, fun answer_lost/1}, {altered, fun altered/1},
                             {old, fun old/1},
                             {unsigned, fun unsigned/1}, {service_down, fun service_down/1},
                                 {service_silent, fun service_silent/1}]].

%% Whoever hangs up in the middle ends nothing but his own request: all that follows here is served.
broken_off(Config) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, ?config(port, Config), [binary, {active, false}]),
    ok = gen_tcp:send(Socket, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{\"data\":"),
    ok = inet:setopts(Socket, [{linger, {true, 0}}]),
    ok = gen_tcp:close(Socket),
    unsigned(Config).

pushed(Config) ->
    front(Config, fun(_) -> pass end),
    say(Config, "Good night & <b>\"more\"</b>"),
    ?assertMatch({match, _}, re:run(push(Config), "^\\{\"to\": ?\"juliet@[a-z]+.localhost\", ?"
                                    "\"title\": ?\"romeo@verona.example/balcony\", ?\"text\": ?\"Good night (&|.u0026) ")),
    only_that(Config).

%% What comes again because its answer got lost is not pushed again.
answer_lost(Config) ->
    front(Config, fun(1) -> pass_and_lose; (_) -> pass end),
    say(Config, "lost"),
    push(Config),
    only_that(Config),
    ?assertEqual([204, 204], front_saw(Config)).

%% On its way; then it comes as it was.
altered(Config) ->
    front(Config, fun(1) -> {alter, <<"love">>, <<"hate">>}; (_) -> pass end),
    say(Config, "with love"),
    ?assertMatch({match, _}, re:run(push(Config), "with love")),
    only_that(Config),
    ?assertEqual([401, 204], front_saw(Config)).

%% Signed with the right secret, but ten minutes ago, or from now.
old(Config) ->
    Now = erlang:system_time(second),
    ?assertEqual([401, 401], [request(Config, <<"msg_old">>, Now + Ago, <<"{\"data\":{\"to\":\"a\",\"body\":\"b\"}}">>)
                              || Ago <- [-600, 600]]),
    ?assertEqual([], offline_post_backend:posts(?config(push, Config))).

unsigned(Config) ->
    [?assertEqual({Headers, 401}, {Headers, send(Config, Headers, <<"{}">>)}) ||
        Headers <- [[], [{"webhook-id", "msg_1"}], [{"webhook-id", "msg_1"}, {"webhook-timestamp", "x"},
                                                    {"webhook-signature", "v1,"}],
                    [{"webhook-id", "msg_1"}, {"webhook-timestamp", integer_to_list(erlang:system_time(second))},
                     {"webhook-signature", "v1,AAAA v1a,AAAA"}]]].

%% It comes again until the push service has it.
service_down(Config) ->
    Push = ?config(push, Config),
    front(Config, fun(_) -> pass end),
    offline_post_backend:set(Push, {reply, 503}),
    say(Config, "patience"),
    push(Config),
    offline_post_backend:set(Push, {reply, 200}),
    settled(Config),
    ?assertMatch([503 | _], front_saw(Config)),
    ?assert(length(offline_post_backend:posts(Push)) >= 1).

%% The answer does not wait for it: it is there before mod_offline_post gives up.
service_silent(Config) ->
    Push = ?config(push, Config),
    offline_post_backend:set(Push, silent),
    Began = erlang:monotonic_time(millisecond),
    ?assertEqual(503, request(Config, <<"msg_silent">>, erlang:system_time(second),
                              <<"{\"data\":{\"to\":\"a\",\"body\":\"b\"}}">>)),
    ?assert(erlang:monotonic_time(millisecond) - Began < 8000),
    push(Config),
    offline_post_backend:set(Push, {reply, 200}).

%%%

say(Config, Text) ->
    offline_post_node:route(?config(node, Config), "romeo@verona.example/balcony",
                            ["juliet@", host(?config(name, Config))],
                            offline_post_client:escape(Text)).

%% The next notification.
push(Config) ->
    #{body := Body} = offline_post_backend:await(?config(push, Config)),
    Body.

settled(Config) ->
    offline_post_wait:until(fun() ->
        maps:get(pending, offline_post_node:stats(?config(node, Config), host(?config(name, Config)))) =:= 0
    end).

only_that(Config) ->
    settled(Config),
    ?assertEqual([], offline_post_backend:posts(?config(push, Config))).

%% What the front makes of the Nth POST from now on.
front(Config, What) ->
    {Url, Counter, Statuses} = {?config(url, Config), counters:new(1, []), ets:new(statuses, [public, ordered_set])},
    put(statuses, Statuses),
    offline_post_backend:set(?config(front, Config), fun(#{headers := Headers, body := Body}) ->
        counters:add(Counter, 1, 1),
        N = counters:get(Counter, 1),
        {Status, Act} = case What(N) of
                            pass -> S = forward(Url, Headers, Body), {S, {reply, S}};
                            pass_and_lose -> {forward(Url, Headers, Body), hang_up};
                            {alter, From, To} -> S = forward(Url, Headers, binary:replace(Body, From, To)),
                                {S, {reply, S}}
                        end,
        true = ets:insert(Statuses, {N, Status}),
        Act
    end).

%% What the example has answered since then.
front_saw(_Config) ->
    [Status || {_, Status} <- ets:tab2list(get(statuses))].

forward(Url, Headers, Body) ->
    post(Url, [{binary_to_list(Name), binary_to_list(Value)} || {<<"webhook-", _/binary>> = Name, Value} <- Headers],
         Body).

request(Config, Id, Timestamp, Body) ->
    "whsec_" ++ Key = ?SECRET,
    Signed = [Id, ".", integer_to_list(Timestamp), ".", Body],
    Signature = base64:encode_to_string(crypto:mac(hmac, sha256, base64:decode(Key), Signed)),
    send(Config, [{"webhook-id", binary_to_list(Id)}, {"webhook-timestamp", integer_to_list(Timestamp)},
                  {"webhook-signature", "v1," ++ Signature}], Body).

send(Config, Headers, Body) ->
    post(?config(url, Config), Headers, Body).

post(Url, Headers, Body) ->
    {ok, _} = application:ensure_all_started(inets),
    {ok, {{_, Status, _}, _, _}} = httpc:request(post, {Url, Headers, "application/json", Body}, [{timeout, 20000}],
                                                 []),
    Status.

free_port() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.
