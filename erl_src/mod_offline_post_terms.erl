%% A term of each virtual host, which a hook reads without copying it. A persistent term that changes or goes has the VM
%% look through the heaps of all its processes: with 500 virtual hosts and 10,000 sessions that is half a minute of CPU. So
%% no term changes here: equal ones are kept once, under a number of their own, and which one a virtual host has is an
%% atomic number. What no virtual host has any more stays, some hundred bytes for each change of options.
-module(mod_offline_post_terms).

-export([put/3, get/3, erase/2]).

-spec put(Kind :: module(), Host :: binary(), term()) -> ok.
put(Kind, Host, Term) ->
    <<Number:56, _/binary>> = erlang:md5(term_to_binary(Term)),
    atomics:put(current(Kind, Host), 1, kept(Kind, Number + 1, Term)).

-spec get(Kind :: module(), Host :: binary(), Default) -> term() | Default.
get(Kind, Host, Default) ->
    case persistent_term:get({Kind, Host}, undefined) of
        undefined ->
            Default;
        Current ->
            case atomics:get(Current, 1) of
                0 -> Default;
                Number -> persistent_term:get({Kind, Number})
            end
    end.

-spec erase(Kind :: module(), Host :: binary()) -> ok.
erase(Kind, Host) ->
    case persistent_term:get({Kind, Host}, undefined) of
        undefined -> ok;
        Current -> atomics:put(Current, 1, 0)
    end.

%% Virtual hosts start and stop one after another: nobody else makes it meanwhile.
-spec current(module(), binary()) -> atomics:atomics_ref().
current(Kind, Host) ->
    case persistent_term:get({Kind, Host}, undefined) of
        undefined ->
            Current = atomics:new(1, []),
            persistent_term:put({Kind, Host}, Current),
            Current;
        Current ->
            Current
    end.

%% Two terms with one number are next to impossible, and harmless.
-spec kept(module(), pos_integer(), term()) -> pos_integer().
kept(Kind, Number, Term) ->
    case persistent_term:get({Kind, Number}, {?MODULE, none}) of
        Term -> Number;
        {?MODULE, none} -> persistent_term:put({Kind, Number}, Term), Number;
        _ -> kept(Kind, Number + 1, Term)
    end.
