%% The process that counts stored messages: in order, bounded, and nothing is lost with it.
-module(mod_offline_post_badge_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HOST, <<"a.example">>).

badge_test_() ->
    [{Name, {timeout, 60, fun() ->
                                  Vm = setup(),
                                  try Test(Vm) after offline_post_vm:stop(Vm) end
                          end}} ||
        {Name, Test} <- [{"without the process", fun without/1}, {"counts in order", fun order/1}, {"behind", fun behind/1},
                         {"what cannot be counted", fun uncounted/1}, {"too many", fun too_many/1},
                         {"stops", fun stops/1}, {"hangs", fun hangs/1}, {"a use that crashes", fun crash/1},
                         {"events are counted without a table yet", fun no_table/1}]].

without(Vm) ->
    ?assertEqual([unknown], used(Vm, 1)).

order(Vm) ->
    prepare(Vm),
    ?assertEqual(lists:seq(1, 50), used(Vm, 50)).

%% In order with the counts, if there are any.
behind(Vm) ->
    prepare(Vm),
    ok = offline_post_vm:call(Vm, fake_use, clear, []),
    ok = offline_post_vm:call(Vm, fake_use, behind, []),
    ?assertEqual([1], used(Vm, 1)),
    set(Vm, count, waits),
    ask(Vm, 2),
    ok = offline_post_vm:call(Vm, fake_use, behind, []),
    set(Vm, count, next),
    ?assertEqual([2, 3, behind], await(Vm, 3)).

uncounted(Vm) ->
    prepare(Vm),
    set(Vm, count, fails),
    ?assertEqual([unknown, unknown], used(Vm, 2)),
    set(Vm, count, next),
    set(Vm, loaded, false),
    ?assertEqual([unknown], used(Vm, 1)).

%% While the database does not answer, those over the limit leave at once, in the process that asks.
too_many(Vm) ->
    prepare(Vm),
    set(Vm, count, waits),
    ask(Vm, 1200),
    ?assert(length([unknown || unknown <- got(Vm)]) >= 199),
    ?assertEqual([], [N || N <- got(Vm), is_integer(N)]),
    set(Vm, count, next),
    Used = await(Vm, 1200),
    ?assertEqual(1200, length(Used)),
    ?assert(length([N || N <- Used, is_integer(N)]) >= 1000),
    ?assertEqual([lists:last(Used) + 1], used(Vm, 1)).

%% With whatever still waits.
stops(Vm) ->
    prepare(Vm),
    set(Vm, count, waits),
    ask(Vm, 20),
    Badge = offline_post_vm:call(Vm, erlang, whereis, [mod_offline_post_badge]),
    true = offline_post_vm:call(Vm, erlang, exit, [Badge, shutdown]),
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_badge, stop, [])),
    set(Vm, count, next),
    ?assertEqual(20, length(await(Vm, 20))).

%% Virtual hosts that stop wait once for a database that does not answer.
hangs(Vm) ->
    prepare(Vm),
    set(Vm, count, waits),
    ask(Vm, 2),
    Badge = offline_post_vm:call(Vm, erlang, whereis, [mod_offline_post_badge]),
    [?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_badge, flush, [])) || _ <- lists:seq(1, 20)],
    {messages, Messages} = offline_post_vm:call(Vm, erlang, process_info, [Badge, messages]),
    ?assertMatch([_], [flush || {'$gen_call', _, flush} <- Messages]),
    set(Vm, count, next),
    ?assertEqual([1, 2], await(Vm, 2)),
    offline_post_vm:await_answers(Vm, mod_offline_post_badge),
    ask(Vm, 2),
    ok = offline_post_vm:call(Vm, mod_offline_post_badge, flush, []),
    ?assertEqual([3, 4], got(Vm)).

crash(Vm) ->
    prepare(Vm),
    ok = offline_post_vm:call(Vm, fake_use, crash, []),
    ?assertEqual([2], used(Vm, 1)).

no_table(Vm) ->
    %% Without Mnesia.
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_badge, prepare, [events])),
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_badge, reset, [<<"anna">>, ?HOST])).

used(Vm, N) ->
    ask(Vm, N),
    await(Vm, N).

ask(Vm, N) ->
    ok = offline_post_vm:call(Vm, fake_use, clear, []),
    ok = offline_post_vm:call(Vm, fake_use, ask, [N]).

%% As soon as N were used.
await(Vm, N) ->
    Used = got(Vm),
    case length(Used) < N of
        true -> receive after 20 -> await(Vm, N) end;
        false -> Used
    end.

got(Vm) ->
    lists:reverse(offline_post_vm:call(Vm, fake_use, got, [])).

set(Vm, Key, Value) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, Key}, Value]).

prepare(Vm) ->
    ok = offline_post_vm:call(Vm, mod_offline_post_badge, prepare, [stored]).

setup() ->
    Vm = offline_post_vm:start(),
    offline_post_vm:fake(Vm, gen_mod, "-module(gen_mod). -export([is_loaded/2, start_child/4, stop_child/1]).
        is_loaded(_, mod_offline) -> persistent_term:get({fake, loaded}).
        start_child(Module, _, _, Name) -> gen_server:start({local, Name}, Module, [], []).
        stop_child(_) -> ok."),
    offline_post_vm:fake(Vm, mod_offline, "-module(mod_offline). -export([count_offline_messages/2]).
        count_offline_messages(User, Host) ->
            case persistent_term:get({fake, count}) of
                next -> ets:update_counter(fake_use, count, 1);
                fails -> error(no_database);
                waits -> receive after 10 -> count_offline_messages(User, Host) end
            end."),
    offline_post_vm:fake(Vm, fake_use, "-module(fake_use). -export([start/0, ask/1, behind/0, clear/0, got/0, crash/0]).
        start() ->
            Self = self(),
            spawn(fun() ->
                ets:new(fake_use, [named_table, public, ordered_set]), Self ! ready, receive never -> ok end
            end),
            receive ready -> ets:insert(fake_use, [{count, 0}, {0, none}]), ok end.
        ask(N) ->
            [mod_offline_post_badge:stored(<<\"anna\">>, <<\"a.example\">>, fun(Count) ->
                ets:insert(fake_use, {erlang:unique_integer([positive, monotonic]), Count})
             end) || _ <- lists:seq(1, N)],
            ok.
        behind() ->
            mod_offline_post_badge:behind(<<\"a.example\">>, fun() ->
                ets:insert(fake_use, {erlang:unique_integer([positive, monotonic]), behind})
            end).
        clear() -> [ets:delete(fake_use, Key) || {Key, _} <- ets:tab2list(fake_use), is_integer(Key)], ok.
        got() -> lists:reverse([Count || {Key, Count} <- ets:tab2list(fake_use), is_integer(Key), Key > 0]).
        crash() -> mod_offline_post_badge:stored(<<\"anna\">>, <<\"a.example\">>, fun(_) -> error(crash) end)."),
    ok = offline_post_vm:call(Vm, fake_use, start, []),
    set(Vm, count, next),
    set(Vm, loaded, true),
    Vm.
