%% What another node asks for: in order, whatever it is, and without harm to the process that does it.
-module(mod_offline_post_nodes_tests).

-include_lib("eunit/include/eunit.hrl").

nodes_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                    {Name, Test} <- [{"in order", fun in_order/1}, {"a function of another version", fun unknown/1},
                                     {"a crash", fun crash/1}, {"no other node", fun alone/1}]]
     end}.

in_order(Vm) ->
    [cast(Vm, {fake_work, do, [N]}) || N <- [1, 2, 3]],
    ?assertEqual([1, 2, 3], done(Vm)).

unknown(Vm) ->
    cast(Vm, {fake_work, do, [1, of_another_version]}),
    cast(Vm, {no_such_module, do, [1]}),
    ?assertEqual([1, 2, 3], done(Vm)),
    ?assertMatch(#{hook_crashes := 0}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

crash(Vm) ->
    Owner = offline_post_vm:call(Vm, erlang, whereis, [mod_offline_post_owner]),
    cast(Vm, {fake_work, do, [defect]}),
    cast(Vm, {fake_work, do, [4]}),
    ?assertEqual([1, 2, 3, 4], done(Vm)),
    ?assertEqual(Owner, offline_post_vm:call(Vm, erlang, whereis, [mod_offline_post_owner])),
    ?assertMatch(#{hook_crashes := 1}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% Nor ejabberd's list of them: it is not there in this VM.
alone(Vm) ->
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_nodes, cast, [fake_work, do, [5]])),
    ?assertEqual([1, 2, 3, 4], done(Vm)).

%%%

%% As it comes from another node.
cast(Vm, Call) ->
    offline_post_vm:call(Vm, gen_server, cast, [mod_offline_post_owner, {run, 'other@node', Call}]).

done(Vm) ->
    {error, unknown} = offline_post_vm:call(Vm, gen_server, call, [mod_offline_post_owner, ping]),
    lists:reverse(offline_post_vm:call(Vm, persistent_term, get, [{fake, done}, []])).

setup() ->
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:fake(Vm, fake_work,
                              "-module(fake_work).\n-export([do/1]).\n"
                              "do(N) when is_integer(N) -> persistent_term:put({fake, done}, [N | persistent_term:get({fake, done}, [])]).\n"),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, mod_offline_post_owner}, mod_offline_post_owner, [], []]),
    Vm.
