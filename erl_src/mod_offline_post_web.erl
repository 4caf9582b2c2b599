%% Pages in ejabberd's web admin: one for each virtual host, which shows and steers its endpoint, below it one for each
%% sibling's, and one for each node.
%% ejabberd lets in whom its access rules name: for /server/HOST/ the admins of that virtual host, for /node/ those of all;
%% to GET whoever may `configure` or `webadmin_view`, to POST only the former. Changes are made by POST alone, with a token.
-module(mod_offline_post_web).

-export([start/1, stop/2, stop_node/0]).
-export([menu_host/3, page_host/3, menu_node/3, page_node/3, page_node/5]).

-include_lib("kernel/include/logger.hrl").
-include("xmpp.hrl").
-include("ejabberd_http.hrl").

-import(mod_offline_post_web_html, [el/2, el/3, text/1, anchor/2, heading/2]).

-type html() :: mod_offline_post_web_html:html().
-type view() :: mod_offline_post_web_page:view().
-type query() :: [{binary(), binary()}].
%% What came of a POST: shown above the page.
-type result() :: none | {good | bad, [html()]} | {ask, {id | reason, binary()}}.

-define(NAME, <<"offline_post">>).
-define(TITLE, <<"Offline POST">>).

-define(PRIORITY, 60).

%% For how long a page waits until it can show what a button has done: turns of 20 ms.
-define(TURNS, 50).

%% Also where the module does not run for a mistake: then the page says so. Twice does no harm.
-spec start(binary()) -> ok.
start(Host) ->
    ejabberd_hooks:add(webadmin_menu_host, Host, ?MODULE, menu_host, ?PRIORITY),
    ejabberd_hooks:add(webadmin_page_host, Host, ?MODULE, page_host, ?PRIORITY),
    mod_offline_post:once(web, fun() ->
        ejabberd_hooks:add(webadmin_menu_node, ?MODULE, menu_node, ?PRIORITY),
        ejabberd_hooks:add(webadmin_page_node, ?MODULE, page_node, ?PRIORITY)
    end).

%% With the last of our modules that is there.
-spec stop(binary(), module()) -> ok.
stop(Host, Module) ->
    case lists:any(fun(Other) -> gen_mod:is_loaded(Host, Other) end, mod_offline_post_endpoint:modules() -- [Module]) of
        true ->
            ok;
        false ->
            ejabberd_hooks:delete(webadmin_menu_host, Host, ?MODULE, menu_host, ?PRIORITY),
            ejabberd_hooks:delete(webadmin_page_host, Host, ?MODULE, page_host, ?PRIORITY)
    end.

%% With the last virtual host.
-spec stop_node() -> ok.
stop_node() ->
    ejabberd_hooks:delete(webadmin_menu_node, ?MODULE, menu_node, ?PRIORITY),
    ejabberd_hooks:delete(webadmin_page_node, ?MODULE, page_node, ?PRIORITY).

%%% Hooks

-spec menu_host([tuple()], binary(), binary()) -> [tuple()].
menu_host(Menu, _Host, _Lang) -> Menu ++ [{?NAME, ?TITLE}].

-spec menu_node([tuple()], node(), binary()) -> [tuple()].
menu_node(Menu, _Node, _Lang) -> Menu ++ [{?NAME, ?TITLE}].

