%% Templates: every name of the table in docs/formats.md, in its place and nowhere else; and what is refused when the
%% configuration is loaded.
-module(templates_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([names/1, names_in_a_room/1, marked/1, table_of_names/1, excluded/1, unused/1, places/1, mistakes/1,
         mistakes_together/1]).

-define(NAMES, "names.localhost").
-define(EXCLUDED, "excluded.localhost").
-define(UNUSED, "unused.localhost").
-define(PLACES, "places.localhost").
-define(HOSTS, [?NAMES, ?EXCLUDED, ?UNUSED, ?PLACES]).
-define(PLACES_OPTIONS, "auth_token: \"romeo:s3cret\"\nauth: basic\nheaders:\n  X-Body: \"{{body}}\"\n").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [names, names_in_a_room, marked, table_of_names, excluded, unused, places, mistakes, mistakes_together].

init_per_suite(Config) ->
    Own = offline_post_recipes:start([], ["https://backend.example"], fun(Backend) ->
                                     hosts(Backend, ?PLACES_OPTIONS) end),
    offline_post_recipes:with_clients(Own, ?HOSTS, ["juliet", "romeo"]) ++ Config.

hosts(Backend, Places) ->
    Bare = ["post_url: \"", offline_post_backend:url(Backend), "\"\n"],
    Url = [Bare, "auth_token: s3cret\n"],
    Modules = ["mod_mam:\n  default: always\n", offline_post_recipes:modules()],
    [{?NAMES, #{modules => Modules, offline_post => [Url, "format: json\nbadge: events\nfields:\n",
                                                     [["  ", Name, ": \"{{", Name, "}}\"\n"] || Name <- names()]]}},
     {?EXCLUDED, #{modules => Modules,
                   offline_post => [Url, "format: json\ninclude_body: false\ninclude_sender: false\nfields:\n"
                                    "  all: \"", ["{{" ++ Name ++ "}}" || Name <- names(), Name =/= "token"], "\"\n"]}},
     {?UNUSED, #{modules => Modules, offline_post => [Bare, "fields:\n  to: \"{{to.user}}\"\n"]}},
     {?PLACES, #{modules => Modules, offline_post => [Bare, Places]}}].

%% Those of the table in the document.
names() ->
    {ok, Text} = file:read_file(filename:join(offline_post_node:root(), "docs/formats.md")),
    [_, Section] = string:split(Text, "\n## Templates\n"),
    [Table | _] = string:split(Section, "\n## "),
    {match, Rows} = re:run(Table, "^\\| (`[^|]*`) \\|", [global, multiline, {capture, all_but_first, list}]),
    [string:trim(Name, both, "` ") || [Cell] <- Rows, Name <- string:lexemes(Cell, ",")].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_recipes:init(Config).

end_per_testcase(_Case, Config) ->
    offline_post_recipes:check(Config, ?HOSTS).

%%%

%% Each of them in its place, from a message that has nearly all of it.
names(Config) ->
    #{body := Body} = offline_post_recipes:posted(Config, ?NAMES, ["<subject>Éclat</subject><thread>t1</thread>",
                                              "<body>", offline_post_client:escape(offline_post_recipes:text()),
                                                  "</body>",
                                              "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"]),
    ct:pal("~ts", [Body]),
    ?assertEqual([], [Name || Name <- names(), value(Name, Body) =:= none]),
    [?assertEqual({Name, Value}, {Name, value(Name, Body)}) ||
        {Name, Value} <- [{"type", <<"\"chat\"">>}, {"kind", <<"\"text\"">>}, {"host", <<"\"names.localhost\"">>},
                          {"trigger", <<"\"offline\"">>}, {"stored", <<"\"archive\"">>},
                          {"to", <<"\"juliet@names.localhost\"">>}, {"to.user", <<"\"juliet\"">>},
                          {"to.server", <<"\"names.localhost\"">>}, {"to.bare", <<"\"juliet@names.localhost\"">>},
                          {"from", <<"\"romeo@verona.example/balcony\"">>}, {"from.user", <<"\"romeo\"">>},
                          {"from.server", <<"\"verona.example\"">>}, {"from.resource", <<"\"balcony\"">>},
                          {"from.bare", <<"\"romeo@verona.example\"">>},
                          {"from.full", <<"\"romeo@verona.example/balcony\"">>},
                          {"body", <<"\"Good night & à demain!\""/utf8>>},
                          {"text", <<"\"Good night & à demain!\""/utf8>>}, {"call.id", <<"\"\"">>}, {"subject", <<"\"Éclat\""/utf8>>},
                          {"thread", <<"\"t1\"">>}, {"message.id", <<"\"m1\"">>}, {"origin.id", <<"\"o1\"">>},
                          {"room", <<"\"\"">>}, {"room.user", <<"\"\"">>}, {"nick", <<"\"\"">>},
                          {"sender", <<"\"\"">>}, {"sender.user", <<"\"\"">>}, {"resource", <<"\"\"">>},
                          {"badge", <<"1">>}, {"count", <<"1">>}, {"token", <<"\"s3cret\"">>}]],
    ?assertMatch({match, _}, re:run(value("stanza.id", Body), "^\"[0-9]+\"$")),
    ?assertMatch({match, _}, re:run(value("id", Body), "^\"msg_[0-9a-f]{16}_[0-9a-z]+\"$")),
    ?assertMatch({match, _},
                 re:run(value("stanza", Body), "^\"<message [^>]*to='juliet@names.localhost'.*</message>\"$")),
    %% The same moment.
    <<"\"", Timestamp:24/binary, "\"">> = value("timestamp", Body),
    Seconds = calendar:rfc3339_to_system_time(binary_to_list(Timestamp)),
    ?assertEqual(Seconds, binary_to_integer(value("timestamp.unix", Body))),
    ?assert(abs(Seconds - erlang:system_time(second)) < 60).

