%% What kind of message a stanza is, by its elements. Pure. docs/events.md has the same as a table.
-module(mod_offline_post_kind).

-export([classify/1, is_encrypted/1, call/1, call_end/2, kinds/0]).

-include("xmpp.hrl").

-define(NS_JINGLE_MESSAGE, <<"urn:xmpp:jingle-message:0">>).
-define(NS_CALL_INVITES, <<"urn:xmpp:call-invites:0">>).

-type element() :: xmpp_element() | fxml:xmlel().

%% What the elements beside body, subject and thread say; the smallest wins. A reaction with a fallback body is a
%% reaction, an encrypted file is encrypted.
-define(NO_STORE, 0).
-define(CALL, 1).
-define(RETRACTION, 2).
-define(REACTION, 3).
-define(CORRECTION, 4).
-define(KEY_TRANSPORT, 5).
-define(ENCRYPTED, 6).
-define(ANNOUNCED_ENCRYPTION, 7).
-define(INVITATION, 8).
-define(SHARED_FILE, 9).
%% A body comes before what follows.
-define(MARKER, 10).
-define(RECEIPT, 11).
-define(UNKNOWN, 12).
-define(NOTHING, 13).

-spec kinds() -> [mod_offline_post_event:kind(), ...].
kinds() ->
    [text, encrypted, call, call_end, file, reaction, correction, retraction, marker, receipt, invitation, subject,
     headline, other].

