%% HTTP/2, client certificates and proxies, with servers that no one here wrote: nginx, nghttpd, tinyproxy, stunnel.
%% Each case has a
%% virtual host and a server (an origin) of its own.
-module(http_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([nginx_http2/1, nghttpd_http2/1, only_http1/1, wanted_http1/1, expired_server/1, mutual/1, mutual_without/1,
    renewed/1,
         proxy_plain/1, proxy_tunnel/1, proxy_wrong/1, proxy_down/1, proxy_tls/1]).

-define(PASSWORD, "pr0xy-pass").
-define(TOKEN, "t0k3n-of-nobody").
-define(USERS, 20).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [nginx_http2, nghttpd_http2, only_http1, wanted_http1, expired_server, mutual, mutual_without, renewed, proxy_plain,
     proxy_tunnel, proxy_wrong, proxy_down, proxy_tls].

init_per_suite(Config) ->
    Dir = filename:join(?config(priv_dir, Config), "servers"),
    ok = filelib:ensure_path(filename:join(Dir, "root")),
    %% nghttpd answers a POST with the file.
    ok = file:write_file(filename:join([Dir, "root", "offline"]), "ok"),
    {Root, Authority} = offline_post_tls:authority("authority", Dir),
    [Past, Yesterday, Today, Tomorrow] =
        [calendar:gregorian_days_to_date(calendar:date_to_gregorian_days(date()) + N) || N <- [-20, -2, -1, 3]],
    Issue = fun(Name, Days, Base) -> offline_post_tls:issue(Root, Name, Days, filename:join(Dir, Base)) end,
    Server = Issue("localhost", {Today, Tomorrow}, "server"),
    Expired = Issue("localhost", {Past, Yesterday}, "expired"),
    Client = Issue("ejabberd", {Today, Tomorrow}, "client"),
    Renewed = Issue("ejabberd", {Past, Yesterday}, "renewed"),
    Ports = maps:from_list([{Name, offline_post_server:free_port()} || Name <- all() ++ [tinyproxy, stunnel]]),
    Tls = #{authority => Authority, server => Server, expired => Expired, client => Client, renewed => Renewed},
    Started = #{dir => Dir},
    Servers =
        [offline_post_server:start("nginx", ["-e", "error.log", "-p", Dir, "-c", "nginx.conf"],
                                   [{"nginx.conf", nginx(Ports, Tls)}], Started#{port => maps:get(nginx_http2, Ports)}),
         offline_post_server:start("nghttpd", ["-d", filename:join(Dir, "root"), "-m", "4", "-a", "127.0.0.1",
                                               integer_to_list(maps:get(nghttpd_http2, Ports)), element(2, Server),
                                                   element(1, Server)],
                                   [], Started#{port => maps:get(nghttpd_http2, Ports)}),
         offline_post_server:start("tinyproxy", ["-d", "-c", "tinyproxy.conf"],
                                   [{"tinyproxy.conf", tinyproxy(maps:get(tinyproxy, Ports))}],
                                       Started#{port => maps:get(tinyproxy, Ports)}),
         offline_post_server:start("stunnel4", ["stunnel.conf"], [{"stunnel.conf", stunnel(Ports, Server)}],
                                   Started#{port => maps:get(stunnel, Ports)})],
    NodeConfig = #{hosts => [{host(Case), #{offline_post => options(Case, Ports, Tls)}} || Case <- all()]},
    Node = offline_post_node:start(NodeConfig),
    [offline_post_node:register(Node, user(N), host(Case), "x") || Case <- all(), N <- lists:seq(1, ?USERS)],
    [{node, Node}, {node_config, NodeConfig}, {servers, Servers}, {dir, Dir}, {root, Root}, {tls, Tls}, {ports, Ports},
     {expired_on, Yesterday} | Config].

end_per_suite(Config) ->
    Node = ?config(node, Config),
    Log = offline_post_node:log(Node),
    0 = offline_post_node:stop(Node),
    [offline_post_server:stop(Server) || Server <- ?config(servers, Config)],
    ?assertEqual(nomatch, binary:match(Log, [<<?TOKEN>>, <<?PASSWORD>>, <<"words between">>, <<"PRIVATE KEY">>])).

init_per_testcase(Case, Config) ->
    [{host, host(Case)}, {log, atom_to_list(Case) ++ ".log"} | Config].

end_per_testcase(_Case, Config) ->
    ?assertEqual([], offline_post_law:violations(stats(Config))).

%% A connection serves few requests and says so with GOAWAY, and few at a time.
nginx_http2(Config) ->
    N = 600,
    [say(Config, I) || I <- lists:seq(1, N)],
    await(Config, #{pending => 0, delivered => N, dead => 0}),
    Lines = served(Config),
    ?assertEqual([<<"HTTP/2.0">>], lists:usort([Protocol || [_, Protocol | _] <- Lines])),
    ?assertEqual(N, length(lists:usort([Id || [Id | _] <- Lines]))),
    %% Whatever came twice was tried twice.
    #{attempts := Attempts} = stats(Config),
    ?assert(length(Lines) =< Attempts),
    ?assert(length(lists:usort([Connection || [_, _, _, Connection | _] <- Lines])) >= N div 50).

nghttpd_http2(Config) ->
    N = 300,
    [say(Config, I) || I <- lists:seq(1, N)],
    await(Config, #{pending => 0, delivered => N, attempts => N}),
    ?assertEqual(0, offline_post_node:count_log(?config(node, Config), [?config(host, Config), ": ", origin(Config),
        " does not speak"])).

only_http1(Config) ->
    [say(Config, I) || I <- lists:seq(1, 30)],
    await(Config, #{pending => 0, delivered => 30, attempts => 30}),
    ?assertEqual([<<"HTTP/1.1">>], protocols(Config)),
    offline_post_node:await_log(?config(node, Config), [origin(Config), " does not speak HTTP/2"]),
    ?assertEqual(1, offline_post_node:count_log(?config(node, Config), "does not speak HTTP/2")).

%% The server would speak HTTP/2.
wanted_http1(Config) ->
    say(Config, 1),
    await(Config, #{pending => 0, delivered => 1}),
    ?assertEqual([<<"HTTP/1.1">>], protocols(Config)).

expired_server(Config) ->
    say_to_many(Config),
    %% What comes next depends on libcurl's version.
    offline_post_node:await_log(?config(node, Config), [origin(Config), " has trouble (SSL certificate "]),
    offline_post_node:await_log(?config(node, Config), "certificate has expired"),
    offline_post_node:await_log(?config(node, Config), ["valid until ", day(Config)]),
    await(Config, #{pending => 5, delivered => 0, dead => 0}).

mutual(Config) ->
    [say(Config, I) || I <- lists:seq(1, 10)],
    await(Config, #{pending => 0, delivered => 10, attempts => 10}),
    ?assertEqual([fingerprint(maps:get(client, ?config(tls, Config)))], clients(Config)).

%% nginx answers 400, which would be the message's own fault: nothing dies of it.
mutual_without(Config) ->
    say(Config, 1),
    await(Config, #{pending => 1, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 2 end),
    offline_post_node:await_log(?config(node, Config),
        "HTTP 400: the server wants a client certificate: set client_cert"),
    {Cert, Key} = maps:get(client, ?config(tls, Config)),
    NodeConfig = #{hosts := Hosts} = ?config(node_config, Config),
    Host = ?config(host, Config),
    {Host, #{offline_post := Yaml} = Options} = lists:keyfind(Host, 1, Hosts),
    With = Options#{offline_post := [Yaml, "client_cert: \"", Cert, "\"\nclient_key: \"", Key, "\"\n"]},
    offline_post_node:reload(?config(node, Config), NodeConfig#{hosts := lists:keyreplace(Host, 1, Hosts, {Host,
        With})}),
    await(Config, #{pending => 0, delivered => 1, dead => 0}).

%% Files that change under the same names are read by a reload, and a plain one is enough.
renewed(Config) ->
    Node = ?config(node, Config),
    say(Config, 1),
    await(Config, #{pending => 1, delivered => 0, dead => 0}, fun(#{attempts := N}) -> N >= 1 end),
    offline_post_node:await_log(Node, [?config(host, Config), ": the certificate in client_cert has expired on ",
        day(Config)]),
    Base = filename:rootname(element(1, maps:get(renewed, ?config(tls, Config)))),
    Days = {calendar:gregorian_days_to_date(calendar:date_to_gregorian_days(date()) - 1),
            calendar:gregorian_days_to_date(calendar:date_to_gregorian_days(date()) + 3)},
    Reload = fun() ->
                     Files = offline_post_tls:issue(?config(root, Config), "ejabberd", Days, Base),
                     0 = offline_post_node:call(Node, ejabberd_ctl, process, [["reload_config"]]),
                     fingerprint(Files)
             end,
    Second = Reload(),
    await(Config, #{pending => 0, delivered => 1, dead => 0}),
    Third = Reload(),
    say(Config, 2),
    await(Config, #{pending => 0, delivered => 2, dead => 0}),
    ?assertEqual([Second, Third], clients(Config)).

proxy_plain(Config) ->
    [say(Config, I) || I <- lists:seq(1, 10)],
    await(Config, #{pending => 0, delivered => 10, attempts => 10}),
    ?assertEqual(10, length(served(Config))),
    has_proxied(Config, "POST http://localhost:").

proxy_tunnel(Config) ->
    [say(Config, I) || I <- lists:seq(1, 10)],
    await(Config, #{pending => 0, delivered => 10, attempts => 10}),
    ?assertEqual([<<"HTTP/2.0">>], protocols(Config)),
    has_proxied(Config, "CONNECT localhost:").

proxy_wrong(Config) ->
    say_to_many(Config),
    offline_post_node:await_log(?config(node, Config),
                                [origin(Config), " has trouble (the proxy http://localhost:", port(tinyproxy, Config),
                                 " does not take these credentials (HTTP 40"]),
    await(Config, #{pending => 5, delivered => 0, dead => 0}),
    ?assertEqual([], served(Config)).

proxy_down(Config) ->
    say_to_many(Config),
    offline_post_node:await_log(?config(node, Config), [origin(Config), " has trouble (the proxy http://localhost:",
        port(proxy_down, Config), ": "]),
    await(Config, #{pending => 5, delivered => 0, dead => 0}).

%% TLS to the proxy, and through it TLS to the server.
proxy_tls(Config) ->
    [say(Config, I) || I <- lists:seq(1, 10)],
    await(Config, #{pending => 0, delivered => 10, attempts => 10}),
    ?assertEqual([<<"HTTP/2.0">>], protocols(Config)),
    has_proxied(Config, "CONNECT localhost:").

%%% The servers

nginx(Ports, #{authority := Authority, server := {Cert, Key}, expired := {ExpiredCert, ExpiredKey}}) ->
    Http = fun(Case, Listen, More) ->
                   ["server {\n listen 127.0.0.1:", integer_to_list(maps:get(Case, Ports)), Listen, ";\n access_log ",
                    atom_to_list(Case), ".log ids;\n", More, " location / { return 200; }\n}\n"]
           end,
    Mutual = [" ssl_verify_client on;\n ssl_client_certificate ", Authority, ";\n"],
    ["daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\nevents { worker_connections 256; }\nhttp {\n",
     [[Kind, "_temp_path ", Kind, ";\n"] || Kind <- ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]],
     "log_format ids '$http_webhook_id $server_protocol $status $connection $ssl_client_fingerprint';\n",
     "ssl_certificate ", Cert, ";\nssl_certificate_key ", Key, ";\n",
     Http(nginx_http2, " ssl http2", " keepalive_requests 50;\n http2_max_concurrent_streams 3;\n"),
     Http(only_http1, " ssl", ""),
     Http(wanted_http1, " ssl http2", ""),
     Http(expired_server, " ssl http2", [" ssl_certificate ", ExpiredCert, ";\n ssl_certificate_key ", ExpiredKey,
         ";\n"]),
     Http(mutual, " ssl http2", Mutual),
     Http(mutual_without, " ssl http2", Mutual),
     Http(renewed, " ssl http2", Mutual),
     Http(proxy_plain, "", ""),
     Http(proxy_tunnel, " ssl http2", ""),
     Http(proxy_wrong, " ssl http2", ""),
     Http(proxy_tls, " ssl http2", ""),
     "}\n"].

tinyproxy(Port) ->
    ["Port ", integer_to_list(Port),
        "\nListen 127.0.0.1\nTimeout 60\nLogFile \"tinyproxy.log\"\nLogLevel Connect\nMaxClients 50\n",
     "BasicAuth pusher " ?PASSWORD "\n"].

stunnel(#{stunnel := From, tinyproxy := To}, {Cert, Key}) ->
    ["foreground = yes\npid =\noutput = stunnel.log\n[proxy]\naccept = 127.0.0.1:", integer_to_list(From),
        "\nconnect = 127.0.0.1:", integer_to_list(To),
     "\ncert = ", Cert, "\nkey = ", Key, "\n"].

options(Case, Ports, #{authority := Authority} = Tls) ->
    Scheme = case Case of proxy_plain -> "http"; _ -> "https" end,
    Proxy = fun(Kind, Password, Name) ->
                    ["proxy: \"", Kind, "://pusher:", Password, "@localhost:", integer_to_list(maps:get(Name, Ports)),
                        "\"\n"]
            end,
    %% proxy_down: whatever the URL, nobody is at the proxy's address.
    Target = case Case of proxy_down -> proxy_tls; _ -> Case end,
    ["post_url: \"", Scheme, "://localhost:", integer_to_list(maps:get(Target, Ports)),
        "/offline\"\nauth_token: \"" ?TOKEN "\"\n",
     "shutdown_timeout: 300 ms\nretry_schedule: [300 ms]\nca_file: \"", Authority, "\"\n",
     case Case of
         nghttpd_http2 -> "http_version: 2\n";
         only_http1 -> "http_version: 2\n";
         wanted_http1 -> "http_version: 1.1\n";
         mutual -> files(maps:get(client, Tls));
         renewed -> files(maps:get(renewed, Tls));
         proxy_plain -> Proxy("http", ?PASSWORD, tinyproxy);
         proxy_tunnel -> Proxy("http", ?PASSWORD, tinyproxy);
         proxy_wrong -> Proxy("http", "not-" ?PASSWORD, tinyproxy);
         proxy_down -> Proxy("http", ?PASSWORD, proxy_down);
         proxy_tls -> Proxy("https", ?PASSWORD, stunnel);
         _ -> ""
     end].

files({Cert, Key}) ->
    ["client_cert: \"", Cert, "\"\nclient_key: \"", Key, "\"\n"].

%% What nginx has answered: [Id, Protocol, Status, Connection, Client's fingerprint] each.
served(Config) ->
    case file:read_file(filename:join(?config(dir, Config), ?config(log, Config))) of
        {ok, Log} -> [binary:split(Line, <<" ">>, [global]) || Line <- binary:split(Log, <<"\n">>, [global, trim_all])];
        {error, enoent} -> []
    end.

protocols(Config) -> lists:usort([Protocol || [_, Protocol | _] <- served(Config)]).

%% Of those that were served, in the order of their first request.
clients(Config) ->
    lists:uniq([Client || [_, _, <<"200">>, _, Client] <- served(Config)]).

fingerprint({Cert, _}) ->
    {ok, Pem} = file:read_file(Cert),
    [{'Certificate', Der, not_encrypted}] = public_key:pem_decode(Pem),
    string:lowercase(binary:encode_hex(crypto:hash(sha, Der))).

has_proxied(Config, What) ->
    {ok, Log} = file:read_file(filename:join(?config(dir, Config), "tinyproxy.log")),
    ?assertNotEqual(nomatch, binary:match(Log, iolist_to_binary([What, url_port(Config)]))).

%%% The node

say(Config, N) ->
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", [user(N rem ?USERS + 1), "@",
        ?config(host, Config)],
                            "words between two").

%% As many as it takes until an origin is said to have trouble.
say_to_many(Config) ->
    [say(Config, I) || I <- lists:seq(1, 5)].

stats(Config) ->
    offline_post_node:stats(?config(node, Config), ?config(host, Config)).

await(Config, Expected) ->
    await(Config, Expected, fun(_) -> true end).

await(Config, Expected, More) ->
    offline_post_wait:until(fun() ->
        Stats = stats(Config),
        maps:with(maps:keys(Expected), Stats) =:= Expected andalso More(Stats)
    end, 30000, fun() -> {Expected, stats(Config), offline_post_node:log(?config(node, Config))} end).

origin(Config) ->
    ["https://localhost:", url_port(Config)].

url_port(Config) ->
    {_, #{offline_post := Yaml}} = lists:keyfind(?config(host, Config), 1, maps:get(hosts, ?config(node_config,
        Config))),
    {match, [Port]} = re:run(lists:flatten(Yaml), "post_url: \"[a-z]+://localhost:([0-9]+)", [{capture, all_but_first,
        list}]),
    Port.

port(Name, Config) -> integer_to_list(maps:get(Name, ?config(ports, Config))).

day(Config) ->
    {Year, Month, Day} = ?config(expired_on, Config),
    io_lib:format("~4..0B-~2..0B-~2..0B", [Year, Month, Day]).

host(Case) -> lists:flatten(string:replace(atom_to_list(Case), "_", "-", all)) ++ ".localhost".

user(N) -> "u" ++ integer_to_list(N).
