%% Whether ejabberd would take its configuration file as it is now, and our modules their options in it. Loading alone
%% tells, and cannot be taken back: so it is done in a VM of its own, which is no node, opens no port and no spool, writes
%% no log, sends nothing, and ends when it has told what it found.
-module(mod_offline_post_check).

-export([run/1]).
%% For spawns alone.
-export([alone/2, watch/2]).
%% In that VM.
-export([load/2, log/2, last_host/2]).
%% Pure.
-export([origin/1, spools/2]).
-export_type([finding/0]).

%% Host: global, where it is nobody's in particular. error: ejabberd would refuse the file, or the module not start.
-type finding() :: {Host :: binary(), module() | ejabberd, ok | warning | error, Text :: binary()}.
%% Of the running node. Its application's settings say also where the file is.
-type node_is() :: #{env := [{atom(), term()}], mnesia_dir := file:filename(),
                     spool := undefined | mod_offline_post_endpoint:spool()}.
-type endpoint() :: {Host :: binary(), module(), gen_mod:opts()}.

%% Those that ejabberd does not start either, before it has loaded its configuration.
-define(NOT_STARTED, [mnesia, lager, os_mon]).

%% After which the VM ends in any case: later than whoever waits for it (ms).
-define(GRACE_MS, 1000).

%% One at a time on a node. When the caller ends, or the time is over, so does the VM.
-spec run(TimeoutMs :: pos_integer()) -> {ok, [finding()]} | {error, busy | timeout | {failed, iodata()}}.
run(Timeout) ->
    {Pid, Monitor} = spawn_monitor(?MODULE, alone, [self(), Timeout]),
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, _Killed} -> {error, {failed, "killed"}}
    end.

-spec alone(Caller :: pid(), pos_integer()) -> no_return().
alone(Caller, Timeout) ->
    exit({?MODULE, try register(?MODULE, self()) of
                       true -> guarded(Caller, Timeout)
                   catch
                       error:badarg -> {error, busy}
                   end}).

-spec guarded(pid(), pos_integer()) -> {ok, [finding()]} | {error, timeout | {failed, iodata()}}.
guarded(Caller, Timeout) ->
    try in_a_vm(Caller, Timeout) of
        Findings -> {ok, Findings}
    catch
        exit:timeout -> {error, timeout};
        exit:{timeout, _} -> {error, timeout};
        Class:Reason:Stack -> {error, {failed, mod_offline_post:defect(Class, Reason, Stack)}}
    end.

-spec in_a_vm(pid(), pos_integer()) -> [finding()].
in_a_vm(Caller, Timeout) ->
    NodeIs = #{env => application:get_all_env(ejabberd), mnesia_dir => mnesia:system_info(directory),
               spool => mod_offline_post_endpoint:spool()},
    Deadline = erlang:monotonic_time(millisecond) + Timeout,
    Left = fun() -> max(0, Deadline - erlang:monotonic_time(millisecond)) end,
    _ = spawn(?MODULE, watch, [Caller, self()]),
    {ok, Vm, _} = peer:start_link(#{connection => standard_io, wait_boot => Timeout, shutdown => close,
                                    exec => filename:join(bindir(), "erlexec"), args => args(), env => env()}),
    try
        true = peer:call(Vm, code, set_path, [path()], Left()),
        peer:call(Vm, ?MODULE, load, [NodeIs, Timeout + ?GRACE_MS], Left())
    after
        stop(Vm)
    end.

%% What an upgrade of a package has taken away, ours too if its directory had its version in its name, is not there any
%% more: then what came instead is what the next start would load.
-spec path() -> [file:filename()].
path() ->
    Ebin = filename:dirname(code:which(?MODULE)),
    Anew = lists:reverse(filelib:wildcard(filename:join([filename:dirname(filename:dirname(Ebin)), "mod_offline_post-*", "ebin"]))),
    [Dir || not filelib:is_dir(Ebin), Dir <- Anew] ++ [Dir || Dir <- code:get_path(), filelib:is_dir(Dir)].

%% Without the check the VM, which is linked to it, loses its input, and ends.
-spec watch(Caller :: pid(), Check :: pid()) -> true.
watch(Caller, Check) ->
    _ = [erlang:monitor(process, Pid) || Pid <- [Caller, Check]],
    receive {'DOWN', _, process, _, _} -> exit(Check, shutdown) end.

-spec stop(pid()) -> ok.
stop(Vm) ->
    try peer:stop(Vm)
    catch exit:_ -> ok
    end.

%% The Erlang that runs here, whatever is first in the path.
-spec bindir() -> file:filename().
bindir() ->
    filename:join([code:root_dir(), "erts-" ++ erlang:system_info(version), "bin"]).

