%% Messages of rooms (XEP-0045). A subscriber (MUC/Sub) who is offline gets them wrapped, one by one: unwrap/2. To a
%% member who is not in the room the room sends nothing: the hook in the room's process finds them, and a worker
%% (mod_offline_post_members) tells those who cannot be reached.
-module(mod_offline_post_groups).

-export([hooks/1, muc_filter_message/3, unwrap/2]).
-export_type([group/0, absent/0]).

-include("xmpp.hrl").
%% Of the ejabberd that this is compiled for: the room's state differs from release to release.
-include("mod_muc_room.hrl").

%% What of a room goes into an event's context. sender: only if the room shows it to everybody.
-type group() :: #{to => jid:jid(), room := jid:jid(), nick := binary(), sender => jid:jid()}.

%% Members to be told, if they cannot be reached: by virtual host, without doubles.
-type absent() :: #{Server :: binary() => [User :: binary()]}.

%% After what changes or drops a message, and mod_mam (50), which gives it its stanza-id.
-define(PRIORITY, 90).

%% In a message's meta: the real JID of a sender whom the room shows. ejabberd has one in there too, but of rooms that
%% show nobody as well; and what a message says of itself in muc#user, anybody can write.
-define(SENDER, offline_post_sender).

%% The same of every room, for nobody to see: who has written a message is not notified of it.
-define(AUTHOR, offline_post_author).

%% Whatever this virtual host's policy is: a member's own one decides, and members may be of another virtual host.
-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(_Host) ->
    [{muc_filter_message, ?MODULE, muc_filter_message, ?PRIORITY}].

