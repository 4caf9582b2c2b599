%% The worker: whom it tells, and what it does when too many wait.
-module(mod_offline_post_members_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(A, <<"a.example">>).

members_test_() ->
    {foreach, fun setup/0, fun offline_post_vm:stop/1,
     [fun(Vm) -> {atom_to_list(Name), {timeout, 60, fun() -> Test(Vm) end}} end ||
         {Name, Test} <- [{whom, fun whom/1}, {mentions, fun mentions/1}, {reloaded, fun reloaded/1},
                          {crash, fun crash/1}, {mentions_crash, fun mentions_crash/1},
                          {overflow, fun overflow/1}, {one_room, fun one_room/1}, {dropped, fun dropped/1},
                          {hangs, fun hangs/1}, {alone, fun alone/1}, {stopped, fun stopped/1}]]}.

%% As for a message to the user: not while a device takes it, nobody who does not exist, nothing from who is blocked.
whom(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"Hello">>), [away, here, invisible, hidden, nobody, blocker]),
    ?assertEqual([{away, <<"Hello">>}, {hidden, <<"Hello">>}, {invisible, <<"Hello">>}], posted(Vm)),
    [{?A, Message, Context} | _] = posts(Vm),
    ?assertEqual(room(), Message#message.from),
    ?assertMatch(#{trigger := groupchat, stored := archive, nick := <<"nick">>, to := #jid{luser = _, lserver = ?A}},
                 Context).

mentions(Vm) ->
    start(Vm, #{members_notify => mentions}),
    ok = tell(Vm, message(<<"hidden, are you there?">>), [away, hidden, here]),
    ?assertEqual([{hidden, <<"hidden, are you there?">>}], posted(Vm)).

%% The virtual host has other options by the time the worker comes to it.
reloaded(Vm) ->
    start(Vm, #{groupchat => mucsub}),
    ok = tell(Vm, message(<<"Hello">>), [away]),
    settled(Vm),
    ?assertEqual([], posts(Vm)).

%% Costs that member's event, not the others'.
crash(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"Hello">>), [away, defect, hidden]),
    ?assertEqual([{away, <<"Hello">>}, {hidden, <<"Hello">>}], posted(Vm)),
    ?assertMatch(#{hook_crashes := 1}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% And before it comes to the members: that message's, not what waits behind it.
mentions_crash(Vm) ->
    start(Vm, #{members_notify => mentions}),
    ok = tell(Vm, (message(<<>>))#message{body = defect}, [away, hidden]),
    ok = tell(Vm, message(<<"hidden, are you there?">>), [away, hidden]),
    ?assertEqual([{hidden, <<"hidden, are you there?">>}], posted(Vm)),
    ?assertMatch(#{hook_crashes := 1}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% Beyond the bound it is counted and said, and what waits is served all the same.
overflow(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    Users = [away | lists:duplicate(99999, here)],
    [ok = tell(Vm, message(integer_to_binary(N)), Users, integer_to_binary(N)) || N <- lists:seq(1, 6)],
    ?assertMatch(#{member_overflows := 2}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])),
    ok = offline_post_vm:call(Vm, sys, resume, [mod_offline_post_members]),
    ?assertEqual([{away, integer_to_binary(N)} || N <- lists:seq(1, 4)], posted(Vm)),
    settled(Vm),
    ok = tell(Vm, message(<<"7">>), Users),
    ?assertEqual([{away, <<"7">>}], lists:nthtail(4, posted(Vm))).

%% One room does not use what is there for all.
one_room(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    Users = [away | lists:duplicate(39999, here)],
    [ok = tell(Vm, message(integer_to_binary(N)), Users) || N <- lists:seq(1, 4)],
    ok = tell(Vm, message(<<"5">>), Users, <<"quiet">>),
    ?assertMatch(#{member_overflows := 2}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])),
    ok = offline_post_vm:call(Vm, sys, resume, [mod_offline_post_members]),
    ?assertEqual([{away, integer_to_binary(N)} || N <- [1, 2, 5]], posted(Vm)),
    ok = tell(Vm, message(<<"6">>), Users),
    ?assertEqual([{away, <<"6">>}], lists:nthtail(3, posted(Vm))),
    {Counters, Rooms} = offline_post_vm:call(Vm, persistent_term, get, [mod_offline_post_members]),
    ?assertEqual([0, 0], [offline_post_vm:call(Vm, atomics, get, [Counters, Which]) || Which <- [1, 2]]),
    ?assertEqual([], offline_post_vm:call(Vm, ets, tab2list, [Rooms])).

%% What the worker does not come to any more is counted.
dropped(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    [ok = tell(Vm, message(integer_to_binary(N)), [away]) || N <- lists:seq(1, 3)],
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_members, flush, [])),
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_members, stop, [])),
    ?assertEqual([], posts(Vm)),
    ?assertMatch(#{member_overflows := 3}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% Virtual hosts that stop wait once for a worker that hangs, and again when it goes on.
hangs(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    Worker = offline_post_vm:call(Vm, erlang, whereis, [mod_offline_post_members]),
    [?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_members, flush, [])) || _ <- lists:seq(1, 20)],
    ?assertEqual({message_queue_len, 1}, offline_post_vm:call(Vm, erlang, process_info, [Worker, message_queue_len])),
    ok = offline_post_vm:call(Vm, sys, resume, [mod_offline_post_members]),
    offline_post_vm:await_end(Vm, mod_offline_post_members_flush),
    ok = tell(Vm, message(<<"Hello">>), [away]),
    ok = offline_post_vm:call(Vm, mod_offline_post_members, flush, []),
    ?assertMatch([_], posts(Vm)).

%% A room with more members than may wait is served when nothing else waits.
alone(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"Hello">>), [away | lists:duplicate(600000, here)]),
    ?assertEqual([{away, <<"Hello">>}], posted(Vm)),
    ?assertMatch(#{member_overflows := 0}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% What is told to nobody does no harm.
stopped(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, gen_server, stop, [mod_offline_post_members]),
    ok = tell(Vm, message(<<"Hello">>), [away]).

%%%

tell(Vm, Message, Users) ->
    tell(Vm, Message, Users, <<"room">>).

tell(Vm, Message, Users, Room) ->
    Of = #{room => jid:make(Room, <<"conference.a.example">>), nick => <<"nick">>, stored => archive},
    offline_post_vm:call(Vm, mod_offline_post_members, tell,
                         [Message, Of, #{?A => [atom_to_binary(User) || User <- Users]}, length(Users)]).

start(Vm, Policy) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, policy},
                                                         maps:merge(#{groupchat => members, members_notify => all},
                                                                    Policy)]),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, mod_offline_post_members}, mod_offline_post_members,
                                                           [], []]).

%% What was told until now has been worked on: the worker goes by the order of its mailbox.
posted(Vm) ->
    settled(Vm),
    [{binary_to_atom(User), mod_offline_post_body:text(Message)} ||
     {_, Message, #{to := #jid{luser = User}}} <- sorted(posts(Vm))].

%% Within a message the order of the members is none.
sorted(Posts) ->
    lists:sort(fun({_, M1, #{to := To1}}, {_, M2, #{to := To2}}) -> {M1#message.body,
                                                                     To1} =< {M2#message.body, To2} end, Posts).

posts(Vm) ->
    offline_post_vm:call(Vm, persistent_term, get, [{fake, posts}]).

%% It has come to the end of its mailbox.
settled(Vm) ->
    {error, unknown} = offline_post_vm:call(Vm, gen_server, call, [mod_offline_post_members, ping, 20000]).

room() -> jid:make(<<"room">>, <<"conference.a.example">>, <<"nick">>).

message(Text) ->
    #message{type = groupchat, from = room(), to = jid:remove_resource(room()), body = [#text{data = Text}]}.

setup() ->
    {ok, _} = application:ensure_all_started(stringprep),
    Vm = offline_post_vm:start(),
    {ok, _} = offline_post_vm:call(Vm, application, ensure_all_started, [stringprep]),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, posts}, []]),
    [ok = offline_post_vm:fake(Vm, Module, "-module(" ++ atom_to_list(Module) ++ ").\n" ++ Source) ||
        {Module, Source} <-
            [{gen_mod,
              "-export([stop_child/1]).\n"
              "stop_child(Name) ->\n"
              "    exit(whereis(Name), kill), Ref = monitor(process, Name),\n"
              "    receive {'DOWN', Ref, process, _, _} -> ok end.\n"},
             {mod_offline_post_policy, "-export([get/1]).\nget(_) -> persistent_term:get({fake, policy}).\n"},
             {mod_offline_post_notify,
              "-export([message/3]).\n"
              "message(Host, Message, Context) ->\n"
              "    Before = persistent_term:get({fake, posts}),\n"
              "    persistent_term:put({fake, posts}, Before ++ [{Host, Message, Context}]), posted.\n"},
             {ejabberd_sm,
              "-export([get_user_info/2]).\n"
              "get_user_info(<<\"here\">>, _) -> [{<<\"phone\">>, [{priority, 0}]}];\n"
              "get_user_info(<<\"hidden\">>, _) -> [{<<\"phone\">>, [{priority, -1}]}];\n"
              "get_user_info(_, _) -> [].\n"},
             {ejabberd_auth,
              "-export([user_exists/2]).\n"
              "user_exists(<<\"defect\">>, _) -> error(secret);\n"
              "user_exists(User, _) -> User =/= <<\"nobody\">>.\n"},
             {ejabberd_hooks,
              "-export([run_fold/4]).\n"
              "run_fold(privacy_check_packet, _, allow, [To, _, in]) ->\n"
              "    case element(5, To) of <<\"blocker\">> -> deny; _ -> allow end.\n"}]],
    Vm.
