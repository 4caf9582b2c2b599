%% Random histories of two devices against the model, with our handlers, and with a session manager, sessions, stream
%% management and carbons that do no more than is needed for them. received_SUITE has the same on a real ejabberd.
-module(mod_offline_post_devices_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

%% In the VM.
-export([run/3, room/2, given_back/2, second_copy/0]).

-define(HOST, <<"a.example">>).
-define(USER, <<"anna">>).
-define(HISTORIES, 500).
-define(STEPS, 16).

received_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             First = erlang:system_time(microsecond),
             [{lists:concat([What, ", from seed ", First]),
               {timeout, 300, fun() -> ?assertEqual(none, first_wrong(Vm, First, Resent)) end}} ||
                 {What, Resent} <- [{"dropped at a session's end", false}, {"sent again at a session's end", true}]]
     end}.

%% A phone in a room loses a message of it: what the other device was when it was routed, whether it is in the room as
%% well, and what becomes of it before the phone is found dead.
room_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{lists:flatten(io_lib:format("~p", [{Before, After}])),
               ?_assertEqual(Expected, offline_post_vm:call(Vm, ?MODULE, room, [Before, After]))} ||
                 {Before, After, Expected} <-
                     [{[], [], received}, {[], [{lose, b}], lost}, {[], [{logout, b}], received},
                      {[{lose, b}], [], lost}, {[{lose, b}], [{resume, b}], lost},
                      {[{priority, b, -1}], [], lost}, {[{priority, b, -1}], [{priority, b, 0}], lost},
                      {[{join, b}], [{lose, b}], received}, {[{join, b}, {mute, b}], [{lose, b}], lost},
                      {[{join, b}, {mute, b}], [{lose, b}, {resume, b}], received},
                      {[{join, b}, {priority, b, -1}], [], received}, {[{join, b}, {lose, b}], [], lost},
                      {[{join, b}, {lose, b}], [{resume, b}], received}]]
     end}.

%% A session ends with a message in its mailbox, which ejabberd then routes again. What the other device was, and becomes.
given_back_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{lists:flatten(io_lib:format("~p", [{Before, After}])),
               ?_assertEqual(Expected, offline_post_vm:call(Vm, ?MODULE, given_back, [Before, After]))} ||
                 {Before, After, Expected} <-
                     [{[], [], lost}, {[{login, b, 0}], [], received}, {[{login, b, 0}], [{lose, b}], received},
                      {[{login, b, 0}, {mute, b}], [{lose, b}], lost}, {[{login, b, 0}, {lose, b}], [], lost},
                      {[{login, b, 5}, {mute, b}], [{lose, b}], lost}, {[{login, b, 5}, {mute, b}], [{lose, b}, {resume, b}], lost},
                      {[{login, b, 0}, {carbons, b, true}], [{lose, b}], received}, {[{login, b, -1}], [], lost},
                      {[{login, b, 0}, {login, c, 0}, {mute, b}, {mute, c}], [{lose, b}], received},
                      {[{login, b, 0}, {login, c, 0}, {mute, b}, {mute, c}], [{lose, b}, {lose, c}], lost},
                      {[{login, b, 0}, {login, c, 0}, {mute, b}], [{lose, b}], received}]]
     end}.

%% The operator ends both sessions of a user: one gives back what the other has received, and that one ends with the second
%% copy in its mailbox.
second_copy_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> ?_assertEqual([], offline_post_vm:call(Vm, ?MODULE, second_copy, [])) end}.

%% In slices, each within the time of one call.
first_wrong(Vm, First, Resent) ->
    Wrong = [offline_post_vm:call(Vm, ?MODULE, run, [Seed, 50, Resent]) || Seed <- lists:seq(First, First + ?HISTORIES - 1, 50)],
    case [W || W <- Wrong, W =/= none] of
        [] -> none;
        [W | _] -> W
    end.

