%% Waits until a worker of the node has come to what waits for it now, before a virtual host stops. A worker that hangs is
%% waited for once: not by each of many virtual hosts that stop one after the other.
-module(mod_offline_post_flush).

-export([wait/1]).

-define(LONGEST_MS, 1000).

%% A process asks, and stays until it has its answer or the worker is gone: while it is there, nobody else asks.
-spec wait(Worker :: atom()) -> ok.
wait(Worker) ->
    Asker = list_to_atom(atom_to_list(Worker) ++ "_flush"),
    {Pid, Ref} = spawn_monitor(fun() -> ask(Worker, Asker) end),
    receive {'DOWN', Ref, process, Pid, _} -> ok
    after ?LONGEST_MS ->
        true = demonitor(Ref, [flush]),
        ok
    end.

-spec ask(atom(), atom()) -> ok.
ask(Worker, Asker) ->
    try
        true = register(Asker, self()),
        ok = gen_server:call(Worker, flush, infinity)
    catch
        error:badarg -> ok; % another asks
        exit:_ -> ok % there is no worker, or not any more
    end.
