%% After everything that can go wrong: what is secret is nowhere but where docs/security.md says. Every secret and every
%% text bears a mark of its own; then the logs, the files and their modes, the commands' output and the processes are
%% searched for them.
-module(security_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([search_finds/1, backend_faults/1, tls_fault/1, proxy_faults/1, handler_crashes/1, owner_crashes/1,
         refused_reloads/1, commands/1, processes/1, files/1, modes/1]).
%% On the node.
-export([event/2]).

-define(FAULTS, "faults.localhost").
-define(TLS, "tls.localhost").
-define(PROXY, "proxy.localhost").
-define(RELOAD, "reload.localhost").

%% Marks.
-define(TOKEN, "t0k3n-m4rk").
-define(KEY, "k3y-of-32-bytes-that-signs-m4rk!").
-define(HEADER, "h34d3r-m4rk").
-define(QUERY, "qu3ry-m4rk").
-define(PASSWORD, "pr0xy-m4rk").
-define(BAD, "wr0ng-m4rk").
-define(TEXT, "t3xt-m4rk").
-define(HANDLED, "h4ndl3d-m4rk").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [search_finds, backend_faults, tls_fault, proxy_faults, handler_crashes, owner_crashes, refused_reloads,
     %% What these search, the others have made.
     commands, processes, files, modes].

init_per_suite(Config) ->
    {Tls, _} = offline_post_tls:server("localhost", ?config(priv_dir, Config)),
    Backends = #{?FAULTS => offline_post_backend:start(), ?TLS => offline_post_backend:start(#{tls => Tls}),
                 ?PROXY => offline_post_backend:start()},
    NodeConfig = #{hosts => [{Host, #{modules => "mod_ping: {}\n", offline_post => options(Host, Backends)}} ||
                                Host <- [?FAULTS, ?TLS, ?PROXY, ?RELOAD]]},
    Node = offline_post_node:start(NodeConfig),
    [offline_post_node:register(Node, "anna", Host, "x") || Host <- [?FAULTS, ?TLS, ?PROXY, ?RELOAD]],
    [{node, Node}, {node_config, NodeConfig}, {backends, Backends} | Config].

options(?FAULTS, Backends) ->
    ["post_url: \"", offline_post_backend:url(maps:get(?FAULTS, Backends), "/offline?key=" ?QUERY), "\"\n",
     "auth_token: \"" ?TOKEN "\"\nsigning_secrets: [\"", secret(?KEY), "\"]\nformat: json\n"
     "headers:\n  X-Api-Key: \"" ?HEADER "\"\nretry_schedule: [100 ms]\n"];
options(?TLS, Backends) ->
    ["post_url: \"", offline_post_backend:url(maps:get(?TLS, Backends), "/offline?key=" ?QUERY), "\"\n",
     "auth_token: \"" ?TOKEN "\"\nauth: bearer\nretry_schedule: [100 ms]\n"];
options(?PROXY, Backends) ->
    %% A backend is no proxy: it ends at what a proxy is asked.
    ["post_url: \"http://backend.example/offline?key=" ?QUERY "\"\nauth_token: \"" ?TOKEN "\"\n"
     "proxy: \"http://user:" ?PASSWORD "@localhost:",
     integer_to_list(offline_post_backend:port(maps:get(?PROXY, Backends))), "\"\nretry_schedule: [100 ms]\n"];
options(?RELOAD, _Backends) ->
    "post_url: \"http://localhost:1/offline\"\n".

secret(Key) ->
    "whsec_" ++ base64:encode_to_string(Key).

end_per_suite(Config) ->
    offline_post_node:cleanup(?config(node, Config)),
    [offline_post_backend:stop(Backend) || Backend <- maps:values(?config(backends, Config))].

init_per_testcase(_Case, Config) ->
    [offline_post_backend:listen(Backend) || Backend <- maps:values(?config(backends, Config))],
    Config.

end_per_testcase(_Case, Config) ->
    [?assertEqual([], offline_post_law:violations(stats(Config, Host))) || Host <- [?FAULTS, ?TLS, ?PROXY]].

