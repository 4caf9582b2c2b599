%% The way from a message to an event, with a native side that only writes down what it is given.
-module(mod_offline_post_notify_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(HOST, <<"a.example">>).

%% What the requests use: all.
-define(USES, [<<"body">>, <<"message_id">>, <<"trigger">>, <<"stored">>, <<"resource">>, <<"room">>, <<"nick">>,
               <<"sender">>, <<"stanza_id">>, <<"origin_id">>, <<"call_id">>, <<"badge">>]).
-define(JINGLE, <<"urn:xmpp:jingle-message:0">>).
-define(INVITES, <<"urn:xmpp:call-invites:0">>).
-define(OFFLINE, #{trigger => offline, stored => none}).
-define(PENDING, #{trigger => pending, stored => none, resource => <<"phone">>}).

notify_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, {timeout, 60, fun() -> reset(Vm), Test(Vm) end}} ||
                    {Name, Test} <- [{"no policy", fun stopped/1}, {"kinds", fun kinds/1}, {"once", fun once/1},
                                     {"a client's own resend", fun resend/1}, {"nothing new", fun no_news/1},
                                     {"refused", fun refused/1}, {"limited", fun limited/1}, {"privacy", fun privacy/1},
                                     {"veto", fun veto/1}, {"bad handlers", fun bad_handlers/1}, {"badge", fun badge/1},
                                     {"calls", fun calls/1}, {"no calls", fun no_calls/1},
                                     {"calls in a room", fun calls_in_room/1}, {"answered elsewhere", fun answered/1},
                                     {"a call's end", fun call_end/1}, {"what its end tells", fun call_end_policy/1},
                                     {"no call's end", fun no_call_end/1}, {"an end before its call", fun ended/1},
                                     {"an end while the badge is counted", fun call_end_badge/1},
                                     {"many calls", fun many_calls/1},
                                     {"a defect", fun defect/1}, {"commits", fun commits/1}, {"withdrawn behind", fun behind/1}, {"groups", fun groups/1}]]
     end}.

stopped(Vm) ->
    ok = offline_post_vm:call(Vm, mod_offline_post_policy, erase, [?HOST]),
    ?assertEqual(ignored, notify(Vm, message(), ?OFFLINE)),
    ok = call(Vm, seen, [calling(<<"retract">>, <<"s1">>)]),
    ?assertEqual([], given(Vm)).

