%% What of the counters is shown, under which name, with a native side that is only terms.
-module(mod_offline_post_figures_tests).

-include_lib("eunit/include/eunit.hrl").

-define(ONE, {<<"a.example">>, mod_offline_post}).
-define(TWO, {<<"a.example">>, mod_available_post}).
-define(LABELS, "{vhost=\"a.example\",module=\"mod_offline_post\"").

stats() ->
    #{accepted => 100, delivered => 70, pending => 11, dead => 10, cancelled => 8, purged => 1, rejected => 3, limited => 4,
      duplicates => 5, vetoed => 6, in_flight => 2, pending_bytes => 1234, attempts => 90, retries => 9, given_up => 12,
      recipients_waiting => 3, out_of_order => 1, state => probing,
      spool => degraded, spool_bytes => 98888, hook_crashes => 21, commit_timeouts => 22, uncommitted => 23, member_overflows => 24}.

observed() ->
    #{state => probing, since => 0, why => <<"HTTP 503">>, oldest_pending => 998500, concurrency => 1, max_connections => 64,
      queue_limit => 1000, queue_bytes => 65536,
      attempts => #{delivered => 70, refused => 7, gone => 1, misconfigured => 2, trouble => 30},
      attempt_us => {[1000, 10000], [3, 4, 5], 123456}, delivery_us => {[1000000], [6, 1], 60500000}, minutes => [], outcomes => []}.

node_figures() ->
    #{now => 1000000,
      info => #{version => <<"1.0">>, curl => <<"8.0">>, sqlite => <<"3.0">>, commit_us => {[500], [8, 0], 3000},
                longest_turn_us => 4500},
      hooks => #{runs => {[1000, 2000], [1, 2, 0], 4500}, waits => {[1000], [0, 1], 5000000}},
      incidents => #{hook_crashes => 21, commit_timeouts => 22, uncommitted => 23, member_overflows => 24}}.

shown_test_() ->
    Page = page([{?ONE, stats(), observed()}], node_figures()),
    [?_assertMatch({_, true}, {Line, lists:member(Line, Page)}) ||
        Line <- [list_to_binary([Name, ?LABELS, More, "} ", Value]) ||
                    {Name, More, Value} <-
                        [{"offline_post_running", "", "1"}, {"offline_post_accepted_total", "", "100"},
                         {"offline_post_delivered_total", "", "70"}, {"offline_post_pending", "", "11"},
                         {"offline_post_dead_letters", "", "10"}, {"offline_post_cancelled_total", "", "8"},
                         {"offline_post_purged_total", "", "1"}, {"offline_post_rejected_total", "", "3"},
                         {"offline_post_limited_total", "", "4"}, {"offline_post_duplicates_total", "", "5"},
                         {"offline_post_vetoed_total", "", "6"}, {"offline_post_in_flight", "", "2"},
                         {"offline_post_pending_bytes", "", "1234"}, {"offline_post_retries_total", "", "9"},
                         {"offline_post_given_up_total", "", "12"}, {"offline_post_recipients_waiting", "", "3"},
                         {"offline_post_out_of_order", "", "1"},
                         {"offline_post_oldest_pending_age_seconds", "", "1.5"}, {"offline_post_concurrency", "", "1"},
                         {"offline_post_max_connections", "", "64"},
                         {"offline_post_queue_limit", "", "1000"}, {"offline_post_queue_limit_bytes", "", "65536"},
                         {"offline_post_endpoint_state", ",state=\"probing\"", "1"},
                         {"offline_post_endpoint_state", ",state=\"healthy\"", "0"},
                         {"offline_post_attempts_total", ",class=\"trouble\"", "30"},
                         {"offline_post_attempts_total", ",class=\"gone\"", "1"},
                         {"offline_post_attempt_duration_seconds_bucket", ",le=\"0.001\"", "3"},
                         {"offline_post_attempt_duration_seconds_bucket", ",le=\"0.01\"", "7"},
                         {"offline_post_attempt_duration_seconds_bucket", ",le=\"+Inf\"", "12"},
                         {"offline_post_attempt_duration_seconds_sum", "", "0.123456"},
                         {"offline_post_delivery_duration_seconds_bucket", ",le=\"1.0\"", "6"},
                         {"offline_post_delivery_duration_seconds_sum", "", "60.5"},
                         {"offline_post_delivery_duration_seconds_count", "", "7"}]]
            ++ [<<"offline_post_spool_state{state=\"degraded\"} 1">>, <<"offline_post_spool_state{state=\"durable\"} 0">>,
                <<"offline_post_spool_bytes 98888">>, <<"offline_post_service_longest_turn_seconds 0.0045">>,
                <<"offline_post_commit_duration_seconds_bucket{le=\"0.0005\"} 8">>,
                <<"offline_post_commit_duration_seconds_sum 0.003">>, <<"offline_post_hook_duration_seconds_bucket{le=\"2e-06\"} 3">>,
                <<"offline_post_hook_duration_seconds_sum 4.5e-06">>, <<"offline_post_sync_commit_wait_seconds_sum 0.005">>,
                <<"offline_post_hook_crashes_total 21">>, <<"offline_post_commit_timeouts_total 22">>,
                <<"offline_post_uncommitted_total 23">>, <<"offline_post_member_overflows_total 24">>,
                <<"offline_post_build_info{version=\"1.0\",curl=\"8.0\",sqlite=\"3.0\"} 1">>]].

