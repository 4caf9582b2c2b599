%% What hangs, who takes a message, and where it is kept, with a session manager and a pipeline that only answer and
%% write down.
-module(mod_offline_post_pending_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(HOST, <<"a.example">>).
-define(PHONE, <<"phone">>).

hooks_test() ->
    Hooks = fun(Triggers) ->
                    mod_offline_post_terms:put(mod_offline_post_policy, ?HOST, #{triggers => Triggers}),
                    [Hook || {Hook, mod_offline_post_pending, Function, 45} <- mod_offline_post_pending:hooks(?HOST),
                             Function =:= Hook]
            end,
    ?assertEqual([c2s_session_pending, c2s_handle_send, c2s_terminated], Hooks([offline, pending])),
    ?assertEqual([c2s_session_pending], Hooks([offline])),
    mod_offline_post_terms:erase(mod_offline_post_policy, ?HOST),
    ?assertEqual([], mod_offline_post_pending:hooks(?HOST)).

%% Neither a healthy session's message nor anything else costs more than a clause.
passes_test() ->
    [?assertEqual(State, mod_offline_post_pending:c2s_handle_send(State, Element, ok)) ||
        State <- [#{mgmt_state => active, lserver => ?HOST}, #{mgmt_state => inactive}, #{}],
        Element <- [message(<<>>), #presence{}, #iq{type = get}, #stream_error{}]],
    Pending = #{mgmt_state => pending, lserver => ?HOST},
    [?assertEqual(Pending, mod_offline_post_pending:c2s_handle_send(Pending, Element, ok)) ||
        Element <- [#presence{}, #iq{type = get}, #stream_error{}]],
    [?assertEqual(State, mod_offline_post_pending:c2s_terminated(State, normal)) ||
        State <- [#{}, #{mgmt_state => inactive}, #{mgmt_state => pending}, #{mgmt_state => timeout},
                  #{mgmt_state => resumed}, #{mgmt_state => active, stop_reason => {stream, reset}}]].

told_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{Name, {timeout, 60, fun() -> ?assertEqual(Expected, told(Vm, Changes, Message)) end}} ||
                 {Name, Changes, Message, Expected} <- table()]
     end}.

%% Name, what differs from a phone alone that hangs, the message, and how it is told of (no: not at all).
table() ->
    Bare = message(<<>>),
    Full = message(?PHONE),
    Other = fun(Info) -> #{sessions => [phone(), {<<"desk">>, Info}]} end,
    [{"alone", #{}, Bare, none},
     {"another takes it", Other([{priority, 0}]), Bare, no},
     {"another has more priority", Other([{priority, 7}]), Bare, no},
     {"another has less priority", Other([{priority, -1}]), Bare, none},
     {"another is not available", Other([{priority, undefined}]), Bare, none},
     {"addressed to this one", Other([{priority, 0}]), Full, none},
     {"addressed to this one, and copied", Other([{priority, 0}, {carboncopy, <<"urn:xmpp:carbons:2">>}]), Full, no},
     {"of a room, wrapped", Other([{priority, 0}, {carboncopy, <<"urn:xmpp:carbons:2">>}]),
      Full#message{type = normal, body = [], sub_els = [#ps_event{}]}, none}
     | [{"not a chat, but copied", Other([{priority, 0}, {carboncopy, <<"urn:xmpp:carbons:2">>}]),
         Full#message{type = normal, body = Body, sub_els = Els}, no} ||
           {Body, Els} <- [{[#text{data = <<"Hello">>}], []}, {[], [#chatstate{type = active}]},
                           {[], [#receipt_response{id = <<"1">>}]},
                           {[], [#x_conference{jid = jid(<<"room">>, ?HOST)}]}]]]
    ++
    [{"private", Other([{priority, 0}, {carboncopy, <<"urn:xmpp:carbons:2">>}]),
      Full#message{sub_els = [#carbons_private{}]}, none},
     {"of a room's occupant", Other([{priority, 0}, {carboncopy, <<"urn:xmpp:carbons:2">>}]),
      Full#message{sub_els = [#muc_user{}]}, none},
     {"hanging devices too", (Other([{priority, 0}]))#{hanging => true}, Bare, none},
     {"headline to all", Other([{priority, 0}]), Bare#message{type = headline}, no},
     {"a room's", Other([{priority, 0}]), Full#message{type = groupchat}, no},
     {"a carbon", #{}, copy(Bare), none},
     {"of one's own", #{}, sent(Bare), sent},
     {"sent again", #{state => #{mgmt_resend => true}}, Bare, offline},
     {"sent again, a headline", #{state => #{mgmt_resend => true}}, Bare#message{type = headline}, none},
     {"sent again if alone", #{state => #{mgmt_resend => if_offline}}, Bare, offline},
     {"sent again if alone, which it is not",
      (Other([{priority, -1}]))#{state => #{mgmt_resend => if_offline}}, Bare, none},
     {"archived", #{state => #{mgmt_resend => true}}, archived(Bare), archive}].

told(Vm, Changes, Message) ->
    Put = fun(Key, Value) -> ok = offline_post_vm:call(Vm, persistent_term, put, [Key, Value]) end,
    ok = offline_post_vm:call(Vm, mod_offline_post_terms, put, [mod_offline_post_policy, ?HOST, #{triggers => [pending], hanging => maps:get(hanging, Changes, false)}]),
    Put({fake, sessions}, maps:get(sessions, Changes, [phone()])),
    Put({fake, told}, []),
    ok = offline_post_vm:call(Vm, mod_offline_post_devices, changed, [<<"anna">>, ?HOST]),
    Routed = routed(Vm, Message),
    State = maps:merge(#{mgmt_state => pending, lserver => ?HOST, mgmt_resend => false,
                         jid => jid(<<"anna">>, ?HOST, ?PHONE)}, maps:get(state, Changes, #{})),
    ?assertEqual(State, offline_post_vm:call(Vm, mod_offline_post_pending, c2s_handle_send, [State, Routed, ok])),
    case offline_post_vm:call(Vm, persistent_term, get, [{fake, told}]) of
        [] -> no;
        [{?HOST, #message{sub_els = [#carbons_sent{}]}, #{trigger := pending, resource := ?PHONE}}] -> sent;
        [{?HOST, #message{id = <<"m1">>}, #{trigger := pending, stored := Stored, resource := ?PHONE}}] -> Stored
    end.

%% As the session manager has it: what is in a carbon was routed before.
routed(Vm, #message{meta = #{carbon_copy := true}, sub_els = [#carbons_received{forwarded = Forwarded} = Carbon]} = Copy) ->
    #forwarded{sub_els = [Message]} = Forwarded,
    Copy#message{sub_els = [Carbon#carbons_received{forwarded = Forwarded#forwarded{sub_els = [routed(Vm, Message)]}}]};
routed(Vm, Message) ->
    offline_post_vm:call(Vm, mod_offline_post_devices, routed, [offline_post_vm:call(Vm, mod_offline_post_once, stamp, [Message])]).

setup() ->
    Vm = offline_post_vm:start(),
    offline_post_vm:fake(Vm, ejabberd_sm, "-module(ejabberd_sm). -export([get_user_info/2, get_user_resources/2]).
        get_user_info(<<\"anna\">>, <<\"a.example\">>) -> persistent_term:get({fake, sessions}).
        get_user_resources(<<\"anna\">>, <<\"a.example\">>) -> [R || {R, _} <- persistent_term:get({fake, sessions})]."),
    offline_post_vm:fake(Vm, gen_mod, "-module(gen_mod). -export([is_loaded/2]).
        is_loaded(<<\"a.example\">>, mod_offline) -> true."),
    offline_post_vm:fake(Vm, mod_offline_post_notify, "-module(mod_offline_post_notify). -export([message/3, seen/1]).
        seen(_) -> ok.
        message(Host, Message, Context) ->
            persistent_term:put({fake, told}, [{Host, Message, Context} | persistent_term:get({fake, told})]),
            posted."),
    [{ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, Module}, Module, [?HOST, #{generation => 600000}], []]) ||
        Module <- [mod_offline_post_once, mod_offline_post_devices]],
    Vm.

phone() ->
    {?PHONE, [{priority, 0}, {offline_post_hanging, true}]}.

message(Resource) ->
    #message{type = chat, id = <<"m1">>, from = jid(<<"bob">>, <<"b.example">>, <<"x">>),
             to = jid(<<"anna">>, ?HOST, Resource), body = [#text{data = <<"Hello">>}]}.

archived(Message) ->
    Message#message{meta = #{mam_archived => true},
                    sub_els = [#stanza_id{by = jid(<<"anna">>, ?HOST), id = <<"7">>}]}.

copy(Message) ->
    carbon(#carbons_received{forwarded = #forwarded{sub_els = [Message]}}).

sent(Message) ->
    carbon(#carbons_sent{forwarded = #forwarded{sub_els = [Message]}}).

carbon(Element) ->
    #message{type = chat, from = jid(<<"anna">>, ?HOST), to = jid(<<"anna">>, ?HOST, ?PHONE),
             sub_els = [Element], meta = #{carbon_copy => true}}.

jid(User, Host) -> jid(User, Host, <<>>).

%% As they are, since the functions of jid need a native library.
jid(User, Host, Resource) ->
    #jid{user = User, server = Host, resource = Resource, luser = User, lserver = Host, lresource = Resource}.