-spec page_host([html()], binary(), #request{}) -> [html()].
page_host(_, Host, #request{path = [?NAME | Path], method = Method, q = Query, us = {User, Server}}) ->
    guarded(Host, fun() -> host_page(Host, Path, Method, Query, jid:make(User, Server)) end);
page_host(Page, _Host, _Request) ->
    Page.

%% ejabberd 23.01
-spec page_node([html()], node(), [binary()], query(), binary()) -> [html()].
page_node(_, Node, [?NAME], _Query, _Lang) -> node_page(Node);
page_node(Page, _Node, _Path, _Query, _Lang) -> Page.

%% Later releases
-spec page_node([html()], node(), #request{}) -> [html()].
page_node(_, Node, #request{path = [?NAME]}) -> node_page(Node);
page_node(Page, _Node, _Request) -> Page.

%% ejabberd would log the arguments of a handler that crashes: the admin's password is among them.
-spec guarded(binary(), fun(() -> [html()])) -> [html()].
guarded(Where, Make) ->
    try Make()
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR("mod_offline_post: the web admin's page for ~ts failed because of a defect (~ts)",
                       [Where, mod_offline_post:defect(Class, Reason, Stack)]),
            page([heading(1, ?TITLE), el(<<"p">>, [text(<<"This page has a defect: ejabberd's log says where.">>)])])
    end.

-spec page([html()]) -> [html()].
page(Contents) ->
    mod_offline_post_web_style:elements() ++ [el(<<"div">>, [{<<"class">>, <<"op">>}], Contents ++ [foot()])].

-spec foot() -> html().
foot() ->
    Zone = string:slice(calendar:system_time_to_rfc3339(erlang:system_time(second)), 19),
    el(<<"p">>, [{<<"class">>, <<"op-foot">>}], [text(["Times are the server's: UTC", Zone, "."])]).

%%% A node

-spec node_page(node()) -> [html()].
node_page(Node) ->
    guarded(atom_to_binary(Node), fun() ->
        Now = erlang:system_time(millisecond),
        page([heading(1, [?TITLE, ": ", atom_to_list(Node)]) | mod_offline_post_web_node:page(Node, Now)])
    end).

%%% A virtual host

-spec host_page(binary(), [binary()], atom(), query(), jid:jid()) -> [html()].
host_page(Host, Path, Method, Query, Admin) ->
    By = jid:encode(Admin),
    {Module, Below} = endpoint(Host, Path),
    Name = mod_offline_post_endpoint:name(mod_offline_post_endpoint:key(Host, Module)),
    View = #{host => Host, module => Module, name => Name, top => up(Path), root => up(Below),
             now => erlang:system_time(millisecond),
             token => mod_offline_post_web_csrf:token(By, Host),
             may_change => acl:match_rule(Host, configure, Admin) =:= allow},
    Result = case Method of
                 'POST' -> post(View, Query, By);
                 _ -> none
             end,
    case contents(View, Below, Query, Result) of
        not_found -> [];
        Contents -> page([heading(1, [?TITLE, ": ", Name]), tabs(View, Below)] ++ shown(View, Result) ++ Contents)
    end.

%% Whose pages they are, and which of them.
-spec endpoint(binary(), [binary()]) -> {module(), [binary()]}.
endpoint(Host, [First | Rest] = Path) ->
    case [Module || Module <- tl(mod_offline_post_endpoint:modules()), atom_to_binary(Module) =:= First, gen_mod:is_loaded(Host, Module)] of
        [Sibling] -> {Sibling, Rest};
        [] -> {mod_offline_post, Path}
    end;
endpoint(_Host, []) ->
    {mod_offline_post, []}.

%% The way back from below.
-spec up([binary()]) -> binary().
up([]) -> <<"./">>;
up(Path) -> iolist_to_binary(["../" || _ <- Path]).

-spec contents(view(), [binary()], query(), result()) -> [html()] | not_found.
contents(#{host := Host, module := Module} = View, Below, Query, Result) ->
    case gen_mod:is_loaded(Host, Module) of
        true -> loaded(View, Below, Query, Result);
        false when Below =:= [] -> mod_offline_post_web_page:absent(View);
        false -> not_found
    end.

-spec loaded(view(), [binary()], query(), result()) -> [html()] | not_found.
loaded(View, [], _Query, _Result) -> mod_offline_post_web_page:overview(View);
loaded(_View, [<<"dead">>], _Query, {ask, _}) -> [];
loaded(View, [<<"dead">>], Query, _Result) -> mod_offline_post_web_dead:list(View, value(<<"which">>, Query), number(value(<<"after">>, Query)));
loaded(View, [<<"dead">>, Id], _Query, _Result) -> mod_offline_post_web_dead:letter(View, Id);
loaded(View, [<<"config">>], _Query, _Result) -> mod_offline_post_web_config:page(View);
loaded(_View, _Below, _Query, _Result) -> not_found.

-spec tabs(view(), [binary()]) -> html().
tabs(#{root := Root}, Now) ->
    Tab = fun(Below, Label) ->
                  Href = iolist_to_binary([Root, [[Part, $/] || Part <- Below]]),
                  Current = [{<<"aria-current">>, <<"page">>} || Below =:= Now],
                  el(<<"li">>, [el(<<"a">>, [{<<"href">>, Href} | Current], [text(Label)])])
          end,
    el(<<"ul">>, [{<<"class">>, <<"op-tabs">>}],
       [Tab([], <<"State">>), Tab([<<"dead">>], <<"Dead letters">>), Tab([<<"config">>], <<"Configuration">>)]).

-spec shown(view(), result()) -> [html()].
shown(_View, none) -> [];
shown(View, {ask, Which}) -> mod_offline_post_web_dead:ask(View, Which);
shown(_View, {Kind, Contents}) ->
    [el(<<"div">>, [{<<"class">>, <<"op-note op-", (atom_to_binary(Kind))/binary>>}, {<<"role">>, <<"status">>}], Contents)].

%%% Changes

%% ejabberd has seen to it that the admin may change things.
-spec post(view(), query(), binary()) -> result().
post(#{host := Host, name := Name} = View, Query, Admin) ->
    case mod_offline_post_web_csrf:is_valid(value(<<"token">>, Query), Admin, Host) of
        true ->
            case value(<<"do">>, Query) of
                <<"test">> -> mod_offline_post_web_page:tested(mod_offline_post_operator:test(Name, value(<<"user">>, Query)));
                Do -> act(View, Do, chosen(Query), Admin)
            end;
        false -> {bad, [el(<<"p">>, [text(<<"Nothing was done: this form was open for too long, or is not one of ours. Try again here.">>)])]}
    end.

-spec act(view(), binary(), {id | reason, binary()} | none, binary()) -> result().
act(#{name := Name}, <<"pause">>, _, Admin) ->
    noted(Name, Admin, "paused", awaited(Name, mod_offline_post_operator:pause(Name), true, ?TURNS), <<"Paused until you press Resume, also over a restart.">>);
act(#{name := Name}, <<"resume">>, _, Admin) ->
    noted(Name, Admin, "resumed", awaited(Name, mod_offline_post_operator:resume(Name), false, ?TURNS), <<"Resumed.">>);
act(#{name := Name}, <<"flush">>, _, Admin) ->
    noted(Name, Admin, "flushed", mod_offline_post_operator:flush(Name), <<"All that waits for a retry is tried now.">>);
act(#{name := Name}, <<"replay">>, {_, _} = Which, Admin) ->
    Result = mod_offline_post_operator:replay(Name, selection(Which)),
    log(Name, Admin, "replayed dead letters of", Result),
    mod_offline_post_web_dead:replayed(Which, Result);
act(_View, <<"ask">>, {_, _} = Which, _) ->
    {ask, Which};
act(#{name := Name}, <<"drop">>, {_, _} = Which, Admin) ->
    Result = mod_offline_post_operator:drop(Name, selection(Which)),
    log(Name, Admin, "dropped dead letters of", Result),
    mod_offline_post_web_dead:dropped(Which, Result);
act(_View, _Unknown, _Which, _Admin) ->
    {bad, [el(<<"p">>, [text(<<"Nothing was done: there is no such action.">>)])]}.

%% The native side obeys in a turn of its own; the page is to show the state of after that.
-spec awaited(binary(), ok | {error, unknown}, boolean(), non_neg_integer()) -> ok | {error, unknown}.
awaited(Name, ok, IsPaused, Turns) when Turns > 0 ->
    case mod_offline_post_operator:observe(Name) of
        #{state := State} when (State =:= paused) =/= IsPaused -> timer:sleep(20), awaited(Name, ok, IsPaused, Turns - 1);
        _ -> ok
    end;
awaited(_Name, Result, _IsPaused, _Turns) ->
    Result.

-spec noted(binary(), binary(), string(), ok | {error, atom()}, binary()) -> result().
noted(Name, Admin, What, ok, Said) ->
    log(Name, Admin, What, ok),
    {good, [el(<<"p">>, [text(Said)])]};
noted(_Name, _Admin, _What, {error, _}, _Said) ->
    {bad, [el(<<"p">>, [text(<<"Nothing was done: the module does not run here.">>)])]}.

%% Who did it.
-spec log(binary(), binary(), string(), term()) -> ok.
log(Name, Admin, What, {ok, Count}) ->
    ?LOG_INFO("mod_offline_post: ~ts ~ts ~ts in the web admin: ~B", [Admin, What, Name, Count]);
log(Name, Admin, What, ok) ->
    ?LOG_INFO("mod_offline_post: ~ts ~ts ~ts in the web admin", [Admin, What, Name]);
log(Name, Admin, What, {error, timeout}) ->
    ?LOG_INFO("mod_offline_post: ~ts ~ts ~ts in the web admin, and it goes on", [Admin, What, Name]);
log(_Name, _Admin, _What, _Error) ->
    ok.

%% All are meant only by whoever says so, with a reason that is empty.
-spec chosen(query()) -> {id | reason, binary()} | none.
chosen(Query) ->
    case {value(<<"id">>, Query), lists:keymember(<<"which">>, 1, Query)} of
        {<<>>, true} -> {reason, value(<<"which">>, Query)};
        {<<>>, false} -> none;
        {Id, _} -> {id, Id}
    end.

-spec selection({id | reason, binary()}) -> mod_offline_post_operator:selection().
selection({reason, Which}) -> mod_offline_post_web_dead:selection(Which);
selection({id, _} = Id) -> Id.

-spec value(binary(), query()) -> binary().
value(Name, Query) ->
    case lists:keyfind(Name, 1, Query) of
        {_, Value} when is_binary(Value) -> Value;
        _ -> <<>>
    end.

%% A number in the address may be anything.
-spec number(binary()) -> non_neg_integer().
number(Text) ->
    case string:to_integer(Text) of
        {N, <<>>} when N >= 0, N < 1 bsl 63 -> N;
        _ -> 0
    end.
