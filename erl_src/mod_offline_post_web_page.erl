%% The first page of an endpoint: whether notifications flow, why not, and what can be done about it.
-module(mod_offline_post_web_page).

-export([overview/1, absent/1, path/1, tested/1, state/1, sentence/4]).
-export_type([view/0]).

-import(mod_offline_post_web_html, [el/2, el/3, text/1, foreign/1, preformatted/1, anchor/2, table/3, heading/2, tag/2,
                                    form/3, button/3, number/1, bytes/1, milliseconds/1, age/2, time/2]).

-type html() :: mod_offline_post_web_html:html().
-type element() :: mod_offline_post_web_html:element().
%% Which endpoint's page it is, and who looks at it. top: the way to the virtual host's first page; root: to the
%% endpoint's. may_change: whether ejabberd lets this admin POST. now: Unix ms.
-type view() :: #{host := binary(), module := module(), name := mod_offline_post_endpoint:name(), top := binary(),
                  root := binary(), token := binary(), may_change := boolean(), now := integer()}.
-type observed() :: mod_offline_post_nif:observed().
-type stats() :: #{atom() => integer() | atom()}.

%% From when on something that waits is worth a look (ms).
-define(LONG, 60000).

-spec overview(view()) -> [html()].
overview(#{name := Name} = View) ->
    case {mod_offline_post_operator:stats(Name), mod_offline_post_operator:observe(Name)} of
        {#{} = Stats, #{} = Observed} -> running(View, Stats, Observed);
        _ -> [verdict(bad, <<"It does not run">>, [text(why_not())])] ++ others(View)
    end.

%% Only its siblings are here.
-spec absent(view()) -> [html()].
absent(#{module := Module} = View) ->
    [el(<<"p">>, [text([atom_to_binary(Module), " is not configured for this virtual host."])]) | others(View)].

-spec why_not() -> binary().
why_not() ->
    case mod_offline_post_nif:status() of
        ok -> <<"Nothing is posted for this virtual host. The reason is in ejabberd's log.">>;
        {error, Why} -> Why
    end.

-spec running(view(), stats(), observed()) -> [html()].
running(#{name := Name, now := Now} = View, Stats, #{minutes := Minutes, outcomes := Outcomes} = Observed) ->
    {Kind, Word, Sentence} = sentence(Stats, Observed, Now, mod_offline_post_opt:post_url(mod_offline_post_endpoint:options(Name))),
    [verdict(Kind, Word, [text(Sentence)])]
        ++ [notice(Warning) || Warning <- warnings(Stats)]
        ++ [figures(View, Stats, Observed), actions(View, Stats)]
        ++ others(View)
        ++ [heading(3, <<"The last hour">>),
            el(<<"div">>, [{<<"class">>, <<"op-plots">>}],
               [mod_offline_post_web_plot:rates(Minutes, Now div 60000),
                mod_offline_post_web_plot:latency(Minutes, Now div 60000)]),
            heading(3, <<"The last attempts">>), outcomes(Outcomes, Now),
            heading(3, <<"Counters">>), counters(Stats)].

%%% Whether they flow

%% good, warn or bad; a word or two; and what that means.
-spec sentence(stats(), observed(), Now :: integer(), Url :: binary()) -> {good | warn | bad, binary(), binary()}.
sentence(#{pending := Pending} = Stats, #{state := State, since := Since, why := Why, oldest_pending := Oldest}, Now, Url) ->
    Backend = mod_offline_post_web_config:shown_url(Url),
    For = case Since of
              0 -> <<>>;
              _ -> iolist_to_binary([" for ", age(Now, Since)])
          end,
    case {State, mod_offline_post_operator:failing(Stats)} of
        {healthy, <<_, _/binary>> = Failing} ->
            Old = [[" The oldest pending notification is ", age(Now, Oldest), " old."] || Oldest > 0, Now - Oldest > ?LONG],
            {warn, <<"Notifications flow, but some fail">>,
             format("~ts takes others, but ~ts.~ts The last attempts, below, say why.", [Backend, Failing, Old])};
        {healthy, _} when Oldest > 0, Now - Oldest > ?LONG ->
            {warn, <<"Notifications flow, but some wait long">>,
             format("~ts takes what it is sent, but the oldest that waits is ~ts old: what failed is tried again later. "
                    "The last attempts, below, say why.", [Backend, age(Now, Oldest)])};
        {healthy, _} ->
            {good, <<"Notifications flow">>, format("~ts takes what it is sent~ts.", [Backend, state_for(For)])};
        {paused, _} ->
            {bad, format("Paused~ts", [For]),
             format("~ts. Nothing is sent and nothing is lost: ~ts. Resume when it may go on.",
                    [because(Why, <<"Paused">>), wait(Pending)])};
        {stopped, _} ->
            {bad, <<"Stopped">>, <<"Nothing is accepted. The reason is in ejabberd's log.">>};
        {Trouble, _} ->
            Word = case Trouble of
                       probing -> "Probing";
                       broken -> "Waiting to probe"
                   end,
            {bad, format("~ts: the backend has had trouble~ts", [Word, For]),
             format("~ts: ~ts. One request at a time finds out whether it answers again; "
                    "~ts, and all goes out when one has passed.",
                    [Backend, because(Why, <<"it does not take what it is sent">>), wait(Pending)])}
    end.

-spec state_for(binary()) -> binary().
state_for(<<>>) -> <<>>;
state_for(For) -> <<", and has", For/binary>>.

-spec because(binary(), binary()) -> binary().
because(<<>>, Else) -> Else;
because(Why, _Else) ->
    <<First/utf8, Rest/binary>> = mod_offline_post_text:in_line(Why),
    <<(unicode:characters_to_binary(string:uppercase([First])))/binary, Rest/binary>>.

-spec wait(integer()) -> binary().
wait(0) -> <<"none waits">>;
wait(1) -> <<"1 notification waits">>;
wait(N) -> format("~ts notifications wait", [number(N)]).

-spec warnings(stats()) -> [binary()].
warnings(#{spool := Spool, rejected := Rejected, hook_crashes := Crashes} = Stats) ->
    [because(mod_offline_post_operator:disk_silent(Stats), <<>>) || maps:get(disk_silent, Stats, 0) > 0]
        ++ [<<"The disk refuses: what is new waits in memory for now, and is lost with the node. The log says why.">> || Spool =:= degraded]
        ++ [format("~ts notifications were rejected since the start: the queue or the disk was full.", [number(Rejected)])
            || Rejected > 0]
        ++ [format("~ts messages were not handed over because of a defect (on the whole node). The log says more.",
                   [number(Crashes)]) || Crashes > 0].

%% Sign, word and colour say the same.
-spec verdict(good | warn | bad, binary(), [html()]) -> element().
verdict(Kind, Word, Explanation) ->
    el(<<"div">>, [{<<"class">>, <<"op-verdict op-", (atom_to_binary(Kind))/binary>>}],
       [el(<<"p">>, [{<<"class">>, <<"op-word">>}], [sign(Kind), text([" ", Word])]), el(<<"p">>, Explanation)]).

-spec sign(good | warn | bad) -> element().
sign(Kind) ->
    Sign = case Kind of
               good -> [16#2713];
               warn -> "!";
               bad -> [16#2715]
           end,
    el(<<"span">>, [{<<"class">>, <<"op-sign">>}, {<<"aria-hidden">>, <<"true">>}], [text(Sign)]).

-spec notice(binary()) -> element().
notice(Text) -> el(<<"p">>, [{<<"class">>, <<"op-note op-warn">>}], [text(Text)]).

%% Of an endpoint, in a list of them.
-spec state(atom()) -> element().
state(State) ->
    {Kind, Word} = case State of
                       healthy -> {good, <<"healthy">>};
                       probing -> {bad, <<"probing">>};
                       broken -> {bad, <<"waiting to probe">>};
                       paused -> {bad, <<"paused">>};
                       _ -> {bad, <<"stopped">>}
                   end,
    el(<<"span">>, [{<<"class">>, <<"op-state op-", (atom_to_binary(Kind))/binary>>}], [sign(Kind), text([" ", Word])]).

%%% Figures

-spec figures(view(), stats(), observed()) -> element().
figures(#{root := Root, now := Now}, #{pending := Pending, in_flight := InFlight, dead := Dead, recipients_waiting := Waiting,
                                       out_of_order := OutOfOrder},
        #{oldest_pending := Oldest, concurrency := Concurrency, max_connections := Most, minutes := Minutes}) ->
    Sum = fun(N) -> lists:sum([element(N, Minute) || Minute <- Minutes, element(1, Minute) > Now div 60000 - 60]) end,
    Figure = fun(Label, Value, More) ->
                     el(<<"div">>, [el(<<"dt">>, [text(Label)]),
                                    el(<<"dd">>, [el(<<"strong">>, [Value]), el(<<"span">>, [text(More)])])])
             end,
    el(<<"dl">>, [{<<"class">>, <<"op-figures">>}],
       [Figure(<<"Pending">>, text(number(Pending)), <<"waiting or in flight">>),
        Figure(<<"Oldest pending">>, text(case Oldest of 0 -> [16#2013]; _ -> age(Now, Oldest) end),
               case Oldest of 0 -> <<"none waits">>; _ -> <<"since accepted">> end),
        Figure(<<"In flight">>, text(number(InFlight)),
               format("requests: ~ts allowed now, ~ts at most", [number(Concurrency), number(Most)])),
        Figure(<<"Recipients waiting">>, text(number(Waiting)),
               format("behind a notification that failed; ~ts retried out of order", [number(OutOfOrder)])),
        Figure(<<"Delivered">>, text(number(Sum(3))), <<"in the last hour">>),
        Figure(<<"Failed attempts">>, text(number(Sum(4))), <<"in the last hour">>),
        Figure(<<"Dead letters">>, anchor(<<Root/binary, "dead/">>, [text(number(Dead))]), <<"given up, kept">>)]).

-spec actions(view(), stats()) -> element().
actions(#{may_change := false}, _Stats) ->
    el(<<"p">>, [{<<"class">>, <<"op-note">>}], [text(<<"You may look, but not change anything here.">>)]);
actions(#{root := Root, token := Token}, #{state := State}) ->
    el(<<"div">>, [{<<"class">>, <<"op-actions">>}],
       [form(Root, Token,
             [case State of
                  paused -> button(<<"resume">>, <<"op-main">>, <<"Resume">>);
                  _ -> button(<<"pause">>, <<>>, <<"Pause">>)
              end,
              button(<<"flush">>, <<>>, <<"Try all now">>)]),
        form(Root, Token,
             [el(<<"label">>, [{<<"for">>, <<"op-user">>}], [text(<<"For user">>)]),
              el(<<"input">>, [{<<"id">>, <<"op-user">>}, {<<"name">>, <<"user">>}, {<<"type">>, <<"text">>}, {<<"size">>, <<"10">>},
                               {<<"value">>, <<"test">>}], []),
              button(<<"test">>, <<>>, <<"Send a test POST">>)])]).

%% Of the same virtual host.
-spec others(view()) -> [html()].
others(#{host := Host, module := Own, top := Top}) ->
    case [other(Top, Module, mod_offline_post_operator:seen(Host, Module)) ||
             Module <- mod_offline_post_endpoint:modules() -- [Own], gen_mod:is_loaded(Host, Module)] of
        [] ->
            [];
        Rows ->
            [heading(3, <<"Other endpoints">>),
             table(<<"Other endpoints">>, [<<"Module">>, <<"State">>, <<"Why">>, <<"Pending">>, <<"Delivered">>, <<"Dead">>], Rows)]
    end.

-spec other(Top :: binary(), module(), {stats(), observed()} | undefined) -> [[html()]].
other(Top, Module, {#{pending := Pending, delivered := Delivered, dead := Dead} = Stats, #{state := State} = Observed}) ->
    [[endpoint(Top, Module)], [state(State)], [foreign(mod_offline_post_operator:why(Stats, Observed))]]
        ++ [[text(number(N))] || N <- [Pending, Delivered, Dead]];
other(Top, Module, undefined) ->
    [[endpoint(Top, Module)], [state(stopped)], [text(<<"the log says more">>)], [], [], []].

-spec endpoint(Top :: binary(), module()) -> element().
endpoint(Top, Module) -> anchor(<<Top/binary, (path(Module))/binary>>, [text(atom_to_binary(Module))]).

%% From the virtual host's first page to the endpoint's.
-spec path(module()) -> binary().
path(mod_offline_post) -> <<>>;
path(Module) -> <<(atom_to_binary(Module))/binary, "/">>.

%% Neither text nor token is in an outcome.
-spec outcomes([map()], integer()) -> element().
outcomes([], _Now) ->
    el(<<"p">>, [text(<<"None since the start.">>)]);
outcomes(Outcomes, Now) ->
    table(<<"The last attempts, the newest first">>,
          [<<"When">>, <<"Outcome">>, <<"Status">>, <<"Reason">>, <<"Took">>, <<"Attempt">>, <<"Id">>],
          [[[time(Now, Time), text([" (", age(Now, Time), " ago)"])], [outcome(Class)], [text(status(Status))], [foreign(Reason)],
            [text(milliseconds(Us))], [text(number(Attempt))], [el(<<"code">>, [foreign(Id)])]]
           || #{time := Time, id := Id, class := Class, status := Status, reason := Reason, attempt := Attempt, us := Us}
                  <- Outcomes]).

-spec outcome(atom()) -> element().
outcome(delivered) -> tag(<<"op-state op-good">>, [16#2713, " delivered"]);
outcome(Class) -> tag(<<"op-state op-bad">>, [16#2715, " ", outcome_word(Class)]).

-spec outcome_word(atom()) -> string().
outcome_word(refused) -> "message refused";
outcome_word(gone) -> "endpoint gone";
outcome_word(misconfigured) -> "misconfigured";
outcome_word(trouble) -> "trouble".

-spec status(non_neg_integer()) -> binary().
status(0) -> <<"none">>;
status(Status) -> integer_to_binary(Status).

-spec counters(stats()) -> element().
counters(Stats) ->
    First = [accepted, delivered, pending, dead, cancelled, purged],
    Rest = lists:sort(maps:keys(Stats)) -- First,
    el(<<"div">>,
       [el(<<"p">>, [text(<<"Of one moment: accepted = delivered + pending + dead + cancelled + purged.">>)]),
        el(<<"dl">>, [{<<"class">>, <<"op-counters">>}],
           [el(<<"div">>, [el(<<"dt">>, [text(string:replace(atom_to_list(Name), "_", " ", all))]),
                           el(<<"dd">>, [text(counter(Name, maps:get(Name, Stats)))])]) || Name <- First ++ Rest])]).

-spec counter(atom(), integer() | atom()) -> binary().
counter(Name, Value) when is_integer(Value), Name =:= spool_bytes orelse Name =:= pending_bytes -> bytes(Value);
counter(_Name, Value) when is_integer(Value) -> number(Value);
counter(_Name, Value) -> atom_to_binary(Value).

%%% A test POST

%% What went out, with secrets hidden, and what came back.
-spec tested({ok, mod_offline_post_nif:tested()} | {error, unknown | timeout | user}) -> {good | bad, [html()]}.
tested({ok, #{request := #{url := Url, headers := Headers, body := Body}, status := Status, reason := Reason,
              answer := Answer, us := Us}}) ->
    Delivered = Status >= 200 andalso Status < 300,
    {case Delivered of true -> good; false -> bad end,
     [el(<<"p">>, [text(case Delivered of
                            true -> <<"The backend has taken the test POST: ">>;
                            false -> <<"The backend has not taken the test POST: ">>
                        end),
                   el(<<"strong">>, [foreign(said(Status, Reason))]), text([" after ", milliseconds(Us), "."])]),
      heading(3, <<"Request">>),
      preformatted(iolist_to_binary(["POST ", Url, "\n", [[Name, ": ", Value, "\n"] || {Name, Value} <- Headers], "\n", Body])),
      heading(3, <<"Answer">>),
      case Answer of
          <<>> -> el(<<"p">>, [text(<<"It has no body.">>)]);
          _ -> preformatted(Answer)
      end]};
tested({error, user}) ->
    {bad, [el(<<"p">>, [text(<<"Nothing was sent: say for which user of this virtual host, with the part of the address before the @.">>)])]};
tested({error, timeout}) ->
    {bad, [el(<<"p">>, [text(<<"No answer in time, neither from the backend nor that there was none.">>)])]};
tested({error, unknown}) ->
    {bad, [el(<<"p">>, [text(<<"A test POST cannot be sent: the module does not run here. The log says why.">>)])]}.

-spec said(non_neg_integer(), binary()) -> binary().
said(0, Reason) -> Reason;
said(Status, Reason) ->
    Http = <<"HTTP ", (integer_to_binary(Status))/binary>>,
    case string:prefix(Reason, Http) of
        _ when Reason =:= <<>> -> Http;
        nomatch -> <<Http/binary, ", ", Reason/binary>>;
        _ -> Reason
    end.

-spec format(io:format(), [term()]) -> binary().
format(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
