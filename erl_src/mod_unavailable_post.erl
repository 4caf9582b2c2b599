%% An HTTP POST for each available session of a user that ends. Sent and kept as mod_offline_post's are.
-module(mod_unavailable_post).

-behaviour(gen_mod).

-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
-export([c2s_self_presence/1, c2s_terminated/2, remove_user/2, config_reloaded/0, hooks/0, stats/1]).

-include("xmpp.hrl").

-type state() :: #{atom() => term()}.

-spec start(binary(), gen_mod:opts()) -> ok.
start(Host, Opts) -> mod_offline_post_presence:start(?MODULE, Host, Opts).

-spec stop(binary()) -> ok.
stop(Host) -> mod_offline_post_presence:stop(?MODULE, Host).

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, NewOpts, _OldOpts) -> mod_offline_post_presence:reload(?MODULE, Host, NewOpts).

-spec config_reloaded() -> ok.
config_reloaded() -> mod_offline_post_presence:config_reloaded(?MODULE).

-spec depends(binary(), gen_mod:opts()) -> [].
depends(_Host, _Opts) -> [].

%% For the operator, in a shell of the node. undefined: the module does not run for this host.
-spec stats(binary()) -> #{atom() => integer() | atom()} | undefined.
stats(Host) -> mod_offline_post_presence:stats(?MODULE, Host).

-spec hooks() -> [{Hook :: atom(), Function :: atom(), Priority :: integer()}].
hooks() ->
    [{c2s_self_presence, c2s_self_presence, 60}, {c2s_terminated, c2s_terminated, 60}, {remove_user, remove_user, 50}].

%% pres_last is the session's presence before this one: none that was not available can become unavailable.
-spec c2s_self_presence({presence(), state()}) -> {presence(), state()}.
c2s_self_presence({#presence{type = unavailable}, #{pres_last := _, jid := Jid}} = Acc) ->
    mod_offline_post_presence:posts(?MODULE, <<"unavailable">>, Jid),
    Acc;
c2s_self_presence(Acc) ->
    Acc.

%% A session that was resumed goes on in another process.
-spec c2s_terminated(state(), Reason :: term()) -> state().
c2s_terminated(#{mgmt_state := resumed} = State, _Reason) ->
    State;
c2s_terminated(#{pres_last := _, jid := Jid} = State, _Reason) ->
    mod_offline_post_presence:posts(?MODULE, <<"unavailable">>, Jid),
    State;
c2s_terminated(State, _Reason) ->
    State.

-spec remove_user(binary(), binary()) -> ok.
remove_user(User, Host) -> mod_offline_post_presence:remove_user(?MODULE, User, Host).

%%% Options

-spec mod_opt_type(atom()) -> econf:validator().
mod_opt_type(Option) -> mod_offline_post_presence:opt_type(Option).

-spec mod_options(binary()) -> [{atom(), term()} | atom()].
mod_options(Host) -> mod_offline_post_presence:options(Host).

-spec mod_doc() -> mod_offline_post_doc:doc().
mod_doc() ->
    mod_offline_post_presence:doc(
              [<<"This module sends an HTTP POST to a URL of your choice when an available session of a user "
                 "ends: with a presence that says so, by logging out, or when its connection is lost. A "
                 "session that waits to be resumed (XEP-0198) has not ended yet.">>,
               <<"By default the body is 'application/x-www-form-urlencoded' and has the fields 'jabber_id', the user's name, and "
                 "'access_token'. The options mean what they mean to mod_offline_post, which need not run.">>],
              ["modules:",
               "  mod_unavailable_post:",
               "    post_url: https://backend.example/unavailable",
               "    auth_token: s3cret"]).
