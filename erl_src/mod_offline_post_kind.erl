%% What kind of message a stanza is, by its elements. Pure. docs/events.md has the same as a table.
-module(mod_offline_post_kind).

-export([classify/1, call/1, call_withdrawal/1, kinds/0]).

-include("xmpp.hrl").

-define(NS_JINGLE_MESSAGE, <<"urn:xmpp:jingle-message:0">>).

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
    [text, encrypted, call, file, reaction, correction, retraction, marker, receipt, invitation, subject, headline,
     other].

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
    case mod_offline_post_event:text(Message) of
        <<>> -> without_text(What, Message);
        _ -> text
    end;
of_what(What, Message) ->
    without_text(What, Message).

-spec without_text(non_neg_integer(), message()) -> mod_offline_post_event:kind() | none.
without_text(?MARKER, _) -> marker;
without_text(?RECEIPT, _) -> receipt;
without_text(_, #message{subject = [_ | _]}) -> subject;
without_text(?UNKNOWN, _) -> other;
without_text(?NOTHING, _) -> none.

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
%% XEP-0353: of what else is said about a call nobody needs to hear.
element(?NS_JINGLE_MESSAGE, <<"propose">>, _) -> ?CALL;
element(?NS_JINGLE_MESSAGE, _, _) -> ?NOTHING;
element(<<"urn:xmpp:reactions:0">>, <<"reactions">>, _) -> ?REACTION;
element(<<"urn:xmpp:message-correct:0">>, <<"replace">>, _) -> ?CORRECTION;
%% XEP-0424 since 0.4, and before, where it lies in XEP-0422's element.
element(<<"urn:xmpp:message-retract:1">>, <<"retract">>, _) -> ?RETRACTION;
element(<<"urn:xmpp:message-retract:0">>, <<"retract">>, _) -> ?RETRACTION;
element(<<"urn:xmpp:fasten:0">>, <<"apply-to">>, El) -> fastened(El);
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
    case [retract || #xmlel{name = <<"retract">>} <- Children] of
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

%% The session that a `propose` offers.
-spec call(message()) -> {ok, SessionId :: binary()} | none.
call(Message) ->
    session(Message, [<<"propose">>]).

%% The session that rings no longer: taken back by the caller, or answered or declined on a device of the recipient.
-spec call_withdrawal(message()) -> {ok, SessionId :: binary()} | none.
call_withdrawal(Message) ->
    session(Message, [<<"retract">>, <<"accept">>, <<"reject">>, <<"finish">>]).

-spec session(message(), [binary()]) -> {ok, binary()} | none.
session(#message{sub_els = Els}, Names) ->
    find_session(Els, Names).

-spec find_session([element()], [binary()]) -> {ok, binary()} | none.
find_session([#xmlel{name = Name, attrs = Attrs} | Els], Names) ->
    case lists:keyfind(<<"xmlns">>, 1, Attrs) of
        {_, ?NS_JINGLE_MESSAGE} ->
            case {lists:member(Name, Names), lists:keyfind(<<"id">>, 1, Attrs)} of
                {true, {_, <<_, _/binary>> = Id}} -> {ok, Id};
                %% Without an id it is no session that anything else could speak of.
                _ -> find_session(Els, Names)
            end;
        _ ->
            find_session(Els, Names)
    end;
find_session([El | Els], Names) when element(1, El) =:= stanza_id; element(1, El) =:= origin_id ->
    find_session(Els, Names);
find_session([El | Els], Names) ->
    %% No release's XMPP library knows these elements, but the next one may.
    case xmpp:get_ns(El) of
        ?NS_JINGLE_MESSAGE -> find_session([xmpp:encode(El) | Els], Names);
        _ -> find_session(Els, Names)
    end;
find_session([], _Names) ->
    none.
