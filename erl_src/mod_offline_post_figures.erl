%% What is shown to Prometheus: the counters of endpoints and of the node as families of metrics, with their names.
%% docs/metrics.md has the same as a table.
-module(mod_offline_post_figures).

-export([read/2, families/2]).
-export_type([endpoint/0, figures/0, node_figures/0]).

-type endpoint() :: {Host :: binary(), Module :: module()}.
%% undefined: nobody can be asked.
-type figures() :: {endpoint(), Stats :: #{atom() => integer() | atom()} | undefined, Observed :: map() | undefined}.
-type node_figures() :: #{now := UnixMs :: integer(),
                          info := map() | undefined,
                          hooks := #{runs | waits := mod_offline_post_hook_cost:histogram()},
                          incidents := #{mod_offline_post_incidents:kind() => non_neg_integer()}}.

-type family() :: mod_offline_post_openmetrics:family().

-define(STATES, [healthy, probing, broken, paused, stopped]).
-define(CLASSES, [delivered, refused, gone, misconfigured, trouble]).
-define(SPOOLS, [durable, degraded, memory]).

%% The native side counts in microseconds, hooks are measured in nanoseconds.
-define(MICRO, 6).
-define(NANO, 9).

%% The counters of each endpoint come from one snapshot. Idle: whose histograms are read, although nothing is in them.
-spec read([endpoint()], Idle :: all | none) -> {[figures()], node_figures()}.
read(Endpoints, Idle) ->
    {[{Endpoint, Module:stats(Host), seen(Endpoint, Idle)} || {Host, Module} = Endpoint <- Endpoints],
     #{now => os:system_time(millisecond),
       info => mod_offline_post_native:ask(fun mod_offline_post_nif:info/0, undefined),
       hooks => mod_offline_post_hook_cost:counts(),
       incidents => mod_offline_post_incidents:counts()}}.

-spec seen(endpoint(), all | none) -> map() | undefined.
seen({Host, Module}, Idle) ->
    Ask = fun() -> mod_offline_post_nif:observe(mod_offline_post_endpoint:key(Host, Module)) end,
    case mod_offline_post_native:ask(Ask, undefined) of
        #{} = Observed when Idle =:= none -> maps:filter(fun(_, Value) -> not is_empty(Value) end, Observed);
        Observed -> Observed
    end.

%% A histogram of nothing.
-spec is_empty(term()) -> boolean().
is_empty({[_ | _], [_ | _] = Counts, 0}) -> lists:all(fun(Count) -> Count =:= 0 end, Counts);
is_empty(_) -> false.

-spec families([figures()], node_figures()) -> [family()].
families(Figures, Node) ->
    of_endpoints(Figures, Node) ++ of_attempts(Figures) ++ of_node(Figures, Node).

%%% Of each endpoint

