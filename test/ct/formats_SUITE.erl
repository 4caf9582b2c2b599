%% docs/formats.md is true: each configuration there is run, and what it shows is what comes. The JSON Schema beside it,
%% checked by a validator that nobody here wrote, takes every kind of event that a real node posts.
-module(formats_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([shown/1, compressed/1, results/1, schema/1, schema_can_refuse/1]).

-define(JSON, "json.localhost").
-define(GZIP, "gzip.localhost").
-define(HOSTS, [?JSON, ?GZIP]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [shown, compressed, results, schema, schema_can_refuse].

init_per_suite(Config) ->
    Own = offline_post_recipes:start(offline_post_document:examples("docs/formats.md"), ["https://backend.example"],
                                     fun hosts/1),
    offline_post_recipes:with_clients(Own, ?HOSTS, ["juliet", "romeo"]) ++ Config.

hosts(Backend) ->
    Url = ["post_url: \"", offline_post_backend:url(Backend), "\"\nauth_token: s3cret\n"],
    Modules = ["mod_mam:\n  default: always\n", offline_post_recipes:modules()],
    Presence = [[Module, ":\n  post_url: \"", offline_post_backend:url(Backend, "/presence"), "\"\n  format: json\n"] ||
                   Module <- ["mod_available_post", "mod_unavailable_post"]],
    [{?JSON, #{modules => [Modules, Presence],
               offline_post => [Url, "format: json\nbadge: events\n"
                                "notify: [text, encrypted, call, call_end, file, reaction, marker, other]\n"]}},
     {?GZIP, #{modules => Modules, offline_post => [Url, "compress: gzip\n"]}}].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_recipes:init(Config).

end_per_testcase(_Case, Config) ->
    offline_post_recipes:check(Config, ?HOSTS).

%%%

shown(Config) ->
    Titles = lists:usort([Title || {_, Title, _} <- offline_post_recipes:vhosts(Config, all)]),
    ?assertEqual(["Batches", "Compression", "Fields", "Form", "Headers", "JSON", "Signatures", "Stanza", "Token",
                  "URL"],
                 Titles),
    [begin
         [Shown] = Posts,
         ?assertEqual({Title, same},
                      {Title, offline_post_recipes:compare(N, Shown, offline_post_recipes:say(Config, N))})
     end || {N, Title, Posts} <- offline_post_recipes:vhosts(Config, all)].

compressed(Config) ->
    Text = lists:duplicate(200, "parting is such sweet sorrow "),
    #{headers := Headers, body := Body} = offline_post_recipes:posted(Config, ?GZIP, ["<body>", Text, "</body>"]),
    ?assertEqual(<<"gzip">>, proplists:get_value(<<"content-encoding">>, Headers)),
    ?assert(byte_size(Body) < 1000),
    ?assertEqual([{<<"to">>, <<"juliet">>}, {<<"from">>, <<"romeo">>}, {<<"body">>, iolist_to_binary(Text)},
                  {<<"access_token">>, <<"s3cret">>}], uri_string:dissect_query(zlib:gunzip(Body))).

%% The answer that "Batches" shows, with the ids of a batch in place of those shown, does what is said below it.
results(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    [{N, _, _} | _] = offline_post_recipes:vhosts(Config, "Batches"),
    Host = list_to_binary(offline_post_recipes:host(N)),
    [Shown] = [Text || {"Batches", Blocks} <- offline_post_document:sections("docs/formats.md"),
                       {"json", Text} <- Blocks],
    Users = ["juliet", "nurse", "paris", "tybalt"],
    ?assertEqual(length(Users), length(ids(Shown))),
    offline_post_backend:set(Backend, fun(#{body := Body}) ->
        case ids(Body) of
            [_, _, _, _] = Ids -> {reply, 200, [], offline_post_document:replace(Shown, lists:zip(ids(Shown), Ids))};
            _ -> {reply, 200}
        end
    end),
    #{delivered := Before} = offline_post_node:stats(Node, Host),
    ok = offline_post_node:call(Node, mod_offline_post, pause, [Host]),
    [begin
         _ = User =:= "juliet" orelse offline_post_node:register(Node, User, Host, "x"),
         offline_post_node:route(Node, "romeo@verona.example/balcony", [User, "@", Host], User)
     end || User <- Users],
    ok = offline_post_node:call(Node, mod_offline_post, resume, [Host]),
    [_Accepted, Retry, Refused, Unavailable] = ids(maps:get(body, offline_post_backend:await(Backend))),
    ?assertEqual(lists:sort([Retry, Unavailable]), lists:sort(next_ids(Backend, 2))),
    Delivered = Before + 3,
    offline_post_wait:until(fun() ->
        case offline_post_node:stats(Node, Host) of
            #{delivered := Delivered, dead := 1, pending := 0} -> true;
            _ -> false
        end
    end),
    {ok, [#{id := Id, reason := Reason, answer := Answer}], _} =
        offline_post_node:call(Node, mod_offline_post, dead_letters, [Host, all, 0, 10]),
    ?assertEqual({list_to_binary(Refused), <<"refused by the receiver">>, <<"no such device">>}, {Id, Reason, Answer}).

%% Together or apart: they are tried again after waits of their own.
next_ids(_Backend, 0) ->
    [];
next_ids(Backend, Count) ->
    Ids = ids(maps:get(body, offline_post_backend:await(Backend))),
    Ids ++ next_ids(Backend, Count - length(Ids)).

ids(Text) ->
    {match, Ids} = re:run(Text, "msg_[0-9a-f]{16}_[0-9a-z]+", [global, {capture, first, list}]),
    lists:append(Ids).

%%% The schema

schema(Config) ->
    {Node, Backend, Clients} = {?config(node, Config), ?config(backend, Config), ?config(clients, Config)},
    Messages = [offline_post_recipes:posted(Config, ?JSON, Content) || Content <- contents()],
    offline_post_recipes:room(Config, ?JSON),
    InRoom = offline_post_backend:await(Backend),
    %% A device that comes, hangs and ends.
    offline_post_client:login_resumable(Clients, "phone", "juliet@" ?JSON "/phone", Node),
    offline_post_client:online(Clients, "phone"),
    Available = offline_post_backend:await(Backend),
    offline_post_client:kill(Clients, "phone"),
    offline_post_wait:until(fun() -> hangs(Node, <<"phone">>) end),
    Pending = offline_post_recipes:posted(Config, ?JSON, "<body>To a phone that hangs</body>"),
    1 = offline_post_node:call(Node, ejabberd_sm, kick_user, [<<"juliet">>, <<?JSON>>]),
    Unavailable = offline_post_backend:await(Backend),
    All = Messages ++ [InRoom, Available, Pending, Unavailable],
    ?assertEqual([{Body, "valid"} || #{body := Body} <- All],
                 lists:zip([Body || #{body := Body} <- All], validate(Config, [Body || #{body := Body} <- All]))),
    %% Whatever the schema allows was there.
    [?assertMatch({_, {match, _}}, {Member, re:run([Body || #{body := Body} <- All], ["\"", Member, "\":"])}) ||
        Member <- ["trigger", "stored", "from", "resource", "room", "nick", "sender", "message_id", "stanza_id",
                   "origin_id", "call_id", "text",
                   "badge", "count", "jid", "access_token", "presence.available\",\"timestamp",
                   "presence.unavailable\",\"timestamp"]].

contents() ->
    ["<body>Good night</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>",
     "<body>fallback</body><encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>AA</payload>"
     "</encrypted>",
     "<propose xmlns='urn:xmpp:jingle-message:0' id='s1'>"
     "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>",
     "<retract xmlns='urn:xmpp:jingle-message:0' id='s1'/>",
     "<body>https://up.example/a.jpg</body><x xmlns='jabber:x:oob'><url>https://up.example/a.jpg</url></x>",
     "<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>👍</reaction></reactions>"
     "<store xmlns='urn:xmpp:hints'/>",
     "<body>&gt; Hi\nYes</body><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='5'/></fallback>",
     "<body>\"quotes\" \\ and \t lines\n, 🌹 \x{2028}</body>"].

schema_can_refuse(Config) ->
    #{body := Body} = offline_post_recipes:posted(Config, ?JSON, "<body>Good night</body>"),
    Changed = fun(From, To) ->
                      Other = unicode:characters_to_binary(string:replace(Body, From, To)),
                      ?assertNotEqual(Body, Other),
                      Other
              end,
    Wrong = [Changed("\"kind\":\"text\"", "\"kind\":\"txt\""), Changed("\"to\":", "\"recipient\":"),
             Changed("\"count\":1", "\"count\":\"1\""), Changed("message.offline", "message.online"),
             Changed("\"data\":{", "\"data\":{\"new\":1,"), Changed("\"}", "\"")],
    ?assertEqual(["valid" | ["invalid" || _ <- Wrong]],
                 [hd(string:split(Line, ":")) || Line <- validate(Config, [Body | Wrong])]).

validate(Config, Bodies) ->
    Dir = ?config(priv_dir, Config),
    Files = [begin
                 File = filename:join(Dir, "post" ++ integer_to_list(erlang:unique_integer([positive])) ++ ".json"),
                 ok = file:write_file(File, Body),
                 File
             end || Body <- Bodies],
    Root = offline_post_node:root(),
    Output = os:cmd(lists:join($\s, [filename:join(Root, "test/support/json_schema.py"),
                                     filename:join(Root, "docs/event.schema.json") | Files])),
    string:lexemes(Output, "\n").

hangs(Node, Resource) ->
    case offline_post_node:call(Node, ejabberd_sm, get_user_info, [<<"juliet">>, <<?JSON>>, Resource]) of
        offline -> ct:fail(no_session);
        Info -> lists:keymember(offline_post_hanging, 1, Info)
    end.
