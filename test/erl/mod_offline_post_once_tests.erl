%% How long it is remembered that a message was posted, and what that costs.
-module(mod_offline_post_once_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

once_test_() ->
    {foreach, fun setup/0, fun offline_post_vm:stop/1,
     [fun(Vm) -> {Name, {timeout, 60, fun() -> Test(Vm) end}} end ||
         {Name, Test} <- [{"two generations", fun generations/1}, {"asked for again", fun again/1}, {"a full one", fun full/1},
                          {"new options", fun options/1}, {"waits", fun waits/1}, {"without tables", fun no_tables/1}, {"stamps", fun stamps/1}, {"a client's resend", fun resend/1}]]}.

%% Known through one turn, forgotten after two.
generations(Vm) ->
    Message = stamped(Vm),
    ?assert(first(Vm, Message)),
    turn(Vm),
    ?assertNot(first(Vm, Message)),
    turn(Vm),
    turn(Vm),
    ?assert(first(Vm, Message)).

%% Whoever asks keeps it alive, as a session that is resumed and lost again and again does.
again(Vm) ->
    Message = stamped(Vm),
    ?assert(first(Vm, Message)),
    [begin turn(Vm), ?assertNot(first(Vm, Message)) end || _ <- lists:seq(1, 5)].

%% However many there are, no more than two tables of them.
full(Vm) ->
    First = stamped(Vm),
    ?assert(first(Vm, First)),
    offline_post_vm:call(Vm, lists, foreach, [fun(I) -> mod_offline_post_once:first(origin(I), anna(), offline) end, lists:seq(1, 450000)]),
    Sizes = [offline_post_vm:call(Vm, ets, info, [Table, size]) || Table <- [mod_offline_post_once_a, mod_offline_post_once_b]],
    [?assertMatch(Size when Size =< 250000, Size) || Size <- Sizes],
    ?assert(first(Vm, First)),
    ?assertNot(offline_post_vm:call(Vm, mod_offline_post_once, first, [origin(450000), anna(), offline])).

%% A longer generation is not cut short by the timer of a shorter one.
options(Vm) ->
    Message = stamped(Vm),
    ?assert(first(Vm, Message)),
    [ok = offline_post_vm:call(Vm, gen_server, cast, [mod_offline_post_once, {generation, Ms}]) || Ms <- [1, 3600000, 3600000]],
    {Timer, 3600000} = offline_post_vm:call(Vm, sys, get_state, [mod_offline_post_once]),
    ?assertMatch(Left when Left > 3500000, offline_post_vm:call(Vm, erlang, read_timer, [Timer])).

%% As long as the longest wait that is configured, whether or not mod_stream_mgmt has started yet.
waits(Vm) ->
    ok = offline_post_vm:fake(Vm, ejabberd_option, "-module(ejabberd_option). -export([hosts/0, modules/1]).
        hosts() -> [a, b, c].
        modules(a) -> [{mod_roster, #{}, 1}];
        modules(b) -> [{mod_stream_mgmt, #{resume_timeout => 3600000, max_resume_timeout => undefined,
                                           ack_timeout => infinity}, 1}];
        modules(c) -> [{mod_roster, #{}, 1}, {mod_stream_mgmt, #{resume_timeout => 300000, ack_timeout => 60000}, 2}]."),
    ok = offline_post_vm:fake(Vm, gen_mod, "-module(gen_mod). -export([start_child/4]).
        start_child(_, _, _, Name) -> {error, {already_started, whereis(Name)}}."),
    ok = offline_post_vm:call(Vm, gen_server, cast, [mod_offline_post_once, {generation, 1000000}]),
    ok = offline_post_vm:call(Vm, mod_offline_post_once, start, []),
    ?assertMatch({_, 3720000}, offline_post_vm:call(Vm, sys, get_state, [mod_offline_post_once])).

%% Rather twice than never.
no_tables(Vm) ->
    Message = stamped(Vm),
    ?assert(first(Vm, Message)),
    ok = offline_post_vm:call(Vm, gen_server, stop, [mod_offline_post_once]),
    ?assert(first(Vm, Message)),
    ok = offline_post_vm:call(Vm, mod_offline_post_once, forget, [Message, anna(), pending]),
    ?assertMatch(#message{meta = #{offline_post := _}}, stamped(Vm)).

%% Sender, origin-id and content: whatever servers have added, and whether or not a module has decoded an element.
resend(Vm) ->
    Id = #origin_id{id = <<"o1">>},
    File = #oob_x{url = <<"https://files.example/1">>},
    Said = (message())#message{sub_els = [Id, File]},
    First = fun(Message) -> first(Vm, Message) end,
    ?assert(First(Said)),
    [?assertNot(First(Again)) ||
        Again <- [Said,
                  Said#message{id = <<"m2">>},
                  Said#message{sub_els = [xmpp:encode(File), xmpp:encode(Id)]},
                  Said#message{sub_els = [#stanza_id{by = anna(), id = <<"7">>}, #delay{stamp = {1, 2, 3}, from = anna()}, File, Id,
                                          #chatstate{type = active}, #hint{type = store}]}]],
    [?assert(First(Other)) ||
        Other <- [Said#message{body = [#text{data = <<"another">>}]},
                  Said#message{body = [#text{lang = <<"de">>, data = <<"Hallo">>} | Said#message.body]},
                  Said#message{subject = [#text{data = <<"News">>}]},
                  Said#message{sub_els = [Id, #oob_x{url = <<"https://files.example/2">>}]},
                  Said#message{sub_els = [Id]},
                  Said#message{sub_els = [#origin_id{id = <<"o2">>}, File]},
                  Said#message{from = anna()}]],
    Long = Said#message{sub_els = [#origin_id{id = binary:copy(<<"x">>, 65536)}]},
    ?assertEqual([true, false], [First(Long), First(Long)]).

stamps(Vm) ->
    Stamp = fun(Stanza) -> offline_post_vm:call(Vm, mod_offline_post_once, stamp, [Stanza]) end,
    #message{meta = #{offline_post := {Node, Number}, x := y}} = Once = Stamp((message())#message{meta = #{x => y}}),
    ?assertMatch(#message{meta = #{offline_post := {Node, Number, again}, x := y}}, Stamp(Once)),
    ?assertEqual(Stamp(Once), Stamp(Stamp(Once))),
    [?assertEqual(Stanza, Stamp(Stanza)) || Stanza <- [#iq{}, #presence{}, (message())#message{type = error}]],
    Carry = fun(From, To) -> offline_post_vm:call(Vm, mod_offline_post_once, carry, [From, To]) end,
    ?assertMatch(#message{meta = #{offline_post := {Node, Number}}}, Carry(Once, message())),
    ?assertEqual(message(), Carry(message(), message())),
    Other = Stamp(message()),
    ?assertEqual(Other, Carry(Once, Other)).

%%%

turn(Vm) ->
    {Timer, _} = offline_post_vm:call(Vm, sys, get_state, [mod_offline_post_once]),
    _ = offline_post_vm:call(Vm, erlang, send, [mod_offline_post_once, {timeout, Timer, turn}]),
    %% Answered behind it.
    _ = offline_post_vm:call(Vm, sys, get_state, [mod_offline_post_once]).

first(Vm, Message) ->
    offline_post_vm:call(Vm, mod_offline_post_once, first, [Message, anna(), pending]).

stamped(Vm) ->
    offline_post_vm:call(Vm, mod_offline_post_once, stamp, [message()]).

setup() ->
    Vm = offline_post_vm:start(),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, mod_offline_post_once}, mod_offline_post_once,
                                                           [<<>>, #{generation => 3600000}], []]),
    Vm.

origin(I) ->
    (message())#message{sub_els = [#xmlel{name = <<"origin-id">>, attrs = [{<<"xmlns">>, ?NS_SID_0}, {<<"id">>, integer_to_binary(I)}]}]}.

message() ->
    #message{type = chat, from = #jid{luser = <<"bob">>, lserver = <<"b.example">>, lresource = <<"phone">>}, to = anna(),
             body = [#text{data = <<"Hello">>}]}.

anna() ->
    #jid{luser = <<"anna">>, lserver = <<"a.example">>}.