setup() ->
    Vm = offline_post_vm:start(),
    offline_post_vm:fake(Vm, ejabberd_sm, "-module(ejabberd_sm). -export([get_user_info/2, get_user_info/3, get_session_pid/3, get_user_resources/2, set_user_info/5]).
        sessions() -> maps:to_list(persistent_term:get(sessions)).
        get_user_info(<<\"anna\">>, <<\"a.example\">>) -> [{R, maps:get(info, S)} || {R, S} <- sessions()].
        get_user_info(_, _, R) -> maps:get(info, maps:get(R, persistent_term:get(sessions), #{info => offline})).
        get_session_pid(_, _, R) -> case is_map_key(R, persistent_term:get(sessions)) of true -> self(); false -> none end.
        get_user_resources(_, _) -> [R || {R, _} <- sessions()].
        set_user_info(_, _, R, K, V) ->
            #{R := #{info := Info} = S} = All = persistent_term:get(sessions),
            persistent_term:put(sessions, All#{R := S#{info := lists:keystore(K, 1, Info, {K, V})}})."),
    offline_post_vm:fake(Vm, gen_mod, "-module(gen_mod). -export([is_loaded/2, get_opt/2]).
        is_loaded(_, _) -> true.
        get_opt(Option, Opts) -> maps:get(Option, Opts)."),
    offline_post_vm:fake(Vm, ejabberd_auth, "-module(ejabberd_auth). -export([user_exists/2]). user_exists(_, _) -> true."),
    offline_post_vm:fake(Vm, ejabberd_hooks, "-module(ejabberd_hooks). -export([run_fold/4]).
        run_fold(offline_post_event, _, Event, _) -> Event."),
    offline_post_vm:fake(Vm, mod_offline_post_commit, "-module(mod_offline_post_commit). -export([submit/3]).
        submit(_, Event, _) -> persistent_term:put(posted, [element(4, Event) | persistent_term:get(posted)]), ok."),
    [{ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, Module}, Module, [?HOST, #{generation => 600000}], []]) ||
        Module <- [mod_offline_post_once, mod_offline_post_devices]],
    ok = offline_post_vm:call(Vm, mod_offline_post_policy, set,
                              [?HOST, maps:from_list(lists:delete(post_url, mod_offline_post_options:defaults())), []]),
    ok = offline_post_vm:call(Vm, mod_offline_post_notify, prepare, [?HOST]),
    Vm.

%%% In the VM

%% none, or what is wrong with the first wrong history of so many from this seed on.
run(_Seed, 0, _Resent) ->
    none;
run(Seed, Left, Resent) ->
    History = offline_post_histories:random(Seed, ?STEPS),
    persistent_term:put(sessions, #{}),
    persistent_term:put(posted, []),
    mod_offline_post_devices:changed(?USER, ?HOST),
    [step(Step, Resent) || Step <- History],
    Expected = offline_post_received:due(History),
    case lists:sort([binary_to_integer(Id) || Id <- persistent_term:get(posted)]) of
        Expected -> run(Seed + 1, Left - 1, Resent);
        Posted -> {Seed, History, {expected, Expected}, {posted, Posted}}
    end.

second_copy() ->
    persistent_term:put(sessions, #{}),
    persistent_term:put(posted, []),
    mod_offline_post_devices:changed(?USER, ?HOST),
    [step(Step, false) || Step <- [{login, a, 0}, {login, b, 0}, {lose, a}, {message, 1, account}]],
    #{queue := [Message]} = session(a),
    mod_offline_post_devices:c2s_terminated((state(a))#{mgmt_state := timeout}, normal),
    ended(a),
    Again = mod_offline_post_devices:routed(mod_offline_post_once:stamp(Message)),
    mod_offline_post_devices:c2s_terminated(state(b), normal),
    ended(b),
    route(Again),
    persistent_term:get(posted).

given_back(Before, After) ->
    persistent_term:put(sessions, #{}),
    persistent_term:put(posted, []),
    mod_offline_post_devices:changed(?USER, ?HOST),
    [step(Step, false) || Step <- [{login, a, 5} | Before]],
    Message = #message{type = chat, id = <<"1">>, from = jid(<<"bob">>, <<"b.example">>, <<"x">>), to = jid(?USER, ?HOST, <<>>),
                       body = [#text{data = <<"Hello">>}]},
    Routed = mod_offline_post_devices:routed(mod_offline_post_once:stamp(Message)),
    %% Other devices with the highest priority get it at once.
    Others = [{R, S} || {R, #{info := Info} = S} <- maps:to_list(persistent_term:get(sessions)), R =/= <<"a">>,
                        lists:member({priority, 5}, Info) orelse lists:keymember(carboncopy, 1, Info)],
    [receives(R, Routed) || {R, _} <- Others],
    State = (state(a))#{stop_reason => {socket, closed}},
    mod_offline_post_devices:c2s_terminated(State, normal),
    mod_offline_post_pending:c2s_terminated(State, normal),
    ended(a),
    route(Routed),
    erase(offline_post_ends),
    [step(Step, false) || Step <- After],
    case persistent_term:get(posted) of
        [] -> received;
        [<<"1">>] -> lost
    end.

room(Before, After) ->
    persistent_term:put(sessions, #{}),
    persistent_term:put(posted, []),
    mod_offline_post_devices:changed(?USER, ?HOST),
    [step(Step, false) || Step <- [{login, a, 0}, {login, b, 0}, {mute, a} | Before], element(1, Step) =/= join],
    Stamped = mod_offline_post_once:stamp(#message{type = groupchat, id = <<"1">>, body = [#text{data = <<"Hello">>}],
                                                   from = jid(<<"room">>, <<"c.example">>, <<"nick">>)}),
    Occupants = [a | [b || lists:member({join, b}, Before)]],
    mod_offline_post_devices:enter_room(Stamped, maps:from_list([{{?USER, ?HOST, name(D)}, occupant} || D <- Occupants])),
    [receives(name(D), mod_offline_post_devices:routed(mod_offline_post_once:stamp(Stamped#message{to = jid(D)}))) ||
        D <- Occupants],
    [step(Step, false) || Step <- After],
    step({lose, a}, false),
    case persistent_term:get(posted) of
        [] -> received;
        [<<"1">>] -> lost
    end.

step({login, D, Priority}, _) ->
    put_session(D, #{info => [{node, node()}], state => hearing, queue => []}),
    mod_offline_post_devices:sm_register_connection_hook(sid, jid(D), []),
    step({priority, D, Priority}, none);
step({priority, D, Priority}, _) ->
    ejabberd_sm:set_user_info(?USER, ?HOST, name(D), priority, Priority),
    Presence = #presence{type = available, priority = Priority},
    {Presence, _} = mod_offline_post_devices:c2s_self_presence({Presence, state(D)}),
    ok;
step({carbons, D, On}, _) ->
    Enable = #iq{type = set, sub_els = [#xmlel{name = <<"enable">>, attrs = [{<<"xmlns">>, ?NS_CARBONS_2}]}]},
    {Enable, _} = mod_offline_post_devices:user_send_packet({Enable, state(D)}),
    #{info := Info} = Session = session(D),
    put_session(D, Session#{info := case On of
                                        true -> lists:keystore(carboncopy, 1, Info, {carboncopy, ?NS_CARBONS_2});
                                        false -> lists:keydelete(carboncopy, 1, Info)
                                    end}),
    mod_offline_post_devices:c2s_handle_send(state(D), #iq{type = result}, ok);
step({mute, D}, _) ->
    put_session(D, (session(D))#{state := mute});
step({lose, D}, _) ->
    put_session(D, (session(D))#{state := hanging}),
    mod_offline_post_pending:c2s_session_pending(state(D));
step({resume, D}, _) ->
    #{} = mod_offline_post_devices:c2s_copy_session(#{}, state(D)),
    #{info := Info} = Session = session(D),
    put_session(D, Session#{info := lists:keydelete(offline_post_hanging, 1, Info), state := hearing, queue := []}),
    mod_offline_post_devices:sm_register_connection_hook(sid, jid(D), []),
    mod_offline_post_devices:c2s_session_resumed(state(D));
step({logout, D}, _) ->
    mod_offline_post_pending:c2s_terminated((state(D))#{stop_reason => {stream, reset}}, normal),
    ended(D);
step({timeout, D}, Resent) ->
    #{queue := Queue} = session(D),
    mod_offline_post_devices:c2s_terminated((state(D))#{mgmt_state := timeout}, normal),
    mod_offline_post_pending:c2s_terminated((state(D))#{mgmt_state := timeout}, normal),
    ended(D),
    [route(Message) || Resent, #message{meta = Meta} = Message <- Queue, not is_map_key(carbon_copy, Meta)],
    erase(offline_post_ends); % the process ends
step({away, D}, _) ->
    ejabberd_sm:set_user_info(?USER, ?HOST, name(D), priority, undefined),
    Presence = #presence{type = unavailable},
    {Presence, _} = mod_offline_post_devices:c2s_self_presence({Presence, state(D)}),
    ok;
step({message, Number, To}, _) ->
    Resource = case To of account -> <<>>; _ -> name(To) end,
    route(#message{type = chat, id = integer_to_binary(Number), from = jid(<<"bob">>, <<"b.example">>, <<"x">>),
                   to = jid(?USER, ?HOST, Resource), body = [#text{data = <<"Hello">>}]}).

%% As ejabberd_sm does.
route(Message) ->
    #message{to = #jid{lresource = To}} = Routed = mod_offline_post_devices:routed(mod_offline_post_once:stamp(Message)),
    Sessions = persistent_term:get(sessions),
    Present = present(),
    {Highest, _} = lists:max([{-1, none} | Present]),
    case is_map_key(To, Sessions) of
        false when Highest < 0 -> offline(Routed);
        false -> arrive(Routed, [R || {P, R} <- Present, P =:= Highest]);
        true -> arrive(Routed, [To])
    end.

present() ->
    [{P, R} || {R, #{info := Info}} <- maps:to_list(persistent_term:get(sessions)), {priority, P} <- Info, is_integer(P)].

%% As mod_carboncopy does, in a session that gets a message.
arrive(#message{meta = Meta, to = #jid{lresource = Resource} = To} = Message, Names) ->
    [receives(Name, Message) || Name <- Names],
    Present = present(),
    {Highest, _} = lists:max([{-1, none} | Present]),
    ToAccount = not lists:keymember(Resource, 2, Present),
    [arrive(carbon(Message, To, Name), [Name]) || not is_map_key(carbon_copy, Meta), {P, Name} <- Present,
                                                 {carboncopy, _} <- maps:get(info, maps:get(Name, persistent_term:get(sessions))),
                                                 not lists:member(Name, Names), not (ToAccount andalso P =:= Highest)].

carbon(Message, To, Name) ->
    Copy = #message{type = chat, from = jid:remove_resource(To), to = To#jid{resource = Name, lresource = Name}, meta = #{carbon_copy => true},
                    sub_els = [#carbons_received{forwarded = #forwarded{sub_els = [Message]}}]},
    mod_offline_post_devices:routed(mod_offline_post_once:stamp(Copy)).

receives(Name, Message) ->
    D = binary_to_existing_atom(Name),
    #{state := State, queue := Queue} = Session = session(D),
    _ = State =:= hearing orelse put_session(D, Session#{queue := Queue ++ [Message]}),
    mod_offline_post_pending:c2s_handle_send(state(D), Message, ok).

offline(Message) ->
    lists:foldl(fun(Handler, Verdict) -> mod_offline_post_offline:Handler(Verdict) end, {bounce, Message},
                [new_message, archived_message, offline_message]).

%% Of an ejabberd_c2s process.
state(D) ->
    #{state := State, queue := Queue} = session(D),
    #{user => ?USER, lserver => ?HOST, jid => jid(D), mgmt_resend => false,
      mgmt_state => case State of hanging -> pending; _ -> active end,
      mgmt_queue => lists:foldl(fun(M, Q) -> p1_queue:in({1, now, M}, Q) end, p1_queue:new(), Queue)}.

ended(D) ->
    persistent_term:put(sessions, maps:remove(name(D), persistent_term:get(sessions))),
    mod_offline_post_devices:sm_remove_connection_hook(sid, jid(D), []).

session(D) -> maps:get(name(D), persistent_term:get(sessions)).

put_session(D, Session) -> persistent_term:put(sessions, (persistent_term:get(sessions))#{name(D) => Session}).

name(D) -> atom_to_binary(D).

jid(D) -> jid(?USER, ?HOST, name(D)).

jid(User, Server, Resource) ->
    #jid{user = User, server = Server, resource = Resource, luser = User, lserver = Server, lresource = Resource}.
