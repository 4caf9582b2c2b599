-module(mod_offline_post_neighbours_tests).

-include_lib("eunit/include/eunit.hrl").

-define(POLICY, #{triggers => [offline, pending]}).

none_test() ->
    ?assertEqual([], warnings(#{}, [internal])),
    ?assertEqual([], warnings(#{mod_offline => #{}, mod_mam => #{default => never}}, [internal, ldap])).

each_test_() ->
    [{atom_to_list(Module), ?_assertEqual([Word], [W || Warning <- warnings(#{Module => #{}}, []), W <- [Word],
                                                   string:find(Warning, W) =/= nomatch])} ||
        {Module, Word} <- [{mod_push, "mod_push"}, {mod_mix, "XEP-0369"}, {mod_mix_pam, "XEP-0369"}]]
        ++ [{atom_to_list(Method), ?_assertMatch([_], [W || W <- warnings(#{}, [internal, Method]),
                                                       string:find(W, atom_to_list(Method)) =/= nomatch])} ||
               Method <- [jwt, external]].

%% Exactly where mod_stream_mgmt sends back what was not acknowledged.
bounced_test_() ->
    [?_assertEqual(Expected, is_bounced(Triggers, Resend, Others)) ||
        {Triggers, Resend, Others, Expected} <-
            [{[pending], false, #{mod_offline => #{}}, true},
             {[pending], false, #{}, true},
             {[pending], true, #{mod_offline => #{}}, false},
             {[pending], if_offline, #{mod_offline => #{}}, false},
             {[pending], if_offline, #{}, true},
             {[pending], true, #{}, true},
             {[offline], false, #{}, false},
             {[pending], false, #{mod_mam => #{default => always}}, false},
             {[pending], false, #{mod_mam => #{default => roster}}, true},
             {[pending], if_offline, #{mod_mam => #{default => never}, mod_offline => #{}}, false}]]
        ++ [?_assertEqual([], warnings(#{mod_offline => #{}}, []))].

is_bounced(Triggers, Resend, Others) ->
    lists:any(fun(W) -> string:find(W, "resend_on_timeout") =/= nomatch end,
              mod_offline_post_neighbours:warnings(#{triggers => Triggers},
                                                   Others#{mod_stream_mgmt => #{resend_on_timeout => Resend}}, [])).

%% No line of the log breaks.
one_line_test() ->
    [?assertNot(lists:member($\n, Warning)) ||
        Warning <- warnings(#{mod_push => #{}, mod_mix => #{}, mod_stream_mgmt => #{resend_on_timeout => false}},
                            [jwt, external])].

warnings(Modules, AuthMethods) ->
    mod_offline_post_neighbours:warnings(?POLICY, Modules, AuthMethods).
