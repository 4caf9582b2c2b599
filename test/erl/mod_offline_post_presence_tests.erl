%% mod_available_post and mod_unavailable_post: their options are mod_offline_post's, as far as those are about
%% delivery; and which presences and ends of sessions they post.
-module(mod_offline_post_presence_tests).

-include_lib("eunit/include/eunit.hrl").
-include("xmpp.hrl").

-define(HOST, <<"a.example">>).
-define(URL, <<"https://push.example.org/available">>).
-define(MODULES, [mod_available_post, mod_unavailable_post]).

options_test() ->
    [begin
         {ok, Opts} = load(Module, [{post_url, ?URL}, {timeout, 3}]),
         ?assertMatch(#{post_url := ?URL, timeout := 3000, auth_token := <<>>, spool := true}, Opts),
         ?assertEqual(#{}, maps:with([sync_commit, triggers, notify, groupchat, include_body, badge], Opts)),
         %% What the endpoint is made of.
         [mod_offline_post_opt:Option(Opts) || Option <- maps:keys(Opts)]
     end || Module <- ?MODULES].

refused_test() ->
    [?assertMatch({error, _, _}, load(Module, Opts)) ||
        Module <- ?MODULES,
        Opts <- [[], [{post_url, <<"push.example.org">>}], [{post_url, ?URL}, {triggers, [offline]}],
                 [{post_url, ?URL}, {timeout, 0}], [{post_url, ?URL}, {format, stanza}],
                 [{post_url, ?URL}, {room_fields, [{a, b}]}], [{post_url, ?URL}, {fields, [{a, <<"{{too}}">>}]}]]].

accepted_test() ->
    [?assertMatch({ok, #{Option := Expected}}, load(Module, [{post_url, ?URL}, {Option, Value}])) ||
        Module <- ?MODULES,
        {Option, Value, Expected} <- [{format, json, json}, {fields, [{a, <<"{{to.user}}">>}], [{<<"a">>, <<"{{to.user}}">>}]},
                                      {batch, [{max_events, 5}], #{max_events => 5, max_delay => 100, max_bytes => 1048576,
                                                                   format => array}}]].

documentation_test() ->
    [begin
         #{desc := [_ | _], example := [_ | _], opts := Documented} = Module:mod_doc(),
         ?assertEqual(lists:sort(names(Module)), lists:sort([Option || {Option, _} <- Documented]))
     end || Module <- ?MODULES].

posts_test_() ->
    {setup, fun setup/0, fun offline_post_vm:stop/1,
     fun(Vm) ->
             [{Name, {timeout, 60, fun() -> ?assertEqual(Expected, posts(Vm, Call)) end}} ||
                 {Name, Call, Expected} <- table()]
     end}.

%% Name, hook and arguments, {what mod_available_post posts, what mod_unavailable_post posts}.
table() ->
    State = #{jid => #jid{user = <<"anna">>, server = ?HOST, resource = <<"phone">>, luser = <<"anna">>,
                          lserver = ?HOST, lresource = <<"phone">>}},
    Seen = State#{pres_last => #presence{}},
    Presence = fun(Type, Before) -> {c2s_self_presence, [{#presence{type = Type}, Before}]} end,
    End = fun(Before) -> {c2s_terminated, [Before, normal]} end,
    [{"first presence", Presence(available, State), {[<<"available">>], []}},
     {"another presence", Presence(available, Seen), {[], []}},
     {"unavailable", Presence(unavailable, Seen), {[], [<<"unavailable">>]}},
     {"unavailable without having been available", Presence(unavailable, State), {[], []}},
     {"end", End(Seen), {none, [<<"unavailable">>]}},
     {"end of one that waited", End(Seen#{mgmt_state => timeout}), {none, [<<"unavailable">>]}},
     {"end of one that was never available", End(State), {none, []}},
     {"end of one that goes on elsewhere", End(Seen#{mgmt_state => resumed}), {none, []}},
     {"end before the login", End(#{}), {none, []}}].

posts(Vm, {Function, Args}) ->
    list_to_tuple([post(Vm, Module, Function, Args) || Module <- ?MODULES]).

post(Vm, Module, Function, Args) ->
    case lists:member({Function, length(Args)}, Module:module_info(exports)) of
        false ->
            none;
        true ->
            ok = offline_post_vm:call(Vm, persistent_term, put, [{fake, posts}, []]),
            ?assertEqual(hd(Args), offline_post_vm:call(Vm, Module, Function, Args)),
            Key = {?HOST, atom_to_binary(Module, utf8)},
            [begin
                 ?assertEqual({Key, {<<"anna">>, ?HOST, <<"phone">>}}, {To, Recipient}),
                 Kind
             end || {To, {Kind, Recipient, {<<>>, <<>>, <<>>}, <<>>, <<>>, <<>>, []}} <-
                        offline_post_vm:call(Vm, persistent_term, get, [{fake, posts}])]
    end.

setup() ->
    Vm = offline_post_vm:start(),
    offline_post_vm:fake(Vm, mod_offline_post_nif, "-module(mod_offline_post_nif). -export([submit/2]).
        submit(Key, Event) ->
            persistent_term:put({fake, posts}, [{Key, Event} | persistent_term:get({fake, posts})]),
            {ok, <<\"id\">>}."),
    Vm.

names(Module) ->
    [case Option of {Name, _} -> Name; Name -> Name end || Option <- Module:mod_options(?HOST)].

%% As gen_mod does it.
load(Module, Opts) ->
    Options = Module:mod_options(?HOST),
    Validators = maps:from_list([{Option, Module:mod_opt_type(Option)} || Option <- names(Module)]),
    Validator = econf:options(Validators, [{required, [O || O <- Options, is_atom(O)]}, {return, map}, unique]),
    case econf:validate(Validator, Opts) of
        {ok, Given} -> {ok, maps:merge(maps:from_list([O || {_, _} = O <- Options]), Given)};
        Error -> Error
    end.
