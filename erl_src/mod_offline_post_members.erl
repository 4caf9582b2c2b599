%% Tells a room's absent members of its messages. The rooms hand over and go on: one process per node asks the session
%% manager, member by member, which takes longer than a room may wait, and posts for those who cannot be reached. What
%% waits for it is bounded; what is beyond that is counted and said in the log.
-module(mod_offline_post_members).

-behaviour(gen_server).

-export([start/0, stop/0, tell/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("xmpp.hrl").

%% Members who may wait, of all rooms together; about 60 bytes each, and some 10 us of work for each.
-define(LIMIT, 500000).

%% What a message counts in that, beside its members: one may be as large as a stanza.
-define(MESSAGE, 500).

%% Without work for so long (ms), it gives its memory back.
-define(IDLE, 1000).

-type job() :: {message(), mod_offline_post_event:context(), mod_offline_post_groups:absent()}.

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

%% Any process. Message: from the room and the nick. Of: its group, and where it is stored. Count: of Absent.
-spec tell(message(), #{stored := archive | none, room := jid:jid(), nick := binary(), sender => jid:jid()},
           mod_offline_post_groups:absent(), Count :: pos_integer()) -> ok.
tell(Message, Of, Absent, Count) ->
    Weight = ?MESSAGE + Count,
    Waiting = persistent_term:get(?MODULE),
    case atomics:add_get(Waiting, 1, Weight) of
        Sum when Sum > ?LIMIT, Sum > Weight ->
            atomics:sub(Waiting, 1, Weight),
            overflow(Message, Count);
        _ ->
            gen_server:cast(?MODULE, {tell, Waiting, Weight, {Message, Of#{trigger => groupchat}, Absent}})
    end.

-spec overflow(message(), pos_integer()) -> ok.
overflow(#message{from = Room}, Count) ->
    mod_offline_post_incidents:report(
      member_overflows,
      fun(New) ->
              {warning, "mod_offline_post: ~B room messages were not looked at for absent members, because ~B members "
               "are waiting already (the last one in ~ts, for ~B members)",
               [New, ?LIMIT, jid:encode(jid:remove_resource(Room)), Count]}
      end).

%%% The worker

-spec init(term()) -> {ok, idle}.
init(_) ->
    %% A new one for each worker: what waited for an earlier one is gone with its mailbox.
    persistent_term:put(?MODULE, atomics:new(1, [{signed, true}])),
    {ok, idle}.

-spec handle_call(term(), gen_server:from(), idle) -> {reply, {error, unknown}, idle}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast({tell, atomics:atomics_ref(), pos_integer(), job()} | term(), idle) -> {noreply, idle, timeout()}.
handle_cast({tell, Waiting, Weight, Job}, State) ->
    work(Job),
    atomics:sub(Waiting, 1, Weight),
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
    maps:foreach(fun(Host, Users) -> work(Host, Users, Message, Context) end, Absent).

%% By now the virtual host may have other options, or be gone.
-spec work(binary(), [binary()], message(), mod_offline_post_event:context()) -> ok.
work(Host, Users, Message, Context) ->
    case mod_offline_post_policy:get(Host) of
        #{groupchat := members} = Policy ->
            Mentions = mentions(Message, Policy),
            lists:foreach(fun(User) ->
                              To = #jid{user = User, server = Host, luser = User, lserver = Host},
                              mod_offline_post:guarded(hook, Host, fun() -> member(To, Mentions, Message, Context) end)
                          end, Users);
        _ ->
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
