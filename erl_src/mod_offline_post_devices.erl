%% Which devices a message was sent to, and which of them have lost it. The first is decided when the message is routed: a
%% later login, logout or priority makes no difference. The second is found out when a session with stream management
%% (XEP-0198) hangs or ends. docs/events.md has the rule as a table.
-module(mod_offline_post_devices).

-behaviour(gen_server).

-export([start/0, stop/0, hooks/1]).
-export([routed/1, c2s_self_presence/1, c2s_copy_session/2, c2s_session_resumed/1, c2s_handle_send/3, c2s_terminated/2,
         user_send_packet/1, sm_register_connection_hook/3, sm_remove_connection_hook/3]).
-export([enter_room/2, lost/2, is_received/1, changed/2]).
%% On other nodes.
-export([changed_there/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("xmpp.hrl").

-type state() :: #{atom() => term()}.

%% A session as it was when a message was routed. Priority: undefined without an available presence; sent: whatever it is,
%% the message was sent to this device, which is in the message's room, or was there when the message was routed again.
%% Copied: it has asked for carbons (XEP-0280). Hanging: it waits to be resumed.
-type device() :: {Resource :: binary(), Priority :: integer() | undefined | sent, Copied :: boolean(),
                   Hanging :: boolean()}.

%% In a message's meta: the devices of its recipient, where there are others than the one that it is for.
-define(DEVICES, offline_post_devices).

%% In a message's meta: it was routed again before.
-define(REROUTED, offline_post_rerouted).

%% In the process dictionary of a session that has asked for a change of its carbons and has no answer yet.
-define(CARBONS, offline_post_carbons).

%% In the process dictionary of a session that ends: its address, and the numbers of the messages in its queue. Those
%% that mod_stream_mgmt then gives back from the mailbox have never come to the device.
-define(ENDS, offline_post_ends).

%% In the process dictionary of a room: the number of the message that it sends, and its occupants.
-define(ROOM, offline_post_room).

%% What the session manager said of a user: {{User, Server}, [device()]}, or what is no list while nothing is kept. An entry
%% goes when a session of the user changes; all go after this time (ms), because nobody tells of another node's crash. Where no
%% other node was connected for some of these times, they go after many of them, or when there are too many entries: asking
%% the session manager takes as long as a fifth of what ejabberd does for a message to a user without a session.
-define(TABLE, ?MODULE).
-define(REFRESH, 10000).
-define(AFTER_OTHERS, 6).
-define(ALONE, 60).

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
                    [{sm_receive_packet, routed, 41}, {c2s_terminated, c2s_terminated, 44} |
                     [{Hook, Hook, 50} || Hook <- [c2s_self_presence, c2s_copy_session, c2s_session_resumed,
                                                   c2s_handle_send, user_send_packet, sm_register_connection_hook,
                                                   sm_remove_connection_hook]]]];
        undefined ->
            []
    end.

%%% When a message is routed

-spec routed(stanza()) -> stanza().
routed(#message{meta = #{offline_post := Stamp} = Meta, type = Type,
                to = #jid{luser = User, lserver = Server, lresource = To}} = Message)
  when not is_map_key(carbon_copy, Meta) ->
    case {is_rerouted(Message), devices({User, Server})} of
        {true, Devices} -> rerouted(Message, maps:get(?DEVICES, Meta, []), Devices);
        {false, []} -> Message;
        {false, [{Resource, _, _, _}]} when To =:= <<>>; To =:= Resource -> Message; % no others
        {false, Devices} when Type =:= groupchat -> with(in_room(Devices, User, Server, Stamp), Message);
        {false, Devices} -> with(Devices, Message)
    end;
routed(Stanza) ->
    Stanza.

-spec with([device()], message()) -> message().
with(Devices, #message{meta = Meta} = Message) ->
    Message#message{meta = Meta#{?DEVICES => Devices}}.

%% A session has ended, and its messages are routed again. What it gives back from its mailbox its device has never had.
%% The devices of the first time count, and those that get the message now: one that has lost it, or is new, may lose it.
-spec rerouted(message(), First :: [device()], Now :: [device()]) -> message().
rerouted(#message{meta = Meta} = Message, First, Now) ->
    Marked = Message#message{meta = Meta#{?REROUTED => true}},
    case get(?ENDS) of
        {Own, Queued} ->
            _ = is_map_key(number(Message), Queued) orelse has_had(Message, Own) orelse enter(lost, Message, Own),
            sent_again(Marked, First, without_this(Own, Now));
        undefined ->
            sent_again(Marked, First, Now)
    end.

%% Whether what this session gives back from its mailbox is a second copy for a device that has received the first.
-spec has_had(message(), jid:jid()) -> boolean().
has_had(#message{meta = Meta} = Message, Own) ->
    is_map_key(?REROUTED, Meta) andalso not is_entered(again, Message, Own).

%% The session that ends is still among the user's while it gives its queue back.
-spec without_this(jid:jid(), [device()]) -> [device()].
without_this(#jid{luser = User, lserver = Server, lresource = Resource}, Devices) ->
    case ejabberd_sm:get_session_pid(User, Server, Resource) =:= self() of
        true -> lists:keydelete(Resource, 1, Devices);
        false -> Devices
    end.

-spec sent_again(message(), First :: [device()], Now :: [device()]) -> message().
sent_again(#message{to = To} = Message, First, Now) ->
    Missing = [Device || {Resource, _, _, Hanging} = Device <- Now, not Hanging, is_sent_to(Device, Message, Now),
                         not is_first(lists:keyfind(Resource, 1, First), Message, First)
                             orelse is_entered(lost, Message, To#jid{resource = Resource, lresource = Resource})],
    _ = [may_lose(Message, To#jid{resource = Resource, lresource = Resource}) || {Resource, _, _, _} <- Missing],
    case lists:foldl(fun({Resource, _, Copied, Hanging}, Devices) ->
                             lists:keystore(Resource, 1, Devices, {Resource, sent, Copied, Hanging})
                     end, First, Missing) of
        [] -> Message;
        Devices -> with(Devices, Message)
    end.

-spec is_first(device() | false, message(), [device()]) -> boolean().
is_first(false, _Message, _First) -> false;
is_first(Device, Message, First) -> is_sent_to(Device, Message, First).

-spec may_lose(message(), jid:jid()) -> ok.
may_lose(Message, Jid) ->
    enter(again, Message, Jid),
    mod_offline_post_once:erase(mod_offline_post_once:device(lost, Message, Jid)).

%% The hook of a room has this process send Message to these occupants next.
-spec enter_room(message(), #{jid:ljid() => term()}) -> ok.
enter_room(Message, Occupants) ->
    _ = put(?ROOM, {number(Message), Occupants}),
    ok.

-spec in_room([device()], binary(), binary(), mod_offline_post_once:stamp()) -> [device()].
in_room(Devices, User, Server, Stamp) ->
    case get(?ROOM) of
        {Number, Occupants} when Number =:= element(2, Stamp) ->
            [case is_map_key({User, Server, Resource}, Occupants) of
                 true -> {Resource, sent, Copied, Hanging};
                 false -> Device
             end || {Resource, _, Copied, Hanging} = Device <- Devices];
        _ ->
            Devices
    end.

-spec number(message()) -> integer() | undefined.
number(#message{meta = #{offline_post := Stamp}}) -> element(2, Stamp);
number(#message{}) -> undefined.

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

%% None, if the session manager cannot be asked: ejabberd would log the message with the crash of a hook.
-spec known_to_sm({binary(), binary()}) -> [device()].
known_to_sm({User, Server}) ->
    try ejabberd_sm:get_user_info(User, Server) of
        Sessions ->
            [{Resource, proplists:get_value(priority, Info), lists:keymember(carboncopy, 1, Info),
              mod_offline_post_online:is_hanging(Info)} || {Resource, Info} <- Sessions]
    catch
        _:_ -> []
    end.

%%% When a device loses a message

%% The client of this session has not acknowledged these messages, and the session hangs or ends: those of them that no
%% device has received. Each is in the session's queue, or comes out of a carbon there.
-spec lost([message()], jid:jid()) -> [message()].
lost(Messages, Jid) ->
    Keys = lists:append([mod_offline_post_once:device(lost, Message, Jid) || Message <- Messages, is_first_loss(Message, Jid)]),
    _ = Keys =/= [] andalso mod_offline_post_once:enter(Keys),
    [Message || Message <- Messages, not is_received_by_any(Message, Jid)].

%% Nobody asks who has lost a message that was sent to one device alone. A device that has received a message does not lose
%% it when the server sends it again.
-spec is_first_loss(message(), jid:jid()) -> boolean().
is_first_loss(#message{meta = #{?DEVICES := _}} = Message, Jid) ->
    not is_rerouted(Message) orelse is_entered(again, Message, Jid);
is_first_loss(#message{}, _Jid) ->
    false.

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
                          andalso has_received(Device, Message, Jid#jid{resource = Resource, lresource = Resource})
              end, Devices);
is_received_by_any(_Message, _Jid) ->
    false.

%% A device has received what it has not lost. Two exceptions, so that a message is rather posted twice than never: a
%% device outside the room has no queue with the room's messages, and has received nothing once it hangs; and a device
%% that has begun to hang on another node may have told of its losses only just now.
-spec has_received(device(), message(), jid:jid()) -> boolean().
has_received({_, Priority, _, _}, #message{type = Type} = Message, #jid{luser = User, lserver = Server, lresource = Resource} = Jid) ->
    Outside = Type =:= groupchat andalso Priority =/= sent,
    not is_entered(lost, Message, Jid)
        andalso not ((Outside orelse nodes() =/= []) andalso hangs(ejabberd_sm:get_user_info(User, Server, Resource), Outside)).

-spec hangs(mod_offline_post_online:info() | offline, Outside :: boolean()) -> boolean().
hangs(offline, _Outside) -> false;
hangs(Info, true) -> mod_offline_post_online:is_hanging(Info);
hangs(Info, false) -> proplists:get_value(node, Info) =/= node() andalso mod_offline_post_online:hangs_since_now(Info).

-spec is_entered(lost | again, message(), jid:jid()) -> boolean().
is_entered(What, Message, Device) ->
    lists:any(fun mod_offline_post_once:is_entered/1, mod_offline_post_once:device(What, Message, Device)).

-spec enter(lost | again, message(), jid:jid()) -> ok.
enter(What, Message, Device) ->
    mod_offline_post_once:enter(mod_offline_post_once:device(What, Message, Device)).

%% A room stamps its messages before they are routed, and nobody routes them again.
-spec is_rerouted(message()) -> boolean().
is_rerouted(#message{type = Type, meta = #{offline_post := {_, _, again}}}) -> Type =/= groupchat;
is_rerouted(#message{}) -> false.

%% As the session manager, mod_carboncopy and, for rooms, docs/rooms.md have it.
-spec is_sent_to(device(), message(), [device()]) -> boolean().
is_sent_to({_, sent, _, _}, _Message, _Devices) ->
    true;
is_sent_to({_, Priority, _, Hanging}, #message{type = groupchat}, _Devices) ->
    is_integer(Priority) andalso Priority >= 0 andalso not Hanging; % the room's members who can be reached are not notified
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

%% A resume: what was in the old session's queue the client has had, or is sent again now.
-spec c2s_copy_session(state(), state()) -> state().
c2s_copy_session(State, #{mgmt_queue := Queue, jid := #jid{lserver = Host} = Jid}) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        Keys = [Key || {_, _, #message{} = Queued} <- p1_queue:to_list(Queue),
                       #message{meta = #{?DEVICES := _}} = Message <- [mod_offline_post_pending:original(Queued)],
                       Key <- mod_offline_post_once:device(lost, Message, Jid)],
        Keys =:= [] orelse mod_offline_post_once:erase(Keys)
    end),
    State;
c2s_copy_session(State, _OldState) ->
    State.

%% Its carbons, too, are as they were before.
-spec c2s_session_resumed(state()) -> state().
c2s_session_resumed(#{jid := #jid{luser = User, lserver = Server}} = State) ->
    changed(User, Server),
    State;
c2s_session_resumed(State) ->
    State.

%% The process of a session that was resumed elsewhere has sent nothing of what is in its queue.
-spec c2s_terminated(state(), Reason :: term()) -> state().
c2s_terminated(#{mgmt_state := MgmtState, mgmt_queue := Queue, jid := Jid} = State, _Reason) ->
    Numbers = [{number(Message), []} || MgmtState =/= resumed, {_, _, #message{} = Message} <- p1_queue:to_list(Queue)],
    _ = put(?ENDS, {Jid, maps:from_list(Numbers)}),
    State;
c2s_terminated(State, _Reason) ->
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

%% A session of the user has changed. The other nodes are told, not waited for.
-spec changed(User :: binary(), Server :: binary()) -> ok.
changed(User, Server) ->
    try ets:delete(?TABLE, {User, Server}) of _ -> ok
    catch error:badarg -> ok
    end,
    mod_offline_post_nodes:cast(?MODULE, changed_there, [User, Server]).

%% On another node than the session's. The session manager of this one may be told later: nothing is kept until the refresh.
-spec changed_there(User :: binary(), Server :: binary()) -> ok.
changed_there(User, Server) ->
    try ets:insert(?TABLE, {{User, Server}, changed}) of _ -> ok
    catch error:badarg -> ok
    end.

%%% The owner of the table

%% How many times of refresh in a row no other node was connected.
-type alone() :: non_neg_integer().

-spec init(term()) -> {ok, alone()}.
init(_) ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}, {write_concurrency, true}]),
    ok = net_kernel:monitor_nodes(true),
    _ = erlang:send_after(?REFRESH, self(), refresh),
    {ok, 0}.

-spec handle_call(term(), gen_server:from(), alone()) -> {reply, {error, unknown}, alone()}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), alone()) -> {noreply, alone()}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), alone()) -> {noreply, alone()}.
handle_info(refresh, Before) ->
    Alone = case nodes() of
                [] -> Before + 1;
                _ -> 0
            end,
    _ = (Alone < ?AFTER_OTHERS orelse Alone rem ?ALONE =:= 0 orelse ets:info(?TABLE, size) >= ?LIMIT)
        andalso ets:delete_all_objects(?TABLE),
    _ = erlang:send_after(?REFRESH, self(), refresh),
    {noreply, Alone};
handle_info({Node, _}, _Alone) when Node =:= nodeup; Node =:= nodedown ->
    ets:delete_all_objects(?TABLE),
    {noreply, 0};
handle_info(_, State) ->
    {noreply, State}.
