%% A literal stanza for each row of the table of kinds in docs/events.md, as ejabberd holds it in a session (elements raw)
%% and as its modules may leave it (elements decoded, as far as this release knows them).
-module(mod_offline_post_kind_tests).

%% For Common Test, which sends each of them.
-export([content/0]).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(KEYS, "<header sid='1'><key rid='2'>aa</key><iv>bb</iv></header>").
-define(OMEMO_03, "<encrypted xmlns='eu.siacs.conversations.axolotl'>" ?KEYS "<payload>cc</payload></encrypted>").
-define(OMEMO_08, "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'><keys jid='a@b'><key rid='2'>aa</key></keys></header>"
        "<payload>cc</payload></encrypted>").
-define(OPENPGP, "<openpgp xmlns='urn:xmpp:openpgp:0'>aa</openpgp>").
-define(PGP, "<x xmlns='jabber:x:encrypted'>aa</x>").
-define(EME(Of), "<encryption xmlns='urn:xmpp:eme:0' namespace='" Of "'/>").
-define(FALLBACK, "<body>This message is encrypted.</body>").
-define(OOB, "<x xmlns='jabber:x:oob'><url>https://up.example/a.jpg</url></x>").
-define(SFS, "<file-sharing xmlns='urn:xmpp:sfs:0' disposition='inline'><file xmlns='urn:xmpp:file:metadata:0'/></file-sharing>").
-define(PROPOSE, ?PROPOSE_AS("s1")).
-define(PROPOSE_AS(Id), "<propose xmlns='urn:xmpp:jingle-message:0' id='" Id "'>"
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>").
-define(INVITES, "xmlns='urn:xmpp:call-invites:0'").
-define(FALLBACK_FOR(For), "<fallback xmlns='urn:xmpp:fallback:0' for='" For "'/>").
-define(REPLY, "<reply xmlns='urn:xmpp:reply:0' to='anna@a.example' id='m0'/>").
-define(QUOTATION(End), "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='" End "'/></fallback>").
-define(REACTIONS, "<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>x</reaction></reactions>").
-define(REPLACE, "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>").
-define(ACTIVE, "<active xmlns='http://jabber.org/protocol/chatstates'/>").
-define(ORIGIN, "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>").
-define(STANZA_ID, "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='anna@a.example'/>").
-define(REQUEST, "<request xmlns='urn:xmpp:receipts'/>").
-define(MARKABLE, "<markable xmlns='urn:xmpp:chat-markers:0'/>").
-define(STORE, "<store xmlns='urn:xmpp:hints'/>").
-define(DELAY, "<delay xmlns='urn:xmpp:delay' from='a.example' stamp='2026-01-31T12:00:00Z'/>").

classify_test_() ->
    {setup, fun start/0,
     fun(_) ->
             [{Name, [?_assertEqual({How, Kind}, {How, mod_offline_post_kind:classify(Message)}) ||
                         {How, Message} <- held(Type, Content)]} ||
                 {Name, Kind, Content, Types} <- table(), Type <- Types]
     end}.

table() ->
    Any = ["chat", "normal", "groupchat"],
    [{Name, Kind, Content, Any} || {Name, Kind, Content} <- content()]
        ++ [{"headline " ++ Name, case Kind of none -> none; _ -> headline end, Content, ["headline"]} ||
               {Name, Kind, Content} <- content()]
        ++ [{"error " ++ Name, none, [Content, "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"],
             ["error"]} || {Name, _, Content} <- content()].

%% {Name, Kind or none, what is in the message}
content() ->
    [{"text", text, "<body>Hello</body>"},
     {"text in a language", text, "<body xml:lang='de'/><body xml:lang='en'>Hello</body>"},
     {"text with a subject", text, "<subject>s</subject><body>Hello</body>"},
     {"text with what clients add", text,
      "<body>Hello</body>" ?ACTIVE ?ORIGIN ?STANZA_ID ?REQUEST ?MARKABLE ?STORE ?DELAY "<thread>t</thread>"},
     {"text with what nobody knows", text, "<body>Hello</body><x xmlns='urn:example:unknown'/>"},
     {"text with a nick and XHTML", text, "<body>Hello</body><nick xmlns='http://jabber.org/protocol/nick'>B</nick>"
      "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>Hello</body></html>"},
     {"a private message of a room", text, "<body>Hello</body><x xmlns='http://jabber.org/protocol/muc#user'/>"},
     {"a text with a marker", text, "<body>Hello</body><displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>"},
     {"a text with a receipt", text, "<body>Hello</body><received xmlns='urn:xmpp:receipts' id='m0'/>"},
     {"OMEMO 0.3", encrypted, ?OMEMO_03},
     {"OMEMO 0.3 with fallback", encrypted, ?FALLBACK ?OMEMO_03 ?EME("eu.siacs.conversations.axolotl") ?STORE},
     {"OMEMO 0.8", encrypted, ?OMEMO_08},
     {"OMEMO 0.8 with fallback", encrypted, ?FALLBACK ?OMEMO_08 ?EME("urn:xmpp:omemo:2") ?STORE},
     {"OpenPGP", encrypted, ?OPENPGP}, {"OpenPGP with fallback", encrypted, ?FALLBACK ?OPENPGP ?EME("urn:xmpp:openpgp:0")},
     {"legacy OpenPGP", encrypted, ?PGP}, {"legacy OpenPGP with fallback", encrypted, ?FALLBACK ?PGP},
     {"EME alone", encrypted, ?EME("urn:xmpp:otr:0")},
     {"EME with fallback", encrypted, "<body>?OTR:AAA=</body>" ?EME("urn:xmpp:otr:0")},
     {"an encrypted file", encrypted, ?FALLBACK ?OMEMO_03 ?OOB},
     {"key transport 0.3", none, "<encrypted xmlns='eu.siacs.conversations.axolotl'>" ?KEYS "</encrypted>"},
     {"key transport 0.3 with EME and store", none,
      "<encrypted xmlns='eu.siacs.conversations.axolotl'>" ?KEYS "</encrypted>" ?EME("eu.siacs.conversations.axolotl") ?STORE},
     {"key transport 0.8", none, "<encrypted xmlns='urn:xmpp:omemo:2'>" ?KEYS "</encrypted>"},
     {"key transport 0.8, empty payload", none, "<encrypted xmlns='urn:xmpp:omemo:2'>" ?KEYS "<payload/></encrypted>"},
     {"key transport with fallback", none, ?FALLBACK "<encrypted xmlns='urn:xmpp:omemo:2'>" ?KEYS "</encrypted>"},
     {"call", call, ?PROPOSE ?STORE}, {"call with a text", call, "<body>Calling you</body>" ?PROPOSE_AS("s2")},
     {"call retracted", none, "<retract xmlns='urn:xmpp:jingle-message:0' id='s9'/>" ?STORE},
     {"call accepted", none, "<accept xmlns='urn:xmpp:jingle-message:0' id='s9'/>"},
     {"call proceeds", none, "<proceed xmlns='urn:xmpp:jingle-message:0' id='s9'/>"},
     {"call rings", none, "<ringing xmlns='urn:xmpp:jingle-message:0' id='s9'/>"},
     {"call rejected", none, "<reject xmlns='urn:xmpp:jingle-message:0' id='s9'/>"},
     {"call finished", none, "<finish xmlns='urn:xmpp:jingle-message:0' id='s9'/>" ?STORE},
     {"call with a text that retracts another", text, "<body>Call over</body><retract xmlns='urn:xmpp:jingle-message:0' id='s9'/>"},
     {"call over, with a fallback", none, "<body>Call over</body><finish xmlns='urn:xmpp:jingle-message:0' id='s9'/>"
      ?FALLBACK_FOR("urn:xmpp:jingle-message:0")},
     {"call invite", call, "<invite " ?INVITES " video='true'><jingle sid='s3'/></invite>" ?STORE},
     {"call invite with a text", call, "<body>/me requests a talk</body><invite " ?INVITES "><external uri='tel:1'/></invite>"},
     {"call invite of an older client", call, "<propose " ?INVITES "><muji xmlns='urn:xmpp:jingle:muji:0' room='r@m.example'/></propose>"},
     {"call invite retracted", none, "<retract " ?INVITES " id='s9'/>" ?STORE},
     {"call invite accepted", none, "<accept " ?INVITES " id='s9'><jingle sid='s3'/></accept>"},
     {"call invite rejected", none, "<reject " ?INVITES " id='s9'/>"},
     {"call left", none, "<left " ?INVITES " id='s9'/>"},
     {"file by OOB", file, "<body>https://up.example/a.jpg</body>" ?OOB}, {"file by OOB alone", file, ?OOB},
     {"file by SFS", file, "<body>https://up.example/a.jpg</body>" ?SFS}, {"file by SFS alone", file, ?SFS},
     {"reaction", reaction, ?REACTIONS ?STORE}, {"reaction with fallback", reaction,
      "<body>&gt; Hi&#10;x</body>" ?REACTIONS "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reactions:0'/>"},
     {"correction", correction, "<body>Hello!</body>" ?REPLACE}, {"correction of an encrypted message", correction, ?OMEMO_03 ?REPLACE},
     {"retraction since 0.4", retraction, "<retract xmlns='urn:xmpp:message-retract:1' id='m0'/>"
      "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/><body>Gone</body>" ?STORE},
     {"retraction before", retraction, "<apply-to xmlns='urn:xmpp:fasten:0' id='m0'>"
      "<retract xmlns='urn:xmpp:message-retract:0'/></apply-to><body>Gone</body>"},
     {"retraction before, unwrapped", retraction, "<retract xmlns='urn:xmpp:message-retract:0' id='m0'/>"},
     {"moderation before", retraction, "<apply-to xmlns='urn:xmpp:fasten:0' id='m0'><moderated xmlns='urn:xmpp:message-moderate:0' "
      "by='r@m.example/a'><retract xmlns='urn:xmpp:message-retract:0'/></moderated></apply-to>"},
     {"moderation", retraction, "<retract xmlns='urn:xmpp:message-retract:1' id='m0'><moderated "
      "xmlns='urn:xmpp:message-moderate:1' by='r@m.example/a'/></retract><body>Gone</body>" ?FALLBACK_FOR("urn:xmpp:message-retract:1")},
     {"moderation alone", retraction, "<moderated xmlns='urn:xmpp:message-moderate:1' by='r@m.example/a'/>"},
     {"something else that is fastened", other, "<apply-to xmlns='urn:xmpp:fasten:0' id='m0'><x xmlns='urn:example:x'/></apply-to>"},
     {"reply", text, "<body>&gt; Hi&#10;Yes</body>" ?REPLY ?QUOTATION("5")},
     {"reply without a fallback", text, "<body>Yes</body>" ?REPLY},
     {"reply with nothing of its own", none, "<body>&gt; Hi&#10;</body>" ?REPLY ?QUOTATION("5")},
     {"reply with blanks of its own", none, "<body>&gt; Hi&#10; &#10;</body>" ?REPLY ?QUOTATION("5")},
     {"text whose subject is a fallback", text, "<subject>s</subject><body>Hello</body><fallback xmlns='urn:xmpp:fallback:0' "
      "for='urn:example:x'><subject/></fallback>"},
     {"what nobody knows, with a fallback", other, "<body>A poll</body><poll xmlns='urn:example:poll'/>" ?FALLBACK_FOR("urn:example:poll")},
     {"text with ranges that cannot be read", text, "<body>Hello</body><fallback xmlns='urn:xmpp:fallback:0'><body start='-1' end='9'/>"
      "<body start='x'/><body start='4' end='2'/></fallback>"},
     {"marker", marker, "<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>" ?STORE},
     {"marker received", marker, "<received xmlns='urn:xmpp:chat-markers:0' id='m0'/>"},
     {"marker and receipt", marker, "<received xmlns='urn:xmpp:receipts' id='m0'/><received xmlns='urn:xmpp:chat-markers:0' id='m0'/>"},
     {"receipt", receipt, "<received xmlns='urn:xmpp:receipts' id='m0'/>" ?STORE},
     {"mediated invitation", invitation, "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='b@b.example'>"
      "<reason>Come</reason></invite></x>"},
     {"mediated invitation with text", invitation, "<body>b invites you</body><x xmlns='http://jabber.org/protocol/muc#user'>"
      "<invite from='b@b.example'/></x><x xmlns='jabber:x:conference' jid='r@m.example'/>"},
     {"direct invitation", invitation, "<x xmlns='jabber:x:conference' jid='r@m.example' reason='Come'/>"},
     {"subject", subject, "<subject>News</subject>"}, {"subject removed", subject, "<subject/>"},
     {"subject and empty body", subject, "<subject>News</subject><body/>"},
     {"other", other, "<x xmlns='urn:example:unknown'/>"},
     {"other, with no-permanent-store", other, "<x xmlns='urn:example:unknown'/><no-permanent-store xmlns='urn:xmpp:hints'/>"},
     {"a declined invitation", other, "<x xmlns='http://jabber.org/protocol/muc#user'><decline from='b@b.example'/></x>"},
     {"a location", other, "<geoloc xmlns='http://jabber.org/protocol/geoloc'><lat>1</lat></geoloc>"},
     {"nothing", none, ""}, {"empty body", none, "<body/>"},
     {"blank body", none, "<body> &#9;&#10;&#xa0;&#x3000;&#x2003;</body>"},
     {"blank bodies", none, "<body xml:lang='de'> </body><body xml:lang='en'>&#xa0;</body>"},
     {"blank body beside a text", text, "<body xml:lang='de'> </body><body xml:lang='en'>Hello</body>"},
     {"blank body with a receipt", receipt, "<body> </body><received xmlns='urn:xmpp:receipts' id='m0'/>"},
     {"subject and blank body", subject, "<subject>News</subject><body> </body>"},
     {"chat state", none, ?ACTIVE}, {"chat state that asks to be stored", none, ?ACTIVE ?STORE},
     {"thread and chat state", none, "<thread>t</thread>" ?ACTIVE},
     {"ids alone", none, ?ORIGIN ?STANZA_ID ?DELAY}, {"requests alone", none, ?REQUEST ?MARKABLE},
     {"hint alone", none, ?STORE},
     {"a copy of what was sent", none, "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></sent>"},
     {"a copy of what was received", none, "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>"},
     {"out of the archive", none, "<result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'/></result>"},
     {"a private text", text, "<body>x</body><private xmlns='urn:xmpp:carbons:2'/>"}]
        ++ [{"no-store: " ++ What, none, [Content, "<no-store xmlns='urn:xmpp:hints'/>"]} ||
               {What, Content} <- [{"text", "<body>x</body>"}, {"encrypted", ?OMEMO_03}, {"call", ?PROPOSE},
                                   {"file", ?OOB}, {"other", "<x xmlns='urn:example:unknown'/>"}]]
        ++ [{Hint ++ " changes nothing", text, ["<body>x</body><", Hint, " xmlns='urn:xmpp:hints'/>"]} ||
               Hint <- ["store", "no-copy", "no-permanent-store"]].

%% The kinds that the options know. The end of a call is no message.
kinds_test() ->
    Kinds = lists:usort([call_end | [Kind || {_, Kind, _, _} <- table()]]) -- [none],
    ?assertEqual(lists:sort(mod_offline_post_kind:kinds()), Kinds).

offer_test_() ->
    {setup, fun start/0,
     fun(_) ->
     [{Name, [?_assertEqual({How, Expected}, {How, mod_offline_post_kind:call(Message)}) || {How, Message} <- held(Type, Content)]} ||
         {Name, Type, Content, Expected} <-
             [{"propose", "chat", ?PROPOSE ?STORE, {ok, <<"s1">>}},
              {"text", "chat", "<body>x</body>", none},
              {"without an id", "chat", "<propose xmlns='urn:xmpp:jingle-message:0'/>", none},
              {"with an empty id", "chat", "<propose xmlns='urn:xmpp:jingle-message:0' id=''/>", none},
              {"retract", "chat", "<retract xmlns='urn:xmpp:jingle-message:0' id='s1'/>", none},
              {"accept of an invite", "chat", "<accept " ?INVITES " id='s1'/>", none},
              {"invite: the message's id", "chat", "<invite " ?INVITES "/>", {ok, <<"m1">>}},
              {"invite: the origin-id", "chat", "<invite " ?INVITES "/>" ?ORIGIN, {ok, <<"o1">>}},
              {"invite with an id of its own", "chat", "<invite " ?INVITES " id='i1'/>" ?ORIGIN, {ok, <<"i1">>}},
              {"invite of an older client", "normal", "<propose " ?INVITES "/>", {ok, <<"m1">>}},
              {"invite in a room: the room's id", "groupchat", "<invite " ?INVITES "/>" ?ORIGIN
               "<stanza-id xmlns='urn:xmpp:sid:0' id='17' by='bob@b.example'/>" ?STANZA_ID, {ok, <<"17">>}},
              {"invite in a room that gives no id", "groupchat", "<invite " ?INVITES "/>" ?ORIGIN ?STANZA_ID, none}]]
     end}.

%% Whom a message is over for: {who has got it, who has sent it}.
call_end_test_() ->
    {setup, fun start/0,
     fun(_) ->
     [{lists:flatten([Type, $\s, Name]),
       [?_assertEqual({How, Expected}, {How, {mod_offline_post_kind:call_end(Message, received),
                                              mod_offline_post_kind:call_end(Message, sent)}}) ||
           {How, Message} <- held(Type, Content)]} ||
         {Types, Name, Content, Expected} <-
             [{["chat"], "propose", ?PROPOSE ?STORE, {none, none}},
              {["chat"], "text", "<body>x</body>", {none, none}},
              {["chat"], "retract without an id", "<retract xmlns='urn:xmpp:jingle-message:0'/>", {none, none}},
              {["chat"], "retract with an empty id", "<retract xmlns='urn:xmpp:jingle-message:0' id=''/>", {none, none}},
              {["chat"], "ringing", "<ringing xmlns='urn:xmpp:jingle-message:0' id='s2'/>", {none, none}},
              {["chat"], "retraction of a message", "<retract xmlns='urn:xmpp:message-retract:1' id='s2'/>", {none, none}},
              {["chat"], "left, of another namespace", "<left xmlns='urn:xmpp:jingle-message:0' id='s2'/>", {none, none}},
              {["chat"], "behind one without an id", "<accept xmlns='urn:xmpp:jingle-message:0'/>"
               "<retract xmlns='urn:xmpp:jingle-message:0' id='s2'/>", {{ok, <<"s2">>}, none}},
              {["error"], "retract", "<retract xmlns='urn:xmpp:jingle-message:0' id='s2'/>", {none, none}}
              | [{Types, Name, [?ORIGIN ?ACTIVE "<body>x</body><", Name, $\s, Namespace, " id='s2'/>" ?STORE
                                "<no-store xmlns='urn:xmpp:hints'/>"],
                  {over(Received), over(Sent)}} ||
                    {Types, Namespace, Name, Received, Sent} <-
                        [{Types, "xmlns='urn:xmpp:jingle-message:0'", Name, Received, Sent} ||
                            Types <- [["chat", "normal", "groupchat", "headline"]],
                            {Name, Received, Sent} <- [{"retract", true, false}, {"accept", true, true}, {"reject", true, true},
                                                       {"finish", true, true}, {"proceed", false, true}]]
                            ++ [{["chat", "normal", "headline"], ?INVITES, Name, true, Name =/= "retract"} ||
                                   Name <- ["retract", "accept", "reject", "left"]]
                            ++ [{["groupchat"], ?INVITES, Name, Name =:= "retract", Name =/= "retract"} ||
                                   Name <- ["retract", "accept", "reject", "left"]]]],
         Type <- Types]
     end}.

over(true) -> {ok, <<"s2">>};
over(false) -> none.

%% Nobody looks into an invite: how long it takes does not depend on what is in it.
thousands_of_ways_to_join_test() ->
    start(),
    [{raw, Message}, _] = held("chat", ["<invite " ?INVITES ">", lists:duplicate(5000, "<external uri='tel:1'/>"), "</invite>"]),
    ?assertEqual({call, {ok, <<"m1">>}, none}, {mod_offline_post_kind:classify(Message), mod_offline_post_kind:call(Message),
                                                mod_offline_post_kind:call_end(Message, received)}),
    {_, Before} = process_info(self(), reductions),
    _ = mod_offline_post_kind:classify(Message),
    _ = mod_offline_post_kind:call(Message),
    {_, After} = process_info(self(), reductions),
    ?assert(After - Before < 500).

start() ->
    {ok, _} = application:ensure_all_started(xmpp),
    ok.

held(Type, Content) ->
    Xml = ["<message xmlns='jabber:client' id='m1' from='bob@b.example/phone' to='anna@a.example' type='", Type, "'>",
           Content, "</message>"],
    El = #xmlel{} = fxml_stream:parse_element(iolist_to_binary(Xml)),
    [{raw, xmpp:decode(El, ?NS_CLIENT, [ignore_els])}, {decoded, xmpp:decode(El)}].
