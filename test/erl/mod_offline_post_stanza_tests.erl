%% The message as XML: well-formed, whole where the policy says so, and without text or sender where it does not.
-module(mod_offline_post_stanza_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

stanza_test_() ->
    {setup, fun() -> [{ok, _} = application:ensure_all_started(App) || App <- [xmpp, fast_xml]] end,
     [{Name, Test} || {Name, Test} <- [{"whole", fun whole/0}, {"values stay in their place", fun escaped/0},
                                       {"what XML may not have", fun no_xml/0},
                                       {"no text", fun no_text/0}, {"a fixed text", fun fixed_text/0},
                                       {"no sender", fun no_sender/0}, {"no sender, no text", fun neither/0},
                                       {"of a room", fun room/0}, {"of an event", fun of_event/0}]]}.

whole() ->
    Xml = mod_offline_post_stanza:xml(message(), true, true),
    #xmlel{name = <<"message">>} = El = fxml_stream:parse_element(Xml),
    ?assertEqual([<<"jabber:client">>, <<"bob@b.example/phone">>, <<"anna@a.example">>, <<"m1">>, <<"chat">>],
                 [fxml:get_tag_attr_s(Name, El) || Name <- [<<"xmlns">>, <<"from">>, <<"to">>, <<"id">>, <<"type">>]]),
    [has(Part, Xml) || Part <- [<<"secret text">>, <<"secret subject">>, <<"t1">>, <<"<html">>, <<"Bobby">>, <<"o1">>, <<"<delay">>]].

escaped() ->
    Evil = <<"</body><from>x</from> & ]]> \" ' <!-- "/utf8>>,
    Xml = mod_offline_post_stanza:xml((message())#message{id = Evil, body = [#text{data = Evil}]}, true, true),
    El = fxml_stream:parse_element(Xml),
    ?assertEqual({Evil, Evil, false}, {fxml:get_subtag_cdata(El, <<"body">>), fxml:get_tag_attr_s(<<"id">>, El),
                                       fxml:get_subtag(El, <<"from">>)}).

%% Wherever it stands: in a text, an id, an element of the client's, or the text that the operator has chosen.
no_xml() ->
    Bad = <<"a", 2, 0, 16#FFFE/utf8, 16#ED, 16#A0, 16#80, 255, "b">>,
    Good = <<"a", (binary:copy(<<16#FFFD/utf8>>, 7))/binary, "b">>,
    Own = #xmlel{name = <<"x">>, attrs = [{<<"xmlns">>, <<"urn:example:x">>}, {<<"by">>, Bad}], children = [{xmlcdata, Bad}]},
    Message = (message())#message{id = Bad, body = [#text{data = Bad}], thread = #message_thread{data = Bad}, sub_els = [Own]},
    Parsed = fun(Content) -> #xmlel{} = El = fxml_stream:parse_element(mod_offline_post_stanza:xml(Message, Content, true)), El end,
    Whole = Parsed(true),
    ?assertEqual({Good, Good, Good, Good, Good},
                 {fxml:get_subtag_cdata(Whole, <<"body">>), fxml:get_tag_attr_s(<<"id">>, Whole), fxml:get_subtag_cdata(Whole, <<"thread">>),
                  fxml:get_subtag_cdata(Whole, <<"x">>), fxml:get_tag_attr_s(<<"by">>, fxml:get_subtag(Whole, <<"x">>))}),
    ?assertEqual(Good, fxml:get_subtag_cdata(Parsed(Bad), <<"body">>)),
    #xmlel{} = Parsed(false).

%% Ids, delay and hints are left.
no_text() ->
    Xml = mod_offline_post_stanza:xml(message(), false, true),
    [has_not(Part, Xml) || Part <- [<<"secret">>, <<"<body">>, <<"<subject">>, <<"<html">>, <<"<nick">>, <<"urn:example">>]],
    [has(Part, Xml) || Part <- [<<"bob@b.example/phone">>, <<"m1">>, <<"t1">>, <<"o1">>, <<"17">>, <<"<delay">>, <<"<store ">>]],
    #xmlel{} = fxml_stream:parse_element(Xml).

fixed_text() ->
    Xml = mod_offline_post_stanza:xml(message(), <<"New <message>">>, true),
    [has_not(Part, Xml) || Part <- [<<"secret">>, <<"<subject">>]],
    ?assertEqual(<<"New <message>">>, fxml:get_subtag_cdata(fxml_stream:parse_element(Xml), <<"body">>)).

%% Nothing but the text, which may say what it wants.
no_sender() ->
    Xml = mod_offline_post_stanza:xml(message(), true, false),
    [has_not(Part, Xml) || Part <- [<<"bob">>, <<"BOB">>, <<"Bobby">>, <<"occ1">>, <<"from=">>]],
    [has(Part, Xml) || Part <- [<<"secret text">>, <<"secret subject">>, <<"anna@a.example">>, <<"o1">>, <<"stamp=">>]].

neither() ->
    Xml = mod_offline_post_stanza:xml(message(), false, false),
    [has_not(Part, Xml) || Part <- [<<"bob">>, <<"BOB">>, <<"Bobby">>, <<"secret">>, <<"occ1">>, <<"from=">>]],
    has(<<"t1">>, Xml).

%% A room is no sender; who is behind the nick is one, and so is the nick.
room() ->
    Room = jid:make(<<"room">>, <<"m.example">>),
    Behind = #xmlel{name = <<"x">>, attrs = [{<<"xmlns">>, ?NS_MUC_USER}],
                    children = [#xmlel{name = <<"item">>, attrs = [{<<"jid">>, <<"bob@b.example">>}]}]},
    Message = #message{type = groupchat, id = <<"m1">>, body = [#text{data = <<"Hi">>}], to = jid:make(<<"anna">>, <<"a.example">>),
                       from = jid:replace_resource(Room, <<"Bobby & Co">>),
                       sub_els = [Behind, #stanza_id{by = Room, id = <<"17">>}, mention(<<"room@m.example/Bobby & Co">>)]},
    has(<<"bob@b.example">>, mod_offline_post_stanza:xml(Message, true, true)),
    Known = Message#message{sub_els = [mention(<<"BOB@b.example">>), mention(<<"room@m.example">>)]},
    OfKnown = mod_offline_post_stanza:xml(Known, true, false, jid:make(<<"bob">>, <<"b.example">>, <<"phone">>)),
    [has_not(Part, OfKnown) || Part <- [<<"bob">>, <<"BOB">>]],
    has(<<"reference">>, OfKnown),
    Hidden = mod_offline_post_stanza:xml(Message, true, false),
    [has_not(Part, Hidden) || Part <- [<<"bob">>, <<"Bobby">>, <<"reference">>]],
    [has(Part, Hidden) || Part <- [<<"room@m.example">>, <<"17">>, <<"Hi">>]].

%% As the policy says, for the recipient of the event.
of_event() ->
    Policy = #{include_sender => false, include_body => #{default => true, text => <<"News">>},
               uses => mod_offline_post_event:uses([<<"stanza">>])},
    #{stanza := Xml} = mod_offline_post_event:from_message(message(), text, #{trigger => offline, stored => none,
                                                                              to => jid:make(<<"carl">>, <<"a.example">>)}, Policy),
    [has(Part, Xml) || Part <- [<<"News">>, <<"to='carl@a.example'">>]],
    [has_not(Part, Xml) || Part <- [<<"secret">>, <<"bob">>]].

%%%

message() ->
    Bob = jid:make(<<"bob">>, <<"b.example">>, <<"phone">>),
    Html = #xmlel{name = <<"html">>, attrs = [{<<"xmlns">>, <<"http://jabber.org/protocol/xhtml-im">>}],
                  children = [{xmlcdata, <<"secret html">>}]},
    Nick = #xmlel{name = <<"nick">>, attrs = [{<<"xmlns">>, ?NS_NICK}], children = [{xmlcdata, <<"Bobby">>}]},
    Origin = #xmlel{name = <<"origin-id">>, attrs = [{<<"xmlns">>, ?NS_SID_0}, {<<"id">>, <<"o1">>}],
                    children = [{xmlcdata, <<"secret">>}]},
    Occupant = #xmlel{name = <<"occupant-id">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:occupant-id:0">>}, {<<"id">>, <<"occ1">>}]},
    Unknown = #xmlel{name = <<"x">>, attrs = [{<<"xmlns">>, <<"urn:example:x">>}, {<<"by">>, <<"BOB@b.example">>}],
                     children = [{xmlcdata, <<"secret">>}]},
    #message{type = chat, id = <<"m1">>, from = Bob, to = jid:make(<<"anna">>, <<"a.example">>),
             body = [#text{data = <<"secret text">>}], subject = [#text{data = <<"secret subject">>}],
             thread = #message_thread{data = <<"t1">>},
             sub_els = [Html, Nick, Origin, Occupant, Unknown, #stanza_id{by = jid:make(<<"anna">>, <<"a.example">>), id = <<"17">>},
                        #delay{stamp = {1767, 322, 1}, from = Bob, desc = <<"secret">>}, #hint{type = store}]}.

mention(Jid) ->
    #xmlel{name = <<"reference">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:reference:0">>}], children = [{xmlcdata, Jid}]}.

has(Part, Xml) ->
    ?assertNotEqual({Part, nomatch, Xml}, {Part, binary:match(Xml, Part), Xml}).

has_not(Part, Xml) ->
    ?assertEqual({Part, nomatch, Xml}, {Part, binary:match(Xml, Part), Xml}).
