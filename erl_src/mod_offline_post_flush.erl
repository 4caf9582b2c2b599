%% Waits until a worker of the node has come to what waits for it now, before a virtual host stops. A worker that hangs is
%% waited for once: not by each of many virtual hosts that stop one after the other.
-module(mod_offline_post_flush).

-export([wait/3, done/2]).

-define(LONGEST_MS, 1000).

%% Unanswered: where the worker's counters have how often it was asked and has not answered.
-spec wait(Worker :: atom(), atomics:atomics_ref(), Unanswered :: pos_integer()) -> ok.
wait(Worker, Counters, Unanswered) ->
    case atomics:add_get(Counters, Unanswered, 1) of
        1 ->
            try gen_server:call(Worker, flush, ?LONGEST_MS)
            catch exit:_ -> ok
            end;
        _ ->
            atomics:sub(Counters, Unanswered, 1)
    end.

%% The worker: has come to it.
-spec done(atomics:atomics_ref(), Unanswered :: pos_integer()) -> ok.
done(Counters, Unanswered) ->
    atomics:sub(Counters, Unanswered, 1).
