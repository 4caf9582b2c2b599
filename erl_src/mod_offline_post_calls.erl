%% The calls of this node that were notified of or have ended lately: so that the end of a call is notified of once, and a
%% call that has ended is not notified of any more. And the end of a call as the callee's own device sends it.
-module(mod_offline_post_calls).

-behaviour(gen_server).

-export([start/0, stop/0, hooks/1, user_send_packet/1]).
-export([offered/3, finish/1, has_ended/1, forget/2]).
-export_type([key/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("xmpp.hrl").

%% Calls that were notified of and go on; beyond the limit the end of a call is not notified of.
-define(OFFERS, mod_offline_post_calls_offered).
-define(OFFER_LIMIT, 10000).

%% Calls that have ended; each takes at most 300 bytes and the user's address.
-define(ENDS, mod_offline_post_calls_ended).
-define(END_LIMIT, 50000).

%% What is kept of a call; of one with a longer id or address nothing is (bytes).
-define(OFFER_BYTES, 4096).

%% For how long each is remembered at most, and how often those that are older are looked for (ms). An end is remembered
%% for as long as the offer may wait in a session's queue behind it: another call may have the same id.
-define(LONGEST, 600000).
-define(LONGEST_END, 120000).
-define(SWEEP, 60000).

%% Topic: the call's.
-type key() :: {Host :: binary(), User :: binary(), Topic :: binary()}.
-type offer() :: {mod_offline_post_event:event(), message()}.
-type state() :: #{atom() => term()}.

-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> {error, Reason}
    end.

-spec stop() -> ok.
stop() ->
    _ = gen_mod:stop_child(?MODULE),
    ok.

%% After what drops or changes a message.
-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{notify := Kinds} -> [{user_send_packet, ?MODULE, user_send_packet, 90} || lists:member(call, Kinds)];
        undefined -> []
    end.

%% The hook, for each stanza that a client sends. A device that answers or declines a call tells the caller, who may be
%% on another server; its account does not receive that message.
-spec user_send_packet({stanza() | drop, state()}) -> {stanza() | drop, state()}.
user_send_packet({#message{sub_els = []}, _State} = Acc) ->
    Acc;
user_send_packet({#message{} = Message, #{user := User, lserver := Host}} = Acc) ->
    case mod_offline_post_kind:call_end(Message, sent) of
        {ok, CallId} -> mod_offline_post:guarded(hook, Host, fun() -> mod_offline_post_notify:call_over(Host, User, CallId) end);
        none -> ok
    end,
    Acc;
user_send_packet(Acc) ->
    Acc.

%%% Any process. Without the tables, for a moment, no call is known.

%% The call was notified of. Message: for the handlers of offline_post_event.
-spec offered(key(), mod_offline_post_event:event(), message()) -> ok.
offered(Key, Event, Message) ->
    Bare = Message#message{id = <<>>, body = [], subject = [], thread = undefined, sub_els = [], meta = #{}},
    Offer = {mod_offline_post_event:call_offer(Event), Bare},
    _ = erlang:external_size(Offer) =< ?OFFER_BYTES andalso enter(?OFFERS, ?OFFER_LIMIT, {Key, now_ms(), Offer}),
    ok.

%% The call is over. What was notified of it here; before: it was over already.
-spec finish(key()) -> offer() | none | before.
finish(Key) ->
    case enter(?ENDS, ?END_LIMIT, {Key, now_ms()}) of
        known -> before;
        _ ->
            try ets:take(?OFFERS, Key) of
                [{_, _, Offer}] -> Offer;
                [] -> none
            catch
                error:badarg -> none
            end
    end.

-spec has_ended(key()) -> boolean().
has_ended(Key) ->
    try ets:member(?ENDS, Key)
    catch error:badarg -> false
    end.

%% The account is removed.
-spec forget(Host :: binary(), User :: binary()) -> ok.
forget(Host, User) ->
    try ets:match_delete(?OFFERS, {{Host, User, '_'}, '_', '_'}) of _ -> ok
    catch error:badarg -> ok
    end.

-spec enter(atom(), Limit :: pos_integer(), tuple()) -> entered | known | full.
enter(Table, Limit, Entry) ->
    try {ets:info(Table, size) < Limit, ets:member(Table, element(1, Entry))} of
        {_, true} -> known;
        {true, false} ->
            case ets:insert_new(Table, Entry) of
                true -> entered;
                false -> known
            end;
        {false, false} -> full
    catch
        error:badarg -> full
    end.

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

%%% The owner of the tables

-spec init(term()) -> {ok, none}.
init(_) ->
    _ = [ets:new(Table, [named_table, public]) || Table <- [?OFFERS, ?ENDS]],
    sweep_later(),
    {ok, none}.

-spec handle_call(term(), gen_server:from(), none) -> {reply, {error, unknown}, none}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), none) -> {noreply, none}.
handle_info(sweep, State) ->
    Old = fun(Longest) -> [{'<', '$1', now_ms() - Longest + ?SWEEP}] end,
    _ = ets:select_delete(?OFFERS, [{{'_', '$1', '_'}, Old(?LONGEST), [true]}]),
    _ = ets:select_delete(?ENDS, [{{'_', '$1'}, Old(?LONGEST_END), [true]}]),
    sweep_later(),
    {noreply, State};
handle_info(_, State) ->
    {noreply, State}.

-spec sweep_later() -> ok.
sweep_later() ->
    _ = erlang:send_after(?SWEEP, self(), sweep),
    ok.
