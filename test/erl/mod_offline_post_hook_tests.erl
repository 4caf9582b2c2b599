%% The handlers of offline_message_hook, with a native side that only writes down what it is given.
-module(mod_offline_post_hook_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(HOST, <<"a.example">>).

%% What the requests use: all.
-define(USES, [<<"body">>, <<"message_id">>, <<"trigger">>, <<"stored">>, <<"resource">>, <<"room">>, <<"nick">>,
               <<"sender">>, <<"stanza_id">>, <<"origin_id">>, <<"badge">>]).

hook_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{Name, {timeout, 60, fun() -> posts(Vm, Verdicts, Expected) end}} || {Name, Verdicts, Expected} <- table()]
                 ++ [{Name, {timeout, 60, fun() -> Test(Vm) end}} ||
                        {Name, Test} <- [{"where it is kept", fun kept/1}, {"hooks", fun hooks/1}, {"a crash is caught", fun crash/1},
                                         {"many crashes", fun crashes/1}, {"no text in the log", fun silent/1}]]
     end}.

%% Name, what the fold holds at its start, at 49 and at 75, and how often the message is posted; where it is kept is of the
%% same rows below.
table() ->
    Plain = message(),
    Archived = archived(message(), anna()),
    ForSender = archived(message(), bob()),
    Live = {bounce, Plain},
    [{"stored", [Live, {bounce, Plain}, {offlined, Plain}], 1},
     {"nothing stores it", [Live, {bounce, Plain}, {bounce, Plain}], 1},
     {"archived and stored", [Live, {archived, Archived}, {offlined, Archived}], 1},
     {"archived alone", [Live, {archived, Archived}, {archived, Archived}], 1},
     {"archived, store full", [Live, {archived, Archived}], 1},
     {"store full", [Live, {bounce, Plain}], 0},
     {"archived for the sender, stored", [{bounce, ForSender}, {bounce, ForSender}, {offlined, ForSender}], 1},
     {"archived for the sender, store full", [{bounce, ForSender}, {bounce, ForSender}], 0},
     {"sent again after a lost session, archived before", [{bounce, Archived}, {bounce, Archived}, {offlined, Archived}], 1},
     {"sent again, archived before, store full", [{bounce, Archived}, {bounce, Archived}], 1},
     {"an import that nothing stores", [{pass, Plain}, {pass, Plain}, {pass, Plain}], 0},
     {"an import, stored", [{pass, Plain}, {pass, Plain}, {offlined, Plain}], 0},
     {"an import, archived and stored", [{pass, Plain}, {archived, Archived}, {offlined, Archived}], 0},
     {"live after an import", [Live, {bounce, Plain}, {offlined, Plain}], 1},
     {"dropped", [Live, {bounce, Plain}, {drop, Plain}], 0},
     {"dropped with a reason", [Live, {{drop, spam}, Plain}, {{drop, spam}, Plain}], 0},
     {"no body", live(Plain#message{body = []}), 0}, {"empty body", live(empty()), 0},
     {"groupchat", live(Plain#message{type = groupchat}), 0}, {"headline", live(Plain#message{type = headline}), 0},
     {"normal", live(Plain#message{type = normal}), 1}, {"error", live(Plain#message{type = error}), 0},
     {"fetched from the store", live(Plain#message{meta = #{from_offline => true}}), 0},
     {"a copy", live(Plain#message{meta = #{carbon_copy => true}}), 0},
     {"of a room's past", live(Plain#message{meta = #{mam_ignore => true}}), 0},
     {"no recipient", live(Plain#message{to = undefined}), 0}, {"no sender", live(Plain#message{from = undefined}), 0},
     {"no verdict at all", [undefined, stop, {}], 0}].

posts(Vm, Verdicts, Expected) ->
    Events = run(Vm, Verdicts),
    ?assertEqual(Expected, length(Events)),
    [?assertMatch({{?HOST, <<"mod_offline_post">>},
                   {<<"text">>, {<<"anna">>, ?HOST, <<>>}, {<<"bob">>, <<"b.example">>, <<"phone">>}, <<"m1">>, <<"Hello">>, <<>>,
                    [{<<"trigger">>, <<"offline">>}, {<<"stored">>, _} | _]}}, Event)
     || Event <- Events].

%% Where the recipient finds it.
kept(Vm) ->
    Archived = archived(message(), anna()),
    [begin
         [{_, {_, _, _, _, _, _, Attributes}}] = run(Vm, Verdicts),
         ?assertEqual({Verdicts, Expected}, {Verdicts, [proplists:get_value(Name, Attributes) || Name <- [<<"stored">>, <<"stanza_id">>]]})
     end || {Verdicts, Expected} <-
                [{live(message()), [<<"offline">>, undefined]}, {[{bounce, message()}, {bounce, message()}, {bounce, message()}], [<<"none">>, undefined]},
                 {[{bounce, message()}, {archived, Archived}, {offlined, Archived}], [<<"archive">>, <<"1">>]},
                 {live(archived(message(), bob())), [<<"offline">>, undefined]}]].

%% Hooks are registered for what the policy asks for, and only then.
hooks(Vm) ->
    Offline = [{offline_message_hook, mod_offline_post_offline, Handler, Priority} ||
                  {Handler, Priority} <- [{new_message, 1}, {archived_message, 49}, {offline_message, 75}]],
    [begin
         policy(Vm, #{triggers => Triggers}),
         ?assertEqual({Triggers, Expected}, {Triggers, offline_post_vm:call(Vm, mod_offline_post_offline, hooks, [?HOST])})
     end || {Triggers, Expected} <- [{[offline, pending], Offline}, {[offline], Offline}, {[pending], []}]],
    ?assertEqual([], offline_post_vm:call(Vm, mod_offline_post_offline, hooks, [<<"b.example">>])),
    policy(Vm, #{}).

crash(Vm) ->
    ?assertEqual([], run(Vm, crash, live(message()))),
    ?assertEqual([], run(Vm, not_loaded, live(message()))).

crashes(Vm) ->
    #{hook_crashes := Before} = offline_post_vm:call(Vm, mod_offline_post_incidents, counts, []),
    [run(Vm, crash, [{bounce, message()}, {archived, archived(message(), anna())}, {offlined, message()}]) || _ <- lists:seq(1, 50)],
    ?assertMatch(#{hook_crashes := After} when After =:= Before + 100,
                 offline_post_vm:call(Vm, mod_offline_post_incidents, counts, [])).

%% One line for all the crashes above, with neither text nor reason.
silent(Vm) ->
    Lines = offline_post_vm:call(Vm, persistent_term, get, [{fake, log}, []]),
    ?assertMatch([_], Lines),
    Line = unicode:characters_to_binary(Lines),
    [?assertEqual({nomatch, Line}, {binary:match(Line, Word), Line}) || Word <- [<<"Hello">>, <<"secret">>, <<"bob">>]],
    [?assertNotEqual({nomatch, Line}, {binary:match(Line, Word), Line}) || Word <- [?HOST, <<"a_defect">>]].

run(Vm, Verdicts) ->
    run(Vm, collect, Verdicts).

run(Vm, Mode, Verdicts) ->
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, mode}, Mode]),
    ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, events}, []]),
    Handlers = lists:sublist([new_message, archived_message, offline_message], length(Verdicts)),
    Results = offline_post_vm:call(Vm, mod_offline_post_nif, fold, [Handlers, Verdicts]),
    ?assertEqual(Verdicts, Results),
    lists:reverse(offline_post_vm:call(Vm, persistent_term, get, [{fake, events}])).

setup() ->
    Vm = offline_post_vm:start(),
    ok = offline_post_vm:call(Vm, logger, set_handler_config, [default, level, none]),
    ok = offline_post_vm:fake(Vm, mod_offline_post_nif, fake_nif()),
    {ok, _} = offline_post_vm:call(Vm, gen_server, start, [{local, ejabberd_hooks}, ejabberd_hooks, [], []]),
    policy(Vm, #{}),
    ok = offline_post_vm:call(Vm, logger, add_handler, [fake, mod_offline_post_nif, #{}]),
    Vm.

policy(Vm, Options) ->
    Defaults = maps:from_list([Option || {_, _} = Option <- mod_offline_post:mod_options(?HOST)]),
    ok = offline_post_vm:call(Vm, mod_offline_post_policy, set, [?HOST, maps:merge(Defaults, Options), ?USES]).

%% Also a logger's handler, to see what is logged, and the fold, as the handlers of a message share a process.
fake_nif() ->
    "-module(mod_offline_post_nif).\n"
    "-export([submit/2, log/2, fold/2]).\n"
    "fold(Handlers, Verdicts) -> [mod_offline_post_offline:H(V) || {H, V} <- lists:zip(Handlers, Verdicts)].\n"
    "submit(Key, Event) ->\n"
    "    case persistent_term:get({fake, mode}) of\n"
    "        collect -> add(events, {Key, Event}), {ok, <<\"id\">>};\n"
    "        crash -> error({a_defect, secret, Event});\n"
    "        not_loaded -> erlang:nif_error(not_loaded)\n"
    "    end.\n"
    "log(#{level := error, msg := {Format, Args}}, _) -> add(log, io_lib:format(Format, Args));\n"
    "log(_, _) -> ok.\n"
    "add(What, Term) -> persistent_term:put({fake, What}, [Term | persistent_term:get({fake, What}, [])]).\n".

live(Message) ->
    [{bounce, Message}, {bounce, Message}, {offlined, Message}].

message() ->
    #message{type = chat, id = <<"m1">>, from = bob(), to = anna(), body = [#text{data = <<"Hello">>}]}.

empty() ->
    (message())#message{body = [#text{}]}.

%% As mod_mam leaves it when it has filed the message for By.
archived(#message{} = Message, By) ->
    Message#message{meta = #{mam_archived => true, stanza_id => 1},
                    sub_els = [#mam_archived{by = By, id = <<"1">>}, #stanza_id{by = By, id = <<"1">>}]}.

anna() ->
    #jid{user = <<"Anna">>, server = ?HOST, luser = <<"anna">>, lserver = ?HOST}.

bob() ->
    #jid{user = <<"bob">>, server = <<"b.example">>, resource = <<"phone">>,
         luser = <<"bob">>, lserver = <<"b.example">>, lresource = <<"phone">>}.
