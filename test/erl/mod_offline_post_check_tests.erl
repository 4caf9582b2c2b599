%% What is pure of a check. That it finds what ejabberd and our modules would refuse is shown by Common Test.
-module(mod_offline_post_check_tests).

-include_lib("eunit/include/eunit.hrl").

%% Where to, and nothing that may be a secret.
origin_test_() ->
    [?_assertEqual({Url, Origin}, {Url, mod_offline_post_check:origin(Url)}) ||
        {Url, Origin} <- [{<<"http://backend.example">>, <<"http://backend.example">>},
                          {<<"https://backend.example:8443/secret?k=secret">>, <<"https://backend.example:8443">>},
                          {<<"https://me:secret@backend.example/">>, <<"https://backend.example">>},
                          {<<"https://backend.example?k=a@b">>, <<"https://backend.example">>},
                          {<<"https://backend.example#secret@x">>, <<"https://backend.example">>},
                          {<<"http://[::1]:80/{{to.user}}">>, <<"http://[::1]:80">>}]].

%% One for all; a change wants a restart.
spools_test_() ->
    Spool = fun(Host, Dir) ->
                    {Host, mod_offline_post, #{spool => true, spool_dir => Dir, spool_min_free => 1}}
            end,
    Same = [Spool(Host, <<"/a">>) || Host <- [<<"a.example">>, <<"b.example">>]],
    [?_assertEqual({Name, Expected},
                   {Name, [{Host, Kind} || {Host, mod_offline_post, Kind, _} <- mod_offline_post_check:spools(Running, Endpoints)]}) ||
        {Name, Running, Endpoints, Expected} <-
            [{"as it runs", {true, <<"/a">>, 1}, Same, []},
             {"nothing runs yet", undefined, Same, []},
             {"another directory", {true, <<"/b">>, 1}, Same, [{<<"global">>, warning}]},
             {"another limit", {true, <<"/a">>, 2}, Same, [{<<"global">>, warning}]},
             {"two of them", {true, <<"/a">>, 1}, Same ++ [Spool(<<"c.example">>, <<"/c">>)], [{<<"c.example">>, error}]}]].

%% What a shell and HTTP make of it.
command_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, fun() ->
                                ok = offline_post_vm:call(Vm, persistent_term, put, [fake, Result]),
                                ?assertEqual(Expected, offline_post_vm:call(Vm, mod_offline_post_commands, check_config, []))
                        end} || {Name, Result, Expected} <- results()]
     end}.

results() ->
    Ok = {<<"a.example">>, mod_offline_post, ok, <<"format json">>},
    Warning = {<<"a.example">>, mod_offline_post, warning, <<"two\nlines">>},
    Error = {<<"a.example">>, mod_offline_post, error, <<"batch: \e[31m">>},
    [{"right", {ok, [Ok, Warning]}, [{<<"a.example">>, <<"mod_offline_post">>, <<"ok">>, <<"format json">>},
                                     {<<"a.example">>, <<"mod_offline_post">>, <<"warning">>, <<"two", 16#FFFD/utf8, "lines">>}]},
     {"wrong", {ok, [Ok, Error, Warning, Error]},
      {error, conflict, 1, <<"a.example: mod_offline_post: batch: ", 16#FFFD/utf8, "[31m\n"
                             "a.example: mod_offline_post: batch: ", 16#FFFD/utf8, "[31m">>}},
     {"busy", {error, busy}, {error, timeout, 1, <<"another check is under way: ask again in a moment">>}},
     {"too long", {error, timeout}, {error, timeout, 1, <<"nothing is known: loading the file took longer than 30 s">>}},
     {"broken", {error, {failed, "error:undef"}}, {error, timeout, 1, <<"nothing is known: the check failed (error:undef)">>}}].

setup() ->
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:fake(Vm, mod_offline_post_check,
                              "-module(mod_offline_post_check).\n-export([run/1]).\nrun(30000) -> persistent_term:get(fake).\n"),
    Vm.
