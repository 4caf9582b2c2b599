%% Whether a room's message names a user (members_notify: mentions): by a reference to the user's JID (XEP-0372), or by
%% the local part of it as a word in what the author has written. A room knows no nick of a user who is not in it. Pure.
-module(mod_offline_post_mention).

-export([prepare/1, is_mentioned/2]).
-export_type([prepared/0]).

-include("xmpp.hrl").

%% What is the same for all whom a message may mention: the bare JIDs that it refers to, and its text.
-opaque prepared() :: {#{jid:ljid() => []}, binary()}.

-spec prepare(message()) -> prepared().
prepare(#message{sub_els = Els} = Message) ->
    {maps:from_list([{Jid, []} || El <- Els, Jid <- reference(El)]),
     string:casefold(mod_offline_post_body:authored(Message))}.

-spec is_mentioned(jid:ljid(), prepared()) -> boolean().
is_mentioned({User, Server, _}, {References, Text}) ->
    is_map_key({User, Server, <<>>}, References) orelse is_word(string:casefold(User), Text).

-spec reference(xmpp_element() | fxml:xmlel()) -> [jid:ljid()].
reference(#xmlel{name = <<"reference">>, attrs = Attrs}) ->
    case [proplists:get_value(Name, Attrs) || Name <- [<<"xmlns">>, <<"type">>, <<"uri">>]] of
        [<<"urn:xmpp:reference:0">>, <<"mention">>, <<"xmpp:", Rest/binary>>] -> jid(Rest);
        _ -> []
    end;
reference(_) ->
    [].

%% RFC 5122: percent-encoded, a query may follow.
-spec jid(binary()) -> [jid:ljid()].
jid(Uri) ->
    [Path | _] = binary:split(Uri, [<<"?">>, <<"#">>]),
    try jid:decode(percent_decoded(Path)) of
        Jid -> [jid:remove_resource(jid:tolower(Jid))]
    catch
        error:_ -> []
    end.

-spec percent_decoded(binary()) -> binary().
percent_decoded(<<$%, High, Low, Rest/binary>>) ->
    <<(binary_to_integer(<<High, Low>>, 16)), (percent_decoded(Rest))/binary>>;
percent_decoded(<<C, Rest/binary>>) ->
    <<C, (percent_decoded(Rest))/binary>>;
percent_decoded(<<>>) ->
    <<>>.

%% Most texts do not hold the word at all, which is found out at once.
-spec is_word(binary(), binary()) -> boolean().
is_word(<<>>, _Text) ->
    false;
is_word(Word, Text) ->
    binary:match(Text, Word) =/= nomatch andalso
        re:run(Text, ["(?<![\\pL\\pN_])", quoted(Word), "(?![\\pL\\pN_])"], [unicode, {capture, none}]) =:= match.

%% Each ASCII character that is no letter, digit or underscore can be escaped with a backslash.
-spec quoted(binary()) -> binary().
quoted(Word) ->
    << <<(if
              C >= 128; C >= $0, C =< $9; C >= $a, C =< $z; C >= $A, C =< $Z; C =:= $_ -> <<C>>;
              true -> <<$\\, C>>
          end)/binary>> || <<C>> <= Word >>.
