%% The trigger `pending`: sessions with stream management (XEP-0198) whose client is gone. What such a session has not
%% had acknowledged is posted when it begins to wait to be resumed, what it gets from then on at once, and what a
%% session that cannot be resumed leaves behind, at its end; unless another device has received it
%% (mod_offline_post_devices). The handlers run in that session.
-module(mod_offline_post_pending).

-export([hooks/1, c2s_session_pending/1, c2s_handle_send/3, c2s_terminated/2, original/1]).

-include("xmpp.hrl").

-type state() :: #{atom() => term()}.

%% A session is marked as hanging whatever the triggers: others ask for it. mod_stream_mgmt, at 50, sends again or
%% bounces what a session has left.
-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{triggers := Triggers} ->
            [{Hook, ?MODULE, Hook, 45} ||
                Hook <- [c2s_session_pending | [Other || lists:member(pending, Triggers),
                                                         Other <- [c2s_handle_send, c2s_terminated]]]];
        undefined ->
            []
    end.

-spec c2s_session_pending(state()) -> state().
c2s_session_pending(#{jid := #jid{luser = User, lserver = Host}, mgmt_queue := Queue} = State) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        mod_offline_post_online:set_hanging(State),
        mod_offline_post_devices:changed(User, Host),
        queued(Host, Queue, State)
    end),
    State;
c2s_session_pending(State) ->
    State.

%% Runs for each element that the server sends: what is not ours leaves at the first clause that fits.
-spec c2s_handle_send(state(), xmpp_element() | fxml:xmlel(), ok | {error, term()}) -> state().
c2s_handle_send(#{mgmt_state := pending, lserver := Host} = State, #message{} = Message, _Result) ->
    mod_offline_post:guarded(hook, Host, fun() -> unacknowledged([Message], State) end),
    State;
c2s_handle_send(State, _Element, _Result) ->
    State.

%% A session that has waited in vain has told all. A client that closes its stream in order has had what it was sent.
-spec c2s_terminated(state(), Reason :: term()) -> state().
c2s_terminated(#{stop_reason := {stream, reset}} = State, _Reason) ->
    State;
c2s_terminated(#{mgmt_state := active, mgmt_queue := Queue, user := User, lserver := Host} = State, _Reason) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        %% A removed account's sessions end so, too.
        p1_queue:is_empty(Queue) orelse not ejabberd_auth:user_exists(User, Host) orelse queued(Host, Queue, State)
    end),
    State;
c2s_terminated(State, _Reason) ->
    State.

%%%

-spec queued(binary(), Queue :: term(), state()) -> ok.
queued(Host, Queue, State) ->
    case mod_offline_post_policy:get(Host) of
        #{triggers := Triggers} ->
            case lists:member(pending, Triggers) of
                true -> unacknowledged([Message || {_, _, #message{} = Message} <- p1_queue:to_list(Queue)], State);
                false -> ok
            end;
        undefined ->
            ok
    end.

-spec unacknowledged([message()], state()) -> ok.
unacknowledged([], _State) ->
    ok;
unacknowledged(Queued, #{jid := #jid{lserver = Host, lresource = Resource} = Jid} = State) ->
    Messages = [original(Message) || Message <- Queued],
    Lost = mod_offline_post_devices:lost(Messages, Jid),
    case told(Messages, Lost, mod_offline_post_policy:get(Host)) of
        [] ->
            ok;
        Told ->
            Resend = is_resent(State),
            lists:foreach(fun(Message) ->
                              mod_offline_post_notify:message(
                                Host, Message, #{trigger => pending, stored => stored(Message, Resend),
                                                 resource => Resource})
                          end, Told)
    end.

%% All, if a device that has received the message is no reason for silence.
-spec told([message()], [message()], mod_offline_post_policy:policy() | undefined) -> [message()].
told(_Messages, Lost, #{hanging := false}) -> Lost;
told(Messages, _Lost, _Policy) -> Messages.

%% A carbon of a message that another device got has the message itself inside. That device may hang as well.
-spec original(message()) -> message().
original(#message{meta = #{carbon_copy := true}} = Copy) ->
    case xmpp:get_subtag(Copy, #carbons_received{forwarded = #forwarded{}}) of
        #carbons_received{forwarded = #forwarded{sub_els = [#message{} = Message]}} -> Message;
        _ -> Copy
    end;
original(Message) ->
    Message.

%%% What becomes of it if the client does not come back in time

-spec stored(message(), Resend :: boolean()) -> archive | offline | none.
stored(#message{type = Type} = Message, Resend) ->
    case mod_offline_post_offline:is_archived(Message) of
        true -> archive;
        false when Resend, Type =:= chat; Resend, Type =:= normal -> offline;
        false -> none
    end.

%% mod_stream_mgmt routes it again, and then mod_offline takes it, provided that nobody else does.
-spec is_resent(state()) -> boolean().
is_resent(#{mgmt_resend := if_offline, jid := #jid{luser = User, lserver = Host, lresource = Resource}}) ->
    lists:delete(Resource, ejabberd_sm:get_user_resources(User, Host)) =:= [] andalso gen_mod:is_loaded(Host, mod_offline);
is_resent(#{mgmt_resend := true, lserver := Host}) ->
    gen_mod:is_loaded(Host, mod_offline);
is_resent(_State) ->
    false.