kinds(Vm) ->
    Reaction = #xmlel{name = <<"reactions">>, attrs = [{<<"xmlns">>, <<"urn:xmpp:reactions:0">>}]},
    ?assertEqual(ignored, notify(Vm, (message())#message{sub_els = [Reaction]}, ?OFFLINE)),
    policy(Vm, #{notify => [reaction]}),
    ?assertEqual(posted, notify(Vm, (message())#message{sub_els = [Reaction]}, ?OFFLINE)),
    ?assertEqual(ignored, notify(Vm, message(), ?OFFLINE)),
    ?assertMatch([{submit, {<<"reaction">>, _, _, _, _, _, _}}], given(Vm)).

%% The stamp tells messages from each other, whatever their ids are, and stays with a message.
once(Vm) ->
    Message = stamped(Vm, message()),
    Again = stamped(Vm, Message),
    ?assertEqual([posted, duplicate, duplicate, duplicate],
                 [notify(Vm, M, Context) || {M, Context} <- [{Message, ?PENDING}, {Message, ?PENDING}, {Again, ?OFFLINE}, {Again, ?PENDING}]]),
    ?assertEqual(posted, notify(Vm, stamped(Vm, message()), ?PENDING)),
    ?assertEqual(posted, notify(Vm, Message, maps:put(to, jid(<<"carl">>, ?HOST), ?PENDING))),
    %% Two that end one after another.
    Lost = stamped(Vm, stamped(Vm, message())),
    ?assertEqual([posted, duplicate], [notify(Vm, Lost, ?OFFLINE) || _ <- [1, 2]]),
    ?assertEqual(#{duplicates => 4, vetoed => 0}, call(Vm, counts, [?HOST])),
    ?assertEqual(4, length(given(Vm))).

resend(Vm) ->
    Origin = fun(Id) -> #xmlel{name = <<"origin-id">>, attrs = [{<<"xmlns">>, ?NS_SID_0}, {<<"id">>, Id}]} end,
    From = fun(User, Resource, Id) ->
                   stamped(Vm, (message())#message{from = jid:make(User, <<"b.example">>, Resource), sub_els = [Origin(Id)]})
           end,
    Long = binary:copy(<<"x">>, 5000),
    ?assertEqual([posted, duplicate, posted, posted, posted, duplicate, duplicate],
                 [notify(Vm, M, Context) ||
                     {M, Context} <- [{From(<<"bob">>, <<"phone">>, <<"1">>), ?OFFLINE}, {From(<<"bob">>, <<"laptop">>, <<"1">>), ?OFFLINE},
                                      {From(<<"bob">>, <<"phone">>, <<"2">>), ?OFFLINE}, {From(<<"carl">>, <<"phone">>, <<"1">>), ?OFFLINE},
                                      {From(<<"bob">>, <<"phone">>, Long), ?OFFLINE}, {From(<<"bob">>, <<"phone">>, Long), ?PENDING},
                                      {From(<<"carl">>, <<"x">>, <<"1">>), ?PENDING}]]),
    ?assertEqual(posted, notify(Vm, From(<<"bob">>, <<"phone">>, <<"1">>), maps:put(to, jid(<<"carl">>, ?HOST), ?OFFLINE))).

no_news(Vm) ->
    [?assertEqual({Meta, ignored}, {Meta, notify(Vm, (message())#message{meta = Meta}, ?OFFLINE)}) ||
        Meta <- [#{from_offline => true}, #{carbon_copy => true, x => 1}, #{mam_ignore => true}]],
    ?assertEqual(posted, notify(Vm, (message())#message{meta = #{sm_copy => true, stanza_id => 1}}, ?OFFLINE)).

%% So that the next way, or the client's next attempt, can bring it.
refused(Vm) ->
    answer(Vm, {error, full}),
    Message = stamped(Vm, message()),
    ?assertEqual([refused, refused], [notify(Vm, Message, ?PENDING) || _ <- [1, 2]]),
    answer(Vm, {ok, <<"id">>}),
    ?assertEqual([posted, duplicate], [notify(Vm, Message, ?PENDING) || _ <- [1, 2]]).

%% A defect does not make it known either.
defect(Vm) ->
    set(Vm, answer, fun() -> error(defect) end),
    Message = stamped(Vm, message()),
    ?assertError(_, notify(Vm, Message, ?PENDING)),
    answer(Vm, {ok, <<"id">>}),
    ?assertEqual([posted, duplicate], [notify(Vm, Message, ?PENDING) || _ <- [1, 2]]).

%% Only the sender's session waits for the disk: not the one that has the message in its queue.
commits(Vm) ->
    policy(Vm, #{sync_commit => true}),
    ?assertEqual([refused, posted],
                 [offline_post_vm:call(Vm, a_stream, message, [?HOST, stamped(Vm, message()), Context]) ||
                     Context <- [?OFFLINE, ?PENDING]]),
    ?assertMatch([{submit_sync, _}, {submit, _}], given(Vm)).

%% Once before and once behind the events that wait for their badge.
behind(Vm) ->
    policy(Vm, #{badge => stored}),
    ok = call(Vm, withdraw_here, [?HOST, {<<"anna">>, ?HOST}, all, purge]),
    ?assertEqual([{withdraw, {<<"anna">>, ?HOST}, all, purge}, {withdraw, {<<"anna">>, ?HOST}, all, purge}], given(Vm)).

%% Calls that nobody is told of are not looked into; and one without an id has no topic that another could share.
no_calls(Vm) ->
    policy(Vm, #{notify => [text]}),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"s1">>)),
    policy(Vm, #{}),
    #message{} = stamped(Vm, calling(<<"retract">>, <<>>)),
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<>>), ?OFFLINE)),
    ?assertMatch([{submit, {<<"call">>, _, _, _, _, <<>>, _}}], given(Vm)).

limited(Vm) ->
    answer(Vm, {error, limited}),
    Message = stamped(Vm, message()),
    ?assertEqual([limited, duplicate], [notify(Vm, Message, ?PENDING) || _ <- [1, 2]]).

%% What is excluded does not reach the native side in any form.
privacy(Vm) ->
    policy(Vm, #{include_body => false, include_sender => false, collapse => conversation}),
    ?assertEqual(posted, notify(Vm, message(), ?OFFLINE)),
    [{submit, Event}] = given(Vm),
    ?assertMatch({<<"text">>, {<<"anna">>, ?HOST, <<>>}, {<<>>, <<>>, <<>>}, <<"m1">>, <<>>, _, _}, Event),
    [?assertEqual({Secret, nomatch}, {Secret, binary:match(term_to_binary(Event), Secret)}) ||
        Secret <- [<<"Hello">>, <<"bob">>, <<"b.example">>]].

veto(Vm) ->
    handler(Vm, "fun(#{body := B, kind := text} = Event, Message) when element(2, Message) =:= <<\"m1\">> -> Event#{body := <<B/binary, \" :)\">>, badge => 4} end"),
    ?assertEqual(posted, notify(Vm, message(), ?OFFLINE)),
    ?assertMatch([{submit, {_, _, _, _, <<"Hello :)">>, _, [_, _, {<<"badge">>, <<"4">>}]}}], given(Vm)),
    handler(Vm, "fun(_, _) -> drop end"),
    ?assertEqual(vetoed, notify(Vm, message(), ?OFFLINE)),
    handler(Vm, "fun(_, _) -> {stop, drop} end"),
    ?assertEqual(vetoed, notify(Vm, message(), ?OFFLINE)),
    ?assertEqual(1, length(given(Vm))),
    ?assertMatch(#{vetoed := 2}, call(Vm, counts, [?HOST])).

%% The event is posted as it was; what the handler returned in its place is counted.
bad_handlers(Vm) ->
    [begin
         #{hook_crashes := Before} = offline_post_vm:call(Vm, mod_offline_post_incidents, counts, []),
         handler(Vm, Handler),
         ?assertEqual({Handler, posted}, {Handler, notify(Vm, message(), ?OFFLINE)}),
         #{hook_crashes := After} = offline_post_vm:call(Vm, mod_offline_post_incidents, counts, []),
         ?assertEqual({Handler, Counted}, {Handler, After - Before})
     end || {Handler, Counted} <- [{"fun(_, _) -> error(defect) end", 0}, {"fun(_, _) -> throw(x) end", 0},
                                   {"fun(_, _) -> exit(normal) end", 1}, {"fun(_, _) -> ok end", 1}, {"fun(_, _) -> stop end", 0},
                                   {"fun(E, _) -> E#{body => \"list\"} end", 1}, {"fun(_, _) -> #{} end", 1}]],
    [?assertMatch({submit, {_, _, _, _, <<"Hello">>, _, _}}, Given) || Given <- given(Vm)].

badge(Vm) ->
    policy(Vm, #{badge => events}),
    ?assertEqual(posted, notify(Vm, message(), ?OFFLINE)),
    [begin
         set(Vm, next, Fail),
         ?assertEqual(posted, notify(Vm, message(), ?OFFLINE))
     end || Fail <- [fun() -> exit({aborted, {no_exists, offline_post_badge}}) end, fun() -> error(badarg) end]],
    set(Vm, next, 7),
    policy(Vm, #{badge => stored}),
    set(Vm, stored, 12),
    ?assertEqual(posted, notify(Vm, message(), ?OFFLINE)),
    set(Vm, stored, unknown),
    ?assertEqual(posted, notify(Vm, message(), ?OFFLINE)),
    ?assertEqual([<<"7">>, undefined, undefined, <<"12">>, undefined],
                 [proplists:get_value(<<"badge">>, Attributes) || {submit, {_, _, _, _, _, _, Attributes}} <- given(Vm)]).

%% Whoever ends a call, its event is withdrawn by the call's own topic, once; whatever else the message has in it.
calls(Vm) ->
    [begin
         ?assertEqual({Name, posted}, {Name, notify(Vm, calling(Offer, Namespace, Id), ?OFFLINE)}),
         [{submit, {<<"call">>, _, _, _, <<>>, Topic, _}}] = given(Vm),
         ok = set(Vm, given, []),
         Stanza = (calling(End, Namespace, Id))#message{from = From, type = Type, body = Body},
         [#message{} = stamped(Vm, Stanza) || _ <- [1, 2]],
         ?assertEqual({Name, [{withdraw, {<<"anna">>, ?HOST}, Topic, cancel}]}, {Name, given(Vm)}),
         ok = set(Vm, given, [])
     end || {Namespace, Offer, Ends} <- [{?JINGLE, <<"propose">>, [<<"retract">>, <<"accept">>, <<"reject">>, <<"finish">>]},
                                         {?INVITES, <<"invite">>, [<<"retract">>, <<"accept">>, <<"reject">>, <<"left">>]}],
            End <- Ends,
            {From, Type, Body} <- [{jid(<<"bob">>, <<"b.example">>), chat, []}, {jid(<<"anna">>, ?HOST), normal, []},
                                   {jid:make(<<"bob">>, <<"b.example">>, <<"phone">>), chat, [#text{data = <<"Over">>}]},
                                   {jid(<<"bob">>, <<"b.example">>), headline, [#text{data = <<"Over">>}]}],
            Name <- [{Namespace, End, Type, Body}], Id <- [erlang:md5(term_to_binary({Name, From}))]],
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<"s1">>), ?OFFLINE)),
    [{submit, {_, _, _, _, _, Topic, _}}] = given(Vm),
    ok = set(Vm, given, []),
    [#message{} = stamped(Vm, calling(How, <<"s1">>)) || How <- [<<"propose">>, <<"proceed">>, <<"ringing">>]],
    #message{} = stamped(Vm, (calling(<<"retract">>, <<"s1">>))#message{type = error}),
    ?assertEqual([], given(Vm)),
    %% Behind the call in a session's queue, with a text of its own.
    ?assertEqual(posted, notify(Vm, (calling(<<"retract">>, <<"s1">>))#message{body = [#text{data = <<"Over">>}]}, ?PENDING)),
    ?assertMatch([{submit, {<<"text">>, _, _, _, <<"Over">>, <<>>, _}}, {withdraw, {<<"anna">>, ?HOST}, Topic, cancel}], given(Vm)).

%% From a room: to a client in it, and wrapped for a subscriber. What others do with a call there changes nothing.
calls_in_room(Vm) ->
    Room = jid(<<"room">>, <<"m.example">>),
    Inner = fun(How, Id) ->
                    (calling(How, ?INVITES, Id))#message{type = groupchat, from = jid:replace_resource(Room, <<"Bob">>)}
            end,
    Wrapper = fun(Event) -> (message())#message{type = normal, body = [], sub_els = [Event], from = Room} end,
    Decoded = fun(Message) -> #ps_event{items = #ps_items{node = <<"n">>, items = [#ps_item{sub_els = [Message]}]}} end,
    Raw = #xmlel{name = <<"event">>, attrs = [{<<"xmlns">>, ?NS_PUBSUB_EVENT}]},
    [begin
         ok = set(Vm, unwrapped, {ok, Message, #{room => Room, nick => <<"Bob">>}}),
         #message{} = stamped(Vm, Stanza),
         ?assertEqual({Name, Expected}, {Name, [{withdraw, Topic} || {withdraw, {<<"anna">>, ?HOST}, Topic, cancel} <- given(Vm)]}),
         ok = set(Vm, given, [])
     end || {Name, Message, Stanza, Expected} <-
                [{in_it, Inner(<<"retract">>, <<"1">>), Inner(<<"retract">>, <<"1">>), [{withdraw, <<"call:1">>}]},
                 {wrapped, Inner(<<"retract">>, <<"2">>), Wrapper(Decoded(Inner(<<"retract">>, <<"2">>))), [{withdraw, <<"call:2">>}]},
                 {with_a_body, Inner(<<"retract">>, <<"3">>),
                  (Wrapper(Decoded(Inner(<<"retract">>, <<"3">>))))#message{body = [#text{data = <<"x">>}]}, [{withdraw, <<"call:3">>}]},
                 {from_elsewhere, Inner(<<"retract">>, <<"4">>), Wrapper(Raw), [{withdraw, <<"call:4">>}]},
                 {others, Inner(<<"accept">>, <<"5">>), Wrapper(Decoded(Inner(<<"accept">>, <<"5">>))), []},
                 {others, Inner(<<"left">>, <<"6">>), Inner(<<"left">>, <<"6">>), []},
                 {text, message(), Wrapper(Decoded(message())), []}]],
    %% Members who are not in it.
    ok = call(Vm, call_over_in_room, [?HOST, [<<"anna">>, <<"carl">>], <<"7">>]),
    ?assertEqual([{withdraw, {User, ?HOST}, <<"call:7">>, cancel} || User <- [<<"anna">>, <<"carl">>]], given(Vm)).

%% A device of the callee tells the caller alone, who may be on another server.
answered(Vm) ->
    Sent = fun(How, Namespace, Id) ->
                   Message = (calling(How, Namespace, Id))#message{from = jid(<<"anna">>, ?HOST), to = jid(<<"bob">>, <<"b.example">>)},
                   Acc = {Message, #{user => <<"anna">>, lserver => ?HOST}},
                   ?assertEqual(Acc, offline_post_vm:call(Vm, mod_offline_post_calls, user_send_packet, [Acc]))
           end,
    [Sent(How, Namespace, <<How/binary, (binary:last(Namespace))>>) ||
        {How, Namespace} <- [{<<"proceed">>, ?JINGLE}, {<<"reject">>, ?JINGLE}, {<<"finish">>, ?JINGLE}, {<<"retract">>, ?JINGLE},
                             {<<"ringing">>, ?JINGLE}, {<<"accept">>, ?INVITES}, {<<"left">>, ?INVITES}, {<<"retract">>, ?INVITES}]],
    ?assertEqual([{withdraw, {<<"anna">>, ?HOST}, <<"call:", How/binary, "0">>, cancel} ||
                     How <- [<<"proceed">>, <<"reject">>, <<"finish">>, <<"accept">>, <<"left">>]], given(Vm)),
    [?assertEqual(Acc, offline_post_vm:call(Vm, mod_offline_post_calls, user_send_packet, [Acc])) ||
        Acc <- [{message(), #{}}, {drop, #{}}, {#iq{}, #{}}, {#presence{}, #{}}]].

%% The end of a call that was posted is posted, once, and the native side withdraws.
call_end(Vm) ->
    policy(Vm, #{notify => [text, call, call_end], sync_commit => true}),
    Offer = (calling(<<"propose">>, <<"s1">>))#message{body = [#text{data = <<"Ring">>}], subject = [#text{data = <<"s">>}],
                                                       thread = #message_thread{data = <<"t">>}},
    ?assertEqual(posted, notify(Vm, Offer, maps:put(stored, archive, ?PENDING))),
    [{submit, {<<"call">>, To, From, <<"m1">>, <<"Ring">>, Topic, Attributes}}] = given(Vm),
    ok = set(Vm, given, []),
    #message{} = stamped(Vm, (calling(<<"accept">>, <<"s1">>))#message{from = jid(<<"anna">>, ?HOST)}),
    #message{} = stamped(Vm, calling(<<"finish">>, <<"s1">>)),
    ok = call(Vm, withdraw_here, [?HOST, {<<"anna">>, ?HOST}, Topic, cancel]),
    [{submit, {<<"call_end">>, To, From, <<"m1">>, <<>>, Topic, OfEnd}}] = given(Vm),
    ?assertEqual([{<<"call_id">>, <<"s1">>}, {<<"resource">>, <<"phone">>}, {<<"stored">>, <<"archive">>}, {<<"trigger">>, <<"pending">>}],
                 lists:sort(Attributes)),
    ?assertEqual([{<<"call_id">>, <<"s1">>}, {<<"resource">>, <<"phone">>}, {<<"stored">>, <<"none">>}, {<<"trigger">>, <<"pending">>}],
                 lists:sort(OfEnd)).

%% As the policy is when the call ends; a handler sees it, and may drop it.
call_end_policy(Vm) ->
    Kinds = [call, call_end],
    Ended = fun(Id, Options, After) ->
                    policy(Vm, Options#{notify => Kinds}),
                    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, Id), ?OFFLINE)),
                    ok = set(Vm, given, []),
                    policy(Vm, maps:merge(#{notify => Kinds}, After)),
                    #message{} = stamped(Vm, calling(<<"retract">>, Id)),
                    given(Vm)
            end,
    ?assertMatch([{submit, {<<"call_end">>, _, {<<"bob">>, _, _}, _, <<"Over">>, _, _}}],
                 Ended(<<"1">>, #{}, #{include_body => #{call => <<"Ring">>, call_end => <<"Over">>}})),
    ?assertMatch([{submit, {<<"call_end">>, _, {<<>>, <<>>, <<>>}, _, <<>>, _, _}}],
                 Ended(<<"2">>, #{}, #{include_sender => false, include_body => false})),
    ?assertMatch([{withdraw, _, <<"call:3">>, cancel}], Ended(<<"3">>, #{}, #{notify => [call]})),
    handler(Vm, "fun(#{kind := call_end}, {message, _, _, _, _, _, _, [], _, [], _}) -> drop; (E, _) -> E end"),
    #{vetoed := Before} = call(Vm, counts, [?HOST]),
    ?assertMatch([{withdraw, _, <<"call:4">>, cancel}], Ended(<<"4">>, #{}, #{})),
    ?assertEqual(Before + 1, maps:get(vetoed, call(Vm, counts, [?HOST]))),
    handler(Vm, "fun(E, _) -> E end"),
    %% What the native side does not take is withdrawn.
    policy(Vm, #{notify => Kinds}),
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<"5">>), ?OFFLINE)),
    ok = set(Vm, given, []),
    answer(Vm, {error, full}),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"5">>)),
    ?assertMatch([{withdraw, _, <<"call:5">>, cancel}], given(Vm)).

%% Of a call that was not posted, or has no id, or whose account is gone.
no_call_end(Vm) ->
    policy(Vm, #{notify => [call, call_end]}),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"1">>)),
    answer(Vm, {error, limited}),
    ?assertEqual(limited, notify(Vm, calling(<<"propose">>, <<"2">>), ?OFFLINE)),
    answer(Vm, {ok, <<"id">>}),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"2">>)),
    ?assertEqual([{withdraw, {<<"anna">>, ?HOST}, <<"call:", Id/binary>>, cancel} || Id <- [<<"1">>, <<"2">>]], given(Vm)),
    ok = set(Vm, given, []),
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<>>), ?OFFLINE)),
    #message{} = stamped(Vm, calling(<<"retract">>, <<>>)),
    ?assertMatch([{submit, {<<"call">>, _, _, _, _, <<>>, _}}], given(Vm)),
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<"3">>), ?OFFLINE)),
    ok = call(Vm, withdraw_here, [?HOST, {<<"anna">>, ?HOST}, all, purge]),
    ok = set(Vm, given, []),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"3">>)),
    ?assertMatch([{withdraw, _, <<"call:3">>, cancel}], given(Vm)).

%% A session that begins to hang has both in its queue, or the call was announced again.
ended(Vm) ->
    #message{} = stamped(Vm, calling(<<"retract">>, <<"s1">>)),
    ok = set(Vm, given, []),
    ?assertEqual(ignored, notify(Vm, calling(<<"propose">>, <<"s1">>), ?PENDING)),
    ?assertEqual(posted, notify(Vm, (calling(<<"propose">>, <<"s1">>))#message{to = jid(<<"carl">>, ?HOST)}, ?PENDING)),
    ?assertMatch([{submit, {<<"call">>, {<<"carl">>, _, _}, _, _, _, _, _}}], given(Vm)).

%% It is not withdrawn by what is for the call.
call_end_badge(Vm) ->
    policy(Vm, #{notify => [call, call_end], badge => stored}),
    ok = set(Vm, stored, 3),
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<"s1">>), ?OFFLINE)),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"s1">>)),
    [{submit, {<<"call">>, _, _, _, _, _, Attributes}}, {submit, {<<"call_end">>, _, _, _, _, _, OfEnd}}] = given(Vm),
    ?assertEqual({<<"3">>, undefined}, {proplists:get_value(<<"badge">>, Attributes), proplists:get_value(<<"badge">>, OfEnd)}).

%% Of those beyond the limit the end is not known; they are withdrawn as ever.
many_calls(Vm) ->
    policy(Vm, #{notify => [call, call_end]}),
    Table = mod_offline_post_calls_offered,
    _ = offline_post_vm:call(Vm, ets, insert, [Table, [{N, 0, x} || N <- lists:seq(1, 10000)]]),
    ?assertEqual(posted, notify(Vm, calling(<<"propose">>, <<"s1">>), ?OFFLINE)),
    #message{} = stamped(Vm, calling(<<"retract">>, <<"s1">>)),
    ?assertMatch([{submit, {<<"call">>, _, _, _, _, _, _}}, {withdraw, _, <<"call:s1">>, cancel}], given(Vm)),
    %% Those that are old go.
    Now = offline_post_vm:call(Vm, erlang, monotonic_time, [millisecond]),
    true = offline_post_vm:call(Vm, ets, delete_all_objects, [Table]),
    true = offline_post_vm:call(Vm, ets, insert, [Table, [{old, Now - 600000, x}, {new, Now - 400000, x}]]),
    _ = offline_post_vm:call(Vm, erlang, send, [mod_offline_post_calls, sweep]),
    _ = offline_post_vm:call(Vm, sys, get_state, [mod_offline_post_calls]),
    ?assertMatch([{new, _, x}], offline_post_vm:call(Vm, ets, tab2list, [Table])).

groups(Vm) ->
    Room = jid(<<"room">>, <<"m.example">>),
    Inner = (stamped(Vm, message()))#message{type = groupchat, from = jid:replace_resource(Room, <<"Bob">>)},
    Wrapper = (message())#message{type = normal, body = [], sub_els = [#ps_event{}], from = Room},
    [begin
         ok = set(Vm, unwrapped, Unwrapped),
         ?assertEqual({Unwrapped, Expected}, {Unwrapped, notify(Vm, Message, ?PENDING)})
     end || {Message, Unwrapped, Expected} <-
                [{Wrapper, {ok, Inner, #{room => Room, nick => <<"Bob">>}}, posted}, {Wrapper, {ok, Inner, #{room => Room}}, duplicate},
                 {Wrapper, ignore, ignored}, {Wrapper, none, ignored}, {Inner, ignore, ignored}, {message(), ignore, posted}]],
    ?assertMatch([{submit, {_, {<<"anna">>, _, _}, {<<"room">>, <<"m.example">>, <<"Bob">>}, _, <<"Hello">>, _, [_, _, _, {<<"room">>, _} | _]}}, _],
                 given(Vm)).

%%%

notify(Vm, Message, Context) ->
    call(Vm, message, [?HOST, Message, Context]).

call(Vm, Function, Args) ->
    offline_post_vm:call(Vm, mod_offline_post_notify, Function, Args).

stamped(Vm, Message) ->
    offline_post_vm:call(Vm, mod_offline_post_once, stamp, [Message]).

%% What the native side was told, in this order.
given(Vm) ->
    lists:reverse(offline_post_vm:call(Vm, persistent_term, get, [{fake, given}])).

answer(Vm, Answer) -> set(Vm, answer, Answer).

set(Vm, What, Value) ->
    offline_post_vm:call(Vm, persistent_term, put, [{fake, What}, Value]).

policy(Vm, Options) ->
    Defaults = maps:from_list([Option || {_, _} = Option <- mod_offline_post:mod_options(?HOST)]),
    ok = offline_post_vm:call(Vm, mod_offline_post_policy, set, [?HOST, maps:merge(Defaults, Options), ?USES]).

%% Of offline_post_event; in place of the one before.
handler(Vm, Fun) ->
    ok = offline_post_vm:fake(Vm, a_handler, lists:append(["-module(a_handler).\n-export([event/2]).\n"
                                                           "event(E, P) -> (", Fun, ")(E, P).\n"])),
    ok = offline_post_vm:call(Vm, ejabberd_hooks, add, [offline_post_event, ?HOST, a_handler, event, 50]).

reset(Vm) ->
    ok = offline_post_vm:call(Vm, ejabberd_hooks, delete, [offline_post_event, ?HOST, a_handler, event, 50]),
    _ = offline_post_vm:call(Vm, persistent_term, erase, [{mod_offline_post_notify, ?HOST}]),
    ok = call(Vm, prepare, [?HOST]),
    ok = set(Vm, given, []),
    answer(Vm, {ok, <<"id">>}),
    [true = offline_post_vm:call(Vm, ets, delete_all_objects, [Table]) ||
        Table <- [mod_offline_post_calls_offered, mod_offline_post_calls_ended]],
    policy(Vm, #{}).

setup() ->
    {ok, _} = application:ensure_all_started(xmpp),
    Vm = offline_post_vm:start(),
    {ok, _} = offline_post_vm:call(Vm, application, ensure_all_started, [xmpp]),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    [ok = offline_post_vm:fake(Vm, Module, Source) ||
        {Module, Source} <- [{mod_offline_post_nif, fake_nif()}, {mod_offline_post_badge, fake_badge()}, {mod_offline_post_groups, fake_groups()},
                             {a_stream, a_stream()},
                             {ejabberd_option, "-module(ejabberd_option).\n-export([hosts/0]).\nhosts() -> [<<\"b.example\">>].\n"},
                             {ejabberd_sm, "-module(ejabberd_sm).\n-export([get_session_pid/3]).\nget_session_pid(_, _, _) -> self().\n"}]],
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, ejabberd_hooks}, ejabberd_hooks, [], []]),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, mod_offline_post_once}, mod_offline_post_once,
                                                           [<<>>, #{generation => 600000}], []]),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, mod_offline_post_calls}, mod_offline_post_calls, [], []]),
    Vm.

fake_nif() ->
    "-module(mod_offline_post_nif).\n"
    "-export([submit/2, submit_sync/2, withdraw/4]).\n"
    "submit_sync({<<\"a.example\">>, <<\"mod_offline_post\">>}, Event) -> add({submit_sync, Event}), {error, full}.\n"
    "submit({<<\"a.example\">>, <<\"mod_offline_post\">>}, Event) ->\n"
    "    case persistent_term:get({fake, answer}) of\n"
    "        {ok, Id} -> add({submit, Event}), {ok, Id};\n"
    "        Refusal -> Refusal\n"
    "    end.\n"
    "withdraw({<<\"a.example\">>, <<\"mod_offline_post\">>}, User, What, How) -> add({withdraw, User, What, How}), ok.\n"
    "add(What) -> persistent_term:put({fake, given}, [What | persistent_term:get({fake, given})]).\n".

%% In a process that looks like a client's session.
a_stream() ->
    "-module(a_stream).\n"
    "-export([message/3]).\n"
    "message(Host, Message, Context) ->\n"
    "    Before = put('$initial_call', {xmpp_stream_in, init, 1}),\n"
    "    try mod_offline_post_notify:message(Host, Message, Context)\n"
    "    after put('$initial_call', Before)\n"
    "    end.\n".

fake_badge() ->
    "-module(mod_offline_post_badge).\n"
    "-export([next/2, stored/3, behind/2]).\n"
    "next(<<\"anna\">>, <<\"a.example\">>) ->\n"
    "    case persistent_term:get({fake, next}, 7) of Badge when is_integer(Badge) -> Badge; Fail -> Fail() end.\n"
    "behind(<<\"a.example\">>, Do) -> Do(), ok.\n"
    "stored(<<\"anna\">>, <<\"a.example\">>, Use) -> Use(persistent_term:get({fake, stored})), ok.\n".

fake_groups() ->
    "-module(mod_offline_post_groups).\n"
    "-export([unwrap/2]).\n"
    "unwrap(_, _) -> persistent_term:get({fake, unwrapped}, none).\n".

message() ->
    #message{type = chat, id = <<"m1">>, from = jid:make(<<"bob">>, <<"b.example">>, <<"phone">>), to = jid(<<"anna">>, ?HOST),
             body = [#text{data = <<"Hello">>}]}.

calling(What, Id) ->
    calling(What, ?JINGLE, Id).

calling(What, Namespace, Id) ->
    (message())#message{body = [], sub_els = [#xmlel{name = What, attrs = [{<<"xmlns">>, Namespace}, {<<"id">>, Id}]}]}.

jid(User, Server) ->
    jid:make(User, Server).
