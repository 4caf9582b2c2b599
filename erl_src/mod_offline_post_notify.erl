%% The one way from a message that a trigger has found to an event: is it of a kind that counts, is it the first time,
%% what may be told of it. Runs in the process that handles the message.
-module(mod_offline_post_notify).

-export([message/3, seen/1, call_over/3, call_over_in_room/3, withdraw/4, counts/1, prepare/1]).
%% On other nodes.
-export([withdraw_here/4]).

-include("xmpp.hrl").

-type result() :: posted | duplicate | ignored | vetoed | limited | refused.
-type submission() :: {message(), To :: jid:jid(), Trigger :: offline | pending | groupchat, Topic :: binary(),
                       mod_offline_post_policy:policy()}.

%% Counted for a virtual host since the node has started.
-define(DUPLICATES, 1).
-define(VETOED, 2).

%% ignored: of no kind that the policy asks for, or nothing new by its nature, such as a copy.
-spec message(binary(), message(), mod_offline_post_event:context()) -> result().
message(Host, Message, Context) ->
    case mod_offline_post_policy:get(Host) of
        undefined ->
            ignored;
        Policy ->
            Result = unwrapped(Host, Message, Context, Policy),
            %% The end of a call is in a session's queue behind the call, which is posted only now.
            _ = maps:get(trigger, Context) =:= pending andalso seen(Message),
            Result
    end.

