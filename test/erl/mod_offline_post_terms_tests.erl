%% One term a virtual host, without a persistent term that changes.
-module(mod_offline_post_terms_tests).

-include_lib("eunit/include/eunit.hrl").

-define(KIND, mod_offline_post_terms_tests).

put_get_erase_test() ->
    [Host, Other] = [<<"put-get.localhost">>, <<"put-get-other.localhost">>],
    ?assertEqual(none, mod_offline_post_terms:get(?KIND, Host, none)),
    ok = mod_offline_post_terms:erase(?KIND, Host),
    [begin
         ok = mod_offline_post_terms:put(?KIND, Host, Term),
         ?assertEqual(Term, mod_offline_post_terms:get(?KIND, Host, none)),
         ?assertEqual(none, mod_offline_post_terms:get(?KIND, Other, none))
     end || Term <- [#{a => 1}, [], #{a => 1}, {mod_offline_post_terms, some}, none]],
    ok = mod_offline_post_terms:erase(?KIND, Host),
    ?assertEqual(undefined, mod_offline_post_terms:get(?KIND, Host, undefined)).

%% The terms of before are there again, and the others' stay.
other_host_test() ->
    Hosts = [<<"h", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 100)],
    [ok = mod_offline_post_terms:put(?KIND, Host, #{common => true}) || Host <- Hosts],
    ok = mod_offline_post_terms:put(?KIND, hd(Hosts), #{common => false}),
    ok = mod_offline_post_terms:erase(?KIND, lists:last(Hosts)),
    ?assertEqual([#{common => false} | lists:duplicate(98, #{common => true})] ++ [none],
                 [mod_offline_post_terms:get(?KIND, Host, none) || Host <- Hosts]).

%% After the first time nothing is put or erased: each would cost the VM a look through all processes.
nothing_changes_test() ->
    Host = <<"nothing-changes.localhost">>,
    [ok = mod_offline_post_terms:put(?KIND, Host, Term) || Term <- [one, two]],
    #{count := Count} = persistent_term:info(),
    [begin
         ok = mod_offline_post_terms:put(?KIND, Host, Term),
         ok = mod_offline_post_terms:erase(?KIND, Host)
     end || _ <- [1, 2, 3], Term <- [one, two]],
    ok = mod_offline_post_terms:put(?KIND, <<"another.localhost">>, two),
    #{count := After} = persistent_term:info(),
    ?assertEqual(Count + 1, After). % the other one's number
