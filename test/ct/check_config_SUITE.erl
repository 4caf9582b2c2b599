%% offline_post_check_config: what an edited ejabberd.yml would do, told by a node that goes on with the old one.
-module(check_config_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([right/1, as_ejabberd_reads/1, other_modules_file/1, mistakes/1, mistakes_together/1, warnings/1, spool/1, on_the_shell/1,
         over_http/1, two_at_once/1, too_long/1, caller_dies/1, unchanged/1, upgraded/1, refused_reload/1]).

-define(ONE, "one.localhost").
-define(TWO, "two.localhost").
-define(SECRET, "do-not-print-me").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [right, as_ejabberd_reads, other_modules_file, mistakes, mistakes_together, warnings, spool, on_the_shell, over_http, two_at_once,
     too_long, caller_dies, unchanged, upgraded, refused_reload].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Node = offline_post_node:start(running(Backend)),
    offline_post_node:await_running(Node, [?ONE, ?TWO]),
    offline_post_node:register(Node, "anna", ?ONE, "x"),
    Started = [{node, Node}, {backend, Backend} | Config],
    %% What the node starts, or logs, by and by, and for a first check only, is no change. Nor are the processes that look
    %% up names for Erlang, which stay from the first name on.
    {error, _} = offline_post_node:call(Node, inet, gethostbyname, ["absent.invalid"]),
    {ok, _} = check(Started),
    offline_post_wait:until(fun() -> Before = state(Started), receive after 1000 -> state(Started) =:= Before end end),
    Started.

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_backend:listen(?config(backend, Config)),
    [{before, state(Config)} | Config].

%% Whatever was found: the node is as it was, and alone.
end_per_testcase(refused_reload, Config) ->
    offline_post_node:configure(?config(node, Config), running(?config(backend, Config))),
    {0, _} = offline_post_node:ctl(?config(node, Config), ["reload_config"]);
end_per_testcase(_Case, Config) ->
    offline_post_wait:until(fun() -> state(Config) =:= ?config(before, Config) end, 10000,
                            fun() -> {changed, ?config(before, Config), state(Config)} end),
    ?assertEqual(nomatch, binary:match(offline_post_node:log(?config(node, Config)), <<?SECRET>>)),
    offline_post_node:configure(?config(node, Config), running(?config(backend, Config))).

%%% What is right

right(Config) ->
    Url = "https://me:" ?SECRET "@backend.example:8443/" ?SECRET "/{{to.user}}?k=" ?SECRET,
    write(Config, #{hosts => [{?ONE, #{offline_post => ["post_url: \"", Url, "\"\nformat: json\nauth_token: " ?SECRET "\n"]}},
                              {?TWO, #{modules => "mod_offline: {}\nmod_available_post:\n  post_url: \"http://localhost/here\"\n"}},
                              {"new.localhost", #{}}]}),
    {ok, [{<<"global">>, ejabberd, ok, Would} | Ours]} = check(Config),
    ?assertEqual([{<<?ONE>>, mod_offline_post, ok, <<"format json, to https://backend.example:8443">>},
                  {<<?TWO>>, mod_available_post, ok, <<"format form, to http://localhost">>}], Ours),
    contains(Would, ["would load", offline_post_node:dir(?config(node, Config)), "ejabberd.yml"]).

%% Macros, files that are included, what a virtual host has for itself.
as_ejabberd_reads(Config) ->
    Included = filename:join(offline_post_node:dir(?config(node, Config)), "more.yml"),
    ok = file:write_file(Included, "append_host_config:\n  \"" ?TWO "\":\n    modules:\n      mod_offline_post:\n        post_url: URL\n"),
    write(Config, #{hosts => [{?ONE, #{offline_post => "post_url: URL\n"}}, {?TWO, #{}}],
                    top => ["define_macro:\n  URL: \"http://macro.localhost/x\"\ninclude_config_file: \"", Included, "\"\n"]}),
    {ok, [_ | Ours]} = check(Config),
    ?assertEqual([{<<Host/binary>>, mod_offline_post, ok, <<"format form, to http://macro.localhost">>} || Host <- [<<?ONE>>, <<?TWO>>]],
                 Ours).

%% ejabberd reads these too.
other_modules_file(Config) ->
    write(Config, #{hosts => [{?ONE, #{}}]}),
    File = filename:join([offline_post_node:dir(?config(node, Config)), "modules", "conf", "mod_x.yml"]),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, "append_host_config:\n  \"" ?ONE "\":\n    modules:\n      mod_offline_post: {post_url: \"ftp://localhost/\"}\n"),
    try
        says(Config, [?ONE, "http://"]),
        ok = file:write_file(File, "install_contrib_modules: [mod_absent]\n"),
        Installs = offline_post_node:call(?config(node, Config), erlang, function_exported, [ext_mod, install_contrib_modules, 2]),
        _ = Installs andalso says(Config, ["install_contrib_modules names mod_absent"])
    after
        ok = file:delete(File)
    end.

%% A package has put another version beside the one that runs, and taken that one away; and another library with it.
upgraded(Config) ->
    Node = ?config(node, Config),
    Running = filename:join([offline_post_node:dir(Node), "modules", "mod_offline_post"]),
    Anew = Running ++ "-99.0",
    Gone = filename:join(offline_post_node:dir(Node), "gone"),
    ok = file:make_dir(Gone),
    true = offline_post_node:call(Node, code, add_pathz, [Gone]),
    ok = file:del_dir(Gone),
    ok = file:rename(Running, Anew),
    try
        ?assertMatch({ok, [{<<"global">>, ejabberd, ok, _}, {<<?ONE>>, mod_offline_post, ok, _} | _]}, check(Config)),
        {error, Why} = offline_post_node:call(Node, mod_offline_post_nif, status, []),
        contains(Why, ["is not there any more", "restart the node"])
    after
        ok = file:rename(Anew, Running),
        true = offline_post_node:call(Node, code, del_path, [Gone])
    end,
    ?assertEqual(ok, offline_post_node:call(Node, mod_offline_post_nif, status, [])).

%%% What is wrong

mistakes(Config) ->
    Of = fun(Yaml) -> #{hosts => [{?ONE, #{offline_post => "post_url: \"http://localhost/x\"\n"}},
                                  {?TWO, #{offline_post => Yaml}}]} end,
    Url = "post_url: \"http://localhost/x\"\n",
    [begin
         write(Config, Of(Yaml)),
         says(Config, [?TWO ": ejabberd: ", "ejabberd.yml", "modules->mod_offline_post" | Parts])
     end || {Yaml, Parts} <- [{"post_url: \"http://me:" ?SECRET "@localhost:x/\"\n", ["post_url", "no valid URL"]},
                              {"auth_token: " ?SECRET "\n", ["post_url", "Missing"]},
                              {[Url, "post_ulr: x\n"], ["post_ulr", "Did you mean post_url"]},
                              {[Url, "fields: {to: \"{{too}}\"}\n"], ["fields", "to: {{too}}", "to.user"]},
                              {[Url, "signing_secrets: [\"whsec_" ?SECRET "\"]\n"], ["signing_secrets", "number 1"]},
                              {[Url, "metrics_token: abc\n"], ["metrics_token", "16 or more"]},
                              {[Url, "ca_file: /etc/hostname\n"], ["ca_file", "no PEM certificate"]}]],
    Whole = #{hosts => [{?ONE, #{}}]},
    [begin
         write(Config, Whole#{top => Top}),
         says(Config, ["global: ejabberd: " | Parts])
     end || {Top, Parts} <- [{"registration_timeout: [\n", ["Syntax error"]},
                             {"include_config_file: /nowhere/more.yml\n", ["/nowhere/more.yml"]},
                             {"no_such_option: 1\n", ["no_such_option"]},
                             %% Later releases would install it.
                             {"install_contrib_modules: [mod_of_nobody]\n", ["install_contrib_modules"]}]],
    write(Config, #{hosts => [{?ONE, #{modules => "mod_of_nobody: {}\n"}}]}),
    says(Config, [?ONE ": ejabberd: ", "mod_of_nobody"]),
    ok = file:delete(file(Config)),
    says(Config, ["global: ejabberd: ", "no such file"]).

%% ejabberd takes each, and our module would not start; all of them are told.
mistakes_together(Config) ->
    Url = "post_url: \"https://localhost/x\"\n",
    Dir = offline_post_node:dir(?config(node, Config)),
    {Root, Authority} = offline_post_tls:authority("authority", Dir),
    {_, Key} = offline_post_tls:issue(Root, "localhost", {date(), {2049, 12, 31}}, filename:join(Dir, "client")),
    write(Config, #{hosts => [{?ONE, #{offline_post => [Url, "batch: {}\n"]}},
                              {?TWO, #{offline_post => [Url, "format: stanza\nauth_token: " ?SECRET "\n"],
                                       modules => ["mod_available_post:\n  ", Url, "  client_cert: \"", Authority, "\"\n  client_key: \"", Key, "\"\n"]}}]}),
    says(Config, [?ONE ": mod_offline_post: batch: several events", ?TWO ": mod_offline_post: auth_token",
                  ?TWO ": mod_available_post: client_key", "does not belong"]).

%%% What is not as good as it could be

warnings(Config) ->
    Dir = offline_post_node:dir(?config(node, Config)),
    {Root, _} = offline_post_tls:authority("authority", Dir),
    {Certificate, Key} = offline_post_tls:issue(Root, "localhost", {{2019, 1, 1}, {2020, 1, 1}}, filename:join(Dir, "old")),
    write(Config, #{loglevel => "none",
                    hosts => [{?ONE, #{modules => "mod_offline: {}\nmod_push: {}\n",
                                       offline_post => ["post_url: \"https://localhost/x\"\ninclude_sender: false\n"
                                                        "max_rate: {per_sender: 5}\nclient_cert: \"", Certificate,
                                                        "\"\nclient_key: \"", Key, "\"\n"]}}]}),
    {ok, Findings} = check(Config),
    [?assertMatch([_], [Text || {_, mod_offline_post, warning, Text} <- Findings, binary:match(Text, Part) =/= nomatch]) ||
        Part <- [<<"per_sender has no effect">>, <<"mod_push is loaded too">>, <<"has expired on 2020">>]],
    ?assertMatch([_, _], [F || {_, _, ok, _} = F <- Findings]).

%% One for the node, and for longer than a reload.
spool(Config) ->
    Url = "post_url: \"http://localhost/x\"\n",
    write(Config, #{hosts => [{Host, #{offline_post => [Url, "spool_dir: /var/spool/elsewhere\n"]}} || Host <- [?ONE, ?TWO]]}),
    {ok, Findings} = check(Config),
    ?assertMatch([<<"a change of spool", _/binary>>], [Text || {<<"global">>, mod_offline_post, warning, Text} <- Findings]),
    write(Config, #{hosts => [{?ONE, #{offline_post => [Url, "spool: false\n"]}}, {?TWO, #{offline_post => Url}}]}),
    says(Config, [?TWO ": mod_offline_post: spool", "must be the same"]),
    %% Whoever starts first decides.
    write(Config, #{hosts => [{?TWO, #{offline_post => Url}}, {?ONE, #{offline_post => [Url, "spool: false\n"]}}]}),
    says(Config, [?ONE ": mod_offline_post: spool", "must be the same"]).

%%% How it is asked

on_the_shell(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    {0, Text} = offline_post_node:ctl(Node, ["offline_post_check_config"]),
    ct:pal("~ts", [Text]),
    contains(Text, ["global\tejabberd\tok\twould load ", ?ONE "\tmod_offline_post\tok\tformat form, to http://localhost:",
                    ?TWO "\tmod_offline_post\tok\t"]),
    write(Config, #{hosts => [{?ONE, #{offline_post => "post_url: \"ftp://" ?SECRET "/x\"\n"}}]}),
    {1, Refused} = offline_post_node:ctl(Node, ["offline_post_check_config"]),
    ct:pal("~ts", [Refused]),
    contains(Refused, [?ONE, "modules->mod_offline_post->post_url", "http://"]),
    ?assertEqual(nomatch, binary:match(Refused, <<?SECRET>>)),
    offline_post_node:configure(Node, running(Backend)).

over_http(Config) ->
    Node = ?config(node, Config),
    {200, Json} = offline_post_node:http(Node, "offline_post_check_config", "{}"),
    contains(Json, ["\"host\":\"" ?ONE "\"", "\"module\":\"mod_offline_post\"", "\"result\":\"ok\"", "format form, to http://localhost:"]),
    write(Config, #{hosts => [{?ONE, #{offline_post => "post_url: \"ftp://" ?SECRET "/x\"\n"}}]}),
    {409, Refused} = offline_post_node:http(Node, "offline_post_check_config", "{}"),
    contains(Refused, [?ONE, "modules->mod_offline_post->post_url"]),
    ?assertEqual(nomatch, binary:match(Refused, <<?SECRET>>)).

two_at_once(Config) ->
    Self = self(),
    _ = [spawn_link(fun() -> Self ! {checked, check(Config)} end) || _ <- [1, 2]],
    Results = [receive {checked, Result} -> Result end || _ <- [1, 2]],
    ?assertMatch([{error, busy}, {ok, _}], lists:sort(Results)),
    {ok, _} = check(Config).

%% A file that is never read to its end.
too_long(Config) ->
    hang(Config),
    ?assertEqual({error, timeout}, offline_post_node:call(?config(node, Config), mod_offline_post_check, run, [4000])).

caller_dies(Config) ->
    Node = ?config(node, Config),
    hang(Config),
    Caller = offline_post_node:call(Node, erlang, spawn, [mod_offline_post_check, run, [60000]]),
    #{children := Alone} = ?config(before, Config),
    offline_post_wait:until(fun() -> children(Node) > Alone andalso hangs(Node) end),
    true = offline_post_node:call(Node, erlang, exit, [Caller, kill]).

%% And what was asked about can be loaded.
unchanged(Config) ->
    Node = ?config(node, Config),
    Options = fun() -> offline_post_node:call(Node, ets, tab2list, [ejabberd_options]) end,
    Terms = fun() -> lists:sort([{K, V} || {K, V} <- offline_post_node:call(Node, persistent_term, get, []), is_ours(K)]) end,
    {Before, TermsBefore} = {lists:sort(Options()), Terms()},
    write(Config, #{loglevel => "debug", hosts => [{?ONE, #{offline_post => "post_url: \"http://localhost:1/new\"\ncollapse: recipient\n"}},
                                                   {?TWO, #{offline_post => "post_url: \"http://localhost:1/new\"\n"}}, {"three.localhost", #{}}]}),
    {ok, _} = check(Config),
    ?assertEqual({Before, TermsBefore}, {lists:sort(Options()), Terms()}),
    offline_post_node:route(Node, "bob@elsewhere.example/phone", "anna@" ?ONE, "still"),
    ?assertMatch(#{path := <<"/offline">>}, offline_post_backend:await(?config(backend, Config))),
    offline_post_node:configure(Node, running(?config(backend, Config))),
    {0, _} = offline_post_node:ctl(Node, ["reload_config"]),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, ?ONE)) =:= 0 end).

%% ejabberd has taken the new options, but the node's spool is where it was.
refused_reload(Config) ->
    Node = ?config(node, Config),
    write(Config, #{hosts => [{Host, #{offline_post => "post_url: \"http://localhost/x\"\nspool_dir: /var/spool/elsewhere\n"}} ||
                                 Host <- [?ONE, ?TWO]]}),
    {0, _} = offline_post_node:ctl(Node, ["reload_config"]),
    {ok, Findings} = check(Config),
    ?assertMatch([<<"a change of spool", _/binary>>], [Text || {<<"global">>, mod_offline_post, warning, Text} <- Findings]).

%%%

running(Backend) ->
    #{api => true, hosts => [{Host, #{offline_post => ["post_url: \"", offline_post_backend:url(Backend), "\"\nshutdown_timeout: 500 ms\n"]}} ||
                                Host <- [?ONE, ?TWO]]}.

write(Config, Options) ->
    offline_post_node:configure(?config(node, Config), Options).

file(Config) ->
    filename:join(offline_post_node:dir(?config(node, Config)), "ejabberd.yml").

hang(Config) ->
    Pipe = filename:join(offline_post_node:dir(?config(node, Config)), "pipe.yml"),
    _ = os:cmd("mkfifo " ++ Pipe),
    write(Config, #{hosts => [{?ONE, #{}}], top => ["include_config_file: \"", Pipe, "\"\n"]}).

check(Config) ->
    Result = offline_post_node:call(?config(node, Config), mod_offline_post_check, run, [30000], 40000),
    ct:pal("~p", [Result]),
    Result.

%% As a command, which names what is wrong alone.
says(Config, Parts) ->
    {error, conflict, 1, Text} = offline_post_node:call(?config(node, Config), mod_offline_post_commands, check_config, [], 40000),
    ct:pal("~ts", [Text]),
    contains(Text, Parts),
    ?assertEqual(nomatch, binary:match(Text, <<?SECRET>>)).

%% What a check must leave as it is.
state(Config) ->
    Node = ?config(node, Config),
    #{children => children(Node), threads => offline_post_node:threads(Node), pipes => length([Pipe || "pipe" ++ _ = Pipe <- offline_post_node:descriptors(Node)]),
      nodes => offline_post_node:call(Node, erlang, nodes, [connected]),
      endpoints => [maps:with([state, pending, spool], offline_post_node:stats(Node, Host)) || Host <- [?ONE, ?TWO]],
      warnings => warned(offline_post_node:log(Node)),
      spool => filelib:wildcard("*", offline_post_node:spool(Node)) -- ["pipe.yml"]}.

%% But what later releases say of an answer that is an error.
warned(Log) ->
    case re:run(Log, "\\[(warning|error|critical)\\](?!.*@mod_http_api:)", [global]) of
        {match, Found} -> length(Found);
        nomatch -> 0
    end.

%% Of the node's process, and theirs.
children(Node) ->
    length(descendants(integer_to_list(offline_post_node:os_pid(Node)))).

descendants(Pid) ->
    Children = string:lexemes(os:cmd("pgrep -P " ++ Pid), "\n"),
    Children ++ lists:flatmap(fun descendants/1, Children).

%% One of them waits for a writer of the pipe.
hangs(Node) ->
    lists:any(fun(Pid) -> os:cmd("grep -sl wait_for_partner /proc/" ++ Pid ++ "/task/*/wchan") =/= "" end,
              descendants(integer_to_list(offline_post_node:os_pid(Node)))).

is_ours(Key) when is_tuple(Key) -> is_ours(element(1, Key));
is_ours(Key) -> is_atom(Key) andalso lists:prefix("mod_offline_post", atom_to_list(Key)).

contains(Text, Parts) ->
    [?assertNotEqual({Part, nomatch, Text}, {Part, binary:match(Text, unicode:characters_to_binary(Part)), Text}) || Part <- Parts].
