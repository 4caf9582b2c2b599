%% What the operator writes into ejabberd.yml: mistakes are named when the configuration is loaded and leave what
%% runs alone; changes reach also what is queued.
-module(config_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([mistakes/1, mistakes_together/1, change_format/1, only_what_is_used/1, mistake_at_boot/1, change_url/1, change_token/1, change_limits/1, change_for_backlog/1, unreadable_file/1,
         reload_of_nothing/1,
         added_and_removed_host/1, documentation/1]).

-define(SECRET, "do-not-print-me").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [mistakes, mistakes_together, change_format, only_what_is_used, change_url, change_token, change_limits, change_for_backlog, unreadable_file, reload_of_nothing, added_and_removed_host, documentation,
     mistake_at_boot].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Node = offline_post_node:start(options(offline_post_backend:url(Backend), "")),
    offline_post_node:register(Node, "anna", "localhost", "x"),
    [{node, Node}, {backend, Backend} | Config].

end_per_suite(Config) ->
    Node = ?config(node, Config),
    offline_post_node:is_alive(Node) andalso offline_post_node:finish(Node, init_stop),
    offline_post_node:cleanup(Node),
    offline_post_backend:stop(?config(backend, Config)).

init_per_testcase(_Case, Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Config.

end_per_testcase(mistake_at_boot, _Config) ->
    ok;
end_per_testcase(_Case, Config) ->
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(?config(node, Config), "localhost"))),
    ok = load(Config, options(url(Config), "")),
    offline_post_wait:until(fun() -> maps:get(pending, stats(Config)) =:= 0 end).

%% Each is an error that names the option and says what is wrong; the module goes on with what it had.
mistakes(Config) ->
    Node = ?config(node, Config),
    Url = "post_url: \"http://localhost/x\"\n",
    [begin
         {error, Reason, Context} = offline_post_node:try_reload(Node, with(Yaml)),
         Message = unicode:characters_to_binary(offline_post_node:call(Node, econf, format_error, [Reason, Context])),
         ct:pal("~ts~n-> ~ts", [Yaml, Message]),
         [?assertNotEqual({Part, nomatch, Message}, {Part, binary:match(Message, list_to_binary(Part)), Message}) || Part <- [Option | Parts]],
         ?assertEqual(nomatch, binary:match(Message, <<?SECRET>>))
     end || {Yaml, Option, Parts} <-
                [{"auth_token: x\n", "post_url", ["Missing"]},
                 {"post_url: \"\"\n", "post_url", ["Empty"]},
                 {"post_url: /offline\n", "post_url", ["http://"]},
                 {"post_url: \"http://me:" ?SECRET "@localhost:x/\"\n", "post_url", ["no valid URL"]},
                 {"post_url: \"http://localhost/{{too}}?k=" ?SECRET "\"\n", "post_url", ["{{too}}", "to.bare"]},
                 {"post_url: \"ftp://localhost/x\"\n", "post_url", ["http://"]},
                 {"post_url: \"%%% garbage\"\n", "post_url", ["percent-encode"]},
                 {"post_url: \"http:///x\"\n", "post_url", ["hostname"]},
                 {[Url, "post_ulr: x\n"], "post_ulr", ["Unknown", "Did you mean post_url"]},
                 {[Url, "timeout: -1\n"], "timeout", ["positive"]},
                 {[Url, "connect_timeout: -5 s\n"], "connect_timeout", ["positive"]},
                 {[Url, "ca_file: /nowhere/ca.pem\n"], "ca_file", ["/nowhere/ca.pem", "no such file"]},
                 {[Url, "ca_file: /etc/hostname\n"], "ca_file", ["no PEM certificate"]},
                 {[Url, "auth_token: \"" ?SECRET "\\nX-Header: y\"\n"], "auth_token", ["control characters"]},
                 {[Url, "spool_dir: spool\n"], "spool_dir", ["absolute path"]},
                 {[Url, "retry_schedule: 5\n"], "retry_schedule", ["list"]},
                 {[Url, "retry_schedule: [1 s, never]\n"], "retry_schedule", ["integer"]},
                 {[Url, "order: sender\n"], "order", ["recipient"]},
                 {[Url, "max_connections: 0\n"], "max_connections", []},
                 {[Url, "tls_verify: perhaps\n"], "tls_verify", []},
                 {[Url, "format: xml\n"], "format", ["form, json, stanza"]},
                 {[Url, "content_type: json\n"], "content_type", ["application/json"]},
                 {[Url, "fields:\n  to: {{to}}\n"], "fields->to", ["double quotes"]},
                 {[Url, "fields:\n  to: \"{{too}}\"\n"], "fields", ["to: {{too}}", "to.user", "timestamp.unix"]},
                 {[Url, "fields:\n  a: {b: [\"{{to\"]}\n"], "fields", ["{{", "}}"]},
                 {[Url, "room_fields: text\n"], "room_fields", ["map"]},
                 {[Url, "headers:\n  X-Key: \"" ?SECRET "\\r\\nX-Header: y\"\n"], "headers", ["X-Key", "one line"]},
                 {[Url, "headers: {Content-Length: 5}\n"], "headers", ["Content-Length"]},
                 {[Url, "headers: {\"X Y\": a}\n"], "headers", ["X Y"]},
                 {[Url, "auth: digest\n"], "auth", ["bearer"]},
                 {[Url, "signing_secrets: [" ?SECRET "]\n"], "signing_secrets", ["whsec_"]},
                 {[Url, "signing_secrets: [\"whsec_" ?SECRET "\"]\n"], "signing_secrets", ["number 1"]},
                 {[Url, "signing_secrets: [\"\"]\n"], "signing_secrets", ["Empty"]},
                 {[Url, "batch: {max_events: 1}\n"], "batch->max_events", ["2 to 1000"]},
                 {[Url, "compress: zip\n"], "compress", ["gzip"]},
                 {[Url, "http_version: 3\n"], "http_version", ["auto, 1.1 or 2"]},
                 {[Url, "client_cert: /nowhere/c.pem\n"], "client_cert", ["no such file"]},
                 {[Url, "client_key: /etc/hostname\n"], "client_key", ["no PEM private key"]},
                 {[Url, "proxy: \"http://me:" ?SECRET "@localhost/x\"\n"], "proxy", ["host and port"]}]],
    %% And it still delivers.
    route(Config, "after all that"),
    ?assertEqual(<<"after all that">>, field(<<"body">>, offline_post_backend:await(?config(backend, Config)))),
    ?assertEqual(nomatch, binary:match(offline_post_node:log(Node), <<?SECRET>>)).