names_in_a_room(Config) ->
    offline_post_recipes:room(Config, ?NAMES),
    #{body := Body} = offline_post_backend:await(?config(backend, Config)),
    [?assertEqual({Name, Value}, {Name, value(Name, Body)}) ||
        {Name, Value} <- [{"type", <<"\"groupchat\"">>}, {"room", <<"\"orchard@conference.names.localhost\"">>},
                          {"room.user", <<"\"orchard\"">>}, {"nick", <<"\"Romeo\"">>},
                          {"from", <<"\"orchard@conference.names.localhost/Romeo\"">>},
                          {"sender", <<"\"romeo@names.localhost\"">>}, {"sender.user", <<"\"romeo\"">>},
                          {"to", <<"\"juliet@names.localhost\"">>}]],
    ?assertMatch({match, _}, re:run(value("stanza", Body), "from='orchard@conference.names.localhost/Romeo'")).

%% The text is the body without what is marked as a fallback; an excluded body has none.
marked(Config) ->
    Reply = ["<body>&gt; Nürse: &#x1F339;?\nYes</body><reply xmlns='urn:xmpp:reply:0' id='m0'/>"
             "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='12'/></fallback>"],
    #{body := Body} = offline_post_recipes:posted(Config, ?NAMES, Reply),
    ?assertEqual({<<"\"> Nürse: 🌹?\\nYes\""/utf8>>, <<"\"Yes\"">>}, {value("body", Body), value("text", Body)}),
    #{body := Encrypted} = offline_post_recipes:posted(
                             Config, ?NAMES, "<body>Get a better client</body><openpgp xmlns='urn:xmpp:openpgp:0'>aa</openpgp>"),
    ?assertEqual({<<"\"Get a better client\"">>, <<"\"\"">>}, {value("body", Encrypted), value("text", Encrypted)}),
    #{body := Excluded} = offline_post_recipes:posted(Config, ?EXCLUDED, Reply),
    ?assertEqual(nomatch, binary:match(Excluded, <<"Yes">>)),
    #{body := Call} = offline_post_recipes:posted(Config, ?NAMES, "<propose xmlns='urn:xmpp:jingle-message:0' id='s1'/>"),
    ?assertEqual(<<"\"s1\"">>, value("call.id", Call)).

