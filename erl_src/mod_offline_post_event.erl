%% From a stanza to the event that the native side delivers. Pure.
-module(mod_offline_post_event).

-export([from_message/4, call_offer/1, call_end/2, uses/1, to_native/3, topic/2, call_topic/1, is_event/1, stanza_id/2,
         origin_id/1]).
-export_type([event/0, kind/0, context/0, uses/0]).

-include("xmpp.hrl").

-type kind() :: text | encrypted | call | call_end | file | reaction | correction | retraction | marker | receipt
              | invitation | subject | headline | other.

%% Public: what handlers of the hook offline_post_event get and return. Addresses are in their prepared forms, so that
%% a receiver can compare them byte by byte. Of the body, and of what is behind the badge, only what the requests use is
%% taken from the message: a body that they do not use is empty.
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
                   badge => non_neg_integer(),
                   stanza_id => binary(),
                   origin_id => binary(),
                   call_id => binary(),          % of a call and its end
                   text => binary(),             % what of the body the author has written, if that is not all of it
                   subject => binary(),          % only if include_body is true for the kind
                   thread => binary(),
                   stanza => binary()}.          % the message as XML, without what the policy excludes

%% What only the trigger knows. to: the recipient, if it is not the message's. room: of a group message only; that
%% message's `from` is the room with the nick.
-type context() :: #{trigger := offline | pending | groupchat,
                     stored := offline | archive | none,
                     resource => binary(),
                     to => jid:jid(),
                     room => jid:jid(),
                     nick => binary(),
                     sender => jid:jid(),
                     at => erlang:timestamp()}.           % when the room sent it

%% What the requests use of an event. taken: what must be found in the message for them. attributes: in the order in
%% which they leave.
-type uses() :: #{body := boolean(), taken := [taken()], attributes := [{Key :: atom(), Name :: binary()}]}.
-type taken() :: stanza_id | origin_id | call_id | text | subject | thread | stanza.

-define(ATTRIBUTES, [trigger, stored, resource, room, nick, sender, stanza_id, origin_id, call_id, badge, text, subject,
                     thread, stanza]).
-define(TAKEN, [stanza_id, origin_id, call_id, text, subject, thread, stanza]).

-define(NOBODY, {<<>>, <<>>, <<>>}).

%% Names: as mod_offline_post_nif:configure/2 says.
-spec uses(Names :: [binary()]) -> uses().
uses(Names) ->
    #{body => lists:member(<<"body">>, Names),
      taken => [Key || {Key, _} <- attributes(?TAKEN, Names)],
      attributes => attributes(?ATTRIBUTES, Names)}.

-spec attributes([atom()], [binary()]) -> [{atom(), binary()}].
attributes(Keys, Names) ->
    [{Key, atom_to_binary(Key)} || Key <- Keys, lists:member(atom_to_binary(Key), Names)].

%% What the policy excludes is not in it.
-spec from_message(message(), kind(), context(), mod_offline_post_policy:policy()) -> event().
from_message(#message{id = Id, from = From} = Message, Kind, #{trigger := Trigger, stored := Stored} = Context,
             #{include_sender := IncludeSender, include_body := Contents, uses := #{body := Body, taken := Taken}}) ->
    To = recipient(Message, Context),
    Content = content(Kind, Contents),
    Event = #{kind => Kind, to => jid:tolower(To), from => sender(From, IncludeSender), message_id => Id,
              body => body(Body andalso Content, Message), trigger => Trigger, stored => Stored},
    with_context(Context, IncludeSender,
                 case Taken of
                     [] -> Event;
                     _ -> with_taken(Taken, {Message, Kind, To, Context, Content, IncludeSender}, Event)
                 end).