%% Each option for itself is right: one line in the log names what does not go together, and what ran goes on.
mistakes_together(Config) ->
    Node = ?config(node, Config),
    [begin
         ok = load(Config, options(url(Config), Yaml)),
         Refused = "the old settings stay for localhost: " ++ Begins,
         offline_post_node:await_log(Node, Refused),
         [_, After] = binary:split(offline_post_node:log(Node), list_to_binary(Refused)),
         [Said | _] = binary:split(After, <<"\n">>),
         [?assertNotEqual({Part, nomatch, Said}, {Part, binary:match(Said, list_to_binary(Part)), Said}) || Part <- Parts],
         route(Config, "still"),
         ?assertEqual(<<"still">>, field(<<"body">>, offline_post_backend:await(?config(backend, Config)))),
         ok = load(Config, options(url(Config), ""))
     end || {Yaml, Begins, Parts} <-
                [{"batch: {}\n", "batch: several events", ["format: json"]},
                 {"format: stanza\nfields: {a: b}\n", "fields", ["format stanza has no fields"]},
                 {"format: stanza\nauth_token: " ?SECRET "\n", "auth_token", ["auth: bearer, basic or header"]},
                 {"auth: bearer\nauth_token: " ?SECRET "\nheaders: {Authorization: \"" ?SECRET "\"}\n", "headers", ["choose one"]},
                 {"http_version: 2\n", "http_version", ["https"]},
                 {"format: json\nbatch: {}\nheaders: {X-To: \"{{to}}\"}\n", "batch: a batch has one", ["{{host}}"]}]],
    ?assertEqual(nomatch, binary:match(offline_post_node:log(Node), <<?SECRET>>)).

%% Also for what is queued. Signed as Standard Webhooks says.
change_format(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 503}),
    route(Config, "\"two\" &amp; 2"),
    offline_post_backend:await(Backend),
    Key = crypto:strong_rand_bytes(32),
    ok = load(Config, options([url(Config), "/to/{{to.user}}"],
                              ["format: json\nfields:\n  text: \"{{body}}\"\n  who: {user: \"{{to.user}}\", n: 1, ok: true, no: null}\n"
                               "  list: [1.5, \"{{host}}\"]\nheaders:\n  X-Kind: \"{{kind}}\"\nauth: bearer\nauth_token: t0\n"
                               "signing_secrets: [\"whsec_", base64:encode(Key), "\"]\n"])),
    offline_post_backend:set(Backend, {reply, 200}),
    #{path := Path, body := Body, headers := Headers} = await_path(Backend, <<"/offline/to/anna">>),
    ?assertEqual({<<"/offline/to/anna">>, <<"{\"text\":\"\\\"two\\\" & 2\",\"who\":{\"user\":\"anna\",\"n\":1,\"ok\":true,\"no\":null},"
                                 "\"list\":[1.5,\"localhost\"]}">>}, {Path, Body}),
    Header = fun(Name) -> proplists:get_value(Name, Headers) end,
    ?assertEqual({<<"application/json">>, <<"text">>, <<"Bearer t0">>},
                 {Header(<<"content-type">>), Header(<<"x-kind">>), Header(<<"authorization">>)}),
    Signed = [Header(<<"webhook-id">>), $., Header(<<"webhook-timestamp">>), $., Body],
    ?assertEqual(iolist_to_binary(["v1,", base64:encode(crypto:mac(hmac, sha256, Key, Signed))]), Header(<<"webhook-signature">>)).

