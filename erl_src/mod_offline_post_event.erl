%% From a stanza to the event that the native side delivers. Pure.
-module(mod_offline_post_event).

-export([from_message/4, to_native/2, topic/2, call_topic/1, is_event/1, stanza_id/2, origin_id/1, text/1]).
-export_type([event/0, kind/0, context/0]).

-include("xmpp.hrl").

-type kind() :: text | encrypted | call | file | reaction | correction | retraction | marker | receipt | invitation
              | subject | headline | other.

%% Public: what handlers of the hook offline_post_event get and return. Addresses are in their prepared forms, so that
%% a receiver can compare them byte by byte.
-type event() :: #{kind := kind(),
                   to := jid:ljid(),
                   from := jid:ljid(),            % empty if include_sender is false; in a room: it, with the nick
                   message_id := binary(),
                   body := binary(),             % what include_body makes of it
                   trigger := offline | pending | groupchat,
                   stored := offline | archive | none,
                   resource => binary(),         % of the device that hangs
                   room => binary(),
                   nick => binary(),
                   sender => binary(),           % in a room: the bare JID behind the nick, where the room shows it
                   stanza_id => binary(),
                   origin_id => binary(),
                   badge => non_neg_integer()}.

%% What only the trigger knows. to: the recipient, if it is not the message's. room: of a group message only; that
%% message's `from` is the room with the nick.
-type context() :: #{trigger := offline | pending | groupchat,
                     stored := offline | archive | none,
                     resource => binary(),
                     to => jid:jid(),
                     room => jid:jid(),
                     nick => binary(),
                     sender => jid:jid()}.

%% In the order in which they leave, behind trigger and stored.
-define(ATTRIBUTES, [{resource, <<"resource">>}, {room, <<"room">>}, {nick, <<"nick">>}, {sender, <<"sender">>},
                     {stanza_id, <<"stanza_id">>}, {origin_id, <<"origin_id">>}, {badge, <<"badge">>}]).

%% The fields that each event has.
-define(FIELDS, 7).

-define(NOBODY, {<<>>, <<>>, <<>>}).

%% What the policy excludes is not in it.
-spec from_message(message(), kind(), context(), mod_offline_post_policy:policy()) -> event().
from_message(#message{id = Id, from = From} = Message, Kind, #{trigger := Trigger, stored := Stored} = Context,
             #{include_sender := IncludeSender, include_body := Contents}) ->
    To = recipient(Message, Context),
    Event = #{kind => Kind, to => jid:tolower(To), from => sender(From, IncludeSender), message_id => Id,
              body => body(Kind, Contents, Message), trigger => Trigger, stored => Stored},
    with_ids(Message, archive(To, Context), with_context(Context, IncludeSender, Event)).

