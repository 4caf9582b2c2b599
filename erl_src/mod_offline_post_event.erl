%% From a stanza to the event that the native side delivers. Pure.
-module(mod_offline_post_event).

-export([from_message/1]).

-include("xmpp.hrl").

%% What tells somebody that they have something to read: a chat message with a text.
%% Addresses are in their prepared forms, so that a receiver can compare them byte by byte.
-spec from_message(message()) -> {ok, mod_offline_post_nif:event()} | ignore.
from_message(#message{type = chat, body = [_ | _] = Bodies, lang = Lang, id = Id,
                      from = #jid{} = From, to = #jid{} = To}) ->
    case text(Bodies, Lang) of
        <<>> -> ignore;
        Text -> {ok, {jid:tolower(To), jid:tolower(From), Id, Text}}
    end;
from_message(#message{}) ->
    ignore.

%% The text in the message's language, else the first one (RFC 6121, section 5.2.3: one body per language).
-spec text([#text{}], binary()) -> binary().
text([#text{data = Text}], _Lang) ->
    Text;
text(Bodies, Lang) ->
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