%% Each place in which the other cases find nothing: a mark that is there is found.
search_finds(Config) ->
    Dir = offline_post_node:dir(?config(node, Config)),
    Plain = filename:join([Dir, "logs", "planted"]),
    ok = file:write_file(Plain, ["a line\n\"", secret(?KEY), "\"\n"]),
    ?assertEqual([{Plain, key_base64}], found_in_files(Config, secrets())),
    ok = file:delete(Plain),
    ?assertEqual([], found_in_files(Config, secrets())),
    %% What ejabberd has read them from is not searched, and they are there.
    {ok, Yaml} = file:read_file(filename:join(Dir, "ejabberd.yml")),
    ?assertEqual([header, key_base64, password, query, token], lists:sort(marks_in(Yaml, secrets()))),
    Sleeper = offline_post_port:open("/bin/sleep", ["60"], [{env, [{"PLANTED", ?PASSWORD}]}]),
    {os_pid, Pid} = erlang:port_info(Sleeper, os_pid),
    offline_post_wait:until(fun() -> found_in_processes() =:= [{integer_to_list(Pid), password}] end),
    _ = os:cmd("kill " ++ integer_to_list(Pid)),
    _ = offline_post_port:await_exit(Sleeper, 10000),
    ok = file:write_file(Plain, "x"),
    ok = file:change_mode(Plain, 8#604),
    ?assertEqual([Plain], [File || File <- files_in(filename:join(Dir, "logs")), is_open_to_others(File)]),
    ok = file:delete(Plain).

%% An answer that echoes all it got; refusals; silence; nonsense; nobody at all. In between dead letters.
backend_faults(Config) ->
    Backend = backend(Config, ?FAULTS),
    Echo = fun(Status) ->
                   fun(#{path := Path, headers := Headers, body := Body}) ->
                           {reply, Status, [{"X-Echo", proplists:get_value(<<"x-api-key">>, Headers)}],
                            [Path, " ", [[Value, "\n"] || {_, Value} <- Headers], Body]}
                   end
           end,
    [begin
         offline_post_backend:set(Backend, What),
         #{attempts := Before} = stats(Config, ?FAULTS),
         say(Config, ?FAULTS, ?TEXT),
         %% What waited may have met the last answer before this one was sent: then this one waits with it.
         until(Config, ?FAULTS, fun(#{attempts := Now, state := State}) -> Now > Before orelse State =:= paused end)
     end || What <- [Echo(500), Echo(401), Echo(302), reset, hang_up,
                     {bytes, ["HTTP/1.1 " ?HEADER "\r\n" ?TOKEN ": " ?TEXT "\r\n\r\n"]},
                     {bytes, [?TOKEN, " ", ?TEXT, "\r\n\r\n"]}, {reply, 413, [], ?TEXT}, {reply, 410, [], ?TEXT}]],
    until(Config, ?FAULTS, fun(#{state := State}) -> State =:= paused end),
    offline_post_node:await_log(ejabberd(Config), "answered 410 Gone"),
    offline_post_backend:set(Backend, {reply, 400, [], ?TEXT}),
    ok = offline_post_node:call(ejabberd(Config), mod_offline_post, resume, [<<?FAULTS>>]),
    until(Config, ?FAULTS, fun(#{pending := Pending}) -> Pending =:= 0 end),
    ?assertMatch(#{dead := Dead} when Dead >= 2, stats(Config, ?FAULTS)),
    %% They did come with what must be told to nobody else.
    #{headers := Headers, body := Body, path := Path} = offline_post_backend:await(Backend),
    Came = iolist_to_binary([Path, Body, [Value || {_, Value} <- Headers]]),
    ?assertEqual([header, query, text, token], lists:sort(marks_in(Came, all_marks()))).

tls_fault(Config) ->
    say(Config, ?TLS, ?TEXT),
    until(Config, ?TLS, fun(#{attempts := Now}) -> Now > 1 end),
    offline_post_node:await_log(ejabberd(Config), "certificate").

%% One that breaks off, and one that is not there.
proxy_faults(Config) ->
    Try = fun() ->
                  #{attempts := Before} = stats(Config, ?PROXY),
                  say(Config, ?PROXY, ?TEXT),
                  until(Config, ?PROXY, fun(#{attempts := Now}) -> Now > Before end)
          end,
    Try(),
    Elsewhere = integer_to_list(offline_post_node:free_port()),
    change(Config, ?PROXY, fun(Options) ->
                                   re:replace(Options, "@localhost:[0-9]+", "@localhost:" ++ Elsewhere,
                                              [{return, binary}])
                           end, ok),
    Try(),
    offline_post_node:await_log(ejabberd(Config), "proxy").

%% Somebody's handler of offline_post_event. Its arguments are in ejabberd's own entry about its crash, and one of them
%% is the event: that text, and no other mark, is there.
handler_crashes(Config) ->
    handler(Config, ?RELOAD, crash),
    say(Config, ?RELOAD, ?HANDLED),
    offline_post_node:await_log(ejabberd(Config), "offline_post_event crashed"),
    %% And one that gives nonsense back, for which none of our functions is made.
    #{hook_crashes := Before} = stats(Config, ?RELOAD),
    handler(Config, ?RELOAD, nonsense),
    say(Config, ?RELOAD, ?TEXT),
    ?assertMatch(#{hook_crashes := After} when After > Before, stats(Config, ?RELOAD)).

%% With its supervisor's report.
owner_crashes(Config) ->
    Owner = whereis_owner(Config),
    ?assert(is_pid(Owner)),
    true = offline_post_node:call(ejabberd(Config), erlang, exit, [Owner, kill]),
    offline_post_wait:until(fun() ->
                                    Now = whereis_owner(Config),
                                    is_pid(Now) andalso Now =/= Owner
                            end),
    offline_post_node:await_log(ejabberd(Config), "supervisor").

whereis_owner(Config) ->
    offline_post_node:call(ejabberd(Config), erlang, whereis, [mod_offline_post_owner]).

%% Each is refused, the old configuration goes on, and the line that says so tells no secret.
refused_reloads(Config) ->
    [begin
         change(Config, ?RELOAD, fun(Options) -> [Options, Line] end, refused),
         ct:pal("~ts", [Line])
     end || Line <- ["signing_secrets: [\"whsec_" ?BAD "\"]\n",
                     "signing_secrets: [\"" ?BAD "\"]\n",
                     ["signing_secrets: [\"", secret(?BAD), "\"]\n"],
                     ["signing_secrets: [\"", secret(?KEY), "\", \"whsk_" ?BAD "\"]\n"],
                     "auth_token: \"" ?BAD "\\n\"\n",
                     "proxy: \"ftp://user:" ?BAD "@localhost:1\"\n",
                     "proxy: \"http://user:" ?BAD "@localhost:port\"\n",
                     "headers:\n  X-Key: \"" ?BAD "{{no.such.name}}\"\n",
                     "headers:\n  X-Key: \"" ?BAD "\\r\\nX: 1\"\n",
                     "format: json\nfields:\n  apikey: \"" ?BAD "{{\"\n",
                     "auth_token: \"" ?BAD "\"\nformat: stanza\n"]],
    change(Config, ?TLS, fun(Options) -> [Options, "ca_file: \"/nowhere/at/all.pem\"\n"] end, refused),
    ?assertMatch(#{state := _}, stats(Config, ?RELOAD)).

%%% The search

commands(Config) ->
    [begin
         {Status, Said} = offline_post_node:ctl(ejabberd(Config), Args),
         ?assertEqual({Args, []}, {Args, marks_in(Said, all_marks())}),
         ?assertEqual({Args, 0}, {Args, Status})
     end || Host <- [?FAULTS, ?TLS, ?PROXY],
            Args <- [["offline_post_stats", Host], ["offline_post_dead_list", Host, "all", "0"], ["status"]]],
    %% The one that is asked for a message shows it, and no secret.
    {ok, [#{id := Id} | _], _} =
        offline_post_node:call(ejabberd(Config), mod_offline_post, dead_letters, [<<?FAULTS>>, all, 0, 10]),
    {0, Shown} = offline_post_node:ctl(ejabberd(Config), ["offline_post_dead_show", ?FAULTS, binary_to_list(Id)]),
    ?assertEqual([text], marks_in(Shown, all_marks())).

%% Command lines and environments, of whatever runs on this machine.
processes(_Config) ->
    ?assertEqual([], found_in_processes()).

%% Whatever the node has written. Texts may be in the spool, and where ejabberd says that a handler has crashed.
files(Config) ->
    ?assertEqual([], found_in_files(Config, secrets())),
    Spool = offline_post_node:spool(ejabberd(Config)),
    ?assertEqual([], [Found || {File, _} = Found <- found_in_files(Config, [{text, ?TEXT}]),
                               filename:dirname(File) =/= Spool orelse not is_spool(File)]),
    ?assertEqual([], [Found || {File, _} = Found <- found_in_files(Config, [{handled, ?HANDLED}]),
                               not is_spool(File), not is_log(File)]),
    Entries = re:split(offline_post_node:log(ejabberd(Config)), "^(?=\\d{4}-\\d\\d-\\d\\d )", [multiline]),
    ?assertEqual([], [Entry || Entry <- Entries, binary:match(Entry, <<?HANDLED>>) =/= nomatch,
                               binary:match(Entry, <<"Hook offline_post_event crashed">>) =:= nomatch]),
    %% Nothing of what was said to this process, either.
    #{port := Port} = ejabberd(Config),
    ?assertEqual([], marks_in(offline_post_port:output(Port), [{text, ?TEXT} | secrets()])).

%% Nobody else can read the messages, in whatever directory they lie.
modes(Config) ->
    Spool = [File || File <- files_in(offline_post_node:spool(ejabberd(Config))), is_spool(File)],
    ?assertMatch([_, _ | _], Spool),
    ?assertEqual([], [File || File <- Spool, is_open_to_others(File)]).

%%%

secrets() ->
    [{token, ?TOKEN}, {key, ?KEY}, {key_base64, base64:encode_to_string(?KEY)}, {header, ?HEADER}, {query, ?QUERY},
     {password, ?PASSWORD}, {credentials, base64:encode_to_string("user:" ?PASSWORD)}, {bad, ?BAD},
     {bad_base64, base64:encode_to_string(?BAD)}].

all_marks() ->
    [{text, ?TEXT}, {handled, ?HANDLED} | secrets()].

marks_in(Bytes, Marks) ->
    [Name || {Name, Mark} <- Marks, binary:match(iolist_to_binary(Bytes), list_to_binary(Mark)) =/= nomatch].

%% Of ejabberd's configuration, which has them all, its operator takes care.
found_in_files(Config, Marks) ->
    Dir = offline_post_node:dir(ejabberd(Config)),
    [{File, Name} || File <- files_in(Dir), filename:basename(File) =/= "ejabberd.yml",
                     {ok, Bytes} <- [file:read_file(File)], Name <- marks_in(Bytes, Marks)].

files_in(Dir) ->
    [Path || File <- filelib:wildcard("**", Dir), Path <- [filename:join(Dir, File)], filelib:is_regular(Path)].

found_in_processes() ->
    [{Pid, Name} || Path <- filelib:wildcard("/proc/[0-9]*"), Pid <- [filename:basename(Path)],
                    Name <- lists:usort([Mark || File <- ["cmdline", "environ"],
                                                 {ok, Bytes} <- [file:read_file(filename:join(Path, File))],
                                                 Mark <- marks_in(Bytes, all_marks())])].

is_spool(File) ->
    string:find(filename:basename(File), "mod_offline_post.db") =/= nomatch.

is_log(File) ->
    filename:extension(File) =:= ".log".

is_open_to_others(File) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(File),
    Mode band 8#077 =/= 0.

ejabberd(Config) ->
    ?config(node, Config).

backend(Config, Host) ->
    maps:get(Host, ?config(backends, Config)).

stats(Config, Host) ->
    offline_post_node:stats(ejabberd(Config), Host).

%% A breaker may have opened, and takes its time to try again.
until(Config, Host, Condition) ->
    offline_post_wait:until(fun() -> Condition(stats(Config, Host)) end, 40000, fun() -> stats(Config, Host) end).

say(Config, Host, Text) ->
    offline_post_node:route(ejabberd(Config), "bob@elsewhere.example/phone", "anna@" ++ Host, Text).

change(Config, Host, Change, Expected) ->
    #{hosts := Hosts} = NodeConfig = ?config(node_config, Config),
    {Host, #{offline_post := Options} = Modules} = lists:keyfind(Host, 1, Hosts),
    Changed = NodeConfig#{hosts := lists:keyreplace(Host, 1, Hosts, {Host, Modules#{offline_post := Change(Options)}})},
    Before = byte_size(offline_post_node:log(ejabberd(Config))),
    Result = offline_post_node:try_reload(ejabberd(Config), Changed),
    Complains = fun(Log) -> re:run(Log, "reload aborted|the old settings stay", [{capture, none}]) =:= match end,
    %% Some mistakes are found by ejabberd's reader, the others when the module takes its new options.
    offline_post_wait:until(fun() ->
                                    <<_:Before/binary, New/binary>> = offline_post_node:log(ejabberd(Config)),
                                    case Expected of
                                        ok -> Result =:= ok;
                                        refused -> Complains(New)
                                    end
                            end),
    ok = offline_post_node:reload(ejabberd(Config), NodeConfig).

handler(Config, Host, What) ->
    {?MODULE, Beam, File} = code:get_object_code(?MODULE),
    {module, ?MODULE} = offline_post_node:call(ejabberd(Config), code, load_binary, [?MODULE, File, Beam]),
    ok = offline_post_node:call(ejabberd(Config), persistent_term, put, [?MODULE, What]),
    ok = offline_post_node:call(ejabberd(Config), ejabberd_hooks, add,
                                [offline_post_event, list_to_binary(Host), ?MODULE, event, 50]).

event(Event, _Message) ->
    case persistent_term:get(?MODULE) of
        crash -> error(a_defect);
        nonsense -> Event#{body := none}
    end.
