%% From the figures of all rounds to the table and the JSON file.
-module(offline_post_bench_report).

-export([write/2]).

-type bound() :: {at_most | at_least, number()}.

%% Rows of the table, in its order: figure, unit's digits, target.
-spec rows() -> [{atom(), 0..2, bound() | none}].
rows() ->
    [{submit_p50_us, 2, {at_most, 3}},
     {submit_idle_p50_us, 2, {at_most, 40}},
     {hook_p50_us, 2, {at_most, 3}},
     {hook_p99_us, 2, {at_most, 50}},
     {timer_p50_us, 2, none},
     {deliver_per_s, 0, none},
     {deliver_vs_curl_floor, 2, {at_least, 0.75}},
     {deliver_vs_httpc, 2, {at_least, 3}},
     {deliver_cpu_us, 2, none},
     {deliver_cpu_vs_curl_floor, 2, {at_most, 1.6}},
     {deliver_durable_per_s, 0, none},
     {deliver_durable_vs_memory, 2, {at_least, 0.75}},
     {deliver_durable_cpu_us, 2, none},
     {deliver_durable_more_cpu_us, 2, {at_most, 20}},
     {paced_cpu_us, 1, none},
     {paced_slow_cpu_us, 1, none},
     {paced_slow_vs_prompt, 2, {at_most, 2}},
     {slow_sync_per_s, 0, none},
     {slow_sync_ratio, 2, {at_least, 0.6}},
     {commit_per_message_us, 2, none},
     {hook_durable_p50_us, 2, {at_most, 10}},
     {hook_durable_p99_us, 2, {at_most, 50}},
     {hook_durable_vs_memory, 2, {at_most, 1.1}},
     {sync_commit_p50_us, 0, none},
     {sync_commit_p99_us, 0, none},
     {sync_commit_vs_floor, 2, {at_most, 1.5}},
     {commit_floor_p50_us, 0, none},
     {commit_floor_p99_us, 0, none},
     {drain_1m_s, 1, none},
     {drain_1m_vs_steady, 2, {at_least, 0.7}},
     {rss_mb_at_1m_backlog, 1, {at_most, 64}},
     {restart_1m_first_post_s, 2, {at_most, 2}},
     {batch100_events_per_s, 0, {at_least, 40000}},
     {batch100_vs_unbatched, 2, {at_least, 3}},
     {batch100_drain_per_s, 0, {at_least, 70000}},
     {http2_deliver_per_s, 0, none},
     {http2_deliver_cpu_us, 2, none},
     {http2_vs_h2load, 2, {at_least, 0.4}},
     {http2_vs_curl_floor, 2, none},
     {curl_http2_floor_vs_h2load, 2, none},
     {http1_per_s, 0, none},
     {tls_http1_per_s, 0, none},
     {tls_http1_vs_plain, 2, none},
     {tls_http1_vs_curl_floor, 2, none},
     {curl_tls_floor_per_s, 0, none},
     {tls_new_connection_all_per_s, 0, none},
     {tls_new_connection_one_per_s, 0, none},
     {tls_new_connection_vs_one_authority, 2, {at_least, 0.8}},
     {sync_commit_p99_under_tls_ms, 1, {at_most, 50}},
     {service_longest_turn_ms, 2, {at_most, 5}},
     {service_longest_turn_wall_ms, 2, none},
     {format_form_ns, 0, {at_most, 1000}},
     {format_json_ns, 0, {at_most, 2500}},
     {sign_v1_ns, 0, none},
     {sign_v1a_ns, 0, none},
     {router_ratio_dead_backend, 2, {at_most, 1.1}},
     {router_p50_us, 2, none},
     {healthy_stanza_added_us, 2, {at_most, 1}},
     {muc_members_10k_ms, 2, {at_most, 5}},
     {rss_mb_at_100k_backlog, 2, {at_most, 100}},
     {rss_mb_large_backlog, 1, {at_most, 100}},
     {cpu_us_10_endpoints, 1, none},
     {cpu_us_1000_endpoints_ratio, 2, {at_most, 1.1}},
     {deliver_1_endpoint_per_s, 0, none},
     {deliver_5000_endpoints_ratio, 2, {at_least, 0.9}},
     {start_10000_endpoints_s, 2, {at_most, 1}},
     {rss_mb_1000_endpoints, 1, {at_most, 60}},
     {boot_500_hosts_ratio, 2, {at_most, 1.5}},
     {boot_500_hosts_s, 2, none},
     {reload_500_hosts_ratio, 2, {at_most, 1.5}},
     {reload_500_hosts_s, 2, none},
     {reload_500_hosts_changed_ratio, 2, none},
     {reload_500_hosts_changed_s, 2, none},
     {submit_256k_cyrillic_us, 0, {at_most, 1000}},
     {submit_256k_emoji_us, 0, none},
     {submit_256k_invalid_us, 0, none},
     {submit_256k_floor_us, 0, none},
     {gzip_us_4k, 0, {at_most, 15}},
     {gzip_floor_us_4k, 0, none},
     {curl_floor_per_s, 0, none},
     {curl_floor_cpu_us, 2, none},
     {curl_http2_floor_per_s, 0, none},
     {curl_http2_floor_cpu_us, 2, none},
     {wrk_per_s, 0, none},
     {h2load_per_s, 0, none},
     {httpc_per_s, 0, none},
     {httpc_cpu_us, 2, none},
     {httpc_hook_p50_us, 2, none}].

