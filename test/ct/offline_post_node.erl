%% A private ejabberd in a process of its own, with its own directories, ports and epmd. The test's VM talks to
%% it through a small controller VM, which alone joins the distribution: the test's VM needs no name, no cookie.
-module(offline_post_node).

-export([start/1, boot/1, stop/1, halt/2, await_exit/2, kill/1]).
-export([call/4, call/5, reload/2, try_reload/2, configure/2, stats/2, os_pid/1, is_alive/1]).
-export([log/1, await_log/2, count_log/2, threads/1, descriptors/1, register/4, dir/1, c2s/1, root/0, library/0]).

-define(BOOT_MS, 60000).
-define(CALL_MS, 30000).

%% Config: hosts, modules (YAML of the modules section, without mod_offline_post), offline_post (YAML of its
%% options), host_config (YAML), install (false: an empty modules directory), user (run as), env.
start(Config) ->
    Dir = string:trim(os:cmd("mktemp -d")),
    Epmd = free_port(),
    C2s = free_port(),
    Name = "op" ++ os:getpid() ++ integer_to_list(erlang:unique_integer([positive])) ++ "@127.0.0.1",
    Node = #{dir => Dir, name => list_to_atom(Name), c2s => C2s, epmd => Epmd, user => maps:get(user, Config, undefined)},
    _ = os:cmd("epmd -daemon -relaxed_command_check -address 127.0.0.1 -port " ++ integer_to_list(Epmd)),
    maps:get(install, Config, true) andalso install(filename:join([Dir, "modules", "mod_offline_post"])),
    configure(Node, Config),
    boot(Node).