%% none: nothing that anybody is ever notified of.
-spec classify(message()) -> mod_offline_post_event:kind() | none.
classify(#message{type = error}) ->
    none;
classify(#message{type = Type, sub_els = Els} = Message) ->
    case of_what(strongest(Els, ?NOTHING), Message) of
        none -> none;
        _ when Type =:= headline -> headline;
        Kind -> Kind
    end.

-spec of_what(non_neg_integer(), message()) -> mod_offline_post_event:kind() | none.
of_what(?NO_STORE, _) -> none;
of_what(?CALL, _) -> call;
of_what(?RETRACTION, _) -> retraction;
of_what(?REACTION, _) -> reaction;
of_what(?CORRECTION, _) -> correction;
of_what(?KEY_TRANSPORT, _) -> none;
of_what(?ENCRYPTED, _) -> encrypted;
of_what(?ANNOUNCED_ENCRYPTION, _) -> encrypted;
of_what(?INVITATION, _) -> invitation;
of_what(?SHARED_FILE, _) -> file;
of_what(What, #message{body = [_ | _]} = Message) ->
    case mod_offline_post_body:is_blank(mod_offline_post_body:unmarked(Message)) of
        true -> without_text(What, Message);
        false -> text
    end;
of_what(What, Message) ->
    without_text(What, Message).

-spec without_text(non_neg_integer(), message()) -> mod_offline_post_event:kind() | none.
without_text(?MARKER, _) -> marker;
without_text(?RECEIPT, _) -> receipt;
without_text(_, #message{subject = [_ | _]}) -> subject;
without_text(?UNKNOWN, _) -> other;
without_text(?NOTHING, _) -> none.

%% Whether the body, if there is one, was written by the client for recipients who cannot decrypt the message.
-spec is_encrypted(message()) -> boolean().
is_encrypted(#message{sub_els = Els}) ->
    lists:any(fun(El) -> lists:member(strongest([El], ?NOTHING), [?KEY_TRANSPORT, ?ENCRYPTED, ?ANNOUNCED_ENCRYPTION]) end,
              Els).

-spec strongest([element()], non_neg_integer()) -> non_neg_integer().
strongest([#xmlel{name = Name, attrs = Attrs} = El | Els], Best) ->
    Namespace = case lists:keyfind(<<"xmlns">>, 1, Attrs) of
                    {_, Value} -> Value;
                    false -> <<>>
                end,
    strongest(Els, min(Best, element(Namespace, Name, El)));
strongest([El | Els], Best) ->
    strongest(Els, min(Best, decoded(El)));
strongest([], Best) ->
    Best.

%% The records that ejabberd puts into most messages, and whatever else its XMPP library knows.
-spec decoded(xmpp_element()) -> non_neg_integer().
decoded(#stanza_id{}) -> ?NOTHING;
decoded(#origin_id{}) -> ?NOTHING;
decoded(#mam_archived{}) -> ?NOTHING;
decoded(#delay{}) -> ?NOTHING;
decoded(#chatstate{}) -> ?NOTHING;
decoded(El) ->
    #xmlel{name = Name} = Raw = xmpp:encode(El),
    element(xmpp:get_ns(Raw), Name, Raw).

-spec element(Namespace :: binary(), Name :: binary(), fxml:xmlel()) -> non_neg_integer().
%% What accompanies a message and is none.
element(<<"http://jabber.org/protocol/chatstates">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:sid:0">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:delay">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:hints">>, <<"no-store">>, _) -> ?NO_STORE;
element(<<"urn:xmpp:hints">>, <<"no-storage">>, _) -> ?NO_STORE;
element(<<"urn:xmpp:hints">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:receipts">>, <<"received">>, _) -> ?RECEIPT;
element(<<"urn:xmpp:receipts">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:chat-markers:0">>, <<"markable">>, _) -> ?NOTHING;
element(<<"urn:xmpp:chat-markers:0">>, _, _) -> ?MARKER;
%% XEP-0384, 0.3 and 0.8: without a payload only keys are exchanged.
element(<<"eu.siacs.conversations.axolotl">>, <<"encrypted">>, El) -> omemo(El);
element(<<"urn:xmpp:omemo:2">>, <<"encrypted">>, El) -> omemo(El);
%% XEP-0373 and XEP-0027
element(<<"urn:xmpp:openpgp:0">>, <<"openpgp">>, _) -> ?ENCRYPTED;
element(<<"jabber:x:encrypted">>, <<"x">>, _) -> ?ENCRYPTED;
element(<<"urn:xmpp:eme:0">>, <<"encryption">>, _) -> ?ANNOUNCED_ENCRYPTION;
%% XEP-0353 and XEP-0482, in which older clients call an invite a propose. The other elements of a call notify nobody.
element(?NS_JINGLE_MESSAGE, <<"propose">>, _) -> ?CALL;
element(?NS_JINGLE_MESSAGE, _, _) -> ?NOTHING;
element(?NS_CALL_INVITES, Name, _) when Name =:= <<"invite">>; Name =:= <<"propose">> -> ?CALL;
element(?NS_CALL_INVITES, _, _) -> ?NOTHING;
element(<<"urn:xmpp:reactions:0">>, <<"reactions">>, _) -> ?REACTION;
element(<<"urn:xmpp:message-correct:0">>, <<"replace">>, _) -> ?CORRECTION;
%% XEP-0424 since 0.4, and before, where it lies in XEP-0422's element.
element(<<"urn:xmpp:message-retract:1">>, <<"retract">>, _) -> ?RETRACTION;
element(<<"urn:xmpp:message-retract:0">>, <<"retract">>, _) -> ?RETRACTION;
element(<<"urn:xmpp:fasten:0">>, <<"apply-to">>, El) -> fastened(El);
%% XEP-0425, both namespaces; the older one lies in XEP-0422's element, the newer one in XEP-0424's.
element(<<"urn:xmpp:message-moderate:", _/binary>>, <<"moderated">>, _) -> ?RETRACTION;
element(<<"jabber:x:oob">>, <<"x">>, _) -> ?SHARED_FILE;
element(<<"urn:xmpp:sfs:0">>, <<"file-sharing">>, _) -> ?SHARED_FILE;
%% XEP-0045: the same element is in private messages of a room, there without an invitation.
element(<<"http://jabber.org/protocol/muc#user">>, <<"x">>, El) -> room(El);
element(<<"jabber:x:conference">>, <<"x">>, _) -> ?INVITATION;
%% Copies: of what was sent to, or archived for, somebody already.
element(<<"urn:xmpp:carbons:2">>, Name, _) when Name =:= <<"sent">>; Name =:= <<"received">> -> ?NO_STORE;
element(<<"urn:xmpp:carbons:2">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:mam:", _/binary>>, <<"result">>, _) -> ?NO_STORE;
element(<<"urn:xmpp:mam:", _/binary>>, _, _) -> ?NOTHING;
%% What tells how to show the text, or who wrote it.
element(<<"http://jabber.org/protocol/xhtml-im">>, _, _) -> ?NOTHING;
element(<<"http://jabber.org/protocol/nick">>, _, _) -> ?NOTHING;
element(<<"http://jabber.org/protocol/address">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:fallback:0">>, _, _) -> ?NOTHING;
element(<<"urn:xmpp:reply:0">>, _, _) -> ?NOTHING;
element(<<"jabber:x:delay">>, _, _) -> ?NOTHING;
element(<<"jabber:x:event">>, _, _) -> ?NOTHING;
element(_, Name, _) when Name =:= <<"thread">>; Name =:= <<"body">>; Name =:= <<"subject">> -> ?NOTHING;
element(_, _, _) -> ?UNKNOWN.

-spec omemo(fxml:xmlel()) -> non_neg_integer().
omemo(El) ->
    case fxml:get_subtag(El, <<"payload">>) of
        #xmlel{children = [_ | _]} -> ?ENCRYPTED;
        _ -> ?KEY_TRANSPORT
    end.

-spec fastened(fxml:xmlel()) -> non_neg_integer().
fastened(#xmlel{children = Children}) ->
    case [Name || #xmlel{name = Name} <- Children, Name =:= <<"retract">> orelse Name =:= <<"moderated">>] of
        [] -> ?UNKNOWN;
        _ -> ?RETRACTION
    end.

-spec room(fxml:xmlel()) -> non_neg_integer().
room(El) ->
    case {fxml:get_subtag(El, <<"invite">>), El} of
        {#xmlel{}, _} -> ?INVITATION;
        {false, #xmlel{children = []}} -> ?NOTHING;
        _ -> ?UNKNOWN
    end.

%%% Calls

%% Which way a message went: to the account whose call it may end, or from it.
-type direction() :: received | sent.

%% The id of the call that a message offers.
-spec call(message()) -> {ok, CallId :: binary()} | none.
call(#message{sub_els = Els} = Message) ->
    offer(Els, Message).

-spec offer([element()], message()) -> {ok, binary()} | none.
offer([El | Els], Message) ->
    case of_call(El) of
        {?NS_JINGLE_MESSAGE, <<"propose">>, <<_, _/binary>> = Id} -> {ok, Id};
        {?NS_CALL_INVITES, Name, Id} when Name =:= <<"invite">>; Name =:= <<"propose">> -> invite_id(Id, Message);
        %% A call without an id cannot be named by another message.
        _ -> offer(Els, Message)
    end;
offer([], _Message) ->
    none.

%% XEP-0482, section 3.1: an invite is named by the id of its message. Some clients give the invite an id of its own.
-spec invite_id(binary(), message()) -> {ok, binary()} | none.
invite_id(<<_, _/binary>> = Id, _Message) -> {ok, Id};
invite_id(<<>>, #message{type = groupchat, from = #jid{} = From} = Message) ->
    first([mod_offline_post_event:stanza_id(Message, From)]);
invite_id(<<>>, #message{id = Id} = Message) ->
    first([mod_offline_post_event:origin_id(Message), Id]).

-spec first([binary()]) -> {ok, binary()} | none.
first([<<_, _/binary>> = Id | _]) -> {ok, Id};
first([_ | Ids]) -> first(Ids);
first([]) -> none.

%% The id of the call that is over, with this message, for the account that has received or sent it. Runs for each
%% message to or from a local account.
-spec call_end(message(), direction()) -> {ok, CallId :: binary()} | none.
call_end(#message{type = error}, _Direction) -> none;
call_end(#message{sub_els = Els, type = Type}, Direction) -> ending(Els, {Type, Direction}).

-spec ending([element()], {message_type(), direction()}) -> {ok, binary()} | none.
ending([#xmlel{name = Name} = El | Els], Of) when Name =:= <<"retract">>; Name =:= <<"accept">>; Name =:= <<"reject">>;
                                                  Name =:= <<"finish">>; Name =:= <<"left">>; Name =:= <<"proceed">> ->
    case of_call(El) of
        {Namespace, _, <<_, _/binary>> = Id} ->
            case is_end(Namespace, Name, Of) of
                true -> {ok, Id};
                false -> ending(Els, Of)
            end;
        _ ->
            ending(Els, Of)
    end;
ending([#xmlel{} | Els], Of) ->
    ending(Els, Of);
ending([El | Els], Of) ->
    %% No release's XMPP library knows these elements, but the next one may.
    case of_call(El) of
        none -> ending(Els, Of);
        _ -> ending([xmpp:encode(El) | Els], Of)
    end;
ending([], _Of) ->
    none.

-spec is_end(Namespace :: binary(), Name :: binary(), {message_type(), direction()}) -> boolean().
is_end(?NS_JINGLE_MESSAGE, Name, {_, received}) -> Name =/= <<"proceed">> andalso Name =/= <<"left">>;
%% A device of the callee answers, declines or hangs up. The caller's `retract` is received.
is_end(?NS_JINGLE_MESSAGE, Name, {_, sent}) -> Name =/= <<"retract">> andalso Name =/= <<"left">>;
%% In a room others may join or decline, and the invitation still holds for this account.
is_end(?NS_CALL_INVITES, Name, {groupchat, received}) -> Name =:= <<"retract">>;
is_end(?NS_CALL_INVITES, Name, {_, received}) -> lists:member(Name, [<<"retract">>, <<"accept">>, <<"reject">>, <<"left">>]);
is_end(?NS_CALL_INVITES, Name, {_, sent}) -> lists:member(Name, [<<"accept">>, <<"reject">>, <<"left">>]).

%% Of an element of these two specifications. What is in it is not looked into: there may be thousands of ways to join.
-spec of_call(element()) -> {Namespace :: binary(), Name :: binary(), Id :: binary()} | none.
of_call(#xmlel{name = Name, attrs = Attrs}) ->
    case lists:keyfind(<<"xmlns">>, 1, Attrs) of
        {_, Namespace} when Namespace =:= ?NS_JINGLE_MESSAGE; Namespace =:= ?NS_CALL_INVITES ->
            {Namespace, Name, case lists:keyfind(<<"id">>, 1, Attrs) of
                                  {_, Id} -> Id;
                                  false -> <<>>
                              end};
        _ ->
            none
    end;
%% The records that are in many messages.
of_call(El) when element(1, El) =:= stanza_id; element(1, El) =:= origin_id; element(1, El) =:= mam_archived;
                 element(1, El) =:= delay; element(1, El) =:= chatstate; element(1, El) =:= ps_event ->
    none;
of_call(El) ->
    case xmpp:get_ns(El) of
        Namespace when Namespace =:= ?NS_JINGLE_MESSAGE; Namespace =:= ?NS_CALL_INVITES -> of_call(xmpp:encode(El));
        _ -> none
    end.
