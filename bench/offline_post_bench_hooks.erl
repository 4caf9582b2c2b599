%% What our hooks add where nothing is posted: to each message that a healthy session gets, and to each message of a
%% large room. Both through ejabberd's own hooks.
-module(offline_post_bench_hooks).

-export([healthy/2, room/1]).

-include("xmpp.hrl").
-include("mod_muc_room.hrl").

%% Batches per virtual host, by turns; messages per batch.
-define(BATCHES, 100).
-define(BATCH, 500).

%% Messages to the room; its members and how many of them are in it.
-define(MESSAGES, 10).
-define(MEMBERS, 10000).
-define(OCCUPANTS, 1000).

%% A delivered stanza of a session with stream management that is acknowledged: the session manager gets it, and the
%% session sends it. The median of a batch with our module, less that of one without (us a message).
-spec healthy(With :: binary(), Without :: binary()) -> #{healthy_stanza_added_us := float()}.
healthy(With, Without) ->
    Times = in_a_process(fun() -> [{Host, batch(Host, N)} || N <- lists:seq(1, ?BATCHES), Host <- [With, Without]] end),
    [P50With, P50Without] = [median([Ns || {H, Ns} <- Times, H =:= Host]) || Host <- [With, Without]],
    #{healthy_stanza_added_us => (P50With - P50Without) / ?BATCH / 1000}.

batch(Host, N) ->
    State = #{lserver => Host, user => <<"juliet">>, resource => <<"balcony">>,
              jid => jid:make(<<"juliet">>, Host, <<"balcony">>),
              mgmt_state => active, mgmt_queue => p1_queue:new()},
    First = N * ?BATCH,
    measure(fun() -> deliver(Host, State, First, First + ?BATCH) end).

deliver(_Host, _State, End, End) ->
    ok;
deliver(Host, State, I, End) ->
    #message{} = Message = ejabberd_hooks:run_fold(sm_receive_packet, Host, offline_post_bench_load:message(Host, I),
                                                   []),
    #{} = ejabberd_hooks:run_fold(c2s_handle_send, Host, State, [Message, ok]),
    deliver(Host, State, I + 1, End).

%% What a room's process spends in the hook (ms, median). Its state lies in its heap, as in a room.
-spec room(binary()) -> #{muc_members_10k_ms := float()}.
room(Host) ->
    Times = in_a_process(
              fun() ->
                      State = state(Host),
                      Message = #message{type = groupchat, id = <<"m1">>, from = jid:make(user(1), Host, <<"phone">>),
                                         to = State#state.jid,
                                         body = [#text{data = <<"Wherefore art thou Romeo?">>}]},
                      [begin
                           Ns = measure(fun() -> ejabberd_hooks:run_fold(muc_filter_message, Host, Message,
                                                                         [State, <<"nick">>]) end),
                           %% The workers are done with it, so that none is turned away.
                           ok = gen_server:call(mod_offline_post_members, {flush, Host}, infinity),
                           Ns
                       end || _ <- lists:seq(1, ?MESSAGES)]
              end),
    #{member_overflows := 0} = mod_offline_post_incidents:counts(),
    #{muc_members_10k_ms => median(Times) / 1.0e6}.

state(Host) ->
    Service = <<"conference.", Host/binary>>,
    Occupants = [{user(I), Host, <<"phone">>} || I <- lists:seq(1, ?MEMBERS, ?MEMBERS div ?OCCUPANTS)],
    #state{room = <<"room">>, host = Service, server_host = Host, jid = jid:make(<<"room">>, Service),
           config = #config{anonymous = false},
           affiliations = maps:from_list([{{user(I), Host, <<>>}, {member, <<>>}} || I <- lists:seq(1, ?MEMBERS)]),
           users = maps:from_list([{Jid, occupant} || Jid <- Occupants])}.

user(I) ->
    list_to_binary(io_lib:format("member~6..0B", [I])).

measure(Do) ->
    Start = erlang:monotonic_time(nanosecond),
    Do(),
    erlang:monotonic_time(nanosecond) - Start.

in_a_process(Do) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({done, Do()}) end),
    receive {'DOWN', Monitor, _, Pid, {done, Result}} -> Result end.

median(List) ->
    lists:nth((length(List) + 1) div 2, lists:sort(List)).
