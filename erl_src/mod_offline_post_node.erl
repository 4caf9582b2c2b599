%% What a node has once, whatever the number of virtual hosts: our processes, the commands, the web admin's pages and the
%% native side's thread.
-module(mod_offline_post_node).

-export([start/0, stop/0, release/2, is_elsewhere/2]).

-include_lib("kernel/include/logger.hrl").

%% With the first virtual host of mod_offline_post, and at each reload. What runs already goes on.
-spec start() -> ok.
start() ->
    ok = mod_offline_post_owner:start(),
    ok = mod_offline_post_command_specs:register(),
    ok = mod_offline_post_once:start(),
    ok = mod_offline_post_devices:start(),
    ok = mod_offline_post_calls:start(),
    mod_offline_post_members:start().

%% With the last one.
-spec stop() -> ok.
stop() ->
    ok = mod_offline_post_once:stop(),
    ok = mod_offline_post_devices:stop(),
    ok = mod_offline_post_calls:stop(),
    ok = mod_offline_post_members:stop(),
    ok = mod_offline_post_badge:stop(),
    mod_offline_post:forget().

%% Whether Module is loaded for another virtual host. ejabberd stops its virtual hosts in their order, so the last one is
%% the most likely, and gen_mod, which looks through all modules of all virtual hosts, is asked only for the very last.
-spec is_elsewhere(binary(), module()) -> boolean().
is_elsewhere(Host, Module) ->
    lists:any(fun(Other) -> Other =/= Host andalso gen_mod:is_loaded(Other, Module) end, lists:reverse(ejabberd_option:hosts()))
        orelse gen_mod:is_loaded_elsewhere(Host, Module).

%% With the last host of the last of our modules the commands go and the thread ends, and with the owner the last lines
%% are logged.
%% Module stops for Host: gen_mod still has it among the loaded ones.
-spec release(binary(), module()) -> ok.
release(Host, Module) ->
    Others = mod_offline_post_endpoint:modules() -- [Module],
    case is_elsewhere(Host, Module)
             orelse lists:any(fun(Other) -> gen_mod:is_loaded(Host, Other) orelse is_elsewhere(Host, Other) end, Others) of
        true ->
            ok;
        false ->
            _ = code:is_loaded(mod_offline_post_web) =/= false andalso mod_offline_post_web:stop_node(),
            _ = code:is_loaded(mod_offline_post_command_specs) =/= false andalso mod_offline_post_command_specs:unregister(),
            Stopped = is_native() andalso mod_offline_post_nif:stop(),
            _ = gen_mod:stop_child(mod_offline_post_owner),
            mod_offline_post:forget(),
            case Stopped of
                {error, disk_silent} ->
                    ?LOG_ERROR("mod_offline_post: the disk of spool_dir does not answer. The module has stopped without it. "
                               "Notifications that are not on the disk yet are written when it answers, and lost if the "
                               "node ends before. Look at the disk (dmesg)", []),
                    _ = mod_offline_post_endpoint:forget_spool(),
                    ok;
                {error, busy} ->
                    ?LOG_ERROR("mod_offline_post: the native side still has an endpoint and runs on", []);
                _ ->
                    _ = mod_offline_post_endpoint:forget_spool(),
                    ok
            end
    end.

-spec is_native() -> boolean().
is_native() ->
    mod_offline_post_native:ask(fun() -> is_map(mod_offline_post_nif:info()) end, false).
