%% sync_commit: who waits for a commit, for how long, and what is counted. The native side is a fake that answers
%% as it is told to, in the time it is told to.
-module(mod_offline_post_commit_tests).

-include_lib("eunit/include/eunit.hrl").

-include("xmpp.hrl").

-define(STREAM, {xmpp_stream_in, init, 1}).
%% Whose session calls.
-define(OWN, (jid:make(<<"own">>, <<"a.example">>, <<"phone">>))).

commit_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) -> [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                    {Name, Test} <- [{"waits until it is durable", fun durable/1}, {"does not ask to wait", fun off/1},
                                     {"never in another process than a stream's", fun other_processes/1},
                                     {"never in another sender's stream", fun other_streams/1},
                                     {"never in a session that ends", fun ended/1},
                                     {"kept in memory for now", fun volatile/1}, {"refused", fun refused/1},
                                     {"a time-out", fun time_out/1}, {"a late answer", fun late/1},
                                     {"a crash", fun crash/1}]]
     end}.

durable(Vm) ->
    ?assertMatch({ok, [submit_sync], [], Ms} when Ms >= 50, submit(Vm, {{50, durable}, ?OWN, ?STREAM})),
    ?assertMatch(#{hook_crashes := 0, commit_timeouts := 0, uncommitted := 0}, counts(Vm)).

off(Vm) ->
    ?assertMatch({ok, [submit], [], _}, submit(Vm, {{5000, durable}, nobody, ?STREAM})).

other_processes(Vm) ->
    [?assertMatch({ok, [submit], [], _}, submit(Vm, {{5000, durable}, ?OWN, Initial})) ||
        Initial <- [{mod_muc_room, init, 1}, {mod_muc, init, 1}, {ejabberd_s2s_out, init, 1}, undefined]].

%% Of somebody else's session, of none, of an account, of another server: such as components' and servers' streams bring.
other_streams(Vm) ->
    [?assertMatch({{ok, [submit], [], _}, _}, {submit(Vm, {{5000, durable}, Sender, ?STREAM}), Sender}) ||
        Sender <- [jid:make(<<"other">>, <<"a.example">>, <<"phone">>), jid:make(<<"nobody">>, <<"a.example">>, <<"phone">>),
                   jid:make(<<"own">>, <<"a.example">>), jid:make(<<"own">>, <<"b.example">>, <<"phone">>),
                   jid:make(<<"a.example">>), jid:make(<<>>, <<"gateway.a.example">>, <<"phone">>)]].

ended(Vm) ->
    ?assertMatch({ok, [submit], [], _}, submit(Vm, {{5000, durable}, ended, ?STREAM})).

volatile(Vm) ->
    ?assertMatch({ok, [submit_sync], [], _}, submit(Vm, {{0, volatile}, ?OWN, ?STREAM})),
    ?assertMatch(#{uncommitted := 1, commit_timeouts := 0}, counts(Vm)).

refused(Vm) ->
    [?assertMatch({Expected, [Function], [], Ms} when Ms < 1000, submit(Vm, {{error, Why}, Wait, ?STREAM})) ||
        {Why, Expected} <- [{full, refused}, {stopped, refused}, {limited, limited}],
        {Wait, Function} <- [{?OWN, submit_sync}, {nobody, submit}]],
    ?assertMatch(#{uncommitted := 1, commit_timeouts := 0, hook_crashes := 0}, counts(Vm)).

%% One line for several of them.
time_out(Vm) ->
    [?assertMatch({ok, [submit_sync], [], Ms} when Ms >= 1000 andalso Ms < 3000, submit(Vm, {never, ?OWN, ?STREAM})) ||
        _ <- [1, 2]],
    ?assertMatch(#{commit_timeouts := 2}, counts(Vm)),
    [Line] = offline_post_vm:call(Vm, persistent_term, get, [{fake, log}, []]),
    [?assertNotEqual({nomatch, Line}, {string:find(Line, Part), Line}) || Part <- ["1 commits", "1000 ms", "a.example"]].

%% It disturbs nobody's mailbox, however long the session lives on.
late(Vm) ->
    ?assertMatch({ok, [submit_sync], [], Ms} when Ms >= 1300, submit(Vm, {{1200, durable}, ?OWN, ?STREAM})).

%% As if it had happened in the session itself; nothing of the message is in a log.
crash(Vm) ->
    ?assertEqual({error, {a_defect, secret}}, submit(Vm, {crash, ?OWN, ?STREAM})),
    ?assertEqual({error, not_loaded}, submit(Vm, {not_loaded, ?OWN, ?STREAM})),
    ?assertMatch([_], offline_post_vm:call(Vm, persistent_term, get, [{fake, log}, []])).

%% {what came of it, which functions were called, what was left in the caller's mailbox, how long it took}
submit(Vm, {Answer, Wait, Initial}) ->
    offline_post_vm:call(Vm, mod_offline_post_nif, run, [Answer, Wait, Initial]).

counts(Vm) ->
    offline_post_vm:call(Vm, mod_offline_post_incidents, counts, []).

setup() ->
    {ok, _} = application:ensure_all_started(stringprep),
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:fake(Vm, mod_offline_post_nif, fake_nif()),
    ok = offline_post_vm:fake(Vm, ejabberd_option, "-module(ejabberd_option).\n-export([hosts/0]).\nhosts() -> [<<\"a.example\">>].\n"),
    ok = offline_post_vm:fake(Vm, ejabberd_sm,
                              "-module(ejabberd_sm).\n-export([get_session_pid/3]).\n"
                              "get_session_pid(<<\"own\">>, _, <<\"phone\">>) -> self();\n"
                              "get_session_pid(<<\"other\">>, _, _) -> whereis(init);\n"
                              "get_session_pid(_, _, _) -> none.\n"),
    ok = offline_post_vm:call(Vm, logger, add_handler, [fake, mod_offline_post_nif, #{}]),
    Vm.

%% A session has messages of its own before and after; they stay.
fake_nif() ->
    "-module(mod_offline_post_nif).\n"
    "-export([run/3, submit/2, submit_sync/2, log/2]).\n"
    "run(Answer, ended, Initial) ->\n"
    "    state = mod_offline_post_commit:c2s_terminated(state, normal),\n"
    "    run(Answer, {jid, <<\"own\">>, <<\"a.example\">>, <<\"phone\">>, <<\"own\">>, <<\"a.example\">>, <<\"phone\">>}, Initial);\n"
    "run(Answer, Wait, Initial) ->\n"
    "    persistent_term:put({fake, answer}, Answer),\n"
    "    persistent_term:put({fake, calls}, []),\n"
    "    put('$initial_call', Initial),\n"
    "    self() ! {a, stanza},\n"
    "    Start = erlang:monotonic_time(millisecond),\n"
    "    try mod_offline_post_commit:submit(<<\"a.example\">>, event, Wait) of\n"
    "        Result ->\n"
    "            wait_for_late_ones(Answer),\n"
    "            {messages, [{a, stanza} | Left]} = process_info(self(), messages),\n"
    "            {Result, persistent_term:get({fake, calls}), Left, erlang:monotonic_time(millisecond) - Start}\n"
    "    catch\n"
    "        error:Reason -> {error, Reason}\n"
    "    end.\n"
    "wait_for_late_ones({Ms, _}) when is_integer(Ms), Ms > 1000, Ms < 5000 -> timer:sleep(Ms - 900);\n"
    "wait_for_late_ones(_) -> ok.\n"
    "submit(_, _) ->\n"
    "    called(submit),\n"
    "    case persistent_term:get({fake, answer}) of\n"
    "        {error, Why} -> {error, Why};\n"
    "        _ -> {ok, <<\"id\">>}\n"
    "    end.\n"
    "submit_sync(_, _) ->\n"
    "    called(submit_sync),\n"
    "    {Ref, Caller} = {make_ref(), self()},\n"
    "    case persistent_term:get({fake, answer}) of\n"
    "        crash -> error({a_defect, secret});\n"
    "        not_loaded -> erlang:nif_error(not_loaded);\n"
    "        never -> {ok, <<\"id\">>, Ref};\n"
    "        {error, Why} -> {error, Why};\n"
    "        {Ms, How} ->\n"
    "            erlang:send_after(Ms, Caller, {offline_post_committed, Ref, How}),\n"
    "            {ok, <<\"id\">>, Ref}\n"
    "    end.\n"
    "called(F) -> persistent_term:put({fake, calls}, [F | persistent_term:get({fake, calls})]).\n"
    "log(#{level := L, msg := {Format, Args}}, _) when L =:= error; L =:= warning ->\n"
    "    persistent_term:put({fake, log}, [lists:flatten(io_lib:format(Format, Args)) | persistent_term:get({fake, log}, [])]);\n"
    "log(#{level := L} = E, _) when L =:= error ->\n"
    "    persistent_term:put({fake, log}, [lists:flatten(io_lib:format(\"~p\", [E])) | persistent_term:get({fake, log}, [])]);\n"
    "log(_, _) -> ok.\n".
