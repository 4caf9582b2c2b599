%% A VM of its own for tests that replace modules or load the native library: what they do to it ends with it.
-module(offline_post_vm).

-export([start/0, stop/1, call/4, await_end/2, await_answers/2, compile_nif/2, library/0, fake/3]).

start() ->
    {ok, Vm, _} = peer:start(#{connection => standard_io, wait_boot => 30000,
                               args => ["-pa" | [P || P <- code:get_path(), filelib:is_dir(P)]]}),
    Vm.

stop(Vm) ->
    peer:stop(Vm).

call(Vm, Module, Function, Args) ->
    peer:call(Vm, Module, Function, Args, 30000).

%% Of the process of this name; within the test's own time.
await_end(Vm, Name) ->
    case call(Vm, erlang, whereis, [Name]) of
        undefined -> ok;
        _ -> receive after 10 -> await_end(Vm, Name) end
    end.

%% Of the worker to what mod_offline_post_flush has asked; within the test's own time.
await_answers(Vm, Worker) ->
    case call(Vm, atomics, get, [call(Vm, persistent_term, get, [{mod_offline_post_flush, Worker}]), 1]) of
        0 -> ok;
        _ -> receive after 10 -> await_answers(Vm, Worker) end
    end.

%% Compiles the stub module into Dir/ebin, as an installed one lies there, and returns its path.
compile_nif(Dir, Options) ->
    Ebin = filename:join(Dir, "ebin"),
    ok = filelib:ensure_dir(filename:join(Ebin, "x")),
    Source = proplists:get_value(source, mod_offline_post_nif:module_info(compile)),
    {ok, mod_offline_post_nif} = compile:file(Source, [{outdir, Ebin}, report | Options]),
    Ebin.

%% The library that the build has made.
library() ->
    filename:join([filename:dirname(filename:dirname(code:which(mod_offline_post_nif))), "priv",
                   "mod_offline_post_nif.so"]).

%% Loads a module of this source in the VM, in place of the one of that name.
fake(Vm, Module, Source) ->
    {ok, Tokens, _} = erl_scan:string(Source),
    {ok, Module, Beam} = compile:forms(forms(Tokens, [])),
    {module, Module} = call(Vm, code, load_binary, [Module, "fake", Beam]),
    ok.

forms([], []) ->
    [];
forms([{dot, _} = Dot | Tokens], Form) ->
    {ok, Parsed} = erl_parse:parse_form(lists:reverse([Dot | Form])),
    [Parsed | forms(Tokens, [])];
forms([Token | Tokens], Form) ->
    forms(Tokens, [Token | Form]).
