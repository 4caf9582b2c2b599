%% Many virtual hosts: what the module adds to the start and to the reload of an ejabberd with 500 of them, and to the memory
%% of a VM with 1,000 endpoints.
-module(offline_post_bench_hosts).

-export([measure/1, endpoints/2]).
%% On the nodes.
-export([reload/0]).

%% Nodes in pairs, with the module and without it.
-define(PAIRS, 3).
-define(HOSTS, 500).
-define(RELOADS, 3).
-define(START_MS, 120000).

-define(ENDPOINTS, 1000).
-define(MEMORY_RUNS, 3).

%% As Debian installs it: all of its modules for each virtual host.
-define(CONFIGURATION, "/usr/share/doc/ejabberd/examples/ejabberd.yml").

-spec measure(map()) -> [#{atom() => number()}].
measure(Options) ->
    [pair(Options, N) || N <- lists:seq(1, ?PAIRS)] ++ [memory(Options) || _ <- lists:seq(1, ?MEMORY_RUNS)].

pair(Options, N) ->
    Order = case N rem 2 of 0 -> [with, without]; 1 -> [without, with] end,
    Measured = maps:from_list([{Which, node(Options, Which)} || Which <- Order]),
    #{with := {Boot, Reload, Changed}, without := {BootWithout, ReloadWithout, _}} = Measured,
    #{reload_500_hosts_changed_s => Changed, reload_500_hosts_changed_ratio => Changed / ReloadWithout,
      boot_500_hosts_s => Boot, boot_500_hosts_ratio => Boot / BootWithout,
      reload_500_hosts_s => Reload, reload_500_hosts_ratio => Reload / ReloadWithout}.

%% {Start, reload, reload with another post_url} in seconds, of a node of its own. The start is what ejabberd says of
%% itself.
node(#{scratch := Scratch, node_script := Script, modules := Modules, dead_url := Url}, Which) ->
    Dir = filename:join(Scratch, "hosts"),
    Name = "hosts@" ++ lists:last(string:split(atom_to_list(node()), "@")),
    "" = os:cmd("mkdir -p " ++ Dir ++ "/home && cp -r " ++ Modules ++ " " ++ Dir ++ "/"),
    ok = file:write_file(filename:join([Dir, "home", ".erlang.cookie"]), atom_to_binary(erlang:get_cookie())),
    ok = file:change_mode(filename:join([Dir, "home", ".erlang.cookie"]), 8#400),
    ok = file:write_file(filename:join(Dir, "ejabberd.yml"), configuration(Which, Url)),
    Port = open_port({spawn_executable, Script}, [{args, [Dir, Name, "-hidden", "-pa", filename:dirname(code:which(?MODULE))]}, exit_status, stderr_to_stdout, binary]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    try
        Boot = started(Port, filename:join([Dir, "logs", "ejabberd.log"]), ?START_MS),
        Reload = fun() -> erpc:call(list_to_atom(Name), ?MODULE, reload, [], ?START_MS) end,
        Unchanged = lists:min([Reload() || _ <- lists:seq(1, ?RELOADS)]),
        ok = file:write_file(filename:join(Dir, "ejabberd.yml"), configuration(Which, <<Url/binary, "/other">>)),
        {Boot, Unchanged, Reload()}
    after
        _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
        ok = ended(Port),
        ok = file:del_dir_r(Dir)
    end.

%% Debian's, with our virtual hosts, without its listeners and its certificate.
configuration(Which, Url) ->
    {ok, Debian} = file:read_file(?CONFIGURATION),
    Hosts = [["  - h", integer_to_list(N), ".localhost\n"] || N <- lists:seq(1, ?HOSTS)],
    Module = case Which of
                 with -> ["  mod_offline_post:\n    post_url: \"", Url, "\"\n"];
                 without -> ""
             end,
    lists:foldl(fun({Pattern, By}, Text) ->
                        {match, [{At, Length}]} = re:run(Text, Pattern, [multiline, {capture, first}]),
                        <<Before:At/binary, _:Length/binary, After/binary>> = Text,
                        iolist_to_binary([Before, By, After])
                end, Debian, [{"^hosts:\n(  - .*\n)+", ["hosts:\n", Hosts]},
                              {"^listen:\n((  .*| *)\n)+", "listen: []\n"},
                              {"^certfiles:\n(  - .*\n)+", ""},
                              {"^modules:\n", ["modules:\n", Module]}]).

started(Port, Log, Left) when Left > 0 ->
    Text = case file:read_file(Log) of {ok, Read} -> Read; {error, enoent} -> <<>> end,
    case re:run(Text, "is started in the node \\S+ in ([0-9.]+)s", [{capture, [1], list}]) of
        {match, [Seconds]} -> list_to_float(Seconds);
        nomatch ->
            receive {Port, {exit_status, Status}} -> error({ended, Status, Text}) after 50 -> started(Port, Log, Left - 50) end
    end.

%% In seconds. What is logged meanwhile is not for this node's screen.
reload() ->
    true = group_leader(whereis(init), self()),
    {Us, ok} = timer:tc(ejabberd_config, reload, []),
    Us / 1.0e6.

ended(Port) ->
    receive
        {Port, {exit_status, _}} -> ok;
        {Port, {data, _}} -> ended(Port)
    end.

%%% Memory

memory(#{ebins := Ebins, dead_url := Url, ca_file := CaFile}) ->
    Call = io_lib:format("offline_post_bench_hosts:endpoints(~p, ~p)", [Url, list_to_binary(CaFile)]),
    Args = ["-noinput", "-boot", "start_clean"] ++ lists:append([["-pa", Dir] || Dir <- Ebins]) ++ ["-eval", lists:flatten(Call)],
    #{rss_mb_1000_endpoints => list_to_float(string:trim(offline_post_bench_load:execute("erl", Args)))}.

%% In a fresh VM: prints the growth of the process in MB by 1,000 endpoints with `max_rate` and `ca_file`.
-spec endpoints(binary(), binary()) -> no_return().
endpoints(Url, CaFile) ->
    Config = (offline_post_bench:config(Url))#{rate_sender := 10, rate_recipient := 100, ca_file := CaFile},
    Configure = fun(N) ->
                        Key = {<<"h", (integer_to_binary(N))/binary, ".localhost">>, <<"mod_offline_post">>},
                        {ok, _} = mod_offline_post_nif:configure(Key, Config)
                end,
    Configure(0), % what the first one brings is the node's
    Before = offline_post_bench:settled_bytes(),
    lists:foreach(Configure, lists:seq(1, ?ENDPOINTS)),
    io:format("~.2f~n", [(offline_post_bench:settled_bytes() - Before) / 1.0e6]),
    halt(0).
