%% A node's page: all endpoints that run there, those in trouble first, and what they share. To look at only: what can be
%% done is on their own pages.
-module(mod_offline_post_web_node).

-export([page/2, facts/0]).
%% For tests.
-export([together/1, quantile/2]).

-import(mod_offline_post_web_html, [el/2, el/3, text/1, foreign/1, anchor/2, table/3, heading/2, number/1, bytes/1,
                                    milliseconds/1, age/2]).

-type html() :: mod_offline_post_web_html:html().
-type endpoint() :: {Host :: binary(), module(), {Stats :: map(), Observed :: map()} | undefined}.
-type facts() :: #{status := ok | {error, binary()}, info := map(), endpoints := [endpoint()]}.

%% Now: Unix ms.
-spec page(node(), Now :: integer()) -> [html()].
page(Node, Now) ->
    case ejabberd_cluster:call(Node, ?MODULE, facts, []) of
        #{endpoints := []} -> [el(<<"p">>, [text(<<"It is configured for no virtual host of this node.">>)])];
        #{} = Facts -> shown(Node, Facts, Now);
        _ -> [el(<<"p">>, [text(<<"This node gives no answer, or has another version of the module.">>)])]
    end.

%% Runs on the node that it is about.
-spec facts() -> facts().
facts() ->
    #{status => mod_offline_post_nif:status(),
      info => info(),
      endpoints => [{Host, Module, seen(Host, Module)} ||
                       Host <- ejabberd_option:hosts(), Module <- mod_offline_post_endpoint:modules(), gen_mod:is_loaded(Host, Module)]}.

%% What the page shows of it: it may have to come from another node.
-spec seen(binary(), module()) -> {map(), map()} | undefined.
seen(Host, Module) ->
    case mod_offline_post_operator:seen(Host, Module) of
        {Stats, Observed} -> {Stats, maps:without([outcomes, attempt_us, delivery_us], Observed)};
        undefined -> undefined
    end.