%% Rounds: maps of figures; a figure's value is the median over the rounds that have it.
-spec write(#{json := string(), about := string(), _ => _}, [#{atom() => number()}]) -> ok.
write(#{json := Json, about := About}, Rounds) ->
    Values = [{Name, Digits, Bound, lists:sort([maps:get(Name, Round) || Round <- Rounds, is_map_key(Name, Round)])}
              || {Name, Digits, Bound} <- rows()],
    io:format("~n~ts~n", [About]),
    io:format("~n~-35s ~10s  ~-12s ~-5s ~s~n", ["figure", "median", "target", "met?", "lowest .. highest"]),
    lists:foreach(fun print/1, Values),
    Missed = length([missed || {_, _, Bound, Sorted} <- Values, met(Bound, median(Sorted)) =:= "NO"]),
    Targets = length([target || {_, _, Bound} <- rows(), Bound =/= none]),
    io:format("~n~B of ~B targets met; written to ~ts~n", [Targets - Missed, Targets, Json]),
    Lines = [io_lib:format("  \"~s\": ~s", [Name, number(4, median(Sorted))]) || {Name, _, _, Sorted} <- Values],
    ok = file:write_file(Json, ["{\n", lists:join(",\n", Lines), "\n}\n"]).

print({Name, Digits, Bound, Sorted}) ->
    Median = median(Sorted),
    io:format("~-35s ~10s  ~-12s ~-5s ~s .. ~s~n",
              [Name, number(Digits, Median), target(Bound), met(Bound, Median), number(Digits, hd(Sorted)),
               number(Digits, lists:last(Sorted))]).

target(none) -> "";
target({at_most, Limit}) -> io_lib:format("<= ~p", [Limit]);
target({at_least, Limit}) -> io_lib:format(">= ~p", [Limit]).

met(none, _) -> "";
met({at_most, Limit}, Value) when Value =< Limit -> "yes";
met({at_least, Limit}, Value) when Value >= Limit -> "yes";
met(_, _) -> "NO".

number(Digits, Value) ->
    float_to_list(float(Value), [{decimals, Digits}]).

median(Sorted) ->
    Length = length(Sorted),
    (lists:nth((Length + 1) div 2, Sorted) + lists:nth(Length div 2 + 1, Sorted)) / 2.
