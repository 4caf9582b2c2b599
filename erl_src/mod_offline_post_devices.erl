%% Which devices a message was sent to, and which of them have lost it. The first is decided when the message is routed:
%% what a user logs in, out or changes later makes no difference to it. The second is found out when a session with
%% stream management (XEP-0198) hangs or ends. docs/events.md has the rule as a table.
-module(mod_offline_post_devices).

-behaviour(gen_server).

-export([start/0, stop/0, hooks/1]).
-export([routed/1, c2s_self_presence/1, c2s_session_resumed/1, c2s_handle_send/3, user_send_packet/1,
         sm_register_connection_hook/3, sm_remove_connection_hook/3]).
-export([lost/2, is_received/1, changed/2]).
%% On other nodes.
-export([changed_here/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("xmpp.hrl").

-type state() :: #{atom() => term()}.

%% A session as it was when a message was routed. Priority: undefined without an available presence. Copied: it has asked
%% for carbons (XEP-0280). Hanging: it waited to be resumed.
-type device() :: {Resource :: binary(), Priority :: integer() | undefined, Copied :: boolean(), Hanging :: boolean()}.

%% In a message's meta: the devices of its recipient, where there are others than the one that it is for.
-define(DEVICES, offline_post_devices).

%% In the process dictionary of a session that is about to change its carbons.
-define(CARBONS, offline_post_carbons).

%% What the session manager said of a user: {{User, Server}, [device()]}, or a reference while it is asked. Entries go
%% when a session of the user changes. What nobody tells of, such as another node's crash, is known after this time (ms).
-define(TABLE, ?MODULE).
-define(REFRESH, 10000).

%% Users with an entry at a time; each takes about 300 bytes.
-define(LIMIT, 50000).

-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> {error, Reason}
    end.

-spec stop() -> ok.
stop() ->
    _ = gen_mod:stop_child(?MODULE),
    ok.

%% Only where sessions that hang are told of. routed: right after the message has got its stamp.
-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{triggers := Triggers} ->
            [{Hook, ?MODULE, Function, Priority} ||
                lists:member(pending, Triggers),
                {Hook, Function, Priority} <-
                    [{sm_receive_packet, routed, 41} |
                     [{Hook, Hook, 50} || Hook <- [c2s_self_presence, c2s_session_resumed, c2s_handle_send,
                                                   user_send_packet, sm_register_connection_hook,
                                                   sm_remove_connection_hook]]]];
        undefined ->
            []
    end.

%%% When a message is routed

%% A message that is routed again, because a session has ended, was sent to the devices of the first time.
-spec routed(stanza()) -> stanza().
routed(#message{meta = #{offline_post := _} = Meta, to = #jid{luser = User, lserver = Server, lresource = To}} = Message)
  when not is_map_key(?DEVICES, Meta), not is_map_key(carbon_copy, Meta) ->
    case devices({User, Server}) of
        [] -> Message;
        [{Resource, _, _, _}] when To =:= <<>>; To =:= Resource -> Message; % no others
        Devices -> in_room(Message#message{meta = Meta#{?DEVICES => Devices}})
    end;
routed(Stanza) ->
    Stanza.

%% Each device in a room is sent the message by itself: it is written down that this one is.
-spec in_room(message()) -> message().
in_room(#message{type = groupchat, to = To} = Message) ->
    mod_offline_post_once:enter_here(mod_offline_post_once:device(copy, Message, To)),
    Message;
in_room(Message) ->
    Message.

-spec devices({binary(), binary()}) -> [device()].
devices(User) ->
    try ets:lookup(?TABLE, User) of
        [{_, Devices}] when is_list(Devices) -> Devices;
        _ -> ask(User)
    catch
        error:badarg -> known_to_sm(User) % without the table, for a moment
    end.

%% What changes while the session manager is asked deletes the reference, and then the answer is not kept.
-spec ask({binary(), binary()}) -> [device()].
ask(User) ->
    Asked = {User, make_ref()},
    Keep = ets:info(?TABLE, size) < ?LIMIT andalso ets:insert_new(?TABLE, Asked),
    Devices = known_to_sm(User),
    _ = Keep andalso ets:select_replace(?TABLE, [{Asked, [], [{const, {User, Devices}}]}]),
    Devices.

-spec known_to_sm({binary(), binary()}) -> [device()].
known_to_sm({User, Server}) ->
    [{Resource, proplists:get_value(priority, Info), lists:keymember(carboncopy, 1, Info),
      mod_offline_post_online:is_hanging(Info)} ||
        {Resource, Info} <- ejabberd_sm:get_user_info(User, Server)].

%%% When a device loses a message

%% This session has not had these messages acknowledged, and hangs or ends: those of them that no device has received.
%% Each is in the session's queue, or comes out of a carbon there.
-spec lost([message()], jid:jid()) -> [message()].
lost(Messages, Jid) ->
    Keys = lists:append([losses(Message, Jid) || Message <- Messages, not is_rerouted(Message)]),
    _ = Keys =/= [] andalso mod_offline_post_once:enter(Keys),
    [Message || Message <- Messages, not is_received_by_any(Message, Jid)].

%% Whether a message that is routed again, because a session has ended, has been received by another device.
-spec is_received(message()) -> boolean().
is_received(#message{to = To, meta = #{?DEVICES := _}} = Message) ->
    is_rerouted(Message) andalso is_received_by_any(Message, To);
is_received(#message{}) ->
    false.

%% By a device that it was sent to the first time. Of two sessions that hang at once each has entered its losses before
%% it looks for the other's.
-spec is_received_by_any(message(), jid:jid()) -> boolean().
is_received_by_any(#message{meta = #{?DEVICES := Devices}} = Message, Jid) ->
    lists:any(fun({Resource, _, _, _} = Device) ->
                      is_sent_to(Device, Message, Devices)
                          andalso has_received(Message, Jid#jid{resource = Resource, lresource = Resource})
              end, Devices);
is_received_by_any(_Message, _Jid) ->
    false.

%% A device that is found dead has received what it has not lost; but of a room that it is not in nothing, and what it
%% has lost on another node may not be known here yet: rather twice than never.
-spec has_received(message(), jid:jid()) -> boolean().
has_received(#message{type = Type} = Message, #jid{luser = User, lserver = Server, lresource = Resource} = Device) ->
    not is_entered(lost, Message, Device)
        andalso case (Type =:= groupchat andalso not is_entered(copy, Message, Device)) orelse nodes() =/= [] of
                    true -> not is_dead(ejabberd_sm:get_user_info(User, Server, Resource), Type);
                    false -> true
                end.

-spec is_dead(mod_offline_post_online:info() | offline, message_type()) -> boolean().
is_dead(offline, _Type) -> false;
is_dead(Info, Type) ->
    mod_offline_post_online:is_hanging(Info) andalso (Type =:= groupchat orelse proplists:get_value(node, Info) =/= node()).

-spec is_entered(lost | copy, message(), jid:jid()) -> boolean().
is_entered(What, Message, Device) ->
    lists:any(fun mod_offline_post_once:is_entered/1, mod_offline_post_once:device(What, Message, Device)).

%% A room stamps its messages before they are routed, and nobody routes them again.
-spec is_rerouted(message()) -> boolean().
is_rerouted(#message{type = Type, meta = #{offline_post := {_, _, again}}}) -> Type =/= groupchat;
is_rerouted(#message{}) -> false.

%% That this device has lost it. Of a message that was sent to one device alone nobody asks.
-spec losses(message(), jid:jid()) -> [mod_offline_post_once:key()].
losses(#message{meta = #{?DEVICES := _}} = Message, Jid) -> mod_offline_post_once:device(lost, Message, Jid);
losses(#message{}, _Jid) -> [].

%% As the session manager, mod_carboncopy and, for rooms, docs/rooms.md have it.
-spec is_sent_to(device(), message(), [device()]) -> boolean().
is_sent_to({_, Priority, _, Hanging}, #message{type = groupchat}, _Devices) ->
    is_integer(Priority) andalso Priority >= 0 andalso not Hanging; % in the room or not: who can be reached is not told
is_sent_to({Resource, _, _, _}, #message{to = #jid{lresource = Resource}}, _Devices) ->
    true;
is_sent_to({_, Priority, Copied, _}, #message{to = #jid{lresource = To}, type = Type} = Message, Devices) ->
    Highest = lists:max([-1 | [P || {_, P, _, _} <- Devices, is_integer(P)]]),
    %% A session without presence gets what is addressed to it; for carbons it is as if the account were.
    {Routed, Copies} = case lists:keyfind(To, 1, Devices) of
                           {_, undefined, _, _} -> {false, Priority =/= Highest};
                           {_, _, _, _} -> {false, true};
                           false -> {true, Priority =/= Highest}
                       end,
    is_integer(Priority) andalso
        (Routed andalso Priority >= 0 andalso (Priority =:= Highest orelse Type =:= headline)
         orelse Copies andalso Copied andalso is_copied(Message)).

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

%%% When a device changes

%% What a session that is resumed has in its queue is sent again, so that it is not lost any more.
-spec c2s_session_resumed(state()) -> state().
c2s_session_resumed(#{mgmt_queue := Queue, jid := #jid{lserver = Host} = Jid} = State) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        Keys = [Key || {_, _, #message{} = Queued} <- p1_queue:to_list(Queue),
                       Key <- losses(mod_offline_post_pending:original(Queued), Jid)],
        Keys =:= [] orelse mod_offline_post_once:erase(Keys)
    end),
    State;
c2s_session_resumed(State) ->
    State.

%% The session manager knows it already.
-spec c2s_self_presence({presence(), state()}) -> {presence(), state()}.
c2s_self_presence({_Presence, #{jid := #jid{luser = User, lserver = Server}}} = Acc) ->
    changed(User, Server),
    Acc;
c2s_self_presence(Acc) ->
    Acc.

-spec sm_register_connection_hook(ejabberd_sm:sid(), jid:jid(), ejabberd_sm:info()) -> ok.
sm_register_connection_hook(_Sid, #jid{luser = User, lserver = Server}, _Info) -> changed(User, Server).

-spec sm_remove_connection_hook(ejabberd_sm:sid(), jid:jid(), ejabberd_sm:info()) -> ok.
sm_remove_connection_hook(_Sid, #jid{luser = User, lserver = Server}, _Info) -> changed(User, Server).

%% The server has no hook for carbons: a session asks for them, and they are as it has asked when it gets its result.
-spec user_send_packet({stanza(), state()}) -> {stanza(), state()}.
user_send_packet({#iq{type = set, sub_els = [El]}, _State} = Acc) ->
    _ = xmpp:get_ns(El) =:= ?NS_CARBONS_2 andalso put(?CARBONS, true),
    Acc;
user_send_packet(Acc) ->
    Acc.

-spec c2s_handle_send(state(), xmpp_element() | fxml:xmlel(), ok | {error, term()}) -> state().
c2s_handle_send(#{jid := #jid{luser = User, lserver = Server}} = State, #iq{type = result}, _Result) ->
    _ = erase(?CARBONS) =:= true andalso changed(User, Server),
    State;
c2s_handle_send(State, _Element, _Result) ->
    State.

%% A session of the user has. The other nodes are told, not waited for.
-spec changed(User :: binary(), Server :: binary()) -> ok.
changed(User, Server) ->
    changed_here(User, Server),
    mod_offline_post_nodes:cast(?MODULE, changed_here, [User, Server]).

-spec changed_here(User :: binary(), Server :: binary()) -> ok.
changed_here(User, Server) ->
    try ets:delete(?TABLE, {User, Server}) of _ -> ok
    catch error:badarg -> ok
    end.

%%% The owner of the table

-spec init(term()) -> {ok, none}.
init(_) ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}, {write_concurrency, true}]),
    ok = net_kernel:monitor_nodes(true),
    _ = erlang:send_after(?REFRESH, self(), refresh),
    {ok, none}.

-spec handle_call(term(), gen_server:from(), none) -> {reply, {error, unknown}, none}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), none) -> {noreply, none}.
handle_info(refresh, State) ->
    ets:delete_all_objects(?TABLE),
    _ = erlang:send_after(?REFRESH, self(), refresh),
    {noreply, State};
handle_info({Node, _}, State) when Node =:= nodeup; Node =:= nodedown ->
    ets:delete_all_objects(?TABLE),
    {noreply, State};
handle_info(_, State) ->
    {noreply, State}.
