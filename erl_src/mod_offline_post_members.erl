%% Tells a room's absent members of its messages. The rooms hand over and go on: one process per node asks the session
%% manager, member by member, which takes longer than a room may wait, and posts for those who cannot be reached. What
%% waits for it is bounded; what is beyond that is counted and said in the log.
-module(mod_offline_post_members).

-behaviour(gen_server).

-export([start/0, flush/0, stop/0, tell/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("xmpp.hrl").
-include_lib("kernel/include/logger.hrl").

%% Members who may wait, of all rooms together; about 60 bytes each, and a look-up of sessions.
-define(LIMIT, 500000).

%% Of one room, so that a busy one does not leave the others without.
-define(ROOM_LIMIT, 100000).

%% What a message counts in that, beside its members: one may be as large as a stanza.
-define(MESSAGE, 500).

%% Without work for so long (ms), it gives its memory back.
-define(IDLE, 1000).

%% In the counters.
-define(WEIGHT, 1).
-define(MESSAGES, 2).

%% Of one worker: how much waits in all, and in a table for each room of which something waits.
-type waiting() :: {atomics:atomics_ref(), ets:table()}.
-type room() :: {User :: binary(), Server :: binary()}.
-type job() :: {message(), mod_offline_post_event:context(), mod_offline_post_groups:absent()}.

-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> {error, Reason}
    end.

%% Waits, for a while, until what waits now has been looked at.
-spec flush() -> ok.
flush() ->
    mod_offline_post_flush:wait(?MODULE).

%% What has not been looked at by then is counted as what was too much.
-spec stop() -> ok.
stop() ->
    _ = gen_mod:stop_child(?MODULE),
    case persistent_term:get(?MODULE, undefined) of
        {Counters, _} -> dropped(atomics:exchange(Counters, ?MESSAGES, 0));
        undefined -> ok
    end.

-spec dropped(integer()) -> ok.
dropped(Messages) when Messages > 0 ->
    _ = [mod_offline_post_incidents:count(member_overflows) || _ <- lists:seq(1, Messages)],
    ?LOG_WARNING("mod_offline_post: ~B room messages were not looked at for absent members, because the module stops",
                 [Messages]);
dropped(_) ->
    ok.

%% Any process. Message: from the room and the nick. Of: its group, and where it is stored. Count: of Absent.
-spec tell(message(), #{stored := archive | none, room := jid:jid(), nick := binary(), sender => jid:jid()},
           mod_offline_post_groups:absent(), Count :: pos_integer()) -> ok.
tell(Message, #{room := #jid{luser = User, lserver = Server}} = Of, Absent, Count) ->
    Weight = ?MESSAGE + Count,
    Room = {User, Server},
    Waiting = persistent_term:get(?MODULE),
    case enter(Waiting, Room, Weight) of
        ok ->
            gen_server:cast(?MODULE, {tell, Waiting, Room, Weight, {Message, Of#{trigger => groupchat}, Absent}});
        {full, Limit} ->
            overflow(Message, Count, Limit)
    end.

-spec overflow(message(), pos_integer(), pos_integer()) -> ok.
overflow(#message{from = Room}, Count, Limit) ->
    mod_offline_post_incidents:report(
      member_overflows,
      fun(New) ->
              {warning, "mod_offline_post: ~B room messages were not looked at for absent members, because ~B members "
               "are waiting already (the last one in ~ts, for ~B members)",
               [New, Limit, jid:encode(jid:remove_resource(Room)), Count]}
      end).

%%% How much waits. A message that nothing else of its room, or of any room, waits for is never too large.

-spec enter(waiting(), room(), pos_integer()) -> ok | {full, Limit :: pos_integer()}.
enter({Counters, _} = Waiting, Room, Weight) ->
    OfRoom = of_room(Waiting, Room, Weight),
    Sum = atomics:add_get(Counters, ?WEIGHT, Weight),
    atomics:add(Counters, ?MESSAGES, 1),
    if
        OfRoom > ?ROOM_LIMIT, OfRoom > Weight -> leave(Waiting, Room, Weight), {full, ?ROOM_LIMIT};
        Sum > ?LIMIT, Sum > Weight -> leave(Waiting, Room, Weight), {full, ?LIMIT};
        true -> ok
    end.

-spec leave(waiting(), room(), pos_integer()) -> ok.
leave({Counters, Rooms} = Waiting, Room, Weight) ->
    atomics:sub(Counters, ?MESSAGES, 1),
    atomics:sub(Counters, ?WEIGHT, Weight),
    %% Only if it is still nought then.
    _ = of_room(Waiting, Room, -Weight) =:= 0 andalso ets:delete_object(Rooms, {Room, 0}),
    ok.

%% The table ends with its worker, and then what is told is told to nobody.
-spec of_room(waiting(), room(), integer()) -> integer().
of_room({_, Rooms}, Room, Weight) ->
    try ets:update_counter(Rooms, Room, Weight, {Room, 0})
    catch error:badarg -> max(Weight, 1)
    end.

%%% The worker

-spec init(term()) -> {ok, idle}.
init(_) ->
    %% A new one for each worker: what waited for an earlier one is gone with its mailbox.
    persistent_term:put(?MODULE, {atomics:new(2, [{signed, true}]), ets:new(?MODULE, [public])}),
    {ok, idle}.

-spec handle_call(term(), gen_server:from(), idle) -> {reply, ok | {error, unknown}, idle, timeout()}.
handle_call(flush, _From, State) ->
    {reply, ok, State, ?IDLE};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State, ?IDLE}.

-spec handle_cast({tell, waiting(), room(), pos_integer(), job()} | term(), idle) -> {noreply, idle, timeout()}.
handle_cast({tell, Waiting, Room, Weight, Job}, State) ->
    work(Job),
    leave(Waiting, Room, Weight),
    {noreply, State, ?IDLE};
handle_cast(_, State) ->
    {noreply, State, ?IDLE}.

-spec handle_info(term(), idle) -> {noreply, idle, hibernate | timeout()}.
handle_info(timeout, State) ->
    {noreply, State, hibernate};
handle_info(_, State) ->
    {noreply, State, ?IDLE}.

-spec work(job()) -> ok.
work({Message, Context, Absent}) ->
    maps:foreach(fun(Host, Users) ->
                     mod_offline_post:guarded(aside, Host, fun() -> work(Host, Users, Message, Context) end)
                 end, Absent).

%% By now the virtual host may have other options, or be gone.
-spec work(binary(), [binary()], message(), mod_offline_post_event:context()) -> ok.
work(Host, Users, Message, Context) ->
    case mod_offline_post_policy:get(Host) of
        #{groupchat := members} = Policy ->
            case mod_offline_post_kind:call_end(Message, received) of
                {ok, CallId} -> mod_offline_post_notify:call_over_in_room(Host, Users, CallId);
                none -> ok
            end,
            Mentions = mentions(Message, Policy),
            lists:foreach(fun(User) ->
                              To = #jid{user = User, server = Host, luser = User, lserver = Host},
                              mod_offline_post:guarded(aside, Host, fun() -> member(To, Mentions, Message, Context) end)
                          end, Users);
        undefined ->
            mod_offline_post_incidents:count(member_overflows);
        #{} ->
            ok
    end.

-spec member(jid:jid(), all | mod_offline_post_mention:prepared(), message(), mod_offline_post_event:context()) ->
          false | atom().
member(#jid{lserver = Host} = To, Mentions, Message, #{room := Room} = Context) ->
    is_named(To, Mentions) andalso is_to_be_told(To, Room)
        andalso mod_offline_post_notify:message(Host, Message, Context#{to => To}).

-spec mentions(message(), mod_offline_post_policy:policy()) -> all | mod_offline_post_mention:prepared().
mentions(_Message, #{members_notify := all}) -> all;
mentions(Message, #{members_notify := mentions}) -> mod_offline_post_mention:prepare(Message).

-spec is_named(jid:jid(), all | mod_offline_post_mention:prepared()) -> boolean().
is_named(_To, all) -> true;
is_named(To, Mentions) -> mod_offline_post_mention:is_mentioned(jid:tolower(To), Mentions).

%% As for a message to the member: not while a device takes it, only if there is such a user, and none from a room that
%% the user has blocked.
-spec is_to_be_told(jid:jid(), jid:jid()) -> boolean().
is_to_be_told(#jid{luser = User, lserver = Host} = To, Room) ->
    not mod_offline_post_online:is_reachable(User, Host) andalso ejabberd_auth:user_exists(User, Host)
        andalso is_allowed(To, Room).

-spec is_allowed(jid:jid(), jid:jid()) -> boolean().
is_allowed(#jid{lserver = Host} = To, Room) ->
    Packet = #message{type = groupchat, from = Room, to = To},
    ejabberd_hooks:run_fold(privacy_check_packet, Host, allow, [To, Packet, in]) =:= allow.
