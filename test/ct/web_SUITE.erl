%% The pages in ejabberd's web admin, over plain HTTP: who may see and change what, and what stands there. That a person can
%% use them: browser_SUITE.
-module(web_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("xmerl/include/xmerl.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([menus/1, state/1, trouble/1, pause_and_resume/1, flush/1, test_post/1, test_post_fails/1, letters/1, pages/1, bulk/1,
         one_letter/1, hostile/1, configuration/1, secrets/1, access/1, forged/1, get_changes_nothing/1, lost_slash/1, node_page/1,
         presence/1, does_not_run/1, not_found/1, first_and_last_host/1]).

-define(ONE, "one.localhost").
-define(TWO, "two.localhost").
-define(BROKEN, "broken.localhost").
-define(HOSTS, [?ONE, ?TWO, ?BROKEN]).

%% Of all virtual hosts, of one, of none.
-define(ADMIN, "admin@" ?ONE).
-define(BOSS, "boss@" ?TWO).
-define(USER, "anna@" ?ONE).

-define(TOKEN, "s3cret-token").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [menus, state, trouble, pause_and_resume, flush, test_post, test_post_fails, letters, pages, bulk, one_letter, hostile, configuration,
     secrets, access, forged, get_changes_nothing, lost_slash, node_page, presence, does_not_run, not_found, first_and_last_host].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(inets),
    Backend = offline_post_backend:start(),
    Port = offline_post_node:free_port(),
    Node = offline_post_node:start(options(?HOSTS, Backend, Port)),
    [offline_post_node:register(Node, User, Host, "x") || {User, Host} <- [{"admin", ?ONE}, {"boss", ?TWO}, {"anna", ?ONE}, {"anna", ?TWO}]],
    [{node, Node}, {backend, Backend}, {port, Port} | Config].

end_per_suite(Config) ->
    offline_post_suite:finish(Config).

options(Hosts, Backend, Port) ->
    options(Hosts, true, Backend, Port).

options(Hosts, Presence, Backend, Port) ->
    Url = fun(Credentials) -> string:replace(offline_post_backend:url(Backend, "/hook-s3cret?key=s3cret"), "//", ["//", Credentials]) end,
    Ours = #{?ONE => ["post_url: \"", Url(""), "\"\nauth_token: ", ?TOKEN, "\nsigning_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]\n"
                      "headers:\n  X-Key: s3cret\norder: none\nretry_schedule: [1 h]\nshutdown_timeout: 500 ms\n"],
             ?TWO => ["post_url: \"", Url(""), "\"\nretry_schedule: [100 ms]\nshutdown_timeout: 500 ms\n"],
             %% The spool is one for the node, so this is a mistake.
             ?BROKEN => ["post_url: \"", Url(""), "\"\nspool: false\n"]},
    #{top => offline_post_web:config(Port, [{"admin@example.org", ?ADMIN}, {"acl:\n", "acl:\n  boss:\n    user: " ?BOSS "\n"}]),
      hosts => [{Host, maps:merge(host(Host, Presence, Backend), case lists:member(Host, Hosts) of
                                                           true -> #{offline_post => maps:get(Host, Ours)};
                                                           false -> #{}
                                                       end)} || Host <- ?HOSTS]}.

host(?TWO, Presence, Backend) ->
    #{top => "access_rules:\n  configure:\n    - allow: admin\n    - allow: boss\n",
      modules => ["mod_offline: {}\n" | [["mod_available_post:\n  post_url: \"", offline_post_backend:url(Backend), "\"\n"] || Presence]]};
host(_, _, _) ->
    #{}.

init_per_testcase(_Case, Config) ->
    Backend = ?config(backend, Config),
    offline_post_backend:listen(Backend),
    offline_post_backend:set(Backend, {reply, 200}),
    Config.

%% Nothing is left for the next one, and no page had a defect.
end_per_testcase(_Case, Config) ->
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    [begin
         ok = offline_post_node:call(Node, mod_offline_post, resume, [list_to_binary(Host)]),
         ok = offline_post_node:call(Node, mod_offline_post_operator, flush, [list_to_binary(Host)]),
         settled(Config, Host),
         {ok, _} = offline_post_node:call(Node, mod_offline_post, drop_dead_letters, [list_to_binary(Host), all]),
         ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, Host)))
     end || Host <- [?ONE, ?TWO]],
    ?assertEqual({0, 0}, {offline_post_node:count_log(Node, "because of a defect"), offline_post_node:count_log(Node, "crashed")}).