-spec info() -> map().
info() ->
    mod_offline_post_native:ask(fun mod_offline_post_nif:info/0, #{}).

-spec shown(node(), facts(), integer()) -> [html()].
shown(Node, #{status := Status, info := Info, endpoints := Endpoints}, Now) ->
    Minutes = together([Minutes || {_, _, {_, #{minutes := Minutes}}} <- Endpoints]),
    [el(<<"p">>, [{<<"class">>, <<"op-note op-warn">>}], [text(Why)]) || {error, Why} <- [Status]]
        ++ [el(<<"p">>, [{<<"class">>, <<"op-note">>}], [text(<<"What can be done about them is on this node's own web admin.">>)])
            || Node =/= node()]
        ++ [table(<<"Endpoints">>,
                  [<<"Virtual host">>, <<"State">>, <<"Why">>, <<"Pending">>, <<"Oldest">>, <<"In flight">>, <<"Delivered">>, <<"Dead">>],
                  [row(Node, Endpoint, Now) || Endpoint <- worst_first(Endpoints)]),
            heading(3, <<"The last hour">>),
            el(<<"div">>, [{<<"class">>, <<"op-plots">>}],
               [mod_offline_post_web_plot:rates(Minutes, Now div 60000),
                mod_offline_post_web_plot:latency(Minutes, Now div 60000)]),
            heading(3, <<"What they share">>), shared(Info, Endpoints)].

-spec worst_first([endpoint()]) -> [endpoint()].
worst_first(Endpoints) ->
    Rank = fun({_, _, {Stats, #{state := healthy} = Observed}}) ->
                   case mod_offline_post_operator:why(Stats, Observed) of <<>> -> 2; _ -> 1 end;
              (_) ->
                   0
           end,
    [Endpoint || {_, Endpoint} <- lists:keysort(1, [{Rank(Endpoint), Endpoint} || Endpoint <- Endpoints])].

-spec row(node(), endpoint(), integer()) -> [[html()]].
row(Node, {Host, Module, {#{pending := Pending, in_flight := InFlight, delivered := Delivered, dead := Dead} = Stats,
           #{state := State, since := Since, oldest_pending := Oldest} = Observed}}, Now) ->
    Why = mod_offline_post_operator:why(Stats, Observed),
    For = [[" for ", age(Now, Since)] || Since > 0, State =/= healthy],
    [[name(Node, Host, Module)], [mod_offline_post_web_page:state(State), text(For)], [foreign(Why)], [text(number(Pending))],
     [text(case Oldest of 0 -> [16#2013]; _ -> age(Now, Oldest) end)]] ++ [[text(number(N))] || N <- [InFlight, Delivered, Dead]];
row(Node, {Host, Module, undefined}, _Now) ->
    [[name(Node, Host, Module)], [mod_offline_post_web_page:state(stopped)], [text(<<"the log says more">>)], [], [], [], [], []].

%% From /node/NAME/offline_post/ to /server/HOST/offline_post/, which is about the node that shows it.
-spec name(node(), binary(), module()) -> html().
name(Node, Host, Module) ->
    Name = text(mod_offline_post_endpoint:name(mod_offline_post_endpoint:key(Host, Module))),
    case Node =:= node() of
        true -> anchor(iolist_to_binary(["../../../server/", uri_string:quote(Host), "/offline_post/",
                                         mod_offline_post_web_page:path(Module)]), [Name]);
        false -> Name
    end.

%% Of several endpoints, minute by minute.
-spec together([[tuple()]]) -> [tuple()].
together(Lists) ->
    Sum = fun({M, A1, D1, F1, R1, S1, L1}, {M, A2, D2, F2, R2, S2, L2}) ->
                  {M, A1 + A2, D1 + D2, F1 + F2, R1 + R2, S1 + S2, max(L1, L2)}
          end,
    Add = fun(Minute, Acc) -> maps:update_with(element(1, Minute), fun(Other) -> Sum(Minute, Other) end, Minute, Acc) end,
    lists:sort(maps:values(lists:foldl(Add, #{}, lists:append(Lists)))).

-spec shared(map(), [endpoint()]) -> html().
shared(Info, Endpoints) ->
    Spool = case [Stats || {_, _, {Stats, _}} <- Endpoints] of
                [#{spool := State, spool_bytes := Bytes} | _] -> [{"spool", [atom_to_list(State), ", ", bytes(Bytes)]}];
                [] -> []
            end,
    Commits = case Info of
                  #{commit_us := Histogram} ->
                      [{"half of all commits within", commit(quantile(Histogram, 0.5))},
                       {"99 % of all commits within", commit(quantile(Histogram, 0.99))}];
                  _ -> []
              end,
    Versions = [{Name, maps:get(Key, Info)} || {Key, Name} <- [{version, "native library"}, {curl, "libcurl"}, {sqlite, "SQLite"}],
                                               maps:is_key(Key, Info)],
    el(<<"dl">>, [{<<"class">>, <<"op-counters">>}],
       [el(<<"div">>, [el(<<"dt">>, [text(Name)]), el(<<"dd">>, [text(Value)])]) || {Name, Value} <- Spool ++ Commits ++ Versions]).

-spec commit(non_neg_integer() | none | more) -> iodata().
commit(none) -> [<<"none yet">>];
commit(more) -> [<<"more than 5 s">>];
commit(Us) -> milliseconds(Us).

%% The bound within which this part of all is; more: above the last.
-spec quantile({[pos_integer()], [non_neg_integer()], non_neg_integer()}, float()) -> pos_integer() | none | more.
quantile({Bounds, Counts, _Sum}, Part) ->
    case lists:sum(Counts) of
        0 -> none;
        All -> within(Bounds, Counts, All * Part)
    end.

-spec within([pos_integer()], [non_neg_integer()], float()) -> pos_integer() | more.
within([Bound | _], [Count | _], Left) when Count >= Left -> Bound;
within([_ | Bounds], [Count | Counts], Left) -> within(Bounds, Counts, Left - Count);
within([], _, _) -> more.
