%% Takes the module away from a virtual host and gives it back, by turns, while users talk.
-module(offline_post_turns).

-export([start/3, stop/0]).

-define(MODULE_IN_TURNS, mod_offline_post).

%% Begins with the first message, with the module. To File goes a line for each turn, at its end: how many messages have
%% been said so far.
-spec start(binary(), file:filename(), TurnMs :: pos_integer()) -> ok.
start(Host, File, TurnMs) ->
    Starter = self(),
    Pid = spawn(fun() ->
                    true = register(?MODULE, self()),
                    %% Not the shell's that has called: it goes.
                    group_leader(whereis(init), self()),
                    Said = counters:new(1, []),
                    ok = ejabberd_hooks:add(user_send_packet, Host, fun(Acc) -> count(Said, Acc) end, 10),
                    Starter ! {self(), started},
                    ok = await_first(Said),
                    turns(Host, File, TurnMs, Said, true)
                end),
    receive {Pid, started} -> ok end.

%% With the module.
-spec stop() -> ok.
stop() ->
    Ref = monitor(process, ?MODULE),
    ?MODULE ! stop,
    receive {'DOWN', Ref, process, _, normal} -> ok end.

-spec count(counters:counters_ref(), Acc) -> Acc when Acc :: {tuple(), term()}.
count(Said, {Stanza, _} = Acc) ->
    _ = element(1, Stanza) =:= message andalso counters:add(Said, 1, 1),
    Acc.

await_first(Said) ->
    case counters:get(Said, 1) of
        0 -> timer:sleep(10), await_first(Said);
        _ -> ok
    end.

turns(Host, File, TurnMs, Said, With) ->
    receive
        stop ->
            _ = With orelse gen_mod:start_module(Host, ?MODULE_IN_TURNS),
            ok
    after TurnMs ->
        ok = file:write_file(File, [integer_to_list(counters:get(Said, 1)), "\n"], [append]),
        _ = case With of
                true -> gen_mod:stop_module(Host, ?MODULE_IN_TURNS);
                false -> gen_mod:start_module(Host, ?MODULE_IN_TURNS)
            end,
        turns(Host, File, TurnMs, Said, not With)
    end.
