%% When what the session manager has said is asked for anew.
-module(mod_offline_post_refresh_tests).

-include_lib("eunit/include/eunit.hrl").

-define(ENTRY, {{<<"anna">>, <<"a.example">>}, []}).

refresh_test() ->
    {ok, Started} = mod_offline_post_devices:init([]),
    %% At first, and after another node was connected, each time; alone, every tenth minute.
    ?assertEqual([6], kept(Started)),
    ?assertEqual([6], kept(after_info({nodeup, other@node}, 59))),
    ?assertEqual([6], kept(after_info({nodedown, other@node}, 59))),
    ?assertEqual(60, after_info(refresh, 59)),
    ?assertNot(is_kept()),
    ets:insert(mod_offline_post_devices, ?ENTRY),
    ?assertEqual(61, after_info(refresh, 60)),
    ?assert(is_kept()),
    %% Too many.
    ets:insert(mod_offline_post_devices, [{{integer_to_binary(N), <<"a.example">>}, []} || N <- lists:seq(1, 50000)]),
    ?assertEqual(62, after_info(refresh, 61)),
    ?assertEqual(0, ets:info(mod_offline_post_devices, size)),
    true = ets:delete(mod_offline_post_devices).

%% The first of six refreshes that keeps an entry.
kept(Alone) ->
    kept(Alone, lists:seq(1, 6)).

kept(_Alone, []) ->
    [];
kept(Alone, [Nth | More]) ->
    ets:insert(mod_offline_post_devices, ?ENTRY),
    Next = after_info(refresh, Alone),
    case is_kept() of
        true -> [Nth];
        false -> kept(Next, More)
    end.

after_info(Info, Alone) ->
    {noreply, Next} = mod_offline_post_devices:handle_info(Info, Alone),
    Next.

is_kept() ->
    ets:lookup(mod_offline_post_devices, element(1, ?ENTRY)) =/= [].
