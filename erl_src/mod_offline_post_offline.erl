%% The trigger `offline`: the handlers of offline_message_hook, which runs for a message to a user without any session.
%% They run in the sender's session (for MUC/Sub in the room's process), and return the accumulator untouched.
-module(mod_offline_post_offline).

-export([hooks/1, new_message/1, archived_message/1, offline_message/1, is_archived/1]).

-include("xmpp.hrl").

-type verdict() :: {Action :: term(), message()} | term().

%% In the process dictionary: the message in this fold is an import.
-define(IMPORT, mod_offline_post_import).

%% The action at the start tells an import (`pass`) from a live message: mod_mam and mod_offline write over it.
%% mod_offline, at 50, ends the fold when the user's store is full, so what mod_mam has archived, also at 49 and before
%% us by the order of names, is taken at once; for the rest the verdict is awaited.
-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{triggers := Triggers} ->
            [{offline_message_hook, ?MODULE, Handler, Priority} ||
                lists:member(offline, Triggers),
                {Handler, Priority} <- [{new_message, 1}, {archived_message, 49}, {offline_message, 75}]];
        undefined ->
            []
    end.

-spec new_message(verdict()) -> verdict().
new_message({pass, _} = Verdict) ->
    put(?IMPORT, true),
    Verdict;
new_message(Verdict) ->
    erase(?IMPORT),
    Verdict.

%% Most messages are in no archive yet: so much is seen without a guard.
-spec archived_message(verdict()) -> verdict().
archived_message({Action, #message{to = #jid{lserver = Host}, meta = #{mam_archived := true}} = Message} = Verdict)
  when Action =:= archived; Action =:= bounce ->
    mod_offline_post:guarded(hook, Host, fun() -> is_archived(Message) andalso notify(Host, Message, archive) end),
    Verdict;
archived_message(Verdict) ->
    Verdict.

-spec offline_message(verdict()) -> verdict().
offline_message({Action, #message{to = #jid{lserver = Host}} = Message} = Verdict)
  when Action =:= offlined; Action =:= archived; Action =:= bounce ->
    mod_offline_post:guarded(hook, Host, fun() ->
        is_archived(Message) orelse notify(Host, Message, stored(Action))
    end),
    Verdict;
offline_message(Verdict) ->
    Verdict.

%% `archived` here: in the sender's archive only.
-spec stored(offlined | archived | bounce) -> offline | none.
stored(offlined) -> offline;
stored(_) -> none.

-spec notify(binary(), message(), offline | archive | none) -> ok.
notify(Host, Message, Stored) ->
    _ = get(?IMPORT) =/= true andalso not mod_offline_post_devices:is_received(Message)
        andalso mod_offline_post_notify:message(Host, Message, #{trigger => offline, stored => Stored}),
    ok.

%% Whether the recipient's archive holds the message. The meta alone does not tell: mod_mam also sets it when
%% it files the message in the sender's archive, and it stays when the recipient keeps none.
-spec is_archived(message()) -> boolean().
is_archived(#message{meta = #{mam_archived := true}, to = To} = Message) ->
    mod_offline_post_event:stanza_id(Message, To) =/= <<>>;
is_archived(#message{}) ->
    false.
