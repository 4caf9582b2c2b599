%% The main program of a VM that ends while the native side is at work.
-module(offline_post_halt).

-export([main/1]).

main([Url, Authority, Spool, Seed]) ->
    Key = {<<"localhost">>, <<"mod_offline_post">>},
    {ok, _} = mod_offline_post_nif:configure(Key, #{post_url => list_to_binary(Url), auth_token => <<>>, timeout => 5000,
                                               connect_timeout => 5000, connection_max_age => 300000, max_connections => 16, queue_limit => 10000,
                                               queue_bytes => 100000000, tls_verify => true,
                                               ca_file => list_to_binary(Authority), spool => true,
                                               spool_dir => list_to_binary(Spool), spool_min_free => 0,
                                               retry_schedule => [1000], max_age => 60000, max_ages => [], order => recipient,
                                               dead_letter_retention => 60000, dead_letter_limit => 10,
                                               collapse_interval => 0, rate_sender => 0, rate_recipient => 0,
                                               rate_beyond => drop, form => message, client_cert => <<>>,
                                               client_key => <<>>, proxy => <<>>, http_version => auto, format => form,
                                               content_type => <<>>, fields => none, room_fields => none, headers => [],
                                               auth => body, signing_secrets => [], compress => none, traceparent => false, batch => none}),
    [{ok, _} = mod_offline_post_nif:submit(Key, {<<"text">>, {integer_to_binary(I rem 50), <<"localhost">>, <<>>},
                                                 {<<"bob">>, <<"localhost">>, <<>>}, <<>>, <<"hello">>, <<>>, []}) ||
        I <- lists:seq(1, 500)],
    N = list_to_integer(Seed),
    _ = rand:seed(exsss, N),
    Start = erlang:monotonic_time(millisecond),
    busy(Key, Start, Start + 10000),
    Pause = rand:uniform(60),
    busy(Key, erlang:monotonic_time(millisecond) + Pause, Start + 10000),
    case N rem 4 of
        0 -> init:stop();
        1 -> erlang:halt(0);
        _ -> erlang:halt(0, [{flush, false}])
    end.

%% Returns after NotBefore, at a moment when something is in flight.
busy(Key, NotBefore, Deadline) ->
    NotBefore > erlang:monotonic_time(millisecond) andalso timer:sleep(NotBefore - erlang:monotonic_time(millisecond)),
    case mod_offline_post_nif:stats(Key) of
        #{in_flight := InFlight} when InFlight > 0 -> ok;
        Stats ->
            erlang:monotonic_time(millisecond) < Deadline orelse begin io:format("~p~n", [Stats]), erlang:halt(7) end,
            timer:sleep(1),
            busy(Key, NotBefore, Deadline)
    end.
