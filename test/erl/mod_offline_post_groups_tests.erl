%% What the hook in a room's process makes of a message and of the room's state, and what is unwrapped for whom.
-module(mod_offline_post_groups_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").
-include("mod_muc_room.hrl").

-define(A, <<"a.example">>).
-define(B, <<"b.example">>).
-define(ROOM, <<"room">>).
-define(MUC, <<"conference.a.example">>).

%%% The hook

hook_test_() ->
    {ok, _} = application:ensure_all_started(xmpp),
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{Name, {timeout, 60, fun() -> told(Vm, Message, Room, Expected) end}} ||
                 {Name, Message, Room, Expected} <- table()]
                 ++ [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                        {Name, Test} <- [{"what is handed over", fun handed_over/1},
                                         {"the message goes on", fun goes_on/1},
                                         {"dropped before", fun dropped/1}, {"not a state of this release",
                                                                             fun other_state/1},
                                         {"no virtual host tells members", fun nobody_asked/1}]]
     end}.

%% Name, message, room, who is told.
table() ->
    Three = room(#{anna() => member, ben() => admin, carl() => owner}),
    [{"member, admin, owner", message(), Three, [{?A, anna}, {?A, ben}, {?A, carl}]},
     {"with reasons", message(), room(#{anna() => {member, <<"friend">>}, ben() => {outcast, <<"rude">>}}),
      [{?A, anna}]},
     {"outcast, none", message(), room(#{anna() => outcast, ben() => none}), []},
     {"in the room", message(), occupied(Three, [{anna(), <<"phone">>}, {anna(), <<"pad">>}, {ben(), <<"x">>}]),
      [{?A, carl}]},
     {"the sender", (message())#message{from = jid:make(<<"Anna">>, ?A, <<"elsewhere">>)}, Three,
      [{?A, ben}, {?A, carl}]},
     {"a subscriber", message(), subscribed(Three, ?NS_MUCSUB_NODES_MESSAGES, [anna()]), [{?A, ben}, {?A, carl}]},
     {"subscribed to something else", message(), subscribed(Three, ?NS_MUCSUB_NODES_PRESENCE, [anna()]),
      [{?A, anna}, {?A, ben}, {?A, carl}]},
     {"a subject", subject(), subscribed(Three, ?NS_MUCSUB_NODES_SUBJECT, [anna()]), [{?A, ben}, {?A, carl}]},
     {"a subject, subscribed to messages", subject(), subscribed(Three, ?NS_MUCSUB_NODES_MESSAGES, [anna()]),
      [{?A, anna}, {?A, ben}, {?A, carl}]},
     {"a domain", message(), room(#{{<<>>, ?A, <<>>} => member}), []},
     {"a client", message(), room(#{{<<"anna">>, ?A, <<"phone">>} => member, {<<"anna">>, ?A, <<"pad">>} => member}),
      [{?A, anna}]},
     {"a client of an outcast", message(), room(#{{<<"anna">>, ?A, <<"phone">>} => member, anna() => outcast}), []},
     {"a client of a member", message(), room(#{{<<"anna">>, ?A, <<"phone">>} => member, anna() => member}),
      [{?A, anna}]},
     {"other virtual hosts", message(), room(#{{<<"dora">>, ?B, <<>>} => member,
                                               {<<"anna">>, <<"off.example">>, <<>>} => member,
                                               {<<"anna">>, <<"remote.example">>, <<>>} => member}), [{?B, dora}]},
     {"a kind that is asked for by one virtual host alone", reaction(),
      room(#{{<<"dora">>, ?B, <<>>} => member, anna() => member}), [{?B, dora}]},
     {"a kind that nobody asks for", (message())#message{body = []}, Three, []},
     {"nobody", message(), room(#{}), []},
     {"mam_ignore", xmpp:put_meta(message(), mam_ignore, true), Three, []},
     {"a private message", (message())#message{type = chat}, Three, []},
     {"an error", (message())#message{type = error}, Three, []}].

told(Vm, Message, Room, Expected) ->
    {_, Jobs} = run(Vm, Message, Room),
    ?assertEqual(Expected, lists:sort([{Host, binary_to_atom(User)} || {_, _, Absent, _} <- Jobs,
                                       {Host, Users} <- maps:to_list(Absent), User <- Users])),
    [?assertEqual(Count, length(Expected)) || {_, _, _, Count} <- Jobs],
    %% Nothing is handed over for nobody.
    ?assertEqual(Expected =/= [], Jobs =/= []).

handed_over(Vm) ->
    Room = room(#{anna() => member}),
    {_, [{Message, Of, _, _}]} = run(Vm, message(), Room),
    ?assertEqual({?ROOM, ?MUC, <<"nick">>}, jid:tolower(Message#message.from)),
    ?assertEqual(maps:remove(at, Of), #{room => jid:make(?ROOM, ?MUC), nick => <<"nick">>, stored => none}),
    ?assert(maps:get(at, Of) =< erlang:timestamp()),
    ?assertMatch(#{offline_post := _}, Message#message.meta),
    %% Where everybody sees who is who.
    {_, [{_, Shown, _, _}]} = run(Vm, message(), Room#state{config = #config{anonymous = false, lang = <<"en">>}}),
    ?assertEqual(jid:make(<<"zoe">>, ?A), maps:get(sender, Shown)),
    %% The room's archive has it; that of another does not count.
    [begin
         {_, [{_, #{stored := Stored}, _, _}]} =
             run(Vm, (message())#message{meta = #{mam_archived => true}, sub_els = [#stanza_id{by = By, id = <<"1">>}]},
                 Room),
         ?assertEqual(Expected, Stored)
     end || {By, Expected} <- [{jid:make(?ROOM, ?MUC), archive}, {jid:make(<<"zoe">>, ?A), none}]].

%% With a stamp, and nothing else is changed; what cannot be told costs the room no message.
goes_on(Vm) ->
    Message = message(),
    {#message{meta = #{offline_post := _} = Meta} = Result, _} = run(Vm, Message, room(#{})),
    ?assertEqual(Message, Result#message{meta = maps:without([offline_post, offline_post_author], Meta)}),
    Private = Message#message{type = chat},
    ?assertEqual({Private, []}, run(Vm, Private, room(#{}))).

dropped(Vm) ->
    ?assertEqual({drop, []}, run(Vm, drop, room(#{anna() => member}))).

other_state(Vm) ->
    #{hook_crashes := Before} = offline_post_vm:call(Vm, mod_offline_post_incidents, counts, []),
    State = setelement(1, room(#{anna() => member}), another),
    ?assertMatch({#message{}, []}, run(Vm, message(), State)),
    ?assertMatch(#{hook_crashes := After} when After =:= Before + 1,
                 offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

nobody_asked(Vm) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, mode}, mucsub]),
    {#message{}, Jobs} = run(Vm, message(), room(#{anna() => member})),
    ?assertEqual([], Jobs),
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, mode}, members]).

run(Vm, Message, Room) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, jobs}, []]),
    Result = offline_post_vm:call(Vm, mod_offline_post_groups, muc_filter_message, [Message, Room, <<"nick">>]),
    {Result, offline_post_vm:call(Vm, persistent_term, get, [{fake, jobs}])}.

setup() ->
    Vm = offline_post_vm:start(),
    {ok, _} = offline_post_vm:call(Vm, application, ensure_all_started, [stringprep]),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, mode}, members]),
    [ok = offline_post_vm:fake(Vm, Module, "-module(" ++ atom_to_list(Module) ++ ").\n" ++ Source) ||
        {Module, Source} <-
            [{ejabberd_option,
              "-export([hosts/0]).\n"
              "hosts() -> [<<\"a.example\">>, <<\"b.example\">>, <<\"off.example\">>, <<\"unloaded.example\">>].\n"},
             {mod_offline_post_policy,
              "-export([get/1]).\n"
              "get(<<\"a.example\">>) -> (members())#{notify => [text, subject]};\n"
              "get(<<\"b.example\">>) -> (members())#{notify => [text, reaction]};\n"
              "get(<<\"off.example\">>) -> #{groupchat => none, notify => [text]};\n"
              "get(_) -> undefined.\n"
              "members() -> #{groupchat => persistent_term:get({fake, mode})}.\n"},
             {mod_offline_post_once,
              "-export([stamp/1]).\n"
              "stamp(Message) -> setelement(11, Message, maps:put(offline_post, {1, 1}, element(11, Message))).\n"},
             {mod_offline_post_members,
              "-export([tell/4]).\n"
              "tell(M, O, A, C) ->\n"
              "    persistent_term:put({fake, jobs}, [{M, O, A, C} | persistent_term:get({fake, jobs})]), ok.\n"}]],
    Vm.

%%% Unwrapping

unwrap_test_() ->
    {ok, _} = application:ensure_all_started(xmpp),
    {setup, fun options/0, fun ets:delete/1,
     [{Name, ?_assertEqual(Expected, outcome(mod_offline_post_groups:unwrap(Message, Policy)))} ||
      {Name, Message, Policy, Expected} <- unwrap_table()]}.

%% As far as ejabberd_option:hosts() needs them.
options() ->
    Options = ets:new(ejabberd_options, [named_table, public]),
    true = ets:insert(Options, {{hosts, global}, [?A, ?B]}),
    Options.

outcome({ok, #message{} = Inner, Of}) -> {maps:get(nick, Of), jid:encode(maps:get(room, Of)),
                                          jid:encode(maps:get(to, Of)), mod_offline_post_body:text(Inner)};
outcome(Other) -> Other.

unwrap_table() ->
    Mucsub = #{groupchat => mucsub, members_notify => mentions},
    Members = #{groupchat => members, members_notify => all},
    Mentions = #{groupchat => members, members_notify => mentions},
    None = #{groupchat => none, members_notify => all},
    Told = {<<"nick">>, <<"room@conference.a.example">>, <<"anna@a.example">>, <<"Hello">>},
    [{"mucsub", wrapped(inner()), Mucsub, Told},
     {"members", wrapped(inner()), Members, Told},
     {"none", wrapped(inner()), None, ignore},
     {"from a user's own node", posing(), Mucsub, ignore},
     {"a subject", wrapped(inner(), ?NS_MUCSUB_NODES_SUBJECT), Mucsub, Told},
     {"a presence of the room", wrapped(inner(), ?NS_MUCSUB_NODES_PRESENCE), Mucsub, ignore},
     {"mentioned", wrapped((inner())#message{body = [#text{data = <<"Anna?">>}]}), Mentions,
      setelement(4, Told, <<"Anna?">>)},
     {"not mentioned", wrapped(inner()), Mentions, ignore},
     {"as XML from elsewhere", wrapped(xmpp:encode(inner(), ?NS_CLIENT)), Mucsub, Told},
     {"XML that is none", wrapped(#xmlel{name = <<"message">>,
                                         attrs = [{<<"xmlns">>, ?NS_CLIENT},
                                                  {<<"type">>, <<"nonsense">>}]}), Mucsub, ignore},
     {"nothing in it", wrapped(#xmlel{name = <<"presence">>}), Mucsub, ignore},
     {"another room's", wrapped((inner())#message{from = jid:make(<<"other">>, ?MUC, <<"nick">>)}), Mucsub, ignore},
     {"from a client, which no room is", (wrapped(inner()))#message{from = jid:make(?ROOM, ?MUC, <<"x">>)}, Mucsub,
      none},
     {"the room itself speaks", wrapped((inner())#message{from = jid:make(?ROOM, ?MUC)}), Mucsub, ignore},
     {"no groupchat in it", wrapped((inner())#message{type = chat}), Mucsub, ignore},
     {"another pubsub event",
      (wrapped(inner()))#message{sub_els = [#ps_event{items = #ps_items{node = <<"urn:xmpp:avatar:data">>}}]},
      Mucsub, none},
     {"a normal message", (message())#message{type = normal}, Mucsub, none},
     {"a chat message", (message())#message{type = chat}, Mucsub, none},
     {"to a client in the room, members", direct(), Members, setelement(3, Told, <<"anna@a.example/phone">>)},
     {"to a client in the room, mucsub", direct(), Mucsub, setelement(3, Told, <<"anna@a.example/phone">>)},
     {"one's own, to a client in the room", own(direct()), Mucsub, ignore},
     {"one's own, wrapped", wrapped(own(inner())), Mucsub, ignore},
     {"one's own, wrapped and sent again", sent_again(wrapped(own(inner()))), Mucsub, ignore},
     {"somebody else's, wrapped and sent again", sent_again(wrapped(inner())), Mucsub, Told},
     {"a wrapper in a wrapper", wrapped(wrapped(inner())), Mucsub, ignore},
     {"a carbon in a wrapper", wrapped(#message{sub_els = [#carbons_received{forwarded = #forwarded{sub_els = [inner()]}}]}),
      Mucsub, ignore},
     {"a wrapper in a carbon", #message{type = chat, from = jid:make(?ROOM, ?MUC), to = jid:make(<<"anna">>, ?A),
                                        sub_els = [#carbons_received{forwarded = #forwarded{sub_els = [wrapped(inner())]}}]},
      Mucsub, none},
     {"to a client in the room, none", direct(), None, ignore},
     {"to a client in the room, not mentioned", direct(), Mentions, ignore}].

%% Who is behind the nick is told as the room's process has said it, not as the message says.
unwrap_sender_test() ->
    {ok, _} = application:ensure_all_started(xmpp),
    Policy = #{groupchat => mucsub, members_notify => all},
    Claim = #muc_user{items = [#muc_item{jid = jid:make(<<"forged">>, ?A)}]},
    Zoe = jid:make(<<"zoe">>, ?A),
    Unknown = (inner())#message{sub_els = [Claim], meta = #{muc_sender_real_jid => Zoe}},
    Options = options(),
    {ok, _, Of} = mod_offline_post_groups:unwrap(wrapped(Unknown), Policy),
    ?assertNot(is_map_key(sender, Of)),
    Shown = (inner())#message{meta = #{offline_post_sender => Zoe}},
    ?assertMatch({ok, _, #{sender := Zoe}}, mod_offline_post_groups:unwrap(wrapped(Shown), Policy)),
    ets:delete(Options).

%%%

%% What somebody with an account here could publish.
posing() ->
    Wrapper = wrapped((inner())#message{from = jid:make(<<"zoe">>, ?A, <<"nick">>)}),
    Wrapper#message{from = jid:make(<<"zoe">>, ?A)}.

direct() ->
    (inner())#message{to = jid:make(<<"anna">>, ?A, <<"phone">>)}.

inner() ->
    (message())#message{from = jid:make(?ROOM, ?MUC, <<"nick">>), to = undefined}.

%% As the room's process marks it.
own(Message) ->
    Message#message{meta = #{offline_post => {1, 2}, offline_post_author => {<<"anna">>, ?A, <<>>}}}.

%% As mod_stream_mgmt does, when the session manager has had it before: what is inside has lost its meta.
sent_again(#message{sub_els = [#ps_event{items = #ps_items{items = [#ps_item{sub_els = [Inner]}]} = Items} = Event]} = Wrapper) ->
    #message{sub_els = [Event]} = Stamped = stamped(stamped(Wrapper)),
    New = #ps_item{sub_els = [Inner#message{meta = #{}}]},
    Stamped#message{sub_els = [Event#ps_event{items = Items#ps_items{items = [New]}}]}.

stamped(Message) ->
    persistent_term:put(mod_offline_post_once, {none, 1}),
    mod_offline_post_once:stamp(Message).

wrapped(Inner) ->
    wrapped(Inner, ?NS_MUCSUB_NODES_MESSAGES).

wrapped(Inner, Node) ->
    #message{type = normal, from = jid:make(?ROOM, ?MUC), to = jid:make(<<"anna">>, ?A),
             sub_els = [#ps_event{items = #ps_items{node = Node,
                                                    items = [#ps_item{id = <<"1">>, sub_els = [Inner]}]}}]}.

message() ->
    #message{type = groupchat, id = <<"m1">>, from = jid:make(<<"zoe">>, ?A, <<"phone">>), to = jid:make(?ROOM, ?MUC),
             body = [#text{data = <<"Hello">>}]}.

subject() ->
    (message())#message{body = [], subject = [#text{data = <<"News">>}]}.

reaction() ->
    (message())#message{body = [], sub_els = [#xmlel{name = <<"reactions">>,
                                                     attrs = [{<<"xmlns">>, <<"urn:xmpp:reactions:0">>},
                                                              {<<"id">>, <<"m0">>}]}]}.

room(Affiliations) ->
    #state{room = ?ROOM, host = ?MUC, server_host = ?A, jid = jid:make(?ROOM, ?MUC), config = #config{lang = <<"en">>},
           affiliations = Affiliations}.

occupied(Room, Occupants) ->
    Room#state{users = maps:from_list([{setelement(3, Jid, Resource), occupant} || {Jid, Resource} <- Occupants])}.

subscribed(Room, Node, Jids) ->
    Subscribers = maps:from_list([{Jid, subscriber} || Jid <- Jids]),
    Room#state{muc_subscribers = #muc_subscribers{subscriber_nodes = #{Node => Subscribers}}}.

anna() -> {<<"anna">>, ?A, <<>>}.
ben() -> {<<"ben">>, ?A, <<>>}.
carl() -> {<<"carl">>, ?A, <<>>}.
