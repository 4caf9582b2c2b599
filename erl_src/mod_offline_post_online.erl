%% Which users can be reached: those with a session that is available and acknowledges. Once a user has one, what waits
%% for them is withdrawn if cancel_when_online asks for it, and their badge counts from nought. A removed account's
%% events go with it.
-module(mod_offline_post_online).

-export([hooks/1, c2s_self_presence/1, c2s_session_resumed/1, remove_user/2]).
-export([is_reachable/3, is_attentive/1, is_hanging/1, hangs_since_now/1, set_hanging/1]).
-export_type([info/0]).

-include("xmpp.hrl").

-type state() :: #{atom() => term()}.

%% What the session manager knows of a session.
-type info() :: [{atom(), term()}].

%% The mark of a session that waits to be resumed, with the time since when it does (Unix seconds). A session that has been
%% resumed is a new one there, without it.
-define(HANGING, offline_post_hanging).
-define(NOW_S, 5).

-spec hooks(binary()) -> [{atom(), module(), atom(), integer()}].
hooks(Host) ->
    case mod_offline_post_policy:get(Host) of
        #{cancel_when_online := Cancel, badge := Badge} ->
            [{Hook, ?MODULE, Hook, 50} ||
                Hook <- [remove_user | [Other || Cancel orelse Badge =:= events,
                                                 Other <- [c2s_self_presence, c2s_session_resumed]]]];
        undefined ->
            []
    end.

%% Each presence of a session that is meant for all. pres_last is the one before.
-spec c2s_self_presence({presence(), state()}) -> {presence(), state()}.
c2s_self_presence({#presence{type = available} = Presence, #{jid := Jid} = State} = Acc) ->
    _ = is_attentive(Presence) andalso not was_attentive(State) andalso came_online(Jid),
    Acc;
c2s_self_presence(Acc) ->
    Acc.

%% A resume sends no presence.
-spec c2s_session_resumed(state()) -> state().
c2s_session_resumed(#{jid := Jid} = State) ->
    _ = was_attentive(State) andalso came_online(Jid),
    State;
c2s_session_resumed(State) ->
    State.

-spec came_online(jid:jid()) -> ok.
came_online(#jid{luser = User, lserver = Host}) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        #{cancel_when_online := Cancel, badge := Badge} = mod_offline_post_policy:get(Host),
        _ = Badge =:= events andalso mod_offline_post_badge:reset(User, Host),
        Cancel andalso mod_offline_post_notify:withdraw(Host, {User, Host}, all, cancel)
    end).

%% The account exists no more when this runs.
-spec remove_user(binary(), binary()) -> ok.
remove_user(User, Host) ->
    mod_offline_post:guarded(hook, Host, fun() ->
        mod_offline_post_badge:reset(User, Host),
        mod_offline_post_notify:withdraw(Host, {User, Host}, all, purge)
    end).

%%% Sessions

%% Whether a message to the account that was sent at this time got to a client that acknowledges, as far as sessions of now
%% tell. A session that was resumed since was not there.
-spec is_reachable(User :: binary(), Server :: binary(), At :: erlang:timestamp()) -> boolean().
is_reachable(User, Server, At) ->
    lists:any(fun({_Resource, Info}) -> proplists:get_value(ts, Info, At) =< At andalso is_attentive(Info) end,
              ejabberd_sm:get_user_info(User, Server)).

%% A session that is available, with a priority that lets it have messages to the account (RFC 6121, section 8.5.2.1),
%% and does not hang. Of a presence: whether it makes its session one.
-spec is_attentive(info() | presence()) -> boolean().
is_attentive(#presence{priority = Priority}) ->
    Priority =:= undefined orelse Priority >= 0;
is_attentive(Info) ->
    case lists:keyfind(priority, 1, Info) of
        {priority, Priority} when is_integer(Priority), Priority >= 0 -> not is_hanging(Info);
        _ -> false
    end.

-spec is_hanging(info()) -> boolean().
is_hanging(Info) ->
    lists:keymember(?HANGING, 1, Info).

-spec was_attentive(state()) -> boolean().
was_attentive(#{pres_last := #presence{} = Presence}) -> is_attentive(Presence);
was_attentive(_State) -> false.

%% For no longer than a message between nodes may take, if their clocks agree.
-spec hangs_since_now(info()) -> boolean().
hangs_since_now(Info) ->
    case lists:keyfind(?HANGING, 1, Info) of
        {_, Since} -> abs(erlang:system_time(second) - Since) =< ?NOW_S;
        false -> false
    end.

%% Called by the session's own process.
-spec set_hanging(state()) -> ok.
set_hanging(#{jid := #jid{luser = User, lserver = Server, lresource = Resource}}) ->
    _ = ejabberd_sm:set_user_info(User, Server, Resource, ?HANGING, erlang:system_time(second)),
    ok.