%% It lists what the error lists, and nothing else.
table_of_names(Config) ->
    Node = ?config(node, Config),
    {error, Reason, Context} = offline_post_node:try_reload(
        Node, #{hosts =>
                [{?NAMES, #{offline_post => "post_url: \"http://localhost/\"\nfields:\n  a: \"{{nonsense}}\"\n"}}]}),
    Message = unicode:characters_to_list(offline_post_node:call(Node, econf, format_error, [Reason, Context])),
    {match, [List]} = re:run(Message, "the names are ([a-z., ]+)", [{capture, all_but_first, list}]),
    ?assertEqual(lists:sort(names()), lists:sort(string:lexemes(List, ", "))).

%% What is excluded is nowhere, whatever a template names.
excluded(Config) ->
    #{body := Body} = offline_post_recipes:posted(Config, ?EXCLUDED, "<body>Secret words</body>"),
    [?assertEqual({Word, nomatch}, {Word, binary:match(Body, Word)}) ||
        Word <- [<<"Secret words">>, <<"romeo">>, <<"verona">>, <<"balcony">>]],
    ?assertMatch({_, _}, binary:match(Body, <<"juliet@excluded.localhost">>)).

%% What no template names is not even handed over, but for the id by which an operator finds a message.
unused(Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {reply, 400}),
    ?assertMatch(#{body := <<"to=juliet">>}, offline_post_recipes:posted(
                     Config, ?UNUSED, "<body>Secret words</body><subject>secret</subject>")),
    offline_post_wait:until(fun() -> maps:get(dead, offline_post_node:stats(Node, ?UNUSED)) =:= 1 end),
    {ok, [Letter], undefined} = offline_post_node:call(Node, mod_offline_post, dead_letters, [<<?UNUSED>>, all, 0, 10]),
    ?assertMatch(#{body := <<>>, message_id := <<"m1">>, attributes := []}, maps:without([from, to], Letter)).

%% A text cannot leave the header; nor the form.
places(Config) ->
    Post = #{headers := Headers} = offline_post_recipes:posted(Config, ?PLACES,
                                                               "<body>a\nX-Evil: 1\n\n&amp;to=mercutio \x{e0}</body>"),
    ?assertEqual([<<"a X-Evil: 1  &to=mercutio \x{e0}"/utf8>>, <<"Basic cm9tZW86czNjcmV0">>, undefined],
                 [proplists:get_value(Name, Headers) || Name <- [<<"x-body">>, <<"authorization">>, <<"x-evil">>]]),
    ?assertEqual([{<<"to">>, <<"juliet">>}, {<<"from">>, <<"romeo">>},
                  {<<"body">>, <<"a\nX-Evil: 1\n\n&to=mercutio \x{e0}"/utf8>>}],
                 uri_string:dissect_query(maps:get(body, Post))),
    %% 4096 bytes, and no half of a character.
    #{headers := Long} = offline_post_recipes:posted(Config, ?PLACES,
                                                     ["<body>x", lists:duplicate(3000, 224), "</body>"]),
    ?assertEqual(unicode:characters_to_binary([$x | lists:duplicate(2047, 224)]),
                 proplists:get_value(<<"x-body">>, Long)).

%%% What is refused when the configuration is loaded

mistakes(Config) ->
    Node = ?config(node, Config),
    Headers = refused_headers(),
    ?assert(length(Headers) >= 12),
    [begin
         {error, Reason, Context} = offline_post_node:try_reload(
             Node, #{hosts =>
                     [{?NAMES, #{offline_post =>
                                 ["post_url: \"http://localhost/\"\n" || not lists:prefix("post_url", Yaml)] ++
                                     Yaml}}]}),
         Message = unicode:characters_to_binary(offline_post_node:call(Node, econf, format_error, [Reason, Context])),
         [?assertNotEqual({Yaml, nomatch, Message}, {Yaml, binary:match(Message, list_to_binary(Part)), Message}) ||
          Part <- Parts],
         ?assertEqual(nomatch, binary:match(Message, <<"do-not-print-me">>))
     end || {Yaml, Parts} <-
                [{"fields:\n  a: \"{{bdy}}\"\n", ["fields", "bdy", "body"]},
                 {"fields:\n  a:\n    b: [\"{{ }}\"]\n", ["fields", "missing"]},
                 {"fields:\n  a: \"{{body\"\n", ["fields", "closed"]},
                 {"room_fields:\n  a: \"{{body|}}\"\n", ["room_fields", "missing"]},
                 {"headers:\n  X-A: \"{{bdy}}\"\n", ["headers", "bdy", "body"]},
                 {"headers:\n  X-A: \"a\\r\\nX-B: c\"\n", ["headers"]},
                 {"headers:\n  \"X A\": a\n", ["headers", "X A"]},
                 {"headers:\n  \"\": a\n", ["headers"]},
                 {"post_url: \"http://{{host}}/x\"\n", ["post_url"]},
                 {"post_url: \"http://{{to.user}}@localhost/x\"\n", ["post_url"]},
                 {"post_url: \"http://localhost:{{badge}}/x\"\n", ["post_url"]},
                 {"post_url: \"http://localhost/{{nobody}}\"\n", ["post_url", "nobody"]},
                 {"signing_secrets: [\"\"]\n", ["signing_secrets"]},
                 {"signing_secrets: [\"whsec_\"]\n", ["signing_secrets"]},
                 {"signing_secrets: [\"whsec_do-not-print-me!\"]\n", ["signing_secrets"]},
                 {"signing_secrets: [\"do-not-print-me\"]\n", ["signing_secrets", "whsec_"]},
                 {"signing_secrets: [\"whsec_" ++ base64:encode_to_string(binary:copy(<<"x">>, 23)) ++ "\"]\n",
                  ["signing_secrets"]},
                 {"signing_secrets: [\"whsec_" ++ base64:encode_to_string(binary:copy(<<"x">>, 65)) ++ "\"]\n",
                  ["signing_secrets"]},
                 {"signing_secrets: [\"whsk_" ++ base64:encode_to_string(binary:copy(<<"x">>, 64)) ++ "\"]\n",
                  ["signing_secrets"]},
                 {"batch:\n  max_events: 1\n", ["batch"]},
                 {"batch:\n  max_events: 1001\n", ["batch"]},
                 {"format: xml\n", ["format", "stanza"]},
                 {"auth: digest\n", ["auth", "bearer"]}]
                ++ [{"headers:\n  " ++ Name ++ ": x\n", ["headers", Name]} || Name <- Headers]].

