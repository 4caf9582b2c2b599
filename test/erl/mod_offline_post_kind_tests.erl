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

%% The kinds that the options know.
kinds_test() ->
    Kinds = lists:usort([Kind || {_, Kind, _, _} <- table()]) -- [none],
    ?assertEqual(lists:sort(mod_offline_post_kind:kinds()), Kinds).

session_test_() ->
    {setup, fun start/0,
     fun(_) ->
     [{Name, [?_assertEqual({How, Call, Withdrawal}, {How, mod_offline_post_kind:call(Message),
                                                      mod_offline_post_kind:call_withdrawal(Message)}) ||
                 {How, Message} <- held("chat", Content)]} ||
         {Name, Content, Call, Withdrawal} <-
             [{"propose", ?PROPOSE ?STORE, {ok, <<"s1">>}, none},
              {"text", "<body>x</body>", none, none},
              {"without an id", "<propose xmlns='urn:xmpp:jingle-message:0'/>", none, none},
              {"with an empty id", "<propose xmlns='urn:xmpp:jingle-message:0' id=''/>", none, none},
              {"taken back without an id", "<retract xmlns='urn:xmpp:jingle-message:0'/>", none, none},
              {"taken back with an empty id", "<retract xmlns='urn:xmpp:jingle-message:0' id=''/>", none, none},
              {"proceed", "<proceed xmlns='urn:xmpp:jingle-message:0' id='s1'/>", none, none},
              {"ringing", "<ringing xmlns='urn:xmpp:jingle-message:0' id='s1'/>", none, none},
              {"a retraction of a message", "<retract xmlns='urn:xmpp:message-retract:1' id='s1'/>", none, none}
              | [{Name, [?ORIGIN ?ACTIVE "<", Name, " xmlns='urn:xmpp:jingle-message:0' id='s2'/>" ?STORE], none, {ok, <<"s2">>}} ||
                    Name <- ["retract", "accept", "reject", "finish"]]]]
     end}.

start() ->
    {ok, _} = application:ensure_all_started(xmpp),
    ok.

held(Type, Content) ->
    Xml = ["<message xmlns='jabber:client' id='m1' from='bob@b.example/phone' to='anna@a.example' type='", Type, "'>",
           Content, "</message>"],
    El = #xmlel{} = fxml_stream:parse_element(iolist_to_binary(Xml)),
    [{raw, xmpp:decode(El, ?NS_CLIENT, [ignore_els])}, {decoded, xmpp:decode(El)}].
