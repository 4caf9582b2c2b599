%% Waiting for a condition, with a deadline.
-module(offline_post_wait).

-export([until/1, until/2, until/3]).

until(Condition) ->
    until(Condition, 10000).

until(Condition, Timeout) ->
    until(Condition, Timeout, fun() -> {no_such_thing_within, Timeout, ms} end).

%% Explain makes the reason of the failure.
until(Condition, Timeout, Explain) ->
    poll(Condition, erlang:monotonic_time(millisecond) + Timeout, Explain).

poll(Condition, Deadline, Explain) ->
    case Condition() of
        false ->
            case erlang:monotonic_time(millisecond) > Deadline of
                true -> ct:fail(Explain());
                false ->
                    receive after 20 -> poll(Condition, Deadline, Explain) end
            end;
        Result ->
            Result
    end.
