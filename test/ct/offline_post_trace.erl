%% Which processes of a node call which functions, as the VM's own tracing sees it.
-module(offline_post_trace).

-export([start/2, stop/2]).
-export([run/1, collect/1]).

%% Functions: [{Module, Function, Arity}], of loaded modules. Returns what stop/2 needs.
start(Node, Functions) ->
    {?MODULE, Beam, File} = code:get_object_code(?MODULE),
    {module, ?MODULE} = offline_post_node:call(Node, code, load_binary, [?MODULE, File, Beam]),
    offline_post_node:call(Node, ?MODULE, run, [Functions]).

%% Every call since then, oldest first: [{Pid, Function}].
stop(Node, Tracer) ->
    offline_post_node:call(Node, ?MODULE, collect, [Tracer]).

%% On the node.
run(Functions) ->
    Tracer = spawn(fun() -> receive never -> ok end end),
    _ = erlang:trace(all, true, [call, {tracer, Tracer}]),
    [{Function, 1} = {Function, erlang:trace_pattern(Function, true, [local])} || Function <- Functions],
    Tracer.

collect(Tracer) ->
    _ = erlang:trace(all, false, [call]),
    Delivered = erlang:trace_delivered(all),
    receive {trace_delivered, all, Delivered} -> ok end,
    {messages, Messages} = erlang:process_info(Tracer, messages),
    exit(Tracer, kill),
    [{Pid, Function} || {trace, Pid, call, {_, Function, _}} <- Messages].
