%% From options to what the native side is given, and what is said of a backlog that is left behind.
-module(mod_offline_post_endpoint_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HOST, <<"a.example">>).
-define(URL, <<"https://push.example.org/offline">>).

endpoint_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                    {Name, Test} <- [{"defaults", fun defaults/1}, {"in memory", fun in_memory/1}, {"as written", fun as_written/1},
                                     {"who waits for commits", fun waiting/1}, {"a refusal", fun refusal/1},
                                     {"left behind", fun left_behind/1}]]
     end}.

defaults(Vm) ->
    Config = configured(Vm, #{}),
    ?assertMatch(#{post_url := ?URL, spool := true, queue_bytes := 8589934592, spool_min_free := 268435456, order := recipient,
                   max_age := 86400000, dead_letter_retention := 604800000, dead_letter_limit := 100000,
                   retry_schedule := [1000, 2000 | _], ca_file := <<>>}, Config),
    %% ejabberd's own directory, whatever it is called from where.
    Mnesia = filename:absname(list_to_binary(offline_post_vm:call(Vm, mnesia, system_info, [directory]))),
    ?assertEqual(Mnesia, maps:get(spool_dir, Config)).

in_memory(Vm) ->
    ?assertMatch(#{spool := false, queue_bytes := 268435456}, configured(Vm, #{spool => false})).

as_written(Vm) ->
    Written = #{spool_dir => <<"/var/spool/x">>, queue_bytes => 1000, retry_schedule => [5], order => none, max_age => 7,
                dead_letter_retention => 8, dead_letter_limit => 0, spool_min_free => 0},
    ?assertEqual(Written, maps:with(maps:keys(Written), configured(Vm, Written))),
    ?assertMatch(#{queue_bytes := 1000}, configured(Vm, #{spool => false, queue_bytes => 1000})).

waiting(Vm) ->
    [begin
         configured(Vm, #{sync_commit => SyncCommit, spool => Spool}),
         ?assertEqual({SyncCommit, Spool, Expected}, {SyncCommit, Spool, waits(Vm)})
     end || {SyncCommit, Spool, Expected} <- [{false, true, false}, {true, true, true}, {true, false, false}, {true, true, true},
                                              {false, false, false}]].

%% What runs goes on as it was.
refusal(Vm) ->
    configured(Vm, #{sync_commit => true}),
    ok = set(Vm, answer, {error, <<"no">>}),
    ?assertEqual({error, <<"no">>}, configure(Vm, #{})),
    ?assert(waits(Vm)),
    ok = set(Vm, answer, ok).

left_behind(Vm) ->
    configured(Vm, #{sync_commit => true}),
    [begin
         ok = set(Vm, log, []),
         ok = set(Vm, pending, Pending),
         ok = set(Vm, spool, Spool),
         ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_endpoint, remove, [?HOST])),
         ?assertNot(waits(Vm)),
         said(Text, offline_post_vm:call(Vm, persistent_term, get, [{fake, log}]))
     end || {Pending, Spool, Text} <-
                [{0, durable, none}, {5, durable, "5 messages for a.example are not delivered yet: they wait on disk for the next start"},
                 {5, degraded, "5 messages for a.example are not delivered yet: they wait in memory"},
                 {5, memory, "are lost when the node stops"}, {never, durable, "not confirmed within 1050 ms"},
                 {unknown, durable, none}]].

said(none, Lines) -> ?assertEqual([], Lines);
said(Text, [Line]) -> ?assertNotEqual({nomatch, Line}, {string:find(Line, Text), Line}).

configured(Vm, Options) ->
    ok = configure(Vm, Options),
    offline_post_vm:call(Vm, persistent_term, get, [{fake, config}]).

configure(Vm, Options) ->
    Defaults = maps:from_list([Option || {_, _} = Option <- mod_offline_post:mod_options(?HOST)]),
    offline_post_vm:call(Vm, mod_offline_post_endpoint, configure, [?HOST, maps:merge(Defaults#{post_url => ?URL}, Options)]).

waits(Vm) ->
    offline_post_vm:call(Vm, persistent_term, get, [{mod_offline_post_commit, ?HOST}, false]).

set(Vm, What, Value) ->
    offline_post_vm:call(Vm, persistent_term, put, [{fake, What}, Value]).

setup() ->
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:call(Vm, logger, set_primary_config, [level, info]),
    ok = offline_post_vm:fake(Vm, mod_offline_post_nif, fake_nif()),
    ok = offline_post_vm:call(Vm, logger, add_handler, [fake, mod_offline_post_nif, #{}]),
    ok = offline_post_vm:call(Vm, mod_offline_post_nif, loaded, [?HOST]),
    ok = set(Vm, answer, ok),
    ok = set(Vm, log, []),
    Vm.

fake_nif() ->
    "-module(mod_offline_post_nif).\n"
    "-export([loaded/1, configure/2, remove/2, stats/1, log/2]).\n"
    "loaded(Host) ->\n"
    "    Self = self(),\n"
    "    spawn(fun() ->\n"
    "        ets:new(ejabberd_modules, [named_table, public, {keypos, 2}]),\n"
    "        ets:insert(ejabberd_modules, {ejabberd_module, {mod_offline_post, Host}, #{shutdown_timeout => 50}, 1}),\n"
    "        Self ! done,\n"
    "        receive never -> ok end\n"
    "    end),\n"
    "    receive done -> ok end.\n"
    "configure(_, Config) -> persistent_term:put({fake, config}, Config), persistent_term:get({fake, answer}).\n"
    "remove(_, 50) ->\n"
    "    Ref = make_ref(),\n"
    "    case persistent_term:get({fake, pending}) of\n"
    "        unknown -> {error, unknown};\n"
    "        never -> {ok, Ref};\n"
    "        N -> self() ! {offline_post_removed, Ref, N}, {ok, Ref}\n"
    "    end.\n"
    "stats(_) -> #{state => stopped, spool => persistent_term:get({fake, spool})}.\n"
    "log(#{msg := {Format, [_ | _] = Args}}, _) when is_list(Format) ->\n"
    "    case lists:flatten(io_lib:format(Format, Args)) of\n"
    "        \"mod_offline_post\" ++ _ = Line -> persistent_term:put({fake, log}, [Line | persistent_term:get({fake, log})]);\n"
    "        _ -> ok\n"
    "    end;\n"
    "log(_, _) -> ok.\n".