-spec recipient(message(), context()) -> jid:jid().
recipient(_Message, #{to := To}) -> To;
recipient(#message{to = To}, _Context) -> To.

-spec sender(jid:jid(), boolean()) -> jid:ljid().
sender(From, true) -> jid:tolower(From);
sender(_From, false) -> ?NOBODY.

-spec body(kind(), map(), message()) -> binary().
body(Kind, Contents, Message) ->
    case Contents of
        #{Kind := Content} -> content(Content, Message);
        #{default := Content} -> content(Content, Message)
    end.

-spec content(boolean() | binary(), message()) -> binary().
content(true, Message) -> text(Message);
content(false, _Message) -> <<>>;
content(Text, _Message) -> Text.

%% A nick and the JID behind it are the sender, the room is not.
-spec with_context(context(), boolean(), event()) -> event().
with_context(Context, _IncludeSender, Event) when map_size(Context) =:= 2 ->
    Event;
with_context(Context, IncludeSender, Event) ->
    maps:fold(fun(resource, Resource, E) -> E#{resource => Resource};
                 (room, Room, E) -> E#{room => bare(Room)};
                 (nick, Nick, E) when IncludeSender -> E#{nick => Nick};
                 (sender, #jid{} = Sender, E) when IncludeSender -> E#{sender => bare(Sender)};
                 (_, _, E) -> E
              end, Event, Context).

%% Whose stanza-id a receiver can look up: the room's for a group message, else the recipient's.
-spec archive(jid:jid(), context()) -> jid:jid().
archive(_To, #{room := Room}) -> Room;
archive(To, _Context) -> To.

-spec with_ids(message(), jid:jid(), event()) -> event().
with_ids(#message{sub_els = []}, _Archive, Event) ->
    Event;
with_ids(Message, Archive, Event) ->
    with_id(stanza_id, stanza_id(Message, Archive), with_id(origin_id, origin_id(Message), Event)).

-spec with_id(stanza_id | origin_id, binary(), event()) -> event().
with_id(_Name, <<>>, Event) -> Event;
with_id(Name, Id, Event) -> Event#{Name => Id}.

%% The one given by this archive (XEP-0359); <<>>: none. What others claim does not count: mod_mam strips what bears a
%% local archive's name before it adds its own.
-spec stanza_id(message(), jid:jid()) -> binary().
stanza_id(#message{sub_els = Els}, #jid{luser = User, lserver = Server}) ->
    find_stanza_id(Els, User, Server).

-spec find_stanza_id([xmpp_element() | fxml:xmlel()], binary(), binary()) -> binary().
find_stanza_id([#stanza_id{by = #jid{luser = User, lserver = Server}, id = Id} | _], User, Server) ->
    Id;
find_stanza_id([#xmlel{name = <<"stanza-id">>, attrs = Attrs} | Els], User, Server) ->
    case {attribute(<<"xmlns">>, Attrs), is_jid(attribute(<<"by">>, Attrs), User, Server)} of
        {?NS_SID_0, true} -> attribute(<<"id">>, Attrs);
        _ -> find_stanza_id(Els, User, Server)
    end;
find_stanza_id([_ | Els], User, Server) ->
    find_stanza_id(Els, User, Server);
find_stanza_id([], _User, _Server) ->
    <<>>.

-spec is_jid(binary(), binary(), binary()) -> boolean().
is_jid(Text, User, Server) ->
    try jid:decode(Text) of
        #jid{luser = U, lserver = S} -> U =:= User andalso S =:= Server
    catch
        error:_ -> false
    end.

%% The sending client's (XEP-0359); <<>>: none.
-spec origin_id(message()) -> binary().
origin_id(#message{sub_els = Els}) ->
    find_origin_id(Els).

-spec find_origin_id([xmpp_element() | fxml:xmlel()]) -> binary().
find_origin_id([#xmlel{name = <<"origin-id">>, attrs = Attrs} | Els]) ->
    case attribute(<<"xmlns">>, Attrs) of
        ?NS_SID_0 -> attribute(<<"id">>, Attrs);
        _ -> find_origin_id(Els)
    end;
find_origin_id([#origin_id{id = Id} | _]) ->
    Id;
find_origin_id([_ | Els]) ->
    find_origin_id(Els);
find_origin_id([]) ->
    <<>>.

-spec attribute(binary(), [{binary(), binary()}]) -> binary().
attribute(Name, Attrs) ->
    case lists:keyfind(Name, 1, Attrs) of
        {_, Value} -> Value;
        false -> <<>>
    end.

%% The text in the message's language, else the first one (RFC 6121, section 5.2.3: one body per language); <<>>: none.
-spec text(message()) -> binary().
text(#message{body = []}) ->
    <<>>;
text(#message{body = [#text{data = Text}]}) ->
    Text;
text(#message{body = Bodies, lang = Lang}) ->
    case [{primary(L), Text} || #text{lang = L, data = Text} <- Bodies, Text =/= <<>>] of
        [] ->
            <<>>;
        [{_, First} | _] = Texts ->
            %% A body without a language of its own inherits the message's (XML 1.0, section 2.12).
            Inherited = proplists:get_value(<<>>, Texts, First),
            proplists:get_value(primary(Lang), Texts, Inherited)
    end.

%% As xmpp:get_text/2 compares languages: "en-GB" answers "EN".
-spec primary(binary()) -> binary().
primary(Lang) ->
    [Primary | _] = binary:split(Lang, <<"-">>),
    string:lowercase(Primary).

%%% What waits together

%% What this event collapses with, or is withdrawn by, within its recipient; <<>>: nothing. Made of the message, not
%% of the event, from which the sender may be excluded: then it is not readable in the topic either.
-spec topic(message(), {kind(), context(), mod_offline_post_policy:policy()}) -> binary().
topic(Message, {call, _Context, _Policy}) ->
    case mod_offline_post_kind:call(Message) of
        {ok, SessionId} -> call_topic(SessionId);
        none -> <<>>
    end;
topic(_Message, {_Kind, _Context, #{collapse := none}}) ->
    <<>>;
topic(_Message, {_Kind, _Context, #{collapse := recipient}}) ->
    <<"recipient">>;
topic(#message{from = From}, {_Kind, Context, #{collapse := conversation, include_sender := IncludeSender}}) ->
    Conversation = <<"from:", (bare(maps:get(room, Context, From)))/binary>>,
    case IncludeSender of
        true -> Conversation;
        false -> erlang:md5(Conversation)
    end.

%% By the session alone: the `accept` that a device of the recipient sends to its own account does not name the caller
%% (XEP-0353, section 3.2).
-spec call_topic(SessionId :: binary()) -> binary().
call_topic(SessionId) ->
    <<"call:", SessionId/binary>>.

-spec bare(jid:jid()) -> binary().
bare(Jid) ->
    jid:encode(jid:remove_resource(jid:tolower(Jid))).

%%% For the native side

-spec to_native(event(), Topic :: binary()) -> mod_offline_post_nif:event().
to_native(#{kind := Kind, to := To, from := From, message_id := Id, body := Body, trigger := Trigger,
            stored := Stored} = Event, Topic) ->
    Attributes = case map_size(Event) of
                     ?FIELDS -> [];
                     _ -> attributes(?ATTRIBUTES, Event)
                 end,
    {in_text(Kind), To, From, Id, Body, Topic, [trigger(Trigger), stored(Stored) | Attributes]}.

-spec attributes([{atom(), binary()}], event()) -> [{binary(), binary()}].
attributes([{Key, Name} | Names], Event) ->
    case Event of
        #{Key := Number} when is_integer(Number) -> [{Name, integer_to_binary(Number)} | attributes(Names, Event)];
        #{Key := Text} -> [{Name, Text} | attributes(Names, Event)];
        #{} -> attributes(Names, Event)
    end;
attributes([], _Event) ->
    [].

%% What almost every event has is made once.
-spec trigger(offline | pending | groupchat) -> {binary(), binary()}.
trigger(offline) -> {<<"trigger">>, <<"offline">>};
trigger(pending) -> {<<"trigger">>, <<"pending">>};
trigger(groupchat) -> {<<"trigger">>, <<"groupchat">>}.

-spec stored(offline | archive | none) -> {binary(), binary()}.
stored(offline) -> {<<"stored">>, <<"offline">>};
stored(archive) -> {<<"stored">>, <<"archive">>};
stored(none) -> {<<"stored">>, <<"none">>}.

-spec in_text(kind()) -> binary().
in_text(text) -> <<"text">>;
in_text(encrypted) -> <<"encrypted">>;
in_text(Kind) -> atom_to_binary(Kind, utf8).

%% Whether what a handler of offline_post_event has returned can be sent.
-spec is_event(term()) -> boolean().
is_event(#{kind := Kind, to := To, from := From, message_id := Id, body := Body, trigger := Trigger,
           stored := Stored} = Event) ->
    lists:member(Kind, mod_offline_post_kind:kinds()) andalso is_address(To) andalso is_address(From)
        andalso is_binary(Id) andalso is_binary(Body)
        andalso lists:member(Trigger, [offline, pending, groupchat])
        andalso lists:member(Stored, [offline, archive, none])
        andalso lists:all(fun(Name) -> is_binary(maps:get(Name, Event, <<>>)) end,
                          [resource, room, nick, sender, stanza_id, origin_id])
        andalso is_count(maps:get(badge, Event, 0));
is_event(_) ->
    false.

-spec is_address(term()) -> boolean().
is_address({User, Server, Resource}) -> is_binary(User) andalso is_binary(Server) andalso is_binary(Resource);
is_address(_) -> false.

-spec is_count(term()) -> boolean().
is_count(Badge) -> is_integer(Badge) andalso Badge >= 0.
