%% Which kinds of message are posted: every row of the table in docs/events.md, sent by a real client to a user who is
%% offline. What must not be posted would have been before the last message.
-module(kinds_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([every_kind/1, normal/1, headlines/1, errors/1, by_default/1, some/1, form/1, call_taken_back/1, call_answered/1,
         call_declined/1, other_call/1, reload/1]).

-define(HOSTS, ["every.localhost", "default.localhost", "some.localhost", "form.localhost"]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [every_kind, normal, headlines, errors, by_default, some, form, call_taken_back, call_answered, call_declined, other_call, reload].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Node = offline_post_node:start(node_config(Backend, "[text, reaction]")),
    offline_post_told:install(Node, ?HOSTS -- ["form.localhost"]),
    [{node, Node}, {backend, Backend}, {clients, offline_post_client:start()} | Config].

node_config(Backend, Some) ->
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    %% The end of a call is no message: calls_SUITE.
    Every = lists:join(", ", [atom_to_list(Kind) || Kind <- mod_offline_post_kind:kinds() -- [call_end]]),
    #{hosts => [{Host, #{offline_post => [Url, Options]}} ||
                   {Host, Options} <- lists:zip(?HOSTS, [["notify: [", Every, "]\n"], "", ["notify: ", Some, "\n"],
                                                         ["notify: [", Every, "]\ninclude_body:\n  encrypted: \"You have mail\"\n"]])]}.

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(Case, Config) ->
    {Node, Clients, Backend} = {?config(node, Config), ?config(clients, Config), ?config(backend, Config)},
    offline_post_client:take(Clients),
    offline_post_backend:listen(Backend),
    Host = host(Case),
    To = atom_to_list(Case),
    [offline_post_node:register(Node, User, Host, [User, "-password"]) || User <- [To, "from." ++ To]],
    offline_post_client:login(Clients, "sender", "from." ++ To ++ "@" ++ Host, Node),
    [{host, Host}, {to, To ++ "@" ++ Host} | Config].

