%% The trigger `pending`: sessions with stream management (XEP-0198) whose client is gone. What such a session has not
%% had acknowledged is posted when it begins to wait to be resumed, what it gets from then on at once, and what a
%% session that cannot be resumed leaves behind, at its end. The handlers run in that session.
-module(mod_offline_post_pending).

-export([hooks/1, c2s_session_pending/1, c2s_handle_send/3, c2s_terminated/2]).

-include("xmpp.hrl").

-type state() :: #{atom() => term()}.

%% The other devices of the user that are there and acknowledge. top: gets what is addressed to the account;
%% copied: gets carbons (XEP-0280).
-type device() :: #{top := boolean(), copied := boolean()}.

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

%% The mark comes first: of two devices that begin to hang at once each then sees the other's.
-spec c2s_session_pending(state()) -> state().
c2s_session_pending(#{lserver := Host, mgmt_queue := Queue} = State) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        mod_offline_post_online:set_hanging(State),
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
unacknowledged(Messages, #{jid := #jid{lserver = Host, lresource = Resource}} = State) ->
    Sessions = sessions(State),
    Devices = devices(Sessions, Resource, mod_offline_post_policy:get(Host)),
    Resend = is_resent(State, Sessions),
    lists:foreach(
      fun(Queued) ->
              Message = original(Queued),
              is_taken(Message, Devices) orelse
                  mod_offline_post_notify:message(
                    Host, Message, #{trigger => pending, stored => stored(Message, Resend), resource => Resource})
      end, Messages).

-spec sessions(state()) -> [{Resource :: binary(), mod_offline_post_online:info()}].
sessions(#{jid := #jid{luser = User, lserver = Host}}) ->
    ejabberd_sm:get_user_info(User, Host).

%% None, if a device that takes the message is no reason for silence.
-spec devices([{binary(), mod_offline_post_online:info()}], binary(), mod_offline_post_policy:policy() | undefined) ->
          [device()].
devices(Sessions, Resource, #{hanging := false}) ->
    Highest = lists:max([-1 | [Priority || {_, Info} <- Sessions, {priority, Priority} <- Info, is_integer(Priority)]]),
    [#{top => lists:member({priority, Highest}, Info), copied => lists:keymember(carboncopy, 1, Info)} ||
        {Other, Info} <- Sessions, Other =/= Resource, mod_offline_post_online:is_attentive(Info)];
devices(_Sessions, _Resource, _Policy) ->
    [].

%% A carbon of a message that another device got has the message itself inside. That device may hang as well.
-spec original(message()) -> message().
original(#message{meta = #{carbon_copy := true}} = Copy) ->
    case xmpp:get_subtag(Copy, #carbons_received{forwarded = #forwarded{}}) of
        #carbons_received{forwarded = #forwarded{sub_els = [#message{} = Message]}} -> Message;
        _ -> Copy
    end;
original(Message) ->
    Message.

-spec is_taken(message(), [device()]) -> boolean().
is_taken(Message, Devices) ->
    lists:any(fun(Device) -> takes(Message, Device) end, Devices).

%% A room's message: as for its members who are not in the room, whoever can be reached is not told.
-spec takes(message(), device()) -> boolean().
takes(#message{type = groupchat}, _Device) -> true;
takes(#message{type = headline, to = #jid{lresource = <<>>}}, _Device) -> true;
takes(#message{to = #jid{lresource = <<>>}}, #{top := true}) -> true;
takes(Message, #{copied := true}) -> is_copied(Message);
takes(_Message, _Device) -> false.

%% As mod_carboncopy has it.
-spec is_copied(message()) -> boolean().
is_copied(#message{to = #jid{lresource = Resource}} = Message) ->
    (is_chat(Message) orelse is_invitation(Message))
        andalso not xmpp:has_subtag(Message, #carbons_private{})
        andalso not xmpp:has_subtag(Message, #hint{type = 'no-copy'})
        andalso (Resource =:= <<>> orelse not xmpp:has_subtag(Message, #muc_user{})).

-spec is_chat(message()) -> boolean().
is_chat(#message{type = chat}) -> true;
is_chat(#message{type = normal, body = [_ | _]}) -> true;
is_chat(#message{type = normal, sub_els = Els} = Message) ->
    lists:any(fun(El) -> xmpp:get_ns(El) =:= ?NS_CHATSTATES end, Els)
        orelse xmpp:has_subtag(Message, #receipt_response{});
is_chat(#message{}) -> false.

-spec is_invitation(message()) -> boolean().
is_invitation(Message) ->
    case xmpp:get_subtag(Message, #muc_user{}) of
        #muc_user{invites = [_ | _]} -> true;
        _ -> xmpp:has_subtag(Message, #x_conference{jid = #jid{}})
    end.

%%% What becomes of it if the client does not come back in time

-spec stored(message(), Resend :: boolean()) -> archive | offline | none.
stored(#message{type = Type} = Message, Resend) ->
    case mod_offline_post_offline:is_archived(Message) of
        true -> archive;
        false when Resend, Type =:= chat; Resend, Type =:= normal -> offline;
        false -> none
    end.

%% mod_stream_mgmt routes it again, and then mod_offline takes it, provided that nobody else does.
-spec is_resent(state(), [{binary(), mod_offline_post_online:info()}]) -> boolean().
is_resent(#{mgmt_resend := if_offline, jid := #jid{lserver = Host, lresource = Resource}}, Sessions) ->
    lists:all(fun({Other, _}) -> Other =:= Resource end, Sessions) andalso gen_mod:is_loaded(Host, mod_offline);
is_resent(#{mgmt_resend := true, lserver := Host}, _Sessions) ->
    gen_mod:is_loaded(Host, mod_offline);
is_resent(_State, _Sessions) ->
    false.
