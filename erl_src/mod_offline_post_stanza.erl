%% A message as XML (RFC 6120), with no more in it than the policy tells. Pure.
-module(mod_offline_post_stanza).

-export([xml/3, xml/4]).

-include("xmpp.hrl").

-define(NS_OCCUPANT, <<"urn:xmpp:occupant-id:0">>).
-define(HINTS, [<<"no-permanent-store">>, <<"no-store">>, <<"no-copy">>, <<"store">>]).

%% Content: what stands for the text; if that is not itself, nothing is left that a client has written, but for ids.
%% IncludeSender: if not, nothing is left that names the sender, but for what the sender has written in the text.
-spec xml(message(), mod_offline_post_policy:content(), IncludeSender :: boolean()) -> binary().
xml(Message, Content, IncludeSender) ->
    xml(Message, Content, IncludeSender, undefined).

%% Sender: who is known to be behind a room's nick, if anybody is.
-spec xml(message(), mod_offline_post_policy:content(), IncludeSender :: boolean(), Sender :: jid:jid() | undefined) ->
          binary().
xml(Message, Content, IncludeSender, Sender) ->
    El = with_namespace(without_text(Content, xmpp:encode(Message))),
    %% What comes by an API was not parsed, and a fixed text is an operator's: either may have what XML may not.
    mod_offline_post_text:xml(
      fxml:element_to_binary(case IncludeSender of
                                 true -> El;
                                 false -> without_sender(names(Message) ++ bare(Sender), El)
                             end)).

%% It stands alone in the request.
-spec with_namespace(fxml:xmlel()) -> fxml:xmlel().
with_namespace(#xmlel{attrs = Attrs} = El) ->
    El#xmlel{attrs = lists:keystore(<<"xmlns">>, 1, Attrs, {<<"xmlns">>, ?NS_CLIENT})}.

-spec without_text(mod_offline_post_policy:content(), fxml:xmlel()) -> fxml:xmlel().
without_text(true, El) ->
    El;
without_text(Content, #xmlel{children = Children} = El) ->
    El#xmlel{children = body(Content) ++ lists:append([told(Child) || #xmlel{} = Child <- Children])}.

-spec body(false | binary()) -> [fxml:xmlel()].
body(false) -> [];
body(Text) -> [#xmlel{name = <<"body">>, children = [{xmlcdata, Text}]}].

%% What tells no text: ids, when it was sent, how to treat it.
-spec told(fxml:xmlel()) -> [fxml:xmlel()].
told(#xmlel{name = <<"thread">>} = El) ->
    [El];
told(#xmlel{name = Name} = El) ->
    case {namespace(El), Name} of
        {?NS_SID_0, <<"stanza-id">>} -> [only(El, [<<"id">>, <<"by">>])];
        {?NS_SID_0, <<"origin-id">>} -> [only(El, [<<"id">>])];
        {?NS_DELAY, <<"delay">>} -> [only(El, [<<"from">>, <<"stamp">>])];
        {?NS_HINTS, Hint} -> [only(El, []) || lists:member(Hint, ?HINTS)];
        {?NS_OCCUPANT, <<"occupant-id">>} -> [only(El, [<<"id">>])];
        _ -> []
    end.

%% Without whatever a client may have added to it.
-spec only(fxml:xmlel(), [binary()]) -> fxml:xmlel().
only(#xmlel{attrs = Attrs} = El, Names) ->
    El#xmlel{attrs = [Attr || {Name, _} = Attr <- Attrs, lists:member(Name, [<<"xmlns">> | Names])], children = []}.

-spec without_sender(Names :: [binary()], fxml:xmlel()) -> fxml:xmlel().
without_sender(Names, #xmlel{attrs = Attrs, children = Children} = El) ->
    El#xmlel{attrs = lists:keydelete(<<"from">>, 1, Attrs),
             children = [without_from(Child) || #xmlel{} = Child <- Children, not is_of_sender(Child, Names)]}.

-spec without_from(fxml:xmlel()) -> fxml:xmlel().
without_from(#xmlel{name = <<"delay">>, attrs = Attrs} = El) ->
    El#xmlel{attrs = lists:keydelete(<<"from">>, 1, Attrs)};
without_from(El) ->
    El.

-spec is_of_sender(fxml:xmlel(), [binary()]) -> boolean().
is_of_sender(#xmlel{name = Name}, _Names) when Name =:= <<"body">>; Name =:= <<"subject">>; Name =:= <<"thread">> ->
    false;
is_of_sender(#xmlel{name = <<"delay">>}, _Names) ->
    false;
is_of_sender(El, Names) ->
    is_about_sender(namespace(El)) orelse
        binary:match(string:lowercase(fxml:element_to_binary(El)), Names) =/= nomatch.

%% What names the sender by its nature.
-spec is_about_sender(Namespace :: binary()) -> boolean().
is_about_sender(?NS_NICK) -> true;
is_about_sender(?NS_OCCUPANT) -> true;
is_about_sender(?NS_ADDRESS) -> true;
is_about_sender(<<"http://jabber.org/protocol/muc", _/binary>>) -> true;
is_about_sender(<<"vcard-temp", _/binary>>) -> true;
is_about_sender(_) -> false.

%% How whatever else is in the message might name the sender. A room may be told, so of a room's message only the whole
%% address counts.
-spec names(message()) -> [binary()].
names(#message{type = groupchat, from = From}) ->
    [escaped(jid:encode(From))];
names(#message{from = From}) ->
    bare(From).

-spec bare(jid:jid() | undefined) -> [binary()].
bare(undefined) -> [];
bare(Jid) -> [escaped(jid:encode(jid:remove_resource(Jid)))].

-spec escaped(binary()) -> binary().
escaped(Text) ->
    string:lowercase(fxml:crypt(Text)).

-spec namespace(fxml:xmlel()) -> binary().
namespace(#xmlel{attrs = Attrs}) ->
    case lists:keyfind(<<"xmlns">>, 1, Attrs) of
        {_, Namespace} -> Namespace;
        false -> <<>>
    end.