%% What a room has sent: to a client in it, which only counts where members are told, or wrapped for a subscriber
%% (MUC/Sub). The trigger for members has looked into it already.
-spec unwrapped(binary(), message(), mod_offline_post_event:context(), mod_offline_post_policy:policy()) -> result().
unwrapped(Host, Message, #{room := _} = Context, Policy) ->
    of_kind(Host, Message, Context, Policy);
%% Nobody who is offline is in a room.
unwrapped(_Host, #message{type = groupchat}, #{trigger := offline}, _Policy) ->
    ignored;
unwrapped(Host, #message{type = groupchat} = Message, Context, Policy) ->
    of_group(Host, Message, Context, Policy);
unwrapped(Host, #message{type = normal, sub_els = [_ | _]} = Message, Context, Policy) ->
    of_group(Host, Message, Context, Policy);
unwrapped(Host, Message, Context, Policy) ->
    of_kind(Host, Message, Context, Policy).

-spec of_group(binary(), message(), mod_offline_post_event:context(), mod_offline_post_policy:policy()) -> result().
of_group(Host, #message{meta = Meta} = Message, Context, Policy) ->
    case is_news(Meta) andalso mod_offline_post_groups:unwrap(Message, Policy) of
        {ok, Inner, Of} -> of_kind(Host, Inner, maps:merge(Context, Of), Policy);
        none -> of_kind(Host, Message, Context, Policy);
        _ -> ignored
    end.

-spec of_kind(binary(), message(), mod_offline_post_event:context(), mod_offline_post_policy:policy()) -> result().
of_kind(Host, #message{from = #jid{}, to = #jid{}, meta = Meta} = Message, Context, #{notify := Kinds} = Policy) ->
    Kind = is_news(Meta) andalso mod_offline_post_kind:classify(Message),
    case lists:member(Kind, Kinds) of
        true ->
            once(Host, Message, {Kind, Context, Policy});
        false ->
            ignored
    end;
of_kind(_Host, _Message, _Context, _Policy) ->
    ignored.

%% Not what was stored and is fetched now, not a copy of what another device has received or sent, and not what mod_mam
%% is told to pass over: moderation, and a room's history.
-spec is_news(map()) -> boolean().
is_news(#{from_offline := true}) -> false;
is_news(#{carbon_copy := true}) -> false;
is_news(#{mam_ignore := true}) -> false;
is_news(#{}) -> true.

-spec once(binary(), message(), {mod_offline_post_event:kind(), mod_offline_post_event:context(),
                                 mod_offline_post_policy:policy()}) -> result().
once(Host, #message{to = Addressee} = Message, {Kind, #{trigger := Trigger} = Context, Policy} = Of) ->
    To = maps:get(to, Context, Addressee),
    case mod_offline_post_once:first(Message, To, Trigger) of
        true ->
            or_forget({Message, To, Trigger}, fun() ->
                Submission = {Message, To, Trigger, mod_offline_post_event:topic(Message, Of), Policy},
                with_badge(Host, mod_offline_post_event:from_message(Message, Kind, Context, Policy), Submission)
            end);
        false ->
            count(Host, ?DUPLICATES),
            duplicate
    end.

%% What a defect, or a node that shuts down, has cut short was not posted: another way may still bring it.
-spec or_forget({message(), jid:jid(), offline | pending | groupchat}, fun(() -> result())) -> result().
or_forget({Message, To, Trigger}, Do) ->
    try Do()
    catch
        Class:Reason:Stack ->
            mod_offline_post_once:forget(Message, To, Trigger),
            erlang:raise(Class, Reason, Stack)
    end.

-spec with_badge(binary(), mod_offline_post_event:event(), submission()) -> result().
with_badge(Host, Event, {_, _, _, _, #{badge := none}} = Submission) ->
    checked(Host, Event, Submission);
with_badge(Host, #{to := {User, _, _}} = Event, {_, _, _, _, #{badge := events}} = Submission) ->
    checked(Host, badge(Event, next_badge(User, Host)), Submission);
with_badge(Host, #{to := {User, _, _}} = Event, {Message, To, Trigger, _, #{badge := stored}} = Submission) ->
    %% Counting takes a database, and may be another process's work; what cannot be counted goes without a badge.
    mod_offline_post_badge:stored(User, Host, fun(Count) ->
        or_forget({Message, To, Trigger}, fun() -> checked(Host, badge(Event, Count), Submission) end)
    end),
    posted.

-spec badge(mod_offline_post_event:event(), non_neg_integer() | unknown) -> mod_offline_post_event:event().
badge(Event, unknown) -> Event;
badge(Event, Count) -> Event#{badge => Count}.

%% Mnesia may be without the table: at boot, or while its master node is away. The event matters more than its number.
-spec next_badge(binary(), binary()) -> pos_integer() | unknown.
next_badge(User, Host) ->
    try mod_offline_post_badge:next(User, Host)
    catch
        error:_ -> unknown;
        exit:_ -> unknown
    end.

-spec checked(binary(), mod_offline_post_event:event(), submission()) -> result().
checked(Host, Event, {Message, _, _, _, _} = Submission) ->
    submit(Host, vetoed(Host, Event, Message), Submission).

%% What the handlers of offline_post_event make of it.
-spec vetoed(binary(), mod_offline_post_event:event(), message()) -> mod_offline_post_event:event() | drop.
vetoed(Host, Event, Message) ->
    case run_handlers(Host, Event, Message) of
        Event ->
            Event;
        drop ->
            drop;
        Changed ->
            case mod_offline_post_event:is_event(Changed) of
                true ->
                    Changed;
                false ->
                    mod_offline_post:incident(Host, "a handler of offline_post_event returned no event"),
                    Event
            end
    end.

%% ejabberd catches, and logs, what a handler raises, and goes on as if it had returned what it got; but not this.
-spec run_handlers(binary(), mod_offline_post_event:event(), message()) -> term().
run_handlers(Host, Event, Message) ->
    try ejabberd_hooks:run_fold(offline_post_event, Host, Event, [Message])
    catch exit:normal -> ended
    end.

-spec submit(binary(), mod_offline_post_event:event() | drop, submission()) -> result().
submit(Host, drop, _) ->
    count(Host, ?VETOED),
    vetoed;
submit(Host, #{kind := call} = Event, {Message, #jid{luser = User}, _, Topic, Policy} = Submission)
  when Topic =/= <<>> ->
    Call = {Host, User, Topic},
    case mod_offline_post_calls:has_ended(Call) of
        true ->
            ignored;
        false ->
            Result = hand_over(Host, Event, Submission),
            _ = Result =:= posted andalso call_posted(Policy, Call, Event, Message),
            Result
    end;
submit(Host, Event, Submission) ->
    hand_over(Host, Event, Submission).

%% The call may have ended while it was handed over, in another process, which had nothing to withdraw yet.
-spec call_posted(mod_offline_post_policy:policy(), mod_offline_post_calls:key(), mod_offline_post_event:event(), message()) ->
          ok.
call_posted(#{notify := Kinds} = Policy, {Host, User, Topic} = Call, Event, Message) ->
    _ = lists:member(call_end, Kinds) andalso mod_offline_post_calls:offered(Call, Event, Message),
    _ = mod_offline_post_calls:has_ended(Call) andalso withdraw_native(Policy, Host, {User, Host}, Topic, cancel),
    ok.

-spec hand_over(binary(), mod_offline_post_event:event(), submission()) -> posted | limited | refused.
hand_over(Host, Event, {Message, To, Trigger, Topic, #{uses := Uses} = Policy}) ->
    case mod_offline_post_commit:submit(Host, mod_offline_post_event:to_native(Event, Topic, Uses),
                                        waits(Message, Trigger, Policy)) of
        ok ->
            posted;
        limited ->
            limited;
        refused ->
            mod_offline_post_once:forget(Message, To, Trigger),
            refused
    end.

%% Not the session that hangs, which would wait once for each message in its queue.
-spec waits(message(), offline | pending | groupchat, mod_offline_post_policy:policy()) -> jid:jid() | nobody.
waits(#message{from = From}, offline, #{sync_commit := true}) -> From;
waits(_Message, _Trigger, _Policy) -> nobody.

%%% Withdrawal

%% Each message to a local user, before any of its sessions gets it: a call that is over need not be told of any more.
%% What type the message has, and what else is in it, does not matter.
-spec seen(message()) -> ok.
seen(#message{sub_els = []}) ->
    ok;
seen(#message{to = #jid{luser = User, lserver = Host}} = Message) ->
    may_end_call(Message) andalso
        mod_offline_post:guarded(hook, Host, fun() ->
            case is_told_of_calls(Host) andalso ended_call(Host, Message) of
                {ok, CallId} -> call_over(Host, User, CallId);
                _ -> ok
            end
        end),
    ok;
seen(_) ->
    ok.

%% A room sends to a subscriber under its bare JID.
-spec may_end_call(message()) -> boolean().
may_end_call(#message{type = normal, from = #jid{lresource = <<>>}, sub_els = [#ps_event{items = Items} | _]}) ->
    case Items of
        #ps_items{items = [#ps_item{sub_els = [#message{} = Inner | _]} | _]} ->
            mod_offline_post_kind:call_end(Inner, received) =/= none;
        _ ->
            true
    end;
may_end_call(#message{type = normal, from = #jid{lresource = <<>>}, sub_els = Els} = Message) ->
    lists:keymember(<<"event">>, #xmlel.name, Els) orelse mod_offline_post_kind:call_end(Message, received) =/= none;
may_end_call(Message) ->
    mod_offline_post_kind:call_end(Message, received) =/= none.

%% Of a room's message the call in it, whoever is mentioned there.
-spec ended_call(binary(), message()) -> {ok, CallId :: binary()} | none.
ended_call(Host, #message{type = normal} = Message) ->
    case mod_offline_post_groups:unwrap(Message, (mod_offline_post_policy:get(Host))#{members_notify := all}) of
        {ok, Inner, _} -> mod_offline_post_kind:call_end(Inner, received);
        none -> mod_offline_post_kind:call_end(Message, received);
        ignore -> none
    end;
ended_call(_Host, Message) ->
    mod_offline_post_kind:call_end(Message, received).

%% Elsewhere nobody needs to look into what follows a call.
-spec is_told_of_calls(binary()) -> boolean().
is_told_of_calls(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{notify := Kinds} -> lists:member(call, Kinds);
        undefined -> false
    end.

%% A call to this user, or their part in it, is over.
-spec call_over(binary(), User :: binary(), CallId :: binary()) -> ok.
call_over(Host, User, CallId) ->
    withdraw(Host, {User, Host}, mod_offline_post_event:call_topic(CallId), cancel).

%% The same for members of a room who were not in it. They were notified by this node.
-spec call_over_in_room(binary(), Users :: [binary()], CallId :: binary()) -> ok.
call_over_in_room(Host, Users, CallId) ->
    Topic = mod_offline_post_event:call_topic(CallId),
    _ = is_told_of_calls(Host)
        andalso lists:foreach(fun(User) -> withdraw_here(Host, {User, Host}, Topic, cancel) end, Users),
    ok.

%% On every node: any of them may have accepted what is withdrawn. The others are told, not waited for.
-spec withdraw(binary(), {User :: binary(), Server :: binary()}, all | binary(), cancel | purge) -> ok.
withdraw(Host, User, What, How) ->
    withdraw_here(Host, User, What, How),
    mod_offline_post_nodes:cast(?MODULE, withdraw_here, [Host, User, What, How]).

-spec withdraw_here(binary(), {User :: binary(), Server :: binary()}, all | binary(), cancel | purge) -> ok.
withdraw_here(Host, {Name, _} = User, What, How) ->
    mod_offline_post:guarded(aside, Host, fun() ->
        _ = How =:= purge andalso mod_offline_post_calls:forget(Host, Name),
        case mod_offline_post_policy:get(Host) of
            undefined -> ok;
            Policy -> is_call_finished(Policy, Host, Name, What) orelse withdraw_native(Policy, Host, User, What, How)
        end
    end).

-spec withdraw_native(mod_offline_post_policy:policy(), binary(), {User :: binary(), Server :: binary()}, all | binary(),
                      cancel | purge) -> ok.
withdraw_native(#{badge := Badge}, Host, User, What, How) ->
    Withdraw = fun() -> mod_offline_post_nif:withdraw(mod_offline_post_endpoint:key(Host), User, What, How) end,
    _ = Withdraw(),
    %% Events that still wait for their badge come to the native side only after this.
    _ = Badge =:= stored andalso mod_offline_post_badge:behind(Host, Withdraw),
    ok.

%% Whether nothing is left to withdraw: the call was over before, or its end is notified of. Then the native side, which
%% alone knows whether the call has left, withdraws it by itself.
-spec is_call_finished(mod_offline_post_policy:policy(), binary(), User :: binary(), all | Topic :: binary()) -> boolean().
is_call_finished(_Policy, _Host, _User, all) ->
    false;
is_call_finished(#{notify := Kinds} = Policy, Host, User, Topic) ->
    case mod_offline_post_calls:finish({Host, User, Topic}) of
        before -> true;
        none -> false;
        Offer -> lists:member(call_end, Kinds) andalso is_end_posted(Policy, Host, Offer, Topic)
    end.

-spec is_end_posted(mod_offline_post_policy:policy(), binary(), {mod_offline_post_event:event(), message()},
                    Topic :: binary()) -> boolean().
is_end_posted(#{uses := Uses} = Policy, Host, {Offer, Message}, Topic) ->
    case vetoed(Host, mod_offline_post_event:call_end(Offer, Policy), Message) of
        drop ->
            count(Host, ?VETOED),
            false;
        Event ->
            mod_offline_post_commit:submit(Host, mod_offline_post_event:to_native(Event, Topic, Uses), nobody) =:= ok
    end.

%%% Counters

%% Before the first message. Keeps what was counted.
-spec prepare(binary()) -> ok.
prepare(Host) ->
    case persistent_term:get({?MODULE, Host}, undefined) of
        undefined -> persistent_term:put({?MODULE, Host}, counters:new(2, [write_concurrency]));
        _ -> ok
    end.

-spec count(binary(), pos_integer()) -> ok.
count(Host, Which) ->
    counters:add(persistent_term:get({?MODULE, Host}), Which, 1).

-spec counts(binary()) -> #{duplicates | vetoed => non_neg_integer()}.
counts(Host) ->
    case persistent_term:get({?MODULE, Host}, undefined) of
        undefined -> #{duplicates => 0, vetoed => 0};
        Counters -> #{duplicates => counters:get(Counters, ?DUPLICATES), vetoed => counters:get(Counters, ?VETOED)}
    end.
