%% From a stanza to an event: its fields, what the policy keeps out of it, its topic, and its shape for the native side.
-module(mod_offline_post_event_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(OFFLINE, #{trigger => offline, stored => none}).

event_test_() ->
    {setup, fun() -> {ok, _} = application:ensure_all_started(xmpp) end,
     [{Name, Test} || {Name, Test} <- [{"fields", fun fields/0}, {"addresses", fun addresses/0}, {"ids", fun ids/0},
                                       {"of a group", fun group/0}, {"of a device that hangs", fun resource/0},
                                       {"include_sender: false", fun no_sender/0}, {"include_body", fun bodies/0},
                                       {"fallback text", fun marked/0}, {"calls", fun calls/0}, {"the end of a call", fun call_end/0},
                                       {"topics", fun topics/0}, {"for the native side", fun native/0}, {"what is not used", fun unused/0},
                                       {"subject and thread", fun subject/0},
                                       {"what a handler may return", fun returned/0}]]}.

fields() ->
    ?assertEqual(#{kind => text, to => {<<"anna">>, <<"a.example">>, <<>>}, from => {<<"bob">>, <<"b.example">>, <<"phone">>},
                   message_id => <<"m1">>, body => <<"Hello">>, trigger => offline, stored => archive},
                 event(message([text(<<"Hello">>)]), text, #{trigger => offline, stored => archive}, #{})),
    ?assertMatch(#{message_id := <<>>}, event((message([]))#message{id = <<>>})).

%% Addresses leave in prepared form, whatever way they were written; a server has no user.
addresses() ->
    From = jid:make(<<"Ünal+Co"/utf8>>, <<"B.Example">>, <<"Zug ä/1"/utf8>>),
    To = jid:make(<<"ANNA+x%">>, <<"A.example">>, <<>>),
    ?assertMatch(#{to := {<<"anna+x%">>, <<"a.example">>, <<>>}, from := {<<"ünal+co"/utf8>>, <<"b.example">>, <<"Zug ä/1"/utf8>>}},
                 event((message([]))#message{from = From, to = To})),
    ?assertMatch(#{from := {<<>>, <<"b.example">>, <<>>}}, event((message([]))#message{from = jid:make(<<"b.example">>)})).

%% The stanza-id of the recipient's own archive and no other's.
ids() ->
    Raw = fun(By, Id) -> #xmlel{name = <<"stanza-id">>, attrs = [{<<"xmlns">>, ?NS_SID_0}, {<<"by">>, By}, {<<"id">>, Id}]} end,
    Anna = #stanza_id{by = jid:make(<<"anna">>, <<"a.example">>), id = <<"7">>},
    Origin = #xmlel{name = <<"origin-id">>, attrs = [{<<"id">>, <<"o1">>}, {<<"xmlns">>, ?NS_SID_0}]},
    [?assertEqual({Els, Expected}, {Els, maps:with([stanza_id, origin_id], event((message([]))#message{sub_els = Els}))}) ||
        {Els, Expected} <-
            [{[Anna], #{stanza_id => <<"7">>}}, {[Raw(<<"Anna@a.example">>, <<"8">>)], #{stanza_id => <<"8">>}},
             {[Raw(<<"bob@b.example">>, <<"9">>), Anna], #{stanza_id => <<"7">>}}, {[Raw(<<"@">>, <<"9">>)], #{}},
             {[#stanza_id{by = jid:make(<<"r">>, <<"m.example">>), id = <<"6">>}], #{}},
             {[#hint{type = store}, Origin, Anna], #{stanza_id => <<"7">>, origin_id => <<"o1">>}},
             {[#origin_id{id = <<"o2">>}], #{origin_id => <<"o2">>}},
             {[Origin#xmlel{attrs = [{<<"id">>, <<"o1">>}, {<<"xmlns">>, <<"urn:example:other">>}]}], #{}}]].

group() ->
    ?assertMatch(#{to := {<<"carl">>, <<"c.example">>, <<>>}, from := {<<"room">>, <<"m.example">>, <<"Bob B.">>},
                   room := <<"room@m.example">>, nick := <<"Bob B.">>, sender := <<"bob@b.example">>, stanza_id := <<"5">>,
                   trigger := groupchat, stored := archive},
                 event(room_message(), text, room_context(), #{})),
    ?assertNot(maps:is_key(sender, event(room_message(), text, maps:remove(sender, room_context()), #{}))).

resource() ->
    ?assertMatch(#{resource := <<"phone">>, trigger := pending},
                 event(message([]), call, #{trigger => pending, stored => none, resource => <<"phone">>}, #{})).

%% Nobody can tell from the event who it was; where it was said is no secret.
no_sender() ->
    Event = event(room_message(), text, room_context(), #{include_sender => false}),
    ?assertMatch(#{from := {<<>>, <<>>, <<>>}, room := <<"room@m.example">>}, Event),
    [?assertNot(maps:is_key(Name, Event)) || Name <- [nick, sender]],
    [nothing_of(Secret, term_to_binary(Event)) || Secret <- [<<"bob">>, <<"Bob B.">>]],
    nothing_of(<<"bob">>, term_to_binary(event(message([text(<<"x">>)]), text, ?OFFLINE, #{include_sender => false}))).

bodies() ->
    Message = message([text(<<"secret">>)]),
    [begin
         #{body := Body} = event(Message, Kind, ?OFFLINE, #{include_body => Contents}),
         ?assertEqual({Kind, Contents, Expected}, {Kind, Contents, Body})
     end || {Kind, Contents, Expected} <-
                [{text, #{default => true}, <<"secret">>}, {text, #{default => false}, <<>>},
                 {text, #{default => <<"News">>}, <<"News">>}, {encrypted, #{default => true, encrypted => <<"News">>}, <<"News">>},
                 {text, #{default => true, encrypted => <<"News">>}, <<"secret">>},
                 {file, #{default => false, file => true}, <<"secret">>}, {call, #{default => <<"x">>, call => false}, <<>>}]],
    ?assertMatch(#{body := <<>>}, event(message([]), reaction, ?OFFLINE, #{})),
    Large = binary:copy(<<"ä"/utf8>>, 512 * 1024),
    ?assertMatch(#{body := Large}, event(message([text(Large)]))).

%% What the author has written follows include_body as the body does.
marked() ->
    Quotation = #xmlel{name = <<"fallback">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:fallback:0">>}],
                       children = [#xmlel{name = <<"body">>, attrs = [{<<"start">>, <<"0">>}, {<<"end">>, <<"5">>}]}]},
    Reply = (message([text(<<"> Hi\nYes">>)]))#message{sub_els = [Quotation]},
    Encrypted = (message([text(<<"Get a client">>)]))#message{sub_els = [#xmlel{name = <<"encryption">>,
                                                                               attrs = [{<<"xmlns">>, <<"urn:xmpp:eme:0">>}]}]},
    [?assertEqual({Kind, Content, Body, Text},
                  begin
                      Event = event(Message, Kind, ?OFFLINE, #{include_body => #{default => Content}}),
                      {Kind, Content, maps:get(body, Event), maps:get(text, Event, none)}
                  end) ||
        {Message, Kind, Content, Body, Text} <-
            [{Reply, text, true, <<"> Hi\nYes">>, <<"Yes">>}, {Reply, text, false, <<>>, none}, {Reply, text, <<"News">>, <<"News">>, none},
             {Encrypted, encrypted, true, <<"Get a client">>, <<>>}, {Encrypted, encrypted, <<"News">>, <<"News">>, none},
             {message([text(<<"Hi">>)]), text, true, <<"Hi">>, none}, {message([]), reaction, true, <<>>, none}]],
    ?assertMatch({<<"encrypted">>, _, _, _, <<"Get a client">>, <<>>, [_, _, {<<"text">>, <<>>}]},
                 mod_offline_post_event:to_native(event(Encrypted, encrypted, ?OFFLINE, #{}), <<>>, all())).

%% The id is in the events of calls alone.
calls() ->
    Call = (message([]))#message{sub_els = [#xmlel{name = <<"invite">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:call-invites:0">>}]}]},
    ?assertMatch(#{call_id := <<"m1">>}, event(Call, call, ?OFFLINE, #{})),
    ?assertNot(is_map_key(call_id, event(Call, other, ?OFFLINE, #{}))),
    ?assertNot(is_map_key(call_id, event(Call#message{id = <<>>}, call, ?OFFLINE, #{}))),
    ?assertEqual(<<"call:m1">>, topic(Call, call, ?OFFLINE, #{})).

call_end() ->
    Offer = mod_offline_post_event:call_offer(
              (event(room_message(), call, room_context(), #{}))#{call_id => <<"c">>, subject => <<"s">>, text => <<"t">>,
                                                                  thread => <<"t">>, stanza => <<"<m/>">>, badge => 3}),
    Plain = mod_offline_post_event:call_end(Offer, policy(#{})),
    ?assertMatch(#{kind := call_end, to := {<<"carl">>, _, _}, from := {<<"room">>, _, <<"Bob B.">>}, nick := <<"Bob B.">>, body := <<>>,
                   sender := <<"bob@b.example">>, stored := none, trigger := groupchat, call_id := <<"c">>, message_id := <<"m1">>}, Plain),
    ?assertEqual([], [Key || Key <- [subject, text, thread, stanza, badge], is_map_key(Key, Plain)]),
    ?assert(mod_offline_post_event:is_event(Plain)),
    ?assertMatch(#{body := <<"Over">>}, mod_offline_post_event:call_end(Offer, policy(#{include_body => #{default => true, call_end => <<"Over">>}}))),
    Hidden = mod_offline_post_event:call_end(Offer, policy(#{include_sender => false})),
    [nothing_of(Secret, term_to_binary(Hidden)) || Secret <- [<<"bob">>, <<"Bob B.">>]].

topics() ->
    Propose = #xmlel{name = <<"propose">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:jingle-message:0">>}, {<<"id">>, <<"s1">>}]},
    Call = (message([]))#message{sub_els = [Propose]},
    [?assertEqual({Collapse, Expected}, {Collapse, topic(Message, Kind, Context, #{collapse => Collapse})}) ||
        {Message, Kind, Context, Collapse, Expected} <-
            [{message([]), text, ?OFFLINE, none, <<>>}, {message([]), text, ?OFFLINE, recipient, <<"recipient">>},
             {message([]), text, ?OFFLINE, conversation, <<"from:bob@b.example">>},
             {room_message(), text, room_context(), conversation, <<"from:room@m.example">>},
             {Call, call, ?OFFLINE, none, <<"call:s1">>}, {Call, call, ?OFFLINE, recipient, <<"call:s1">>}]],
    Hidden = topic(message([]), text, ?OFFLINE, #{collapse => conversation, include_sender => false}),
    nothing_of(<<"bob">>, Hidden),
    ?assertEqual(Hidden, topic((message([]))#message{from = jid:make(<<"BOB">>, <<"b.example">>, <<"x">>)}, text, ?OFFLINE,
                               #{collapse => conversation, include_sender => false})).

%% What the requests do not use is not looked for, and does not leave.
unused() ->
    Message = (room_message())#message{subject = [text(<<"Re">>)], thread = #message_thread{data = <<"t1">>}},
    Event = event(Message, text, room_context(), #{uses => mod_offline_post_event:uses([])}),
    ?assertMatch(#{body := <<>>, message_id := <<"m1">>, room := _, nick := _, sender := _, trigger := groupchat}, Event),
    ?assertEqual([], [Key || Key <- [stanza_id, origin_id, subject, thread, stanza], maps:is_key(Key, Event)]),
    ?assertMatch({<<"text">>, {<<"carl">>, _, _}, {<<"room">>, _, _}, <<"m1">>, <<>>, <<>>, []},
                 mod_offline_post_event:to_native(Event#{badge => 1, body := <<"x">>}, <<>>, mod_offline_post_event:uses([]))),
    [?assertMatch({Name, {_, _, _, _, _, _, [{Name, _}]}},
                  begin
                      Uses = mod_offline_post_event:uses([Name]),
                      {Name, mod_offline_post_event:to_native(event(Message, text, room_context(), #{uses => Uses}), <<>>, Uses)}
                  end) || Name <- [<<"trigger">>, <<"stored">>, <<"room">>, <<"nick">>, <<"sender">>, <<"stanza_id">>,
                                   <<"subject">>, <<"thread">>, <<"stanza">>]].

%% A subject is text, a thread is an id.
subject() ->
    Message = (message([text(<<"x">>)]))#message{subject = [text(<<"de">>, <<"Betreff">>), text(<<"en">>, <<"Subject">>)],
                                                 lang = <<"en">>, thread = #message_thread{data = <<"t1">>}},
    ?assertMatch(#{subject := <<"Subject">>, thread := <<"t1">>}, event(Message)),
    [begin
         Event = event(Message, text, ?OFFLINE, #{include_body => #{default => Content}}),
         ?assertMatch({Content, #{thread := <<"t1">>}}, {Content, Event}),
         ?assertNot(maps:is_key(subject, Event))
     end || Content <- [false, <<"News">>]].

native() ->
    Event = #{kind => text, to => {<<"a">>, <<"b">>, <<>>}, from => {<<>>, <<>>, <<>>}, message_id => <<"m">>, body => <<"x">>,
              trigger => pending, stored => offline},
    ?assertEqual({<<"text">>, {<<"a">>, <<"b">>, <<>>}, {<<>>, <<>>, <<>>}, <<"m">>, <<"x">>, <<"topic">>,
                  [{<<"trigger">>, <<"pending">>}, {<<"stored">>, <<"offline">>}]},
                 mod_offline_post_event:to_native(Event, <<"topic">>, all())),
    ?assertMatch({<<"call">>, _, _, _, _, <<>>,
                  [{<<"trigger">>, _}, {<<"stored">>, _}, {<<"resource">>, <<"r">>}, {<<"room">>, <<"o">>}, {<<"nick">>, <<"n">>},
                   {<<"sender">>, <<"s">>}, {<<"stanza_id">>, <<"1">>}, {<<"origin_id">>, <<"2">>}, {<<"badge">>, <<"3">>}]},
                 mod_offline_post_event:to_native(Event#{kind := call, resource => <<"r">>, room => <<"o">>, nick => <<"n">>,
                                                         sender => <<"s">>, stanza_id => <<"1">>, origin_id => <<"2">>, badge => 3},
                                                  <<>>, all())).

returned() ->
    Event = event(message([text(<<"x">>)])),
    [?assertEqual({Changed, Expected}, {Changed, mod_offline_post_event:is_event(Changed)}) ||
        {Changed, Expected} <-
            [{Event, true}, {Event#{body := <<"y">>, badge => 7, room => <<"r">>}, true}, {Event#{kind := other}, true},
             {Event#{kind := own}, false}, {Event#{kind := <<"text">>}, false}, {Event#{body := "y"}, false},
             {Event#{to := <<"anna">>}, false}, {Event#{from := {<<>>, <<>>}}, false}, {Event#{badge => -1}, false},
             {Event#{badge => <<"1">>}, false}, {Event#{subject => "x"}, false}, {Event#{text => <<"y">>, call_id => <<"c">>}, true}, {Event#{text => 1}, false}, {Event#{call_id => x}, false}, {Event#{stanza => <<"<m/>">>}, true}, {Event#{nick => undefined}, false}, {Event#{stored := true}, false},
             {maps:remove(kind, Event), false}, {ok, false}, {undefined, false}, {{stop, Event}, false}]].

%%%

event(Message) ->
    event(Message, text, ?OFFLINE, #{}).

event(Message, Kind, Context, Policy) ->
    mod_offline_post_event:from_message(Message, Kind, Context, policy(Policy)).

topic(Message, Kind, Context, Policy) ->
    mod_offline_post_event:topic(Message, {Kind, Context, policy(Policy)}).

policy(Policy) ->
    maps:merge(#{include_sender => true, include_body => #{default => true}, collapse => none, uses => all()}, Policy).

all() ->
    mod_offline_post_event:uses([<<"body">>, <<"message_id">>, <<"trigger">>, <<"stored">>, <<"resource">>, <<"room">>,
                                 <<"nick">>, <<"sender">>, <<"stanza_id">>, <<"origin_id">>, <<"call_id">>, <<"badge">>, <<"text">>,
                                 <<"subject">>, <<"thread">>]).

nothing_of(Secret, Bytes) ->
    ?assertEqual({Secret, nomatch}, {Secret, binary:match(Bytes, Secret)}).

room_message() ->
    Room = jid:make(<<"room">>, <<"m.example">>),
    #message{type = groupchat, id = <<"m1">>, body = [text(<<"x">>)], from = jid:replace_resource(Room, <<"Bob B.">>), to = Room,
             sub_els = [#stanza_id{by = jid:make(<<"carl">>, <<"c.example">>), id = <<"4">>}, #stanza_id{by = Room, id = <<"5">>}]}.

room_context() ->
    #{trigger => groupchat, stored => archive, to => jid:make(<<"Carl">>, <<"c.example">>),
      room => jid:make(<<"room">>, <<"m.example">>), nick => <<"Bob B.">>, sender => jid:make(<<"bob">>, <<"b.example">>)}.

message(Bodies) ->
    #message{type = chat, id = <<"m1">>, body = Bodies, from = jid:make(<<"bob">>, <<"b.example">>, <<"phone">>),
             to = jid:make(<<"anna">>, <<"a.example">>)}.

text(Text) ->
    #text{data = Text}.

text(Lang, Text) ->
    #text{lang = Lang, data = Text}.
