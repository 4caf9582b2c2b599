%% The web admin's pages as a person uses them: in headless Chromium, by clicking, by keyboard, without scripts, on a narrow
%% screen. What must not be possible: web_SUITE.
-module(browser_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([outage/1, filter_and_replay/1, drop_asks_first/1, test_post/1, pause_and_resume/1, from_the_menu/1, without_scripts/1,
         keyboard/1, narrow/1, phone/1, hostile/1, pictures/1]).

-define(HOST, "chat.localhost").
-define(ADMIN, "admin@" ?HOST).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [outage, filter_and_replay, drop_asks_first, test_post, pause_and_resume, from_the_menu, without_scripts, keyboard, narrow, phone,
     hostile, pictures].

init_per_suite(Config) ->
    Backend = offline_post_backend:start(),
    Url = offline_post_backend:url(Backend, "/notify?key=s3cret"),
    Port = offline_post_node:free_port(),
    Node = offline_post_node:start(#{top => offline_post_web:config(Port, [{"admin@example.org", ?ADMIN}]),
                                     hosts => [{?HOST, #{offline_post => ["post_url: \"", Url, "\"\nauth_token: s3cret\nformat: json\norder: none\n"
                                                                          "retry_schedule: [1 h]\nshutdown_timeout: 500 ms\n"]}}]}),
    [offline_post_node:register(Node, User, ?HOST, "x") || User <- ["admin", "juliet", "nurse"]],
    [{node, Node}, {backend, Backend}, {port, Port}, {browser, offline_post_browser:start()} | Config].

end_per_suite(Config) ->
    offline_post_browser:stop(?config(browser, Config)),
    offline_post_suite:finish(Config).

init_per_testcase(_Case, Config) ->
    offline_post_backend:listen(?config(backend, Config)),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    _ = [do(Config, Command, Arguments) || {Command, Arguments} <- [{window, ["1280", "900"]}, {scripts, ["on"]}, {user, [?ADMIN, "x"]}]],
    open(Config, ""),
    Config.

%% A picture of how it ended, and nothing left for the next one.
end_per_testcase(Case, Config) ->
    do(Config, screenshot, [filename:join(?config(priv_dir, Config), atom_to_list(Case) ++ ".png")]),
    Node = ?config(node, Config),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    ok = offline_post_node:call(Node, mod_offline_post, resume, [<<?HOST>>]),
    ok = offline_post_node:call(Node, mod_offline_post_operator, flush, [<<?HOST>>]),
    settled(Config),
    {ok, _} = offline_post_node:call(Node, mod_offline_post, drop_dead_letters, [<<?HOST>>, all]),
    ?assertEqual([], offline_post_law:violations(offline_post_node:stats(Node, ?HOST))),
    ?assertEqual({0, 0}, {offline_post_node:count_log(Node, "because of a defect"), offline_post_node:count_log(Node, "crashed")}).

%% What happens at night: the backend is down, and what is wrong is the first thing to be read.
outage(Config) ->
    reads(Config, ["Notifications flow"]),
    down(Config),
    open(Config, ""),
    reads(Config, ["the backend has had trouble", "HTTP 503", "12 notifications wait"]),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    click(Config, "Try all now"),
    reads(Config, ["All that waits for a retry is tried now."]),
    settled(Config),
    click(Config, "State"),
    reads(Config, ["Notifications flow", "delivered"]).

filter_and_replay(Config) ->
    Ids = kill(Config, ["413 a", "400 b", "413 c"]),
    click(Config, "Dead letters"),
    reads(Config, Ids),
    do(Config, fill, ["Reason begins with, or id", "HTTP 413"]),
    click(Config, "Filter"),
    reads(Config, ["Show all", lists:nth(3, Ids)]),
    ?assertEqual(2, count(Config, "//tbody/tr")),
    %% Through the reason, too.
    click(Config, "Show all"),
    click(Config, "HTTP 400"),
    ?assertEqual(1, count(Config, "//tbody/tr")),
    click(Config, "Replay " ++ lists:nth(2, Ids)),
    reads(Config, ["1 dead letter is pending again"]),
    ?assertEqual(lists:nth(2, Ids), id(offline_post_backend:await(?config(backend, Config)))),
    click(Config, "Show " ++ hd(Ids)),
    reads(Config, ["413 a", "no, thank you"]),
    click(Config, "Dead letters"),
    click(Config, "Replay all"),
    reads(Config, ["2 dead letters are pending again", "There is none."]).

