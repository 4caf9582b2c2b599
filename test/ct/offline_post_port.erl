%% External processes that outlive the process that started them, as Common Test runs a suite's start, each
%% case and its end in processes of their own.
-module(offline_post_port).

-export([open/3, take/1, await_exit/2, output/1]).

open(Command, Args, Options) ->
    Self = self(),
    Keeper = spawn(fun() ->
                           Port = open_port({spawn_executable, Command}, [{args, Args}, exit_status, binary | Options]),
                           Self ! {self(), Port},
                           receive never -> ok end
                   end),
    receive {Keeper, Port} -> take(Port) end.

%% Its output comes to this process from now on, but it does not end with this process.
take(Port) ->
    try
        true = port_connect(Port, self()),
        true = unlink(Port)
    catch
        error:badarg -> closed
    end,
    Port.

%% The exit status as a shell has it: 128 + N for signal N.
await_exit(Port, Timeout) ->
    take(Port),
    receive
        {Port, {exit_status, Status}} -> Status
    after Timeout ->
        {still_running, output(Port)}
    end.

%% What it has written to this process so far.
output(Port) ->
    receive
        {Port, {data, {_, Line}}} -> <<Line/binary, "\n", (output(Port))/binary>>;
        {Port, {data, Data}} -> <<Data/binary, (output(Port))/binary>>
    after 0 ->
        <<>>
    end.
