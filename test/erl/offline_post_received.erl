%% The model for docs/events.md, "Who received it": for each message of a history of one user's devices, whether one POST
%% is due. It knows a device as absent, as hearing (it acknowledges), as mute (it is gone, and nobody has noticed) or as
%% hanging (the server has noticed), and of each message to which devices it was sent and which of them have lost it.
-module(offline_post_received).

-export([due/1]).

-record(device, {priority, carbons = false, state = hearing, queue = []}).

%% The messages, by number, of which one POST is due after this history.
due(History) ->
    {_Devices, Messages} = lists:foldl(fun step/2, {#{}, #{}}, History),
    lists:sort([Number || {Number, {_, _, true}} <- maps:to_list(Messages)]).

step({login, Name, Priority}, {Devices, Messages}) ->
    {Devices#{Name => #device{priority = Priority}}, Messages};
step({priority, Name, Priority}, {Devices, Messages}) ->
    {maps:update_with(Name, fun(D) -> D#device{priority = Priority} end, Devices), Messages};
step({away, Name}, World) ->
    step({priority, Name, undefined}, World);
step({carbons, Name, Carbons}, {Devices, Messages}) ->
    {maps:update_with(Name, fun(D) -> D#device{carbons = Carbons} end, Devices), Messages};
step({mute, Name}, {Devices, Messages}) ->
    {maps:update_with(Name, fun(D) -> D#device{state = mute} end, Devices), Messages};
step({lose, Name}, {Devices, Messages}) ->
    #{Name := #device{queue = Queue} = Device} = Devices,
    {Devices#{Name := Device#device{state = hanging}}, lists:foldl(fun(N, M) -> lost(N, Name, M) end, Messages, Queue)};
step({resume, Name}, {Devices, Messages}) ->
    #{Name := #device{queue = Queue} = Device} = Devices,
    Found = fun(N, M) -> maps:update_with(N, fun({To, Lost, Due}) -> {To, Lost -- [Name], Due} end, M) end,
    {Devices#{Name := Device#device{state = hearing, queue = []}}, lists:foldl(Found, Messages, Queue)};
step({End, Name}, {Devices, Messages}) when End =:= logout; End =:= timeout ->
    {maps:remove(Name, Devices), Messages};
step({message, Number, To}, {Devices, Messages}) ->
    case sent_to(To, Devices) of
        [] -> {Devices, Messages#{Number => {[], [], true}}};
        Names -> lists:foldl(fun(Name, World) -> arrives(Number, Name, World) end,
                             {Devices, Messages#{Number => {Names, [], false}}}, Names)
    end.

arrives(Number, Name, {Devices, Messages}) ->
    case Devices of
        #{Name := #device{state = hearing}} -> {Devices, Messages};
        #{Name := #device{state = State, queue = Queue} = Device} ->
            {Devices#{Name := Device#device{queue = [Number | Queue]}},
             case State of mute -> Messages; hanging -> lost(Number, Name, Messages) end}
    end.

lost(Number, Name, Messages) ->
    maps:update_with(Number, fun({To, Lost, Due}) -> {To, [Name | Lost], Due orelse To -- [Name | Lost] =:= []} end, Messages).

%% RFC 6121, section 8.5.2 and 8.5.3; XEP-0280 for a chat message.
sent_to(To, Devices) ->
    Present = [{Name, D} || {Name, #device{priority = P} = D} <- maps:to_list(Devices), is_integer(P)],
    Highest = lists:max([-1 | [P || {_, #device{priority = P}} <- Present]]),
    case {is_map_key(To, Devices), lists:keymember(To, 1, Present)} of
        {true, true} -> [To | [Name || {Name, #device{carbons = true}} <- Present, Name =/= To]];
        {true, false} -> [To | [Name || {Name, #device{carbons = true, priority = P}} <- Present, P < Highest]];
        {false, _} -> [Name || Highest >= 0, {Name, D} <- Present, D#device.priority =:= Highest orelse D#device.carbons]
    end.
