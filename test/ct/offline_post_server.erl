%% Servers that no one here wrote, each a process in the foreground with a configuration of its own.
-module(offline_post_server).

-export([start/4, stop/1, free_port/0]).

%% Config: {file name in Dir, text}, or none. Waits until it takes connections at Port.
start(Program, Args, Config, #{dir := Dir, port := Port}) ->
    _ = [ok = file:write_file(filename:join(Dir, File), Text) || {File, Text} <- Config],
    Server = offline_post_port:open(executable(Program), Args, [stderr_to_stdout, {cd, Dir}]),
    {os_pid, Pid} = erlang:port_info(Server, os_pid),
    offline_post_wait:until(fun() -> accepts(Port) end, 20000,
                            fun() -> {does_not_serve, Program, offline_post_port:output(Server)} end),
    {Server, Pid}.

stop({Server, Pid}) ->
    offline_post_port:take(Server),
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    137 = offline_post_port:await_exit(Server, 20000),
    ok.

accepts(Port) ->
    case gen_tcp:connect("127.0.0.1", Port, [], 1000) of
        {ok, Socket} -> gen_tcp:close(Socket), true;
        {error, _} -> false
    end.

%% Servers are in sbin, which is not in everybody's path.
executable(Program) ->
    Path = os:getenv("PATH", "") ++ ":/usr/local/sbin:/usr/sbin:/sbin",
    case os:find_executable(Program, Path) of
        false -> ct:fail({not_installed, Program});
        File -> File
    end.

free_port() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.
