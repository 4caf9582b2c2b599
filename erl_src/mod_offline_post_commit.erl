%% Hands an event to the native side. Where sync_commit asks for it, the session of the message's sender waits until the
%% event is committed; nobody else does.
-module(mod_offline_post_commit).

-export([hooks/1, c2s_terminated/2, submit/3]).

-include("xmpp.hrl").

%% A disk that takes longer than this (ms) is not waited for.
-define(COMMIT_MS, 1000).

%% Before mod_stream_mgmt (50), which then routes what the client has not acknowledged.
-define(TERMINATED, 40).

%% In the process dictionary of a session that ends.
-define(ENDS, ?MODULE).

-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{sync_commit := true} -> [{c2s_terminated, ?MODULE, c2s_terminated, ?TERMINATED}];
        _ -> []
    end.

%% A session that ends has nobody to acknowledge to, and would wait once for each message to itself in its queue.
-spec c2s_terminated(State, term()) -> State.
c2s_terminated(State, _Reason) ->
    _ = put(?ENDS, true),
    State.

%% Waits: whose session waits for the commit, if it is that session that calls. limited: over max_rate, and dropped.
%% refused: full, or stopped. Both are counted on the native side.
-spec submit(binary(), mod_offline_post_nif:event(), Waits :: jid:jid() | nobody) -> ok | limited | refused.
submit(Host, Event, Waits) ->
    Key = mod_offline_post_endpoint:key(Host),
    case is_session_of(Waits) of
        true ->
            Began = erlang:monotonic_time(nanosecond),
            Answer = mod_offline_post_await:answer(offline_post_committed, fun() -> submit_sync(Key, Event) end, ?COMMIT_MS),
            mod_offline_post_hook_cost:waited(erlang:monotonic_time(nanosecond) - Began),
            committed(Host, Answer);
        false ->
            submitted(mod_offline_post_nif:submit(Key, Event))
    end.

-spec submitted({ok, binary()} | {error, full | stopped | limited | no_memory}) -> ok | limited | refused.
submitted({ok, _Id}) -> ok;
submitted({error, limited}) -> limited;
submitted({error, _}) -> refused.

%% The server will acknowledge the message to its sender's client, in the session of which nobody else's messages wait.
%% Any other process has messages of many: a room's, the stream of another server or of a component, and a session in
%% which a module routes something for somebody else.
-spec is_session_of(jid:jid() | nobody) -> boolean().
is_session_of(#jid{luser = User, lserver = Server, lresource = Resource}) when Resource =/= <<>> ->
    %% A client's stream is an xmpp_stream_in, as others' streams are; the session manager is asked last: it may have to
    %% ask a database.
    get('$initial_call') =:= {xmpp_stream_in, init, 1} andalso get(?ENDS) =:= undefined
        andalso lists:member(Server, ejabberd_option:hosts())
        andalso ejabberd_sm:get_session_pid(User, Server, Resource) =:= self();
is_session_of(_) ->
    false.

-spec submit_sync(mod_offline_post_nif:key(), mod_offline_post_nif:event()) ->
          {ok, reference()} | {error, full | stopped | limited | no_memory}.
submit_sync(Key, Event) ->
    case mod_offline_post_nif:submit_sync(Key, Event) of
        {ok, _Id, Ref} -> {ok, Ref};
        Error -> Error
    end.

-spec committed(binary(), {ok, durable | volatile} | {error, full | stopped | limited | no_memory | timeout}) ->
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
