%% A native library that is missing, broken, of another version or changed: one line that says what to do, and
%% a module that stays loaded.
-module(mod_offline_post_nif_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NIF, mod_offline_post_nif).

load_test_() ->
    {foreach, fun setup/0, fun cleanup/1,
     [fun(Context) -> {Name, {timeout, 60, fun() -> Test(Context) end}} end ||
         {Name, Test} <- [{"missing", fun missing/1}, {"garbage", fun garbage/1}, {"another ABI", fun another_abi/1},
                          {"good", fun good/1}, {"built later", fun built_later/1}, {"changed", fun changed/1},
                          {"removed", fun removed/1}, {"never replaced while in use", fun in_use/1}]]}.

missing({Vm, Dir}) ->
    install(Vm, Dir, []),
    tells(Vm, [Dir, "is not there", "make -C c_src", "build.log"]),
    [?assertError(not_loaded, call(Vm, Function, [{<<"h">>, <<"m">>} | More])) ||
        {Function, More} <- [{submit, [event()]}, {submit_sync, [event()]}, {pause, []}, {resume, []},
                             {dead, [{drop, #{id => <<>>, reason => <<>>}}]}, {stats, []}]],
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
    {{<<"u">>, <<"h">>, <<>>}, {<<"v">>, <<"h">>, <<>>}, <<>>, <<"text">>}.
