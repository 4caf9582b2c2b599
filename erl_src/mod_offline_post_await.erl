%% Waiting for what the native side will send. In a process of its own: an answer that comes too late finds nobody,
%% and whoever has a long mailbox need not search it.
-module(mod_offline_post_await).

-export([answer/3]).
%% For spawn_monitor alone.
-export([run/3]).

-type ask(Why) :: fun(() -> {ok, reference()} | {error, Why}).

%% Ask makes the request, in the process that then waits for {Tag, Ref, Answer}. What it raises is raised here.
-spec answer(Tag :: atom(), ask(Why), TimeoutMs :: pos_integer()) -> {ok, Answer :: term()} | {error, Why | timeout}.
answer(Tag, Ask, Timeout) ->
    {Pid, Monitor} = spawn_monitor(?MODULE, run, [Tag, Ask, Timeout]),
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, {raised, Class, Reason, Stack}}} ->
            erlang:raise(Class, Reason, Stack);
        {'DOWN', Monitor, process, Pid, {?MODULE, Answer}} ->
            Answer;
        {'DOWN', Monitor, process, Pid, _Killed} ->
            {error, timeout}
    end.

-spec run(atom(), ask(term()), pos_integer()) -> no_return().
run(Tag, Ask, Timeout) ->
    exit({?MODULE, attempt(Tag, Ask, Timeout)}).

-spec attempt(atom(), ask(Why), pos_integer()) ->
          {ok, term()} | {error, Why | timeout} | {raised, error | exit | throw, term(), list()}.
attempt(Tag, Ask, Timeout) ->
    try Ask() of
        {ok, Ref} ->
            receive
                {Tag, Ref, Answer} -> {ok, Answer}
            after Timeout ->
                {error, timeout}
            end;
        {error, Why} ->
            {error, Why}
    catch
        Class:Reason:Stack -> {raised, Class, Reason, Stack}
    end.