%% In a release the default script may start ejabberd, and a script may name the release's libraries by a variable.
-spec args() -> [string()].
args() ->
    Boots = [filename:rootname(Boot) || Dir <- ["releases/*", "bin"],
                                        Boot <- filelib:wildcard(filename:join([code:root_dir(), Dir, "start_clean.boot"]))],
    [Arg || Boot <- lists:nthtail(max(0, length(Boots) - 1), Boots), Arg <- ["-boot", Boot]]
        ++ ["-boot_var", "RELEASE_LIB", code:lib_dir(),
            "-kernel", "logger", "[{handler,default,undefined}]", "+S", "1", "+sbwt", "none"].

%% What the script erl would say; no crash dump beside the node's, and no flags that are meant for the node.
-spec env() -> [{string(), string()}].
env() ->
    [{"ROOTDIR", code:root_dir()}, {"BINDIR", bindir()}, {"EMU", "beam"}, {"PROGNAME", "erl"}, {"ERL_CRASH_DUMP_SECONDS", "0"}
     | [{Flags, ""} || Flags <- ["ERL_AFLAGS", "ERL_FLAGS", "ERL_ZFLAGS"]]].

%%% In the VM

%% As ejabberd starts, until its configuration is loaded; then as our modules start.
-spec load(node_is(), pos_integer()) -> [finding()].
load(#{env := Env, mnesia_dir := Mnesia, spool := Spool}, Timeout) ->
    {ok, _} = timer:apply_after(Timeout, erlang, halt, [1, [{flush, false}]]),
    NotOfOtp = {fun logger_filters:domain/2, {stop, sub, [otp]}},
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self(), level => warning, filters => [{otp, NotOfOtp}]}),
    ok = application:set_env(mnesia, dir, Mnesia),
    ok = application:load(ejabberd),
    [ok = application:set_env(ejabberd, Name, Value) || {Name, Value} <- Env],
    {ok, Applications} = application:get_key(ejabberd, applications),
    {ok, Included} = application:get_key(ejabberd, included_applications),
    _ = [application:ensure_all_started(App) || App <- (Applications ++ Included) -- ?NOT_STARTED],
    case not_installed() of
        [] -> loaded(Spool);
        Names -> [{<<"global">>, ejabberd, error,
                   text("install_contrib_modules names ~ts, which loading would install: so nothing was checked. Run "
                        "ejabberdctl module_install for it first", [lists:join(", ", Names)])}]
    end.

%% Later releases install, while they load, what install_contrib_modules names. A file that cannot be read says so later.
-spec not_installed() -> [binary()].
not_installed() ->
    {module, _} = code:ensure_loaded(ext_mod),
    case erlang:function_exported(ext_mod, install_contrib_modules, 2) of
        true -> to_install(lists:flatmap(fun options/1, [ejabberd_config:path() | ext_mod:modules_configs()]))
                    -- [atom_to_binary(Name, utf8) || {Name, _} <- ext_mod:installed()];
        false -> []
    end.

