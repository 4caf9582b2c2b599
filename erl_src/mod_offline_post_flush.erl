%% Waits until a process of the node has come to what waits for it now, before a virtual host stops. Many virtual hosts
%% that stop one after the other wait for a second in all while one of them finds a process that hangs, or the
%% authentication or database behind it.
-module(mod_offline_post_flush).

-export([wait/2]).

%% How long in all (ms). After a pause without a wait there is as much again.
-define(LONGEST, 1000).
-define(PAUSE, 10000).

%% In the counters: how many requests are not answered yet, how long was waited (ms), and when that was last (ms,
%% monotonic).
-define(ASKED, 1).
-define(WAITED, 2).
-define(LAST, 3).

%% Worker answers Request when it has come to it.
-spec wait(Worker :: atom(), Request :: term()) -> ok.
wait(Worker, Request) ->
    Counters = counters(Worker),
    Began = erlang:monotonic_time(millisecond),
    _ = (atomics:get(Counters, ?ASKED) =:= 0 orelse Began - atomics:get(Counters, ?LAST) > ?PAUSE)
        andalso atomics:put(Counters, ?WAITED, 0),
    case ?LONGEST - atomics:get(Counters, ?WAITED) of
        Left when Left > 0 ->
            answered(Worker, Request, Counters, Left),
            Now = erlang:monotonic_time(millisecond),
            atomics:add(Counters, ?WAITED, Now - Began),
            atomics:put(Counters, ?LAST, Now);
        _ ->
            ok
    end.

%% A process asks, and stays until it has its answer or the worker is gone.
-spec answered(atom(), term(), atomics:atomics_ref(), pos_integer()) -> ok.
answered(Worker, Request, Counters, Timeout) ->
    atomics:add(Counters, ?ASKED, 1),
    {Pid, Ref} = spawn_monitor(fun() -> ask(Worker, Request, Counters) end),
    receive {'DOWN', Ref, process, Pid, _} -> ok
    after Timeout ->
        true = demonitor(Ref, [flush]),
        ok
    end.

-spec ask(atom(), term(), atomics:atomics_ref()) -> ok.
ask(Worker, Request, Counters) ->
    try gen_server:call(Worker, Request, infinity) of
        _ -> ok
    catch
        exit:_ -> ok % there is no such process, or not any more
    after
        atomics:sub(Counters, ?ASKED, 1)
    end.

-spec counters(atom()) -> atomics:atomics_ref().
counters(Worker) ->
    case persistent_term:get({?MODULE, Worker}, undefined) of
        undefined ->
            Counters = atomics:new(3, [{signed, true}]),
            persistent_term:put({?MODULE, Worker}, Counters),
            Counters;
        Counters ->
            Counters
    end.
