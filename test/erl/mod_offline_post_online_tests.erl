%% Which sessions and presences count, and what is asked for when an account comes online or goes.
-module(mod_offline_post_online_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(HOST, <<"a.example">>).

attentive_test() ->
    [?assertEqual({Expected, Info}, {mod_offline_post_online:is_attentive(Info), Info}) ||
        {Expected, Info} <- [{true, [{priority, 0}]}, {true, [{node, n}, {priority, 127}, {carboncopy, x}]},
                             {false, [{priority, -1}]}, {false, [{priority, undefined}]}, {false, []},
                             {false, [{priority, 5}, {offline_post_hanging, true}]},
                             {true, #presence{}}, {true, #presence{priority = 0}}, {false, #presence{priority = -5}}]].

hooks_test() ->
    Hooks = fun(Cancel, Badge) ->
                    mod_offline_post_terms:put(mod_offline_post_policy, ?HOST,
                                        #{cancel_when_online => Cancel, badge => Badge}),
                    [Hook || {Hook, mod_offline_post_online, _, 50} <- mod_offline_post_online:hooks(?HOST)]
            end,
    All = [remove_user, c2s_self_presence, c2s_session_resumed],
    ?assertEqual([[remove_user], [remove_user], All, All, All],
                 [Hooks(Cancel, Badge) || {Cancel, Badge} <- [{false, none}, {false, stored}, {true, none},
                                                              {true, stored}, {false, events}]]),
    mod_offline_post_terms:erase(mod_offline_post_policy, ?HOST),
    ?assertEqual([], mod_offline_post_online:hooks(?HOST)).

asked_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{Name, {timeout, 60, fun() -> ?assertEqual(Expected, asked(Vm, Policy, Call)) end}} ||
                 {Name, Policy, Call, Expected} <- table()]
     end}.

table() ->
    Cancel = {true, none},
    Cancelled = [{withdraw, ?HOST, {<<"anna">>, ?HOST}, all, cancel}],
    Here = #presence{},
    Presence = fun(Presence, Before) -> {c2s_self_presence, [{Presence, maps:merge(state(), Before)}]} end,
    [{"first presence", Cancel, Presence(Here, #{}), Cancelled},
     {"another presence", Cancel, Presence(#presence{show = away}, #{pres_last => Here}), []},
     {"available for messages at last", Cancel, Presence(Here, #{pres_last => #presence{priority = -1}}), Cancelled},
     {"not for messages", Cancel, Presence(#presence{priority = -1}, #{}), []},
     {"unavailable", Cancel, Presence(#presence{type = unavailable}, #{pres_last => Here}), []},
     {"unavailable at once", Cancel, Presence(#presence{type = unavailable}, #{}), []},
     {"resumed", Cancel, {c2s_session_resumed, [(state())#{pres_last => Here}]}, Cancelled},
     {"resumed without a presence", Cancel, {c2s_session_resumed, [state()]}, []},
     {"for the badge alone", {false, events}, Presence(Here, #{}), [{reset, <<"anna">>, ?HOST}]},
     {"both", {true, events}, Presence(Here, #{}), [{reset, <<"anna">>, ?HOST} | Cancelled]},
     {"removed", {false, none}, {remove_user, [<<"anna">>, ?HOST]},
      [{reset, <<"anna">>, ?HOST}, {withdraw, ?HOST, {<<"anna">>, ?HOST}, all, purge}]}].

asked(Vm, {Cancel, Badge}, {Function, Args}) ->
    Put = fun(Key, Value) -> ok = offline_post_vm:call(Vm, persistent_term, put, [Key, Value]) end,
    ok = offline_post_vm:call(Vm, mod_offline_post_terms, put, [mod_offline_post_policy, ?HOST, #{cancel_when_online => Cancel, badge => Badge}]),
    Put({fake, asked}, []),
    Result = offline_post_vm:call(Vm, mod_offline_post_online, Function, Args),
    ?assert(Function =:= remove_user orelse [Result] =:= Args),
    lists:reverse(offline_post_vm:call(Vm, persistent_term, get, [{fake, asked}])).

setup() ->
    Vm = offline_post_vm:start(),
    Ask = "ask(What) -> persistent_term:put({fake, asked}, [What | persistent_term:get({fake, asked})]), ok. ",
    offline_post_vm:fake(Vm, mod_offline_post_notify, "-module(mod_offline_post_notify). -export([withdraw/4]). "
        ++ Ask ++ "withdraw(Host, User, What, How) -> ask({withdraw, Host, User, What, How})."),
    offline_post_vm:fake(Vm, mod_offline_post_badge, "-module(mod_offline_post_badge). -export([reset/2]). " ++ Ask ++
        "reset(User, Host) -> ask({reset, User, Host})."),
    Vm.

state() ->
    #{jid => #jid{user = <<"anna">>, server = ?HOST, resource = <<"phone">>, luser = <<"anna">>, lserver = ?HOST,
               lresource = <<"phone">>}}.
