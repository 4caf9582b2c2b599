%% Tells a room's absent members of its messages. The rooms hand over and go on: for each member the session manager and
%% the authentication are asked, which takes longer than a room may wait. One process per node, which asks nobody itself,
%% shares the members out to short-lived workers. Each virtual host has workers of its own, so that one whose
%% authentication is slow delays no other's members. What waits is bounded; what is beyond that is counted and said in
%% the log.
-module(mod_offline_post_members).

-behaviour(gen_server).

-export([start/0, flush/1, stop/0, tell/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).
%% For spawn_link alone.
-export([work/3]).

-include("xmpp.hrl").
-include_lib("kernel/include/logger.hrl").

%% Workers of a virtual host at a time. A member is always one worker's, so that a member's messages keep their order.
-define(WORKERS, 8).

%% What may wait on the node: members, about 60 bytes each, and the bytes of the messages. Of one virtual host as much as
%% is still free, and of one room a quarter of what is still free: a slow or busy one always leaves room for others.
-define(MEMBERS, 500000).
-define(BYTES, 64000000).
-define(OF_ROOM, 4).

%% What a message takes beside itself.
-define(OVERHEAD, 500).

%% Without work for so long (ms), the process gives its memory back.
-define(IDLE, 1000).

%% In the counters.
-define(SUM_MEMBERS, 1).
-define(SUM_BYTES, 2).
-define(MESSAGES, 3).

%% Of one process: how much waits in all, and in a table for each room and each virtual host of which something waits.
-type waiting() :: {atomics:atomics_ref(), ets:table()}.
-type room() :: {User :: binary(), Server :: binary()}.
-type size() :: {Members :: pos_integer(), Bytes :: pos_integer()}.

%% A message for the members of one virtual host. Told: the message and its context as one binary, which all who hold it
%% share, and of which the size is known.
-type job() :: {waiting(), room(), Host :: binary(), size(), Told :: binary()}.

%% A virtual host's Nth worker, and what waits for it behind what it has.
-type bucket() :: {Host :: binary(), N :: non_neg_integer()}.
-type part() :: {Job :: reference(), Users :: [binary()]}.

%% left: how many parts of the job are not done. whole: so far each of them was looked at.
-type state() :: #{busy := #{bucket() => queue:queue(part())},
                   workers := #{pid() => {bucket(), Job :: reference()}},
                   jobs := #{reference() => {job(), Left :: pos_integer(), Whole :: boolean()}},
                   hosts := #{Host :: binary() => Jobs :: pos_integer()},
                   flushes := [{Host :: binary(), gen_server:from()}]}.

-spec start() -> ok | {error, term()}.
start() ->
    case gen_mod:start_child(?MODULE, <<>>, #{}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, Reason} -> {error, Reason}
    end.

%% Waits, for a while, until nothing waits for this virtual host's members.
-spec flush(Host :: binary()) -> ok.
flush(Host) ->
    mod_offline_post_flush:wait(?MODULE, {flush, Host}).

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
-spec tell(message(), #{stored := archive | none, room := jid:jid(), nick := binary(), sender => jid:jid(),
                       at := erlang:timestamp()},
           mod_offline_post_groups:absent(), Count :: pos_integer()) -> ok.