-spec recipient(message(), context()) -> jid:jid().
recipient(_Message, #{to := To}) -> To;
recipient(#message{to = To}, _Context) -> To.

-spec sender(jid:jid(), boolean()) -> jid:ljid().
sender(From, true) -> jid:tolower(From);
sender(_From, false) -> ?NOBODY.

%% What is told in the place of the text.
-spec content(kind(), map()) -> mod_offline_post_policy:content().
content(Kind, Contents) ->
    case Contents of
        #{Kind := Content} -> Content;
        #{default := Content} -> Content
    end.

-spec body(mod_offline_post_policy:content(), message()) -> binary().
body(true, Message) -> mod_offline_post_body:text(Message);
body(false, _Message) -> <<>>;
body(Text, _Message) -> Text.

-type source() :: {message(), kind(), To :: jid:jid(), context(), mod_offline_post_policy:content(),
                   IncludeSender :: boolean()}.

-spec with_taken([taken()], source(), event()) -> event().
with_taken([text | Keys], {Message, _, _, _, true, _} = Of, Event) ->
    %% That the author has written no part of the body is worth telling.
    with_taken(Keys, Of, case mod_offline_post_body:marked(Message) of
                             {true, Text} -> Event#{text => Text};
                             false -> Event
                         end);
with_taken([Key | Keys], Of, Event) ->
    case taken(Key, Of) of
        <<>> -> with_taken(Keys, Of, Event);
        Value -> with_taken(Keys, Of, Event#{Key => Value})
    end;
with_taken([], _Of, Event) ->
    Event.

-spec taken(taken(), source()) -> binary().
taken(stanza_id, {Message, _, To, Context, _, _}) -> stanza_id(Message, archive(To, Context));
taken(origin_id, {Message, _, _, _, _, _}) -> origin_id(Message);
taken(call_id, {Message, call, _, _, _, _}) -> call_id(Message);
taken(subject, {#message{subject = Subjects, lang = Lang}, _, _, _, true, _}) ->
    mod_offline_post_body:in_language(Subjects, Lang);
taken(thread, {#message{thread = #message_thread{data = Thread}}, _, _, _, _, _}) -> Thread;
taken(stanza, {Message, _, To, Context, Content, IncludeSender}) ->
    mod_offline_post_stanza:xml(Message#message{to = To}, Content, IncludeSender, maps:get(sender, Context, undefined));
taken(_, _) -> <<>>.

-spec call_id(message()) -> binary().
call_id(Message) ->
    case mod_offline_post_kind:call(Message) of
        {ok, Id} -> Id;
        none -> <<>>
    end.

%% Of a call's event what its end needs.
-spec call_offer(event()) -> event().
call_offer(Event) ->
    (maps:without([text, subject, thread, stanza, badge], Event))#{body => <<>>}.

%% The end of a call, from what call_offer/1 has left of its event, as the policy is now.
-spec call_end(event(), mod_offline_post_policy:policy()) -> event().
call_end(Offer, #{include_body := Contents, include_sender := IncludeSender}) ->
    Event = Offer#{kind => call_end, stored => none, body => case content(call_end, Contents) of
                                                                 Text when is_binary(Text) -> Text;
                                                                 _ -> <<>>
                                                             end},
    case IncludeSender of
        true -> Event;
        false -> (maps:without([nick, sender], Event))#{from => ?NOBODY}
    end.

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

%%% What waits together

%% What this event collapses with, or is withdrawn by, within its recipient; <<>>: nothing. Made of the message, not
%% of the event, from which the sender may be excluded: then it is not readable in the topic either.
-spec topic(message(), {kind(), context(), mod_offline_post_policy:policy()}) -> binary().
topic(Message, {call, _Context, _Policy}) ->
    case call_id(Message) of
        <<>> -> <<>>;
        Id -> call_topic(Id)
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

%% By the id alone: the `accept` that a device of the recipient sends to its own account does not name the caller
%% (XEP-0353, section 3.2).
-spec call_topic(CallId :: binary()) -> binary().
call_topic(CallId) when byte_size(CallId) =< 64 -> <<"call:", CallId/binary>>;
call_topic(CallId) -> <<"call:", (erlang:md5(CallId))/binary>>. % whoever calls makes the id, so that it may be long

-spec bare(jid:jid()) -> binary().
bare(Jid) ->
    jid:encode(jid:remove_resource(jid:tolower(Jid))).

%%% For the native side

%% No more than the requests use, and what an operator needs to find the message: its kind, addresses and id.
-spec to_native(event(), Topic :: binary(), uses()) -> mod_offline_post_nif:event().
to_native(#{kind := Kind, to := To, from := From, message_id := Id, body := Text} = Event, Topic,
          #{body := Body, attributes := Attributes}) ->
    {in_text(Kind), To, From, Id, used(Body, Text), Topic, pairs(Attributes, Event)}.

%% A handler may have given a text to an event that had none.
-spec used(boolean(), binary()) -> binary().
used(true, Text) -> Text;
used(false, _Text) -> <<>>.

-spec pairs([{atom(), binary()}], event()) -> [mod_offline_post_nif:attribute()].
pairs([{Key, Name} | Names], Event) ->
    case Event of
        #{Key := Text} when is_binary(Text) -> [{Name, Text} | pairs(Names, Event)];
        #{Key := Number} when is_integer(Number) -> [{Name, integer_to_binary(Number)} | pairs(Names, Event)];
        #{Key := Word} -> [{Name, atom_to_binary(Word)} | pairs(Names, Event)];
        #{} -> pairs(Names, Event)
    end;
pairs([], _Event) ->
    [].

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
                          [resource, room, nick, sender, stanza_id, origin_id, call_id, text, subject, thread, stanza])
        andalso is_count(maps:get(badge, Event, 0));
is_event(_) ->
    false.

-spec is_address(term()) -> boolean().
is_address({User, Server, Resource}) -> is_binary(User) andalso is_binary(Server) andalso is_binary(Resource);
is_address(_) -> false.

-spec is_count(term()) -> boolean().
is_count(Badge) -> is_integer(Badge) andalso Badge >= 0.
