%% Has the other nodes of the cluster run a function of ours. A node without this module, or one that is not connected,
%% ignores it without a word.
-module(mod_offline_post_nodes).

-export([cast/3, run/2]).

-type call() :: {module(), Function :: atom(), Args :: [term()]}.

%% Any process; it waits for no node. There each call runs in mod_offline_post_owner, one after another, those of one
%% process in their order: the function must not take long, and must not take Args of unknown size.
-spec cast(module(), Function :: atom(), Args :: [term()]) -> ok.
cast(Module, Function, Args) ->
    %% A process that is not there swallows a message; erpc:cast writes an error report there, with Args in it.
    _ = nodes() =/= [] andalso
        [erlang:send({mod_offline_post_owner, Node}, {'$gen_cast', {run, node(), {Module, Function, Args}}}, [noconnect, nosuspend]) ||
            Node <- ejabberd_cluster:get_nodes(), Node =/= node()],
    ok.

%% On the other node. A function that this version does not have is another version's.
-spec run(From :: node(), call()) -> ok.
run(From, {Module, Function, Args}) ->
    _ = erlang:function_exported(Module, Function, length(Args)) andalso
        mod_offline_post:guarded(aside, atom_to_binary(From), fun() -> apply(Module, Function, Args) end),
    ok.