%% An age is never negative, and of nothing it is 0.
ages_test_() ->
    [?_assertEqual({Oldest, [list_to_binary(["offline_post_oldest_pending_age_seconds", ?LABELS, "} ", Age])]},
                   {Oldest, [Line || <<"offline_post_oldest", _/binary>> = Line <-
                                         page([{?ONE, stats(), (observed())#{oldest_pending => Oldest}}], node_figures())]}) ||
        {Oldest, Age} <- [{0, "0.0"}, {1000000, "0.0"}, {1000001, "0.0"}, {999999, "0.001"}, {940000, "60.0"}]].

%% Nobody can be asked: then what is known is that it does not run.
nothing_native_test() ->
    Page = page([{?ONE, undefined, undefined}], (node_figures())#{info => undefined}),
    ?assertEqual([list_to_binary(["offline_post_running", ?LABELS, "} 0"])], [Line || Line <- Page, binary:match(Line, <<"vhost">>) =/= nomatch]),
    ?assert(lists:member(<<"offline_post_hook_crashes_total 21">>, Page)),
    ?assertEqual([], [Line || Line <- Page, re:run(Line, "spool|build|commit_duration") =/= nomatch]).

%% A sibling has no hooks on messages, and not its own counters of them; the node's are there once.
sibling_test() ->
    Sibling = maps:without([duplicates, vetoed, hook_crashes, commit_timeouts, uncommitted, member_overflows], stats()),
    Page = page([{?ONE, stats(), observed()}, {?TWO, Sibling, observed()}], node_figures()),
    Of = fun(Name) -> length([Line || Line <- Page, binary:match(Line, list_to_binary([Name, "{"])) =:= {0, length(Name) + 1}]) end,
    ?assertEqual([2, 1, 1, 10, 10, 3, 0], [Of(Name) || Name <- ["offline_post_accepted_total", "offline_post_duplicates_total", "offline_post_vetoed_total",
                                                               "offline_post_endpoint_state", "offline_post_attempts_total", "offline_post_spool_state",
                                                               "offline_post_spool_bytes"]]),
    ?assertEqual(1, length([Line || Line <- Page, Line =:= <<"offline_post_spool_bytes 98888">>])).

%% Stopped is not running.
stopped_test() ->
    Page = page([{?ONE, (stats())#{state => stopped}, observed()}], node_figures()),
    ?assert(lists:member(list_to_binary(["offline_post_running", ?LABELS, "} 0"]), Page)).

%% The samples' lines.
page(Figures, Node) ->
    Text = iolist_to_binary(mod_offline_post_openmetrics:page(text, mod_offline_post_figures:families(Figures, Node))),
    [Line || <<"offline", _/binary>> = Line <- binary:split(Text, <<"\n">>, [global])].