-spec options(file:filename_all()) -> [{atom(), term()}].
options(File) ->
    case econf:parse(File, #{'_' => econf:any()}, [plain_as_atom, replace_macros, include_files]) of
        {ok, Yaml} -> Yaml;
        _ -> []
    end.

%% What is no list stands for one that only loading would know.
-spec to_install([{atom(), term()}]) -> [binary()].
to_install(Options) ->
    case lists:member({allow_contrib_modules, false}, Options) of
        true -> [];
        false -> lists:usort([text("~ts", [Name]) || {install_contrib_modules, Names} <- Options,
                                                     Name <- case is_list(Names) of true -> Names; false -> [Names] end])
    end.

-spec loaded(undefined | mod_offline_post_endpoint:spool()) -> [finding()].
loaded(Spool) ->
    {module, _} = code:ensure_loaded(gen_mod),
    Hosts = spawn_link(?MODULE, last_host, [self(), <<"global">>]),
    1 = erlang:trace(self(), true, [call, {tracer, Hosts}]),
    _ = erlang:trace_pattern({gen_mod, validate, 2}, true, []),
    Path = ejabberd_config:path(),
    case ejabberd_config:load() of
        ok ->
            %% Whatever the file says: what is logged from here on is the answer.
            ok = logger:set_primary_config(level, warning),
            [{<<"global">>, ejabberd, ok, text("would load ~ts", [Path])} | said(<<"global">>, ejabberd)]
                %% As they would start.
                ++ tried(Spool, [{Host, Module, Opts} || Host <- ejabberd_option:hosts(),
                                                         {Module, Opts, _Order} <- ejabberd_option:modules(Host),
                                                         lists:member(Module, mod_offline_post_endpoint:modules())]);
        Error ->
            [{failed_host(Hosts), ejabberd, error, text("~ts: ~ts", [Path, why(Error)])} | said(<<"global">>, ejabberd)]
    end.

%% ejabberd does not say in which virtual host's modules a mistake is: in the last that it looked at.
-spec failed_host(pid()) -> binary().
failed_host(Hosts) ->
    Delivered = erlang:trace_delivered(self()),
    receive {trace_delivered, _, Delivered} -> Hosts ! {which, self()} end,
    receive {last_host, Host} -> Host end.

-spec last_host(pid(), binary()) -> ok.
last_host(Loader, Host) ->
    receive
        {trace, Loader, call, {gen_mod, validate, [Next, _]}} -> last_host(Loader, Next);
        {which, Loader} -> Loader ! {last_host, Host}, ok
    end.

%% No values from a crashed validator: there may be a secret among them.
-spec why(term()) -> iodata().
why({error, {exception, Class, Reason, Stack}}) ->
    ["reading it crashed: ", mod_offline_post:defect(Class, Reason, Stack)];
why(Error) ->
    ejabberd_config:format_error(Error).

%%% Our modules

-spec tried(undefined | mod_offline_post_endpoint:spool(), [endpoint()]) -> [finding()].
tried(_Running, []) ->
    [];
tried(Running, Endpoints) ->
    case mod_offline_post_nif:status() of
        ok -> tried_natively(Endpoints) ++ spools(Running, Endpoints);
        {error, Why} -> [{<<"global">>, mod_offline_post, error, Why}]
    end.

-spec tried_natively([endpoint()]) -> [finding()].
tried_natively(Endpoints) ->
    ok = mod_offline_post_nif:attach(self()),
    Tried = lists:flatmap(fun try_out/1, Endpoints),
    %% What the native side has still to say comes before its end.
    _ = [mod_offline_post_nif:remove(mod_offline_post_endpoint:key(Host, Module), 1) || {Host, Module, _} <- Endpoints],
    ok = mod_offline_post_nif:stop(),
    Tried ++ said(<<"global">>, mod_offline_post).

-spec try_out(endpoint()) -> [finding()].
try_out({Host, Module, Opts}) ->
    case mod_offline_post_endpoint:try_out(Host, Module, Opts) of
        {ok, Uses} ->
            ok = look_around(Module, Host, Opts, Uses),
            [{Host, Module, ok, text("format ~ts, to ~ts", [mod_offline_post_opt:format(Opts),
                                                            origin(mod_offline_post_opt:post_url(Opts))])}];
        {error, Why} ->
            [{Host, Module, error, Why}]
    end ++ said(Host, Module).

%% At other modules.
-spec look_around(module(), binary(), gen_mod:opts(), [binary()]) -> ok.
look_around(mod_offline_post, Host, Opts, Uses) ->
    ok = mod_offline_post_policy:set(Host, Opts, Uses),
    mod_offline_post_neighbours:check(Host, mod_offline_post_policy:get(Host));
look_around(_Module, _Host, _Opts, _Uses) ->
    ok.

%% The spool is one for the node: whoever comes first decides, and for longer than a reload.
-spec spools(undefined | mod_offline_post_endpoint:spool(), [endpoint()]) -> [finding()].
spools(Running, [{FirstHost, _, First} | _] = Endpoints) ->
    Spool = mod_offline_post_endpoint:spool(First),
    case [{Host, Module} || {Host, Module, Opts} <- Endpoints, mod_offline_post_endpoint:spool(Opts) =/= Spool] of
        [] when Running =/= undefined, Running =/= Spool ->
            [{<<"global">>, mod_offline_post, warning,
              <<"a change of spool, spool_dir or spool_min_free needs a restart of the node: a reload is refused as a whole, and "
                "the old settings stay">>}];
        Others ->
            [{Host, Module, error, text("spool, spool_dir and spool_min_free must be the same for all virtual hosts of a node, "
                                        "and ~ts has others", [FirstHost])} || {Host, Module} <- Others]
    end.

%% Neither path nor user: there may be a secret in them.
-spec origin(binary()) -> binary().
origin(Url) ->
    {match, [Scheme, Authority]} = re:run(Url, "^(https?://)(?:[^/?#]*@)?([^/?#]*)", [{capture, all_but_first, binary}]),
    <<Scheme/binary, Authority/binary>>.

%%% What is said aside

%% As a handler of the logger, in whichever process.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event, #{config := Pid}) ->
    Line = logger_formatter:format(Event, #{single_line => true, template => [msg]}),
    Pid ! {?MODULE, text("~ts", [Line])},
    ok.

%% What was logged since the last time, by ejabberd, us, or our native side.
-spec said(binary(), module() | ejabberd) -> [finding()].
said(Host, Module) ->
    receive
        {?MODULE, Line} ->
            [{Host, Module, warning, Line} | said(Host, Module)];
        {offline_post, Lines} ->
            [{Host, Module, warning, Line} || {Level, Line} <- Lines, Level =/= info] ++ said(Host, Module)
    after 0 ->
        []
    end.

-spec text(io:format(), [term()]) -> binary().
text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
