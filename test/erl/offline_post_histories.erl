%% Random histories of a user with two devices, for offline_post_received and what is compared with it.
-module(offline_post_histories).

-export([random/2]).

-define(DEVICES, [a, b]).

%% Equal seeds give equal histories, of so many steps. At the end every device that may have lost something is found dead.
random(Seed, Steps) ->
    {History, Devices, _} = lists:foldl(fun(_, {History, Devices, Random}) ->
                                                {Step, Random1} = one_of(possible(length(History), Devices), Random),
                                                {[Step | History], after_step(Step, Devices), Random1}
                                        end, {[], maps:from_list([{D, absent} || D <- ?DEVICES]), rand:seed_s(exsss, Seed)},
                                        lists:seq(1, Steps)),
    lists:reverse([{lose, D} || D <- ?DEVICES, maps:get(D, Devices) =:= mute] ++ History).

one_of(List, Random) ->
    {N, Random1} = rand:uniform_s(length(List), Random),
    {lists:nth(N, List), Random1}.

%% A message as often as anything else together.
possible(Number, Devices) ->
    Others = lists:append([steps(D, maps:get(D, Devices)) || D <- ?DEVICES]),
    Others ++ [{message, Number, To} || _ <- lists:seq(1, max(1, length(Others) div 4)), To <- [account, account | ?DEVICES]].

steps(D, absent) -> [{login, D, P} || P <- [-1, 0, 0, 5]];
steps(D, hearing) -> [{priority, D, -1}, {priority, D, 0}, {priority, D, 5}, {carbons, D, true}, {carbons, D, true},
                      {carbons, D, false}, {away, D}, {mute, D}, {mute, D}, {lose, D}, {logout, D}];
steps(D, mute) -> [{lose, D}];
steps(D, hanging) -> [{resume, D}, {timeout, D}].

after_step({login, D, _}, Devices) -> Devices#{D := hearing};
after_step({mute, D}, Devices) -> Devices#{D := mute};
after_step({lose, D}, Devices) -> Devices#{D := hanging};
after_step({resume, D}, Devices) -> Devices#{D := hearing};
after_step({End, D}, Devices) when End =:= logout; End =:= timeout -> Devices#{D := absent};
after_step(_, Devices) -> Devices.
