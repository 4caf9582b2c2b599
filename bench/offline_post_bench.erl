%% The benchmark, run inside a private ejabberd by scripts/bench: rounds of measurements beside each other, their
%% medians and the medians of their ratios, round by round. That node keeps its outbox in memory; another one, which
%% is asked for the same measurements, has a spool.
-module(offline_post_bench).

-export([run/1, deliver/1, hooks/0, sync_commits/0, backlog/1, config/1, settled_bytes/0]).

-define(ROUNDS, 7).
-define(CONNECTIONS, 32).

%% Events in a request; waiting in the spool before the first leaves.
-define(BATCH, 100).
-define(STORED, 200000).
%% Requests on one HTTP/2 connection at a time, as many as nginx takes.
-define(STREAMS, 100).
-define(STREAMED, 20000).
%% Messages a second, evenly; the backend that takes a second has so many requests in hand.
-define(PACED_PER_S, 500).
-define(PACED_MS, 3000).

%% Calls per round in a loop, calls per round 2 ms apart, messages per round and vhost through the router.
-define(LOOP, 20000).
-define(PACED, 400).
%% Commits one by one, this many ms apart; messages that are committed at once.
-define(COMMITS, 200).
-define(COMMIT_PAUSE_MS, 5).
-define(COMMITTED_AT_ONCE, 20000).
-define(ROUTED, 1000).
-define(ROUTED_IN_TURN, 50).
-define(WARM_MS, 300).
-define(RUN_MS, 2000).
-define(DRAIN_MS, 30000).

-define(BACKLOG, 100000).
-define(BACKLOG_RUNS, 5).
-define(HANDSHAKE_RUNS, 5).

%% The vhosts of scripts/bench: posting to nginx, posting where nobody listens, not posting; on the node with a spool
%% the first, and one whose hook waits for the commit.
-define(LIVE, <<"live.localhost">>).
-define(DEAD, <<"dead.localhost">>).
-define(PLAIN, <<"plain.localhost">>).
-define(SYNC, <<"sync.localhost">>).
%% On the node without a spool: tells the members of rooms.
-define(MEMBERS, <<"members.localhost">>).

%% durable: the node with a spool. node_script: scripts/lib/ejabberd-node; modules: what such a node loads. spool_bench, slow_sync: bench's program and library. scratch: an empty directory.
%% outage: the figures of the long outage, which were measured before.
-type options() :: #{url := string(), floor := string(), wrk_script := string(), token := binary(), ebins := [string()],
                     dead_url := binary(), tls_bench := string(), prompt_url := string(), slow_url := string(), tls_url := string(), ca_file := string(), format_bench := string(), durable := node(), spool_bench := string(), slow_sync := string(),
                     scratch := string(), scale_bench := string(), node_script := string(), modules := string(), outage := figures(), json := string(), about := string(),
                     run_ms => pos_integer()}.
-type figures() :: #{atom() => number()}.

