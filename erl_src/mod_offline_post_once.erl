%% One notification per message and recipient. A message is known by a stamp that it gets when it comes to a recipient's
%% session manager, and that stays with it in queues, resends and copies of this node; a client's own resend by its
%% sender, origin-id and content. What was posted is remembered in two generations: when the current one is old or full,
%% the other is emptied and becomes current. The devices that have lost a message are remembered with it.
-module(mod_offline_post_once).

-behaviour(gen_server).

-export([start/0, stop/0, hooks/1, stamp/1, carry/2, first/3, forget/3]).
-export([of_message/3, device/3, enter/1, erase/1, is_entered/1]).
%% On other nodes.
-export([enter_here/1, erase_here/1]).
-export_type([key/0, stamp/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("xmpp.hrl").

%% A generation's entries, each of about 100 bytes.
-define(LIMIT, 200000).

%% How long a generation lasts at least (ms); an entry lives for one to two of them. A message in the queue of a session
%% that waits to be resumed is asked for anew each time the session hangs or ends, so that its entry need not outlive
%% more than one wait.
-define(SHORTEST, 600000).
-define(SLACK, 120000).

-define(TABLES, {mod_offline_post_once_a, mod_offline_post_once_b}).

%% Namespaces of what servers add to a message, and of a client's state when it sends one.
-define(ADDED, [?NS_SID_0, ?NS_DELAY, <<"jabber:x:delay">>, ?NS_HINTS, ?NS_CHATSTATES, ?NS_MUC_USER, ?NS_MAM_TMP,
                <<"urn:xmpp:occupant-id:0">>, <<"urn:xmpp:mam:1">>, ?NS_MAM_2]).

%% In persistent_term: {atomics, this node's part of each stamp}. Which table is current, how many entries it got.
-define(CURRENT, 1).
-define(COUNT, 2).

%% again: it has come to a session manager before.
-type stamp() :: {Node :: non_neg_integer(), Number :: integer()}
               | {Node :: non_neg_integer(), Number :: integer(), again}.
-type key() :: {Node :: non_neg_integer(), Number :: integer(), Recipient :: non_neg_integer()}
             | {lost | again, Node :: non_neg_integer(), Number :: integer(), Device :: non_neg_integer()}
             | {OriginId :: binary(), SenderRecipientAndContent :: non_neg_integer()}.

%% In a room's message and, so that they outlive a queue, in the one that wraps it for a subscriber: its stamp, and what
%% mod_offline_post_groups knows of it.
-define(CARRIED, [offline_post, offline_post_sender, offline_post_author]).
-define(INNER, offline_post_inner).

%% Also with new options, which may ask for longer generations.
-spec start() -> ok | {error, term()}.
start() ->
    Ms = max(?SHORTEST, longest_wait() + ?SLACK),
    case gen_mod:start_child(?MODULE, <<>>, #{generation => Ms}, ?MODULE) of
        {ok, _} -> ok;
        {error, {already_started, Pid}} -> gen_server:cast(Pid, {generation, Ms});
        {error, Reason} -> {error, Reason}
    end.

-spec stop() -> ok.
stop() ->
    _ = gen_mod:stop_child(?MODULE),
    ok.

-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(_Host) ->
    [{sm_receive_packet, ?MODULE, stamp, 40}].

%% The hook: for each stanza to a local user.
-spec stamp(stanza()) -> stanza().
stamp(#message{meta = #{offline_post := {Node, Number}} = Meta, type = Type} = Message) ->
    _ = Type =:= groupchat andalso mod_offline_post_notify:seen(Message), % the room has stamped it
    Message#message{meta = Meta#{offline_post := {Node, Number, again}}};
stamp(#message{meta = #{offline_post := _}} = Message) ->
    Message;
stamp(#message{meta = Meta, type = Type} = Message) when Type =/= error ->
    Stamped = Message#message{meta = with_inner(Message, Meta#{offline_post => new_stamp()})},
    mod_offline_post_notify:seen(Stamped),
    Stamped;
stamp(Stanza) ->
    Stanza.

%% mod_stream_mgmt sends the wrapper of a room's message again with a message inside that has lost what we know of it.
-spec with_inner(message(), map()) -> map().
with_inner(#message{type = normal, sub_els = [#ps_event{items = #ps_items{items = [#ps_item{sub_els = [Inner | _]} | _]}} | _]},
           Meta) ->
    case Inner of
        #message{meta = #{offline_post := _} = Known} -> Meta#{?INNER => maps:with(?CARRIED, Known)};
        _ -> Meta
    end;
with_inner(_Message, Meta) ->
    Meta.

%% What was wrapped in a message is the same message: it has the stamp of the room, by which all its copies are known as
%% one, or else the wrapper's.
-spec carry(Wrapper :: message(), Wrapped :: message()) -> message().
carry(#message{meta = #{offline_post := Stamp} = Outer}, #message{meta = Meta} = Message) ->
    Known = maps:merge(maps:get(?INNER, Outer, #{}), Meta),
    Message#message{meta = Known#{offline_post => same_time(Stamp, maps:get(offline_post, Known, Stamp))}};
carry(_, Message) ->
    Message.

%% What is wrapped comes again when its wrapper does.
-spec same_time(stamp(), stamp()) -> stamp().
same_time({_, _, again}, {Node, Number}) -> {Node, Number, again};
same_time(_, Stamp) -> Stamp.

%% Whether this is the first time that somebody asks for this message and recipient.
-spec first(message(), jid:jid(), Trigger :: offline | pending | groupchat) -> boolean().
first(Message, To, Trigger) ->
    case keys(Message, To, Trigger) of
        [] ->
            true;
        Keys ->
            try
                new(Keys)
            catch
                %% Without its tables, for a moment: rather twice than never.
                error:badarg -> true
            end
    end.

%% It was not posted after all, so that another way may still bring it.
-spec forget(message(), jid:jid(), Trigger :: offline | pending | groupchat) -> ok.
forget(Message, To, Trigger) ->
    erase_here(keys(Message, To, Trigger)).

%% What depends on a room's message alone is made once, for all its recipients: the room's process sends to one after the
%% other. Of other messages there is one recipient.
-spec of_message(What :: atom(), message(), fun(() -> Made)) -> Made.
of_message(What, #message{meta = #{offline_post_author := _, offline_post := Stamp}}, Make) ->
    Number = element(2, Stamp),
    case get({?MODULE, What}) of
        {Number, Made} ->
            Made;
        _ ->
            Made = Make(),
            _ = put({?MODULE, What}, {Number, Made}),
            Made
    end;
of_message(_What, #message{}, Make) ->
    Make().

%% For enter/1 and the like: that this device has lost a message; that it is sent the message again after that.
-spec device(lost | again, message(), jid:jid()) -> [key()].
device(What, #message{meta = #{offline_post := Stamp}}, #jid{lresource = Resource} = Device) ->
    [{What, element(1, Stamp), element(2, Stamp), digest({bare(Device), Resource})}];
device(_What, #message{}, _Device) ->
    [].

%% On this node and the others, which are told, not waited for.
-spec enter([key(), ...]) -> ok.
enter(Keys) ->
    enter_here(Keys),
    mod_offline_post_nodes:cast(?MODULE, enter_here, [Keys]).

-spec enter_here([key(), ...]) -> ok.
enter_here(Keys) ->
    try new(Keys) of _ -> ok
    catch error:badarg -> ok
    end.

-spec erase([key(), ...]) -> ok.
erase(Keys) ->
    erase_here(Keys),
    mod_offline_post_nodes:cast(?MODULE, erase_here, [Keys]).

-spec erase_here([key()]) -> ok.
erase_here(Keys) ->
    {A, B} = ?TABLES,
    try [ets:delete(Table, Key) || Key <- Keys, Table <- [A, B]] of _ -> ok
    catch error:badarg -> ok
    end.

%% Without its tables, for a moment, all are: rather twice than never.
-spec is_entered(key()) -> boolean().
is_entered(Key) ->
    {A, B} = ?TABLES,
    try ets:member(A, Key) orelse ets:member(B, Key)
    catch error:badarg -> true
    end.

%%% Entries

-spec keys(message(), jid:jid(), offline | pending | groupchat) -> [key()].
keys(#message{sub_els = []} = Message, To, Trigger) ->
    stamped(Message, To, Trigger);
keys(#message{from = From, type = Type} = Message, To, Trigger) ->
    Stamped = stamped(Message, To, Trigger),
    case mod_offline_post_event:origin_id(Message) of
        <<>> -> Stamped;
        Id -> [origin(Id, sender(Type, From), To, Message) | Stamped]
    end.

%% A user without a session gets a message on one way only, and what is stored is known when it is fetched: only one
%% that comes out of a session's queue may come twice, and that has been here before.
-spec stamped(message(), jid:jid(), offline | pending | groupchat) -> [key()].
stamped(#message{meta = #{offline_post := {_, _}}}, _To, offline) -> [];
stamped(#message{meta = #{offline_post := {Node, Number}}}, To, _) -> [{Node, Number, digest(bare(To))}];
stamped(#message{meta = #{offline_post := {Node, Number, again}}}, To, _) -> [{Node, Number, digest(bare(To))}];
stamped(_Message, _To, _Trigger) -> [].

%% A client may use an origin-id twice by mistake, for messages that differ. It may be as long as a stanza.
-spec origin(binary(), {binary(), binary()} | jid:ljid(), jid:jid(), message()) -> key().
origin(Id, Sender, To, Message) ->
    Short = case Id of
                _ when byte_size(Id) =< 64 -> Id;
                _ -> erlang:md5(Id)
            end,
    {Short, digest({Sender, bare(To), of_message(content, Message, fun() -> digest(content(Message)) end)})}.

%% What the author has written, and nothing that servers add on the way; in one form, whether or not a module has
%% decoded an element before.
-spec content(message()) -> term().
content(#message{body = Bodies, subject = Subjects, sub_els = Els}) ->
    {Bodies, Subjects, [plain(El) || El <- Els, not lists:member(xmpp:get_ns(El), ?ADDED)]}.

-spec plain(xmpp_element() | fxml:xmlel() | {xmlcdata, binary()}) -> term().
plain(#xmlel{name = Name, attrs = Attrs, children = Children}) ->
    {Name, lists:sort(Attrs), [plain(Child) || Child <- Children]};
plain({xmlcdata, Text}) ->
    Text;
plain(Decoded) ->
    plain(xmpp:encode(Decoded)).

%% In a room the nicks are the senders.
-spec sender(message_type(), jid:jid()) -> {binary(), binary()} | jid:ljid().
sender(groupchat, From) -> jid:tolower(From);
sender(_Type, From) -> bare(From).

-spec bare(jid:jid()) -> {User :: binary(), Server :: binary()}.
bare(#jid{luser = User, lserver = Server}) ->
    {User, Server}.

-spec digest(term()) -> non_neg_integer().
digest(Term) ->
    erlang:phash2(Term, 1 bsl 32).

-spec new([key(), ...]) -> boolean().
new(Keys) ->
    {Counters, _} = persistent_term:get(?MODULE),
    {Current, Other} = tables(atomics:get(Counters, ?CURRENT)),
    %% Each is entered, also when another one is known: so they are when they come again.
    Known = [not ets:insert_new(Current, {Key}) orelse ets:member(Other, Key) || Key <- Keys],
    Count = atomics:add_get(Counters, ?COUNT, length(Keys)),
    _ = Count >= ?LIMIT andalso Count - length(Keys) < ?LIMIT andalso gen_server:cast(?MODULE, full),
    not lists:member(true, Known).

-spec tables(0 | 1) -> {atom(), atom()}.
tables(0) -> ?TABLES;
tables(1) -> {A, B} = ?TABLES, {B, A}.

-spec new_stamp() -> stamp().
new_stamp() ->
    {_, Node} = persistent_term:get(?MODULE),
    {Node, erlang:unique_integer()}.

%%% The owner of the tables

-type state() :: {Timer :: reference(), GenerationMs :: pos_integer()}.

-spec init([binary() | #{generation := pos_integer()}]) -> {ok, state()}.
init([_Host, #{generation := Ms}]) ->
    {A, B} = ?TABLES,
    _ = [ets:new(Table, [named_table, public, {write_concurrency, true}]) || Table <- [A, B]],
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            %% A node that was started anew counts from the same numbers.
            Node = erlang:phash2({node(), erlang:system_time(), make_ref()}),
            persistent_term:put(?MODULE, {atomics:new(2, []), Node});
        {_, _} ->
            ok
    end,
    {ok, {set_timer(Ms), Ms}}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, {error, unknown}, state()}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast({generation, Ms}, {_Timer, Ms} = State) ->
    {noreply, State};
handle_cast({generation, Ms}, {Timer, _}) ->
    _ = erlang:cancel_timer(Timer),
    {noreply, {set_timer(Ms), Ms}};
handle_cast(full, {Timer, Ms}) ->
    _ = erlang:cancel_timer(Timer),
    turn(),
    {noreply, {set_timer(Ms), Ms}}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({timeout, Timer, turn}, {Timer, Ms}) ->
    turn(),
    {noreply, {set_timer(Ms), Ms}};
handle_info(_, State) ->
    {noreply, State}.

-spec turn() -> ok.
turn() ->
    {Counters, _} = persistent_term:get(?MODULE),
    Current = atomics:get(Counters, ?CURRENT),
    {_, Oldest} = tables(Current),
    ets:delete_all_objects(Oldest),
    atomics:put(Counters, ?COUNT, 0),
    atomics:put(Counters, ?CURRENT, 1 - Current).

-spec set_timer(pos_integer()) -> reference().
set_timer(Ms) ->
    erlang:start_timer(Ms, self(), turn).

%% How long a session may wait to be resumed, or to be found hanging, on any virtual host (ms). By what is configured:
%% at boot mod_stream_mgmt may start after us.
-spec longest_wait() -> non_neg_integer().
longest_wait() ->
    lists:max([0 | [waits(Opts) || Host <- ejabberd_option:hosts(),
                                   {mod_stream_mgmt, Opts, _Order} <- ejabberd_option:modules(Host)]]).

%% ejabberd has filled in the defaults.
-spec waits(gen_mod:opts()) -> non_neg_integer().
waits(Opts) ->
    lists:sum([case maps:get(Option, Opts, 0) of
                   Ms when is_integer(Ms) -> Ms;
                   _None -> 0 % infinity, or undefined: as resume_timeout
               end || Option <- [resume_timeout, max_resume_timeout, ack_timeout]]).
