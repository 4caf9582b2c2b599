%% Hands an event to the native side and, where sync_commit asks for it, waits until it is committed.
-module(mod_offline_post_commit).

-export([submit/2, wait/2]).

%% A disk that takes longer than this (ms) is not waited for.
-define(COMMIT_MS, 1000).

%% Whether the host's submits wait from now on. Where this is kept costs those that do not next to nothing.
-spec wait(binary(), boolean()) -> ok.
wait(Host, true) ->
    persistent_term:put({?MODULE, Host}, true);
wait(Host, false) ->
    _ = persistent_term:erase({?MODULE, Host}),
    ok.

%% A refusal is counted, and logged, on the native side.
-spec submit(binary(), mod_offline_post_nif:event()) -> ok.
submit(Host, Event) ->
    Key = mod_offline_post_endpoint:key(Host),
    case persistent_term:get({?MODULE, Host}, false) andalso is_stream() of
        true ->
            committed(Host, mod_offline_post_await:answer(
                              offline_post_committed, fun() -> submit_sync(Key, Event) end, ?COMMIT_MS));
        false ->
            _ = mod_offline_post_nif:submit(Key, Event),
            ok
    end.

%% Only a stream (of a client, another server or a component: all are xmpp_stream_in) waits: nobody but its own
%% peer waits with it, and it is to its peer that the server will acknowledge the message. A room's process serves
%% everybody in the room, and whoever else routes a message has not asked for anything.
-spec is_stream() -> boolean().
is_stream() ->
    get('$initial_call') =:= {xmpp_stream_in, init, 1}.

-spec submit_sync(mod_offline_post_nif:key(), mod_offline_post_nif:event()) ->
          {ok, reference()} | {error, full | stopped}.
submit_sync(Key, Event) ->
    case mod_offline_post_nif:submit_sync(Key, Event) of
        {ok, _Id, Ref} -> {ok, Ref};
        Error -> Error
    end.

-spec committed(binary(), {ok, durable | volatile} | {error, full | stopped | timeout}) -> ok.
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
committed(_Host, {error, _Refused}) ->
    ok.
