%% A private ejabberd in a process of its own, with its own directories, ports and epmd. The test's VM talks to
%% it through a small controller VM, which alone joins the distribution: the test's VM needs no name, no cookie.
-module(offline_post_node).

-export([start/1, boot/1, boot_fails/1, current/1, stop/1, cleanup/1, finish/2, await_exit/2, kill/1]).
-export([call/4, call/5, reload/2, try_reload/2, configure/2, stats/2, route/4, message/4, os_pid/1, is_alive/1]).
-export([await_running/2, ctl/2, http/3, http/4, log/1, await_log/2, count_log/2, threads/1, descriptors/1, register/4, dir/1, spool/1, c2s/1, address/1,
         free_port/0, root/0, library/0, modules/0, unprivileged/0]).

%% Schedulers without work leave the cores to the other tests.
-define(NO_SPINNING, ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]).

-define(BOOT_MS, 60000).
-define(CALL_MS, 30000).

%% Config: hosts => [{Host, #{modules => YAML, offline_post => YAML of our options, top => YAML of this host}}], top => YAML
%% at the top level, where it may go on with the list of listeners; loglevel; api => true for mod_http_api, open to
%% everybody on this machine, or for those whom this YAML names; install => false for an empty modules directory; user => whom to run as;
%% env => [{Name, Value}] of its process; joins => a node whose cluster it joins, with that node's epmd and cookie;
%% at => a host of offline_post_net, where it runs beside an epmd of its own; erl => arguments of its erl.
start(Config) ->
    Dir = string:trim(os:cmd("mktemp -d")),
    Other = maps:get(joins, Config, undefined),
    Epmd = case Other of
               undefined -> free_port();
               #{epmd := Shared} -> Shared
           end,
    C2s = free_port(),
    At = maps:get(at, Config, undefined),
    Name = "op" ++ os:getpid() ++ integer_to_list(erlang:unique_integer([positive])) ++ "@" ++ address_of(At),
    Node = #{dir => Dir, name => list_to_atom(Name), c2s => C2s, api => free_port(), epmd => Epmd,
             user => maps:get(user, Config, undefined), env => maps:get(env, Config, []), is_guest => Other =/= undefined andalso At =:= undefined,
             at => At, erl => maps:get(erl, Config, [])},
    _ = is_guest(Node) orelse epmd(Node, "-daemon -relaxed_command_check -address " ++ address_of(At)),
    try
        maps:get(install, Config, true) andalso install(filename:join([Dir, "modules", "mod_offline_post"])),
        configure(Node, Config),
        share_cookie(Other, Node),
        Started = boot(Node),
        join(Other, Started),
        Started
    catch
        Class:Reason:Stack ->
            cleanup(Node),
            erlang:raise(Class, Reason, Stack)
    end.

%% Its epmd is another node's.
is_guest(#{is_guest := IsGuest}) -> IsGuest.

epmd(#{epmd := Port} = Node, Args) ->
    os:cmd(lists:flatten(lists:join(" ", enter(Node) ++ ["epmd", "-port", integer_to_list(Port), Args]))).

address_of(undefined) -> "127.0.0.1";
address_of(At) -> offline_post_net:address(At).

%% What a command begins with that is to run where the node does.
enter(#{at := undefined}) -> [];
enter(#{at := At}) -> offline_post_net:enter(At).

%% Where its clients find it.
address(#{at := At}) -> address_of(At).

share_cookie(undefined, _Node) ->
    ok;
share_cookie(#{dir := From}, #{dir := To}) ->
    Path = fun(Dir) -> filename:join([Dir, "home", ".erlang.cookie"]) end,
    ok = filelib:ensure_dir(Path(To)),
    {ok, _} = file:copy(Path(From), Path(To)),
    ok = file:change_mode(Path(To), 8#400).

%% ejabberd starts anew in this.
join(undefined, _Node) ->
    ok;
join(#{name := Other} = To, #{name := Name} = Node) ->
    ok = call(Node, ejabberd_cluster, join, [Other]),
    offline_post_wait:until(fun() ->
        is_up(Node) andalso [Name, Other] -- call(Node, ejabberd_cluster, get_nodes, []) =:= []
            andalso lists:member(Name, call(To, ejabberd_cluster, get_nodes, []))
    end, ?BOOT_MS).

%% Starts ejabberd (again) in its directory and waits until it serves.
boot(#{dir := Dir, epmd := Epmd} = Node) ->
    Port = run(Node),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Cookie = filename:join([Dir, "home", ".erlang.cookie"]),
    offline_post_wait:until(fun() -> not has_ended(Node#{port => Port}) andalso cookie(Cookie) =/= "" end, ?BOOT_MS),
    [Exec | ExecArgs] = enter(Node) ++ ["erl"],
    {ok, Controller, _} = peer:start(#{name => peer:random_name(), host => address(Node), longnames => true,
                                       exec => {os:find_executable(Exec), ExecArgs},
                                       connection => standard_io, wait_boot => ?BOOT_MS,
                                       env => [{"ERL_EPMD_PORT", integer_to_list(Epmd)}],
                                       args => ["-hidden", "-start_epmd", "false", "-setcookie", cookie(Cookie)]}),
    Started = Node#{port => Port, pid => Pid, controller => Controller},
    persistent_term:put({?MODULE, Dir}, Started),
    offline_post_wait:until(fun() -> is_up(Started) end, ?BOOT_MS,
                            fun() -> {ejabberd_did_not_start, offline_post_port:output(Port), log(Started)} end),
    Started.

%% The node of this directory as it is now, however often it was booted since: suites keep the first.
current(#{dir := Dir} = Node) ->
    Latest = persistent_term:get({?MODULE, Dir}, Node),
    {case is_alive(Latest) of true -> up; false -> down end, Latest}.

%% Starts ejabberd, which is to end by itself. {exit status, output}.
boot_fails(Node) ->
    Port = run(Node),
    {offline_post_port:await_exit(Port, ?BOOT_MS), offline_post_port:output(Port)}.

run(#{dir := Dir, name := Name, epmd := Epmd, user := User, env := Env, erl := Erl} = Node) ->
    {Command, Args} = as(User, Dir),
    [Exec | ExecArgs] = enter(Node) ++ [Command | Args],
    offline_post_port:open(os:find_executable(Exec), ExecArgs ++ [Dir, atom_to_list(Name) | ?NO_SPINNING ++ Erl],
                           [{env, Env ++
                                  [{"ERL_EPMD_PORT", integer_to_list(Epmd)},
                                   %% For what module_install builds.
                                   {"CMAKE_BUILD_TYPE", "Debug"}, {"CMAKE_BUILD_PARALLEL_LEVEL", "2"}]}, stderr_to_stdout]).

as(undefined, _Dir) ->
    {script(), []};
as(User, Dir) ->
    %% The sources may lie where this user cannot read.
    Copy = filename:join(Dir, "ejabberd-node"),
    {ok, _} = file:copy(script(), Copy),
    ok = file:change_mode(Copy, 8#755),
    "" = os:cmd("chown -R " ++ User ++ ": " ++ Dir),
    {os:find_executable("setpriv"), ["--reuid=" ++ User, "--regid=" ++ User, "--clear-groups", Copy]}.

%% Whom to run a node as that must not be root; undefined: as this VM.
unprivileged() ->
    case string:trim(os:cmd("id -u")) of
        "0" -> "ejabberd";
        _ -> undefined
    end.

script() ->
    filename:join([root(), "scripts", "lib", "ejabberd-node"]).

is_up(Node) ->
    has_ended(Node),
    try call(Node, application, which_applications, []) of
        Applications -> lists:keymember(ejabberd, 1, Applications)
    catch
        _:_ -> false
    end.

%% No need to wait for a node that is gone: fails with what it has said.
has_ended(#{port := Port} = Node) ->
    is_alive(Node) orelse ct:fail({ejabberd_ended, offline_post_port:output(Port), log(Node)}),
    false.

%% Orderly, as a service manager does it. Returns the exit status.
stop(Node) ->
    try finish(Node, init_stop)
    after cleanup(Node)
    end.

%% How = init_stop | abrupt | kill. Returns what a shell would: 128 + N for signal N.
finish(Node, init_stop) ->
    call(Node, init, stop, []),
    await_exit(Node, ?BOOT_MS);
finish(#{port := Port} = Node, abrupt) ->
    offline_post_port:take(Port),
    %% The answer may or may not come before the end.
    try call(Node, erlang, spawn, [erlang, halt, [0]])
    catch _:_ -> ok
    end,
    await_exit(Node, ?BOOT_MS);
finish(Node, kill) ->
    kill(Node).

kill(#{port := Port, pid := Pid} = Node) ->
    %% Before it ends: the exit status is told once, to whoever has the port then.
    offline_post_port:take(Port),
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    await_exit(Node, ?BOOT_MS).

await_exit(#{port := Port, controller := Controller}, Timeout) ->
    try offline_post_port:await_exit(Port, Timeout)
    after stop_controller(Controller)
    end.

stop_controller(Controller) ->
    try peer:stop(Controller)
    catch exit:_ -> ok
    end.

cleanup(#{dir := Dir} = Node) ->
    case current(Node) of
        {up, Running} -> kill(Running);
        {down, _} -> ok
    end,
    _ = persistent_term:erase({?MODULE, Dir}),
    _ = is_guest(Node) orelse epmd(Node, "-kill"),
    ok = file:del_dir_r(Dir).

call(Node, Module, Function, Args) ->
    call(Node, Module, Function, Args, ?CALL_MS).

call(#{controller := Controller, name := Name}, Module, Function, Args, Timeout) ->
    peer:call(Controller, erpc, call, [Name, Module, Function, Args, Timeout], Timeout + 1000).

%% Writes ejabberd.yml.
configure(#{dir := Dir, c2s := C2s} = Node, Config) ->
    Hosts = maps:get(hosts, Config),
    ok = file:write_file(
           filename:join(Dir, "ejabberd.yml"),
           unicode:characters_to_binary(
             ["hosts:\n", [["  - \"", Host, "\"\n"] || {Host, _} <- Hosts],
              "loglevel: ", maps:get(loglevel, Config, "info"), "\n",
              "auth_method: [internal]\n",
              "listen:\n",
              "  -\n    port: ", integer_to_list(C2s), "\n    ip: \"", address(Node), "\"\n    module: ejabberd_c2s\n",
              api(Node, Config), maps:get(top, Config, ""),
              "host_config:\n", [host(Host, Options) || {Host, Options} <- Hosts]])).

api(Node, #{api := true} = Config) ->
    api(Node, Config#{api := "api_permissions:\n  everything:\n    from: [ejabberd_ctl, mod_http_api]\n    who: all\n    what: \"*\"\n"});
api(#{api := Port}, #{api := Permissions}) ->
    ["  -\n    port: ", integer_to_list(Port), "\n    ip: \"127.0.0.1\"\n    module: ejabberd_http\n",
     "    request_handlers:\n      /api: mod_http_api\n", Permissions];
api(_Node, _Config) ->
    "".

host(Host, Options) ->
    ["  \"", Host, "\":\n", indent(4, maps:get(top, Options, "")), "    modules:\n",
     indent(6, maps:get(modules, Options, "mod_offline: {}\nmod_ping: {}\n")),
     case Options of
         #{offline_post := Yaml} -> ["      mod_offline_post:\n", indent(8, Yaml)];
         _ -> []
     end].

%% Writes the configuration and has ejabberd load it.
reload(Node, Config) ->
    ok = try_reload(Node, Config).

try_reload(Node, Config) ->
    configure(Node, Config),
    call(Node, ejabberd_config, reload, []).

%% ejabberdctl in a VM of its own, as an operator runs it: {exit status, what it prints}.
ctl(#{dir := Dir, name := Name, epmd := Epmd} = Node, Args) ->
    [Exec | ExecArgs] = enter(Node) ++ [filename:join([root(), "test", "support", "ejabberd-ctl"])],
    Port = offline_post_port:open(os:find_executable(Exec), ExecArgs ++ [Dir, atom_to_list(Name) | Args],
                                  [{env, [{"ERL_EPMD_PORT", integer_to_list(Epmd)}]}, stderr_to_stdout]),
    {offline_post_port:await_exit(Port, ?BOOT_MS), offline_post_port:output(Port)}.

%% A command over mod_http_api: {status, answer}, both JSON.
http(Node, Command, Json) ->
    http(Node, Command, Json, []).

http(#{api := Port}, Command, Json, Headers) ->
    {ok, _} = application:ensure_all_started(inets),
    Url = lists:flatten(io_lib:format("http://127.0.0.1:~B/api/~ts", [Port, Command])),
    {ok, {{_, Status, _}, _, Answer}} =
        httpc:request(post, {Url, Headers, "application/json", unicode:characters_to_binary(Json)}, [{timeout, ?CALL_MS}],
                      [{body_format, binary}]),
    {Status, Answer}.

%% Our module, on these virtual hosts.
await_running(Node, Hosts) ->
    [offline_post_wait:until(fun() -> is_map(stats(Node, Host)) end, 5000,
                             fun() -> {does_not_run, Host, log(Node)} end) || Host <- Hosts],
    ok.

stats(Node, Host) ->
    call(Node, mod_offline_post, stats, [iolist_to_binary(Host)]).

register(Node, User, Host, Password) ->
    ok = call(Node, ejabberd_auth, try_register,
              [iolist_to_binary(User), iolist_to_binary(Host), iolist_to_binary(Password)]).

%% A chat message, as if it came from another server.
route(Node, From, To, Text) ->
    call(Node, ejabberd_router, route, [message(Node, From, To, Text)]).

message(Node, From, To, Text) ->
    Xml = ["<message xmlns='jabber:client' type='chat' id='m1' from='", From, "' to='", To, "'><body>", Text, "</body></message>"],
    call(Node, xmpp, decode, [call(Node, fxml_stream, parse_element, [unicode:characters_to_binary(Xml)])]).

dir(#{dir := Dir}) -> Dir.
%% Where the spool lies by default.
spool(Node) -> filename:join(dir(Node), "spool").
c2s(#{c2s := Port}) -> Port.
os_pid(#{pid := Pid}) -> Pid.

is_alive(#{port := Port}) ->
    erlang:port_info(Port) =/= undefined;
is_alive(#{}) ->
    false.

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
    root(filename:dirname(proplists:get_value(source, ?MODULE:module_info(compile)))).

root("/") ->
    error(no_sources);
root(Dir) ->
    case filelib:is_file(filename:join([Dir, "scripts", "lib", "ejabberd-node"])) of
        true -> Dir;
        false -> root(filename:dirname(Dir))
    end.

library() ->
    filename:join([filename:dirname(filename:dirname(code:which(mod_offline_post))), "priv", "mod_offline_post_nif.so"]).

%% Ours that an installation holds.
modules() ->
    Beams = filelib:wildcard("mod_{offline,available,unavailable}_post*.beam", filename:dirname(code:which(mod_offline_post))),
    [list_to_atom(filename:rootname(Beam)) || Beam <- Beams, re:run(Beam, "_tests\\.beam$", [{capture, none}]) =:= nomatch].

%% What `cmake --install` lays out.
install(Dir) ->
    Ebin = filename:dirname(code:which(mod_offline_post)),
    Files = [{filename:join(Ebin, Beam), filename:join("ebin", Beam)} || Module <- modules(), Beam <- [atom_to_list(Module) ++ ".beam"]]
        ++ [{library(), "priv/mod_offline_post_nif.so"},
            {filename:join(root(), "mod_offline_post.spec"), "mod_offline_post.spec"}],
    [begin
         Target = filename:join(Dir, To),
         ok = filelib:ensure_dir(Target),
         {ok, _} = file:copy(From, Target)
     end || {From, To} <- Files],
    ok.

indent(N, Yaml) ->
    [[lists:duplicate(N, $\s), Line, $\n] || Line <- string:lexemes(Yaml, "\n")].

cookie(Path) ->
    case file:read_file(Path) of
        {ok, Cookie} -> string:trim(binary_to_list(Cookie));
        {error, _} -> ""
    end.

%% Nobody listens at it. Below those that the system gives to whoever connects: until ejabberd listens there, none of them takes it.
free_port() ->
    Port = 10000 + rand:uniform(22000),
    case gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]) of
        {ok, Socket} ->
            ok = gen_tcp:close(Socket),
            Port;
        {error, eaddrinuse} ->
            free_port()
    end.
