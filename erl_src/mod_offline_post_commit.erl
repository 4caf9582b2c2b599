%% Hands an event to the native side and, where sync_commit asks for it, waits until it is committed.
-module(mod_offline_post_commit).

-export([submit/3]).

%% A disk that takes longer than this (ms) is not waited for.
-define(COMMIT_MS, 1000).

%% Wait: whether the virtual host's policy asks for it. limited: over max_rate, and dropped. refused: full, or stopped.
%% Both are counted on the native side.
-spec submit(binary(), mod_offline_post_nif:event(), Wait :: boolean()) -> ok | limited | refused.
submit(Host, Event, Wait) ->
    Key = mod_offline_post_endpoint:key(Host),
    case Wait andalso is_stream() of
        true ->
            Began = erlang:monotonic_time(nanosecond),
            Answer = mod_offline_post_await:answer(offline_post_committed, fun() -> submit_sync(Key, Event) end, ?COMMIT_MS),
            mod_offline_post_hook_cost:waited(erlang:monotonic_time(nanosecond) - Began),
            committed(Host, Answer);
        false ->
            submitted(mod_offline_post_nif:submit(Key, Event))
    end.

-spec submitted({ok, binary()} | {error, full | stopped | limited}) -> ok | limited | refused.
submitted({ok, _Id}) -> ok;
submitted({error, limited}) -> limited;
submitted({error, _}) -> refused.

%% Only a stream (of a client, another server or a component: all are xmpp_stream_in) waits: nobody but its own
%% peer waits with it, and it is to its peer that the server will acknowledge the message. A room's process serves
%% everybody in the room, and whoever else routes a message has not asked for anything.
-spec is_stream() -> boolean().
is_stream() ->
    get('$initial_call') =:= {xmpp_stream_in, init, 1}.

-spec submit_sync(mod_offline_post_nif:key(), mod_offline_post_nif:event()) ->
          {ok, reference()} | {error, full | stopped | limited}.
submit_sync(Key, Event) ->
    case mod_offline_post_nif:submit_sync(Key, Event) of
        {ok, _Id, Ref} -> {ok, Ref};
        Error -> Error
    end.

-spec committed(binary(), {ok, durable | volatile} | {error, full | stopped | limited | timeout}) ->
          ok | limited | refused.
committed(_Host, {ok, durable}) ->
    ok;
committed(_Host, {ok, volatile}) ->
    %% The native side has logged why.
    mod_offline_post_incidents:count(uncommitted);
committed(Host, {error, timeout}) ->
    mod_offline_post_incidents:report(
      commit_timeouts,
      fun(New) ->
              {warning, "mod_offline_post: ~B commits were not confirmed within ~B ms (for ~ts): the disk is slow, and "
               "those messages were acknowledged before they were safe", [New, ?COMMIT_MS, Host]}
      end);
committed(_Host, {error, _} = Refusal) ->
    submitted(Refusal).