%% The hook, in the room's process. It also runs for private messages, for the subject at each join and for moderation:
%% those are of another type, or bear mam_ignore. The message goes on with a stamp, so that all its copies are known as
%% one.
-spec muc_filter_message(message() | drop, #state{} | term(), binary()) -> message() | drop.
muc_filter_message(#message{type = groupchat, meta = Meta} = Message, Room, Nick)
  when not is_map_key(mam_ignore, Meta) ->
    Stamped = stamped(with_author(with_sender(Message, Room))),
    mod_offline_post:guarded(hook, host(Room), fun() ->
        mod_offline_post_devices:enter_room(Stamped, Room#state.users),
        tell_absent(Stamped, Room, Nick)
    end),
    Stamped;
muc_filter_message(Message, _Room, _Nick) ->
    Message.

-spec host(#state{} | term()) -> binary().
host(#state{server_host = Host}) -> Host;
host(_) -> <<"a room">>.

-spec with_sender(message(), #state{} | term()) -> message().
with_sender(#message{from = From, meta = Meta} = Message, #state{config = #config{anonymous = false}}) ->
    Message#message{meta = Meta#{?SENDER => jid:remove_resource(From)}};
with_sender(Message, _Room) ->
    Message.

-spec with_author(message()) -> message().
with_author(#message{from = From, meta = Meta} = Message) ->
    Message#message{meta = Meta#{?AUTHOR => bare(From)}}.

%% Without one, while the module comes or goes, the copies are not known as one; the room goes on.
-spec stamped(message()) -> message().
stamped(Message) ->
    try mod_offline_post_once:stamp(Message)
    catch error:_ -> Message
    end.

%% This process folds what it has and no more: whom the session manager knows, the worker asks.
-spec tell_absent(message(), #state{}, binary()) -> ok.
tell_absent(Message, Room, Nick) ->
    case hosts(Message) of
        [] -> ok;
        Hosts -> hand_over(Message, Room, Nick, absent(Message, Room, Hosts))
    end.

%% Those whose members are told of this kind of message, or were told of the call that it ends.
-spec hosts(message()) -> [binary()].
hosts(Message) ->
    case [{Host, Kinds} || Host <- ejabberd_option:hosts(),
                           #{groupchat := members, notify := Kinds} <- [mod_offline_post_policy:get(Host)]] of
        [] ->
            [];
        Policies ->
            Kind = mod_offline_post_kind:classify(Message),
            EndsCall = mod_offline_post_kind:call_end(Message, received) =/= none,
            [Host || {Host, Kinds} <- Policies, lists:member(Kind, Kinds) orelse EndsCall andalso lists:member(call, Kinds)]
    end.

-spec hand_over(message(), #state{}, binary(), absent()) -> ok.
hand_over(Message, #state{jid = Room}, Nick, Absent) ->
    case lists:sum([length(Users) || Users <- maps:values(Absent)]) of
        0 ->
            ok;
        Count ->
            Of = group(Message, Room, Nick),
            mod_offline_post_members:tell(Message#message{from = jid:replace_resource(Room, Nick)},
                                          Of#{stored => stored(Message, Room), at => erlang:timestamp()}, Absent, Count)
    end.

%% The room's archive is where a member finds it.
-spec stored(message(), jid:jid()) -> archive | none.
stored(#message{meta = #{mam_archived := true}} = Message, Room) ->
    case mod_offline_post_event:stanza_id(Message, Room) of
        <<>> -> none;
        _ -> archive
    end;
stored(#message{}, _Room) ->
    none.

%%% Who is to be told

%% The affiliated users of these virtual hosts, but for the sender, for who is in the room with any client, and for the
%% subscribers, who get the message wrapped.
-spec absent(message(), #state{}, [binary()]) -> absent().
absent(#message{from = From} = Message, #state{affiliations = Affiliations, users = Occupants} = Room, Hosts) ->
    Sender = jid:remove_resource(jid:tolower(From)),
    Others = maps:fold(fun({User, Server, _}, _, Acc) -> Acc#{{User, Server, <<>>} => []} end,
                       (subscribers(Message, Room))#{Sender => []}, Occupants),
    maps:fold(fun(Jid, Affiliation, Acc) -> member(Jid, Affiliation, {Affiliations, Others}, Acc) end,
              maps:from_list([{Host, []} || Host <- Hosts]), Affiliations).

-spec member(jid:ljid(), term(), {map(), map()}, absent()) -> absent().
member({<<>>, _, _}, _Affiliation, _, Absent) ->
    Absent; % everybody of a domain: nobody knows who that is
member({User, Server, <<>>} = Jid, Affiliation, {_, Others}, Absent) when not is_map_key(Jid, Others) ->
    case Absent of
        #{Server := Users} ->
            case is_member(Affiliation) of
                true -> Absent#{Server := [User | Users]};
                false -> Absent
            end;
        #{} ->
            Absent
    end;
member({_, _, <<>>}, _Affiliation, _, Absent) ->
    Absent;
member({User, Server, _}, Affiliation, {Affiliations, _} = Of, Absent) ->
    %% One client's; what is said of the user as a whole goes first. Rare, so that the search for a double may be slow.
    Bare = {User, Server, <<>>},
    case is_map_key(Bare, Affiliations) orelse lists:member(User, maps:get(Server, Absent, [])) of
        true -> Absent;
        false -> member(Bare, Affiliation, Of, Absent)
    end.

-spec is_member(term()) -> boolean().
is_member({Affiliation, _Reason}) -> is_member(Affiliation);
is_member(member) -> true;
is_member(admin) -> true;
is_member(owner) -> true;
is_member(_) -> false.

%% As mod_muc_room chooses them.
-spec subscribers(message(), #state{}) -> map().
subscribers(Message, #state{muc_subscribers = #muc_subscribers{subscriber_nodes = Nodes}}) ->
    maps:get(node_of(Message), Nodes, #{}).

-spec node_of(message()) -> binary().
node_of(#message{subject = [_ | _], body = [], thread = undefined}) -> ?NS_MUCSUB_NODES_SUBJECT;
node_of(#message{}) -> ?NS_MUCSUB_NODES_MESSAGES.

%%% What reaches a session or an offline user

%% From what a session or the offline store gets to the room's message: wrapped for a subscriber in one of type normal,
%% or as it is for a client in the room, subscriber or not. ignore: from a room, but nobody is told of it. none: not from
%% a room.
-spec unwrap(message(), mod_offline_post_policy:policy()) -> {ok, message(), group()} | ignore | none.
unwrap(#message{type = groupchat}, #{groupchat := none}) ->
    ignore;
unwrap(#message{type = groupchat, from = From} = Message, Policy) ->
    wanted(Message, From, Policy);
%% A room sends under its bare JID. No client can: its server puts the resource there.
unwrap(#message{type = normal, sub_els = [_ | _], from = #jid{lresource = <<>>} = Room} = Message, Policy) ->
    case wrapped(xmpp:get_subtag(Message, #ps_event{})) of
        {ok, #message{type = groupchat, from = #jid{} = From} = Wrapped} ->
            case {bare(From) =:= bare(Room) andalso not is_account(Room), Policy} of
                {true, #{groupchat := none}} ->
                    ignore;
                {true, _} ->
                    Inner = mod_offline_post_once:carry(Message, Wrapped),
                    wanted(Inner#message{to = Message#message.to}, From, Policy);
                {false, _} ->
                    ignore
            end;
        {ok, _} -> ignore;
        Other -> Other
    end;
unwrap(#message{}, _Policy) ->
    none.

%% A user of this server publishes (PEP) under the bare JID, too. ejabberd refuses a room's service that is named as a
%% virtual host.
-spec is_account(jid:jid()) -> boolean().
is_account(#jid{lserver = Server}) ->
    lists:member(Server, ejabberd_option:hosts()).

-spec wanted(message(), jid:jid(), mod_offline_post_policy:policy()) -> {ok, message(), group()} | ignore.
wanted(#message{to = To, meta = Meta} = Message, #jid{resource = Nick} = From, Policy) ->
    Own = maps:get(?AUTHOR, Meta, none) =:= bare(To),
    case {Nick, Policy} of
        {<<>>, _} -> ignore; % the room itself speaks
        {_, _} when Own -> ignore;
        {_, #{groupchat := members, members_notify := mentions}} ->
            Mentions = mod_offline_post_once:of_message(mentions, Message, fun() -> mod_offline_post_mention:prepare(Message) end),
            case mod_offline_post_mention:is_mentioned(jid:tolower(To), Mentions) of
                true -> {ok, Message, (group(Message, jid:remove_resource(From), Nick))#{to => To}};
                false -> ignore
            end;
        {_, _} ->
            {ok, Message, (group(Message, jid:remove_resource(From), Nick))#{to => To}}
    end.

%% From a room of this cluster what is in there is decoded, from elsewhere it is not.
-spec wrapped(#ps_event{} | term()) -> {ok, message()} | ignore | none.
wrapped(#ps_event{items = #ps_items{node = Node, items = Items}})
  when Node =:= ?NS_MUCSUB_NODES_MESSAGES; Node =:= ?NS_MUCSUB_NODES_SUBJECT ->
    case Items of
        [#ps_item{sub_els = [#message{} = Inner | _]} | _] -> {ok, Inner};
        [#ps_item{sub_els = [#xmlel{name = <<"message">>} = El | _]} | _] -> decoded(El);
        _ -> ignore
    end;
wrapped(#ps_event{items = #ps_items{node = <<"urn:xmpp:mucsub:nodes:", _/binary>>}}) ->
    ignore;
wrapped(_) ->
    none.

-spec decoded(fxml:xmlel()) -> {ok, message()} | ignore.
decoded(El) ->
    try xmpp:decode(El, ?NS_CLIENT, [ignore_els]) of
        #message{} = Inner -> {ok, Inner};
        _ -> ignore
    catch
        error:{xmpp_codec, _} -> ignore
    end.

-spec group(message(), jid:jid(), binary()) -> group().
group(#message{meta = #{?SENDER := Sender}}, Room, Nick) -> #{room => Room, nick => Nick, sender => Sender};
group(#message{}, Room, Nick) -> #{room => Room, nick => Nick}.

-spec bare(jid:jid()) -> jid:ljid().
bare(Jid) ->
    jid:remove_resource(jid:tolower(Jid)).