%% Starts ejabberd (again) in its directory and waits until it serves.
boot(#{dir := Dir, name := Name, epmd := Epmd, user := User} = Node) ->
    Script = filename:join([root(), "scripts", "lib", "ejabberd-node"]),
    {Command, Args} = case User of
                          undefined -> {Script, []};
                          _ ->
                              "" = os:cmd("chown -R " ++ User ++ ": " ++ Dir),
                              {os:find_executable("setpriv"), ["--reuid=" ++ User, "--regid=" ++ User, "--clear-groups", Script]}
                      end,
    Port = open_port({spawn_executable, Command},
                     [{args, Args ++ [Dir, atom_to_list(Name)]}, {env, [{"ERL_EPMD_PORT", integer_to_list(Epmd)}]},
                      exit_status, stderr_to_stdout, binary, hide]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Owner = self(),
    Cookie = filename:join([Dir, "home", ".erlang.cookie"]),
    offline_post_wait:until(fun() -> cookie(Cookie) =/= "" end, ?BOOT_MS),
    {ok, Controller, _} = peer:start(#{name => peer:random_name(), host => "127.0.0.1", longnames => true,
                                       connection => standard_io, wait_boot => ?BOOT_MS,
                                       env => [{"ERL_EPMD_PORT", integer_to_list(Epmd)}],
                                       args => ["-hidden", "-start_epmd", "false", "-setcookie", cookie(Cookie)]}),
    Started = Node#{port => Port, pid => Pid, owner => Owner, controller => Controller},
    offline_post_wait:until(fun() -> is_up(Started) end, ?BOOT_MS,
                            fun() -> {ejabberd_did_not_start, flush_port(Port, []), log(Started)} end),
    Started.

is_up(#{port := Port} = Node) ->
    receive
        {Port, {exit_status, Status}} -> error({ejabberd_ended, Status, flush_port(Port, []), log(Node)})
    after 0 -> ok
    end,
    try call(Node, lists, keymember, [ejabberd, 1, call(Node, application, which_applications, [])]) of
        true -> call(Node, ejabberd_hooks, run_fold, [offline_post_is_up, true, []]);
        false -> false
    catch
        _:_ -> false
    end.

%% Orderly, as a service manager does it. Returns the exit status.
stop(Node) ->
    try halt(Node, init_stop)
    after cleanup(Node)
    end.

%% How = init_stop | abrupt | kill. Returns what a shell would: 128 + N for signal N.
halt(Node, init_stop) ->
    call(Node, init, stop, []),
    await_exit(Node, ?BOOT_MS);
halt(Node, abrupt) ->
    %% The answer may or may not come before the end.
    catch call(Node, erlang, spawn, [erlang, halt, [0]]),
    await_exit(Node, ?BOOT_MS);
halt(Node, kill) ->
    kill(Node).

kill(#{pid := Pid} = Node) ->
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    await_exit(Node, ?BOOT_MS).

await_exit(#{port := Port, controller := Controller}, Timeout) ->
    receive
        {Port, {exit_status, Status}} ->
            catch peer:stop(Controller),
            Status
    after Timeout ->
        {still_running, flush_port(Port, [])}
    end.

cleanup(#{dir := Dir, epmd := Epmd} = Node) ->
    case erlang:port_info(maps:get(port, Node)) of
        undefined -> ok;
        _ -> kill(Node)
    end,
    _ = os:cmd("epmd -port " ++ integer_to_list(Epmd) ++ " -kill"),
    ok = file:del_dir_r(Dir).

call(Node, Module, Function, Args) ->
    call(Node, Module, Function, Args, ?CALL_MS).

call(#{controller := Controller, name := Name}, Module, Function, Args, Timeout) ->
    peer:call(Controller, erpc, call, [Name, Module, Function, Args, Timeout], Timeout + 1000).

%% Writes ejabberd.yml.
configure(#{dir := Dir, c2s := C2s}, Config) ->
    Hosts = maps:get(hosts, Config, ["localhost"]),
    ok = file:write_file(
           filename:join(Dir, "ejabberd.yml"),
           ["hosts:\n", [["  - \"", H, "\"\n"] || H <- Hosts],
            "loglevel: ", maps:get(loglevel, Config, "info"), "\n",
            "auth_method: [internal]\n",
            "listen:\n",
            "  -\n    port: ", integer_to_list(C2s), "\n    ip: \"127.0.0.1\"\n    module: ejabberd_c2s\n",
            "    max_stanza_size: infinity\n",
            maps:get(top, Config, ""),
            "modules:\n",
            indent(2, maps:get(modules, Config, "mod_offline: {}\nmod_ping: {}\n")),
            case maps:get(offline_post, Config, undefined) of
                undefined -> [];
                Options -> ["  mod_offline_post:\n", indent(4, Options)]
            end,
            case maps:get(host_config, Config, undefined) of
                undefined -> [];
                PerHost -> ["append_host_config:\n", indent(2, PerHost)]
            end]).

%% Writes the configuration and has ejabberd load it.
reload(Node, Config) ->
    ok = try_reload(Node, Config).

try_reload(Node, Config) ->
    configure(Node, Config),
    call(Node, ejabberd_config, reload, []).

stats(Node, Host) ->
    call(Node, mod_offline_post, stats, [iolist_to_binary(Host)]).

register(Node, User, Host, Password) ->
    ok = call(Node, ejabberd_auth, try_register,
              [iolist_to_binary(User), iolist_to_binary(Host), iolist_to_binary(Password)]).

dir(#{dir := Dir}) -> Dir.
c2s(#{c2s := Port}) -> Port.
os_pid(#{pid := Pid}) -> Pid.

is_alive(#{port := Port}) ->
    erlang:port_info(Port) =/= undefined.

log(#{dir := Dir}) ->
    case file:read_file(filename:join([Dir, "logs", "ejabberd.log"])) of
        {ok, Log} -> Log;
        {error, enoent} -> <<>>
    end.

count_log(Node, Text) ->
    length(binary:matches(log(Node), iolist_to_binary(Text))).

await_log(Node, Text) ->
    offline_post_wait:until(fun() -> count_log(Node, Text) > 0 end, 10000, fun() -> {not_logged, Text, log(Node)} end).

%% The native side's threads, as the system sees them.
threads(#{pid := Pid}) ->
    Tasks = filelib:wildcard("/proc/" ++ integer_to_list(Pid) ++ "/task/*/comm"),
    length([Task || Task <- Tasks, {ok, <<"offline_post", _/binary>>} <- [file:read_file(Task)]]).

%% What each open descriptor of the process is, sorted.
descriptors(#{pid := Pid}) ->
    Dir = "/proc/" ++ integer_to_list(Pid) ++ "/fd",
    {ok, Names} = file:list_dir(Dir),
    lists:sort([kind(Target) || Name <- Names, {ok, Target} <- [file:read_link(filename:join(Dir, Name))]]).

kind(Target) ->
    hd(string:split(Target, "[")).

%% The sources' top directory: the one with scripts/lib.
root() ->
    root(filename:absname(filename:dirname(code:which(mod_offline_post)))).

root("/") ->
    error(no_sources);
root(Dir) ->
    case filelib:is_file(filename:join([Dir, "scripts", "lib", "ejabberd-node"])) of
        true -> Dir;
        false -> root(filename:dirname(Dir))
    end.

library() ->
    filename:join([filename:dirname(filename:dirname(code:which(mod_offline_post))), "priv", "mod_offline_post_nif.so"]).

%% What `cmake --install` lays out.
install(Dir) ->
    Ebin = filename:dirname(code:which(mod_offline_post)),
    Files = [{filename:join(Ebin, Beam), filename:join("ebin", Beam)} || Beam <- filelib:wildcard("mod_offline_post*.beam", Ebin)]
        ++ [{library(), "priv/mod_offline_post_nif.so"},
            {filename:join(root(), "mod_offline_post.spec"), "mod_offline_post.spec"}],
    [begin
         Target = filename:join(Dir, To),
         ok = filelib:ensure_dir(Target),
         {ok, _} = file:copy(From, Target)
     end || {From, To} <- Files, re:run(From, "_tests?\\.beam$|_SUITE", [{capture, none}]) =:= nomatch],
    ok.

indent(N, Yaml) ->
    [[lists:duplicate(N, $\s), Line, $\n] || Line <- string:lexemes(Yaml, "\n")].

cookie(Path) ->
    case file:read_file(Path) of
        {ok, Cookie} -> string:trim(binary_to_list(Cookie));
        {error, _} -> ""
    end.

flush_port(Port, Acc) ->
    receive
        {Port, {data, Data}} -> flush_port(Port, [Data | Acc])
    after 0 ->
        iolist_to_binary(lists:reverse(Acc))
    end.

free_port() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.
