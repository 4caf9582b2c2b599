%% What the commands ask the native side for, and how they show its answers. That ejabberdctl and mod_http_api take
%% them is shown by Common Test.
-module(mod_offline_post_commands_tests).

-include_lib("eunit/include/eunit.hrl").

-define(HOST, <<"a.example">>).
-define(ID, <<"msg_b9d1f3a07c5e2468_1f">>).
-define(NOBODY, <<"b.example">>).

commands_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                    {Name, Test} <- [{"stats", fun stats/1}, {"pause and resume", fun pause/1}, {"which letters", fun which/1},
                                     {"import", fun import/1}, {"list", fun list/1}, {"show", fun show/1}, {"replay and drop", fun bulk/1},
                                     {"a host that is not there", fun unknown_host/1},
                                     {"one that was configured once", fun former_host/1},
                                     {"one that does not run", fun not_running/1}]]
     end}.

stats(Vm) ->
    answer(Vm, #{accepted => 3, pending => 1, state => healthy, spool => durable}),
    ?assertEqual([{"accepted", <<"3">>}, {"commit_timeouts", <<"0">>}, {"duplicates", <<"0">>}, {"hook_crashes", <<"0">>},
                  {"member_overflows", <<"0">>}, {"pending", <<"1">>}, {"spool", <<"durable">>}, {"state", <<"healthy">>},
                  {"uncommitted", <<"0">>}, {"vetoed", <<"0">>}],
                 command(Vm, stats, [?HOST])).

pause(Vm) ->
    answer(Vm, ok),
    ?assertEqual({ok, <<"paused a.example until offline_post_resume">>}, command(Vm, pause, [<<"A.Example">>])),
    ?assertEqual({pause, key()}, asked(Vm)),
    ?assertEqual({ok, <<"resumed a.example">>}, command(Vm, resume, [?HOST])),
    ?assertEqual({resume, key()}, asked(Vm)).

which(Vm) ->
    answer(Vm, 3),
    [begin
         ?assertEqual(3, command(Vm, dead_drop, [?HOST, Which])),
         ?assertEqual({dead, key(), {drop, #{id => Id, reason => Reason}}}, asked(Vm))
     end || {Which, Id, Reason} <- [{<<"all">>, <<>>, <<>>}, {?ID, ?ID, <<>>}, {<<"HTTP 4">>, <<>>, <<"HTTP 4">>},
                                    {<<"expired">>, <<>>, <<"expired">>}]],
    [says(command(Vm, Command, [?HOST, <<>> | More]), not_exists, <<"say which">>) ||
        {Command, More} <- [{dead_drop, []}, {dead_replay, []}, {dead_list, [0]}]].

%% Without a text, and nothing in it that a terminal would obey.
list(Vm) ->
    answer(Vm, {[letter()], undefined}),
    ?assertEqual([{7, ?ID, <<"anna@a.example">>, <<"bob@b.example/phone">>, 5, 413, <<"2023-11-14T22:13:20Z">>,
                   <<"HTTP 413 ", 16#FFFD/utf8, "[31m">>}],
                 command(Vm, dead_list, [?HOST, <<"all">>, -3])),
    ?assertEqual({dead, key(), {list, #{id => <<>>, reason => <<>>}, 0, 100}}, asked(Vm)),
    command(Vm, dead_list, [?HOST, <<"HTTP">>, 7]),
    ?assertEqual({dead, key(), {list, #{id => <<>>, reason => <<"HTTP">>}, 7, 100}}, asked(Vm)).

show(Vm) ->
    answer(Vm, {[letter()], undefined}),
    ?assertEqual([{"number", <<"7">>}, {"id", ?ID}, {"kind", <<"text">>}, {"to", <<"anna@a.example">>}, {"from", <<"bob@b.example/phone">>},
                  {"message_id", <<"m1">>}, {"stands_for", <<"2">>},
                  {"trigger", <<"offline">>}, {"nick", <<"a", 16#FFFD/utf8, "b">>}, {"accepted", <<"2023-11-14T22:13:19Z">>}, {"died", <<"2023-11-14T22:13:20Z">>},
                  {"attempts", <<"5">>}, {"status", <<"413">>}, {"reason", <<"HTTP 413 ", 16#FFFD/utf8, "[31m">>},
                  {"answer", <<"too large ", 16#FFFD/utf8, 16#FFFD/utf8, "ä"/utf8>>}, {"body", <<"two\nlines 😀"/utf8>>}],
                 command(Vm, dead_show, [?HOST, ?ID])),
    answer(Vm, {[], undefined}),
    says(command(Vm, dead_show, [?HOST, ?ID]), not_exists, <<"a.example has no dead letter msg_b9d1f3a07c5e2468_1f">>).

bulk(Vm) ->
    answer(Vm, 0),
    [begin
         ?assertEqual(0, command(Vm, Command, [?HOST, <<"all">>])),
         ?assertEqual(0, command(Vm, Command, [?HOST, <<"HTTP 404">>])),
         says(command(Vm, Command, [?HOST, ?ID]), not_exists, <<"has no dead letter ", ?ID/binary>>)
     end || Command <- [dead_replay, dead_drop]],
    answer(Vm, 12),
    ?assertEqual(12, command(Vm, dead_replay, [?HOST, <<"all">>])).

%% The file may be in any state; an answer that is not complete is a failure, so that no script goes on.
import(Vm) ->
    Imported = #{pending => 12, dead => 1, withdrawn => 2, before => 3, left => 0, trouble => <<>>, file => <<"/a\nb.imported">>},
    answer(Vm, {done, Imported}),
    ?assertEqual([{"pending", <<"12">>}, {"dead", <<"1">>}, {"withdrawn", <<"2">>}, {"before", <<"3">>},
                  {"file", <<"/a", 16#FFFD/utf8, "b.imported">>}], command(Vm, import, [<<"/a">>])),
    ?assertEqual({import_open, <<"/a">>}, asked(Vm)),
    answer(Vm, {done, Imported#{left := 5, trouble := <<"there is no more room">>}}),
    says(command(Vm, import, [<<"/a">>]), timeout, <<"imported 12 messages and 1 dead letters, 5 are left: there is no more room.">>),
    answer(Vm, {error, <<"somebody has it">>}),
    says(command(Vm, import, [<<"/a">>]), not_exists, <<"nothing was imported: somebody has it">>),
    says(command(Vm, import, [<<"a">>]), not_exists, <<"with its whole path">>).

unknown_host(Vm) ->
    answer(Vm, unknown),
    [says(command(Vm, Command, [Host | More]), not_exists, Host) || {Command, More} <- all(), Host <- [?NOBODY, <<"@">>]].

%% Its dead letters outlive it.
former_host(Vm) ->
    answer(Vm, 3),
    ?assertEqual(3, command(Vm, dead_drop, [?NOBODY, <<"all">>])).

not_running(Vm) ->
    answer(Vm, unknown),
    [says(command(Vm, Command, [?HOST | More]), not_exists, <<"does not run for a.example">>) || {Command, More} <- all()].

%%%

all() ->
    [{stats, []}, {pause, []}, {resume, []}, {dead_list, [<<"all">>, 0]}, {dead_show, [?ID]}, {dead_replay, [<<"all">>]},
     {dead_drop, [?ID]}].

says({error, Kind, Status, Text}, Expected, Part) ->
    ?assertEqual({Expected, 1}, {Kind, Status}),
    ?assertNotEqual({Text, nomatch}, {Text, binary:match(Text, Part)});
says(Other, _, _) ->
    ?assertEqual(an_error, Other).

letter() ->
    #{id => ?ID, sequence => 7, to => {<<"anna">>, ?HOST, <<>>}, from => {<<"bob">>, ?NOBODY, <<"phone">>},
      kind => <<"text">>, count => 2, attributes => [{<<"trigger">>, <<"offline">>}, {<<"nick">>, <<"a\nb">>}],
      message_id => <<"m1">>, body => <<"two\nlines 😀"/utf8>>, attempts => 5, status => 413, reason => <<"HTTP 413 \e[31m">>,
      answer => <<"too large ", 255, 0, "ä"/utf8>>, accepted => 1699999999999, died => 1700000000000}.

key() ->
    {?HOST, <<"mod_offline_post">>}.

command(Vm, Function, Args) ->
    offline_post_vm:call(Vm, mod_offline_post_commands, Function, Args).

answer(Vm, Answer) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, answer}, Answer]).

asked(Vm) ->
    offline_post_vm:call(Vm, persistent_term, get, [{fake, asked}]).

setup() ->
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:call(Vm, stringprep, start, []),
    ok = offline_post_vm:fake(Vm, mod_offline_post_nif, fake_nif()),
    %% Where gen_mod notes which modules run.
    ok = offline_post_vm:call(Vm, mod_offline_post_nif, loaded, [?HOST]),
    Vm.

fake_nif() ->
    "-module(mod_offline_post_nif).\n"
    "-export([loaded/1, stats/1, pause/1, resume/1, dead/2, import_open/1, import_next/0]).\n"
    "import_open(File) -> case answer({import_open, File}) of {error, _} = Error -> Error; _ -> put(slices, 2), ok end.\n"
    "import_next() ->\n"
    "    case put(slices, get(slices) - 1) of\n"
    "        0 -> persistent_term:get({fake, answer});\n"
    "        _ -> Ref = make_ref(), self() ! {offline_post_imported, Ref, ok}, {ok, Ref}\n"
    "    end.\n"
    "loaded(Host) ->\n"
    "    Self = self(),\n"
    "    spawn(fun() ->\n"
    "        ets:new(ejabberd_modules, [named_table, public, {keypos, 2}]),\n"
    "        ets:insert(ejabberd_modules, {ejabberd_module, {mod_offline_post, Host}, #{}, 1}),\n"
    "        Self ! done,\n"
    "        receive never -> ok end\n"
    "    end),\n"
    "    receive done -> ok end.\n"
    "stats(_) -> case answer({stats, x}) of unknown -> undefined; Stats -> Stats end.\n"
    "pause(Key) -> known(answer({pause, Key})).\n"
    "resume(Key) -> known(answer({resume, Key})).\n"
    "known(unknown) -> {error, unknown};\n"
    "known(_) -> ok.\n"
    "dead(Key, Request) ->\n"
    "    case answer({dead, Key, Request}) of\n"
    "        unknown -> {error, unknown};\n"
    "        Answer -> Ref = make_ref(), self() ! {offline_post_dead, Ref, Answer}, {ok, Ref}\n"
    "    end.\n"
    "answer(Asked) -> persistent_term:put({fake, asked}, Asked), persistent_term:get({fake, answer}).\n".