%%% What is to be seen

menus(Config) ->
    [?assertEqual({Path, 1}, {Path, length(xpath(get(Config, Path), "//*[@id='navigation']//a[text()='Offline POST']"))})
     || Path <- ["server/" ?ONE "/", "server/" ?TWO "/", node_path(Config, "")]].

state(Config) ->
    say(Config, ?ONE, "fine"),
    settled(Config, ?ONE),
    Page = get(Config, host(?ONE)),
    contains(Page, ["Notifications flow", "Pending 0", "Oldest pending " ++ [16#2013], "In flight 0", "Dead letters 0", "delivered"]),
    %% An attempt in the list, with its id and without its text.
    Id = binary_to_list(id(offline_post_backend:await(?config(backend, Config)))),
    contains(Page, [Id]),
    ?assertEqual(nomatch, string:find(text(Page), "fine")),
    ?assertEqual(2, length(xpath(Page, "//*[name()='svg'][@role='img']"))).

trouble(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    [say(Config, ?ONE, "later") || _ <- lists:seq(1, 8)],
    offline_post_wait:until(fun() -> maps:get(state, offline_post_node:stats(?config(node, Config), ?ONE)) =/= healthy end),
    Page = get(Config, host(?ONE)),
    contains(Page, ["the backend has had trouble", "http://localhost", "HTTP 503", "8 notifications wait", "Pending 8", "Failed attempts",
                    "trouble"]),
    contains(get(Config, node_path(Config, "offline_post/")), [?ONE, "HTTP 503"]).

pause_and_resume(Config) ->
    Paused = post(Config, host(?ONE), [{"do", "pause"}]),
    contains(Paused, ["Paused until you press Resume", "Resume when it may go on"]),
    ?assertMatch(#{state := paused}, offline_post_node:stats(?config(node, Config), ?ONE)),
    offline_post_node:await_log(?config(node, Config), ?ADMIN " paused " ?ONE " in the web admin"),
    contains(post(Config, host(?ONE), [{"do", "resume"}]), ["Resumed.", "Notifications flow"]),
    ?assertMatch(#{state := healthy}, offline_post_node:stats(?config(node, Config), ?ONE)).

%% What would wait an hour goes out.
flush(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    say(Config, ?ONE, "again"),
    #{body := Body} = offline_post_backend:await(?config(backend, Config)),
    offline_post_wait:until(fun() -> maps:get(retries, offline_post_node:stats(?config(node, Config), ?ONE)) > 0 end),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    contains(post(Config, host(?ONE), [{"do", "flush"}]), ["is tried now"]),
    ?assertMatch(#{body := Body}, offline_post_backend:await(?config(backend, Config))),
    settled(Config, ?ONE).

%% With the endpoint's own form, secrets as (hidden); neither counted nor kept.
test_post(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 202, [], <<"<i>thanks</i>">>}),
    #{accepted := Accepted} = offline_post_node:stats(?config(node, Config), ?ONE),
    Page = post(Config, host(?ONE), [{"do", "test"}, {"user", "Juliet"}]),
    #{body := Body, headers := Headers} = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual({<<"juliet">>, <<?TOKEN>>}, {field(<<"to">>, Body), field(<<"access_token">>, Body)}),
    contains(Page, ["The backend has taken the test POST: HTTP 202", "POST http://localhost", "(hidden)", "webhook-id", "<i>thanks</i>",
                    binary_to_list(proplists:get_value(<<"webhook-id">>, Headers))]),
    without_secrets(Page),
    ?assertMatch(#{accepted := Accepted}, offline_post_node:stats(?config(node, Config), ?ONE)),
    [contains(post(Config, host(?ONE), [{"do", "test"} | User]), ["Nothing was sent: say for which user"]) || User <- [[], [{"user", "a@b"}], [{"user", "a b"}]]].

test_post_fails(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 500, [], <<"down">>}),
    contains(post(Config, host(?ONE), [{"do", "test"}, {"user", "Juliet"}]), ["The backend has not taken the test POST: HTTP 500", "down"]),
    offline_post_backend:set(?config(backend, Config), hang_up),
    Page = post(Config, host(?ONE), [{"do", "test"}, {"user", "Juliet"}]),
    contains(Page, ["The backend has not taken the test POST: ", "It has no body."]),
    without_secrets(Page).

node_page(Config) ->
    Page = get(Config, node_path(Config, "offline_post/")),
    contains(Page, ["Offline POST: op", ?ONE, ?TWO, ?BROKEN, "mod_available_post", "healthy", "stopped", "durable", "libcurl"]),
    %% Those in trouble first; each leads to its page.
    Links = xpath(Page, "//tbody//a"),
    [?BROKEN | _] = Hosts = lists:append([texts(Link) || Link <- Links]),
    ?assertEqual(lists:sort([?TWO "/mod_available_post" | ?HOSTS]), lists:sort(Hosts)),
    ?assertEqual([case string:split(Host, "/") of
                      [_] -> "../../../server/" ++ Host ++ "/offline_post/";
                      [Of, Module] -> "../../../server/" ++ Of ++ "/offline_post/" ++ Module ++ "/"
                  end || Host <- Hosts],
                 [Value || #xmlElement{attributes = [#xmlAttribute{name = href, value = Value}]} <- Links]).

%% An endpoint of its own has pages of its own, which find each other; what is done there is done to it alone.
presence(Config) ->
    Path = host(?TWO) ++ "mod_available_post/",
    Links = fun(At, To) -> [Value || #xmlAttribute{value = Value} <- xpath(get(Config, At), "//a[text()='" ++ To ++ "']/@href")] end,
    contains(get(Config, host(?TWO)), ["Other endpoints", "mod_available_post", "healthy"]),
    ?assertEqual(["./mod_available_post/"], Links(host(?TWO), "mod_available_post")),
    ?assertEqual(["../"], Links(Path, "mod_offline_post")),
    contains(get(Config, Path), ["Offline POST: " ?TWO "/mod_available_post", "Notifications flow"]),
    contains(get(Config, Path ++ "config/"), ["post_url http://localhost", "max_age 1 day"]),
    contains(post(Config, Path, [{"do", "test"}, {"user", "Juliet"}]), ["The backend has taken the test POST: HTTP 200"]),
    #{body := Body} = offline_post_backend:await(?config(backend, Config)),
    ?assertEqual(<<"juliet">>, field(<<"jabber_id">>, Body)),
    contains(post(Config, Path, [{"do", "pause"}]), ["Paused until you press Resume"]),
    ?assertMatch({#{state := paused}, #{state := healthy}}, {sibling(Config), offline_post_node:stats(?config(node, Config), ?TWO)}),
    offline_post_node:await_log(?config(node, Config), ?ADMIN " paused " ?TWO "/mod_available_post in the web admin"),
    contains(post(Config, Path, [{"do", "resume"}]), ["Resumed."]),
    offline_post_backend:set(?config(backend, Config), {reply, 413}),
    Anna = offline_post_node:call(?config(node, Config), jid, make, [<<"anna">>, <<?TWO>>, <<"desk">>]),
    ok = offline_post_node:call(?config(node, Config), mod_offline_post_presence, posts, [mod_available_post, <<"available">>, Anna]),
    offline_post_wait:until(fun() -> maps:get(dead, sibling(Config)) =:= 1 end),
    contains(get(Config, Path ++ "dead/"), ["HTTP 413: 1", "anna@" ?TWO "/desk"]),
    contains(get(Config, host(?TWO) ++ "dead/"), ["There is none."]),
    contains(post(Config, Path ++ "dead/", [{"do", "drop"}, {"which", ""}]), ["1 dead letter is dropped.", "There is none."]),
    ?assertMatch({404, _}, request(Config, get, ?ADMIN, host(?ONE) ++ "mod_available_post/", [])),
    ?assertEqual(nomatch, string:find(text(get(Config, host(?ONE))), "mod_available_post")).

sibling(Config) ->
    offline_post_node:call(?config(node, Config), mod_offline_post_operator, stats, [<<?TWO "/mod_available_post">>]).

does_not_run(Config) ->
    contains(get(Config, host(?BROKEN)), ["It does not run", "The reason is in ejabberd's log"]),
    contains(get(Config, host(?BROKEN) ++ "config/"), ["spool", "false"]),
    contains(post(Config, host(?BROKEN), [{"do", "pause"}]), ["Nothing was done: the module does not run here."]),
    contains(post(Config, host(?BROKEN), [{"do", "test"}, {"user", "Juliet"}]), ["the module does not run here"]).

not_found(Config) ->
    [?assertMatch({Path, {404, _}}, {Path, request(Config, get, ?ADMIN, host(?ONE) ++ Path, [])}) || Path <- ["nothing/", "dead/a/b/", "config/x/"]],
    contains(get(Config, host(?ONE) ++ "dead/msg_1/"), ["There is no such dead letter"]).

%%% Dead letters

letters(Config) ->
    Ids = kill(Config, ?TWO, ["413 wherefore", "400 art", "413 thou"]),
    Page = get(Config, host(?TWO) ++ "dead/"),
    contains(Page, ["HTTP 413: 2", "HTTP 400: 1", "anna@" ?TWO, "bob@elsewhere.example/phone" | Ids]),
    %% A text is between two people.
    ?assertEqual(nomatch, string:find(text(Page), "wherefore")),
    Filtered = get(Config, host(?TWO) ++ "dead/?which=HTTP+413&go="),
    contains(Filtered, [lists:nth(1, Ids), lists:nth(3, Ids), "Show all", "Drop all that match"]),
    ?assertEqual(nomatch, string:find(text(Filtered), lists:nth(2, Ids))),
    contains(get(Config, host(?TWO) ++ "dead/?which=" ++ lists:nth(2, Ids) ++ "&go=/"), [lists:nth(2, Ids)]),
    contains(get(Config, host(?TWO) ++ "dead/?which=nothing%C3%A4&go=/"), ["There is none with such a reason."]),
    contains(get(Config, host(?ONE) ++ "dead/"), ["There is none."]).

pages(Config) ->
    Ids = kill(Config, ?TWO, ["400 " ++ integer_to_list(N) || N <- lists:seq(1, 130)]),
    First = get(Config, host(?TWO) ++ "dead/"),
    ?assertEqual(100, length(xpath(First, "//tbody/tr"))),
    [#xmlAttribute{value = Next}] = xpath(First, "//a[text()='Next page']/@href"),
    Second = get(Config, host(?TWO) ++ "dead/" ++ string:prefix(Next, "../dead/")),
    ?assertEqual(Ids, [Id || Page <- [First, Second], #xmlText{value = Id} <- xpath(Page, "//tbody//code/bdi/text()")]),
    ?assertEqual({0, 1}, {length(xpath(Second, "//a[text()='Next page']")), length(xpath(Second, "//a[text()='First page']"))}).

bulk(Config) ->
    [_, Second | _] = kill(Config, ?TWO, ["413 a", "400 b", "413 c", "415 d"]),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    contains(post(Config, host(?TWO) ++ "dead/", [{"do", "replay"}, {"which", "HTTP 413"}]),
             ["2 dead letters are pending again"]),
    ?assertEqual([<<"413 a">>, <<"413 c">>], [body(Post) || Post <- offline_post_backend:await(?config(backend, Config), 2)]),
    %% It asks first.
    Asked = post(Config, host(?TWO) ++ "dead/", [{"do", "ask"}, {"id", Second}]),
    contains(Asked, ["Drop for good?", Second]),
    ?assertMatch(#{dead := 2}, offline_post_node:stats(?config(node, Config), ?TWO)),
    contains(post(Config, host(?TWO) ++ "dead/", [{"do", "drop"}, {"id", Second}]), ["1 dead letter is dropped."]),
    contains(post(Config, host(?TWO) ++ "dead/", [{"do", "drop"}, {"id", Second}]), ["There is no such dead letter"]),
    contains(post(Config, host(?TWO) ++ "dead/", [{"do", "ask"}, {"which", ""}]), ["All dead letters, now 1,"]),
    ?assertMatch(#{dead := 1}, offline_post_node:stats(?config(node, Config), ?TWO)),
    contains(post(Config, host(?TWO) ++ "dead/", [{"do", "drop"}, {"which", ""}]), ["1 dead letter is dropped.", "There is none."]),
    ?assertMatch(#{dead := 0}, offline_post_node:stats(?config(node, Config), ?TWO)).

one_letter(Config) ->
    [Id] = kill(Config, ?TWO, ["413 " ++ [$ä, 16#1F600]]),
    Page = get(Config, host(?TWO) ++ "dead/" ++ Id ++ "/"),
    contains(Page, [Id, "HTTP 413", "no, <b>thank</b> you", "413 " ++ [$ä, 16#1F600], "anna@" ?TWO]),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    contains(post(Config, host(?TWO) ++ "dead/", [{"do", "replay"}, {"id", Id}]), ["1 dead letter is pending again"]),
    ?assertEqual(Id, binary_to_list(id(offline_post_backend:await(?config(backend, Config))))).

%% In an address, an answer, a text, a filter: it stays text. The page is read by xmerl, which takes no broken markup.
hostile(Config) ->
    Bad = "<script>x</script>'\"&amp;<img src=x>",
    offline_post_backend:set(?config(backend, Config), {reply, 400, [], list_to_binary(Bad)}),
    Escaped = lists:flatten([case C of $< -> "&lt;"; $& -> "&amp;"; $' -> "&apos;"; $" -> "&quot;"; _ -> C end || C <- Bad]),
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/" ++ Escaped, "anna@" ++ ?TWO, Escaped),
    Id = binary_to_list(id(offline_post_backend:await(?config(backend, Config)))),
    settled(Config, ?TWO),
    Pages = [{get(Config, host(?TWO) ++ "dead/"), 1}, {get(Config, host(?TWO) ++ "dead/" ++ Id ++ "/"), 3},
             {get(Config, host(?TWO) ++ "dead/?which=" ++ uri_string:quote(Bad) ++ "&go=/"), 0},
             {post(Config, host(?TWO) ++ "dead/", [{"do", "ask"}, {"which", Bad}]), 1}],
    [begin
         ?assertEqual({At, Shown}, {At, length(string:split(text(Page), Bad, all)) - 1}),
         ?assertEqual([], xpath(Page, "//*[@id='content']//script | //*[@id='content']//img"))
     end || {At, {Page, Shown}} <- lists:zip(lists:seq(1, length(Pages)), Pages)].

%%% What is not

configuration(Config) ->
    Page = get(Config, host(?ONE) ++ "config/"),
    contains(Page, ["Set in the configuration", "retry_schedule 1 h", "auth_token (hidden)", "X-Key: (hidden)", "signing_secrets (hidden)",
                    "As by default", "max_age 1 day"]).

secrets(Config) ->
    kill(Config, ?ONE, ["413 a"]),
    [without_secrets(get(Config, Path)) || Path <- [host(?ONE), host(?ONE) ++ "dead/", host(?ONE) ++ "config/", node_path(Config, "offline_post/")]].

%% ejabberd asks its access rules before we are asked.
access(Config) ->
    Node = node_path(Config, "offline_post/"),
    [?assertEqual({Who, Path, Status}, {Who, Path, element(1, request(Config, get, Who, Path, []))})
     || {Who, Path, Status} <- [{none, host(?ONE), 401}, {none, Node, 401}, {?USER, host(?ONE), 401}, {?USER, Node, 401},
                                {?BOSS, host(?TWO), 200}, {?BOSS, host(?TWO) ++ "config/", 200}, {?BOSS, host(?ONE), 401},
                                {?BOSS, host(?ONE) ++ "dead/", 401}, {?BOSS, Node, 401},
                                {?ADMIN, host(?TWO), 200}, {?ADMIN, Node, 200}]],
    %% Nor may he change what he may not see.
    {401, _} = request(Config, post, ?BOSS, host(?ONE), [{"do", "pause"}, {"token", token(Config, ?BOSS, ?TWO)}]),
    ?assertMatch(#{state := healthy}, offline_post_node:stats(?config(node, Config), ?ONE)),
    {200, _} = request(Config, post, ?BOSS, host(?TWO), [{"do", "pause"}, {"token", token(Config, ?BOSS, ?TWO)}]),
    ?assertMatch(#{state := paused}, offline_post_node:stats(?config(node, Config), ?TWO)).

%% What a page elsewhere could have an admin's browser send.
forged(Config) ->
    [_] = kill(Config, ?TWO, ["400 a"]),
    Own = token(Config, ?ADMIN, ?TWO),
    Changed = case lists:last(Own) of $0 -> lists:droplast(Own) ++ "1"; _ -> lists:droplast(Own) ++ "0" end,
    [begin
         {200, Page} = request(Config, post, ?ADMIN, host(?TWO), [{"do", Do}, {"which", ""} | Token]),
         contains(Page, ["Nothing was done"]),
         ?assertMatch(#{state := healthy, dead := 1, pending := 0}, offline_post_node:stats(?config(node, Config), ?TWO))
     end || Token <- [[], [{"token", ""}], [{"token", Changed}], [{"token", token(Config, ?BOSS, ?TWO)}], [{"token", token(Config, ?ADMIN, ?ONE)}]],
            Do <- ["pause", "drop", "replay"]],
    offline_post_backend:silence(?config(backend, Config), 0),
    [contains(post(Config, host(?TWO), [{"do", Do}]), ["there is no such action"]) || Do <- ["nonsense", "drop", "replay", ""]],
    ?assertMatch(#{dead := 1}, offline_post_node:stats(?config(node, Config), ?TWO)).

%% Whatever stands in the address.
get_changes_nothing(Config) ->
    [_] = kill(Config, ?TWO, ["400 a"]),
    Token = token(Config, ?ADMIN, ?TWO),
    [begin
         {200, _} = request(Config, get, ?ADMIN, host(?TWO) ++ Path ++ "?do=" ++ Do ++ "&which=&token=" ++ Token ++ "&go=/", []),
         ?assertMatch(#{state := healthy, dead := 1, pending := 0}, offline_post_node:stats(?config(node, Config), ?TWO))
     end || Path <- ["", "dead/"], Do <- ["pause", "drop", "replay", "test", "ask"]],
    offline_post_backend:silence(?config(backend, Config), 0).

%% ejabberd sends whoever leaves the slash away to where it is; so each of our forms has it.
lost_slash(Config) ->
    {301, _} = request(Config, get, ?ADMIN, string:trim(host(?ONE), trailing, "/"), []),
    {301, _} = request(Config, post, ?ADMIN, string:trim(host(?ONE), trailing, "/"), [{"do", "pause"}, {"token", token(Config, ?ADMIN, ?ONE)}]),
    ?assertMatch(#{state := healthy}, offline_post_node:stats(?config(node, Config), ?ONE)),
    kill(Config, ?ONE, ["400 a"]),
    [[?assertMatch({Path, $/}, {Path, lists:last(Action)}) || #xmlAttribute{value = Action} <- xpath(get(Config, Path), "//*[@id='content']//form/@action")]
     || Path <- [host(?ONE), host(?ONE) ++ "dead/"]].

%% Pages are there as long as one of our modules is: the virtual host's there, the node's anywhere.
first_and_last_host(Config) ->
    {Node, Backend} = {?config(node, Config), ?config(backend, Config)},
    [begin
         ok = offline_post_node:reload(Node, options(Hosts, Presence, Backend, ?config(port, Config))),
         Pages = [Host || Host <- [?ONE, ?TWO], lists:member(Host, Hosts) orelse (Host =:= ?TWO andalso Presence)],
         ?assertEqual({Hosts, Presence, Pages},
                      {Hosts, Presence, [Host || Host <- [?ONE, ?TWO], element(1, request(Config, get, ?ADMIN, host(Host), [])) =:= 200]}),
         Menu = xpath(get(Config, node_path(Config, "")), "//*[@id='navigation']//a[text()='Offline POST']"),
         ?assertEqual({Hosts, Presence, Pages =/= []}, {Hosts, Presence, Menu =/= []}),
         Pages =:= [?TWO] andalso Hosts =:= [] andalso
             contains(get(Config, host(?TWO)), ["mod_offline_post is not configured for this virtual host.", "mod_available_post", "healthy"])
     end || {Hosts, Presence} <- [{[?ONE], false}, {[], false}, {[], true}, {[?TWO], true}, {[], false}, {?HOSTS, true}]].

%%%

host(Host) -> "server/" ++ Host ++ "/offline_post/".

node_path(Config, Below) -> "node/" ++ atom_to_list(maps:get(name, ?config(node, Config))) ++ "/" ++ Below.

get(Config, Path) ->
    {200, Page} = request(Config, get, ?ADMIN, Path, []),
    Page.

%% With a token from the virtual host's page.
post(Config, "server/" ++ Rest = Path, Fields) ->
    [Host | _] = string:split(Rest, "/"),
    {200, Page} = request(Config, post, ?ADMIN, Path, [{"token", token(Config, ?ADMIN, Host)} | Fields]),
    Page.

token(Config, Who, Host) ->
    {200, Page} = request(Config, get, Who, host(Host), []),
    case xpath(Page, "//input[@name='token']/@value") of
        [#xmlAttribute{value = Token} | _] -> Token;
        %% Where it does not run there is nothing to press.
        [] -> binary_to_list(offline_post_node:call(?config(node, Config), mod_offline_post_web_csrf, token, [list_to_binary(Who), list_to_binary(Host)]))
    end.

%% Follows a redirect of a GET, as a browser does, where it only adds the slash to a query.
request(Config, Method, Who, Path, Fields) ->
    Url = offline_post_web:url(?config(port, Config), Path),
    Auth = case Who of
               none -> [];
               _ -> [{"Authorization", "Basic " ++ base64:encode_to_string(Who ++ ":x")}]
           end,
    Request = case Method of
                  get -> {Url, Auth};
                  post -> {Url, Auth, "application/x-www-form-urlencoded", uri_string:compose_query(Fields)}
              end,
    {ok, {{_, Status, _}, Headers, Body}} = httpc:request(Method, Request, [{timeout, 30000}, {autoredirect, false}], [{body_format, binary}]),
    case {Status, string:find(Path, "?"), proplists:get_value("location", Headers)} of
        {301, [_ | _], "/admin/" ++ Location} when Method =:= get -> request(Config, get, Who, Location, Fields);
        _ -> {Status, Body}
    end.

xpath(Page, Path) ->
    %% Without the DOCTYPE, which xmerl would fetch.
    [_, Html] = binary:split(Page, <<"<html">>),
    {Document, []} = xmerl_scan:string(binary_to_list(<<"<html", Html/binary>>), [{quiet, true}]),
    xmerl_xpath:string(Path, Document).

%% What is to be read in our part of the page.
text(Page) ->
    [Content] = xpath(Page, "//*[@id='content']"),
    lists:flatten(lists:join(" ", [Word || Text <- texts(Content), Word <- [string:trim(Text)], Word =/= ""])).

%% In the order of the document, which xmerl's //text() is not.
texts(#xmlText{value = Text}) -> [Text];
texts(#xmlElement{content = Children}) -> lists:flatmap(fun texts/1, Children);
texts(_) -> [].

%% Blanks between elements do not count.
contains(Page, Parts) ->
    Text = text(Page),
    case [Part || Part <- Parts, string:find(squeezed(Text), squeezed(Part)) =:= nomatch] of
        [] -> ok;
        Missing -> ct:pal("~ts", [Text]), ct:fail({missing, Missing})
    end.

squeezed(Text) -> [C || C <- lists:flatten(Text), C =/= $\s].

without_secrets(Page) ->
    [?assertEqual({Secret, nomatch}, {Secret, binary:match(Page, Secret)}) || Secret <- [<<"s3cret">>, <<"MfKQ9r8G">>]].

kill(Config, Host, Texts) ->
    offline_post_backend:set(?config(backend, Config), fun refuse/1),
    [say(Config, Host, Text) || Text <- Texts],
    Posts = offline_post_backend:await(?config(backend, Config), length(Texts)),
    settled(Config, Host),
    [binary_to_list(id(Post)) || Post <- Posts].

refuse(Post) ->
    <<Status:3/binary, _/binary>> = body(Post),
    {reply, binary_to_integer(Status), [], <<"no, <b>thank</b> you">>}.

say(Config, Host, Text) ->
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/phone", "anna@" ++ Host, Text).

settled(Config, Host) ->
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(?config(node, Config), Host)) =:= 0 end).

body(#{body := Body}) -> field(<<"body">>, Body).

field(Name, Body) -> proplists:get_value(Name, uri_string:dissect_query(Body)).

id(#{headers := Headers}) -> proplists:get_value(<<"webhook-id">>, Headers).