tell(Message, #{room := #jid{luser = User, lserver = Server}} = Of, Absent, _Count) ->
    Told = term_to_binary({Message, Of#{trigger => groupchat}}),
    Waiting = persistent_term:get(?MODULE),
    maps:foreach(fun(_Host, []) -> ok;
                    (Host, Users) -> tell({Waiting, {User, Server}, Host, size(Users, Told), Told}, Users)
                 end, Absent).

-spec size([binary()], binary()) -> size().
size(Users, Told) ->
    {length(Users), ?OVERHEAD + byte_size(Told)}.

-spec tell(job(), [binary()]) -> ok.
tell(Job, Users) ->
    case enter(Job) of
        ok -> gen_server:cast(?MODULE, {tell, Job, Users});
        full -> overflow(Job)
    end.

-spec overflow(job()) -> ok.
overflow({_, {User, Server}, Host, {Members, Bytes}, _}) ->
    mod_offline_post_incidents:report(
      member_overflows,
      fun(New) ->
              {warning, "mod_offline_post: ~B room messages were not looked at for absent members, because too many "
               "members, or too large messages, wait already (the last one in ~ts, of ~B bytes, for ~B members of ~ts)",
               [New, jid:encode({User, Server, <<>>}), Bytes, Members, Host]}
      end).

%%% How much waits. A message is never too large for a room, or a virtual host, of which nothing else waits, as long as
%%% there is room on the node; nor for a node on which nothing waits.

-spec enter(job()) -> ok | full.
enter({{Counters, Sizes}, Room, Host, {Members, Bytes} = Size, _} = Job) ->
    OfRoom = add(Sizes, {room, Room}, Members, Bytes),
    OfHost = add(Sizes, {host, Host}, Members, Bytes),
    Sum = {SumMembers, SumBytes} = {atomics:add_get(Counters, ?SUM_MEMBERS, Members),
                                    atomics:add_get(Counters, ?SUM_BYTES, Bytes)},
    atomics:add(Counters, ?MESSAGES, 1),
    Free = {FreeMembers, FreeBytes} = {?MEMBERS - SumMembers, ?BYTES - SumBytes},
    case exceeds(OfRoom, {FreeMembers div ?OF_ROOM, FreeBytes div ?OF_ROOM}, Size)
        orelse exceeds(OfHost, Free, Size) orelse exceeds(Sum, {?MEMBERS, ?BYTES}, Size) of
        true -> leave(Job), full;
        false -> ok
    end.

-spec exceeds({integer(), integer()}, Limits :: {integer(), integer()}, size()) -> boolean().
exceeds({Members, Bytes} = Sum, {MostMembers, MostBytes}, Size) ->
    Sum =/= Size andalso (Members > MostMembers orelse Bytes > MostBytes).

-spec leave(job()) -> ok.
leave({{Counters, Sizes}, Room, Host, {Members, Bytes}, _}) ->
    atomics:sub(Counters, ?MESSAGES, 1),
    atomics:sub(Counters, ?SUM_MEMBERS, Members),
    atomics:sub(Counters, ?SUM_BYTES, Bytes),
    %% Only if it is still nought then.
    [ets:delete_object(Sizes, {Key, 0, 0}) || Key <- [{room, Room}, {host, Host}],
                                              add(Sizes, Key, -Members, -Bytes) =:= {0, 0}],
    ok.

%% The table ends with its process, and then what is told is told to nobody.
-spec add(ets:table(), {room, room()} | {host, binary()}, integer(), integer()) -> {integer(), integer()}.
add(Sizes, Key, Members, Bytes) ->
    try ets:update_counter(Sizes, Key, [{2, Members}, {3, Bytes}], {Key, 0, 0}) of
        [OfMembers, OfBytes] -> {OfMembers, OfBytes}
    catch error:badarg -> {Members, Bytes}
    end.

%%% The process that shares out

-spec init(term()) -> {ok, state()}.
init(_) ->
    %% The workers end with this process, not this process with a worker.
    process_flag(trap_exit, true),
    %% New ones for each process: what waited for an earlier one is gone with its mailbox.
    persistent_term:put(?MODULE, {atomics:new(3, [{signed, true}]), ets:new(?MODULE, [public])}),
    {ok, #{busy => #{}, workers => #{}, jobs => #{}, hosts => #{}, flushes => []}}.

-spec handle_call(term(), gen_server:from(), state()) ->
          {noreply, state(), timeout()} | {reply, {error, unknown}, state(), timeout()}.
handle_call({flush, Host}, From, #{flushes := Flushes} = State) ->
    {noreply, flushed(Host, State#{flushes := [{Host, From} | Flushes]}), ?IDLE};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State, ?IDLE}.

-spec handle_cast({tell, job(), [binary()]} | term(), state()) -> {noreply, state(), timeout()}.
handle_cast({tell, {_, _, Host, _, _} = Job, Users}, #{jobs := Jobs, hosts := Hosts} = State) ->
    Ref = make_ref(),
    Parts = maps:groups_from_list(fun(User) -> erlang:phash2(User, ?WORKERS) end, Users),
    {noreply, maps:fold(fun(N, Part, S) -> give({Host, N}, {Ref, Part}, S) end,
                        State#{jobs := Jobs#{Ref => {Job, map_size(Parts), true}},
                               hosts := maps:update_with(Host, fun(Count) -> Count + 1 end, 1, Hosts)}, Parts), ?IDLE};
handle_cast(_, State) ->
    {noreply, State, ?IDLE}.

-spec handle_info(term(), state()) -> {noreply, state(), hibernate | timeout()}.
handle_info({'EXIT', Worker, Reason}, #{workers := Workers} = State) when is_map_key(Worker, Workers) ->
    {{Bucket, Ref}, Others} = maps:take(Worker, Workers),
    {noreply, finished(Ref, Reason =:= normal, next(Bucket, State#{workers := Others})), ?IDLE};
handle_info(timeout, State) ->
    {noreply, State, hibernate};
handle_info(_, State) ->
    {noreply, State, ?IDLE}.

-spec give(bucket(), part(), state()) -> state().
give(Bucket, Part, #{busy := Busy} = State) ->
    case Busy of
        #{Bucket := Queue} -> State#{busy := Busy#{Bucket := queue:in(Part, Queue)}};
        #{} -> worker(Bucket, Part, State#{busy := Busy#{Bucket => queue:new()}})
    end.

-spec next(bucket(), state()) -> state().
next(Bucket, #{busy := Busy} = State) ->
    case queue:out(maps:get(Bucket, Busy)) of
        {{value, Part}, Queue} -> worker(Bucket, Part, State#{busy := Busy#{Bucket := Queue}});
        {empty, _} -> State#{busy := maps:remove(Bucket, Busy)}
    end.

-spec worker(bucket(), part(), state()) -> state().
worker({Host, _} = Bucket, {Ref, Users}, #{workers := Workers, jobs := Jobs} = State) ->
    #{Ref := {{_, _, _, _, Told}, _, _}} = Jobs,
    State#{workers := Workers#{spawn_link(?MODULE, work, [Host, Users, Told]) => {Bucket, Ref}}}.

%% A part of a job is done; Whole: it was looked at.
-spec finished(reference(), Whole :: boolean(), state()) -> state().
finished(Ref, Whole, #{jobs := Jobs} = State) ->
    case Jobs of
        #{Ref := {Job, 1, WasWhole}} ->
            _ = (Whole andalso WasWhole) orelse mod_offline_post_incidents:count(member_overflows),
            ended(Job, State#{jobs := maps:remove(Ref, Jobs)});
        #{Ref := {Job, Left, WasWhole}} ->
            State#{jobs := Jobs#{Ref := {Job, Left - 1, Whole andalso WasWhole}}}
    end.

-spec ended(job(), state()) -> state().
ended({_, _, Host, _, _} = Job, #{hosts := Hosts} = State) ->
    leave(Job),
    case Hosts of
        #{Host := 1} -> flushed(Host, State#{hosts := maps:remove(Host, Hosts)});
        #{Host := Count} -> State#{hosts := Hosts#{Host := Count - 1}}
    end.

%% Answers the calls that wait for this virtual host, if nothing waits for its members any more.
-spec flushed(binary(), state()) -> state().
flushed(Host, #{hosts := Hosts} = State) when is_map_key(Host, Hosts) ->
    State;
flushed(Host, #{flushes := Flushes} = State) ->
    {Done, Others} = lists:partition(fun({H, _}) -> H =:= Host end, Flushes),
    lists:foreach(fun({_, From}) -> gen_server:reply(From, ok) end, Done),
    State#{flushes := Others}.

%% The state and the messages are large, and have users' texts in them.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(Key, _) when Key =:= state; Key =:= message; Key =:= log -> hidden;
                (_, Value) -> Value
             end, Status).

%%% A worker

%% By now the virtual host may have other options, or be gone; it may also go meanwhile.
-spec work(binary(), [binary()], Told :: binary()) -> ok.
work(Host, Users, Told) ->
    case mod_offline_post_policy:get(Host) of
        #{groupchat := members} = Policy ->
            mod_offline_post:guarded(aside, Host, fun() -> work(Host, Users, binary_to_term(Told), Policy) end);
        _ ->
            ok
    end,
    _ = is_gone(Host) andalso exit({shutdown, gone}),
    ok.

-spec is_gone(binary()) -> boolean().
is_gone(Host) ->
    mod_offline_post_policy:get(Host) =:= undefined.

-spec work(binary(), [binary()], {message(), mod_offline_post_event:context()}, mod_offline_post_policy:policy()) -> ok.
work(Host, Users, {Message, Context}, Policy) ->
    case mod_offline_post_kind:call_end(Message, received) of
        {ok, CallId} -> mod_offline_post_notify:call_over_in_room(Host, Users, CallId);
        none -> ok
    end,
    Mentions = mentions(Message, Policy),
    lists:foreach(fun(User) ->
                      To = #jid{user = User, server = Host, luser = User, lserver = Host},
                      mod_offline_post:guarded(aside, Host, fun() ->
                          is_gone(Host) orelse member(To, Mentions, Message, Context)
                      end)
                  end, Users).

-spec member(jid:jid(), all | mod_offline_post_mention:prepared(), message(), mod_offline_post_event:context()) ->
          false | atom().
member(#jid{lserver = Host} = To, Mentions, Message, #{room := Room, at := At} = Context) ->
    is_named(To, Mentions) andalso is_to_be_told(To, Room, At)
        andalso mod_offline_post_notify:message(Host, Message, Context#{to => To}).

-spec mentions(message(), mod_offline_post_policy:policy()) -> all | mod_offline_post_mention:prepared().
mentions(_Message, #{members_notify := all}) -> all;
mentions(Message, #{members_notify := mentions}) -> mod_offline_post_mention:prepare(Message).

-spec is_named(jid:jid(), all | mod_offline_post_mention:prepared()) -> boolean().
is_named(_To, all) -> true;
is_named(To, Mentions) -> mod_offline_post_mention:is_mentioned(jid:tolower(To), Mentions).

%% As for a message to the member: not if a device could be reached when the room sent it, only if there is such a user, and none from a room that
%% the user has blocked.
-spec is_to_be_told(jid:jid(), jid:jid(), erlang:timestamp()) -> boolean().
is_to_be_told(#jid{luser = User, lserver = Host} = To, Room, At) ->
    not mod_offline_post_online:is_reachable(User, Host, At) andalso ejabberd_auth:user_exists(User, Host)
        andalso is_allowed(To, Room).

-spec is_allowed(jid:jid(), jid:jid()) -> boolean().
is_allowed(#jid{lserver = Host} = To, Room) ->
    Packet = #message{type = groupchat, from = Room, to = To},
    ejabberd_hooks:run_fold(privacy_check_packet, Host, allow, [To, Packet, in]) =:= allow.