%% Those that the document names.
refused_headers() ->
    {ok, Text} = file:read_file(filename:join(offline_post_node:root(), "docs/formats.md")),
    [_, Rest] = string:split(Text, "what becomes of its connection ("),
    [List, _] = string:split(Rest, ")"),
    {match, Names} = re:run(List, "`([A-Za-z-]+)(?:\\.\\.\\.)?`", [global, {capture, all_but_first, list}]),
    [case lists:last(Name) of $- -> Name ++ "Connection"; _ -> Name end || [Name] <- Names]
        ++ ["webhook-id", "Webhook-Timestamp", "webhook-signature", "webhook-anything", "host", "CONTENT-LENGTH"].

%% Of two options that do not fit one error in the log says so, and the old settings stay.
mistakes_together(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    [begin
         Lines = offline_post_node:count_log(Node, "the old settings stay"),
         ok = offline_post_node:reload(Node, #{hosts => hosts(Backend, Yaml)}),
         offline_post_wait:until(fun() -> offline_post_node:count_log(Node, "the old settings stay") =:= Lines + 1 end,
                                 10000,
                                 fun() -> {not_logged, Yaml, offline_post_node:log(Node)} end),
         Line = lists:last([L || L <- binary:split(offline_post_node:log(Node), <<"\n">>, [global]),
                                 binary:match(L, <<"the old settings stay">>) =/= nomatch]),
         [?assertNotEqual({Yaml, nomatch, Line}, {Yaml, binary:match(Line, list_to_binary(Part)), Line}) ||
          Part <- Parts]
     end || {Yaml, Parts} <-
                [{"batch:\n  max_events: 5\n", ["batch", "json"]},
                 {"format: stanza\nfields:\n  a: b\n", ["fields", "stanza"]},
                 {"format: stanza\nauth_token: s3cret\n", ["choose auth"]},
                 {"auth: bearer\nheaders:\n  authorization: mine\n", ["Authorization"]},
                 {"format: json\nbatch:\n  max_events: 5\nheaders:\n  X-To: \"{{to.user}}\"\n", ["batch"]}]],
    #{headers := Headers} = offline_post_recipes:posted(Config, ?PLACES, "<body>still as before</body>"),
    ?assertEqual(<<"still as before">>, proplists:get_value(<<"x-body">>, Headers)),
    ok = offline_post_node:reload(Node, #{hosts => hosts(Backend, ?PLACES_OPTIONS)}).

%%%

%% A member's JSON; none: there is no such member.
value(Name, Body) ->
    Pattern = ["\"", string:replace(Name, ".", "\\.", all), "\":(\"(?:[^\"\\\\]|\\\\.)*\"|[^,}]*)"],
    case re:run(Body, Pattern, [{capture, all_but_first, binary}]) of
        {match, [Value]} -> Value;
        nomatch -> none
    end.
