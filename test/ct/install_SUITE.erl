%% The two ways to install, and every way in which an installation can go wrong: one clear line in the log, and
%% ejabberd runs on without notifications.
-module(install_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([cmake_install/1, module_install_and_upgrade/1, failed_build/1, no_library/1, changed_library/1, other_abi/1,
         missing_helper/1, outdated_helper/1, helper_in_use/1, outdated_stubs/1]).

-define(HOST, "localhost").

suite() -> [{timetrap, {minutes, 6}}].

all() ->
    [cmake_install, module_install_and_upgrade, failed_build, no_library, changed_library, other_abi,
     missing_helper, outdated_helper, helper_in_use, outdated_stubs].

init_per_suite(Config) ->
    [{backend, offline_post_backend:start()} | Config].

end_per_suite(Config) ->
    offline_post_backend:stop(?config(backend, Config)).

%% module_install copies the library into ejabberd's own directory, too, where it can: not as root, then.
init_per_testcase(Case, Config) when Case =:= module_install_and_upgrade; Case =:= failed_build ->
    start(Config, #{install => false, user => offline_post_node:unprivileged(), hosts => [{?HOST, #{}}]});
init_per_testcase(cmake_install, Config) ->
    start(Config, #{install => false, hosts => [{?HOST, #{}}]});
init_per_testcase(_Case, Config) ->
    start(Config, options(Config)).

start(Config, Options) ->
    offline_post_backend:listen(?config(backend, Config)),
    Node = offline_post_node:start(Options),
    offline_post_node:register(Node, "anna", ?HOST, "x"),
    [{node, Node} | Config].

end_per_testcase(_Case, Config) ->
    {up, Node} = offline_post_node:current(?config(node, Config)),
    ?assertEqual(0, offline_post_node:stop(Node)).

%% What CMake lays out is what ejabberd loads, from its next start on.
cmake_install(Config) ->
    Node = ?config(node, Config),
    Build = filename:join(offline_post_node:root(), "build/native"),
    ok = run(["cmake", "--build", Build]),
    ok = run(["cmake", "--install", Build, "--prefix", installed(Node)]),
    ?assertEqual(["CHANGELOG.md", "CONTRIBUTING.md", "COPYING", "README.md", "contrib", "docs", "ebin", "examples",
                  "mod_offline_post.spec", "priv"],
                 filelib:wildcard("*", installed(Node))),
    delivers([{node, restarted(Config, fun(_) -> offline_post_node:configure(Node, options(Config)) end)} | Config]).

%% As an operator does it: install, then configure; later upgrade.
module_install_and_upgrade(Config) ->
    Node = ?config(node, Config),
    sources(Node),
    ?assertEqual(0, ctl(Node, ["module_install", "mod_offline_post"])),
    ?assert(filelib:is_file(filename:join(installed(Node), "priv/build.log"))),
    ?assertNot(filelib:is_dir(filename:join(installed(Node), "conf"))),
    ?assertEqual(nomatch, binary:match(offline_post_node:log(Node), <<"Warning:">>)),
    ok = offline_post_node:reload(Node, options(Config)),
    delivers(Config),
    %% ejabberd 23.01 asks for a README.txt, later ones for a README.md.
    case offline_post_node:call(Node, ext_mod, check, [mod_offline_post]) of
        ok -> ok;
        {error, Missing} -> ?assertEqual([{missing, "README.txt"}], Missing)
    end,
    %% While it runs. What is then installed and what is loaded agree, or the log says so.
    ?assertEqual(0, ctl(Node, ["module_upgrade", "mod_offline_post"])),
    case offline_post_node:call(Node, mod_offline_post_nif, status, []) of
        ok -> delivers(Config);
        {error, _} -> off(Config, "restart the node")
    end,
    %% And from the next boot on.
    0 = offline_post_node:finish(Node, init_stop),
    delivers([{node, offline_post_node:boot(Node)} | Config]).

%% A build that fails must not leave an older library to be taken for the new one.
failed_build(Config) ->
    Node = ?config(node, Config),
    sources(Node),
    Source = filename:join([offline_post_node:dir(Node), "modules/sources/mod_offline_post"]),
    ok = filelib:ensure_dir(filename:join(Source, "priv/x")),
    {ok, _} = file:copy(offline_post_node:library(), filename:join(Source, "priv/mod_offline_post_nif.so")),
    ok = file:write_file(filename:join(Source, "CMakeLists.txt"), "message(FATAL_ERROR \"no compiler today\")\n"),
    own(Node),
    ?assertEqual(0, ctl(Node, ["module_install", "mod_offline_post"])),
    ok = offline_post_node:reload(Node, options(Config)),
    off(Config, "make -C c_src"),
    {ok, Log} = file:read_file(filename:join(installed(Node), "priv/build.log")),
    ?assertNotEqual(nomatch, binary:match(Log, <<"no compiler today">>)).

no_library(Config) ->
    Node = restarted(Config, fun(Node) -> ok = file:delete(library(Node)) end),
    Again = [{node, Node} | Config],
    off(Again, "make -C c_src"),
    off(Again, "ejabberdctl reload_config"),
    %% Built later.
    {ok, _} = file:copy(offline_post_node:library(), library(Node)),
    0 = ctl(Node, ["reload_config"]),
    delivers(Again).

changed_library(Config) ->
    Node = ?config(node, Config),
    delivers(Config),
    {ok, Library} = file:read_file(library(Node)),
    replace(library(Node), [Library, 0]),
    %% What runs goes on, also over a reload of the configuration.
    ok = offline_post_node:reload(Node, options(Config, "max_connections: 7\n")),
    delivers(Config),
    restart_module(Node),
    off(Config, "restart the node"),
    delivers([{node, restarted(Config, fun(_) -> ok end)} | Config]).

other_abi(Config) ->
    Node = restarted(Config, fun(Node) -> compile_to(Node, mod_offline_post_nif, [{d, 'ABI', 99}]) end),
    off([{node, Node} | Config], "another version").

%% Whatever part of the installation is not there.
missing_helper(Config) ->
    lists:foldl(fun(Module, Running) ->
                        Beam = filename:join([installed(Running), "ebin", atom_to_list(Module) ++ ".beam"]),
                        {ok, Bytes} = file:read_file(Beam),
                        Node = restarted([{node, Running}], fun(_) -> ok = file:delete(Beam) end),
                        Again = [{node, Node} | Config],
                        off(Again, "the module " ++ atom_to_list(Module) ++ " cannot be loaded (nofile)"),
                        restart_module(Node, "cannot be loaded (nofile)"),
                        ok = file:write_file(Beam, Bytes),
                        0 = ctl(Node, ["reload_config"]),
                        delivers(Again),
                        Node
                end, ?config(node, Config), [mod_offline_post_owner, mod_offline_post_opt, mod_offline_post_nif]).

%% After module_upgrade ejabberd has loaded the main module alone.
outdated_helper(Config) ->
    Node = ?config(node, Config),
    Modules = offline_post_node:modules() -- [mod_offline_post, mod_offline_post_nif],
    [begin
         Old = offline_post_node:call(Node, Module, module_info, [md5]),
         compile_to(Node, Module, []),
         ?assertEqual(Old, offline_post_node:call(Node, Module, module_info, [md5]))
     end || Module <- Modules],
    restart_module(Node),
    [begin
         {Module, Beam, _} = offline_post_node:call(Node, code, get_object_code, [Module]),
         {ok, {Module, Md5}} = beam_lib:md5(Beam),
         ?assertEqual(Md5, offline_post_node:call(Node, Module, module_info, [md5]))
     end || Module <- Modules],
    delivers(Config).

%% A process runs in the version before the one that is loaded, so that a third one cannot be loaded.
helper_in_use(Config) ->
    Node = ?config(node, Config),
    Module = mod_offline_post_await,
    {Module, Third, _} = offline_post_node:call(Node, code, get_object_code, [Module]),
    User = offline_post_node:call(Node, erlang, spawn, [Module, run, [tag, fun inet:gethostname/0, 600000]]),
    compile_to(Node, Module, []),
    true = offline_post_node:call(Node, code, soft_purge, [Module]),
    {module, Module} = offline_post_node:call(Node, code, load_file, [Module]),
    replace(filename:join([installed(Node), "ebin", atom_to_list(Module) ++ ".beam"]), Third),
    restart_module(Node),
    offline_post_node:await_log(Node, "the module mod_offline_post_await is in use in an old version"),
    ?assertMatch(#{state := stopped}, offline_post_node:stats(Node, ?HOST)),
    true = offline_post_node:call(Node, erlang, exit, [User, kill]),
    0 = ctl(Node, ["reload_config"]),
    delivers(Config).

outdated_stubs(Config) ->
    Node = ?config(node, Config),
    compile_to(Node, mod_offline_post_nif, [{d, 'ABI', 98}]),
    compile_to(Node, mod_offline_post_event, []),
    Helper = offline_post_node:call(Node, mod_offline_post_event, module_info, [md5]),
    delivers(Config),
    restart_module(Node),
    off(Config, "restart the node"),
    %% Half of another version is no version.
    ?assertEqual(Helper, offline_post_node:call(Node, mod_offline_post_event, module_info, [md5])).

%%%

delivers(Config) ->
    Node = ?config(node, Config),
    offline_post_node:route(Node, "bob@elsewhere.example", "anna@" ?HOST, "hello"),
    offline_post_backend:await(?config(backend, Config)),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, ?HOST)) =:= 0 end).

%% ejabberd serves, nothing is posted, and one line says why.
off(Config, WayOut) ->
    Node = ?config(node, Config),
    offline_post_node:await_log(Node, WayOut),
    Errors = [Line || Line <- binary:split(offline_post_node:log(Node), <<"\n">>, [global]),
                      binary:match(Line, <<"[error]">>) =/= nomatch],
    ?assertMatch([_], Errors),
    [?assertNotEqual({nomatch, Part}, {binary:match(hd(Errors), Part), Part}) ||
        Part <- [<<"mod_offline_post: no notifications for " ?HOST>>, list_to_binary(WayOut)]],
    offline_post_node:route(Node, "bob@elsewhere.example", "anna@" ?HOST, "hello"),
    ?assertEqual([], offline_post_backend:posts(?config(backend, Config))),
    ?assert(offline_post_node:is_alive(Node)).

options(Config) ->
    options(Config, "").

options(Config, More) ->
    #{hosts => [{?HOST, #{offline_post => ["post_url: \"", offline_post_backend:url(?config(backend, Config)), "\"\n", More]}}]}.

installed(Node) ->
    filename:join([offline_post_node:dir(Node), "modules", "mod_offline_post"]).

library(Node) ->
    filename:join([installed(Node), "priv", "mod_offline_post_nif.so"]).

restart_module(Node) ->
    ok = offline_post_node:call(Node, gen_mod, stop_module, [<<?HOST>>, mod_offline_post]),
    ok = offline_post_node:call(Node, gen_mod, start_module, [<<?HOST>>, mod_offline_post]).

%% The same again, while it cannot run: says so again, and nothing worse.
restart_module(Node, Why) ->
    Errors = offline_post_node:count_log(Node, "[error]"),
    restart_module(Node),
    offline_post_wait:until(fun() -> offline_post_node:count_log(Node, "[error]") > Errors end),
    ?assertEqual({Errors + 1, Errors + 1},
                 {offline_post_node:count_log(Node, "[error]"), offline_post_node:count_log(Node, Why)}).

%% Does something to the installation while the node is down.
restarted(Config, Change) ->
    Node = ?config(node, Config),
    0 = offline_post_node:finish(Node, init_stop),
    Change(Node),
    ok = file:delete(filename:join(offline_post_node:dir(Node), "logs/ejabberd.log")),
    offline_post_node:boot(Node).

%% As an installer does: a new file under the old name.
replace(Path, Bytes) ->
    ok = file:delete(Path),
    ok = file:write_file(Path, Bytes).

%% Another version of a module, on the disk only.
compile_to(Node, Module, Options) ->
    Source = proplists:get_value(source, Module:module_info(compile)),
    Given = [Option || {i, _} = Option <- proplists:get_value(options, Module:module_info(compile))],
    {ok, Module, Beam} = compile:file(Source, [binary, {d, 'TEST_VERSION'}, {extra_chunks, [{<<"Vers">>, <<"2">>}]}, no_line_info | Given ++ Options]),
    replace(filename:join([installed(Node), "ebin", atom_to_list(Module) ++ ".beam"]), Beam).

%% A checkout where module_install looks for it, owned by whom the node runs as.
sources(Node) ->
    Target = filename:join([offline_post_node:dir(Node), "modules/sources/mod_offline_post"]),
    ok = filelib:ensure_dir(filename:join(Target, "x")),
    "" = os:cmd(lists:flatten(
                  ["cd '", offline_post_node:root(), "' && cp -a CMakeLists.txt CMakePresets.json cmake c_src erl_src src "
                   "mod_offline_post.spec rebar.config rebar.config.script README.md COPYING '", Target, "'/"])),
    own(Node).

own(#{user := undefined}) -> ok;
own(#{user := User} = Node) -> "" = os:cmd("chown -R " ++ User ++ ": " ++ offline_post_node:dir(Node)), ok.

ctl(Node, Command) ->
    offline_post_node:call(Node, ejabberd_ctl, process, [Command], 300000).

run([Command | Args]) ->
    Port = offline_post_port:open(os:find_executable(Command), Args, [stderr_to_stdout]),
    case offline_post_port:await_exit(Port, 300000) of
        0 -> ok;
        Status -> ct:fail({Command, Args, Status, offline_post_port:output(Port)})
    end.
