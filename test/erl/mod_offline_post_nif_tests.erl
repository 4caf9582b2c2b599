%% A native library that is missing, broken, of another version or changed: one line that says what to do, and
%% a module that stays loaded.
-module(mod_offline_post_nif_tests).

-include_lib("eunit/include/eunit.hrl").

-export([run/1]).

-define(NIF, mod_offline_post_nif).

load_test_() ->
    {foreach, fun setup/0, fun cleanup/1,
     [fun(Context) -> {Name, {timeout, 60, fun() -> Test(Context) end}} end ||
         {Name, Test} <- [{"missing", fun missing/1}, {"garbage", fun garbage/1}, {"another ABI", fun another_abi/1},
                          {"good", fun good/1}, {"events", fun events/1}, {"letters", fun letters/1},
                          {"what was seen", fun seen/1}, {"built later", fun built_later/1}, {"changed", fun changed/1},
                          {"removed", fun removed/1}, {"never replaced while in use", fun in_use/1}]]}.

missing({Vm, Dir}) ->
    install(Vm, Dir, []),
    tells(Vm, [Dir, "is not there", "make -C c_src", "build.log"]),
    [?assertError(not_loaded, call(Vm, Function, [{<<"h">>, <<"m">>} | More])) ||
        {Function, More} <- [{submit, [event()]}, {submit_sync, [event()]},
                             {withdraw, [{<<"u">>, <<"h">>}, all, cancel]}, {pause, []}, {resume, []}, {hasten, []},
                             {test, [event()]}, {observe, []}, {dead, [{drop, #{id => <<>>, reason => <<>>}}]}, {stats, []}]],
    ?assertEqual(undefined, offline_post_vm:call(Vm, mod_offline_post, stats, [<<"h">>])),
    [?assertEqual({error, unknown}, offline_post_vm:call(Vm, mod_offline_post, Function, [<<"h">> | More])) ||
        {Function, More} <- [{pause, []}, {resume, []}, {dead_letters, [all, 0, 10]}, {dead_letter, [<<"msg_1">>]},
                             {replay_dead_letters, [all]}, {drop_dead_letters, [{reason, <<"HTTP">>}]}]].

garbage({Vm, Dir}) ->
    ok = file:write_file(in_priv(Dir), <<"no library">>),
    install(Vm, Dir, []),
    tells(Vm, [in_priv(Dir), "cannot be loaded"]).

another_abi({Vm, Dir}) ->
    put_library(Dir),
    install(Vm, Dir, [{d, 'ABI', 99}]),
    tells(Vm, [in_priv(Dir), "another version", "make -C c_src"]),
    ?assertError(not_loaded, call(Vm, info, [])).

good({Vm, Dir}) ->
    put_library(Dir),
    install(Vm, Dir, []),
    ?assertEqual(ok, call(Vm, status, [])),
    ?assertMatch(#{version := _, curl := _, sqlite := _, threads := 0, running := false}, call(Vm, info, [])).

%% What crosses the border: events, withdrawals, rates; a term of another shape is a badarg.
events({Vm, Dir}) ->
    good({Vm, Dir}),
    Key = {<<"h">>, <<"m">>},
    User = {<<"u">>, <<"h">>},
    ?assertEqual({error, unknown}, call(Vm, withdraw, [Key, User, all, cancel])),
    {ok, [_ | _]} = call(Vm, configure, [Key, (config())#{rate_sender => 6}]),
    ok = call(Vm, pause, [Key]),
    [?assertMatch({ok, <<"msg_", _/binary>>}, call(Vm, submit, [Key, event(Topic)])) ||
        Topic <- [<<>>, <<"a">>, <<"b">>, <<"b">>, <<"c">>, <<>>]],
    ?assertEqual({error, limited}, call(Vm, submit, [Key, event(<<>>)])),
    ?assertEqual({error, limited}, call(Vm, submit_sync, [Key, event(<<>>)])),
    counts(Vm, Key, #{accepted => 6, limited => 2}),
    ok = call(Vm, withdraw, [Key, User, <<"a">>, cancel]),
    ok = call(Vm, withdraw, [Key, {<<"v">>, <<"h">>}, all, cancel]),
    counts(Vm, Key, #{cancelled => 2, pending => 4}),  % and the first <<"b">>
    ok = call(Vm, withdraw, [Key, User, all, purge]),
    counts(Vm, Key, #{cancelled => 2, purged => 4, pending => 0}),
    [?assertError(badarg, call(Vm, withdraw, [Key | Arguments])) ||
        Arguments <- [[User, <<>>, cancel], [User, none, cancel], [User, all, drop], [<<"u">>, all, cancel]]],
    [?assertError(badarg, call(Vm, submit, [Key, Event])) ||
        Event <- [setelement(7, event(<<>>), [{a, <<"b">>}]), setelement(7, event(<<>>), [<<"a">>]),
                  setelement(6, event(<<>>), none), setelement(1, event(<<>>), text),
                  erlang:delete_element(7, event(<<>>))]],
    %% These are taken on a dirty scheduler.
    {ok, _} = call(Vm, configure, [Key, config()]),
    Large = setelement(5, event(<<"a">>), binary:copy(<<"x">>, 65536)),
    {ok, _} = call(Vm, submit, [Key, Large]),
    {ok, _, Ref} = call(Vm, submit_sync, [Key, setelement(7, Large, [{<<"a">>, binary:copy(<<255>>, 65536)}])]),
    ?assert(is_reference(Ref)),
    counts(Vm, Key, #{accepted => 8, pending => 1}),  % the second has superseded the first
    ok = call(Vm, withdraw, [Key, User, all, purge]),
    counts(Vm, Key, #{accepted => 8, pending => 0}),
    [?assertError(badarg, call(Vm, submit, [Key, Event])) ||
        Event <- [setelement(7, Large, [{a, <<"b">>}]), setelement(6, Large, none)]],
    [?assertError(badarg, call(Vm, configure, [Key, (config())#{Name => Value}])) ||
        {Name, Value} <- [{form, json}, {rate_beyond, none}, {rate_sender, -1}, {collapse_interval, infinity}, {format, xml},
                          {content_type, none}, {fields, <<"a">>}, {fields, [<<"a">>]}, {fields, [{<<"a">>, b}]},
                          {fields, [{a, <<"b">>}]}, {fields, [{<<"a">>, [<<"b">>]}]}, {fields, [{<<"a">>, {list, <<"b">>}}]},
                          {fields, [{<<"a">>, {map, [{<<"b">>, undefined}]}}]}, {fields, [{<<"a">>, <<"b">>} | c]},
                          {fields, nested(40)}, {room_fields, #{}}, {headers, none}, {headers, [{<<"X">>, 1}]},
                          {auth, digest}, {signing_secrets, <<"a">>}, {signing_secrets, [a]}, {compress, zip}, {traceparent, 1}, {batch, {2, 1, 1}},
                          {batch, {2, 1, 1024, list}}, {batch, {0, 1, 1024, array}}, {batch, {2, infinity, 1024, array}},
                          {http_version, 2}, {client_cert, none}, {client_key, "k"}, {proxy, none}]],
    [?assertError(badarg, call(Vm, configure, [Key, maps:remove(Name, config())])) || Name <- maps:keys(config())],
    [?assertMatch({ok, _}, call(Vm, configure, [Key, (config())#{Name => Value}])) ||
        {Name, Value} <- [{format, json}, {fields, []}, {fields, [{<<"a">>, <<"{{to}}">>}, {<<"b">>, {list, [1, 2.5, true, null]}},
                                                                  {<<"c">>, {map, [{<<"d">>, {list, []}}]}}]},
                          {headers, [{<<"X-A">>, <<"{{id}}">>}]}, {auth, bearer}, {compress, gzip}, {http_version, http1},
                          {proxy, <<"http://u:p@127.0.0.1:3128">>}]],
    {ok, _} = call(Vm, configure, [Key, (config())#{format => json, fields => nested(20),
                                                    batch => {2, 1, 1024, ndjson}}]),
    {ok, _} = call(Vm, configure, [Key, (config())#{form => presence, rate_beyond => collapse, collapse_interval => 1}]).

%% A dead letter says all that its event said.
letters({Vm, Dir}) ->
    good({Vm, Dir}),
    Key = {<<"h">>, <<"m">>},
    {Listener, Refuser} = refuser("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
    {ok, _} = call(Vm, configure, [Key, (config())#{post_url => url(Listener)}]),
    {ok, Id} = call(Vm, submit, [Key, event(<<"a">>)]),
    counts(Vm, Key, #{dead => 1}),
    {[Letter], undefined} = dead(Vm, Key, {list, #{id => Id, reason => <<>>}, 0, 10}),
    {Kind, To, From, MessageId, Body, _, Attributes} = event(<<"a">>),
    ?assertMatch(#{id := Id, kind := Kind, to := To, from := From, message_id := MessageId, body := Body,
                   attributes := Attributes, count := 1, status := 400, answer := <<"no">>}, Letter),
    ok = call(Vm, withdraw, [Key, {<<"u">>, <<"h">>}, all, purge]),
    counts(Vm, Key, #{dead => 0, purged => 1}),
    Refuser ! stop.

%% What is told beside the counters, and what is shown of a test.
seen({Vm, Dir}) ->
    good({Vm, Dir}),
    Key = {<<"h">>, <<"m">>},
    ?assertEqual(undefined, call(Vm, observe, [Key])),
    ?assertEqual({error, unknown}, call(Vm, hasten, [Key])),
    {Listener, Refuser} = refuser("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
    {ok, _} = call(Vm, configure, [Key, (config())#{post_url => url(Listener), auth_token => <<"s3cret">>}]),
    Test = fun() ->
                   {ok, Ref} = ?NIF:test(Key, event()),
                   receive {offline_post_tested, Ref, Result} -> Result after 10000 -> error(timeout) end
           end,
    #{request := #{url := Url, headers := Headers, body := Body}} = Tested = offline_post_vm:call(Vm, ?MODULE, run, [Test]),
    ?assertMatch(#{status := 400, reason := <<"HTTP 400">>, answer := <<"no">>, us := _}, Tested),
    ?assertEqual(<<"to=u&from=v&body=hello&access_token=%28hidden%29">>, Body),
    ?assertEqual(url(Listener), Url),
    ?assertMatch({_, <<"msg_", _/binary>>}, lists:keyfind(<<"webhook-id">>, 1, Headers)),
    counts(Vm, Key, #{accepted => 0, attempts => 0}),
    {ok, Id} = call(Vm, submit, [Key, event()]),
    counts(Vm, Key, #{dead => 1}),
    #{attempt_us := {Bounds, Counts, _}} = Observed = call(Vm, observe, [Key]),
    ?assertMatch(#{state := healthy, why := <<>>, oldest_pending := 0, concurrency := 4, max_connections := 4,
                   queue_limit := 100, queue_bytes := 1000000,
                   attempts := #{delivered := 0, refused := 1, gone := 0, misconfigured := 0, trouble := 0},
                   outcomes := [#{id := Id, class := refused, status := 400, reason := <<"HTTP 400">>, attempt := 1}]},
                 Observed),
    ?assertEqual(length(Bounds) + 1, length(Counts)),
    ?assertEqual(1, lists:sum(Counts)),
    #{minutes := Minutes} = Observed,
    ?assertEqual({1, 0, 1, 1}, lists:foldl(fun({_, A, D, F, R, _, _}, {As, Ds, Fs, Rs}) -> {As + A, Ds + D, Fs + F, Rs + R} end,
                                           {0, 0, 0, 0}, Minutes)),
    ?assertMatch(#{commit_us := {_, _, 0}}, call(Vm, info, [])),
    ok = call(Vm, pause, [Key]),
    {ok, _} = call(Vm, submit, [Key, event()]),
    ok = call(Vm, hasten, [Key]),
    counts(Vm, Key, #{state => paused, pending => 1}),
    %% Once the service thread has read it.
    ok = until(fun() -> maps:get(oldest_pending, call(Vm, observe, [Key])) > 0 end),
    ?assertMatch(#{state := paused, why := <<"paused by the operator">>, concurrency := 0}, call(Vm, observe, [Key])),
    [?assertError(badarg, call(Vm, Function, [none | More])) || {Function, More} <- [{hasten, []}, {observe, []}, {test, [event()]}]],
    ?assertError(badarg, call(Vm, test, [Key, none])),
    Refuser ! stop.

%% Answers every request with these bytes.
refuser(Answer) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {Listener, spawn_link(fun() ->
                                  {ok, Socket} = gen_tcp:accept(Listener),
                                  Serve = fun Serve() ->
                                                  case gen_tcp:recv(Socket, 0) of
                                                      {ok, _} -> ok = gen_tcp:send(Socket, Answer), Serve();
                                                      {error, _} -> ok
                                                  end
                                          end,
                                  Serve(),
                                  receive stop -> ok end
                          end)}.

url(Listener) ->
    {ok, Port} = inet:port(Listener),
    iolist_to_binary(io_lib:format("http://127.0.0.1:~B/", [Port])).

%% Maps in maps, so many deep.
nested(1) -> [{<<"a">>, <<"b">>}];
nested(Depth) -> [{<<"a">>, {map, nested(Depth - 1)}}].

dead(Vm, Key, Request) ->
    Ask = fun() ->
                  {ok, Ref} = ?NIF:dead(Key, Request),
                  receive {offline_post_dead, Ref, Result} -> Result after 10000 -> error(timeout) end
          end,
    offline_post_vm:call(Vm, ?MODULE, run, [Ask]).

run(Fun) -> Fun().

%% Polls until the counters are these.
counts(Vm, Key, Expected) ->
    Counts = fun() -> maps:with(maps:keys(Expected), call(Vm, stats, [Key])) end,
    until(fun() -> Counts() =:= Expected end) =:= ok orelse ?assertEqual(Expected, Counts()),
    ok.

until(Condition) ->
    until(Condition, erlang:monotonic_time(millisecond) + 10000).

until(Condition, Deadline) ->
    case {Condition(), erlang:monotonic_time(millisecond) < Deadline} of
        {true, _} -> ok;
        {false, true} -> timer:sleep(5), until(Condition, Deadline);
        {false, false} -> timeout
    end.

config() ->
    #{post_url => <<"http://127.0.0.1:9/">>, auth_token => <<>>, timeout => 5000, connect_timeout => 5000, connection_max_age => 300000,
      max_connections => 4, queue_limit => 100, queue_bytes => 1000000, tls_verify => true, ca_file => <<>>,
      spool => false, spool_dir => <<>>, spool_min_free => 0, retry_schedule => [1000], max_age => 60000, max_ages => [{<<"call">>, 1000}],
      order => recipient, dead_letter_retention => 60000, dead_letter_limit => 10, collapse_interval => 0,
      rate_sender => 0, rate_recipient => 0, rate_beyond => drop, form => message, format => form, content_type => <<>>, fields => none,
      room_fields => none, headers => [], auth => body, signing_secrets => [], compress => none, traceparent => false, batch => none, proxy => <<>>,
      client_cert => <<>>, client_key => <<>>, http_version => auto}.

built_later({Vm, Dir}) ->
    install(Vm, Dir, []),
    tells(Vm, ["is not there"]),
    put_library(Dir),
    {module, ?NIF} = offline_post_vm:call(Vm, code, load_file, [?NIF]),
    ?assertEqual(ok, call(Vm, status, [])).

changed({Vm, Dir}) ->
    good({Vm, Dir}),
    {ok, Bytes} = file:read_file(in_priv(Dir)),
    ok = file:delete(in_priv(Dir)),
    ok = file:write_file(in_priv(Dir), [Bytes, 0]),
    tells(Vm, ["has changed", "restart the node"]).

removed({Vm, Dir}) ->
    good({Vm, Dir}),
    ok = file:delete(in_priv(Dir)),
    tells(Vm, ["is not there"]).

in_use({Vm, Dir}) ->
    good({Vm, Dir}),
    ?assertMatch({error, on_load_failure}, offline_post_vm:call(Vm, code, load_file, [?NIF])),
    ?assertEqual(ok, call(Vm, status, [])),
    ?assertMatch(#{version := _}, call(Vm, info, [])).

setup() ->
    Dir = string:trim(os:cmd("mktemp -d")),
    ok = filelib:ensure_dir(in_priv(Dir)),
    {offline_post_vm:start(), Dir}.

cleanup({Vm, Dir}) ->
    offline_post_vm:stop(Vm),
    ok = file:del_dir_r(Dir).

install(Vm, Dir, Options) ->
    Ebin = offline_post_vm:compile_nif(Dir, Options),
    true = offline_post_vm:call(Vm, code, add_patha, [Ebin]),
    {module, ?NIF} = offline_post_vm:call(Vm, code, ensure_loaded, [?NIF]).

put_library(Dir) ->
    {ok, _} = file:copy(offline_post_vm:library(), in_priv(Dir)).

in_priv(Dir) ->
    filename:join([Dir, "priv", "mod_offline_post_nif.so"]).

tells(Vm, Parts) ->
    {error, Text} = call(Vm, status, []),
    [?assertNotEqual({Part, Text, nomatch}, {Part, Text, binary:match(Text, iolist_to_binary(Part))}) || Part <- Parts],
    ?assertEqual(nomatch, binary:match(Text, <<"\n">>)).

call(Vm, Function, Args) ->
    offline_post_vm:call(Vm, ?NIF, Function, Args).

event() ->
    event(<<>>).

event(Topic) ->
    {<<"text">>, {<<"u">>, <<"h">>, <<>>}, {<<"v">>, <<"h">>, <<"r">>}, <<"1">>, <<"hello">>, Topic,
     [{<<"trigger">>, <<"offline">>}, {<<"stored">>, <<"offline">>}, {<<"nick">>, <<"\"ü\""/utf8>>}]}.
