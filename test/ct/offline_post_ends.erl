%% A hook of Common Test: what crashes in end_per_testcase fails the case. By itself Common Test only warns of it, and
%% what must hold after every case is asked there.
-module(offline_post_ends).

-export([init/2, post_end_per_testcase/5]).

init(_Id, _Options) ->
    {ok, none}.

post_end_per_testcase(_Suite, _Case, _Config, {failed, {_, end_per_testcase, Why}}, State) ->
    {{fail, Why}, State};
post_end_per_testcase(_Suite, _Case, _Config, Result, State) ->
    {Result, State}.