end_per_testcase(_Case, Config) ->
    offline_post_client:offline(?config(clients, Config), "sender"),
    [begin
         Stats = offline_post_node:stats(?config(node, Config), Host),
         ?assertEqual([], offline_post_law:violations(Stats)),
         ?assertMatch(#{hook_crashes := 0, duplicates := 0}, Stats)
     end || Host <- ?HOSTS],
    ok.

host(by_default) -> "default.localhost";
host(Case) when Case =:= some; Case =:= reload -> "some.localhost";
host(form) -> "form.localhost";
host(_) -> "every.localhost".

every_kind(Config) ->
    rows(Config, "chat").

%% What is said outside of a conversation is news just the same.
normal(Config) ->
    rows(Config, "normal").

rows(Config, Type) ->
    Rows = mod_offline_post_kind_tests:content(),
    [send(Config, Type, Name, Content) || {Name, _, Content} <- Rows],
    ?assertEqual([{list_to_binary(Name), Kind} || {Name, Kind, _} <- Rows, Kind =/= none], told(Config)).

%% Whatever is in them.
headlines(Config) ->
    [send(Config, "headline", Name, Content) || {Name, Content} <- [{"text", "<body>x</body>"}, {"call", propose("s1")}]],
    ?assertEqual([{<<"text">>, headline}, {<<"call">>, headline}], told(Config)).

errors(Config) ->
    [send(Config, "error", Name, Content) || {Name, _, Content} <- mod_offline_post_kind_tests:content()],
    ?assertEqual([], told(Config)).

by_default(Config) ->
    Rows = mod_offline_post_kind_tests:content(),
    [send(Config, "chat", Name, Content) || {Name, _, Content} <- Rows],
    ?assertEqual([{list_to_binary(Name), Kind} || {Name, Kind, _} <- Rows, lists:member(Kind, [text, encrypted, call, file, invitation])],
                 told(Config)).

some(Config) ->
    Rows = mod_offline_post_kind_tests:content(),
    [send(Config, "chat", Name, Content) || {Name, _, Content} <- Rows],
    ?assertEqual([{list_to_binary(Name), Kind} || {Name, Kind, _} <- Rows, lists:member(Kind, [text, reaction])], told(Config)).

%% The original's four fields, whatever the kind: the body is the message's own text, or empty, or what include_body says.
form(Config) ->
    [begin
         send(Config, "chat", "x", Content),
         #{body := Form} = offline_post_backend:await(?config(backend, Config)),
         ?assertEqual({Content, [{<<"to">>, <<"form">>}, {<<"from">>, <<"from.form">>}, {<<"body">>, Body}, {<<"access_token">>, <<>>}]},
                      {Content, uri_string:dissect_query(Form)})
     end || {Content, Body} <-
                [{propose("s1"), <<>>}, {"<subject>News</subject>", <<>>},
                 {"<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>x</reaction></reactions>", <<>>},
                 {"<body>https://up.example/a.jpg</body><x xmlns='jabber:x:oob'><url>https://up.example/a.jpg</url></x>",
                  <<"https://up.example/a.jpg">>},
                 {"<openpgp xmlns='urn:xmpp:openpgp:0'>aa</openpgp>", <<"You have mail">>},
                 {"<body>This message is encrypted.</body><openpgp xmlns='urn:xmpp:openpgp:0'>aa</openpgp>", <<"You have mail">>}]].

%%% Calls: what waits while the endpoint is paused, is withdrawn

call_taken_back(Config) ->
    withdrawn(Config, fun(Session) -> send(Config, "chat", "retract", jingle("retract", Session)) end).

%% On a device of the callee, which tells it to the account.
call_answered(Config) ->
    by_the_callee(Config, "accept").

call_declined(Config) ->
    by_the_callee(Config, "reject").

by_the_callee(Config, How) ->
    {Node, Clients} = {?config(node, Config), ?config(clients, Config)},
    withdrawn(Config, fun(Session) ->
                              offline_post_client:login(Clients, "callee", ?config(to, Config), Node),
                              offline_post_client:send(Clients, "callee", ["<message type='chat' to='", ?config(to, Config), "'>",
                                                                           jingle(How, Session), "</message>"]),
                              offline_post_client:ping_ms(Clients, "callee"),
                              offline_post_client:offline(Clients, "callee")
                      end).

%% Somebody else's call goes on.
other_call(Config) ->
    paused(Config, fun() ->
                           send(Config, "chat", "propose", propose("other1")),
                           send(Config, "chat", "retract", jingle("retract", "other2"))
                   end),
    ?assertEqual([{<<"propose">>, call}], told(Config)).

withdrawn(Config, End) ->
    #{cancelled := Before} = stats(Config),
    Session = ?config(to, Config),
    paused(Config, fun() ->
                           send(Config, "chat", "propose", propose(Session)),
                           offline_post_wait:until(fun() -> maps:get(pending, stats(Config)) =:= 1 end),
                           End(Session),
                           offline_post_wait:until(fun() -> maps:get(cancelled, stats(Config)) =:= Before + 1 end)
                   end),
    ?assertEqual([], told(Config)).

paused(Config, Do) ->
    Host = list_to_binary(?config(host, Config)),
    ok = offline_post_node:call(?config(node, Config), mod_offline_post, pause, [Host]),
    Do(),
    offline_post_client:ping_ms(?config(clients, Config), "sender"),
    ok = offline_post_node:call(?config(node, Config), mod_offline_post, resume, [Host]).

%%%

%% The next message is judged by the new options.
reload(Config) ->
    Node = ?config(node, Config),
    Receipt = "<received xmlns='urn:xmpp:receipts' id='m0'/>",
    send(Config, "chat", "1", Receipt),
    ?assertEqual([], told(Config)),
    ok = offline_post_node:reload(Node, node_config(?config(backend, Config), "[receipt, text]")),
    send(Config, "chat", "2", Receipt),
    ?assertEqual([{<<"2">>, receipt}], told(Config)),
    ok = offline_post_node:reload(Node, node_config(?config(backend, Config), "[text, reaction]")).

propose(Session) ->
    ["<propose xmlns='urn:xmpp:jingle-message:0' id='", Session, "'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>"].

jingle(How, Session) ->
    ["<", How, " xmlns='urn:xmpp:jingle-message:0' id='", Session, "'/>"].

stats(Config) ->
    offline_post_node:stats(?config(node, Config), ?config(host, Config)).

send(Config, Type, Id, Content) ->
    offline_post_client:send(?config(clients, Config), "sender",
                             ["<message type='", Type, "' id='", Id, "' to='", ?config(to, Config), "'>", Content, "</message>"]).

%% {id, kind} of each POST until now.
told(Config) ->
    send(Config, "chat", "the end", "<body>the end</body>"),
    until_end(Config).

until_end(Config) ->
    case offline_post_told:event(offline_post_backend:await(?config(backend, Config))) of
        #{message_id := <<"the end">>} -> [];
        #{message_id := Id, kind := Kind, trigger := offline} -> [{Id, Kind} | until_end(Config)]
    end.