-spec of_endpoints([figures()], node_figures()) -> [family()].
of_endpoints(Figures, #{now := Now}) ->
    Count = fun(Type, Name, Key, Help) -> {Name, Type, <<>>, Help, stats(Figures, Key)} end,
    [{<<"offline_post_running">>, gauge, <<>>,
      <<"Whether the module runs for the virtual host; if not, ejabberd's log says why.">>,
      [{labels(Endpoint), truth(is_running(Stats))} || {Endpoint, Stats, _} <- Figures]},
     {<<"offline_post_endpoint_state">>, gauge, <<>>, <<"1 for the state that the endpoint is in, 0 for the others.">>,
      [{labels(Endpoint) ++ [{<<"state">>, name(State)}], truth(Is =:= State)}
       || {Endpoint, #{state := Is}, _} <- Figures, State <- ?STATES]},
     Count(counter, <<"offline_post_accepted">>, accepted,
           <<"Events accepted: delivered, pending, dead, cancelled and purged ones together.">>),
     Count(counter, <<"offline_post_delivered">>, delivered, <<"Events that the backend has taken.">>),
     Count(counter, <<"offline_post_cancelled">>, cancelled,
           <<"Events withdrawn, collapsed into a later one, or dropped by an operator.">>),
     Count(counter, <<"offline_post_purged">>, purged,
           <<"Events let go of: dead letters past their retention, and those of removed accounts.">>),
     Count(counter, <<"offline_post_rejected">>, rejected,
           <<"Events not accepted, because the queue or the disk was full.">>),
     Count(counter, <<"offline_post_limited">>, limited, <<"Events not accepted, because they were over max_rate.">>),
     Count(counter, <<"offline_post_duplicates">>, duplicates,
           <<"Messages not posted, because they were posted before.">>),
     Count(counter, <<"offline_post_vetoed">>, vetoed,
           <<"Messages not posted, because a handler of offline_post_event said so.">>),
     Count(counter, <<"offline_post_retries">>, retries, <<"Attempts for an event that failed and are repeated.">>),
     Count(counter, <<"offline_post_given_up">>, given_up,
           <<"Events that became dead letters, since the node has started.">>),
     Count(gauge, <<"offline_post_pending">>, pending, <<"Events that wait or are in flight.">>),
     {<<"offline_post_pending_bytes">>, gauge, <<"bytes">>, <<"How large they are.">>, stats(Figures, pending_bytes)},
     {<<"offline_post_queue_limit">>, gauge, <<>>, <<"Pending events beyond which new ones are rejected.">>,
      observed(Figures, queue_limit)},
     {<<"offline_post_queue_limit_bytes">>, gauge, <<"bytes">>,
      <<"Size of the pending events beyond which new ones are rejected.">>, observed(Figures, queue_bytes)},
     Count(gauge, <<"offline_post_in_flight">>, in_flight, <<"Of the pending events, those that are in flight.">>),
     Count(gauge, <<"offline_post_recipients_waiting">>, recipients_waiting,
           <<"Recipients that wait behind a pending event that has failed.">>),
     Count(gauge, <<"offline_post_out_of_order">>, out_of_order,
           <<"Of the pending events, those that left their recipient's order because the backend keeps failing them.">>),
     Count(gauge, <<"offline_post_dead_letters">>, dead, <<"Events that failed for good and are kept.">>),
     {<<"offline_post_oldest_pending_age_seconds">>, gauge, <<"seconds">>,
      <<"How long ago the oldest pending event was accepted; 0 if none is pending.">>,
      [{labels(Endpoint), {age(Oldest, Now), 3}} || {Endpoint, _, #{oldest_pending := Oldest}} <- Figures]},
     {<<"offline_post_concurrency">>, gauge, <<>>,
      <<"Requests that may be in flight now to the backend: 1 while it is probed, 0 while it is broken or paused.">>,
      observed(Figures, concurrency)},
     {<<"offline_post_max_connections">>, gauge, <<>>, <<"The most that they may be.">>,
      observed(Figures, max_connections)}].

-spec of_attempts([figures()]) -> [family()].
of_attempts(Figures) ->
    [{<<"offline_post_attempts">>, counter, <<>>,
      <<"Attempts that ended, since the node has started, by what came of them.">>,
      [{labels(Endpoint) ++ [{<<"class">>, name(Class)}], maps:get(Class, Attempts, 0)}
       || {Endpoint, _, #{attempts := Attempts}} <- Figures, Class <- ?CLASSES]},
     {<<"offline_post_attempt_duration_seconds">>, histogram, <<"seconds">>,
      <<"Time from sending a request to its answer, since the node has started.">>,
      [{labels(Endpoint), histogram(Histogram, ?MICRO)} || {Endpoint, _, #{attempt_us := Histogram}} <- Figures]},
     {<<"offline_post_delivery_duration_seconds">>, histogram, <<"seconds">>,
      <<"Time from the acceptance of an event to its delivery, since the node has started.">>,
      [{labels(Endpoint), histogram(Histogram, ?MICRO)} || {Endpoint, _, #{delivery_us := Histogram}} <- Figures]}].

-spec stats([figures()], atom()) -> [mod_offline_post_openmetrics:sample()].
stats(Figures, Key) ->
    [{labels(Endpoint), maps:get(Key, Stats)} || {Endpoint, #{} = Stats, _} <- Figures, is_map_key(Key, Stats)].

-spec observed([figures()], atom()) -> [mod_offline_post_openmetrics:sample()].
observed(Figures, Key) ->
    [{labels(Endpoint), maps:get(Key, Observed)} ||
        {Endpoint, _, #{} = Observed} <- Figures, is_map_key(Key, Observed)].

-spec is_running(map() | undefined) -> boolean().
is_running(#{state := State}) -> State =/= stopped;
is_running(undefined) -> false.

%% Not below 0 when the clock was set back.
-spec age(integer(), integer()) -> non_neg_integer().
age(0, _Now) -> 0;
age(Since, Now) -> max(0, Now - Since).

%%% Of the node

-spec of_node([figures()], node_figures()) -> [family()].
of_node(Figures, #{info := Info, hooks := #{runs := Runs, waits := Waits}, incidents := Incidents}) ->
    Incident = fun(Name, Key, Help) ->
                       {Name, counter, <<>>, Help, [{[], maps:get(Key, Incidents)} || is_map_key(Key, Incidents)]}
               end,
    %% One for the node, but it is told with an endpoint.
    Spools = lists:sublist([{Spool, Bytes} || {_, #{spool := Spool, spool_bytes := Bytes}, _} <- Figures], 1),
    [{<<"offline_post_spool_state">>, gauge, <<>>, <<"1 for the state that the spool is in, 0 for the others.">>,
      [{[{<<"state">>, name(Spool)}], truth(Is =:= Spool)} || {Is, _} <- Spools, Spool <- ?SPOOLS]},
     {<<"offline_post_spool_bytes">>, gauge, <<"bytes">>, <<"How large the spool's file is.">>,
      [{[], Bytes} || {_, Bytes} <- Spools]},
     {<<"offline_post_commit_duration_seconds">>, histogram, <<"seconds">>,
      <<"Time that each transaction of the spool took.">>,
      [{[], histogram(Histogram, ?MICRO)} || #{commit_us := Histogram} <- [Info]]},
     {<<"offline_post_service_longest_turn_seconds">>, gauge, <<"seconds">>,
      <<"The longest time that the delivery thread worked at a stretch, within the last one to two minutes.">>,
      [{[], {Longest, ?MICRO}} || #{longest_turn_us := Longest} <- [Info]]},
     {<<"offline_post_hook_duration_seconds">>, histogram, <<"seconds">>,
      <<"Time that each run of a hook's handler cost the session or room it ran in, waits for a commit left out.">>,
      [{[], histogram(Runs, ?NANO)}]},
     {<<"offline_post_sync_commit_wait_seconds">>, histogram, <<"seconds">>,
      <<"Time that sessions waited for a commit, because of sync_commit.">>, [{[], histogram(Waits, ?NANO)}]},
     Incident(<<"offline_post_hook_crashes">>, hook_crashes, <<"Messages not handed over because of a defect.">>),
     Incident(<<"offline_post_commit_timeouts">>, commit_timeouts,
              <<"Commits that sync_commit did not wait for any longer.">>),
     Incident(<<"offline_post_uncommitted">>, uncommitted,
              <<"Events for which sync_commit got no commit, because the disk refuses.">>),
     Incident(<<"offline_post_member_overflows">>, member_overflows,
              <<"Messages of rooms not looked at for absent members, because too many waited.">>),
     {<<"offline_post_build">>, info, <<>>, <<"The versions of what runs.">>,
      [{[{<<"version">>, Version}, {<<"curl">>, Curl}, {<<"sqlite">>, Sqlite}], 1}
       || #{version := Version, curl := Curl, sqlite := Sqlite} <- [Info]]}].

-spec histogram(mod_offline_post_hook_cost:histogram(), Digits :: pos_integer()) ->
          mod_offline_post_openmetrics:value().
histogram({Bounds, Counts, Sum}, Digits) ->
    {histogram, [{Bound, Digits} || Bound <- Bounds], Counts, {Sum, Digits}}.

-spec labels(endpoint()) -> mod_offline_post_openmetrics:labels().
labels({Host, Module}) ->
    [{<<"vhost">>, Host}, {<<"module">>, name(Module)}].

-spec name(atom()) -> binary().
name(Atom) -> atom_to_binary(Atom, utf8).

-spec truth(boolean()) -> 0..1.
truth(true) -> 1;
truth(false) -> 0.