drop_asks_first(Config) ->
    [First | _] = kill(Config, ["413 a", "400 b", "413 c"]),
    click(Config, "Dead letters"),
    click(Config, "Drop " ++ First),
    reads(Config, ["Drop for good?", First]),
    click(Config, "Keep"),
    ?assertEqual(3, dead(Config)),
    click(Config, "Drop " ++ First),
    click(Config, "Drop"),
    reads(Config, ["1 dead letter is dropped."]),
    ?assertEqual(2, dead(Config)),
    click(Config, "HTTP 400"),
    click(Config, "Drop all that match" ++ [16#2026]),
    reads(Config, ["All dead letters whose reason begins with HTTP 400, now 1, will be thrown away"]),
    click(Config, "Drop"),
    ?assertEqual(1, dead(Config)).

test_post(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 202, [], <<"welcome">>}),
    do(Config, fill, ["For user", "juliet"]),
    click(Config, "Send a test POST"),
    reads(Config, ["The backend has taken the test POST: HTTP 202", "POST http://localhost", "(hidden)", "welcome"]),
    ?assertEqual(nomatch, string:find(text(Config), "s3cret")),
    #{body := Body} = offline_post_backend:await(?config(backend, Config)),
    ?assertMatch({match, _}, re:run(Body, "juliet@" ?HOST)).

pause_and_resume(Config) ->
    click(Config, "Pause"),
    reads(Config, ["Paused until you press Resume"]),
    say(Config, "later"),
    click(Config, "State"),
    reads(Config, ["1 notification waits"]),
    click(Config, "Resume"),
    reads(Config, ["Resumed."]),
    offline_post_backend:await(?config(backend, Config)),
    settled(Config),
    click(Config, "State"),
    reads(Config, ["Notifications flow"]).

%% As one gets there, and from the node back to the virtual host.
from_the_menu(Config) ->
    do(Config, open, [offline_post_web:url(?config(port, Config), "server/" ?HOST "/")]),
    click(Config, "Offline POST"),
    reads(Config, ["Offline POST: " ?HOST, "Notifications flow"]),
    do(Config, open, [offline_post_web:url(?config(port, Config), ["node/", atom_to_list(maps:get(name, ?config(node, Config))), "/"])]),
    click(Config, "Offline POST"),
    reads(Config, ["Offline POST: op", ?HOST, "healthy", "What they share"]),
    do(Config, screenshot, [filename:join(?config(priv_dir, Config), "node.png")]),
    click(Config, ?HOST),
    reads(Config, ["Offline POST: " ?HOST]).

without_scripts(Config) ->
    do(Config, scripts, ["off"]),
    [outage, filter_and_replay, drop_asks_first, test_post, pause_and_resume] =
        [begin open(Config, ""), ?MODULE:Case(Config), tidy(Config), Case end
         || Case <- [outage, filter_and_replay, drop_asks_first, test_post, pause_and_resume]].

tidy(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    settled(Config),
    _ = offline_post_backend:posts(?config(backend, Config)),
    {ok, _} = offline_post_node:call(?config(node, Config), mod_offline_post, drop_dead_letters, [<<?HOST>>, all]).

%% From the top of the page by Tab and Enter alone; where the focus is can be seen.
keyboard(Config) ->
    tab_to(Config, "Pause"),
    do(Config, press, ["ENTER"]),
    reads(Config, ["Paused until you press Resume"]),
    tab_to(Config, "Resume"),
    do(Config, press, ["SPACE"]),
    reads(Config, ["Resumed."]),
    [_] = kill(Config, ["400 a"]),
    tab_to(Config, "Dead letters"),
    do(Config, press, ["ENTER"]),
    tab_to(Config, "Reason begins with, or id"),
    do(Config, keys, ["HTTP 400"]),
    do(Config, press, ["ENTER"]),
    reads(Config, ["Show all"]),
    tab_to(Config, "Drop all that match" ++ [16#2026]),
    do(Config, press, ["ENTER"]),
    tab_to(Config, "Drop"),
    do(Config, press, ["ENTER"]),
    reads(Config, ["1 dead letter is dropped."]).

%% No page is wider than the window, whatever stands there; tables scroll in their own boxes.
narrow(Config) ->
    fits(Config, window).

phone(Config) ->
    fits(Config, phone).

fits(Config, Window) ->
    Wide = lists:duplicate(200, $w),
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/" ++ Wide, "juliet@" ?HOST, "400 " ++ Wide),
    offline_post_backend:set(?config(backend, Config), fun refuse/1),
    tidy_up_to_dead(Config, 1),
    {ok, [#{id := Id}], _} = offline_post_node:call(?config(node, Config), mod_offline_post, dead_letters, [<<?HOST>>, all, 0, 10]),
    [begin
         do(Config, Window, [integer_to_list(Width), "740"]),
         open(Config, Path),
         ?assertEqual({Width, Path, 0}, {Width, Path, binary_to_integer(do(Config, overflow, []))}),
         do(Config, screenshot, [filename:join(?config(priv_dir, Config), lists:flatten(
                                   [atom_to_list(Window), $-, integer_to_list(Width), $-, string:replace(Path, "/", "", all), ".png"]))])
     end || Width <- [320, 390, 700, 1000], Path <- ["", "dead/", "dead/" ++ binary_to_list(Id) ++ "/", "config/"]],
    do(Config, Window, ["320", "740"]),
    open(Config, ""),
    click(Config, "Send a test POST"),
    reads(Config, ["The backend has"]),
    ?assertEqual(<<"0">>, do(Config, overflow, [])).

%% To the browser, too, it is text.
hostile(Config) ->
    Bad = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"",
    Escaped = lists:flatten([case C of $< -> "&lt;"; $& -> "&amp;"; $' -> "&apos;"; $" -> "&quot;"; _ -> C end || C <- Bad]),
    offline_post_backend:set(?config(backend, Config), {reply, 400, [], list_to_binary(Bad)}),
    offline_post_node:route(?config(node, Config), "bob@elsewhere.example/" ++ Escaped, "juliet@" ?HOST, Escaped),
    Id = id(offline_post_backend:await(?config(backend, Config))),
    settled(Config),
    [begin
         Go(),
         reads(Config, [Bad]),
         ?assertEqual({0, <<"0">>}, {count(Config, "//*[@id='content']//script | //*[@id='content']//img"), do(Config, dialogs, [])})
     end || Go <- [fun() -> open(Config, "dead/") end,
                   fun() -> click(Config, "Show " ++ Id) end,
                   fun() -> open(Config, ""), click(Config, "Send a test POST") end]].

%% For docs/webadmin.md, where OFFLINE_POST_PICTURES names a directory: of the page after some minutes of use, in an outage.
%% Else in short, that it can be done.
pictures(Config) ->
    {Directory, Minutes} = case os:getenv("OFFLINE_POST_PICTURES") of
                               false -> {?config(priv_dir, Config), 0};
                               Named -> {filename:absname(Named, offline_post_node:root()), 4}
                           end,
    ct:timetrap({minutes, 4 + 2 * Minutes}),
    ok = filelib:ensure_dir(filename:join(Directory, "x")),
    offline_post_backend:set(?config(backend, Config), fun refuse_some/1),
    say(Config, "413 too long"),
    busy(Config, Minutes * 60),
    down(Config),
    busy(Config, Minutes * 24),
    Picture = fun(Window, Size, Name) ->
                      do(Config, Window, Size),
                      open(Config, ""),
                      reads(Config, ["the backend has had trouble"]),
                      do(Config, picture, [filename:join(Directory, Name)]),
                      ?assertMatch({ok, <<137, "PNG", _/binary>>}, file:read_file(filename:join(Directory, Name)))
              end,
    Picture(window, ["1180", "900"], "webadmin-host.png"),
    Picture(phone, ["360", "740"], "webadmin-narrow.png").

%% Messages for so long (s).
busy(Config, Seconds) -> busy_until(Config, erlang:monotonic_time(second) + Seconds).

busy_until(Config, End) ->
    say(Config, "fine"),
    receive after 100 + rand:uniform(900) -> ok end,
    _ = offline_post_backend:posts(?config(backend, Config)),
    erlang:monotonic_time(second) < End andalso busy_until(Config, End).

%%%

open(Config, Path) -> do(Config, open, [offline_post_web:url(?config(port, Config), "server/" ?HOST "/offline_post/" ++ Path)]).

click(Config, Label) -> do(Config, click, [Label]).

count(Config, Path) -> binary_to_integer(do(Config, count, [Path])).

do(Config, Command, Arguments) ->
    offline_post_browser:command(?config(browser, Config), Command, Arguments).

text(Config) -> unicode:characters_to_list(do(Config, text, [])).

%% What somebody can see there.
reads(Config, Parts) ->
    Text = text(Config),
    case [Part || Part <- Parts, string:find(Text, Part) =:= nomatch] of
        [] -> ok;
        Missing -> ct:pal("~ts", [Text]), ct:fail({missing, Missing})
    end.

tab_to(Config, Label) -> tab_to(Config, unicode:characters_to_binary(Label), 60).

tab_to(_Config, Label, 0) ->
    ct:fail({cannot_be_reached, Label});
tab_to(Config, Label, More) ->
    do(Config, keys, ["TAB"]),
    case binary:split(do(Config, focused, []), <<"\t">>, [global]) of
        [_Tag, Label, Style, Width] ->
            %% A browser's own ring, or ours.
            ?assertNotEqual({Label, <<"none">>}, {Label, Style}),
            ?assertNotEqual({Label, <<"0px">>}, {Label, Width});
        _ ->
            tab_to(Config, Label, More - 1)
    end.

%% Until the breaker has opened; a dozen wait.
down(Config) ->
    offline_post_backend:set(?config(backend, Config), {reply, 503}),
    #{pending := Pending} = offline_post_node:stats(?config(node, Config), ?HOST),
    [say(Config, "503 wait") || _ <- lists:seq(Pending + 1, 12)],
    offline_post_wait:until(fun() -> maps:get(state, offline_post_node:stats(?config(node, Config), ?HOST)) =/= healthy end).

kill(Config, Texts) ->
    offline_post_backend:set(?config(backend, Config), fun refuse/1),
    Ids = [begin say(Config, Text), id(offline_post_backend:await(?config(backend, Config))) end || Text <- Texts],
    settled(Config),
    offline_post_backend:set(?config(backend, Config), {reply, 200}),
    Ids.

tidy_up_to_dead(Config, N) ->
    offline_post_wait:until(fun() -> dead(Config) =:= N end).

refuse(#{body := Body}) ->
    {match, [Status]} = re:run(Body, "\"body\":\"([0-9]{3})", [{capture, all_but_first, list}]),
    {reply, list_to_integer(Status), [], <<"no, thank you">>}.

refuse_some(#{body := Body} = Post) ->
    case re:run(Body, "\"body\":\"[0-9]{3}", [{capture, none}]) of
        match -> refuse(Post);
        nomatch -> {delay, 3 + rand:uniform(20), {reply, 200}}
    end.

say(Config, Text) ->
    To = lists:nth(rand:uniform(2), ["juliet", "nurse"]),
    offline_post_node:route(?config(node, Config), "romeo@elsewhere.example/orchard", To ++ "@" ?HOST, Text).

dead(Config) -> maps:get(dead, offline_post_node:stats(?config(node, Config), ?HOST)).

settled(Config) ->
    offline_post_wait:until(fun() -> maps:get(pending, offline_post_node:stats(?config(node, Config), ?HOST)) =:= 0 end).

id(#{headers := Headers}) -> binary_to_list(proplists:get_value(<<"webhook-id">>, Headers)).