-spec run(options()) -> done.
run(Options) ->
    {ok, _} = application:ensure_all_started(inets),
    offline_post_bench_load:prepare([?LIVE, ?DEAD, ?PLAIN]),
    ok = on_durable(Options, offline_post_bench_load, prepare, [[?LIVE, ?SYNC]]),
    _ = round(Options#{run_ms => 500}, 0, "warming up"),
    Rounds = [round(Options#{run_ms => ?RUN_MS}, N, io_lib:format("round ~B of ~B", [N, ?ROUNDS]))
              || N <- lists:seq(1, ?ROUNDS)],
    say("100,000 waiting events, ~B times in a VM of their own", [?BACKLOG_RUNS]),
    Backlogs = [#{rss_mb_at_100k_backlog => backlog_mb(Options)} || _ <- lists:seq(1, ?BACKLOG_RUNS)],
    say("new connections with TLS", []),
    Handshakes = [handshakes(Options) || _ <- lists:seq(1, ?HANDSHAKE_RUNS)],
    say("many endpoints", []),
    Scales = offline_post_bench_scale:figures(Options),
    say("500 virtual hosts with Debian's configuration, and 1,000 endpoints in a VM of their own", []),
    Hosts = offline_post_bench_hosts:measure(Options),
    ok = offline_post_bench_report:write(Options, [maps:get(outage, Options) | Rounds ++ Handshakes ++ Backlogs ++ Scales ++ Hosts]),
    done.

%% Every figure of one round. What is compared changes places from round to round.
round(Options, N, Title) ->
    say("~ts", [Title]),
    Throughput = [fun() -> curl_floor(Options) end,
                  fun() -> deliver(Options) end,
                  fun() -> durable(on_durable(Options, ?MODULE, deliver, [Options])) end,
                  fun() -> httpc(Options) end,
                  fun() -> wrk(Options) end],
    Latency = [fun() -> latency(Options) end,
               fun() -> durable(on_durable(Options, ?MODULE, hooks, [])) end,
               fun() -> on_durable(Options, ?MODULE, sync_commits, []) end,
               fun() -> commit_floor(Options) end,
               fun() -> router(N) end,
               fun() -> offline_post_bench_hooks:healthy(?LIVE, ?PLAIN) end,
               fun() -> offline_post_bench_hooks:room(?MEMBERS) end],
    Disks = [fun() -> disk(Options, [], [], fast_sync_per_s) end,
             fun() -> disk(Options, [{"LD_PRELOAD", maps:get(slow_sync, Options)}], [], slow_sync_per_s) end,
             fun() -> disk(Options, [], ["batch=" ++ integer_to_list(?BATCH)], batch100_events_per_s) end,
             fun() -> drain_batches(Options) end,
             fun() -> paced(Options, prompt_url, paced_cpu_us) end,
             fun() -> paced(Options, slow_url, paced_slow_cpu_us) end,
             fun() -> commits(Options) end],
    Streams = [fun() -> http2(Options) end, fun() -> curl_http2_floor(Options) end, fun() -> h2load(Options) end],
    Kept = [fun() -> kept(Options, url, [], http1_per_s) end,
            fun() -> kept(Options, tls_url, tls(Options), tls_http1_per_s) end,
            fun() -> curl_tls_floor(Options) end],
    add_ratios(lists:foldl(fun(Step, Figures) -> maps:merge(Figures, Step()) end, #{},
                           turn_about(N, Throughput) ++ turn_about(N, Disks) ++ turn_about(N, Streams) ++ turn_about(N, Kept)
                           ++ [fun() -> formats(Options) end] ++ Latency)).

add_ratios(#{deliver_per_s := Rate, deliver_cpu_us := Cpu, curl_floor_per_s := FloorRate, curl_floor_cpu_us := FloorCpu,
             httpc_per_s := HttpcRate, deliver_durable_per_s := DurableRate, deliver_durable_cpu_us := DurableCpu,
             hook_p50_us := Hook, hook_durable_p50_us := DurableHook, sync_commit_p50_us := Commit,
             commit_floor_p50_us := CommitFloor, fast_sync_per_s := Fast, slow_sync_per_s := Slow, batch100_events_per_s := Batched,
             paced_cpu_us := Paced, paced_slow_cpu_us := PacedSlow, http1_per_s := Plain, tls_http1_per_s := Tls,
             curl_tls_floor_per_s := TlsFloor, http2_deliver_per_s := Streamed, curl_http2_floor_per_s := StreamFloor, h2load_per_s := H2load} = Figures) ->
    Figures#{deliver_vs_curl_floor => Rate / FloorRate,
             deliver_vs_httpc => Rate / HttpcRate,
             deliver_cpu_vs_curl_floor => Cpu / FloorCpu,
             deliver_durable_vs_memory => DurableRate / Rate,
             deliver_durable_more_cpu_us => DurableCpu - Cpu,
             hook_durable_vs_memory => DurableHook / Hook,
             sync_commit_vs_floor => Commit / CommitFloor,
             slow_sync_ratio => Slow / Fast,
             batch100_vs_unbatched => Batched / Fast,
             paced_slow_vs_prompt => PacedSlow / Paced,
             tls_http1_vs_plain => Tls / Plain,
             tls_http1_vs_curl_floor => Tls / TlsFloor,
             http2_vs_curl_floor => Streamed / StreamFloor,
             curl_http2_floor_vs_h2load => StreamFloor / H2load,
             http2_vs_h2load => Streamed / H2load}.

turn_about(N, List) when N rem 2 =:= 0 -> List;
turn_about(_, List) -> lists:reverse(List).

%%% Throughput, each with the same request, connections and backend

curl_floor(#{url := Url} = Options) ->
    {PerSecond, CpuUs} = floor_of(Options, [], Url, ?CONNECTIONS),
    #{curl_floor_per_s => PerSecond, curl_floor_cpu_us => CpuUs}.

curl_http2_floor(#{tls_url := Url, ca_file := CaFile} = Options) ->
    {PerSecond, CpuUs} = floor_of(Options, ["http2", CaFile], Url, ?STREAMS),
    #{curl_http2_floor_per_s => PerSecond, curl_http2_floor_cpu_us => CpuUs}.

curl_tls_floor(#{tls_url := Url} = Options) ->
    {PerSecond, _} = floor_of(Options, ["http1", maps:get(ca_file, Options)], Url, ?CONNECTIONS),
    #{curl_tls_floor_per_s => PerSecond}.

floor_of(#{floor := Floor, token := Token, run_ms := RunMs}, Mode, Url, InFlight) ->
    Headers = [Name ++ ": " ++ Value || {Name, Value} <- headers()],
    Args = Mode ++ [Url, integer_to_list(InFlight), integer_to_list(?WARM_MS), integer_to_list(RunMs), body(Token) | Headers],
    [PerSecond, CpuUs] = [list_to_float(Text) || Text <- string:lexemes(offline_post_bench_load:execute(Floor, Args), " \n")],
    {PerSecond, CpuUs}.

wrk(#{wrk_script := Script, url := Url, token := Token, run_ms := RunMs}) ->
    Args = ["-t1", "-c" ++ integer_to_list(?CONNECTIONS), "-d" ++ integer_to_list(max(1, RunMs div 1000)) ++ "s",
            "-s", Script, Url, "--", body(Token) | lists:append([[Name, Value] || {Name, Value} <- headers()])],
    Output = offline_post_bench_load:execute("wrk", Args),
    nomatch = re:run(Output, "Non-2xx|Socket errors"),
    {match, [PerSecond]} = re:run(Output, "Requests/sec: *([0-9.]+)", [{capture, [1], list}]),
    #{wrk_per_s => list_to_float(PerSecond)}.

%% From the hook on: one session that keeps some thousand events waiting.
-spec deliver(options()) -> figures().
deliver(#{run_ms := RunMs}) ->
    Feeder = spawn_link(fun() -> feed(0) end),
    {PerSecond, CpuUs} = rate(RunMs, fun() -> counter(delivered) end),
    unlink(Feeder),
    exit(Feeder, kill),
    drain(),
    #{deliver_per_s => PerSecond, deliver_cpu_us => CpuUs}.

feed(I) ->
    case counter(pending) < 10000 of
        true ->
            lists:foreach(fun(J) -> offline_post_bench_load:hook(?LIVE, J) end, lists:seq(I, I + 4999)),
            feed(I + 5000);
        false ->
            timer:sleep(20),
            feed(I)
    end.

%% As many sessions as connections, each waiting for its answers.
httpc(#{url := Url, token := Token, run_ms := RunMs}) ->
    Done = counters:new(1, [write_concurrency]),
    Session = fun Session(I) ->
                  offline_post_bench_load:original(Url, Token, ?LIVE, I),
                  counters:add(Done, 1, 1),
                  Session(I + 1)
              end,
    Sessions = [spawn_link(fun() -> Session(N * 100) end) || N <- lists:seq(1, ?CONNECTIONS)],
    {PerSecond, CpuUs} = rate(RunMs, fun() -> counters:get(Done, 1) end),
    [begin unlink(Pid), exit(Pid, kill) end || Pid <- Sessions],
    timer:sleep(200),
    #{httpc_per_s => PerSecond, httpc_cpu_us => CpuUs}.

%% What Count counts, per second, and this process's CPU time for each, all threads together.
rate(RunMs, Count) ->
    timer:sleep(?WARM_MS),
    {Start, Cpu, Before} = {now_ns(), cpu_ms(), Count()},
    timer:sleep(RunMs),
    {End, CpuEnd, After} = {now_ns(), cpu_ms(), Count()},
    {(After - Before) * 1.0e9 / (End - Start), (CpuEnd - Cpu) * 1000 / (After - Before)}.

cpu_ms() ->
    {Total, _} = statistics(runtime),
    Total.

%%% Latency

%% The hook alone, the node's outbox in between.
-spec hooks() -> figures().
hooks() ->
    Times = drained(fun() -> samples(?LOOP, 0, fun(I) -> offline_post_bench_load:hook(?LIVE, I) end) end),
    #{hook_p50_us => quantile(0.5, Times), hook_p99_us => quantile(0.99, Times)}.

latency(#{url := Url, token := Token}) ->
    Submit = fun(I) -> {ok, _} = mod_offline_post_nif:submit(key(?LIVE), offline_post_bench_load:ready_event(?LIVE, I)) end,
    Original = fun(I) -> offline_post_bench_load:original(Url, Token, ?LIVE, I) end,
    Hooks = hooks(),
    Hooks#{submit_p50_us => quantile(0.5, drained(fun() -> samples(?LOOP, 0, Submit) end)),
           submit_idle_p50_us => quantile(0.5, drained(fun() -> samples(?PACED, 2, Submit) end)),
           timer_p50_us => quantile(0.5, samples(?LOOP, 0, fun(_) -> ok end)),
           httpc_hook_p50_us => quantile(0.5, samples(?LOOP div 10, 0, Original))}.

%% Sorted times (ns) of Count calls, PauseMs apart, in a process of its own. They are kept outside of its heap.
%% Nothing is subtracted: timer_p50_us is what an empty call takes.
samples(Count, PauseMs, Do) ->
    Times = atomics:new(Count, []),
    {_, Ref} = spawn_monitor(fun() -> sample(Count, PauseMs, Do, Times) end),
    receive {'DOWN', Ref, process, _, normal} -> ok end,
    lists:sort([atomics:get(Times, I) || I <- lists:seq(1, Count)]).

sample(0, _, _, _) ->
    ok;
sample(I, PauseMs, Do, Times) ->
    PauseMs =:= 0 orelse timer:sleep(PauseMs),
    Start = now_ns(),
    _ = Do(I),
    atomics:put(Times, I, now_ns() - Start),
    sample(I - 1, PauseMs, Do, Times).

quantile(Q, Sorted) ->
    lists:nth(max(1, ceil(Q * length(Sorted))), Sorted) / 1000.

%% A message to an offline user through ejabberd, which stores it: with us and a dead backend, and without us. In
%% short turns, so that both meet the same disk and neighbours.
router(N) ->
    Turns = [{Host, Turn} || Turn <- lists:seq(N, N + ?ROUTED div ?ROUTED_IN_TURN - 1),
                             Host <- turn_about(Turn, [?PLAIN, ?DEAD])],
    Times = [{Host, route(Host, Turn * ?ROUTED_IN_TURN)} || {Host, Turn} <- Turns],
    [With, Without] = [quantile(0.5, lists:sort(lists:append([Ns || {H, Ns} <- Times, H =:= Host])))
                       || Host <- [?DEAD, ?PLAIN]],
    #{router_ratio_dead_backend => With / Without, router_p50_us => Without}.

route(Host, First) ->
    samples(?ROUTED_IN_TURN, 0, fun(I) -> ejabberd_router:route(offline_post_bench_load:message(Host, First + I)) end).

%%% The disk

%% The hook of a vhost with sync_commit, in a process that looks like the sender's session, as nobody else waits.
-spec sync_commits() -> figures().
sync_commits() ->
    Hook = fun(I) ->
                   _ = get('$initial_call') =:= {xmpp_stream_in, init, 1} orelse offline_post_bench_load:be_session(?SYNC),
                   offline_post_bench_load:hook(?SYNC, I)
           end,
    Times = samples(?COMMITS, ?COMMIT_PAUSE_MS, Hook),
    #{sync_commit_p50_us => quantile(0.5, Times), sync_commit_p99_us => quantile(0.99, Times)}.

commit_floor(Options) ->
    [P50, P99] = spool_bench(Options, [], fun(Dir) -> ["floor", Dir, integer_to_list(?COMMITS),
                                                       integer_to_list(?COMMIT_PAUSE_MS)] end),
    #{commit_floor_p50_us => P50, commit_floor_p99_us => P99}.

%% Saturation without a BEAM: what a slow disk takes away, what batches give.
disk(#{url := Url} = Options, Env, Extra, Name) ->
    [PerSecond, _, _] = spool_bench(Options, Env, fun(Dir) -> saturated(Options, Url, Dir, ?CONNECTIONS, Extra) end),
    #{Name => PerSecond}.

saturated(#{run_ms := RunMs}, Url, Dir, Connections, Extra) ->
    ["deliver", Url, Dir, integer_to_list(Connections), integer_to_list(?WARM_MS), integer_to_list(RunMs) | Extra].

%% With a spool. The first answers come after a second.
paced(Options, Url, Name) ->
    [CpuUs] = spool_bench(Options, [], fun(Dir) -> ["paced", maps:get(Url, Options), Dir, integer_to_list(2 * ?PACED_PER_S),
                                                    integer_to_list(?PACED_PER_S), "1500", integer_to_list(?PACED_MS)] end),
    #{Name => CpuUs}.

drain_batches(#{url := Url} = Options) ->
    [PerSecond] = spool_bench(Options, [], fun(Dir) -> ["drain", Url, Dir, integer_to_list(?CONNECTIONS), integer_to_list(?STORED),
                                                        "batch=" ++ integer_to_list(?BATCH)] end),
    #{batch100_drain_per_s => PerSecond}.

%% In memory, on one connection, beside what h2load does on one.
http2(#{tls_url := Url, ca_file := CaFile} = Options) ->
    [PerSecond, CpuUs, _] = spool_bench(Options, [], fun(_) -> saturated(Options, Url, "-", ?STREAMS, ["http2", "ca=" ++ CaFile]) end),
    #{http2_deliver_per_s => PerSecond, http2_deliver_cpu_us => CpuUs}.

%% In memory, over connections that are kept, HTTP/1.1.
kept(Options, Url, Extra, Name) ->
    [PerSecond, _, _] = spool_bench(Options, [], fun(_) -> saturated(Options, maps:get(Url, Options), "-", ?CONNECTIONS, Extra) end),
    #{Name => PerSecond}.

tls(#{ca_file := CaFile}) -> ["http1", "ca=" ++ CaFile].

h2load(#{tls_url := Url, token := Token, scratch := Scratch}) ->
    Data = filename:join(Scratch, "body"),
    ok = file:write_file(Data, body(Token)),
    Headers = lists:append([["-H", Name ++ ": " ++ Value] || {Name, Value} <- headers()]),
    Output = offline_post_bench_load:execute("h2load", ["-c", "1", "-m", integer_to_list(?STREAMS), "-n", integer_to_list(?STREAMED),
                                                        "-d", Data | Headers] ++ [Url]),
    Succeeded = io_lib:format(" ~B succeeded", [?STREAMED]),
    {match, _} = re:run(Output, Succeeded),
    {match, [PerSecond]} = re:run(Output, "([0-9.]+) req/s", [{capture, [1], list}]),
    #{h2load_per_s => list_to_float(PerSecond)}.

%% Formats and signatures alone: of its lines, each a figure and its value, those that the table shows.
formats(#{format_bench := Program}) ->
    Lines = [string:lexemes(Line, " ") || Line <- string:lexemes(offline_post_bench_load:execute(Program, []), "\n")],
    maps:from_list([{Figure, list_to_integer(Value)} || [Name, Value] <- Lines,
                                                        Figure <- [format_form_ns, format_json_ns, sign_v1_ns, sign_v1a_ns, gzip_us_4k,
                                                                   gzip_floor_us_4k, submit_256k_cyrillic_us, submit_256k_emoji_us, submit_256k_invalid_us,
                                                                   submit_256k_floor_us],
                                                        atom_to_list(Figure) =:= Name]).

%% A backend that closes each connection: bench's program makes it, with authorities of its own.
handshakes(#{tls_bench := Program, scratch := Scratch}) ->
    Output = offline_post_bench_load:execute(Program, [Scratch, integer_to_list(?RUN_MS)]),
    Lines = [string:lexemes(Line, " ") || Line <- string:lexemes(Output, "\n")],
    Figures = #{tls_new_connection_one_per_s := One, tls_new_connection_all_per_s := All} =
        maps:from_list([{list_to_atom(Name), list_to_float(Value)} || [Name, Value] <- Lines]),
    Figures#{tls_new_connection_vs_one_authority => All / One}.

commits(#{url := Url} = Options) ->
    [Us] = spool_bench(Options, [], fun(Dir) -> ["commit", Url, Dir, integer_to_list(?COMMITTED_AT_ONCE)] end),
    #{commit_per_message_us => Us}.

%% What it prints, in a directory of its own.
spool_bench(#{spool_bench := Program, scratch := Scratch}, Env, Args) ->
    Dir = filename:join(Scratch, "spool"),
    ok = file:make_dir(Dir),
    Output = offline_post_bench_load:execute(Program, Args(Dir), Env),
    ok = file:del_dir_r(Dir),
    [list_to_float(Text) || Text <- string:lexemes(Output, " \n")].

%%% Memory

backlog_mb(#{ebins := Ebins, dead_url := Url}) ->
    Call = io_lib:format("offline_post_bench:backlog(~p)", [Url]),
    Args = ["-noinput", "-boot", "start_clean"] ++ lists:append([["-pa", Dir] || Dir <- Ebins]) ++ ["-eval", lists:flatten(Call)],
    list_to_float(string:trim(offline_post_bench_load:execute("erl", Args))).

%% In a fresh VM: prints the growth of the process in MB while 100,000 events, each to another user, come to wait.
-spec backlog(binary()) -> no_return().
backlog(Url) ->
    Key = key(?DEAD),
    {ok, _} = mod_offline_post_nif:configure(Key, config(Url)),
    Submit = fun(I) -> {ok, _} = mod_offline_post_nif:submit(Key, offline_post_bench_load:event(?DEAD, I)) end,
    lists:foreach(Submit, lists:seq(1, 100)),
    Before = settled_bytes(),
    lists:foreach(Submit, lists:seq(101, 100 + ?BACKLOG)),
    After = settled_bytes(),
    #{pending := Pending} = mod_offline_post_nif:stats(Key),
    true = Pending =:= ?BACKLOG + 100,
    io:format("~.2f~n", [(After - Before) / 1.0e6]),
    halt(0).

%% In memory; all else as by default.
-spec config(Url :: binary()) -> mod_offline_post_nif:config().
config(Url) ->
    #{post_url => Url, auth_token => <<>>, timeout => 10000, connect_timeout => 5000, connection_max_age => 300000,
      max_connections => ?CONNECTIONS, queue_limit => 1000000, queue_bytes => 1 bsl 30,
      tls_verify => true, ca_file => <<>>, spool => false, spool_dir => <<>>, spool_min_free => 0,
      retry_schedule => [1000], max_age => 86400000, max_ages => [], order => recipient,
      dead_letter_retention => 604800000, dead_letter_limit => 100000, collapse_interval => 0,
      rate_sender => 0, rate_recipient => 0, rate_beyond => drop, form => message, client_cert => <<>>,
      client_key => <<>>, proxy => <<>>, http_version => auto, format => form, content_type => <<>>,
      fields => none, room_fields => none, headers => [], auth => body, signing_secrets => [],
      compress => none, traceparent => false, batch => none}.

%% When the native side has taken in what was submitted: for half a second nothing grows any more.
settled_bytes() -> settled_bytes(resident_bytes(), 10).

settled_bytes(Bytes, 0) ->
    Bytes;
settled_bytes(Bytes, Looks) ->
    timer:sleep(50),
    case resident_bytes() of
        More when More > Bytes -> settled_bytes(More, 10);
        _ -> settled_bytes(Bytes, Looks - 1)
    end.

resident_bytes() ->
    erlang:garbage_collect(),
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kib]} = re:run(Status, "VmRSS:\\s+([0-9]+) kB", [{capture, [1], list}]),
    list_to_integer(Kib) * 1024.

%%% Helpers

on_durable(#{durable := Node}, Module, Function, Args) ->
    erpc:call(Node, Module, Function, Args).

%% Figures of the node with a spool: hook_p50_us becomes hook_durable_p50_us, and so on.
durable(Figures) ->
    maps:from_list([{durable_name(Name), Value} || {Name, Value} <- maps:to_list(Figures)]).

durable_name(deliver_per_s) -> deliver_durable_per_s;
durable_name(deliver_cpu_us) -> deliver_durable_cpu_us;
durable_name(hook_p50_us) -> hook_durable_p50_us;
durable_name(hook_p99_us) -> hook_durable_p99_us.

%% Afterwards nothing is pending, so that no measurement carries the load of the one before.
drained(Measure) ->
    Result = Measure(),
    drain(),
    Result.

drain() ->
    drain(now_ns() + ?DRAIN_MS * 1000000).

drain(Deadline) ->
    case counter(pending) of
        0 ->
            timer:sleep(50);
        Pending ->
            now_ns() < Deadline orelse error({not_delivered, Pending}),
            timer:sleep(20),
            drain(Deadline)
    end.

counter(Name) ->
    case mod_offline_post_nif:stats(key(?LIVE)) of
        undefined -> 0;
        Stats -> maps:get(Name, Stats)
    end.

key(Host) ->
    {Host, <<"mod_offline_post">>}.

body(Token) ->
    offline_post_bench_load:body(Token, ?LIVE, 1).

%% Ours, name by name; an id of the usual length.
headers() ->
    #{version := Version} = mod_offline_post_nif:info(),
    [{"Content-Type", "application/x-www-form-urlencoded"},
     {"webhook-id", "msg_0123456789abcdef_12345"},
     {"User-Agent", "mod_offline_post/" ++ binary_to_list(Version)}].

now_ns() ->
    erlang:monotonic_time(nanosecond).

say(Format, Args) ->
    io:format("bench: " ++ Format ++ "~n", Args).