%% What no template asks for is not stored either.
only_what_is_used(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    offline_post_backend:set(Backend, {reply, 400}),
    [begin
         ok = load(Config, options(url(Config), Yaml)),
         route(Config, "not to be kept"),
         offline_post_wait:until(fun() -> maps:get(dead, stats(Config)) =:= 1 end),
         {ok, [Letter], undefined} = offline_post_node:call(Node, mod_offline_post, dead_letters, [<<"localhost">>, all, 0, 10]),
         {ok, 1} = offline_post_node:call(Node, mod_offline_post, drop_dead_letters, [<<"localhost">>, all]),
         ?assertEqual({Yaml, Expected}, {Yaml, maps:with([body, attributes], Letter)}),
         offline_post_backend:await(Backend)
     end || {Yaml, Expected} <-
                [{"fields: {to: \"{{to.bare}}\"}\n", #{body => <<>>, attributes => []}},
                 {"fields: {via: \"{{trigger}}\"}\n", #{body => <<>>, attributes => [{<<"trigger">>, <<"offline">>}]}},
                 {"", #{body => <<"not to be kept">>, attributes => []}}]].

%% What waits for a backend that is broken goes to the one that is written now.
change_url(Config) ->
    Old = ?config(backend, Config),
    New = offline_post_backend:start(),
    offline_post_backend:set(Old, {reply, 503}),
    route(Config, "one"),
    offline_post_backend:await(Old),
    ok = load(Config, options(offline_post_backend:url(New, "/new"), "")),
    #{path := Path} = Post = offline_post_backend:await(New),
    ?assertEqual({<<"/new">>, <<"one">>}, {Path, field(<<"body">>, Post)}),
    offline_post_wait:until(fun() -> maps:get(pending, stats(Config)) =:= 0 end),
    ok = load(Config, options(url(Config), "")),
    offline_post_backend:stop(New).

change_token(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, {reply, 401}),
    route(Config, "two"),
    ?assertEqual(<<>>, field(<<"access_token">>, offline_post_backend:await(Backend))),
    offline_post_backend:set(Backend, {reply, 200}),
    ok = load(Config, options(url(Config), "auth_token: \"the new one\"\n")),
    await_field(Backend, <<"access_token">>, <<"the new one">>).

change_limits(Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:set(Backend, silent),
    #{rejected := Rejected} = stats(Config),
    ok = load(Config, options(url(Config), "queue_limit: 2\n")),
    [route(Config, "x") || _ <- lists:seq(1, 4)],
    offline_post_wait:until(fun() -> maps:get(rejected, stats(Config)) =:= Rejected + 2 end),
    ok = load(Config, options(url(Config), "queue_limit: 3\n")),
    [route(Config, "x") || _ <- lists:seq(1, 2)],
    offline_post_wait:until(fun() -> maps:get(rejected, stats(Config)) =:= Rejected + 3 end),
    %% In bytes.
    ok = load(Config, options(url(Config), "queue_bytes: 1\n")),
    route(Config, "x"),
    offline_post_wait:until(fun() -> maps:get(rejected, stats(Config)) =:= Rejected + 4 end),
    ?assertMatch(#{pending := 3}, stats(Config)),
    offline_post_backend:set(Backend, {reply, 200}).

%% What waits gets the new timeout and connections, too.
change_for_backlog(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    #{delivered := Delivered} = stats(Config),
    ok = load(Config, options(url(Config), "max_connections: 1\n")),
    %% Too slow for the timeout of one second, and one at a time.
    offline_post_backend:set(Backend, {delay, 1500, {reply, 200}}),
    Users = ["slow" ++ integer_to_list(N) || N <- lists:seq(1, 12)],
    [offline_post_node:register(Node, User, "localhost", "x") || User <- Users],
    [route(Config, User ++ "@localhost", "x") || User <- Users],
    offline_post_wait:until(fun() -> maps:get(retries, stats(Config)) > 0 end),
    ?assertMatch(#{delivered := Delivered, in_flight := N} when N =< 1, stats(Config)),
    ok = load(Config, with(["post_url: \"", url(Config), "\"\nshutdown_timeout: 500 ms\ntimeout: 10 s\nmax_connections: 8\n"])),
    Widest = watch(Config, fun() -> maps:get(delivered, stats(Config)) =:= Delivered + 12 end, 0),
    ?assert(Widest > 1),
    ?assert(Widest =< 8).

%% The largest number in flight until then.
watch(Config, Done, Most) ->
    #{in_flight := InFlight} = stats(Config),
    case Done() of
        true -> Most;
        false -> timer:sleep(10), watch(Config, Done, max(Most, InFlight))
    end.

%% A file that ejabberd's user may not read.
unreadable_file(Config) ->
    Node = offline_post_node:start((options(url(Config), ""))#{user => offline_post_node:unprivileged()}),
    File = filename:join(offline_post_node:dir(Node), "secret.pem"),
    ok = file:write_file(File, "-----BEGIN CERTIFICATE-----\n"),
    ok = file:change_mode(File, 0),
    {error, Reason, Context} =
        offline_post_node:try_reload(Node, with(["post_url: \"http://localhost/x\"\nca_file: \"", File, "\"\n"])),
    Message = unicode:characters_to_binary(offline_post_node:call(Node, econf, format_error, [Reason, Context])),
    [?assertNotEqual({nomatch, Message}, {binary:match(Message, list_to_binary(Part)), Message}) ||
        Part <- ["ca_file", File, "permission denied"]],
    ?assertEqual(0, offline_post_node:stop(Node)).

%% A reload that changes nothing of ours changes nothing.
reload_of_nothing(Config) ->
    Threads = offline_post_node:threads(?config(node, Config)),
    [ok = load(Config, options(url(Config), "")) || _ <- lists:seq(1, 5)],
    ?assertEqual({2, 2}, {Threads, offline_post_node:threads(?config(node, Config))}).

added_and_removed_host(Config) ->
    Node = ?config(node, Config),
    #{hosts := Hosts} = Options = options(url(Config), ""),
    ok = load(Config, Options#{hosts := Hosts ++ [{"later.localhost", #{offline_post => ["post_url: \"", url(Config), "\"\n"]}}]}),
    offline_post_node:register(Node, "anna", "later.localhost", "x"),
    route(Config, "anna@later.localhost", "hello"),
    ?assertEqual(<<"hello">>, field(<<"body">>, offline_post_backend:await(?config(backend, Config)))),
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(Node, "later.localhost")) =:= 0 end),
    ok = load(Config, Options),
    ?assertEqual(2, offline_post_node:threads(Node)),
    route(Config, "here"),
    ?assertEqual(<<"here">>, field(<<"body">>, offline_post_backend:await(?config(backend, Config)))).

%% ejabberd's own documentation command takes mod_doc/0.
documentation(Config) ->
    #{opts := Opts} = offline_post_node:call(?config(node, Config), mod_offline_post, mod_doc, []),
    ?assert(length(Opts) >= 10).

%% At boot ejabberd refuses a wrong configuration as a whole, and names the mistake.
mistake_at_boot(Config) ->
    Node = ?config(node, Config),
    0 = offline_post_node:finish(Node, init_stop),
    offline_post_node:configure(Node, with("post_url: \"ftp://localhost/x\"\n")),
    {Status, _} = offline_post_node:boot_fails(Node),
    ?assert(Status > 0),
    offline_post_node:await_log(Node, "modules->mod_offline_post->post_url").

%%%

options(Url, More) ->
    with(["post_url: \"", Url, "\"\nshutdown_timeout: 500 ms\ntimeout: 1 s\n", More]).

with(Yaml) ->
    #{hosts => [{"localhost", #{offline_post => Yaml}}]}.

load(Config, Options) ->
    offline_post_node:reload(?config(node, Config), Options).

url(Config) ->
    offline_post_backend:url(?config(backend, Config)).

stats(Config) ->
    offline_post_node:stats(?config(node, Config), "localhost").

route(Config, Text) ->
    route(Config, "anna@localhost", Text).

route(Config, To, Text) ->
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", To, Text).

field(Name, #{body := Body}) ->
    proplists:get_value(Name, uri_string:dissect_query(Body)).

%% The same.
await_path(Backend, Path) ->
    case offline_post_backend:await(Backend) of
        #{path := Path} = Post -> Post;
        _ -> await_path(Backend, Path)
    end.

%% An attempt that was under way may still have the old value.
await_field(Backend, Name, Value) ->
    case field(Name, offline_post_backend:await(Backend)) of
        Value -> ok;
        _ -> await_field(Backend, Name, Value)
    end.
