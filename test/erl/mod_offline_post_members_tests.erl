%% The workers: whom they tell, who waits for whom, and what happens when too many wait.
-module(mod_offline_post_members_tests).

-include_lib("eunit/include/eunit.hrl").

-export([tell_large/3]).

-include("xmpp.hrl").

-define(A, <<"a.example">>).
%% Its authentication may not answer.
-define(B, <<"b.example">>).

members_test_() ->
    {foreach, fun setup/0, fun offline_post_vm:stop/1,
     [fun(Vm) -> {atom_to_list(Name), {timeout, 60, fun() -> Test(Vm) end}} end ||
         {Name, Test} <- [{whom, fun whom/1}, {mentions, fun mentions/1}, {reloaded, fun reloaded/1},
                          {crash, fun crash/1}, {mentions_crash, fun mentions_crash/1},
                          {overflow, fun overflow/1}, {one_room, fun one_room/1}, {large, fun large/1},
                          {slow_host, fun slow_host/1}, {in_order, fun in_order/1}, {killed, fun killed/1},
                          {dropped, fun dropped/1}, {hangs, fun hangs/1}, {alone, fun alone/1},
                          {stopped, fun stopped/1}, {idle, fun idle/1}]]}.

%% As for a message to the user: nobody who could be reached when the room sent it, or does not exist, nothing from who is
%% blocked. Who has logged in since was not there.
whom(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"Hello">>), [away, here, late, invisible, hidden, nobody, blocker]),
    ?assertEqual([{away, <<"Hello">>}, {hidden, <<"Hello">>}, {invisible, <<"Hello">>}, {late, <<"Hello">>}], posted(Vm)),
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
    ok = tell(Vm, (message(<<>>))#message{body = defect}, [hidden]),
    ok = tell(Vm, message(<<"hidden, are you there?">>), [away, hidden]),
    ?assertEqual([{hidden, <<"hidden, are you there?">>}], posted(Vm)),
    ?assertMatch(#{hook_crashes := 1}, offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% Of one virtual host as much may wait as is still free. Beyond that it is counted and said, and what waits is served
%% all the same.
overflow(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    Users = [away | lists:duplicate(49999, here)],
    [ok = tell(Vm, message(integer_to_binary(N)), Users, integer_to_binary(N)) || N <- lists:seq(1, 7)],
    ?assertEqual(2, overflows(Vm)),
    ok = tell(Vm, message(<<"of another">>), #{?B => [away]}, <<"1">>),
    ?assertEqual(2, overflows(Vm)),
    ok = offline_post_vm:call(Vm, sys, resume, [mod_offline_post_members]),
    ?assertEqual([{away, integer_to_binary(N)} || N <- lists:seq(1, 5)] ++ [{away, <<"of another">>}], posted(Vm)),
    ok = tell(Vm, message(<<"7">>), Users),
    ?assertEqual([{away, <<"7">>}, {away, <<"of another">>}], lists:nthtail(5, posted(Vm))),
    nothing_waits(Vm).

%% One room does not use what is there for all: a quarter of what is still free.
one_room(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    Users = [away | lists:duplicate(39999, here)],
    [ok = tell(Vm, message(integer_to_binary(N)), Users) || N <- lists:seq(1, 4)],
    ok = tell(Vm, message(<<"5">>), Users, <<"quiet">>),
    ?assertEqual(2, overflows(Vm)),
    ok = offline_post_vm:call(Vm, sys, resume, [mod_offline_post_members]),
    ?assertEqual([{away, integer_to_binary(N)} || N <- [1, 2, 5]], posted(Vm)),
    ok = tell(Vm, message(<<"6">>), Users),
    ?assertEqual([{away, <<"6">>}], lists:nthtail(3, posted(Vm))),
    nothing_waits(Vm).

%% The bytes of the messages are bounded, too: of a room, a virtual host and the node.
large(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, sys, suspend, [mod_offline_post_members]),
    Of = fun(Host, Room, Count) -> ok = offline_post_vm:call(Vm, ?MODULE, tell_large, [Host, Room, Count]) end,
    Of(?A, <<"busy">>, 100),
    Left = fun() -> element(2, counters(Vm)) end,
    OfRoom = Left(),
    ?assert(OfRoom > 12000000 andalso OfRoom < 13000000),
    [Of(?A, integer_to_binary(N), 10) || N <- lists:seq(1, 20)],
    OfHost = Left(),
    ?assert(OfHost > 31000000 andalso OfHost < 32500000),
    [Of(Host, integer_to_binary(N), 3) || N <- lists:seq(1, 100), Host <- [?B, <<"c.example">>]],
    ?assert(Left() > 40000000 andalso Left() < 64000000),
    %% A small one of a virtual host that is not slow still finds room.
    Before = overflows(Vm),
    ok = tell(Vm, message(<<"small">>), #{<<"d.example">> => [away]}, <<"quiet">>),
    ?assertEqual(Before, overflows(Vm)),
    ok = offline_post_vm:call(Vm, sys, resume, [mod_offline_post_members]),
    ?assertEqual([{away, <<"small">>}], posted(Vm)),
    nothing_waits(Vm).

%% In the VM, as long texts take long on their way there.
tell_large(Host, Room, Count) ->
    Message = message(binary:copy(<<"x">>, 250000)),
    [ok = mod_offline_post_members:tell(Message, of_room(Room), #{Host => [<<"away">>]}, 1) || _ <- lists:seq(1, Count)],
    ok.

%% A virtual host whose authentication does not answer delays nobody else's members, nor one of its members the others.
slow_host(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"1">>), #{?B => [stuck]}, <<"1">>),
    ok = tell(Vm, message(<<"2">>), #{?A => [away], ?B => [away]}, <<"1">>),
    await(Vm, [{?A, <<"2">>}, {?B, <<"2">>}]),
    unstick(Vm),
    ?assertEqual([{away, <<"2">>}, {away, <<"2">>}, {stuck, <<"1">>}], lists:sort(posted(Vm))).

%% A member's messages in their order, however many are on their way.
in_order(Vm) ->
    start(Vm, #{}),
    Users = [list_to_atom("user" ++ integer_to_list(N)) || N <- lists:seq(1, 20)],
    Texts = [integer_to_binary(100 + N) || N <- lists:seq(1, 50)],
    [ok = tell(Vm, message(Text), Users, Text) || Text <- Texts],
    Posts = posts(Vm),
    ?assertEqual(50 * 20, length(Posts)),
    [?assertEqual({User, Texts}, {User, [mod_offline_post_body:text(Message) ||
                                            {_, Message, #{to := #jid{luser = U}}} <- Posts, U =:= atom_to_binary(User)]}) ||
        User <- Users].

%% A worker that is killed costs what it had, and it is counted; a message whose virtual host is gone is, too, once.
killed(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"1">>), #{?B => [stuck, away, hidden]}, <<"1">>),
    await(Vm, [{?B, <<"1">>}, {?B, <<"1">>}]),
    ok = tell(Vm, message(<<"2">>), #{?B => [stuck]}, <<"1">>),
    true = offline_post_vm:call(Vm, erlang, exit, [offline_post_vm:call(Vm, erlang, whereis, [stuck]), kill]),
    unstick(Vm),
    ?assertEqual([{away, <<"1">>}, {hidden, <<"1">>}, {stuck, <<"2">>}], lists:sort(posted(Vm))),
    ?assertEqual(1, overflows(Vm)),
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, policy}, undefined]),
    ok = tell(Vm, message(<<"3">>), [away, hidden, here]),
    ?assertMatch([_, _, _], posted(Vm)),
    ?assertEqual(2, overflows(Vm)),
    nothing_waits(Vm).

%% What is not looked at any more is counted, and the workers end with their process.
dropped(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"1">>), #{?B => [stuck]}, <<"1">>),
    ok = tell(Vm, message(<<"2">>), #{?B => [stuck]}, <<"1">>),
    await_stuck(Vm),
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_members, flush, [?B])),
    ?assertEqual(ok, offline_post_vm:call(Vm, mod_offline_post_members, stop, [])),
    ?assertEqual([], offline_post_vm:call(Vm, fake_posts, all, [])),
    ?assertEqual(2, overflows(Vm)),
    offline_post_vm:await_end(Vm, stuck).

%% Virtual hosts that stop wait once for one that hangs, and again when it goes on. One that does not hang is not waited
%% for any longer than it needs.
hangs(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"1">>), #{?B => [stuck]}, <<"1">>),
    await_stuck(Vm),
    Took = fun(Host) -> {Us, ok} = timer:tc(fun() -> offline_post_vm:call(Vm, mod_offline_post_members, flush, [Host]) end), Us end,
    ?assert(Took(?A) < 900000),
    ?assert(Took(?B) >= 1000000),
    ?assert(lists:sum([Took(?B) || _ <- lists:seq(1, 20)]) < 900000),
    unstick(Vm),
    offline_post_vm:await_answers(Vm, mod_offline_post_members),
    ok = tell(Vm, message(<<"Hello">>), [away]),
    ok = offline_post_vm:call(Vm, mod_offline_post_members, flush, [?A]),
    ?assertMatch([_, _], offline_post_vm:call(Vm, fake_posts, all, [])).

%% A room with more members than may wait is served when nothing else waits.
alone(Vm) ->
    start(Vm, #{}),
    ok = tell(Vm, message(<<"Hello">>), [away | lists:duplicate(600000, here)]),
    ?assertEqual([{away, <<"Hello">>}], posted(Vm)),
    ?assertEqual(0, overflows(Vm)).

%% What is told to nobody does no harm.
stopped(Vm) ->
    start(Vm, #{}),
    ok = offline_post_vm:call(Vm, gen_server, stop, [mod_offline_post_members]),
    ok = tell(Vm, message(<<"Hello">>), [away]).

%% Neither the process nor a worker keeps memory.
idle(Vm) ->
    start(Vm, #{}),
    Processes = offline_post_vm:call(Vm, erlang, system_info, [process_count]),
    ok = tell(Vm, message(binary:copy(<<"x">>, 50000)), [away | lists:duplicate(100000, here)]),
    ?assertMatch([_], posted(Vm)),
    Pid = offline_post_vm:call(Vm, erlang, whereis, [mod_offline_post_members]),
    until(fun() ->
              {memory, Memory} = offline_post_vm:call(Vm, erlang, process_info, [Pid, memory]),
              Memory < 20000 % of megabytes
          end),
    ?assertEqual(Processes, offline_post_vm:call(Vm, erlang, system_info, [process_count])).

%%%

tell(Vm, Message, Users) ->
    tell(Vm, Message, Users, <<"room">>).

tell(Vm, Message, Users, Room) when is_list(Users) ->
    tell(Vm, Message, #{?A => Users}, Room);
tell(Vm, Message, Absent, Room) ->
    offline_post_vm:call(Vm, mod_offline_post_members, tell,
                         [Message, of_room(Room), maps:map(fun(_, Users) -> [atom_to_binary(User) || User <- Users] end, Absent),
                          lists:sum([length(Users) || Users <- maps:values(Absent)])]).

start(Vm, Policy) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, policy},
                                                         maps:merge(#{groupchat => members, members_notify => all},
                                                                    Policy)]),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, mod_offline_post_members}, mod_offline_post_members,
                                                           [], []]).

%% When nothing waits any more.
posted(Vm) ->
    [{binary_to_atom(User), mod_offline_post_body:text(Message)} ||
     {_, Message, #{to := #jid{luser = User}}} <- sorted(posts(Vm))].

%% Within a message the order of the members is none.
sorted(Posts) ->
    lists:sort(fun({_, M1, #{to := To1}}, {_, M2, #{to := To2}}) -> {M1#message.body,
                                                                     To1} =< {M2#message.body, To2} end, Posts).

posts(Vm) ->
    [ok = offline_post_vm:call(Vm, gen_server, call, [mod_offline_post_members, {flush, Host}, 20000]) ||
        Host <- [?A, ?B, <<"c.example">>, <<"d.example">>]],
    offline_post_vm:call(Vm, fake_posts, all, []).

%% These were posted, whatever waits.
await(Vm, Expected) ->
    until(fun() ->
              Expected =:= lists:sort([{Host, mod_offline_post_body:text(Message)} ||
                                          {Host, Message, _} <- offline_post_vm:call(Vm, fake_posts, all, [])])
          end).

await_stuck(Vm) ->
    until(fun() -> is_pid(offline_post_vm:call(Vm, erlang, whereis, [stuck])) end).

%% Within the test's own time.
until(Condition) ->
    Condition() orelse receive after 10 -> until(Condition) end.

unstick(Vm) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, stuck}, false]).

overflows(Vm) ->
    #{member_overflows := Count} = offline_post_vm:call(Vm, mod_offline_post_incidents, counts, []),
    Count.

counters(Vm) ->
    {Counters, _} = offline_post_vm:call(Vm, persistent_term, get, [mod_offline_post_members]),
    list_to_tuple([offline_post_vm:call(Vm, atomics, get, [Counters, Which]) || Which <- [1, 2, 3]]).

nothing_waits(Vm) ->
    {_, Sizes} = offline_post_vm:call(Vm, persistent_term, get, [mod_offline_post_members]),
    ?assertEqual({{0, 0, 0}, []}, {counters(Vm), offline_post_vm:call(Vm, ets, tab2list, [Sizes])}).

of_room(Room) ->
    #{room => jid:make(Room, <<"conference.a.example">>), nick => <<"nick">>, stored => archive, at => {1, 0, 0}}.

room() -> jid:make(<<"room">>, <<"conference.a.example">>, <<"nick">>).

message(Text) ->
    #message{type = groupchat, from = room(), to = jid:remove_resource(room()), body = [#text{data = Text}]}.

setup() ->
    {ok, _} = application:ensure_all_started(stringprep),
    Vm = offline_post_vm:start(),
    {ok, _} = offline_post_vm:call(Vm, application, ensure_all_started, [stringprep]),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, stuck}, true]),
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
              "    %% A large one would take long on its way to the test.\n"
              "    erlang:external_size(Message) < 100000 andalso fake_posts:add({Host, Message, Context}), posted.\n"},
             {fake_posts,
              "-export([start/0, add/1, all/0]).\n"
              "start() -> register(fake_posts, spawn(fun() -> loop([]) end)), ok.\n"
              "add(Post) -> call({add, Post}).\n"
              "all() -> call(all).\n"
              "call(What) -> Ref = make_ref(), fake_posts ! {self(), Ref, What}, receive {Ref, Answer} -> Answer end.\n"
              "loop(Posts) ->\n"
              "    receive\n"
              "        {From, Ref, all} -> From ! {Ref, lists:reverse(Posts)}, loop(Posts);\n"
              "        {From, Ref, {add, Post}} -> From ! {Ref, ok}, loop([Post | Posts])\n"
              "    end.\n"},
             {ejabberd_sm,
              "-export([get_user_info/2]).\n"
              "get_user_info(<<\"here\">>, _) -> [{<<\"phone\">>, [{ts, {0, 9, 9}}, {priority, 0}]}];\n"
              "get_user_info(<<\"late\">>, _) -> [{<<\"phone\">>, [{ts, {1, 0, 1}}, {priority, 0}]}];\n"
              "get_user_info(<<\"hidden\">>, _) -> [{<<\"phone\">>, [{priority, -1}]}];\n"
              "get_user_info(_, _) -> [].\n"},
             {ejabberd_auth,
              "-export([user_exists/2]).\n"
              "user_exists(<<\"defect\">>, _) -> error(secret);\n"
              "user_exists(<<\"stuck\">>, Host) ->\n"
              "    whereis(stuck) =:= self() orelse register(stuck, self()),\n"
              "    case persistent_term:get({fake, stuck}) of\n"
              "        true -> receive after 10 -> user_exists(<<\"stuck\">>, Host) end;\n"
              "        false -> true\n"
              "    end;\n"
              "user_exists(User, _) -> User =/= <<\"nobody\">>.\n"},
             {ejabberd_hooks,
              "-export([run_fold/4]).\n"
              "run_fold(privacy_check_packet, _, allow, [To, _, in]) ->\n"
              "    case element(5, To) of <<\"blocker\">> -> deny; _ -> allow end.\n"}]],
    ok = offline_post_vm:call(Vm, fake_posts, start, []),
    Vm.
