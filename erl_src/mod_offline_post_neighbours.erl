%% What else is configured for a virtual host and does not go well with this module: one line each, with the way out.
-module(mod_offline_post_neighbours).

-export([check/2, forget/1, warnings/3]).

-type modules() :: #{module() => gen_mod:opts()}.

%% Logs what is new since the last call for this virtual host: at start, and at each reload. Called with what is
%% configured: at boot the other modules may not have started yet.
-spec check(binary(), mod_offline_post_policy:policy()) -> ok.
check(Host, Policy) ->
    Modules = maps:from_list([{Module, Opts} || {Module, Opts, _Order} <- ejabberd_option:modules(Host)]),
    Warnings = warnings(Policy, Modules, ejabberd_option:auth_method(Host)),
    Known = mod_offline_post_terms:get(?MODULE, Host, []),
    _ = [mod_offline_post_notices:note(warning, Host, ["mod_offline_post: for ", hosts, " ", Warning]) ||
            Warning <- Warnings, not lists:member(Warning, Known)],
    Warnings =:= Known orelse mod_offline_post_terms:put(?MODULE, Host, Warnings),
    ok.

-spec forget(binary()) -> ok.
forget(Host) ->
    mod_offline_post_terms:erase(?MODULE, Host).

%% Pure. Each goes on after "for HOST".
-spec warnings(mod_offline_post_policy:policy(), modules(), AuthMethods :: [atom()]) -> [string()].
warnings(Policy, Modules, AuthMethods) ->
    [Warning || {true, Warning} <- [{is_map_key(mod_push, Modules), push()},
                                    {is_bounced(Policy, Modules), bounced()},
                                    {lists:member(jwt, AuthMethods), jwt()},
                                    {lists:member(external, AuthMethods), external()},
                                    {is_map_key(mod_mix, Modules) orelse is_map_key(mod_mix_pam, Modules), mix()}]].

push() ->
    "mod_push is loaded too: a user whose app has registered with a push service is notified twice of each message. "
    "Remove mod_push, or have the backend leave out who is registered there".

bounced() ->
    "a message for a session that waits to be resumed (XEP-0198) is posted at once, but when the session does not come "
    "back, its sender gets it back as undelivered, and the user, who was notified, finds nothing. Set "
    "resend_on_timeout: if_offline for mod_stream_mgmt, with mod_offline; or keep all messages by mod_mam with "
    "default: always".

jwt() ->
    "auth_method has jwt: ejabberd does not know that such a user exists while they are offline, rejects messages to "
    "them, and there is nothing to post. Have another auth_method that knows them, beside jwt".

external() ->
    "auth_method has external: messages are posted for those users only of whom the external program says that they "
    "exist (isuser)".

mix() ->
    "mod_mix is loaded: messages of MIX channels (XEP-0369) are not posted; those of rooms (mod_muc) are".

%% What mod_stream_mgmt does at a session's end with what was not acknowledged, by what is configured. A message that is
%% archived is never sent back.
-spec is_bounced(mod_offline_post_policy:policy(), modules()) -> boolean().
is_bounced(#{triggers := Triggers}, #{mod_stream_mgmt := #{resend_on_timeout := Resend}} = Modules) ->
    lists:member(pending, Triggers)
        andalso not is_archived(Modules)
        andalso (Resend =:= false orelse not is_map_key(mod_offline, Modules));
is_bounced(_Policy, _Modules) ->
    false.

-spec is_archived(modules()) -> boolean().
is_archived(#{mod_mam := #{default := always}}) -> true;
is_archived(_Modules) -> false.
